//! What an agent can do besides talking: its tools, in real calls that go on meanwhile.

#[path = "../common/mod.rs"]
mod common;

mod dialplan;
mod filler;
mod line;
mod service;
mod webhook;

use std::time::Duration;

use common::{SOON, Stage, eventually};
use practice_agent::{Builder, Script, Server, Session};
use serde_json::Value;

/// An agent that does only what it is told to.
fn passive() -> Builder {
    Server::builder().script(Script::new())
}

/// What the tools have answered so far.
fn answers(session: &Session) -> Vec<Value> {
    let items = session.events_of("conversation.item.create").into_iter().map(|event| event.json["item"].clone());
    let outputs = items.filter(|item| item["type"] == "function_call_output");
    outputs.map(|item| serde_json::from_str(item["output"].as_str().unwrap_or_default()).expect("JSON")).collect()
}

/// Lets the agent call a tool and waits for the answer to it.
#[track_caller]
fn call(session: &Session, tool: &str, arguments: &Value) -> Value {
    let before = answers(session).len();
    session.perform(Script::new().call_tool(tool, arguments.to_string()));
    eventually("the tool answers", SOON, || answers(session).len() > before);
    answers(session).pop().expect("an answer")
}

/// As [`call`], for one that fails; what the agent is told.
#[track_caller]
fn refused(session: &Session, tool: &str, arguments: &Value) -> String {
    let answer = call(session, tool, arguments);
    assert_eq!(answer["ok"], false, "{answer}");
    answer["error"].as_str().expect("a sentence").to_owned()
}

/// Fails unless the caller is heard by the agent now.
#[track_caller]
fn assert_goes_on(session: &Session) {
    let before = session.caller_audio_time();
    session.wait_caller_audio(before + Duration::from_millis(200), SOON).expect("the call goes on");
}

/// Keys of profile `test` that declare tools, and their sections after it.
fn tools(profile: &str, sections: &[(&str, String)]) -> String {
    let names: String = sections.iter().map(|(name, _)| format!("tool = {name}\n")).collect();
    let sections: String = sections
        .iter()
        .map(|(name, keys)| format!("\n[{name}]\ntype = tool\ndescription = A tool\n{keys}\n"))
        .collect();
    format!("{profile}\n{names}{sections}")
}

/// A schema of arguments that are texts, all of them required.
fn texts(names: &[&str]) -> String {
    let properties: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), serde_json::json!({"type": "string"}))).collect();
    let schema = serde_json::json!({
        "type": "object", "properties": properties, "required": names, "additionalProperties": false
    });
    format!("parameters = {schema}")
}

/// The call is hung up, and nothing of it is left.
fn hang_up(stage: &Stage, call: &rig::PhoneCall) {
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");
    stage.assert_nothing_left();
}
