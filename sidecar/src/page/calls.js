// The list of calls that are up. Each keeps its row, so that nothing jumps or loses the focus.

import { now } from "./api.js";
import { $, el, icon, say } from "./dom.js";
import { duration, isoDuration, number, result, state, way } from "./format.js";
import { onLanguage, t } from "./i18n.js";

/** How a state looks. */
export const tone = (call) => ({
  talking: "good", human: "good", answered: "good", on_hold: "wait", held: "wait", reconnecting: "bad", ended: "over",
}[call.status] ?? "soon");

/** How long `call` lasts, or has lasted. [ms] */
export const lasts = (call) => (call.isOver ? call.lasted ?? call.ended - call.began : now() - call.began);

/** A row of a list of calls; `more` is what stands in its second line. */
export function row(call, choose) {
  const parts = {
    number: el("span", { class: "number" }),
    about: el("span", { class: "about" }),
    time: el("time"),
    picture: icon(call.direction),
  };
  const button = el("button", { class: "row", tabindex: -1, "data-id": call.id, onclick: () => choose(call.id) },
    parts.picture, el("span", { class: "two" }, parts.number, parts.about), parts.time);
  return { item: el("li", {}, button), button, ...parts };
}

/** One tab stop for a list; arrows, Home and End move in it. */
export function roving(list) {
  list.addEventListener("keydown", (event) => {
    const rows = [...list.querySelectorAll(".row")];
    const at = rows.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || at < 0 || !rows[to]) return;
    event.preventDefault();
    stop(list, rows[to]);
    rows[to].focus();
  });
  list.addEventListener("focusin", (event) => { if (event.target.matches(".row")) stop(list, event.target); });
}

/** Makes `row`, or the first, the one that Tab leads to. */
export function stop(list, row = list.querySelector(".row[aria-current]") ?? list.querySelector(".row")) {
  const old = list.querySelectorAll('.row[tabindex="0"]');
  if (old.length === 1 && old[0] === row) return;
  for (const other of old) other.tabIndex = -1;
  if (row) row.tabIndex = 0;
}

export class Calls {
  #store; #choose;
  #rows = new Map();
  #chosen = null;

  constructor(store, choose) {
    [this.#store, this.#choose] = [store, choose];
    roving($("calls"));
    store.on("list", () => this.#arrange());
    store.on("call", (call) => this.#fill(call));
    onLanguage(() => this.#rows.forEach((_, id) => this.#fill(store.calls.get(id))));
    setInterval(() => this.#tick(), 1000);
    document.addEventListener("visibilitychange", () => this.#tick());
    this.#arrange();
  }

  /** Shows which call is looked at. */
  mark(id) {
    this.#rows.get(this.#chosen)?.button.removeAttribute("aria-current");
    this.#chosen = id;
    this.#rows.get(id)?.button.setAttribute("aria-current", "true");
    stop($("calls"));
  }

  /** The call `steps` after the one looked at. */
  beside(steps) {
    const ids = this.#store.up().map((call) => call.id);
    const at = ids.indexOf(this.#chosen);
    return ids[at < 0 ? 0 : Math.max(0, Math.min(ids.length - 1, at + steps))];
  }

  #arrange() {
    const list = $("calls");
    const calls = this.#store.up();
    const wanted = new Set(calls.map((call) => call.id));
    for (const [id, { item }] of this.#rows) {
      if (wanted.has(id)) continue;
      item.remove();
      this.#rows.delete(id);
    }
    let before = list.firstElementChild;
    for (const call of calls) {
      if (!this.#rows.has(call.id)) {
        this.#rows.set(call.id, row(call, this.#choose));
        this.#fill(call);
      }
      const { item } = this.#rows.get(call.id);
      if (item === before) before = before.nextElementSibling;
      else list.insertBefore(item, before);
    }
    say($("live-count"), String(calls.length));
    list.hidden = calls.length === 0;
    $("no-calls").hidden = calls.length > 0;
    this.mark(this.#chosen);
  }

  #fill(call) {
    const row = call && this.#rows.get(call.id);
    if (!row) return;
    say(row.number, number(call));
    say(row.about, state(call.status));
    row.about.dataset.tone = tone(call);
    row.button.setAttribute("aria-label", t("call.label", { number: number(call), way: way(call.direction), state: call.isOver ? result(call) : state(call.status) }));
    const use = row.picture.firstChild;
    if (use.getAttribute("href") !== `/page/icons.svg#${call.direction}`) use.setAttribute("href", `/page/icons.svg#${call.direction}`);
    this.#time(call, row);
  }

  #time(call, row) {
    const ms = lasts(call);
    say(row.time, duration(ms));
    row.time.setAttribute("datetime", isoDuration(ms));
  }

  #tick() {
    if (document.hidden) return;
    for (const [id, row] of this.#rows) this.#time(this.#store.calls.get(id), row);
  }
}
