// What the page knows of calls: from the API, and from events as they come. Views look at it and are told of changes.

import { get, now } from "./api.js";
import { past } from "./socket.js";

/** Calls an answer may hold. */
const PAGE = 200;

/** One call. */
class Call {
  constructor(id) {
    this.id = id;
    this.direction = "inbound";
    this.profile = "";
    this.caller = this.callee = null;
    this.status = "connecting";
    this.began = now();
    /** `began` is known, and no guess. */
    this.isDated = false;
    this.ended = null;
    this.result = this.reason = this.figures = null;
    this.lasted = null;
    /** What was said and done, in its order. */
    this.lines = [];
    this.hints = [];
    /** What is being said, by speaker. */
    this.interim = new Map();
    /** Ids of what is in `lines` and `hints`. */
    this.seen = new Set();
    /** "partly": what was said may be missing; "loading"; "whole". */
    this.knows = "partly";
  }

  /** Takes what the API says of it. */
  describe(told) {
    const { direction, profile, caller, callee, status, result, reason, figures } = told;
    Object.assign(this, { direction, profile, caller, callee, status, result, reason, figures });
    this.began = Date.parse(told.started_at);
    this.isDated = true;
    this.ended = told.ended_at ? Date.parse(told.ended_at) : null;
    if (this.ended) this.lasted = told.duration_ms;
    return this;
  }

  get isOver() {
    return this.status === "ended";
  }

  /** Puts `line` where it belongs; answers where that is, or -1 if it is there already. */
  add(line) {
    if (this.seen.has(line.id)) return -1;
    this.seen.add(line.id);
    let at = this.lines.length;
    while (at > 0 && (this.lines[at - 1].at > line.at || (this.lines[at - 1].at === line.at && this.lines[at - 1].id > line.id))) at -= 1;
    this.lines.splice(at, 0, line);
    return at;
  }

  addHint(hint) {
    if (this.seen.has(hint.id)) return false;
    this.seen.add(hint.id);
    let at = this.hints.length;
    while (at > 0 && this.hints[at - 1].at > hint.at) at -= 1;
    this.hints.splice(at, 0, hint);
    return true;
  }

  /** When a line was begun, as exactly as it is known; never after it was told. */
  spokenAt(start_ms, time) {
    const told = Date.parse(time);
    return this.isDated && Number.isFinite(start_ms) ? Math.min(this.began + start_ms, told) : told;
  }

  /** Takes how it has ended; null: that is not known. */
  end(event) {
    this.status = "ended";
    this.ended = event ? Date.parse(event.time) : now();
    [this.result, this.reason, this.lasted] = [event?.status ?? null, event?.reason ?? null, event?.duration_ms ?? null];
    this.figures = event?.figures ?? this.figures;
  }
}

export class Store {
  /** Calls that are up, and the one that is looked at. */
  calls = new Map();
  /** Calls that are over are known to the API; null: it is not known yet. */
  keeps = null;
  #listeners = new Map();
  #gone = new Set();
  /** Calls that events have told of while the list was asked for. */
  #fresh = null;
  #again = false;

  on(topic, react) {
    if (!this.#listeners.has(topic)) this.#listeners.set(topic, []);
    this.#listeners.get(topic).push(react);
  }

  #tell(topic, ...values) {
    for (const react of this.#listeners.get(topic) ?? []) react(...values);
  }

  clear() {
    this.calls.clear();
    this.#gone.clear();
    this.keeps = null;
    // What was asked for before is no longer wanted.
    [this.#fresh, this.#again] = [null, false];
    this.#tell("list");
  }

  /** Forgets a call that is over. */
  drop(id) {
    const call = this.calls.get(id);
    if (call?.isOver && this.calls.delete(id)) this.#tell("list");
  }

  /** Those that are up, newest first. */
  up() {
    return [...this.calls.values()].filter((call) => !call.isOver).sort((one, other) => other.began - one.began || (one.id < other.id ? 1 : -1));
  }

  /** Takes an event. */
  take(event) {
    let call = this.calls.get(event.session);
    if (!call) {
      if (event.event === "call_end") this.#gone.add(event.session);
      if (this.#gone.has(event.session)) return;
      call = new Call(event.session);
      Object.assign(call, { direction: event.direction, profile: event.profile, caller: event.caller, callee: event.callee });
      call.began = Date.parse(event.time);
      if (event.event === "call_start") [call.knows, call.isDated] = ["whole", true];
      this.calls.set(call.id, call);
      this.#fresh?.add(call.id);
      this.#begin(call);
      this.#tell("list");
      this.#tell("new", call);
    }
    this.#apply(call, event);
  }

  #begin(call) {
    if (call.knows === "whole") call.status = call.direction === "outbound" ? "dialing" : call.direction === "assist" ? "ringing" : "connecting";
    else call.status = "talking";
  }

  #apply(call, event) {
    switch (event.event) {
      case "call_status":
        this.#fresh?.add(call.id);
        call.status = event.state;
        this.#tell("call", call);
        break;
      case "interim":
        this.#say(call, event.speaker, event.text);
        break;
      case "transcript":
        if (!event.complete) {
          this.#say(call, event.speaker, (call.interim.get(event.speaker) ?? "") + event.text);
          break;
        }
        this.#say(call, event.speaker, "");
        this.#add(call, lineOf(call, event));
        break;
      case "barge_in":
      case "tool_call":
        this.#add(call, lineOf(call, event));
        break;
      case "suggestion":
        if (call.addHint(hintOf(event))) this.#tell("hint", call, hintOf(event));
        break;
      case "call_end":
        this.#end(call, event);
        break;
    }
  }

  #say(call, speaker, text) {
    if (text) call.interim.set(speaker, text);
    else if (!call.interim.delete(speaker)) return;
    this.#tell("interim", call);
  }

  #add(call, line) {
    if (!line) return;
    const at = call.add(line);
    if (at >= 0) this.#tell("line", call, line, at);
  }

  #end(call, event) {
    call.end(event);
    call.interim.clear();
    this.#gone.add(call.id);
    this.#fresh?.add(call.id);
    this.#tell("interim", call);
    this.#tell("call", call);
    this.#tell("end", call);
    this.#tell("list");
  }

  /** Reads which calls are up: at the beginning, and when events were missed. */
  async read() {
    if (this.#fresh) {
      this.#again = true;
      return;
    }
    for (const call of this.calls.values()) if (!call.isOver) call.knows = "partly";
    const fresh = this.#fresh = new Set();
    try {
      const told = new Map();
      let page = { next_cursor: "" };
      while (page.next_cursor !== null) {
        const cursor = page.next_cursor ? `&cursor=${encodeURIComponent(page.next_cursor)}` : "";
        page = await get(`/api/calls?ended=false&limit=${PAGE}${cursor}`);
        if (fresh !== this.#fresh) return;
        for (const call of page.calls) told.set(call.id, call);
      }
      this.keeps = page.log ?? true;
      this.#compare(told, fresh);
    } finally {
      if (fresh === this.#fresh) this.#fresh = null;
    }
    if (this.#again) {
      this.#again = false;
      return this.read();
    }
    this.#tell("list");
    this.#tell("read");
  }

  /** What events have told meanwhile is newer than the list. */
  #compare(told, fresh) {
    for (const [id, description] of told) {
      if (this.#gone.has(id)) continue;
      const call = this.calls.get(id) ?? new Call(id);
      const status = fresh.has(id) && this.calls.has(id) ? call.status : description.status;
      call.describe({ ...description, status });
      this.calls.set(id, call);
      this.#tell("call", call);
    }
    for (const call of this.calls.values()) {
      if (!call.isOver && !told.has(call.id) && !fresh.has(call.id)) this.#end(call, null);
    }
  }

  /** Reads what was said in `call`, and how it ended, unless it is known. */
  async load(call) {
    if (call.knows !== "partly") return;
    call.knows = "loading";
    this.#tell("reset", call);
    const before = call.lines.length + call.hints.length;
    // Of a call that comes from the log, the result is known.
    const isLogged = call.isOver && call.result !== null;
    const [told, logged] = await Promise.all([isLogged ? [] : past(call.id), this.#logged(call.id)]);
    if (call.isOver && call.result === null) await this.#learnEnd(call, told);
    for (const { id, time, speaker, text, start_ms } of logged?.turns ?? []) {
      call.add({ id, kind: "line", speaker, text, at: call.spokenAt(start_ms, time) });
    }
    for (const hint of logged?.hints ?? []) call.addHint(hintOf(hint));
    for (const event of told) {
      if (event.event === "suggestion") call.addHint(hintOf(event));
      else if (["transcript", "barge_in", "tool_call"].includes(event.event)) call.add(lineOf(call, event));
    }
    const begun = told.some((event) => event.event === "call_start");
    // Events may have been missed meanwhile.
    if (call.knows === "loading") call.knows = logged || begun || call.lines.length + call.hints.length > before ? "whole" : "none";
    this.#tell("reset", call);
  }

  /** How a call ended whose end was missed. */
  async #learnEnd(call, told) {
    const event = told.find((one) => one.event === "call_end");
    if (event) {
      call.end(event);
    } else {
      const description = await get(`/api/calls/${encodeURIComponent(call.id)}`).catch(() => null);
      if (description?.ended_at) call.describe(description);
    }
    this.#tell("call", call);
  }

  async #logged(id) {
    if (this.keeps === false) return null;
    return get(`/api/calls/${encodeURIComponent(id)}/transcript?format=json`).catch(() => null);
  }

  /** A call by its id, whether it is up or over; null: there is none. */
  async find(id) {
    if (this.calls.has(id)) return this.calls.get(id);
    const told = await get(`/api/calls/${encodeURIComponent(id)}`).catch((problem) => {
      if (problem.status === 404) return null;
      throw problem;
    });
    return told && new Call(id).describe(told);
  }
}

function lineOf(call, event) {
  const { id, time } = event;
  switch (event.event) {
    case "transcript":
      return event.complete ? { id, kind: "line", speaker: event.speaker, text: event.text, at: call.spokenAt(event.start_ms, time) } : null;
    case "barge_in":
      return { id, kind: "barge_in", heard: event.heard_ms, at: Date.parse(time) };
    default:
      return { id, kind: "tool", tool: event.tool, given: event.arguments, error: event.error, at: Date.parse(time) };
  }
}

function hintOf(told) {
  const { type, title, content, priority, time } = told;
  // The log knows no event's id of a hint.
  return { id: `${Date.parse(time)} ${title}`, type, title, content: content ?? "", priority, at: Date.parse(time) };
}
