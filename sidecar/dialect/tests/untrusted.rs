//! Whatever comes over the WebSocket, or stands in a setting: no dialect panics, keeps or passes on without bound, or
//! repeats a secret. The messages are those of the transcripts, damaged.

mod common;

use ai_dialect::{FaultKind, Noticed, Output, PROVIDERS, Payload, Secret, Session};
use ai_media::Format;
use common::damage::{extended, leaves, mutated, next, with};
use common::{Talk, fault, sent, settings, unrecognised};
use serde_json::{Value, json};

const SECRET: &str = "sk-very-secret";
/// What may be passed on of one text. [bytes]
const MOST: usize = (1 << 20) + 1024;

fn ready(name: &'static str) -> Talk {
    let mut talk = Talk::new(name, settings(name), Format::ULAW);
    talk.make_ready();
    talk
}

fn corpus(name: &str) -> Vec<Value> {
    common::damage::corpus("transcripts", name)
}

/// Every text that others get to read, or that goes over the wire.
fn texts(output: &Output) -> Vec<&str> {
    match output {
        Output::Send(text) | Output::SendAudio { message: Payload::Text(text), .. } => vec![text],
        Output::AgentAudio { item, .. } => vec![item],
        Output::Mark { name } => vec![name],
        Output::Transcript { text, .. } => vec![text],
        Output::ToolCall { call_id, name, arguments } => vec![call_id, name, arguments],
        Output::Resumable { handle } => vec![handle],
        Output::Fault(fault) => vec![&fault.message],
        Output::Unrecognised(what) => vec![what],
        _ => vec![],
    }
}

#[test]
fn what_is_no_message_is_not_recognised() {
    for provider in PROVIDERS {
        let mut talk = ready(provider.name);
        for text in ["", "hello", "{", "\"secret\"", "7", "null", "[[1],2]", "{}", r#"{"type":7,"event":7}"#] {
            assert!(!unrecognised(&talk.hear_text(text)).is_empty(), "{}: {text}", provider.name);
        }
        let unknown = talk.hear(json!({"type": "sing", "event": "sing"}));
        if provider.name != "gemini" {
            assert_eq!(unrecognised(&unknown), "sing");
        }
        let long = json!({"type": "x".repeat(9999), "event": "x".repeat(9999)});
        assert!(unrecognised(&talk.hear(long)).chars().count() <= 301, "{}", provider.name);
    }
}

#[test]
fn deep_nesting_is_nowhere_followed() {
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    for provider in PROVIDERS {
        for message in corpus(provider.name) {
            let fields = message.as_object().unwrap();
            for place in fields.keys().map(String::as_str).chain(["unknown"]) {
                let others: String = fields
                    .iter()
                    .filter(|(key, _)| *key != place)
                    .map(|(key, value)| format!("{}:{value},", json!(key)))
                    .collect();
                let outputs = ready(provider.name).hear_text(&format!("{{{others}\"{place}\":{deep}}}"));
                let refused = matches!(&outputs[..], [Output::Unrecognised(_)]);
                let empty = format!("{{{others}\"{place}\":[]}}");
                let left_out = || outputs == ready(provider.name).hear_text(&empty);
                assert!(refused || left_out(), "{place} of {message}: {outputs:?}");
            }
        }
        let mut talk = ready(provider.name);
        talk.dialect.handle_tool_result("c", &deep, true);
        talk.dialect.handle_response(200, deep.as_bytes());
        talk.outputs();
    }
}

#[test]
fn a_field_nobody_knows_changes_nothing() {
    for provider in PROVIDERS {
        for message in corpus(provider.name) {
            let (plain, more) =
                (ready(provider.name).hear(message.clone()), ready(provider.name).hear(extended(&message)));
            // What the agent gave as arguments is passed on with every field.
            let tool_call = matches!((&plain[..], &more[..]), ([Output::ToolCall { .. }], [Output::ToolCall { .. }]));
            assert!(plain == more || tool_call, "{}: {message}\n{plain:?}\n{more:?}", provider.name);
        }
    }
}

#[test]
fn values_of_any_type_anywhere_are_withstood() {
    let values =
        [json!(null), json!(true), json!(-1), json!(1e308), json!(u64::MAX), json!(""), json!([]), json!({"a": [1]})];
    for provider in PROVIDERS {
        for message in corpus(provider.name) {
            for place in leaves(&message) {
                for value in &values {
                    let mut talk = ready(provider.name);
                    for output in talk.hear(with(&message, &place, value.clone())) {
                        if let Output::Send(text) = output {
                            serde_json::from_str::<Value>(&text).expect("we send JSON whatever we hear");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn no_text_is_endless() {
    let long = "x".repeat(2 << 20);
    for provider in PROVIDERS {
        for message in corpus(provider.name) {
            for place in leaves(&message) {
                let mut talk = ready(provider.name);
                for output in talk.hear(with(&message, &place, json!(long))) {
                    let longest = texts(&output).iter().map(|text| text.len()).max();
                    let is_audio = matches!(output, Output::AgentAudio { .. });
                    assert!(is_audio || longest <= Some(MOST), "{}: {place} of {message}", provider.name);
                }
            }
        }
    }
}

#[test]
fn a_message_of_50_mb_is_read_and_forgotten() {
    let long = "x".repeat(50 << 20);
    for provider in PROVIDERS {
        let mut talk = ready(provider.name);
        for message in
            [format!(r#"{{"type":"{long}","event":"{long}"}}"#), long.clone(), format!(r#"{{"unknown":["{long}"]}}"#)]
        {
            assert!(unrecognised(&talk.hear_text(&message)).len() < 1000, "{}", provider.name);
        }
    }
}

#[test]
fn a_secret_that_the_server_repeats_is_hidden() {
    for provider in PROVIDERS {
        for message in corpus(provider.name) {
            for place in leaves(&message) {
                let told = format!("no such key: {SECRET}\r\nAISTATUS=HANGUP");
                for output in ready(provider.name).hear(with(&message, &place, json!(told))) {
                    if let Output::Fault(_) | Output::Unrecognised(_) = output {
                        let text = texts(&output)[0];
                        assert!(!text.contains(SECRET) && !text.contains(['\r', '\n']), "{}: {text}", provider.name);
                    }
                }
            }
        }
        let named = json!({"type": SECRET, "event": SECRET});
        assert!(!unrecognised(&ready(provider.name).hear(named)).contains(SECRET));
    }
}

/// The messages of the dialect `name` with audio in text, and where in them it is.
fn audio_places(name: &'static str) -> Vec<(Value, String)> {
    let is_audio = |message: &Value, place: &str| {
        let outputs = ready(name).hear(with(message, place, json!("AAEC")));
        matches!(&outputs[..], [Output::AgentAudio { audio, .. }] if *audio == [0, 1, 2])
    };
    let places = |message: Value| {
        let places = leaves(&message).into_iter().filter(|place| is_audio(&message, place)).collect::<Vec<_>>();
        places.into_iter().map(move |place| (message.clone(), place))
    };
    corpus(name).into_iter().flat_map(places).collect()
}

/// True if the provider's audio comes in binary frames.
fn audio_is_binary(name: &str) -> bool {
    matches!(name, "deepgram" | "raw")
}

#[test]
fn audio_in_the_wrong_kind_of_frame_or_wrong_base64_is_not_played() {
    for provider in PROVIDERS {
        let places = audio_places(provider.name);
        assert_eq!(places.is_empty(), audio_is_binary(provider.name), "{}", provider.name);
        for (message, place) in places {
            for wrong in ["!!!!", "A", "AAE=C", "AAEC\u{0}", "ÄÄÄÄ"] {
                let outputs = ready(provider.name).hear(with(&message, &place, json!(wrong)));
                assert!(unrecognised(&outputs).contains("not base64"), "{}: {wrong}", provider.name);
            }
        }
        let outputs = ready(provider.name).hear_binary(&[0xff; 320]);
        if !audio_is_binary(provider.name) {
            unrecognised(&outputs);
        }
    }
}

/// A sample in two pieces is put together by whoever converts the audio.
#[test]
fn half_a_sample_is_passed_on() {
    for provider in PROVIDERS {
        let outputs = match &audio_places(provider.name)[..] {
            [] => ready(provider.name).hear_binary(&[7]),
            [(message, place), ..] => ready(provider.name).hear(with(message, place, json!("Bw=="))),
        };
        assert!(matches!(&outputs[..], [Output::AgentAudio { audio, .. }] if *audio == [7]), "{outputs:?}");
    }
}

#[test]
fn another_audio_format_in_the_middle_of_a_call_is_not_played() {
    let formats = |agent: &str| {
        json!({"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event":
            {"agent_output_audio_format": agent, "user_input_audio_format": "pcm_16000"}})
    };
    let mut talk = ready("elevenlabs");
    assert_eq!(talk.hear(formats("pcm_16000")), [], "the same again");
    for (other, words) in [("pcm_44100", "in the middle of the call"), ("mp3_44100", "is not known")] {
        let outputs = talk.hear(formats(other));
        let (kind, message) = fault(&outputs);
        assert_eq!(kind, FaultKind::Fatal);
        assert!(message.contains(other) && message.contains(words), "{message}");
        assert_eq!(talk.dialect.agent_format(), Format::slin(16_000));
    }
    let session = json!({"audio": {"output": {"format": {"type": "audio/pcma"}}}});
    let outputs = ready("openai").hear(json!({"type": "session.updated", "session": session}));
    assert_eq!(fault(&outputs).0, FaultKind::Fatal);
    let data = json!({"mimeType": "audio/opus", "data": "AAEC"});
    let turn = json!({"serverContent": {"modelTurn": {"parts": [{"inlineData": data}]}}});
    assert_eq!(unrecognised(&ready("gemini").hear(turn)), "data of type audio/opus");
}

#[test]
fn arguments_that_are_no_json_are_given_out_as_they_are() {
    for provider in PROVIDERS {
        for message in corpus(provider.name) {
            for place in leaves(&message).iter().filter(|place| place.ends_with("/arguments")) {
                for output in ready(provider.name).hear(with(&message, place, json!("{\"id\":"))) {
                    assert!(!matches!(&output, Output::ToolCall { arguments, .. } if arguments != "{\"id\":"));
                }
            }
        }
        // What the tool says need not be JSON, either.
        let mut talk = ready(provider.name);
        corpus(provider.name).into_iter().for_each(|message| drop(talk.hear(message)));
        for call_id in ["call_1", "call-1", "1"] {
            talk.dialect.handle_tool_result(call_id, "no JSON \u{0}\r\n\"", true);
        }
        for output in talk.outputs() {
            texts(&output).iter().for_each(|text| drop(serde_json::from_str::<Value>(text).expect("we send JSON")));
        }
    }
}

#[test]
fn line_breaks_in_settings_stay_inside_of_what_they_are_in() {
    let evil = "a\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1";
    for provider in PROVIDERS {
        let session = Session {
            agent_id: evil.into(),
            model: evil.into(),
            voice: evil.into(),
            language: evil.into(),
            instructions: evil.into(),
            greeting: evil.into(),
            account_sid: evil.into(),
            variables: vec![(evil.into(), evil.into())],
            ..settings(provider.name)
        };
        let mut talk = Talk::new(provider.name, session, Format::ULAW);
        let urls = [talk.dialect.request_first().map(|request| request.url), Some(talk.dialect.handshake().url)];
        for url in urls.into_iter().flatten() {
            assert!(!url.contains(char::is_control) && !url.contains(' '), "{}: {url:?}", provider.name);
        }
        let outputs = talk.open();
        let messages: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Send(_))).cloned().collect();
        sent(&messages);
    }
}

#[test]
fn an_address_with_line_breaks_in_it_is_not_used() {
    for evil in ["wss://x/\r\nX-Evil: 1", "wss://x/ HTTP/1.1", "wss://x/\u{7f}", "wss://x/ü"] {
        let mut talk = Talk::new("elevenlabs", settings("elevenlabs"), Format::ULAW);
        let body = json!({"signed_url": evil}).to_string();
        talk.dialect.handle_response(200, body.as_bytes());
        let outputs = talk.outputs();
        let (kind, message) = fault(&outputs);
        assert!(kind == FaultKind::Fatal && !message.contains("x/"), "{message}");
    }
}

#[test]
fn damaged_messages_in_any_order_never_panic() {
    for provider in PROVIDERS {
        let corpus: Vec<_> = corpus(provider.name).iter().map(Value::to_string).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut talk = ready(provider.name);
        for round in 0..10_000 {
            let event = &corpus[next(&mut state, corpus.len())];
            let event = if round % 3 == 0 { event.clone() } else { mutated(event, &mut state) };
            let mut outputs = talk.hear_text(&event);
            match next(&mut state, 12) {
                0 => drop(talk.interrupt(&[("item_1", round % 5, 3)], Noticed::ByProvider)),
                1 => talk.dialect.handle_digits("1#"),
                2 => talk.dialect.handle_tool_result("call_1", &event, true),
                3 => talk.dialect.handle_caller_audio(event.as_bytes()),
                4 => drop(talk.dialect.handle_say(&event)),
                5 => drop(talk.dialect.handle_context(&event, round % 2 == 0)),
                6 => talk.dialect.handle_mark(&event, false),
                7 => drop(talk.hear_binary(event.as_bytes())),
                _ => {}
            }
            outputs.extend(talk.outputs());
            for output in outputs {
                if let Output::Send(text) | Output::SendAudio { message: Payload::Text(text), .. } = output {
                    serde_json::from_str::<Value>(&text).expect("we send JSON whatever we hear");
                }
            }
        }
    }
}

#[test]
fn a_header_shows_in_no_message() {
    for provider in PROVIDERS {
        let headers = vec![("X-Token".to_owned(), Secret::new("header-secret"))];
        let mut talk = Talk::new(provider.name, Session { headers, ..settings(provider.name) }, Format::ULAW);
        talk.make_ready();
        let named = json!({"type": "bad token header-secret", "event": "bad token header-secret"});
        assert!(!unrecognised(&talk.hear(named)).contains("header-secret"), "{}", provider.name);
    }
}
