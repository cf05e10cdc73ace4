// The events as they happen. A connection that is lost is made again, and what happened meanwhile is told first.

import { events, get } from "./api.js";

/** First and longest pause before the next try. [ms] */
const [PAUSE_MIN, PAUSE_MAX] = [400, 15_000];
/** A connection that lasted so long was good: the next pause is short again. [ms] */
const GOOD = 10_000;
/** So long nothing came: is anybody there? Browsers do not tell pages of the server's pings. [ms] */
const QUIET = 30_000;

/** `told(event)`; `gap()`: what is known is not whole, look at the API; `state(name, secondsToNextTry)`. */
export class Socket {
  #told; #gap; #state;
  #socket = null;
  #last = 0;
  #pause = PAUSE_MIN;
  #timers = new Set();
  #heard = 0;
  /** There is to be a connection. */
  #wanted = false;

  constructor({ told, gap, state }) {
    [this.#told, this.#gap, this.#state] = [told, gap, state];
    addEventListener("online", () => this.retry());
    addEventListener("offline", () => this.#socket?.close());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#check(); });
  }

  get isWanted() {
    return this.#wanted;
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  start() {
    this.#drop();
    this.#wanted = true;
    this.#connect();
  }

  stop() {
    this.#wanted = false;
    this.#drop();
  }

  #drop() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** Forgets what it has heard. */
  forget() {
    this.#last = 0;
  }

  /** Tries now, if it waits. */
  retry() {
    if (this.#socket || this.#timers.size === 0) return;
    this.#pause = PAUSE_MIN;
    this.start();
  }

  #later(ms, act) {
    const timer = setTimeout(() => { this.#timers.delete(timer); act(); }, ms);
    this.#timers.add(timer);
  }

  #connect() {
    this.#state("connecting");
    const [url, protocols] = events(this.#last ? { after: this.#last } : {});
    const socket = new WebSocket(url, protocols);
    this.#socket = socket;
    let opened = 0;
    socket.onopen = () => {
      if (this.#socket !== socket) return;
      opened = this.#heard = Date.now();
      this.#state("on");
      if (!this.#last) this.#gap();
      this.#later(QUIET, () => this.#check());
    };
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      this.#heard = Date.now();
      const event = JSON.parse(data);
      if (event.event === "missed") return this.#gap();
      if (event.id <= this.#last) return;
      this.#last = event.id;
      this.#told(event);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#drop();
      if (opened && Date.now() - opened > GOOD) this.#pause = PAUSE_MIN;
      this.#wait();
    };
  }

  /** Many browsers lose their server at one time: they do not all come back at one time. */
  #wait() {
    const pause = this.#pause * (0.5 + Math.random() / 2);
    this.#pause = Math.min(this.#pause * 2, PAUSE_MAX);
    const until = Date.now() + pause;
    const count = () => this.#state("off", Math.ceil((until - Date.now()) / 1000));
    count();
    for (let at = pause % 1000; at < pause - 50; at += 1000) this.#later(at, count);
    this.#later(pause, async () => {
      // A token that is refused shows in an answer, not in a WebSocket that does not open.
      await get("/api/profiles").catch(() => {});
      if (this.#wanted && !this.#socket && this.#timers.size === 0) this.#connect();
    });
    // While that is asked, nothing waits.
  }

  /** Whether a connection that is quiet is one. */
  async #check() {
    const socket = this.#socket;
    if (!socket || socket.readyState !== WebSocket.OPEN) return this.retry();
    if (Date.now() - this.#heard >= QUIET) {
      const alive = await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(5000) }).then(() => true, () => false);
      if (this.#socket !== socket) return;
      if (!alive) {
        // It would say so in minutes only.
        socket.onclose();
        return socket.close();
      }
      this.#heard = Date.now();
    }
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#later(QUIET, () => this.#check());
  }
}

/** What the exchange still remembers of the events of the call `id`. */
export function past(id) {
  return new Promise((done) => {
    const told = [];
    const [url, protocols] = events({ session: id, after: 1, pieces: false });
    const socket = new WebSocket(url, protocols);
    let quiet = setTimeout(() => socket.close(), 3000);
    const soon = () => {
      clearTimeout(quiet);
      // What is remembered comes at once; what comes later is told on the other connection, too.
      quiet = setTimeout(() => socket.close(), 250);
    };
    socket.onopen = soon;
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.event !== "missed") told.push(event);
      soon();
    };
    socket.onclose = () => { clearTimeout(quiet); done(told); };
  });
}
