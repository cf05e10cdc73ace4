//! Behaviour of the dialect `deepgram`: messages as Deepgram documents them.

mod common;

use std::time::Duration;

use ai_dialect::{AudioChoice, FaultKind, Noticed, Output, Payload, Secret, Session, Speaker, Tool, provider};
use ai_media::Format;
use common::{Talk, audio_sent, fault, sent, unrecognised};
use serde_json::{Value, json};

fn session() -> Session {
    Session {
        url: "wss://agent.deepgram.com/v1/agent/converse".into(),
        api_key: Secret::new("dg-secret"),
        model: "gpt-4o-mini".into(),
        ..Session::default()
    }
}

fn new(session: Session) -> Talk {
    Talk::new("deepgram", session, Format::ULAW)
}

fn ready() -> Talk {
    let mut talk = new(session());
    talk.open();
    assert_eq!(talk.hear(json!({"type": "Welcome", "request_id": "r"})), []);
    assert_eq!(talk.hear(json!({"type": "SettingsApplied"})), [Output::Ready]);
    talk
}

fn said() -> Vec<Output> {
    vec![Output::AgentAudio { item: "answer".into(), audio: vec![1, 2] }]
}

#[test]
fn the_key_is_a_token() {
    let headers = new(session()).dialect.handshake().headers;
    assert_eq!((headers[0].0.as_str(), headers[0].1.reveal()), ("Authorization", "Token dg-secret"));
}

#[test]
fn the_settings_come_first_and_say_what_the_profile_does() {
    assert_eq!(
        sent(&new(session()).open()),
        [json!({
            "type": "Settings",
            "audio": {"input": {"encoding": "mulaw", "sample_rate": 8000},
                "output": {"encoding": "mulaw", "sample_rate": 8000, "container": "none"}},
            "agent": {"think": {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}}},
        })]
    );
    let full = Session {
        think_provider: "anthropic".into(),
        audio: AudioChoice::Pcm16,
        voice: "aura-2-thalia-en".into(),
        language: "de".into(),
        instructions: "Be brief.".into(),
        greeting: "Hello".into(),
        transcription_model: "flux-general-en".into(),
        tools: vec![Tool {
            name: "hangup".into(),
            description: "Ends the call".into(),
            parameters: json!({"type": "object", "properties": {}}),
        }],
        provider_settings: json!({"agent": {"think": {"provider": {"temperature": 0.7}}}, "mip_opt_out": true})
            .as_object()
            .cloned()
            .unwrap(),
        ..session()
    };
    assert_eq!(
        sent(&new(full).open()),
        [json!({
            "type": "Settings",
            "audio": {"input": {"encoding": "linear16", "sample_rate": 16000},
                "output": {"encoding": "linear16", "sample_rate": 16000, "container": "none"}},
            "agent": {
                "listen": {"provider": {"type": "deepgram", "version": "v2", "model": "flux-general-en", "language_hints": ["de"]}},
                "think": {
                    "provider": {"type": "anthropic", "model": "gpt-4o-mini", "temperature": 0.7},
                    "prompt": "Be brief.",
                    "functions": [{"name": "hangup", "description": "Ends the call",
                        "parameters": {"type": "object", "properties": {}}}],
                },
                "speak": {"provider": {"type": "deepgram", "model": "aura-2-thalia-en"}},
                "greeting": "Hello",
            },
            "mip_opt_out": true,
        })]
    );
    let nova = Session { transcription_model: "nova-3".into(), language: "de".into(), ..session() };
    assert_eq!(
        sent(&new(nova).open())[0]["agent"]["listen"],
        json!({"provider": {"type": "deepgram", "version": "v1", "model": "nova-3", "language": "de"}})
    );
}

#[test]
fn an_agent_that_was_set_up_there_is_only_named() {
    let saved = Session { model: String::new(), agent_id: "a1b2".into(), ..session() };
    assert_eq!(sent(&new(saved.clone()).open())[0]["agent"], "a1b2");
    let check = provider("deepgram").unwrap().check;
    assert!(check(&saved).is_ok() && check(&session()).is_ok());
    assert!(check(&Session { agent_id: "a1b2".into(), ..session() }).is_err(), "it has a model of its own");
    assert!(check(&Session { model: String::new(), ..session() }).is_err(), "somebody must think");
}

#[test]
fn audio_is_binary_both_ways_once_the_settings_are_applied() {
    let mut talk = new(session());
    talk.open();
    assert_eq!((talk.say(&[1, 2]), talk.hear_binary(&[1, 2])), (vec![], vec![]));
    let mut talk = ready();
    assert_eq!(audio_sent(&talk.say(&[1, 2])), (&Payload::Binary(vec![1, 2]), 2));
    assert_eq!(talk.hear_binary(&[1, 2]), said());
    assert_eq!(talk.hear(json!({"type": "AgentAudioDone"})), [Output::AgentAudioDone]);
}

#[test]
fn the_caller_who_starts_to_speak_silences_the_agent() {
    let started = json!({"type": "UserStartedSpeaking"});
    assert_eq!(ready().hear(started.clone()), [Output::Flush]);
    let mut talk = new(Session { interrupt_response: false, ..session() });
    talk.open();
    talk.hear(json!({"type": "SettingsApplied"}));
    assert_eq!(talk.hear(started), [], "nobody may interrupt");
}

#[test]
fn after_an_interruption_heard_here_the_answer_is_silent_to_its_end() {
    for next in ["UserStartedSpeaking", "AgentAudioDone", "AgentStartedSpeaking"] {
        let mut talk = ready();
        talk.hear_binary(&[1, 2]);
        assert_eq!(talk.interrupt(&[("answer", 20, 100)], Noticed::ByUs), [] as [Value; 0]);
        assert_eq!(talk.hear_binary(&[1, 2]), []);
        talk.hear(json!({"type": next}));
        assert_eq!(talk.hear_binary(&[1, 2]), said(), "{next}");
    }
}

#[test]
fn a_session_without_audio_is_kept_alive() {
    let second = Duration::from_secs(1);
    let mut talk = new(session());
    talk.open();
    assert_eq!(talk.wait(9 * second), [] as [Value; 0], "nothing may come before the settings are applied");
    talk.hear(json!({"type": "SettingsApplied"}));
    let mut sent_at = Vec::new();
    for at in 0..40 {
        if (10..20).contains(&at) {
            talk.say(&[0; 160]);
        }
        if !talk.wait(second).is_empty() {
            sent_at.push(at);
        }
    }
    let silent = [0..10, 20..40];
    assert!(sent_at.iter().all(|at| silent.iter().any(|range| range.contains(at))), "{sent_at:?}");
    let mut talked = sent_at.clone();
    talked.extend(10..20);
    talked.sort_unstable();
    let longest = talked.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest <= Some(8), "never silent for longer than 8 s: {talked:?}");
    talk.now += 60 * second;
    assert_eq!(talk.wait(second), [json!({"type": "KeepAlive"})], "missed ones are not made up for");
}

#[test]
fn what_is_said_is_transcribed() {
    let text = |role: &str| json!({"type": "ConversationText", "role": role, "content": "hi"});
    let said = |speaker| [Output::Transcript { speaker, text: "hi".into(), complete: true }];
    assert_eq!(ready().hear(text("user")), said(Speaker::Caller));
    assert_eq!(ready().hear(text("assistant")), said(Speaker::Agent));
    assert_eq!(unrecognised(&ready().hear(text("ghost"))), "a text that nobody said");
}

#[test]
fn a_function_of_ours_is_called_and_one_of_theirs_is_not() {
    let mut talk = ready();
    let call = |id: &str, ours: bool| json!({"id": id, "name": "f", "arguments": "{\"a\":1}", "client_side": ours});
    let request = json!({"type": "FunctionCallRequest", "functions": [call("fc1", true), call("fc2", false)]});
    let expected = Output::ToolCall { call_id: "fc1".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
    assert_eq!(talk.hear(request), [expected]);
    let response = json!({"type": "FunctionCallResponse", "id": "fc1", "name": "f", "content": "{\"ok\":true}"});
    assert_eq!(talk.tool_result("fc1", "{\"ok\":true}"), [response]);
    assert_eq!(talk.tool_result("fc1", "again"), [] as [Value; 0]);
    talk.hear(json!({"type": "FunctionCallRequest", "functions": [call("fc3", true)]}));
    assert_eq!(talk.hear(json!({"type": "FunctionCallCancelled", "functions": [{"id": "fc3"}]})), []);
    assert_eq!(talk.tool_result("fc3", "{}"), [] as [Value; 0]);
}

#[test]
fn keys_are_told_in_words() {
    let content = "(The caller pressed these keys on the telephone: 5)";
    assert_eq!(ready().digits("5"), [json!({"type": "InjectUserMessage", "content": content})]);
}

#[test]
fn an_error_ends_the_call_and_a_warning_does_not() {
    let problem = |kind: &str| json!({"type": kind, "code": "INVALID_SETTINGS", "description": "No dg-secret here"});
    let words = "No (hidden) here (INVALID_SETTINGS)";
    assert_eq!(fault(&ready().hear(problem("Error"))), (FaultKind::Fatal, words));
    assert_eq!(fault(&ready().hear(problem("Warning"))), (FaultKind::Transient, words));
}

#[test]
fn what_is_no_message_is_not_recognised() {
    let mut talk = ready();
    assert_eq!(unrecognised(&talk.hear(json!({}))), "a message without a type");
    assert_eq!(talk.hear(json!({"type": "History", "role": "user", "content": "hi"})), []);
}
