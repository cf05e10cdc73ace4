// The control API, asked with the user's token.

import { t } from "./i18n.js";
import { keep, recall } from "./prefs.js";

/** Longest to wait for an answer. [ms] */
const PATIENCE = 15_000;
/** Content is handed to the browser in parts of this size: it can put them on its disk. [bytes] */
const PART = 16 << 20;

let token = recall("token") ?? recall("token", sessionStorage) ?? "";
/** By how much the clock of the exchange is ahead of this one. [ms] */
let ahead = 0;
let refused = () => {};

/** Why a request was not carried out. `status` 0: nobody answered. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The time at the exchange. [ms since 1970] */
export const now = () => Date.now() + ahead;

/** Calls `react` when the token is refused that has been in use. */
export const onRefused = (react) => { refused = react; };

export function setToken(value, remember) {
  token = value;
  keep("token", value && remember ? value : null);
  keep("token", value && !remember ? value : null, sessionStorage);
}

export const hasToken = () => token !== "";

/** True if `candidate`, or the token in use, opens the API. */
export async function opens(candidate = token) {
  const answer = await ask("/api/profiles", { token: candidate });
  if (answer.ok) return true;
  if (answer.status === 401) return false;
  throw await problem(answer);
}

/** What is at `path`. */
export async function get(path) {
  return (await checked(await ask(path))).json();
}

/** Sends `body`, if there is one, to `path`. */
export async function post(path, body) {
  return (await checked(await ask(path, { method: "POST", body }))).json();
}

/** The content at `path`; `progress` is told the share that has come. */
export async function content(path, progress, signal) {
  const answer = await checked(await ask(path, { signal, patient: true }));
  const whole = Number(answer.headers.get("Content-Length"));
  const type = answer.headers.get("Content-Type");
  const parts = [];
  let [pieces, held, come] = [[], 0, 0];
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    [held, come] = [held + value.length, come + value.length];
    if (held >= PART) {
      parts.push(new Blob(pieces));
      [pieces, held] = [[], 0];
    }
    if (whole) progress(come / whole);
  }
  return new Blob([...parts, ...pieces], { type });
}

/** Where the events are, and the protocols to open it with: browsers can give a WebSocket no header. */
export function events(query) {
  const url = new URL("/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  const coded = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [url.href, token ? ["ai-bridge.events", `ai-bridge.token.${coded}`] : ["ai-bridge.events"]];
}

async function ask(path, { method = "GET", body, signal, patient, token: shown = token } = {}) {
  const headers = {};
  if (shown) headers.Authorization = `Bearer ${shown}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const limits = patient ? signal : AbortSignal.timeout(PATIENCE);
  try {
    const answer = await fetch(path, {
      method, headers, signal: limits, cache: "no-store", credentials: "omit",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const date = Date.parse(answer.headers.get("Date"));
    // It tells whole seconds: half of one on the average is cut off. Clocks that agree are left alone.
    if (!Number.isNaN(date)) ahead = Math.abs(date + 500 - Date.now()) < 1500 ? 0 : date + 500 - Date.now();
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, t("problem.network"));
  }
}

async function checked(answer) {
  if (answer.ok) return answer;
  if (answer.status === 401) refused();
  throw await problem(answer);
}

async function problem(answer) {
  if (answer.status === 429) return new Problem(429, t("problem.busy"));
  const told = await answer.json().catch(() => ({}));
  return new Problem(answer.status, told.detail || `${answer.status} ${answer.statusText}`);
}
