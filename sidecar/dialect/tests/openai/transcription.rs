//! Sessions that only transcribe.

use std::time::Duration;

use ai_dialect::transcriber::{Listening, Transcribed, transcriber};

use super::*;
use common::hearing::{Hearing, interim, line, listening, nothing_after_all, sent};

const NAME: &str = "openai-transcription";
const SECOND: Duration = Duration::from_secs(1);

fn ready() -> Hearing {
    let mut hearing = Hearing::new(NAME, listening(NAME), Format::ALAW);
    hearing.make_ready();
    hearing
}

fn started(item: &str, at_ms: u64) -> Value {
    json!({"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": at_ms})
}

fn stopped(item: &str, at_ms: u64) -> Value {
    json!({"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": at_ms})
}

fn committed(item: &str, previous: Option<&str>) -> Value {
    json!({"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": previous})
}

fn delta(item: &str, text: &str) -> Value {
    json!({"type": "conversation.item.input_audio_transcription.delta", "item_id": item, "content_index": 0, "delta": text})
}

fn completed(item: &str, text: &str) -> Value {
    json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": item, "content_index": 0,
        "transcript": text, "usage": {"type": "duration", "seconds": 1}})
}

fn commit() -> Vec<Value> {
    vec![json!({"type": "input_audio_buffer.commit", "event_id": "commit"})]
}

/// Somebody says an item, from `at_ms` on for a second.
fn say(hearing: &mut Hearing, item: &str, previous: Option<&str>, at_ms: u64) {
    // What the server reports has the padding before it and the silence behind it.
    for event in [started(item, at_ms - 300), stopped(item, at_ms + 1500), committed(item, previous)] {
        assert_eq!(hearing.told(event), []);
    }
}

#[test]
fn the_session_is_asked_for_in_the_address_and_the_model_in_the_settings() {
    let handshake = Hearing::new(NAME, listening(NAME), Format::ALAW).transcriber.handshake();
    assert_eq!(handshake.url, "wss://api.openai.com/v1/realtime?intent=transcription");
    let headers: Vec<_> = handshake.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    let id = "00112233445566778899aabbccddeeff-caller";
    assert_eq!(headers, [("Authorization", "Bearer sk-very-secret"), ("X-Client-Request-Id", id)]);
    let outputs = Hearing::new(NAME, listening(NAME), Format::ALAW).open();
    assert_eq!(
        sent(&outputs),
        [json!({"type": "session.update", "event_id": "configure", "session": {
            "type": "transcription",
            "audio": {"input": {
                "format": {"type": "audio/pcma"},
                "transcription": {"model": "gpt-transcribe", "language": "ru"},
                "turn_detection": {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300,
                    "silence_duration_ms": 500},
            }},
        }})]
    );
}

#[test]
fn words_to_expect_are_told_as_the_model_takes_them() {
    let settings = |model: &str| {
        let listening = Listening {
            model: model.into(),
            language: String::new(),
            terms: vec!["АКМЕ".into(), "Тула".into()],
            context: "Заказы мебели".into(),
            endpoint_delay_ms: Some(800),
            ..listening(NAME)
        };
        let mut message = sent(&Hearing::new(NAME, listening, Format::slin(16_000)).open()).remove(0);
        message["session"]["audio"]["input"].take()
    };
    let input = settings("gpt-transcribe");
    assert_eq!(input["format"], json!({"type": "audio/pcm", "rate": 24000}));
    assert_eq!(input["turn_detection"]["silence_duration_ms"], 800);
    let own = json!({"model": "gpt-transcribe", "keywords": ["АКМЕ", "Тула"], "prompt": "Заказы мебели"});
    assert_eq!(input["transcription"], own);
    let old = json!({"model": "gpt-4o-transcribe", "prompt": "Заказы мебели\nАКМЕ, Тула"});
    assert_eq!(settings("gpt-4o-transcribe")["transcription"], old);
}

#[test]
fn what_finds_no_lines_is_refused() {
    let check = transcriber(NAME).expect("it").check;
    let model = |model: &str| Listening { model: model.into(), ..listening(NAME) };
    assert_eq!(check(&model("")).expect_err("wrong").0, "model");
    assert_eq!(check(&model("gpt-realtime-whisper")).expect_err("wrong").0, "model");
    let off = json!({"audio": {"input": {"turn_detection": null}}}).as_object().cloned().unwrap();
    let off = Listening { provider_settings: off, ..listening(NAME) };
    assert_eq!(check(&off).expect_err("wrong").0, "provider_settings");
    assert_eq!(check(&model("whisper-1")), Ok(()));
}

#[test]
fn audio_waits_for_the_settings_and_goes_as_base64() {
    let mut hearing = Hearing::new(NAME, listening(NAME), Format::ALAW);
    hearing.open();
    assert_eq!(hearing.hear(&[0, 1, 2]), []);
    let updated = |format: &str| json!({"type": "session.updated", "session": {"type": "transcription", "audio": {"input": {"format": {"type": format}}}}});
    assert_eq!(hearing.told(updated("audio/pcma")), [Transcribed::Ready]);
    assert_eq!(hearing.told(updated("audio/pcma")), []);
    let append = r#"{"type":"input_audio_buffer.append","audio":"AAEC"}"#;
    let message = Payload::Text(append.to_owned());
    assert_eq!(hearing.hear(&[0, 1, 2]), [Transcribed::SendAudio { message, audio_bytes: 3 }]);
    let outputs = hearing.told(updated("audio/pcm"));
    assert!(matches!(&outputs[..], [Transcribed::Fault(Fault { kind: FaultKind::Fatal, .. })]), "{outputs:?}");
}

#[test]
fn pieces_are_interim_and_the_whole_is_a_line_with_the_times_of_the_speech() {
    let mut hearing = ready();
    say(&mut hearing, "a", None, 1000);
    assert_eq!(hearing.told(delta("a", "Добрый")), [interim("Добрый", 1000)]);
    assert_eq!(hearing.told(delta("a", " день")), [interim("Добрый день", 1000)]);
    assert_eq!(hearing.told(completed("a", "Добрый день.")), [line("Добрый день.", 1000, 2000)]);
}

#[test]
fn lines_come_in_the_order_of_the_speech_whatever_is_done_first() {
    let mut hearing = ready();
    say(&mut hearing, "a", None, 1000);
    say(&mut hearing, "b", Some("a"), 3000);
    say(&mut hearing, "c", Some("b"), 5000);
    assert_eq!(hearing.told(completed("c", "Три")), [interim("Три", 5000)]);
    assert_eq!(hearing.told(delta("b", "Дв")), [interim("Дв Три", 3000)]);
    assert_eq!(hearing.told(completed("a", "Раз")), [line("Раз", 1000, 2000), interim("Дв Три", 3000)]);
    assert_eq!(hearing.told(completed("b", "Два")), [line("Два", 3000, 4000), line("Три", 5000, 6000)]);
}

#[test]
fn what_was_transcribed_when_the_connection_is_lost_is_told() {
    let mut hearing = ready();
    say(&mut hearing, "a", None, 1000);
    say(&mut hearing, "b", Some("a"), 3000);
    hearing.told(completed("b", "Два"));
    assert_eq!(hearing.lose(), [line("Два", 3000, 4000)]);
    assert_eq!(hearing.lose(), []);
}

#[test]
fn the_place_of_an_item_is_where_the_server_puts_it() {
    let mut hearing = ready();
    assert_eq!(hearing.told(committed("b", Some("a"))), []);
    assert_eq!(hearing.told(committed("a", None)), []);
    assert_eq!(hearing.told(committed("c", Some("b"))), []);
    hearing.told(committed("b", Some("a")));
    let line = |text: &str| Transcribed::Line { text: text.into(), start_ms: None, end_ms: None };
    let first = Transcribed::Interim { text: "Два".into(), start_ms: None };
    assert_eq!(hearing.told(completed("b", "Два")), [first]);
    assert_eq!(hearing.told(completed("a", "Раз")), [line("Раз"), line("Два")]);
    assert_eq!(hearing.told(completed("c", "Три")), [line("Три")]);
}

#[test]
fn speech_without_words_is_no_line() {
    let mut hearing = ready();
    say(&mut hearing, "a", None, 1000);
    assert_eq!(hearing.told(delta("a", "Э")), [interim("Э", 1000)]);
    assert_eq!(hearing.told(completed("a", "  ")), [nothing_after_all()]);
}

#[test]
fn what_could_not_be_transcribed_is_said_and_holds_up_nothing() {
    let mut hearing = ready();
    say(&mut hearing, "a", None, 1000);
    say(&mut hearing, "b", Some("a"), 3000);
    hearing.told(completed("b", "Два"));
    let failed = |code: &str| {
        json!({"type": "conversation.item.input_audio_transcription.failed", "item_id": "a", "content_index": 0,
            "error": {"type": "transcription_error", "code": code, "message": "unusable", "param": null}})
    };
    let outputs = hearing.told(failed("audio_unintelligible"));
    let [Transcribed::Fault(fault), said] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((fault.kind, said), (FaultKind::Transient, &line("Два", 3000, 4000)));
    assert_eq!(fault.message, "something that was said could not be transcribed: unusable (audio_unintelligible)");
    let outputs = ready().told(failed("insufficient_quota"));
    assert!(matches!(&outputs[..], [Transcribed::Fault(Fault { kind: FaultKind::Authentication, .. })]), "{outputs:?}");
}

#[test]
fn what_is_never_transcribed_is_given_up_after_a_while() {
    let mut hearing = ready();
    say(&mut hearing, "a", None, 1000);
    say(&mut hearing, "b", Some("a"), 3000);
    hearing.told(completed("b", "Два"));
    hearing.told(delta("a", "Ра"));
    assert_eq!(hearing.wait(14 * SECOND), []);
    let outputs = hearing.wait(2 * SECOND);
    let [Transcribed::Fault(fault), said] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((fault.kind, said), (FaultKind::Transient, &line("Два", 3000, 4000)));
    assert_eq!(hearing.transcriber.next_timeout(), None);
}

#[test]
fn a_pause_ends_what_is_being_said() {
    let mut hearing = ready();
    assert_eq!(hearing.pause(), [], "nobody speaks");
    hearing.hear(&[0xd5; 160]);
    hearing.told(started("a", 700));
    assert_eq!(sent(&hearing.pause()), commit());
    assert_eq!(hearing.pause(), []);
    hearing.told(committed("a", None));
    let cut_off = Transcribed::Line { text: "Раз".into(), start_ms: Some(1000), end_ms: None };
    assert_eq!(hearing.told(completed("a", "Раз")), [cut_off]);
    // Heard only after the pause began.
    assert_eq!(sent(&hearing.told(started("b", 2700))), commit());
    hearing.told(committed("other", Some("a")));
    let cut_off = Transcribed::Line { text: "Два".into(), start_ms: Some(3000), end_ms: None };
    assert_eq!(hearing.told(completed("other", "Два")), [cut_off], "under another name than was announced");
}

#[test]
fn a_pause_just_after_the_end_of_speech_does_no_harm() {
    let mut hearing = ready();
    hearing.told(started("a", 700));
    hearing.pause();
    let error = json!({"type": "error", "error": {"type": "invalid_request_error", "event_id": "commit",
        "code": "input_audio_buffer_commit_empty", "message": "buffer too small", "param": null}});
    assert_eq!(hearing.told(error), []);
    assert_eq!(hearing.transcriber.next_timeout(), None, "nothing is waited for");
}

#[test]
fn the_end_waits_for_the_last_words_and_no_longer() {
    let mut hearing = ready();
    hearing.told(started("a", 700));
    assert_eq!(sent(&hearing.end()), commit());
    assert_eq!(hearing.hear(&[0xd5; 160]), []);
    hearing.told(committed("a", None));
    assert_eq!(hearing.wait(SECOND), []);
    let said = Transcribed::Line { text: "Пока".into(), start_ms: Some(1000), end_ms: None };
    assert_eq!(hearing.told(completed("a", "Пока")), [said, Transcribed::Finished]);
    assert_eq!(hearing.wait(20 * SECOND), []);
    // Nothing was being said, as far as one knew.
    let mut hearing = ready();
    assert_eq!(hearing.end(), []);
    assert_eq!(sent(&hearing.told(started("a", 700))), commit());
    hearing.told(committed("a", None));
    assert_eq!(hearing.wait(SECOND / 2), []);
    hearing.told(completed("a", ""));
    assert_eq!(hearing.wait(SECOND), [Transcribed::Finished]);
}

#[test]
fn errors_mean_what_they_mean_in_a_conversation() {
    for (error, kind) in [
        (json!({"code": "session_expired", "message": "60 minutes"}), FaultKind::Expired),
        (json!({"code": "invalid_api_key", "message": "sk-v"}), FaultKind::Authentication),
        (json!({"code": "odd", "type": "invalid_request_error", "message": "odd"}), FaultKind::Transient),
    ] {
        let outputs = ready().told(json!({"type": "error", "error": error}));
        assert!(matches!(&outputs[..], [Transcribed::Fault(fault)] if fault.kind == kind), "{outputs:?}");
    }
    let mut hearing = Hearing::new(NAME, listening(NAME), Format::ALAW);
    hearing.open();
    let refused = json!({"type": "invalid_request_error", "message": "No such model", "param": "session.audio"});
    let outputs = hearing.told(json!({"type": "error", "error": refused}));
    let [Transcribed::Fault(fault)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(fault.message, "the server refused the session settings session.audio: No such model");
    assert_eq!(fault.kind, FaultKind::Fatal);
}
