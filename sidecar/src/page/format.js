// Numbers, times and names as people read them.

import { has, language, t } from "./i18n.js";

const pad = (number) => String(number).padStart(2, "0");

/** 4:05, or 1:04:05. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/** For `datetime` of a duration. */
export const isoDuration = (ms) => `PT${Math.max(0, Math.floor(ms / 1000))}S`;

const clocks = new Map();

function clock(name, options) {
  const key = `${language()} ${name}`;
  if (!clocks.has(key)) clocks.set(key, new Intl.DateTimeFormat(language(), options));
  return clocks.get(key);
}

export const clockTime = (ms) => clock("time", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(ms);

/** The time alone for today, with the day for other days. */
export function day(ms) {
  const today = new Date(ms).toDateString() === new Date().toDateString();
  if (today) return clock("short", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(ms);
  return clock("day", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(ms);
}

/** A number with room to read it; what is no number stays as it is. */
export function phone(number) {
  if (!number) return t("call.unknown");
  const russian = /^\+?([78])(\d{3})(\d{3})(\d{2})(\d{2})$/.exec(number);
  if (!russian) return number;
  const [, first, ...rest] = russian;
  return `${first === "7" ? "+7" : "8"} ${rest[0]} ${rest[1]}-${rest[2]}-${rest[3]}`;
}

/** Whom the call is with. */
export const number = (call) => phone(call.direction === "outbound" ? call.callee : call.caller);

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  const value = (digits) => new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(ms / (digits ? 1000 : 1));
  return ms >= 1000 ? t("seconds", { value: value(2) }) : t("ms", { value: value(0) });
}

/** How a call that is over went. */
export function result(call) {
  if (!call.result) return t("state.ended");
  return has(`result.${call.result}`) ? t(`result.${call.result}`) : call.result;
}

export const state = (name) => (has(`state.${name}`) ? t(`state.${name}`) : name);
export const way = (name) => (has(`way.${name}`) ? t(`way.${name}`) : name);
