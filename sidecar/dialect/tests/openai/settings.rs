//! Handshake, formats, `session.update` and what must happen before the call is ready.

use ai_dialect::Tool;

use super::*;

fn headers(session: Session) -> Vec<(String, String)> {
    let handshake = OpenAi::new(session, Format::ULAW).handshake();
    assert!(!format!("{handshake:?}").contains("secret"), "a secret shows in Debug");
    handshake.headers.into_iter().map(|(name, value)| (name, value.reveal().to_owned())).collect()
}

fn update(session: Session, phone: Format) -> Value {
    let wire = common::wire_name("openai", &session);
    let mut dialect = OpenAi::new(session, phone);
    dialect.handle_open(Instant::now());
    let outputs = common::taken(&mut dialect, wire);
    sent(&outputs).remove(0)
}

fn tool() -> Tool {
    Tool { name: "lookup".into(), description: "Finds an order".into(), parameters: json!({"type": "object"}) }
}

#[test]
fn the_key_goes_into_the_header_the_server_wants() {
    let bearer = || ("Authorization".to_owned(), "Bearer sk-very-secret".to_owned());
    assert_eq!(headers(session()), [bearer()]);
    let azure = Session { url: "wss://x.openai.azure.com/openai/v1/realtime".into(), ..session() };
    assert_eq!(headers(azure), [("api-key".into(), "sk-very-secret".into())]);
    let beta = Session { api_version: ApiVersion::Beta, ..session() };
    assert_eq!(headers(beta), [bearer(), ("OpenAI-Beta".into(), "realtime=v1".into())]);
    assert_eq!(headers(Session { api_key: Secret::default(), ..session() }), []);
}

#[test]
fn the_operators_own_authorization_wins() {
    for url in ["wss://api.openai.com/v1/realtime", "wss://x.openai.azure.com/openai/v1/realtime"] {
        let own = vec![("authorization".to_owned(), Secret::new("Bearer entra-secret"))];
        let session = Session { url: url.into(), headers: own, ..session() };
        assert_eq!(headers(session), [("authorization".into(), "Bearer entra-secret".into())]);
    }
}

#[test]
fn a_g711_phone_keeps_its_bytes_and_any_other_gets_pcm() {
    let pcm24 = Format::slin(24000);
    for (choice, phone, expected) in [
        (AudioChoice::Auto, Format::ULAW, Format::ULAW),
        (AudioChoice::Auto, Format::ALAW, Format::ALAW),
        (AudioChoice::Auto, Format::slin(8000), pcm24),
        (AudioChoice::Auto, Format::slin(16000), pcm24),
        (AudioChoice::Alaw, Format::slin(16000), Format::ALAW),
        (AudioChoice::Ulaw, Format::ALAW, Format::ULAW),
        (AudioChoice::Pcm24, Format::ULAW, pcm24),
        (AudioChoice::Pcm16, Format::ULAW, Format::ULAW), // not offered: counts as auto
    ] {
        let dialect = OpenAi::new(Session { audio: choice, ..session() }, phone);
        assert_eq!((dialect.caller_format(), dialect.agent_format()), (expected, expected), "{choice:?} {phone}");
    }
}

#[test]
fn ga_settings_are_nested() {
    assert_eq!(
        update(Session { tools: vec![tool()], ..session() }, Format::ALAW),
        json!({"type": "session.update", "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "You answer the phone for ACME.",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcma"},
                    "transcription": {"model": "gpt-transcribe", "language": "ru"},
                    "turn_detection": {"type": "server_vad", "threshold": 0.3, "prefix_padding_ms": 300,
                        "silence_duration_ms": 200, "create_response": true, "interrupt_response": true},
                },
                "output": {"format": {"type": "audio/pcma"}, "voice": "marin"},
            },
            "tools": [{"type": "function", "name": "lookup", "description": "Finds an order",
                "parameters": {"type": "object"}}],
        }})
    );
}

#[test]
fn ga_settings_leave_out_what_is_not_configured() {
    let bare = Session {
        voice: String::new(),
        instructions: String::new(),
        transcription_model: String::new(),
        turn_detection: TurnDetection::None,
        ..session()
    };
    let pcm = json!({"type": "audio/pcm", "rate": 24000});
    assert_eq!(
        update(bare, Format::slin(16000)),
        json!({"type": "session.update", "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {
                "input": {"format": pcm, "transcription": null, "turn_detection": null},
                "output": {"format": pcm},
            },
        }})
    );
}

#[test]
fn beta_settings_are_flat() {
    let beta = Session { api_version: ApiVersion::Beta, tools: vec![tool()], ..session() };
    assert_eq!(
        update(beta.clone(), Format::ULAW),
        json!({"type": "session.update", "session": {
            "modalities": ["text", "audio"],
            "instructions": "You answer the phone for ACME.",
            "voice": "marin",
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "gpt-transcribe", "language": "ru"},
            "turn_detection": {"type": "server_vad", "threshold": 0.3, "prefix_padding_ms": 300,
                "silence_duration_ms": 200, "create_response": true, "interrupt_response": true},
            "tools": [{"type": "function", "name": "lookup", "description": "Finds an order",
                "parameters": {"type": "object"}}],
        }})
    );
    let silent = Session { transcription_model: String::new(), ..beta };
    let settings = &update(silent, Format::slin(8000))["session"];
    assert_eq!(settings["input_audio_format"], "pcm16");
    assert_eq!(settings.get("input_audio_transcription"), None);
}

#[test]
fn semantic_turn_detection_is_given_no_loudness() {
    let semantic = Session {
        turn_detection: TurnDetection::SemanticVad,
        create_response: false,
        interrupt_response: false,
        ..session()
    };
    assert_eq!(
        update(semantic, Format::ULAW)["session"]["audio"]["input"]["turn_detection"],
        json!({"type": "semantic_vad", "create_response": false, "interrupt_response": false})
    );
}

#[test]
fn ready_comes_once_and_only_after_the_settings_are_accepted() {
    let mut talk = Talk::opened(session());
    assert_eq!(talk.hear(json!({"type": "session.created", "session": {"audio": {}}})), []);
    talk.0.handle_caller_audio(&[0xff; 160]);
    assert_eq!(talk.outputs(), [], "caller audio went out in a format nobody has confirmed");
    assert_eq!(talk.hear(json!({"type": "session.updated", "session": {}})), [Output::Ready]);
    assert_eq!(talk.hear(json!({"type": "session.updated", "session": {}})), []);
}

#[test]
fn echoed_formats_are_compared_in_either_shape() {
    let pcmu = json!({"type": "audio/pcmu"});
    for accepted in [
        json!({}),
        json!({"audio": {"input": {"format": pcmu}, "output": {"format": pcmu}}}),
        json!({"audio": {"input": {"format": null}, "output": {"format": {"type": "audio/pcmu", "rate": 8000}}}}),
        json!({"audio": {"input": {"format": "g711_ulaw"}}}),
        json!({"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}),
    ] {
        let outputs = Talk::opened(session()).hear(json!({"type": "session.updated", "session": accepted}));
        assert_eq!(outputs, [Output::Ready], "{accepted}");
    }
    for refused in [
        json!({"audio": {"input": {"format": pcmu}, "output": {"format": {"type": "audio/pcm", "rate": 24000}}}}),
        json!({"audio": {"output": {"format": {"type": "audio/pcmu", "rate": 16000}}}}),
        json!({"input_audio_format": "g711_ulaw", "output_audio_format": "pcm16"}),
    ] {
        let outputs = Talk::opened(session()).hear(json!({"type": "session.updated", "session": refused}));
        let (kind, message) = fault(&outputs);
        assert_eq!(kind, FaultKind::Fatal, "{refused}");
        assert!(message.contains("agent audio wanted audio/pcmu, got "), "{message}");
    }
}

#[test]
fn the_greeting_is_asked_for_as_soon_as_the_session_is_ready() {
    let mut talk = Talk::opened(Session { greeting: "Good morning, ACME!".into(), ..session() });
    let outputs = talk.hear(json!({"type": "session.updated"}));
    assert_eq!(outputs[0], Output::Ready);
    let greet = sent(&outputs[1..]);
    assert_eq!(greet.len(), 1);
    assert_eq!(greet[0]["type"], "response.create");
    let instructions = greet[0]["response"]["instructions"].as_str().unwrap();
    assert!(instructions.starts_with("You answer the phone for ACME.\n\n"), "{instructions}");
    assert!(instructions.ends_with("Greeting: Good morning, ACME!"), "{instructions}");
}
