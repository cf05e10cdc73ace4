//! Whatever the profile and the options of `AI()` say reaches the AI, and nobody else.

mod common;

use std::fs;

use common::{SOON, Stage, eventually, extension, profile};
use practice_agent::{Builder, Frame, Script, Server, Session, Step};
use serde_json::{Value, json};

fn passive() -> Builder {
    Server::builder().script(Script::new())
}

#[test]
fn every_option_reaches_the_ai() {
    let arguments = "test,v(marin)m(gpt-other)l(ru)p(Help {{name}} (of {{tier}}), politely.)g(Hello {{ name }}{{nobody}}!)\
                     H(X-Team: support^X-Id: 7)x(name=Ann^tier=gold)";
    let keys = "voice = alloy\nlanguage = de\ninstructions = Be brief.\ngreeting = Hi\nvariable = name=nobody\n\
                header = X-Profile: yes\ntranscription_model = practice";
    let stage = Stage::new(passive(), keys, &extension("201", arguments));
    let (_call, session) = stage.talk("201");

    let request = session.request();
    assert_eq!(request.query_parameter("model"), Some("gpt-other"));
    for (name, value) in [("x-team", "support"), ("x-id", "7"), ("x-profile", "yes")] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let settings = settings(&session);
    assert_eq!(settings["audio"]["output"]["voice"], "marin");
    assert_eq!(settings["audio"]["input"]["transcription"], json!({"model": "practice", "language": "ru"}));
    assert_eq!(settings["instructions"], "Help Ann (of gold), politely.");

    let greeting = session.wait_event("response.create", 0, SOON).expect("the agent is asked to speak first");
    let text = greeting.json["response"]["instructions"].as_str().unwrap_or_default();
    assert!(text.starts_with("Help Ann (of gold), politely.") && text.ends_with("Hello Ann!"), "{text}");
}

#[test]
fn the_url_of_an_option_is_where_the_call_goes() {
    let other = passive().start().expect("a second agent");
    let stage = Stage::new(passive(), "", &extension("201", &format!(",u({}?team=a)", other.url())));
    let _call = stage.call("201");
    let session = other.next_session(SOON).expect("the module connects");
    assert_eq!(session.request().path, "/v1/realtime");
    assert_eq!(session.request().query, "team=a&model=practice");
    assert!(stage.agent.attempts().is_empty());
}

#[test]
fn without_options_the_agent_gets_the_profile_and_does_not_speak_first() {
    let stage = Stage::new(passive(), "voice = alloy\ninstructions = Be brief.", "");
    let (call, session) = stage.talk("100");
    let settings = settings(&session);
    assert_eq!(settings["audio"]["output"]["voice"], "alloy");
    assert_eq!(settings["instructions"], "Be brief.");
    assert_eq!(settings["audio"]["input"]["transcription"], Value::Null);
    assert_eq!(session.request().header("authorization"), None);
    call.hang_up();
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
    assert!(session.events_of("response.create").is_empty());
}

#[test]
fn the_settings_of_a_profile_arrive_in_the_session() {
    let common = "model = practice\ntranscription_model = whisper\nlanguage = ru\ncreate_response = no\n";
    let vad = "vad_threshold = 0.7\nvad_prefix_padding_ms = 120\nvad_silence_ms = 450\n";
    let stage = Stage::with(
        passive(),
        |rig, url| {
            let base = format!("[base](!)\nurl = {url}\n{common}");
            let profiles = format!(
                "[201](base)\n{vad}interrupt_response = no\naudio = pcm24\n\
                 [202](base)\nturn_detection = semantic_vad\naudio = ulaw\n\
                 [203](base)\nturn_detection = none\n\
                 [204](base)\n{vad}api_version = beta\nvoice = alloy\ninstructions_file = how.md\naudio = alaw\n"
            );
            rig.config("ai_bridge.conf", base + &profiles).config("how.md", "Be brief.\nBe kind.\n")
        },
        &extension("_20X", "${EXTEN}"),
    );
    let transcription = json!({"model": "whisper", "language": "ru"});
    let heard_by_loudness = |interrupt: bool| {
        json!({"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 120, "silence_duration_ms": 450,
            "create_response": false, "interrupt_response": interrupt})
    };
    let current = [
        ("201", json!({"type": "audio/pcm", "rate": 24000}), heard_by_loudness(false)),
        (
            "202",
            json!({"type": "audio/pcmu"}),
            json!({"type": "semantic_vad", "create_response": false, "interrupt_response": true}),
        ),
        ("203", json!({"type": "audio/pcma"}), Value::Null),
    ];
    for (name, format, turn_detection) in current {
        let (_call, session) = stage.talk(name);
        let settings = settings(&session);
        let input = json!({"format": format, "transcription": transcription, "turn_detection": turn_detection});
        assert_eq!(settings["audio"]["input"], input, "{name}");
        assert_eq!(settings["audio"]["output"], json!({"format": format}), "{name}");
    }
    let (_call, session) = stage.talk("204");
    let mut settings = settings(&session);
    assert_eq!(settings["instructions"], "Be brief.\nBe kind.\n");
    settings.as_object_mut().expect("an object").retain(|key, _| key != "tools" && key != "instructions");
    let older = json!({"modalities": ["text", "audio"], "voice": "alloy", "turn_detection": heard_by_loudness(true),
        "input_audio_format": "g711_alaw", "output_audio_format": "g711_alaw",
        "input_audio_transcription": transcription});
    assert_eq!(settings, older);
}

#[test]
fn the_key_reaches_the_server_and_nothing_else() {
    const KEY: &str = "sk-practice-0123456789";
    const HEADER: &str = "header-secret-987";
    let stage = Stage::with(
        passive().api_key(KEY),
        |rig, url| {
            let keys = format!("api_key = ${{ENV(PRACTICE_KEY)}}\nheader = X-Secret: {HEADER}");
            rig.config("ai_bridge.conf", profile(url, &keys)).env("PRACTICE_KEY", KEY).edit(
                "logger.conf",
                "full = ",
                "full = debug,",
            )
        },
        "",
    );
    stage.cli("core set debug 10");
    stage.cli("core set verbose 10");
    let (call, session) = stage.talk("100");
    assert_eq!(session.request().header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(session.request().header("x-secret"), Some(HEADER));

    // A server that repeats what it was told, in everything that somebody gets to see.
    let repeated = format!("{KEY} and {HEADER}");
    let error = json!({"type": "error", "error": {"type": "server_error", "message": repeated}});
    session.perform(Step::Send(Frame::Text(error.to_string())));
    session.perform(Step::Send(Frame::Text(json!({"type": repeated}).to_string())));
    stage.rig.wait_log("the AI server reports: (hidden) and (hidden)", SOON).expect("the error is logged");

    let channels = stage.cli("core show channels concise");
    let channel = channels.split('!').next().unwrap_or_default();
    let commands = ["ai show profiles", "ai show sessions", "core show channels verbose"].map(str::to_owned);
    let shown: String =
        commands.iter().chain([&format!("core show channel {channel}")]).map(|c| stage.cli(c)).collect();
    session.perform(Script::new().close(1008, repeated));
    let result = stage.result("100");
    call.wait_ended(SOON).expect("the dialplan hangs up");

    let console = fs::read(stage.rig.directory().join("log/console")).expect("there is a console");
    let log = stage.rig.log();
    assert!(log.contains("DEBUG"), "not everything that could be logged was");
    let console = String::from_utf8_lossy(&console).into_owned();
    let places = [("the commands", &shown), ("the log", &log), ("the console", &console)];
    for (place, text) in places {
        for secret in [KEY, HEADER] {
            assert!(!text.contains(secret), "{secret} is in {place}: {result:?}");
        }
    }
}

#[test]
fn the_help_names_every_option_variable_and_status() {
    let stage = Stage::new(passive(), "", "");
    let help = stage.cli("core show application AI");
    for letter in "neHvmlupgxdti".chars() {
        let named = |line: &str| {
            let line = line.trim_start();
            line.starts_with(&format!("{letter}:")) || line.starts_with(&format!("{letter}("))
        };
        assert!(help.lines().any(named), "option {letter} is not in {help}");
    }
    let words = "AISTATUS AIREASON AISESSION AIDURATION AITRANSFER AIDIGIT AIFIRSTAUDIO AIBARGEINS HANGUP COMPLETE \
                 TRANSFER DTMF TIMEOUT IDLE STOPPED LIMIT NOPROFILE CONNFAIL AUTHFAIL LOST ERROR";
    let missing: Vec<_> = words.split_whitespace().filter(|word| !help.contains(word)).collect();
    assert!(missing.is_empty(), "{missing:?} not in {help}");
}

#[test]
fn profiles_are_listed_with_what_matters_and_without_secrets() {
    let stage = Stage::with(
        passive(),
        |rig, url| {
            let sales = "[sales]\nurl = wss://user:secret@example.com:8443/path?key=secret\nmodel = m-1\n\
                         api_key = secret\naudio = ulaw\n";
            rig.config("ai_bridge.conf", profile(url, "") + sales)
        },
        "",
    );
    let table = stage.cli("ai show profiles");
    let words = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {table}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("sales"), ["sales", "openai", "m-1", "ulaw", "set", "wss://example.com:8443"]);
    let server = format!("ws://{}", stage.agent.address());
    assert_eq!(words("test"), ["test", "(default)", "openai", "practice", "auto", "none", server.as_str()]);
    assert!(table.contains("2 profiles") && !table.contains("secret"), "{table}");
}

#[test]
fn sessions_are_listed_while_they_last() {
    let stage = Stage::new(passive(), "", "");
    assert!(stage.cli("ai show sessions").contains("0 AI sessions"));
    let (call, _) = stage.talk("100");
    let table = stage.cli("ai show sessions");
    let line = table.lines().nth(1).expect("a session");
    assert!(line.contains("test") && line.contains("PJSIP/1001-"), "{table}");
    assert!(table.contains("\n1 AI session\n"), "{table}");
    call.hang_up();
    let session = stage.result("100").get("SESSION").to_owned();
    assert!(line.starts_with(&session), "{session} in {table}");
    eventually("it is gone", SOON, || stage.cli("ai show sessions").contains("0 AI sessions"));
}

/// The settings the session was set up with.
fn settings(session: &Session) -> Value {
    let update = session.wait_event("session.update", 0, SOON).expect("the session is set up");
    update.json["session"].clone()
}
