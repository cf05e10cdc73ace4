// The call that is looked at: who it is, how it goes, its figures, and the way to end it.

import { get, post } from "./api.js";
import { lasts, tone } from "./calls.js";
import { $, el, say, toast } from "./dom.js";
import { day, duration, isoDuration, milliseconds, number, result, state, way } from "./format.js";
import { onLanguage, t } from "./i18n.js";

/** Figures that are distributions, and those that are not. */
const SPREAD = ["response", "turn_start", "barge_in_stop", "uplink", "transcription", "hint"];
const SINGLE = { connect_ms: milliseconds, first_audio_ms: milliseconds, turns: String, barge_ins: String, reconnects: String, dropped_ms: milliseconds };
/** How often figures of a call that is up are read. [ms] */
const LOOK = 3000;

export class CallView {
  #call = null;

  constructor(store) {
    store.on("call", (call) => { if (call === this.#call) this.#fill(); });
    onLanguage(() => { this.#fill(); this.#drawFigures(); });
    setInterval(() => this.#time(), 1000);
    setInterval(() => this.#readFigures(), LOOK);
    $("figures").addEventListener("toggle", () => this.#readFigures());
    $("hang-up").addEventListener("click", () => this.hangUp());
    $("confirm").addEventListener("close", () => { if ($("confirm").returnValue === "yes") this.#order(); });
  }

  show(call) {
    this.#call = call;
    $("no-call").hidden = Boolean(call);
    for (const id of ["call-head", "conversation", "aside"]) $(id).hidden = !call;
    this.#fill();
    this.#drawFigures();
    this.#readFigures();
  }

  /** Asks whether to hang up. */
  hangUp() {
    if (!this.#call || this.#call.isOver) return;
    say($("confirm-title"), t("call.hangup.sure", { number: number(this.#call) }));
    $("confirm").returnValue = "no";
    $("confirm").dataset.call = this.#call.id;
    $("confirm").showModal();
  }

  async #order() {
    try {
      await post(`/api/calls/${encodeURIComponent($("confirm").dataset.call)}/hangup`);
      toast(t("call.hungup"));
    } catch (problem) {
      toast(t("call.problem", { problem: problem.message }));
    }
  }

  #fill() {
    const call = this.#call;
    say($("call-title"), call ? number(call) : t("call.none"));
    if (!call) return say($("call-about"), "");
    const about = [way(call.direction), call.profile, day(call.began)];
    if (call.isOver && call.reason) about.push(call.reason);
    say($("call-about"), about.filter(Boolean).join(" · "));
    say($("call-state"), call.isOver ? result(call) : state(call.status));
    $("call-state").dataset.tone = tone(call);
    $("hang-up").hidden = call.isOver;
    this.#time();
  }

  #time() {
    if (!this.#call) return;
    const ms = lasts(this.#call);
    say($("call-time"), duration(ms));
    $("call-time").setAttribute("datetime", isoDuration(ms));
  }

  async #readFigures() {
    const call = this.#call;
    if (!call || !$("figures").open || document.hidden || (call.isOver && call.figures)) return this.#drawFigures();
    const told = await get(`/api/calls/${encodeURIComponent(call.id)}`).catch(() => null);
    if (told) call.figures = told.figures;
    if (call === this.#call) this.#drawFigures();
  }

  #drawFigures() {
    const box = $("figures").lastElementChild;
    const figures = this.#call?.figures;
    const spread = SPREAD.filter((name) => figures?.[name]);
    const single = Object.keys(SINGLE).filter((name) => figures?.[name]);
    if (spread.length + single.length === 0) return box.replaceChildren(el("p", { class: "quiet" }, t("fig.none")));
    const cell = (ms) => el("td", {}, milliseconds(ms));
    const heads = ["fig.what", "fig.p50", "fig.p95", "fig.max"].map((key) => el("th", { scope: "col" }, t(key)));
    const rows = spread.map((name) => {
      const { p50_ms, p95_ms, max_ms } = figures[name];
      return el("tr", {}, el("th", { scope: "row" }, t(`fig.${name}`)), cell(p50_ms), cell(p95_ms), cell(max_ms));
    });
    const table = spread.length ? el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)) : null;
    const list = el("dl", {}, ...single.map((name) => el("div", {}, el("dt", {}, t(`fig.${name}`)), el("dd", {}, SINGLE[name](figures[name])))));
    box.replaceChildren(...[table, list].filter(Boolean));
  }
}
