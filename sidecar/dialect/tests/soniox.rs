//! Behaviour of the transcriber `soniox`: messages as Soniox documents them.

mod common;

use std::time::Duration;

use ai_dialect::transcriber::{Listening, Transcribed, transcriber};
use ai_dialect::{AudioChoice, Fault, FaultKind, Payload, Secret};
use ai_media::Format;
use common::hearing::{Hearing, interim, line, listening, nothing_after_all, sent};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

fn ready() -> Hearing {
    let mut hearing = Hearing::new("soniox", listening("soniox"), Format::ALAW);
    hearing.make_ready();
    hearing
}

fn token(text: &str, start_ms: u64, is_final: bool) -> Value {
    json!({"text": text, "start_ms": start_ms, "end_ms": start_ms + 100, "confidence": 0.9, "is_final": is_final})
}

fn mark(text: &str) -> Value {
    json!({"text": text, "is_final": true})
}

fn tokens(tokens: &[Value]) -> Value {
    json!({"tokens": tokens, "final_audio_proc_ms": 0, "total_audio_proc_ms": 880})
}

/// A word of eight characters that is final.
fn word(number: u64) -> Value {
    token(&format!(" слово{:02}", number % 100), number * 200, true)
}

#[test]
fn the_key_is_in_the_handshake_alone() {
    let handshake = Hearing::new("soniox", listening("soniox"), Format::ALAW).transcriber.handshake();
    assert_eq!(handshake.url, "wss://stt-rt.soniox.com/transcribe-websocket");
    let headers: Vec<_> = handshake.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("Authorization", "Bearer sk-very-secret")]);
    let own = Listening { headers: vec![("authorization".into(), Secret::new("Bearer mine"))], ..listening("soniox") };
    let handshake = Hearing::new("soniox", own, Format::ALAW).transcriber.handshake();
    assert_eq!(handshake.headers.len(), 1, "the operator's own header is the only one");
}

#[test]
fn the_config_comes_first_and_says_what_the_profile_does() {
    let mut hearing = Hearing::new("soniox", listening("soniox"), Format::ALAW);
    let outputs = hearing.open();
    assert_eq!(
        sent(&outputs[..1]),
        [json!({
            "model": "stt-rt-v5", "audio_format": "alaw", "sample_rate": 8000, "num_channels": 1,
            "enable_endpoint_detection": true, "language_hints": ["ru"],
            "client_reference_id": "00112233445566778899aabbccddeeff-caller",
        })]
    );
    assert_eq!(outputs[1..], [Transcribed::Ready]);
    let full = Listening {
        language: String::new(),
        terms: vec!["АКМЕ".into()],
        context: "Заказы мебели".into(),
        endpoint_delay_ms: Some(700),
        audio: AudioChoice::Pcm16,
        provider_settings:
            json!({"endpoint_sensitivity": 0.5, "context": {"general": [{"key": "domain", "value": "Telecom"}]}})
                .as_object()
                .cloned()
                .unwrap(),
        ..listening("soniox")
    };
    let config = sent(&Hearing::new("soniox", full, Format::ALAW).open()[..1]).remove(0);
    assert_eq!((&config["audio_format"], &config["sample_rate"]), (&json!("pcm_s16le"), &json!(16_000)));
    assert_eq!((&config["max_endpoint_delay_ms"], &config["endpoint_sensitivity"]), (&json!(700), &json!(0.5)));
    assert_eq!(config.get("language_hints"), None);
    let context =
        json!({"text": "Заказы мебели", "terms": ["АКМЕ"], "general": [{"key": "domain", "value": "Telecom"}]});
    assert_eq!(config["context"], context);
}

#[test]
fn the_phones_own_law_goes_over_the_wire_and_other_phones_lose_nothing() {
    for (phone, name, rate) in [
        (Format::ULAW, "mulaw", 8000),
        (Format::ALAW, "alaw", 8000),
        (Format::slin(8000), "pcm_s16le", 8000),
        (Format::slin(16_000), "pcm_s16le", 16_000),
        (Format::slin(48_000), "pcm_s16le", 24_000),
    ] {
        let mut hearing = Hearing::new("soniox", listening("soniox"), phone);
        let config = sent(&hearing.open()[..1]).remove(0);
        assert_eq!((&config["audio_format"], &config["sample_rate"]), (&json!(name), &json!(rate)));
        assert_eq!(hearing.transcriber.format().rate_hz, rate);
        let message = Payload::Binary(vec![1, 2, 3, 4]);
        assert_eq!(hearing.hear(&[1, 2, 3, 4]), [Transcribed::SendAudio { message, audio_bytes: 4 }]);
    }
}

#[test]
fn settings_the_service_refuses_are_found_before() {
    let check = transcriber("soniox").expect("it").check;
    for (wrong, field) in [
        (Listening { model: String::new(), ..listening("soniox") }, "model"),
        (Listening { language: "rus".into(), ..listening("soniox") }, "language"),
        (Listening { endpoint_delay_ms: Some(499), ..listening("soniox") }, "endpoint_delay_ms"),
        (Listening { endpoint_delay_ms: Some(3001), ..listening("soniox") }, "endpoint_delay_ms"),
        (Listening { context: "ж".repeat(9_998), terms: vec!["жжж".into()], ..listening("soniox") }, "context"),
    ] {
        assert_eq!(check(&wrong).expect_err("it is wrong").0, field);
    }
    let full = Listening { context: "ж".repeat(9_997), terms: vec!["жжж".into()], ..listening("soniox") };
    assert_eq!(check(&full), Ok(()));
}

#[test]
fn tokens_are_joined_as_they_are_and_an_endpoint_makes_a_line() {
    let mut hearing = ready();
    let guess = tokens(&[token("Доб", 600, false), token("рый", 700, false)]);
    assert_eq!(hearing.told(guess.clone()), [interim("Добрый", 600)]);
    assert_eq!(hearing.told(guess), [], "nothing is new in it");
    let more = tokens(&[token("До", 600, true), token("брый", 700, true), token(" ден", 800, false)]);
    assert_eq!(hearing.told(more), [interim("Добрый ден", 600)]);
    // Final ones come once, the others again and otherwise.
    assert_eq!(hearing.told(tokens(&[token(" д", 800, false)])), [interim("Добрый д", 600)]);
    let end = tokens(&[token(" день", 800, true), token(".", 900, true), mark("<end>")]);
    assert_eq!(hearing.told(end), [line("Добрый день.", 600, 1000)]);
    assert_eq!(hearing.told(tokens(&[])), []);
}

#[test]
fn what_follows_an_endpoint_in_the_same_message_is_the_next_line() {
    let message = tokens(&[token("Да.", 0, true), mark("<end>"), token(" Не", 900, true), token("т", 1000, false)]);
    assert_eq!(ready().told(message), [line("Да.", 0, 100), interim("Нет", 900)]);
}

#[test]
fn an_endpoint_without_words_is_no_line_and_takes_back_what_was_guessed() {
    let mut hearing = ready();
    assert_eq!(hearing.told(tokens(&[mark("<end>")])), []);
    assert_eq!(hearing.told(tokens(&[token("Э", 0, false)])), [interim("Э", 0)]);
    assert_eq!(hearing.told(tokens(&[mark("<end>")])), [nothing_after_all()]);
}

#[test]
fn a_translation_is_not_what_was_said() {
    let mut translated = token(" Yes.", 0, true);
    translated["translation_status"] = json!("translation");
    let mut original = token("Да.", 0, true);
    original["translation_status"] = json!("original");
    assert_eq!(ready().told(tokens(&[original, translated, mark("<end>")])), [line("Да.", 0, 100)]);
}

#[test]
fn who_speaks_without_end_is_told_in_lines_of_whole_words() {
    let mut hearing = ready();
    let mut lines = Vec::new();
    for number in 0..200 {
        let outputs = hearing.told(tokens(&[word(number), token(" ещё", 0, false)]));
        lines.extend(outputs.into_iter().filter(|output| matches!(output, Transcribed::Line { .. })));
    }
    let texts: Vec<_> = lines
        .iter()
        .map(|line| match line {
            Transcribed::Line { text, start_ms: Some(start_ms), end_ms: Some(end_ms) } => (text, *start_ms, *end_ms),
            other => panic!("{other:?} has no times"),
        })
        .collect();
    // 200 words of 8 characters, 50 to a line, of which the last is not over.
    assert_eq!(texts.len(), 3);
    for (number, (text, start_ms, end_ms)) in texts.iter().enumerate() {
        let first = number as u64 * 50;
        assert!(
            text.starts_with(&format!("слово{:02}", first % 100))
                && text.ends_with(&format!("слово{:02}", (first + 49) % 100))
        );
        assert_eq!((*start_ms, *end_ms), (first * 200, (first + 49) * 200 + 100));
    }
    // Nor does it grow where there are no words.
    let mut hearing = ready();
    let long: usize = (0..3000)
        .flat_map(|_| hearing.told(tokens(&[token("字", 0, true)])))
        .filter_map(|output| match output {
            Transcribed::Line { text, .. } => Some(text.chars().count()),
            _ => None,
        })
        .inspect(|chars| assert_eq!(*chars, 1000))
        .sum();
    assert_eq!(long, 2000);
}

#[test]
fn a_pause_finalises_what_was_said_and_keeps_the_connection() {
    let mut hearing = ready();
    hearing.hear(&[0xd5; 800]);
    hearing.told(tokens(&[token("Ало", 0, false)]));
    assert_eq!(sent(&hearing.pause()), [json!({"type": "finalize"})]);
    assert_eq!(hearing.pause(), [], "nothing was said since");
    let message = tokens(&[token("Алло", 0, true), mark("<fin>")]);
    assert_eq!(hearing.told(message), [line("Алло", 0, 100)]);
    assert_eq!(hearing.wait(4 * SECOND), []);
    assert_eq!(sent(&hearing.wait(12 * SECOND)), vec![json!({"type": "keepalive"}); 3]);
    hearing.hear(&[0xd5; 800]);
    assert_eq!(hearing.wait(4 * SECOND), [], "audio keeps it as well");
}

#[test]
fn the_connection_is_kept_before_the_first_word_as_well() {
    let mut hearing = ready();
    assert_eq!(sent(&hearing.wait(31 * SECOND)).len(), 6);
}

#[test]
fn pauses_in_quick_succession_do_not_finalise_more_often_than_allowed() {
    let mut hearing = ready();
    hearing.hear(&[0xd5; 800]);
    assert_eq!(sent(&hearing.pause()), [json!({"type": "finalize"})]);
    hearing.wait(SECOND);
    hearing.hear(&[0xd5; 800]);
    assert_eq!(hearing.pause(), []);
    assert_eq!(hearing.wait(SECOND), []);
    assert_eq!(sent(&hearing.wait(SECOND)), [json!({"type": "finalize"})]);
    // Over before it was due.
    hearing.hear(&[0xd5; 800]);
    assert_eq!(hearing.pause(), []);
    hearing.hear(&[0xd5; 800]);
    assert_eq!(hearing.wait(4 * SECOND), []);
}

#[test]
fn the_end_waits_for_the_last_words() {
    let mut hearing = ready();
    hearing.hear(&[0xd5; 800]);
    hearing.told(tokens(&[token("До сви", 0, false)]));
    assert_eq!(hearing.end(), [Transcribed::Send(String::new())]);
    assert_eq!(hearing.hear(&[0xd5; 800]), [], "the service takes no more");
    assert_eq!(hearing.wait(60 * SECOND), []);
    let last =
        json!({"tokens": [token("До свидания", 0, true)], "final_audio_proc_ms": 100, "total_audio_proc_ms": 100});
    assert_eq!(hearing.told(last), [interim("До свидания", 0)]);
    let finished = json!({"tokens": [], "final_audio_proc_ms": 1560, "total_audio_proc_ms": 1680, "finished": true});
    assert_eq!(hearing.told(finished), [line("До свидания", 0, 100), Transcribed::Finished]);
}

#[test]
fn what_a_lost_connection_was_certain_of_is_a_line() {
    let mut hearing = ready();
    hearing.hear(&[0xd5; 800]);
    hearing.told(tokens(&[token("До", 0, true), token(" сви", 100, false)]));
    assert_eq!(hearing.lose(), [line("До", 0, 100)]);
    assert_eq!(hearing.lose(), [], "once");
    let mut guessing = ready();
    guessing.told(tokens(&[token("До", 0, false)]));
    assert_eq!(guessing.lose(), [nothing_after_all()]);
}

#[test]
fn an_end_nobody_asked_for_calls_for_another_connection() {
    let finished = json!({"tokens": [], "finished": true});
    let outputs = ready().told(finished);
    assert!(matches!(&outputs[..], [Transcribed::Fault(Fault { kind: FaultKind::Expired, .. })]), "{outputs:?}");
}

#[test]
fn errors_mean_what_their_type_says_and_without_one_what_their_code_does() {
    use FaultKind::{Authentication, Expired, Fatal, Transient};
    for (code, kind, expected) in [
        (401, "unauthenticated", Authentication),
        (402, "balance_exhausted", Authentication),
        (403, "permission_denied", Authentication),
        (408, "request_timeout", Expired),
        (413, "max_duration_reached", Expired),
        (400, "max_duration_reached", Expired),
        (429, "limit_exceeded", Transient),
        (429, "max_concurrent_connections_reached", Transient),
        (500, "internal_error", Expired),
        (503, "service_unavailable", Expired),
        (400, "invalid_request", Fatal),
        (404, "model_not_available", Fatal),
        (401, "", Authentication),
        (402, "", Authentication),
        (403, "", Authentication),
        (408, "", Expired),
        (413, "", Expired),
        (429, "", Transient),
        (500, "", Expired),
        (503, "brand_new", Expired),
        (400, "", Fatal),
    ] {
        let mut hearing = ready();
        hearing.told(tokens(&[token("Ал", 0, true), token("ло", 0, false)]));
        let guess = token("ло", 100, false);
        let mut error = json!({"tokens": [guess], "error_code": code, "error_message": "No.", "request_id": "r-7"});
        if !kind.is_empty() {
            error["error_type"] = json!(kind);
        }
        let outputs = hearing.told(error);
        let [said, Transcribed::Fault(fault)] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(*said, line("Ал", 0, 100), "what was final was said");
        assert_eq!(fault.kind, expected, "{code} {kind}");
        assert!(
            fault.message.contains(&code.to_string()) && fault.message.contains("request r-7"),
            "{}",
            fault.message
        );
        assert_eq!(hearing.hear(&[0xd5; 160]), [], "the service takes no more");
    }
}
