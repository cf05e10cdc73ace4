//! Behaviour of the dialect `raw`, as `docs/raw.md` tells those who write bots.

mod common;

use ai_dialect::{AudioChoice, Noticed, Output, Payload, Secret, Session, Speaker};
use ai_media::Format;
use common::{Talk, audio_sent, sent, unrecognised};
use serde_json::{Value, json};

fn session() -> Session {
    Session { url: "ws://127.0.0.1:8765".into(), call_id: "c1".into(), ..Session::default() }
}

fn opened() -> Talk {
    let mut talk = Talk::new("raw", session(), Format::ALAW);
    talk.open();
    talk
}

fn start(session: Session, phone: Format) -> Value {
    let outputs = Talk::new("raw", session, phone).open();
    assert_eq!(outputs[1..], [Output::Ready]);
    sent(&outputs[..1]).remove(0)
}

#[test]
fn a_bot_is_told_the_format_and_what_the_profile_says() {
    assert_eq!(
        start(session(), Format::ALAW),
        json!({"type": "start", "call": "c1", "encoding": "alaw", "rate": 8000, "variables": {}})
    );
    let full = Session {
        audio: AudioChoice::Pcm24,
        model: "m".into(),
        voice: "v".into(),
        language: "de".into(),
        instructions: "Be brief.".into(),
        greeting: "Hello".into(),
        variables: vec![("tier".into(), "silver".into()), ("tier".into(), "gold".into())],
        provider_settings: json!({"mood": {"calm": true}}).as_object().cloned().unwrap(),
        ..session()
    };
    assert_eq!(
        start(full, Format::ALAW),
        json!({"type": "start", "call": "c1", "encoding": "pcm", "rate": 24000, "variables": {"tier": "gold"},
            "model": "m", "voice": "v", "language": "de", "instructions": "Be brief.", "greeting": "Hello",
            "mood": {"calm": true}})
    );
}

#[test]
fn a_bot_gets_the_audio_of_the_phone_at_hand_unless_told_otherwise() {
    let pcm = Format::slin;
    for (phone, expected) in
        [(Format::ULAW, Format::ULAW), (pcm(8000), pcm(8000)), (pcm(16000), pcm(16000)), (pcm(48000), pcm(24000))]
    {
        let talk = Talk::new("raw", session(), phone);
        assert_eq!((talk.dialect.caller_format(), talk.dialect.agent_format()), (expected, expected));
    }
    let chosen = Talk::new("raw", Session { audio: AudioChoice::Pcm8, ..session() }, Format::ULAW);
    assert_eq!(chosen.dialect.agent_format(), pcm(8000));
}

#[test]
fn a_key_becomes_a_bearer_token() {
    let headers = |session: Session| {
        let handshake = Talk::new("raw", session, Format::ULAW).dialect.handshake();
        handshake.headers.into_iter().map(|(name, value)| (name, value.reveal().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(headers(session()), []);
    let keyed = Session { api_key: Secret::new("k"), ..session() };
    assert_eq!(headers(keyed.clone()), [("Authorization".into(), "Bearer k".into())]);
    let own = Session { headers: vec![("authorization".into(), Secret::new("Basic x"))], ..keyed };
    assert_eq!(headers(own), [("authorization".into(), "Basic x".into())]);
}

#[test]
fn audio_is_binary_both_ways() {
    let mut talk = opened();
    assert_eq!(audio_sent(&talk.say(&[1, 2, 3])), (&Payload::Binary(vec![1, 2, 3]), 3));
    let expected = Output::AgentAudio { item: "turn".into(), audio: vec![4, 5] };
    assert_eq!(talk.hear_binary(&[4, 5]), [expected]);
    assert_eq!((talk.hear_binary(&[]), talk.say(&[])), (vec![], vec![]));
}

#[test]
fn marks_and_keys_are_told() {
    let mut talk = opened();
    assert_eq!(talk.hear(json!({"type": "mark", "name": "bye"})), [Output::Mark { name: "bye".into() }]);
    assert_eq!(talk.mark("bye", false), [json!({"type": "mark", "name": "bye", "heard": false})]);
    assert_eq!(talk.digits("7#"), [json!({"type": "digit", "digit": "7"}), json!({"type": "digit", "digit": "#"})]);
}

#[test]
fn a_flush_tells_who_ordered_it_and_what_was_heard() {
    let mut talk = opened();
    let flushed = |by: &str, heard_ms: u64, received_ms: u64| {
        [json!({"type": "flushed", "by": by, "heard_ms": heard_ms, "received_ms": received_ms})]
    };
    assert_eq!(talk.interrupt(&[("turn", 480, 2000)], Noticed::ByUs), flushed("caller", 480, 2000));
    assert_eq!(talk.hear(json!({"type": "flush"})), [Output::Flush]);
    assert_eq!(talk.interrupt(&[], Noticed::ByProvider), flushed("bot", 0, 0));
    assert_eq!(talk.interrupt(&[], Noticed::ByUs), flushed("caller", 0, 0));
}

#[test]
fn hanging_up_and_transferring_go_the_way_of_tools() {
    let mut talk = opened();
    let call = |id: &str, name: &str, arguments: &str| {
        [Output::ToolCall { call_id: id.into(), name: name.into(), arguments: arguments.into() }]
    };
    assert_eq!(talk.hear(json!({"type": "hangup"})), call("1", "hangup", "{}"));
    assert_eq!(
        talk.hear(json!({"type": "transfer", "extension": "200"})),
        call("2", "transfer", r#"{"context":null,"extension":"200"}"#)
    );
    assert_eq!(talk.tool_result("1", r#"{"ok":true}"#), [] as [Value; 0]);
    assert_eq!(
        talk.tool_result("2", r#"{"ok":false,"error":"context: no"}"#),
        [json!({"type": "refused", "reason": "context: no"})]
    );
}

#[test]
fn what_the_bot_writes_down_is_a_transcript() {
    let mut talk = opened();
    let said = |speaker| [Output::Transcript { speaker, text: "hi".into(), complete: true }];
    let transcript = |speaker: &str| json!({"type": "transcript", "speaker": speaker, "text": "hi"});
    assert_eq!(talk.hear(transcript("caller")), said(Speaker::Caller));
    assert_eq!(talk.hear(transcript("agent")), said(Speaker::Agent));
    assert!(unrecognised(&talk.hear(transcript("me"))).contains("neither caller nor agent"));
}

#[test]
fn what_is_no_message_is_not_recognised() {
    let mut talk = opened();
    assert_eq!(unrecognised(&talk.hear(json!({}))), "a message without a type");
    assert_eq!(unrecognised(&talk.hear(json!({"type": "dance"}))), "dance");
}
