//! Ready-made misbehaviour, as steps for a [`Script`].

use std::time::Duration;

use crate::script::{Frame, Pace, Script, Speech, Step};

/// Frames no client expects: text that is not JSON, a binary frame, JSON of the wrong types, unknown events, JSON
/// nested 100,000 deep, numbers that do not fit, and audio that is not base64.
pub fn garbage() -> Script {
    let deep = "[".repeat(100_000);
    let texts = [
        "this is not JSON",
        "",
        "null",
        "42",
        "[]",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":null,"event_id":[]}"#,
        r#"{"type":"response.sparkled","event_id":"event_x","sparkle":{"n":1}}"#,
        r#"{"type":"session.updated","session":"none"}"#,
        r#"{"type":"response.created","response":[1,2,3]}"#,
        r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":"soon","item_id":false}"#,
        r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":-1e308,"item_id":"item_x"}"#,
        r#"{"type":"conversation.item.truncated","audio_end_ms":1e999,"content_index":99999999999999999999}"#,
        r#"{"type":"response.done","response":{"status":NaN}}"#,
        r#"{"type":"response.output_audio.delta","item_id":"item_x","delta":"%%% not base64 %%%"}"#,
        r#"{"type":"response.output_audio.delta","item_id":"item_x","delta":"AAA"}"#,
        r#"{"type":"response.output_audio.delta","item_id":"item_x","delta":7}"#,
        r#"{"type":"response.output_audio.delta"}"#,
        r#"{"type":"error","error":null}"#,
        &deep,
    ];
    let texts = texts.into_iter().map(|text| Step::Send(Frame::Text(text.to_owned())));
    let binary = Step::Send(Frame::Binary((0..=255).collect()));
    Script::from(texts.chain([binary]).collect::<Vec<_>>())
}

/// The end of a session that has reached the vendor's longest duration: an error, then close code 1001.
pub fn session_expired() -> Script {
    Script::new()
        .then(Step::Error {
            code: "session_expired".to_owned(),
            message: "Your session hit the maximum duration of 60 minutes.".to_owned(),
        })
        .close(1001, "session expired")
}

/// The end of a stream to Soniox' protocol by an error: 401, 402, 403, 408, 413, 429, 500, 503 and any other.
pub fn soniox_error(code: u16, message: &str) -> Script {
    Script::from(Step::Error { code: code.to_string(), message: message.to_owned() })
}

/// One text message of this many bytes: valid JSON of an unknown event type.
pub fn huge_message(bytes: usize) -> Script {
    let (head, tail) = (r#"{"type":"practice.padding","padding":""#, r#""}"#);
    let padding = "x".repeat(bytes.saturating_sub(head.len() + tail.len()));
    Script::from(Step::Send(Frame::Text(format!("{head}{padding}{tail}"))))
}

/// A response whose whole audio comes at once, in deltas of 100 ms. `wire` is in the session's output format.
pub fn audio_burst(wire: Vec<u8>) -> Script {
    Script::new().say(Speech::wire("A long story.", wire).at(Pace::Burst))
}

/// This many pings in a row, each with its number as payload.
pub fn ping_flood(count: u32) -> Script {
    let ping = |n: u32| Step::Send(Frame::Ping(n.to_be_bytes().to_vec()));
    Script::from((0..count).map(ping).collect::<Vec<_>>())
}

/// Goes silent without closing, once this much caller audio has come.
pub fn stall_after(caller_audio: Duration, timeout: Duration) -> Script {
    Script::new().wait_caller_audio(caller_audio, timeout).then(Step::Stall)
}
