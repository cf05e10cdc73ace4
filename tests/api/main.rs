//! The control API of a running module: HTTP, WebSocket, webhooks, and the log of calls behind it.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod dial;
mod doors;
mod events;
mod load;
mod log;

use std::path::PathBuf;

use common::{SOON, Stage, eventually, extension};
use practice_agent::{Frame, Script, Server, Step};
use rig::http::{Api, free_port};
use serde_json::{Value, json};

const TOKEN: &str = "a-token-of-32-characters-or-more";

/// What a test's `[general]` has besides the API, and its profile.
struct Keys<'a> {
    general: &'a str,
    profile: &'a str,
}

/// An Asterisk with the API and a call log. Extensions 2XX run `AI()`, too.
fn stage(keys: &Keys<'_>) -> (Stage, Api) {
    let api = Api { address: ([127, 0, 0, 1], free_port()).into(), token: TOKEN.to_owned() };
    let agent = Server::builder().script(Script::new());
    let config = |url: &str| config(&api, url, keys);
    let dialplan = extension("_2XX", "");
    let stage = Stage::with(agent, |rig, url| rig.config("ai_bridge.conf", config(url)), &dialplan);
    eventually("the API answers", SOON, || api.try_send("GET", "/health", &[], "").is_ok());
    (stage, api)
}

fn config(api: &Api, url: &str, keys: &Keys<'_>) -> String {
    let general = format!("http_bind = {}\nhttp_token = {}\n{}", api.address, api.token, keys.general);
    common::profile(url, keys.profile).replacen("[general]\n", &format!("[general]\n{general}\n"), 1)
}

const PLAIN: Keys<'_> = Keys { general: "database = calls.sqlite3", profile: "" };

/// The calls that are listed.
fn calls(api: &Api, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/api/calls{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["calls"].as_array().expect("a list").clone()
}

/// The id of the one call that is up.
fn the_call(api: &Api) -> String {
    let calls = calls(api, "?status=talking");
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls[0]["id"].as_str().expect("an id").to_owned()
}

/// The caller's words, as the provider makes them out.
fn caller_said(text: &str) -> Script {
    let event = json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": format!("item_{text}"),
        "content_index": 0, "transcript": text});
    Script::new().then(Step::Send(Frame::Text(event.to_string())))
}

/// A program of the Python environment of these tests.
fn program(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../api/venv/bin").join(name);
    assert!(path.exists(), "there is no {}; `tests/venv.sh api` makes it", path.display());
    path
}
