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
