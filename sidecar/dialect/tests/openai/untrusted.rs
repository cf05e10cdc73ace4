//! Whatever comes over the WebSocket: nothing panics, nothing grows without bound.

use super::*;

fn unrecognised(outputs: &[Output]) -> &str {
    match outputs {
        [Output::Unrecognised(what)] => what,
        other => panic!("{other:?} should not be recognised"),
    }
}

#[test]
fn what_is_no_event_is_not_recognised() {
    let mut talk = Talk::ready(session());
    for text in ["", "hello", "{", "\"secret\"", "7", "null", r#"{"type":"error","type":"error"}"#] {
        talk.0.handle_message(Message::Text(text));
        assert!(unrecognised(&talk.outputs()).starts_with("not a message of this protocol"), "{text}");
    }
    for text in ["{}", "[]", r#"{"type":7}"#] {
        talk.0.handle_message(Message::Text(text));
        assert_eq!(unrecognised(&talk.outputs()), "a message without a type", "{text}");
    }
    talk.0.handle_message(Message::Binary(&[1, 2, 3]));
    assert_eq!(unrecognised(&talk.outputs()), "binary message of 3 bytes");
}

#[test]
fn an_unknown_type_is_named_in_short() {
    let mut talk = Talk::ready(session());
    assert_eq!(unrecognised(&talk.hear(json!({"type": "response.new_thing"}))), "response.new_thing");
    assert_eq!(unrecognised(&talk.hear(json!({"type": "x".repeat(9999)}))).chars().count(), 301);
}

#[test]
fn audio_that_is_not_base64_is_not_recognised() {
    let delta = json!({"type": "response.output_audio.delta", "item_id": "i", "delta": "!!!!"});
    let mut talk = Talk::ready(session());
    assert_eq!(unrecognised(&talk.hear(delta)), "response.output_audio.delta that is not base64");
    assert_eq!(talk.response("response.done", "r"), [], "no audio was given that could be done");
}

#[test]
fn escaped_and_unpadded_base64_is_understood() {
    let mut talk = Talk::ready(session());
    talk.0.handle_message(Message::Text(r#"{"type":"response.audio.delta","item_id":"i","delta":"\/\/8"}"#));
    assert_eq!(talk.outputs(), [Output::AgentAudio { item: "i".into(), audio: vec![0xff, 0xff] }]);
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = format!(r#"{{"type":"error","error":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let mut talk = Talk::ready(session());
    talk.0.handle_message(Message::Text(&deep));
    unrecognised(&talk.outputs());
}

#[test]
fn endless_calls_and_items_are_bounded() {
    let mut talk = Talk::ready(session());
    talk.response("response.created", "r");
    let mut calls = 0;
    for n in 0..1000 {
        calls += talk
            .hear(json!({"type": "response.function_call_arguments.done", "response_id": "r",
                "call_id": format!("c{n}"), "name": "lookup", "arguments": "{}"}))
            .len();
        talk.hear(json!({"type": "response.audio.delta", "item_id": format!("i{n}"), "delta": "AAAA"}));
    }
    assert_eq!(calls, 64);
}

/// Every event the dialect acts on, in an order in which it would.
fn corpus() -> Vec<String> {
    let error = json!({"type": "server_error", "code": "odd", "message": "Sorry", "event_id": "respond"});
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let created = json!({"type": "response.created", "response": {"id": "r"}});
    [
        json!({"type": "session.updated", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}}),
        created.clone(),
        json!({"type": "response.output_item.added", "response_id": "r", "item": call}),
        json!({"type": "response.function_call_arguments.done", "response_id": "r", "call_id": "c", "arguments": ""}),
        json!({"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "content_index": 0,
            "delta": "AAECAwQFBgcICQ=="}),
        json!({"type": "response.output_audio_transcript.delta", "response_id": "r", "delta": "Grüße"}),
        json!({"type": "input_audio_buffer.speech_started"}),
        json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 2600}),
        json!({"type": "response.output_audio.done", "response_id": "r", "item_id": "i"}),
        json!({"type": "response.output_item.done", "response_id": "r", "item": call}),
        json!({"type": "response.done", "response": {"id": "r", "status": "failed", "status_details": {"error": error}}}),
        json!({"type": "conversation.item.input_audio_transcription.failed", "error": error}),
        json!({"type": "error", "error": error}),
        created,
    ]
    .map(|event| event.to_string())
    .into()
}

/// The next of a fixed row of numbers (xorshift64), below `limit`.
fn next(state: &mut u64, limit: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % limit as u64) as usize
}

/// `text` with some bytes changed, removed or repeated, as far as it stays UTF-8 as a WebSocket makes sure of.
fn mutated(text: &str, state: &mut u64) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=next(state, 3) {
        let at = next(state, bytes.len());
        match next(state, 4) {
            0 => bytes[at] = b"\"{}[],:0-9\\nte"[next(state, 14)],
            1 => bytes.truncate(at.max(1)),
            2 => drop(bytes.remove(at)),
            _ => bytes.extend_from_within(at..),
        }
        if bytes.is_empty() {
            bytes.push(b'{');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn damaged_messages_in_any_order_never_panic() {
    let corpus = corpus();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut talk = Talk::opened(Session { interrupt_response: false, ..session() });
    for round in 0..20_000 {
        let event = &corpus[next(&mut state, corpus.len())];
        let event = if round % 3 == 0 { event.clone() } else { mutated(event, &mut state) };
        talk.0.handle_message(Message::Text(&event));
        match next(&mut state, 8) {
            0 => talk.0.handle_interrupted(
                &[Heard { item: "i".into(), heard_ms: round % 5, received_ms: 3 }],
                Noticed::ByProvider,
            ),
            1 => talk.0.handle_digits("1#"),
            2 => talk.0.handle_tool_result("c", &event, true),
            3 => talk.0.handle_caller_audio(event.as_bytes()),
            _ => {}
        }
        for output in talk.outputs() {
            if let Output::Send(text) | Output::SendAudio { message: Payload::Text(text), .. } = output {
                serde_json::from_str::<Value>(&text).expect("we send JSON whatever we hear");
            }
        }
    }
}
