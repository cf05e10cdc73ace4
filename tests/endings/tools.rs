//! The agent ends the conversation by a tool, or tries to.

use std::time::Duration;

use practice_agent::{Pace, Reply, Script, Session, Speech, Step, ToolCall};
use rig::PhoneCall;
use serde_json::Value;

use super::{assert_ended, assert_hung_up, passive};
use crate::common::{SOON, Stage, eventually, extension, signal};

#[test]
fn after_hangup_the_goodbye_is_heard_to_its_end() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = stage.talk("100");
    let goodbye = signal::codes(3, 8 * 1500);
    session.perform(reply(&goodbye, "hangup", "{}"));
    assert_ended(&stage, "100", &call, "COMPLETE", "the agent hung up");
    assert_heard(&call, &goodbye);
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
    assert_eq!(outputs(&session).len(), 1, "the tool call is answered");
}

#[test]
fn a_server_that_closes_after_its_goodbye_is_heard_to_its_end() {
    let stage = Stage::new(passive(), "", &extension("_20X", ""));
    let goodbye = signal::codes(3, 8 * 1500);
    for (extension, tool) in [("201", true), ("202", false)] {
        let (call, session) = stage.talk(extension);
        if tool {
            session.perform(reply(&goodbye, "hangup", "{}"));
            session.wait_event("conversation.item.create", 0, SOON).expect("the tool call is answered");
            session.perform(Script::new().close(1000, ""));
        } else {
            session
                .perform(Script::new().say(Speech::wire("Goodbye", goodbye.clone()).at(Pace::Burst)).close(1000, ""));
        }
        assert_ended(&stage, extension, &call, "COMPLETE", "");
        assert_heard(&call, &goodbye);
    }
}

#[test]
fn a_caller_may_hang_up_during_the_goodbye() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = stage.talk("100");
    session.perform(reply(&signal::codes(3, 8 * 10_000), "hangup", "{}"));
    eventually("the goodbye begins", SOON, || {
        call.heard().audio().flat_map(|packet| &packet.payload).any(|code| !signal::SILENT_CODES.contains(code))
    });
    call.hang_up();
    assert_hung_up(&stage, "100", &call);
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
}

#[test]
fn a_transfer_goes_to_the_dialplan_where_the_profile_allows_it() {
    let keys = "transfer_context = staff\ntransfer_context = queues";
    let stage = Stage::new(passive(), keys, &extension("_20X", ""));
    let transfers = [
        ("201", r#"{"extension":"300"}"#, "300@staff"),
        ("202", r#"{"extension":"sales-1","context":"queues"}"#, "sales-1@queues"),
    ];
    let announcement = signal::codes(4, 8 * 300);
    for (number, arguments, target) in transfers {
        let (call, session) = stage.talk(number);
        session.perform(reply(&announcement, "transfer", arguments));
        let result = assert_ended(&stage, number, &call, "TRANSFER", target);
        assert_eq!(result.get("TRANSFER"), target);
        assert_heard(&call, &announcement);
    }
}

#[test]
fn a_tool_call_that_is_refused_goes_back_to_the_agent_and_the_call_goes_on() {
    let stage = Stage::new(passive(), "transfer_context = staff", "");
    let (call, session) = stage.talk("100");
    let refused = [
        ("transfer", r#"{"extension":"300","context":"default"}"#, "transfers are allowed to staff"),
        ("transfer", r#"{"extension":"1,1)&System(id"}"#, "expected digits or letters"),
        ("transfer", r#"{"extension":"${SHELL(id)}"}"#, "expected digits or letters"),
        ("transfer", "300", "expected digits or letters"),
        ("transfer", "{", "not JSON"),
        ("launch_missiles", "{}", "there is no such tool"),
    ];
    for (number, (name, arguments, problem)) in refused.into_iter().enumerate() {
        session.perform(Script::new().call_tool(name, arguments));
        session.wait_event("response.create", number, SOON).expect("the agent is asked to go on");
        let output = outputs(&session).pop().expect("the tool call is answered");
        let output: Value = serde_json::from_str(&output).expect("JSON");
        assert_eq!(output["ok"], false, "{name}({arguments}): {output}");
        assert!(output["error"].as_str().is_some_and(|error| error.contains(problem)), "{output}");
    }
    let before = session.caller_audio_time();
    session.wait_caller_audio(before + Duration::from_millis(300), SOON).expect("the call goes on");
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");
    let result = stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("TRANSFER")), ("HANGUP", ""));
}

#[test]
fn without_a_context_to_transfer_to_the_agent_does_not_know_the_tool() {
    let stage = Stage::new(passive(), "", "");
    let (_call, session) = stage.talk("100");
    let update = session.wait_event("session.update", 0, SOON).expect("the session is set up");
    let tools = update.json["session"]["tools"].as_array().expect("there are tools");
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["hangup"]);
    session.perform(Script::new().call_tool("transfer", r#"{"extension":"300"}"#));
    session.wait_event("response.create", 0, SOON).expect("the agent is asked to go on");
    assert!(outputs(&session)[0].contains("error"), "{:?}", outputs(&session));
}

/// A response that says `words` and then calls a tool; all of it is sent at once.
fn reply(words: &[u8], name: &str, arguments: &str) -> Script {
    let speech = Speech::wire("Something", words).at(Pace::Burst);
    let call = ToolCall { name: name.to_owned(), arguments: arguments.to_owned() };
    Script::new().then(Step::Reply(Reply { speech: Some(speech), tool_calls: vec![call] })).then(Step::FinishReply)
}

/// What the tools answered.
fn outputs(session: &Session) -> Vec<String> {
    let items = session.events_of("conversation.item.create").into_iter().map(|event| event.json["item"].clone());
    let outputs = items.filter(|item| item["type"] == "function_call_output");
    outputs.map(|item| item["output"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Expects `codes` to have reached the phone, each one.
#[track_caller]
fn assert_heard(call: &PhoneCall, codes: &[u8]) {
    let heard: Vec<u8> = call.heard().bytes();
    let voice = heard.iter().filter(|code| !signal::SILENT_CODES.contains(code)).count();
    let whole = heard.windows(codes.len()).any(|window| window == codes);
    assert!(whole, "of {} ms, about {} ms were heard", codes.len() / 8, voice / 8);
}
