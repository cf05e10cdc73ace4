//! As tests/untrusted.rs, for transcribers: whatever comes over the WebSocket, or stands in a setting, none panics, keeps or
//! passes on without bound, or repeats a secret.

mod common;

use ai_dialect::transcriber::{Listening, TRANSCRIBERS, Transcribed};
use ai_dialect::{Payload, Secret};
use ai_media::Format;
use common::damage::{extended, leaves, mutated, next, with};
use common::hearing::{Hearing, listening};
use serde_json::{Value, json};

const SECRET: &str = "sk-very-secret";
/// What may be passed on of one text. [bytes]
const MOST: usize = 64 << 10;

fn ready(name: &'static str) -> Hearing {
    let mut hearing = Hearing::new(name, listening(name), Format::ALAW);
    hearing.make_ready();
    hearing
}

fn corpus(name: &str) -> Vec<Value> {
    common::damage::corpus("transcribed", name)
}

#[track_caller]
fn unrecognised(outputs: &[Transcribed]) -> &str {
    match outputs {
        [Transcribed::Unrecognised(what)] => what,
        other => panic!("{other:?} should not be recognised"),
    }
}

fn text(output: &Transcribed) -> &str {
    match output {
        Transcribed::Send(text)
        | Transcribed::SendAudio { message: Payload::Text(text), .. }
        | Transcribed::Interim { text, .. }
        | Transcribed::Line { text, .. }
        | Transcribed::Unrecognised(text) => text,
        Transcribed::Fault(fault) => &fault.message,
        Transcribed::SendAudio { .. } | Transcribed::Ready | Transcribed::Finished => "",
    }
}

#[test]
fn what_is_no_message_is_not_recognised() {
    for provider in TRANSCRIBERS {
        let mut hearing = ready(provider.name);
        for text in ["", "hello", "{", "\"secret\"", "7", "null", "[[1],2]", "{}", r#"{"type":7,"tokens":7}"#] {
            assert!(!unrecognised(&hearing.told_text(text)).is_empty(), "{}: {text}", provider.name);
        }
        assert_eq!(unrecognised(&hearing.told(json!({"type": "sing"}))), "sing");
        let long = json!({"type": "x".repeat(9999)});
        assert!(unrecognised(&hearing.told(long)).chars().count() <= 301, "{}", provider.name);
        assert_eq!(unrecognised(&hearing.told_binary(&[0xff; 320])), "binary message of 320 bytes");
    }
}

#[test]
fn deep_nesting_is_nowhere_followed() {
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    for provider in TRANSCRIBERS {
        for message in corpus(provider.name) {
            let fields = message.as_object().unwrap();
            for place in fields.keys().map(String::as_str).chain(["unknown"]) {
                let others: String = fields
                    .iter()
                    .filter(|(key, _)| *key != place)
                    .map(|(key, value)| format!("{}:{value},", json!(key)))
                    .collect();
                let outputs = ready(provider.name).told_text(&format!("{{{others}\"{place}\":{deep}}}"));
                let refused = matches!(&outputs[..], [Transcribed::Unrecognised(_)]);
                let empty = format!("{{{others}\"{place}\":[]}}");
                let left_out = || outputs == ready(provider.name).told_text(&empty);
                assert!(refused || left_out(), "{place} of {message}: {outputs:?}");
            }
        }
    }
}

#[test]
fn a_field_nobody_knows_changes_nothing() {
    for provider in TRANSCRIBERS {
        let (mut plain, mut more) = (ready(provider.name), ready(provider.name));
        for message in corpus(provider.name) {
            assert_eq!(plain.told(message.clone()), more.told(extended(&message)), "{}: {message}", provider.name);
        }
    }
}

#[test]
fn values_of_any_type_anywhere_are_withstood() {
    let values =
        [json!(null), json!(true), json!(-1), json!(1e308), json!(u64::MAX), json!(""), json!([]), json!({"a": [1]})];
    for provider in TRANSCRIBERS {
        let corpus = corpus(provider.name);
        for (number, message) in corpus.iter().enumerate() {
            for place in leaves(message) {
                for value in &values {
                    // In the middle of a stream, where there are items to be hurt.
                    let mut hearing = ready(provider.name);
                    corpus[..number].iter().for_each(|before| drop(hearing.told(before.clone())));
                    hearing.told(with(message, &place, value.clone()));
                    hearing.pause();
                    hearing.end();
                }
            }
        }
    }
}

#[test]
fn no_text_is_endless() {
    let long = "ж".repeat(400 << 10);
    for provider in TRANSCRIBERS {
        for message in corpus(provider.name) {
            for place in leaves(&message) {
                let mut hearing = ready(provider.name);
                for output in hearing.told(with(&message, &place, json!(long))) {
                    assert!(text(&output).len() <= MOST, "{}: {place} of {message}", provider.name);
                }
            }
        }
        // Nor is what many messages say together.
        let mut hearing = ready(provider.name);
        let piece = "ж".repeat(20 << 10);
        for _ in 0..20 {
            let delta = json!({"type": "conversation.item.input_audio_transcription.delta", "item_id": "i", "delta": piece,
                "tokens": [{"text": piece, "is_final": true}]});
            assert!(hearing.told(delta).iter().all(|output| text(output).len() <= MOST), "{}", provider.name);
        }
    }
}

#[test]
fn items_without_end_are_forgotten() {
    let mut hearing = ready("openai-transcription");
    for number in 0..100_000 {
        let id = format!("item_{number}");
        hearing.told(json!({"type": "input_audio_buffer.committed", "item_id": id}));
    }
    let outputs = hearing.wait(std::time::Duration::from_secs(60));
    assert_eq!(outputs.len(), 32, "so many are waited for");
    // Nor does one item grow without end.
    let delta = json!({"type": "conversation.item.input_audio_transcription.delta", "item_id": "i", "delta": "x".repeat(40 << 10)});
    assert_eq!(hearing.told(delta.clone()).len(), 1);
    assert_eq!(hearing.told(delta), [], "there is no room for as much again");
}

#[test]
fn a_message_of_50_mb_is_read_and_forgotten() {
    let long = "x".repeat(50 << 20);
    for provider in TRANSCRIBERS {
        let mut hearing = ready(provider.name);
        for message in [format!(r#"{{"type":"{long}"}}"#), long.clone(), format!(r#"{{"unknown":["{long}"]}}"#)] {
            assert!(unrecognised(&hearing.told_text(&message)).len() < 1000, "{}", provider.name);
        }
    }
}

#[test]
fn a_secret_that_the_service_repeats_is_hidden() {
    for provider in TRANSCRIBERS {
        let headers = vec![("X-Token".to_owned(), Secret::new("header-secret"))];
        let settings = Listening { headers, ..listening(provider.name) };
        for message in corpus(provider.name) {
            for place in leaves(&message) {
                let told = format!("no such key: {SECRET} header-secret\r\nAISTATUS=HANGUP");
                let mut hearing = Hearing::new(provider.name, settings.clone(), Format::ULAW);
                hearing.make_ready();
                for output in hearing.told(with(&message, &place, json!(told))) {
                    if let Transcribed::Fault(_) | Transcribed::Unrecognised(_) = output {
                        let text = text(&output);
                        let clean = !text.contains("secret") && !text.contains(['\r', '\n']);
                        assert!(clean, "{}: {text}", provider.name);
                    }
                }
            }
        }
    }
}

#[test]
fn line_breaks_in_settings_stay_inside_of_what_they_are_in() {
    let evil = "a\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1";
    for provider in TRANSCRIBERS {
        let listening = Listening {
            model: evil.into(),
            terms: vec![evil.into()],
            context: evil.into(),
            ..listening(provider.name)
        };
        let mut hearing = Hearing::new(provider.name, listening, Format::ULAW);
        let handshake = hearing.transcriber.handshake();
        assert!(!handshake.url.contains(char::is_control), "{:?}", handshake.url);
        assert!(handshake.headers.iter().all(|(_, value)| !value.reveal().contains(char::is_control)));
        let outputs = hearing.open();
        serde_json::from_str::<Value>(text(&outputs[0])).expect("we send JSON");
    }
}

#[test]
fn damaged_messages_in_any_order_never_panic() {
    for provider in TRANSCRIBERS {
        let corpus: Vec<_> = corpus(provider.name).iter().map(Value::to_string).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..20 {
            let mut hearing = ready(provider.name);
            for round in 0..1000 {
                let message = &corpus[next(&mut state, corpus.len())];
                let message = if round % 3 == 0 { message.clone() } else { mutated(message, &mut state) };
                let mut outputs = hearing.told_text(&message);
                outputs.extend(match next(&mut state, 200) {
                    0..20 => hearing.hear(message.as_bytes()),
                    20..40 => hearing.pause(),
                    40..60 => hearing.wait(std::time::Duration::from_millis(round * 10)),
                    60..70 => hearing.told_binary(message.as_bytes()),
                    70 => hearing.end(),
                    _ => Vec::new(),
                });
                for output in outputs {
                    if let Transcribed::Send(text) = output {
                        let json = text.is_empty() || serde_json::from_str::<Value>(&text).is_ok();
                        assert!(json, "we send JSON whatever we hear");
                    }
                }
            }
        }
    }
}
