// What is said in the call that is looked at. New lines are added at the end, and seen unless the reader has scrolled up.

import { $, el, icon, say } from "./dom.js";
import { clockTime, duration } from "./format.js";
import { onLanguage, t } from "./i18n.js";

/** So near the end one reads along. [px] */
const NEAR = 48;

export class Transcript {
  #store;
  #call = null;
  #follows = true;
  /** Where the reader was last. [px] */
  #top = 0;
  #unread = 0;
  #waiting = false;
  #talking = new Map();

  constructor(store) {
    this.#store = store;
    store.on("line", (call, line, at) => { if (call === this.#call) this.#add(line, at); });
    store.on("interim", (call) => { if (call === this.#call) this.#interim(); });
    store.on("reset", (call) => { if (call === this.#call) this.show(call); });
    store.on("call", (call) => { if (call === this.#call) this.#tell(); });
    onLanguage(() => this.show(this.#call));
    const box = $("conversation");
    box.addEventListener("scroll", () => {
      // A page that grows moves away from its end, too: only who goes up wants to.
      const isUp = box.scrollTop < this.#top;
      this.#top = box.scrollTop;
      if (box.scrollHeight - box.scrollTop - box.clientHeight < NEAR) {
        this.#follows = true;
        this.#read();
      } else if (isUp) {
        this.#follows = false;
      }
    }, { passive: true });
    new ResizeObserver(() => this.#keepUp()).observe(box);
    $("newest").addEventListener("click", () => this.toNewest());
  }

  show(call) {
    const other = call !== this.#call;
    this.#call = call;
    this.#talking.clear();
    $("interim").replaceChildren();
    // What was said before is no news to anybody.
    $("lines").setAttribute("aria-live", "off");
    $("lines").replaceChildren(...(call?.lines ?? []).map(drawn));
    setTimeout(() => $("lines").setAttribute("aria-live", "polite"), 500);
    if (other) this.#follows = true;
    this.#read();
    this.#interim();
    this.#tell();
    this.#keepUp();
  }

  toNewest() {
    this.#follows = true;
    this.#read();
    this.#keepUp();
  }

  #add(line, at) {
    const lines = $("lines");
    lines.insertBefore(drawn(line), lines.children[at] ?? null);
    this.#unread += 1;
    if (!this.#follows) this.#offer();
    this.#tell();
    this.#keepUp();
  }

  #interim() {
    const said = this.#call?.interim ?? new Map();
    for (const [speaker, node] of this.#talking) {
      if (said.has(speaker)) continue;
      node.remove();
      this.#talking.delete(speaker);
    }
    for (const [speaker, text] of said) {
      let node = this.#talking.get(speaker);
      if (!node) {
        node = el("p", { class: `said ${speaker}` }, el("span", { class: "head" }, t(`speaker.${speaker}`)), el("span", { class: "text" }));
        this.#talking.set(speaker, node);
        $("interim").append(node);
      }
      say(node.lastChild, text);
    }
    this.#keepUp();
  }

  /** What there is to say instead of lines. */
  #tell() {
    const call = this.#call;
    if (!call) return;
    const key = call.knows === "loading" ? "talk.loading"
      : call.lines.length > 0 ? (call.knows === "none" ? "talk.partly" : null)
      : call.isOver ? "talk.none"
      : call.knows === "none" ? "talk.partly" : "talk.wait";
    say($("talk-state"), key ? t(key) : "");
    $("talk-state").hidden = !key;
  }

  /** Once a frame, however many lines come. */
  #keepUp() {
    if (this.#waiting || !this.#follows) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      // Whoever has scrolled up in this frame has not seen what came in it.
      if (!this.#follows) return this.#offer();
      this.#read();
      const box = $("conversation");
      box.scrollTop = box.scrollHeight;
      this.#top = box.scrollTop;
    });
  }

  #read() {
    this.#unread = 0;
    this.#offer();
  }

  #offer() {
    $("newest").hidden = this.#unread === 0;
    if (this.#unread) say($("newest").lastElementChild, t("talk.newest", { count: this.#unread }));
  }
}

function drawn(line) {
  const time = el("time", { datetime: new Date(line.at).toISOString() }, clockTime(line.at));
  if (line.kind === "line") {
    return el("p", { class: `said ${line.speaker}`, "data-line": line.id }, el("span", { class: "head" }, t(`speaker.${line.speaker}`), " ", time), el("span", { class: "text" }, line.text));
  }
  if (line.kind === "barge_in") {
    const heard = line.heard === null || line.heard === undefined ? t("talk.barge") : t("talk.barge.heard", { time: duration(line.heard) });
    return el("p", { class: "mark barge" }, icon("barge"), el("span", {}, heard), time);
  }
  const failed = line.error ? el("span", { class: "failed" }, t("talk.tool.error", { problem: line.error })) : null;
  return el("div", { class: "mark tool" }, icon("tool"), el("span", {}, `${t("talk.tool")} `, el("code", {}, line.tool), line.given && line.given !== "{}" ? el("code", { class: "given" }, line.given) : null, failed), time);
}
