// Keys for those who keep their hands on the keyboard. Keys are known by their place, so they work in any layout.

import { $, closable, el } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { keep, recall } from "./prefs.js";

/** Place of the key, what stands on it, what it does. */
const KEYS = [
  ["KeyJ", "J", "next"],
  ["KeyK", "K", "previous"],
  ["Digit1", "1", "live"],
  ["Digit2", "2", "past"],
  ["Slash", "/", "search"],
  ["KeyC", "C", "copy"],
  ["KeyX", "X", "dismiss"],
  ["KeyE", "E", "newest"],
  ["KeyD", "D", "dial"],
  ["KeyH", "H", "hangup"],
];

/** `acts` has a function for each name in `KEYS`. */
export function setUpKeys(acts) {
  closable($("help"));
  $("help-open").addEventListener("click", openHelp);
  const on = $("keys-on");
  on.checked = recall("keys") !== "off";
  on.addEventListener("change", () => keep("keys", on.checked ? null : "off"));
  const draw = () => $("keys").replaceChildren(...[...KEYS, ["", "?", "help"]].map(([, key, name]) =>
    el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, t(`key.${name}`)))));
  onLanguage(draw);
  addEventListener("keydown", (event) => {
    if (!on.checked || event.ctrlKey || event.altKey || event.metaKey || $("desk").hidden) return;
    if (event.target.closest?.("input, textarea, select, dialog, [popover]") || document.querySelector("dialog[open]")) return;
    const isHelp = event.key === "?";
    const act = isHelp ? openHelp : !event.shiftKey && acts[KEYS.find(([place]) => place === event.code)?.[2]];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function openHelp() {
  $("menu").hidePopover();
  $("help").showModal();
}
