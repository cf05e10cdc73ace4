// The page's words. `t("a.b", {count: 3})` gives those of the language chosen; text that stands in the page has data-t.

import en from "./en.js";
import ru from "./ru.js";
import { keep } from "./prefs.js";

const WORDS = { en, ru };
const listeners = new Set();
let words = en;
let plural = new Intl.PluralRules("en");

export const language = () => document.documentElement.lang;

/** The words for `key`. A value `count` chooses among the forms that numbers ask for. */
export function t(key, values = {}) {
  let text = words[key] ?? en[key] ?? key;
  if (typeof text === "object") text = text[plural.select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** True if there are words for `key`. */
export const has = (key) => key in words || key in en;

/** Calls `react` whenever the language has changed. */
export const onLanguage = (react) => listeners.add(react);

export function setLanguage(name, remember = true) {
  const chosen = name in WORDS ? name : "en";
  words = WORDS[chosen];
  plural = new Intl.PluralRules(chosen);
  document.documentElement.lang = chosen;
  if (remember) keep("language", chosen);
  for (const [mark, put] of [
    ["t", (node, text) => { node.textContent = text; }],
    ["tLabel", (node, text) => { node.setAttribute("aria-label", text); node.title = node.matches("button") ? text : ""; }],
    ["tHint", (node, text) => { node.placeholder = text; }],
  ]) {
    const attribute = `data-${mark.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    for (const node of document.querySelectorAll(`[${attribute}]`)) put(node, t(node.dataset[mark]));
  }
  for (const react of listeners) react();
}
