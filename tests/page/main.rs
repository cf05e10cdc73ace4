//! The operator's page in a real browser, in front of a real Asterisk.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod assist;
mod cut;
mod look;
mod past;
mod recordings;
mod talk;
mod untrusted;

use std::time::Duration;

use common::{SOON, Stage, eventually, extension};
use practice_agent::{Builder, Frame, Script, Server, Speech, Step};
use rig::http::{Api, free_port};
use rig::{Browser, Page, Screen};
use serde_json::{Value, json};

const TOKEN: &str = "a-token-of-32-characters-or-more";
/// Keys of `[general]` that most tests have.
const KEPT: &str = "database = calls.sqlite3\nrecordings = .\n";

/// An Asterisk with the page, and a browser.
struct Desk {
    stage: Stage,
    api: Api,
    browser: Browser,
}

impl Desk {
    fn new() -> Self {
        Self::with(KEPT, "", "")
    }

    /// `general` are keys of `[general]`, `more` follows the profile `test` in ai_bridge.conf, and `dialplan` the extension 100.
    fn with(general: &str, more: &str, dialplan: &str) -> Self {
        Self::of(Server::builder().script(Script::new()), general, more, dialplan)
    }

    /// As [`Desk::with`]; the address of `agent` stands for `AGENT` in `more`.
    fn of(agent: Builder, general: &str, more: &str, dialplan: &str) -> Self {
        let browser = Browser::start().expect("Chromium starts");
        let api = Api { address: ([127, 0, 0, 1], free_port()).into(), token: TOKEN.to_owned() };
        let general = format!("[general]\nhttp_bind = {}\nhttp_token = {TOKEN}\n{general}", api.address);
        let config = |url: &str| {
            let agent = url.trim_start_matches("ws://").trim_end_matches("/v1/realtime");
            common::profile(url, "").replacen("[general]\n", &general, 1) + &more.replace("AGENT", agent)
        };
        let dialplan = extension("_2XX", "") + dialplan;
        let stage = Stage::with(agent, |rig, url| rig.config("ai_bridge.conf", config(url)), &dialplan);
        eventually("the API answers", SOON, || api.try_send("GET", "/health", &[], "").is_ok());
        Self { stage, api, browser }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.api.address)
    }

    /// A page at the login.
    fn page(&self, name: &str, screen: Screen) -> Page<'_> {
        let page = self.browser.open(name, &self.url(), screen).expect("the page opens");
        page.wait("!document.getElementById('login').hidden", SOON).expect("it asks for the token");
        page
    }

    /// A page whose user has logged in.
    fn open(&self, name: &str, screen: Screen) -> Page<'_> {
        let page = self.page(name, screen);
        log_in(&page, TOKEN);
        page.wait("document.getElementById('link').dataset.state === 'on'", SOON).expect("it is connected");
        page
    }
}

fn log_in(page: &Page<'_>, token: &str) {
    page.fill("#token", token).expect("there is a field");
    page.click("#login button").expect("there is a button");
}

/// The text of all that `selector` finds.
fn texts(page: &Page<'_>, selector: &str) -> Vec<String> {
    let script = format!("[...document.querySelectorAll({})].map((node) => node.textContent)", json!(selector));
    let found = page.evaluate(&script).expect("a list");
    found.as_array().expect("a list").iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What is on the page of a conversation: who, and what.
fn lines(page: &Page<'_>) -> Vec<(String, String)> {
    let script = "[...document.querySelectorAll('#lines .said')].map((line) => [line.classList[1], line.querySelector('.text').textContent])";
    let found = page.evaluate(script).expect("a list");
    serde_json::from_value(found).expect("pairs of texts")
}

/// Waits until `selector` finds something with `text` in it.
#[track_caller]
fn wait_text(page: &Page<'_>, selector: &str, text: &str) {
    let script = format!(
        "[...document.querySelectorAll({})].some((node) => node.textContent.includes({}))",
        json!(selector),
        json!(text)
    );
    if let Err(problem) = page.wait(&script, SOON) {
        panic!("no {selector} with {text:?}, but {:?}: {problem:#}", texts(page, selector));
    }
}

/// The provider makes out these words of the caller.
fn caller_said(text: &str) -> Script {
    let event = json!({"type": "conversation.item.input_audio_transcription.completed",
        "item_id": format!("item_{}", text.len()), "content_index": 0, "transcript": text});
    Script::new().then(Step::Send(Frame::Text(event.to_string())))
}

/// The agent says this.
fn agent_says(text: &str) -> Script {
    Script::new().say(Speech::spoken(text))
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
