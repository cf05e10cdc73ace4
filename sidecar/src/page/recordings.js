// Recordings of the call that is looked at. They come with the token, so they are played from memory; there one can jump
// to any point at once. One is held at a time.

import { content, get } from "./api.js";
import { $, el, icon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

/** Larger ones are saved only: they are not to fill the memory. [bytes] */
const PLAYED_MAX = 200e6;
/** A browser has begun to save what it is given by then. [ms] */
const SAVING = 60_000;

export class Recordings {
  #call = null;
  #list = null;
  #problem = null;
  #audio = null;
  #loading = null;
  /** The side that `audio` plays, and what it holds of it. */
  #side = null;
  #url = null;
  /** Where the last one played was left. [s] */
  #at = 0;

  constructor(store) {
    $("recordings").addEventListener("toggle", () => this.#read());
    store.on("end", (call) => { if (call === this.#call) this.#read(); });
    onLanguage(() => this.#draw());
  }

  show(call) {
    if (call === this.#call) return;
    this.#call = call;
    [this.#list, this.#problem] = [null, null];
    this.#draw();
    this.#at = 0;
    this.#read();
  }

  #silence() {
    this.#loading?.abort();
    this.#loading = null;
    if (!this.#audio) return;
    this.#at = this.#audio.currentTime;
    this.#audio.pause();
    // An element that is gone holds its content still.
    this.#audio.removeAttribute("src");
    this.#audio.load();
    this.#audio.parentNode?.replaceChildren();
    URL.revokeObjectURL(this.#url);
    [this.#audio, this.#side, this.#url] = [null, null, null];
  }

  async #read() {
    const call = this.#call;
    if (!call?.isOver || !$("recordings").open || this.#list) return;
    try {
      const { recordings } = await get(`/api/calls/${encodeURIComponent(call.id)}/recordings`);
      if (call === this.#call) [this.#list, this.#problem] = [recordings, null];
    } catch (problem) {
      this.#problem = problem.status === 404 ? t("rec.off") : t("rec.problem", { problem: problem.message });
    }
    if (call === this.#call) this.#draw();
  }

  #draw() {
    this.#silence();
    const box = $("recordings").lastElementChild;
    const word = !this.#call?.isOver ? t("rec.live") : this.#problem ?? (this.#list?.length === 0 ? t("rec.none") : null);
    if (word || !this.#list) return box.replaceChildren(el("p", { class: "quiet" }, word ?? ""));
    const sides = this.#list.map((one) => el("button", { class: "plain", "aria-pressed": "false", "data-side": one.name, onclick: () => this.#choose(one) }, icon("play"), el("span", {}, t(`rec.${one.name}`))));
    box.replaceChildren(el("p", { class: "sides" }, ...sides), el("p", { class: "quiet", role: "status" }), el("div", { class: "player" }));
  }

  #choose(one) {
    const box = $("recordings").lastElementChild;
    const [, status, player] = box.children;
    for (const button of box.querySelectorAll("[data-side]")) button.setAttribute("aria-pressed", String(button.dataset.side === one.name));
    if (this.#side === one.name) return void this.#audio.play().catch(() => {});
    this.#silence();
    player.replaceChildren();
    if (one.bytes <= PLAYED_MAX) return this.#play(one, status, player);
    status.textContent = t("rec.large", { size: Math.round(one.bytes / 1e6) });
    player.replaceChildren(el("button", { class: "plain", onclick: () => this.#save(one, status) }, icon("save"), el("span", {}, t("rec.save"))));
  }

  /** Plays one side, from where the other was. */
  async #play(one, status, player) {
    const source = await this.#fetch(one, status);
    if (!source) return;
    [this.#side, this.#url] = [one.name, source];
    const audio = this.#audio = el("audio", { controls: true, src: source, "aria-label": t("rec.player", { side: t(`rec.${one.name}`) }) });
    const at = this.#at;
    audio.addEventListener("loadedmetadata", () => { audio.currentTime = Math.min(at, audio.duration || 0); }, { once: true });
    player.replaceChildren(audio, el("a", { class: "button plain", href: source, download: this.#file(one) }, icon("save"), el("span", {}, t("rec.save"))));
    await audio.play().catch(() => {});
  }

  async #save(one, status) {
    const file = this.#file(one);
    const source = await this.#fetch(one, status);
    if (!source) return;
    el("a", { href: source, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(source), SAVING);
  }

  #file(one) {
    return `${this.#call.id}-${one.name}.wav`;
  }

  /** Where the browser holds the content of `one`; null: it has not come, or is no longer wanted. */
  async #fetch(one, status) {
    this.#loading?.abort();
    const loading = this.#loading = new AbortController();
    const told = (share) => { status.textContent = t("rec.loading", { share: Math.round(share * 100) }); };
    told(0);
    try {
      const whole = await content(one.url, told, loading.signal);
      if (loading !== this.#loading) return null;
      status.textContent = "";
      return URL.createObjectURL(whole);
    } catch (problem) {
      if (problem.name !== "AbortError") status.textContent = t("rec.problem", { problem: problem.message });
      return null;
    }
  }
}
