//! Tool calls, their results, and when the agent speaks about them.

use super::*;

/// A response that is being made.
fn thinking() -> Talk {
    let mut talk = Talk::ready(session());
    talk.response("response.created", "r");
    talk
}

fn arguments_done(call_id: &str) -> Value {
    json!({"type": "response.function_call_arguments.done", "response_id": "r", "call_id": call_id,
        "name": "lookup", "arguments": "{\"id\":\"7\"}"})
}

fn item(kind: &str, call_id: &str, arguments: &str) -> Value {
    json!({"type": kind, "response_id": "r", "item": {"id": "f", "type": "function_call", "status": "completed",
        "call_id": call_id, "name": "lookup", "arguments": arguments}})
}

fn call(call_id: &str) -> Output {
    Output::ToolCall { call_id: call_id.into(), name: "lookup".into(), arguments: "{\"id\":\"7\"}".into() }
}

fn output(call_id: &str) -> Value {
    json!({"type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": call_id, "output": "{\"ok\":true}"}})
}

#[test]
fn a_call_is_given_once_whatever_the_server_repeats() {
    let mut talk = thinking();
    assert_eq!(talk.hear(item("response.output_item.added", "c1", "")), []);
    assert_eq!(talk.hear(arguments_done("c1")), [call("c1")]);
    assert_eq!(talk.hear(arguments_done("c1")), []);
    assert_eq!(talk.hear(item("response.output_item.done", "c1", "{\"id\":\"7\"}")), []);
}

#[test]
fn beta_names_the_function_in_its_item() {
    let nameless = json!({"type": "response.function_call_arguments.done", "response_id": "r", "call_id": "c1",
        "arguments": "{\"id\":\"7\"}"});
    let mut talk = thinking();
    talk.hear(item("response.output_item.added", "c1", ""));
    assert_eq!(talk.hear(nameless.clone()), [call("c1")]);

    let mut talk = thinking();
    assert_eq!(talk.hear(nameless), [], "nobody has told the name");
    assert_eq!(talk.hear(item("response.output_item.done", "c1", "{\"id\":\"7\"}")), [call("c1")]);
}

#[test]
fn the_agent_goes_on_after_its_response_is_done() {
    let mut talk = thinking();
    talk.hear(arguments_done("c1"));
    assert_eq!(talk.tool_result("c1", true), [output("c1")]);
    assert_eq!(sent(&talk.response("response.done", "r")), [respond()]);
}

#[test]
fn a_slow_tool_is_answered_when_it_is_done() {
    let mut talk = thinking();
    talk.hear(arguments_done("c1"));
    assert_eq!(talk.response("response.done", "r"), []);
    assert_eq!(talk.tool_result("c1", true), [output("c1"), respond()]);
}

#[test]
fn two_calls_of_one_response_are_answered_by_one_request() {
    let mut talk = thinking();
    talk.hear(arguments_done("c1"));
    assert_eq!(talk.tool_result("c1", true), [output("c1")]);
    talk.hear(arguments_done("c2"));
    assert_eq!(talk.response("response.done", "r"), []);
    assert_eq!(talk.tool_result("c2", false), [output("c2"), respond()], "one of the two asked to go on");
    talk.response("response.created", "r2");
    assert_eq!(talk.response("response.done", "r2"), []);
}

#[test]
fn a_result_that_needs_no_words_gets_none() {
    let mut talk = thinking();
    talk.hear(arguments_done("c1"));
    talk.response("response.done", "r");
    assert_eq!(talk.tool_result("c1", false), [output("c1")]);
}

#[test]
fn a_result_waits_for_an_answer_that_began_meanwhile() {
    let mut talk = thinking();
    talk.hear(arguments_done("c1"));
    talk.response("response.done", "r");
    talk.response("response.created", "r2");
    assert_eq!(talk.tool_result("c1", true), [output("c1")]);
    assert_eq!(sent(&talk.response("response.done", "r2")), [respond()]);
}

#[test]
fn results_nobody_waits_for_are_not_sent() {
    let mut talk = thinking();
    assert_eq!(talk.tool_result("never made", true), [] as [Value; 0]);
    talk.hear(arguments_done("c1"));
    assert_eq!(talk.tool_result("c1", true).len(), 1);
    assert_eq!(talk.tool_result("c1", true), [] as [Value; 0]);
}

#[test]
fn a_call_cut_off_by_the_caller_does_not_run() {
    let mut talk = thinking();
    talk.hear(item("response.output_item.added", "c1", ""));
    talk.hear(json!({"type": "input_audio_buffer.speech_started"}));
    assert_eq!(talk.hear(arguments_done("c1")), []);
    assert_eq!(talk.hear(item("response.output_item.done", "c1", "{\"id")), []);
    assert_eq!(talk.response("response.done", "r"), []);
}
