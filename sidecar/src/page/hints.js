// Hints of the call that is looked at: the newest on top, important ones stand out, older ones fold away.

import { $, announce, el, icon, say, toast } from "./dom.js";
import { clockTime } from "./format.js";
import { has, onLanguage, t } from "./i18n.js";

/** So many of the newest are open. */
const OPEN = 3;

const word = (kind, name, other) => t(has(`${kind}.${name}`) ? `${kind}.${name}` : `${kind}.${other}`);

export class Hints {
  #call = null;
  /** What the user has put away, by call. */
  #dismissed = new Set();

  constructor(store) {
    store.on("hint", (call, hint) => { if (call === this.#call) this.#add(hint, true); });
    store.on("reset", (call) => { if (call === this.#call) this.show(call); });
    store.on("call", (call) => { if (call === this.#call) this.#tell(); });
    onLanguage(() => this.show(this.#call));
  }

  show(call) {
    this.#call = call;
    $("hints").replaceChildren();
    for (const hint of call?.hints ?? []) this.#add(hint, false);
    $("hints").scrollTop = 0;
    this.#tell();
  }

  copyNewest() {
    $("hints").querySelector("article .copy")?.click();
  }

  dismissNewest() {
    $("hints").querySelector("article .dismiss")?.click();
  }

  #key(hint) {
    return `${this.#call.id} ${hint.id}`;
  }

  #add(hint, isNew) {
    if (this.#dismissed.has(this.#key(hint))) return;
    const cards = [...$("hints").children];
    const before = cards.find((card) => Number(card.dataset.at) <= hint.at) ?? null;
    const card = this.#drawn(hint);
    $("hints").insertBefore(card, before);
    if (isNew) {
      card.classList.add("new");
      announce(t("hints.announce", { priority: word("priority", hint.priority, "medium"), title: hint.title, content: hint.content }));
      $("hints").scrollTop = 0;
    }
    this.#fold();
    this.#tell();
  }

  #drawn(hint) {
    const priority = ["high", "medium", "low"].includes(hint.priority) ? hint.priority : "medium";
    const head = el("summary", {},
      el("span", { class: "kind" }, icon(priority === "high" ? "alert" : "hint"), word("hint", hint.type, "other"),
        priority === "high" ? el("em", {}, t("priority.high")) : null),
      el("time", { datetime: new Date(hint.at).toISOString() }, clockTime(hint.at)),
      el("strong", {}, hint.title));
    // Whoever has opened or closed one has decided.
    head.addEventListener("click", () => { card.dataset.decided = ""; });
    const card = el("article", { class: `hint ${priority}`, "data-at": hint.at },
      el("details", { open: true }, head, el("p", {}, hint.content),
        el("p", { class: "actions" },
          el("button", { class: "plain copy", onclick: () => copy(hint) }, icon("copy"), el("span", {}, t("copy"))),
          el("button", { class: "plain dismiss", onclick: () => this.#dismiss(hint, card) }, icon("close"), el("span", {}, t("hints.dismiss"))))));
    return card;
  }

  #dismiss(hint, card) {
    this.#dismissed.add(this.#key(hint));
    const next = card.nextElementSibling ?? card.previousElementSibling;
    const focused = card.contains(document.activeElement);
    card.remove();
    if (focused) (next?.querySelector("summary") ?? $("hints")).focus();
    this.#fold();
    this.#tell();
  }

  #fold() {
    [...$("hints").children].forEach((card, at) => {
      if ("decided" in card.dataset || card.contains(document.activeElement)) return;
      card.firstElementChild.open = at < OPEN;
    });
  }

  #tell() {
    const count = $("hints").children.length;
    say($("hint-count"), count ? String(count) : "");
    $("hints").hidden = count === 0;
    $("no-hints").hidden = count > 0;
    if (this.#call) say($("no-hints").lastElementChild, t(this.#call.isOver ? "hints.none" : "hints.wait"));
  }
}

async function copy(hint) {
  const text = [hint.title, hint.content].filter(Boolean).join("\n");
  try {
    await navigator.clipboard.writeText(text);
    toast(t("copied"));
  } catch {
    toast(copyByHand(text) ? t("copied") : t("copy.failed"));
  }
}

/** Without HTTPS there is no clipboard but this. */
function copyByHand(text) {
  const field = el("textarea", { class: "unseen", "aria-hidden": "true" });
  field.value = text;
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}
