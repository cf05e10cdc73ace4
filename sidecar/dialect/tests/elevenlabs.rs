//! Behaviour of the dialect `elevenlabs`: events as ElevenLabs documents them.

mod common;

use ai_dialect::{AudioChoice, FaultKind, Noticed, Output, Payload, Secret, Session, Speaker};
use ai_media::Format;
use common::{Talk, audio_sent, fault, sent, unrecognised};
use serde_json::{Value, json};

const URL: &str = "wss://api.elevenlabs.io/v1/convai/conversation";

fn session() -> Session {
    Session { url: URL.into(), agent_id: "agent_1".into(), ..Session::default() }
}

fn new(session: Session) -> Talk {
    Talk::new("elevenlabs", session, Format::ULAW)
}

fn metadata(caller: &str, agent: &str) -> Value {
    json!({"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": {
        "conversation_id": "conv_1", "agent_output_audio_format": agent, "user_input_audio_format": caller}})
}

fn ready() -> Talk {
    let mut talk = new(session());
    talk.open();
    assert_eq!(talk.hear(metadata("ulaw_8000", "ulaw_8000")), [Output::Ready]);
    talk
}

fn audio(event_id: u32) -> Value {
    json!({"type": "audio", "audio_event": {"audio_base_64": "AAEC", "event_id": event_id,
        "alignment": {"chars": ["H"], "char_start_times_ms": [0], "char_durations_ms": [80]}}})
}

fn said() -> Vec<Output> {
    vec![Output::AgentAudio { item: "answer".into(), audio: vec![0, 1, 2] }]
}

fn interruption(event_id: u32) -> Value {
    json!({"type": "interruption", "interruption_event": {"event_id": event_id}})
}

fn transcript(speaker: Speaker, text: &str) -> Vec<Output> {
    vec![Output::Transcript { speaker, text: text.into(), complete: true }]
}

#[test]
fn a_public_agent_is_named_in_the_address() {
    let talk = new(session());
    assert!(talk.dialect.request_first().is_none());
    assert_eq!(talk.dialect.handshake().url, format!("{URL}?agent_id=agent_1"));
}

#[test]
fn an_agent_that_is_not_public_is_reached_by_a_signed_address() {
    let mut talk = new(Session { api_key: Secret::new("sk-secret"), ..session() });
    let request = talk.dialect.request_first().expect("an address is asked for");
    assert_eq!(request.url, "https://api.elevenlabs.io/v1/convai/conversation/get-signed-url?agent_id=agent_1");
    assert_eq!(request.headers.len(), 1);
    assert_eq!((request.headers[0].0.as_str(), request.headers[0].1.reveal()), ("xi-api-key", "sk-secret"));
    let signed = format!("{URL}?agent_id=agent_1&conversation_signature=s");
    talk.dialect.handle_response(200, json!({"signed_url": signed}).to_string().as_bytes());
    assert_eq!(talk.outputs(), []);
    let handshake = talk.dialect.handshake();
    assert_eq!((handshake.url.as_str(), handshake.headers.len()), (signed.as_str(), 0), "the key stays here");
}

#[test]
fn an_address_that_is_not_given_ends_the_call() {
    let denied = r#"{"detail":{"status":"invalid_api_key","message":"Invalid API key sk-secret"}}"#;
    let (own, other) = (FaultKind::Authentication, FaultKind::Fatal);
    for (status, body, kind, words) in [
        (401, denied, own, "no signed URL was given (HTTP status 401): Invalid API key (hidden)"),
        (404, r#"{"detail":"Not Found"}"#, other, "no signed URL was given (HTTP status 404): Not Found"),
        (200, "<html>", other, "no signed URL was given (HTTP status 200): "),
        (200, r#"{"signed_url":"ws://elsewhere/"}"#, other, "no signed URL was given (HTTP status 200): "),
        (200, r#"{"signed_url":"wssx://elsewhere/"}"#, other, "no signed URL was given (HTTP status 200): "),
    ] {
        let mut talk = new(Session { api_key: Secret::new("sk-secret"), ..session() });
        talk.dialect.handle_response(status, body.as_bytes());
        assert_eq!(fault(&talk.outputs()), (kind, words));
    }
}

#[test]
fn what_the_profile_says_overrides_the_agent_and_the_rest_is_left_alone() {
    assert_eq!(sent(&new(session()).open()), [json!({"type": "conversation_initiation_client_data"})]);
    let full = Session {
        model: "gpt-4o".into(),
        voice: "v1".into(),
        language: "en".into(),
        instructions: "Be brief.".into(),
        greeting: "Hello".into(),
        variables: vec![("caller".into(), "+1555".into())],
        provider_settings: json!({"user_id": "u1", "conversation_config_override": {"tts": {"speed": 1.1}}})
            .as_object()
            .cloned()
            .unwrap(),
        ..session()
    };
    assert_eq!(
        sent(&new(full).open()),
        [json!({
            "type": "conversation_initiation_client_data",
            "conversation_config_override": {
                "agent": {"prompt": {"prompt": "Be brief.", "llm": "gpt-4o"}, "first_message": "Hello", "language": "en"},
                "tts": {"voice_id": "v1", "speed": 1.1},
            },
            "dynamic_variables": {"caller": "+1555"},
            "user_id": "u1",
        })]
    );
}

#[test]
fn the_formats_are_what_the_agent_is_set_to() {
    let pcm = Format::slin;
    for (caller, agent, expected) in [
        ("pcm_16000", "ulaw_8000", (pcm(16000), Format::ULAW)),
        ("ulaw_8000", "pcm_44100", (Format::ULAW, pcm(44100))),
        ("", "pcm_8000", (pcm(16000), pcm(8000))),
    ] {
        let mut talk = new(Session { audio: AudioChoice::Ulaw, ..session() });
        talk.open();
        assert_eq!(talk.dialect.agent_format(), Format::ULAW, "what is expected");
        assert_eq!(talk.hear(metadata(caller, agent)), [Output::Ready]);
        assert_eq!((talk.dialect.caller_format(), talk.dialect.agent_format()), expected);
        assert_eq!(talk.hear(metadata(caller, agent)), [], "once");
    }
}

#[test]
fn a_format_nobody_knows_ends_the_call() {
    for format in ["mp3_44100_64", "pcm_0", "pcm_96000", "ulaw_16000", "x"] {
        let mut talk = new(session());
        talk.open();
        let outputs = talk.hear(metadata("pcm_16000", format));
        assert_eq!(fault(&outputs).0, FaultKind::Fatal);
        assert!(fault(&outputs).1.contains(format));
    }
}

#[test]
fn caller_audio_has_no_type_and_waits_for_the_metadata() {
    let mut talk = new(session());
    talk.open();
    assert_eq!(talk.say(&[1; 160]), []);
    let expected = Payload::Text(r#"{"user_audio_chunk":"AAEC"}"#.into());
    assert_eq!(audio_sent(&ready().say(&[0, 1, 2])), (&expected, 3));
}

#[test]
fn every_ping_is_answered_at_once() {
    let ping = json!({"type": "ping", "ping_event": {"event_id": 12, "ping_ms": 50}});
    assert_eq!(sent(&ready().hear(ping)), [json!({"type": "pong", "event_id": 12})]);
}

#[test]
fn audio_up_to_the_interruption_is_not_heard() {
    let mut talk = ready();
    assert_eq!(talk.hear(audio(3)), said());
    assert_eq!(talk.hear(interruption(4)), [Output::Flush]);
    assert_eq!((talk.hear(audio(3)), talk.hear(audio(4)), talk.hear(audio(5))), (vec![], vec![], said()));
    assert_eq!(talk.hear(interruption(2)), [Output::Flush]);
    assert_eq!(talk.hear(audio(4)), [], "an older interruption takes nothing back");
    assert!(!talk.dialect.tells_turn_end());
}

#[test]
fn an_agent_that_nobody_may_interrupt_is_heard_to_the_end() {
    let mut talk = new(Session { interrupt_response: false, ..session() });
    talk.open();
    talk.hear(metadata("ulaw_8000", "ulaw_8000"));
    assert_eq!(talk.hear(interruption(4)), []);
    assert_eq!(talk.hear(audio(4)), said());
}

#[test]
fn after_an_interruption_heard_here_the_answer_is_silent_until_the_server_goes_on() {
    let user = json!({"type": "user_transcript", "user_transcription_event": {"user_transcript": "hi", "event_id": 5}});
    let agent = json!({"type": "agent_response", "agent_response_event": {"agent_response": "Hi", "event_id": 6}});
    for next in [interruption(3), user, agent] {
        let mut talk = ready();
        talk.hear(audio(3));
        assert_eq!(talk.interrupt(&[("answer", 20, 100)], Noticed::ByUs), [] as [Value; 0]);
        assert_eq!(talk.hear(audio(3)), []);
        talk.hear(next);
        assert_eq!(talk.hear(audio(4)), said());
    }
}

#[test]
fn what_is_said_is_transcribed_and_corrected() {
    let mut talk = ready();
    let user =
        json!({"type": "user_transcript", "user_transcription_event": {"user_transcript": "hello ", "event_id": 5}});
    assert_eq!(talk.hear(user), transcript(Speaker::Caller, "hello"));
    let agent =
        json!({"type": "agent_response", "agent_response_event": {"agent_response": "Hi, I can", "event_id": 6}});
    assert_eq!(talk.hear(agent), transcript(Speaker::Agent, "Hi, I can"));
    let corrected = json!({"type": "agent_response_correction", "agent_response_correction_event": {
        "original_agent_response": "Hi, I can", "corrected_agent_response": "Hi,", "event_id": 6}});
    assert_eq!(talk.hear(corrected), transcript(Speaker::Agent, "Hi,"));
}

#[test]
fn a_client_tool_runs_and_its_result_goes_back() {
    let mut talk = ready();
    let call = json!({"type": "client_tool_call", "client_tool_call": {"tool_name": "transfer", "tool_call_id": "t1",
        "parameters": {"extension": "200"}, "event_id": 7}});
    assert_eq!(
        talk.hear(call),
        [Output::ToolCall {
            call_id: "t1".into(),
            name: "transfer".into(),
            arguments: r#"{"extension":"200"}"#.into()
        }]
    );
    let result = |result: &str, is_error: bool| {
        [json!({"type": "client_tool_result", "tool_call_id": "t1", "result": result, "is_error": is_error})]
    };
    assert_eq!(talk.tool_result("t1", r#"{"ok":true}"#), result(r#"{"ok":true}"#, false));
    assert_eq!(talk.tool_result("t1", r#"{"ok":false}"#), result(r#"{"ok":false}"#, true));
}

#[test]
fn keys_are_told_in_words() {
    let text = "(The caller pressed these keys on the telephone: 12#)";
    assert_eq!(ready().digits("12#"), [json!({"type": "user_message", "text": text})]);
}

#[test]
fn an_error_is_told_and_the_conversation_goes_on() {
    let error =
        json!({"type": "error", "error_event": {"code": 1002, "message": "too slow", "error_type": "llm_timeout"}});
    assert_eq!(fault(&ready().hear(error)), (FaultKind::Transient, "llm_timeout: too slow"));
}

#[test]
fn what_is_no_event_is_not_recognised() {
    let mut talk = ready();
    assert_eq!(unrecognised(&talk.hear(json!({"type": "sing"}))), "sing");
    let vad = json!({"type": "vad_score", "vad_score_event": {"vad_score": 0.93}});
    assert_eq!(talk.hear(vad), []);
    let bad = json!({"type": "audio", "audio_event": {"audio_base_64": "!!!", "event_id": 1}});
    assert_eq!(unrecognised(&talk.hear(bad)), "audio that is not base64");
}
