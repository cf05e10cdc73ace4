// Puts the page together: which call is looked at, and what each part does about it.

import { hasToken, onRefused, opens, setToken } from "./api.js";
import { CallView } from "./call.js";
import { Calls } from "./calls.js";
import { openDial, setUpDial } from "./dial.js";
import { $, announce, say, toast } from "./dom.js";
import { number, way } from "./format.js";
import { setUpKeys } from "./help.js";
import { Hints } from "./hints.js";
import { History } from "./history.js";
import { language, onLanguage, setLanguage, t } from "./i18n.js";
import { askForToken, setUpLogin } from "./login.js";
import { setTheme, theme } from "./prefs.js";
import { Recordings } from "./recordings.js";
import { Socket } from "./socket.js";
import { Store } from "./store.js";
import { Transcript } from "./transcript.js";

const store = new Store();
const calls = new Calls(store, choose);
const past = new History(store, choose);
const transcript = new Transcript(store);
const hints = new Hints(store);
const views = [new CallView(store), transcript, hints, new Recordings(store)];
const socket = new Socket({
  told: (event) => store.take(event),
  gap: readCalls,
  state: showLink,
});

/** A list that could not be read is asked for again after so long. [ms] */
const AGAIN = 3000;

/** The call that is looked at. */
let chosen = null;
/** The user has chosen it, and not the page. */
let byHand = false;
/** The choice under way: a later one takes its place, but the page's never the user's. */
let choice = null;
let link = ["connecting"];
let again;

async function readCalls() {
  clearTimeout(again);
  try {
    // Without a connection nobody answers that, either.
    if (socket.isOpen) return await store.read();
  } catch (problem) {
    if (socket.isWanted) toast(t("call.problem", { problem: problem.message }));
  }
  clearTimeout(again);
  if (socket.isWanted) again = setTimeout(readCalls, AGAIN);
}

async function choose(id, hand = true) {
  if (choice?.hand && !hand) return;
  const mine = choice = { hand };
  const call = await store.find(id).catch((problem) => toast(t("call.problem", { problem: problem.message })));
  if (mine !== choice) return;
  choice = null;
  if (!call) return;
  if (chosen && chosen.id !== id) store.drop(chosen.id);
  show(call, hand);
}

function show(call, hand) {
  [chosen, byHand] = [call, hand];
  for (const view of views) view.show(call);
  calls.mark(call?.id ?? null);
  past.mark(call?.id ?? null);
  // On a phone there is room for the list or for a call.
  $("desk").dataset.shows = call && hand ? "call" : call ? $("desk").dataset.shows ?? "list" : "list";
  if (call) store.load(call);
  titled();
}

/** A new call opens by itself, unless somebody reads in another. */
store.on("new", (call) => {
  announce(t("call.began", { number: number(call), way: way(call.direction) }));
  if (!chosen || (chosen.isOver && !byHand) || (chosen.isOver && $("past").hidden)) choose(call.id, false);
});
store.on("end", (call) => {
  if (call === chosen) announce(t("call.over", { number: number(call) }));
  else store.drop(call.id);
});
store.on("read", () => {
  const first = store.up()[0];
  if (first && (!chosen || (chosen.isOver && (!byHand || $("past").hidden)))) choose(first.id, false);
  else if (chosen) store.load(chosen);
});
store.on("list", titled);

function titled() {
  const count = store.up().length;
  document.title = count ? `(${count}) AI bridge` : "AI bridge";
}

function showLink(...now) {
  link = now;
  const [name, seconds] = now;
  $("link").dataset.state = name;
  const text = name === "off" && seconds ? t("link.wait", { count: seconds }) : t(`link.${name}`);
  say($("link").lastElementChild, name === "off" ? t("link.off") : text);
  $("link").title = text;
  $("link-now").hidden = name !== "off";
}

function turnTo(name) {
  for (const tab of ["live", "past"]) {
    const isIt = tab === name;
    $(`tab-${tab}`).setAttribute("aria-selected", String(isIt));
    $(`tab-${tab}`).tabIndex = isIt ? 0 : -1;
    $(tab).hidden = !isIt;
  }
  $("desk").dataset.shows = "list";
  $("desk").dataset.tab = name;
  for (const id of ["recordings", "figures"]) $(id).open = name === "past";
  if (name === "past") past.open();
}

function setUpTabs() {
  for (const name of ["live", "past"]) $(`tab-${name}`).addEventListener("click", () => turnTo(name));
  $("side").querySelector(".tabs").addEventListener("keydown", ({ key }) => {
    if (!["ArrowLeft", "ArrowRight"].includes(key)) return;
    const other = $("live").hidden ? "live" : "past";
    turnTo(other);
    $(`tab-${other}`).focus();
  });
  $("back").addEventListener("click", () => {
    $("desk").dataset.shows = "list";
    document.querySelector(".row[aria-current]")?.focus();
  });
}

function setUpMenu() {
  for (const input of document.querySelectorAll("#menu input")) {
    input.checked = input.value === (input.name === "theme" ? theme() : language());
    input.addEventListener("change", () => (input.name === "theme" ? setTheme(input.value) : setLanguage(input.value)));
  }
  $("link-now").addEventListener("click", () => socket.retry());
  $("log-out").addEventListener("click", () => { $("menu").hidePopover(); leave("login.needed"); });
}

function step(steps) {
  const list = $("past").hidden ? calls : past;
  const id = list.beside(steps);
  if (id) choose(id);
}

function enter() {
  $("login").hidden = true;
  $("desk").hidden = false;
  show(null, false);
  turnTo("live");
  socket.forget();
  socket.start();
}

function leave(reason) {
  socket.stop();
  clearTimeout(again);
  setToken("", false);
  choice = null;
  store.clear();
  past.clear();
  show(null, false);
  announce("");
  askForToken(reason);
}

setUpTabs();
setUpLogin(enter);
setUpDial();
setUpKeys({
  next: () => step(1),
  previous: () => step(-1),
  live: () => turnTo("live"),
  past: () => turnTo("past"),
  search: () => { turnTo("past"); $("sought").focus(); },
  copy: () => hints.copyNewest(),
  dismiss: () => hints.dismissNewest(),
  newest: () => transcript.toNewest(),
  dial: openDial,
  hangup: () => views[0].hangUp(),
});
onLanguage(() => showLink(...link));
setLanguage(language(), false);
setUpMenu();
onRefused(() => { if (!$("desk").hidden) leave("login.ended"); });

try {
  // Without a token set there, none is needed here.
  if (await opens()) enter();
  else {
    if (hasToken()) setToken("", false);
    askForToken(null);
  }
} catch (problem) {
  // The exchange is away: what is known of the token is kept, and tried again.
  if (hasToken()) enter();
  else askForToken(null);
}
