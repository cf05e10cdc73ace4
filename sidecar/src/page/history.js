// Calls that are over, and the search among them.

import { get } from "./api.js";
import { lasts, roving, row, stop } from "./calls.js";
import { $, say } from "./dom.js";
import { day, duration, isoDuration, number, result, way } from "./format.js";
import { onLanguage, t } from "./i18n.js";

/** A search begins when nothing was typed for so long. [ms] */
const PAUSE = 250;
const PAGE = 50;

export class History {
  #store; #choose;
  #found = [];
  #next = null;
  #asked = 0;
  #timer = null;
  #chosen = null;
  #word = () => "";
  #stale = true;

  constructor(store, choose) {
    [this.#store, this.#choose] = [store, choose];
    roving($("past-calls"));
    $("sought").addEventListener("input", () => this.#soon());
    $("way").addEventListener("change", () => this.search());
    $("search").addEventListener("submit", (event) => { event.preventDefault(); this.search(); });
    $("past-more").addEventListener("click", () => this.#more());
    // What has ended is found when one looks the next time.
    store.on("end", () => { this.#stale = true; });
    onLanguage(() => this.#draw());
  }

  open() {
    if (this.#stale) this.search();
  }

  /** Forgets what was found and what was sought. */
  clear() {
    clearTimeout(this.#timer);
    // What is being asked for comes too late.
    this.#asked += 1;
    [this.#found, this.#next, this.#stale, this.#word] = [[], null, true, () => ""];
    $("search").reset();
    this.#draw();
  }

  mark(id) {
    this.#chosen = id;
    for (const button of $("past-calls").querySelectorAll(".row")) {
      if (button.dataset.id === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    stop($("past-calls"));
  }

  /** The call `steps` after the one looked at. */
  beside(steps) {
    const at = this.#found.findIndex((call) => call.id === this.#chosen);
    return this.#found[at < 0 ? 0 : Math.max(0, Math.min(this.#found.length - 1, at + steps))]?.id;
  }

  search() {
    clearTimeout(this.#timer);
    this.#stale = false;
    this.#ask("", []);
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.search(), PAUSE);
  }

  async #more() {
    const first = this.#found.length;
    await this.#ask(this.#next, this.#found);
    $("past-calls").querySelectorAll(".row")[first]?.focus();
  }

  async #ask(cursor, before) {
    const asked = this.#asked += 1;
    const [sought, way] = [$("sought").value.trim(), $("way").value];
    const query = new URLSearchParams({ ended: true, limit: PAGE });
    for (const [name, value] of Object.entries({ search: sought, direction: way, cursor })) if (value) query.set(name, value);
    if (!cursor) this.#tell(() => t("past.loading"));
    try {
      const page = await get(`/api/calls?${query}`);
      if (asked !== this.#asked) return;
      this.#store.keeps = page.log;
      this.#found = [...before, ...page.calls.map(Ended)];
      this.#next = page.next_cursor;
      const count = this.#found.length;
      this.#tell(() => {
        if (!page.log) return t("past.off");
        if (count === 0) return t(sought || way ? "past.none" : "past.empty");
        return t(this.#next === null ? "past.count" : "past.count.more", { count });
      });
    } catch (problem) {
      if (asked !== this.#asked) return;
      [this.#found, this.#next] = [before, null];
      this.#tell(() => t("past.problem", { problem: problem.message }));
    }
    this.#draw();
  }

  #tell(word) {
    this.#word = word;
    say($("past-state"), word());
  }

  #draw() {
    say($("past-state"), this.#word());
    $("past-calls").replaceChildren(...this.#found.map((call) => {
      const { item, button, ...part } = row(call, this.#choose);
      say(part.number, number(call));
      say(part.about, `${day(call.began)} · ${result(call)}`);
      say(part.time, duration(lasts(call)));
      part.time.setAttribute("datetime", isoDuration(lasts(call)));
      button.setAttribute("aria-label", [number(call), way(call.direction), day(call.began), result(call), duration(lasts(call))].join(", "));
      return item;
    }));
    $("past-more").hidden = this.#next === null;
    this.mark(this.#chosen);
  }
}

/** A call of an answer, as lists need it. */
function Ended(told) {
  return { ...told, isOver: true, began: Date.parse(told.started_at), ended: Date.parse(told.ended_at ?? told.started_at), lasted: told.duration_ms };
}
