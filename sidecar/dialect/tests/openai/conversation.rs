//! Turns of talk: audio, transcripts, speech events and keys.

use super::*;

fn speech_started() -> Value {
    json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 1000, "item_id": "u1"})
}

fn speech_stopped(audio_end_ms: u64) -> Value {
    json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": audio_end_ms, "item_id": "u1"})
}

fn said(speaker: ai_dialect::Speaker, text: &str, complete: bool) -> Output {
    Output::Transcript { speaker, text: text.into(), complete }
}

#[test]
fn a_whole_turn_from_the_callers_words_to_the_end_of_the_answer() {
    use ai_dialect::Speaker::{Agent, Caller};
    let mut talk = Talk::ready(session());

    talk.0.handle_caller_audio(&[0xff, 0x00, 0x7f]);
    let append = Output::SendAudio {
        message: Payload::Text(r#"{"type":"input_audio_buffer.append","audio":"/wB/"}"#.into()),
        audio_bytes: 3,
    };
    assert_eq!(talk.outputs(), [append]);

    let caller = "conversation.item.input_audio_transcription";
    let mut outputs = Vec::new();
    for event in [
        speech_started(),
        speech_stopped(2600),
        json!({"type": "input_audio_buffer.committed", "item_id": "u1"}),
        json!({"type": "conversation.item.added", "item": {"id": "u1", "type": "message"}}),
        json!({"type": "response.created", "response": {"id": "r1"}}),
        json!({"type": "response.output_item.added", "response_id": "r1", "item": {"id": "i1", "type": "message"}}),
        json!({"type": "response.content_part.added", "response_id": "r1", "item_id": "i1"}),
        json!({"type": format!("{caller}.delta"), "item_id": "u1", "delta": "Hel"}),
        json!({"type": format!("{caller}.completed"), "item_id": "u1", "transcript": "Hello"}),
        json!({"type": "response.output_audio_transcript.delta", "response_id": "r1", "delta": "Hi "}),
        json!({"type": "response.output_audio.delta", "response_id": "r1", "item_id": "i1", "delta": "/wB/"}),
        json!({"type": "response.output_audio.delta", "response_id": "r1", "item_id": "i1", "delta": "AAE"}),
        json!({"type": "response.output_audio.done", "response_id": "r1", "item_id": "i1"}),
        json!({"type": "response.output_audio_transcript.done", "response_id": "r1", "transcript": "Hi there"}),
        json!({"type": "response.output_item.done", "response_id": "r1", "item": {"id": "i1", "type": "message"}}),
        json!({"type": "conversation.item.done", "item": {"id": "i1"}}),
        json!({"type": "response.done", "response": {"id": "r1", "status": "completed"}}),
        json!({"type": "rate_limits.updated", "rate_limits": []}),
    ] {
        outputs.extend(talk.hear(event));
    }
    let audio = |bytes: &[u8]| Output::AgentAudio { item: "i1".into(), audio: bytes.into() };
    assert_eq!(
        outputs,
        [
            Output::CallerSpeechStarted,
            Output::CallerSpeechStopped { at_ms: Some(2400) },
            said(Caller, "Hel", false),
            said(Caller, "Hello", true),
            said(Agent, "Hi ", false),
            audio(&[0xff, 0x00, 0x7f]),
            audio(&[0x00, 0x01]),
            Output::AgentAudioDone,
            said(Agent, "Hi there", true),
        ]
    );
}

#[test]
fn both_generations_of_event_names_are_understood_by_either() {
    for api_version in [ApiVersion::Ga, ApiVersion::Beta] {
        for prefix in ["response.output_", "response."] {
            let mut talk = Talk::ready(Session { api_version, ..session() });
            let mut hear = |name: &str, field: &str, value: &str| {
                talk.hear(json!({"type": format!("{prefix}{name}"), "item_id": "i", "response_id": "r", field: value}))
            };
            use ai_dialect::Speaker::Agent;
            assert_eq!(hear("audio_transcript.delta", "delta", "a"), [said(Agent, "a", false)]);
            assert_eq!(hear("audio_transcript.done", "transcript", "b"), [said(Agent, "b", true)]);
            assert_eq!(hear("text.delta", "delta", "c"), [said(Agent, "c", false)]);
            assert_eq!(hear("text.done", "text", "d"), [said(Agent, "d", true)]);
            assert!(matches!(hear("audio.delta", "delta", "AAAA")[..], [Output::AgentAudio { .. }]));
            assert_eq!(hear("audio.done", "item_id", "i"), [Output::AgentAudioDone]);
        }
    }
}

#[test]
fn each_item_ends_once_even_if_only_the_end_of_the_response_tells() {
    let mut talk = Talk::ready(session());
    let done = |item: &str| json!({"type": "response.output_audio.done", "response_id": "r", "item_id": item});
    talk.response("response.created", "r");
    talk.audio("r", "i1");
    assert_eq!(talk.hear(done("i1")), [Output::AgentAudioDone]);
    assert_eq!(talk.hear(done("i1")), []);
    talk.audio("r", "i2");
    assert_eq!(talk.response("response.done", "r"), [Output::AgentAudioDone]);
    assert_eq!(talk.hear(done("i2")), []);
    talk.response("response.created", "without audio");
    assert_eq!(talk.response("response.done", "without audio"), []);
}

#[test]
fn items_are_named_by_one_shared_text() {
    let mut talk = Talk::ready(session());
    let mut item = || match &talk.audio("r", "i1")[..] {
        [Output::AgentAudio { item, .. }] => item.clone(),
        other => panic!("{other:?}"),
    };
    assert!(std::sync::Arc::ptr_eq(&item(), &item()));
}

#[test]
fn the_end_of_speech_is_before_the_silence_that_proved_it() {
    for (turn_detection, audio_end_ms, at_ms) in [
        (TurnDetection::ServerVad, 2600, 2400),
        (TurnDetection::ServerVad, 100, 0),
        (TurnDetection::SemanticVad, 2600, 2600),
    ] {
        let mut talk = Talk::ready(Session { turn_detection, ..session() });
        let outputs = talk.hear(speech_stopped(audio_end_ms));
        assert_eq!(outputs, [Output::CallerSpeechStopped { at_ms: Some(at_ms) }]);
    }
    let untold = Talk::ready(session()).hear(json!({"type": "input_audio_buffer.speech_stopped"}));
    assert_eq!(untold, [Output::CallerSpeechStopped { at_ms: None }]);
}

#[test]
fn keys_are_told_to_the_agent_and_answered() {
    let sent = Talk::ready(session()).digits("12#");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0]["type"], "conversation.item.create");
    assert_eq!((&sent[0]["item"]["type"], &sent[0]["item"]["role"]), (&json!("message"), &json!("user")));
    assert_eq!(sent[0]["item"]["content"][0]["type"], "input_text");
    assert!(sent[0]["item"]["content"][0]["text"].as_str().unwrap().contains("12#"));
    assert_eq!(sent[1], respond());
}

#[test]
fn keys_pressed_while_the_agent_speaks_are_answered_once_it_is_done() {
    let mut talk = Talk::ready(session());
    talk.response("response.created", "r1");
    assert_eq!(talk.digits("1").len(), 1, "a second answer was asked for at the same time");
    assert_eq!(talk.digits("2").len(), 1);
    assert_eq!(sent(&talk.response("response.done", "r1")), [respond()]);
    assert_eq!(talk.response("response.created", "r2"), []);
    assert_eq!(talk.response("response.done", "r2"), [], "the keys were answered twice");
}

#[test]
fn the_agent_is_not_asked_to_talk_over_the_caller() {
    // The server answers by itself: its answer is about the keys, too.
    let mut talk = Talk::ready(session());
    talk.hear(speech_started());
    assert_eq!(talk.digits("1").len(), 1);
    assert_eq!(talk.hear(speech_stopped(2000)).len(), 1);
    talk.response("response.created", "r1");
    assert_eq!(talk.response("response.done", "r1"), []);
    assert_eq!(talk.digits("2").len(), 2);

    // It does not: we ask.
    let mut talk = Talk::ready(Session { create_response: false, ..session() });
    talk.hear(speech_started());
    assert_eq!(talk.digits("1").len(), 1);
    assert_eq!(sent(&talk.hear(speech_stopped(2000))[1..]), [respond()]);
}

#[test]
fn a_request_that_met_a_busy_server_is_repeated_after_its_answer() {
    let busy = json!({"code": "conversation_already_has_active_response", "event_id": "respond"});
    let mut talk = Talk::ready(session());
    assert_eq!(talk.digits("1").len(), 2);
    talk.response("response.created", "its own");
    assert_eq!(talk.error(busy.clone()), []);
    assert_eq!(sent(&talk.response("response.done", "its own")), [respond()]);

    // The same from a server that does not announce its answers: no storm of requests.
    assert_eq!(talk.error(busy), []);
    assert_eq!(sent(&talk.response("response.done", "another")), [respond()]);
}
