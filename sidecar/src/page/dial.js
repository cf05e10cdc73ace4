// The order to an agent to call somebody.

import { get, post } from "./api.js";
import { $, closable, el, say, toast } from "./dom.js";
import { phone } from "./format.js";
import { t } from "./i18n.js";

const dialog = () => $("dial");

export function setUpDial() {
  closable(dialog());
  $("dial-open").addEventListener("click", openDial);
  dialog().querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    order();
  });
}

export async function openDial() {
  say($("dial-problem"), "");
  dialog().showModal();
  $("number").focus();
  $("number").select();
  try {
    const { profiles, trunks = [] } = await get("/api/profiles");
    const able = profiles.filter((profile) => profile.type !== "assist");
    const option = ({ name }) => el("option", { value: name, selected: able.some((one) => one.name === name && one.default) }, name);
    $("profile").replaceChildren(...able.map(option));
    $("trunk").replaceChildren(el("option", { value: "" }, t("dial.trunk.any")), ...trunks.map(option));
    $("trunk-box").hidden = trunks.length < 2;
    dialog().querySelector("button.main").disabled = trunks.length === 0;
    if (trunks.length === 0) say($("dial-problem"), t("dial.none"));
  } catch (problem) {
    say($("dial-problem"), t("call.problem", { problem: problem.message }));
  }
}

async function order() {
  const number = $("number").value.replace(/[^\d+]/g, "");
  const wish = { phone_number: number, profile: $("profile").value || null, detect_machine: $("people").checked, trunk: $("trunk").value || null };
  const button = dialog().querySelector("button.main");
  button.disabled = true;
  try {
    await post("/api/calls/dial", wish);
    dialog().close();
    toast(t("dial.done", { number: phone(number) }));
  } catch (problem) {
    say($("dial-problem"), t("call.problem", { problem: problem.message }));
  } finally {
    button.disabled = false;
  }
}
