// The door: nothing is shown to whoever does not know the token.

import { opens, setToken } from "./api.js";
import { $, say } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

let word = null;

const tell = (key, values) => {
  word = key && [key, values];
  say($("login-problem"), key ? t(key, values) : "");
};

/** Calls `enter` once somebody has shown the right token. */
export function setUpLogin(enter) {
  onLanguage(() => { if (word) tell(...word); });
  $("login").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [token, button] = [$("token").value.trim(), $("login").querySelector("button")];
    button.disabled = true;
    tell("login.checking");
    try {
      if (await opens(token)) {
        setToken(token, $("remember").checked);
        $("token").value = "";
        tell(null);
        return enter();
      }
      tell("login.wrong");
      $("token").select();
    } catch (problem) {
      tell("call.problem", { problem: problem.message });
    } finally {
      button.disabled = false;
    }
  });
}

/** Asks for the token; `reason` is a key of the words. */
export function askForToken(reason) {
  tell(reason);
  $("desk").hidden = true;
  $("login").hidden = false;
  $("token").focus();
}
