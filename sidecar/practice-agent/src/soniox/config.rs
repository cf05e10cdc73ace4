//! The first message of a stream, and who may send it.

use std::time::Duration;

use ai_media::{Encoding, Format};
use serde_json::Value;

use crate::schema::{Field, Kind, Path, check, must, opt};
use crate::session::Request;

/// The configuration in force.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) format: Format,
    pub(super) reference: String,
    pub(super) endpoint_delay: Duration,
    /// Endpoints are told.
    pub(super) endpoints: bool,
}

impl Config {
    /// What `message` says, from a client that connected by `request`; `key` is the only one accepted, if there is only one.
    ///
    /// # Errors
    /// The code and message of the refusal.
    pub(super) fn read(message: &Value, request: &Request, key: Option<&str>) -> Result<Self, (u16, String)> {
        let refuse = |code, message: &str| Err((code, message.to_owned()));
        let shown = shown_key(request);
        if message.get("api_key").is_some() {
            return match shown {
                Some(_) => refuse(400, "API key was sent with the connection and in the start request."),
                None => refuse(401, "API keys in the start request are no longer accepted."),
            };
        }
        match shown {
            None | Some("") => return refuse(401, "Missing API key."),
            Some(shown) if key.is_some_and(|key| key != shown) => return refuse(401, "Incorrect API key provided."),
            Some(_) => {}
        }
        check(message, &Kind::Object(CONFIG), Path::Root).map_err(|error| (400, error.message))?;
        let rate_hz = message["sample_rate"].as_u64().zip(message["num_channels"].as_u64());
        let Some((rate_hz, 1)) = rate_hz else {
            return refuse(400, "Raw audio formats need 'sample_rate' and 'num_channels', which is 1 here.");
        };
        let encoding = match message["audio_format"].as_str() {
            Some("mulaw") => Encoding::Ulaw,
            Some("alaw") => Encoding::Alaw,
            _ => Encoding::Slin,
        };
        let longest = message["max_endpoint_delay_ms"].as_u64().map_or(Duration::MAX, Duration::from_millis);
        Ok(Self {
            format: Format { encoding, rate_hz: u32::try_from(rate_hz).unwrap_or(u32::MAX) },
            reference: message["client_reference_id"].as_str().unwrap_or_default().to_owned(),
            endpoint_delay: ENDPOINT_DELAY.min(longest),
            endpoints: message["enable_endpoint_detection"] == true,
        })
    }
}

fn shown_key(request: &Request) -> Option<&str> {
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| match (subprotocols(request).next(), subprotocols(request).nth(1)) {
        (Some(SUBPROTOCOL), key) => key,
        _ => None,
    })
}

fn subprotocols(request: &Request) -> impl Iterator<Item = &str> {
    request.header("sec-websocket-protocol").unwrap_or_default().split(',').map(str::trim)
}

/// A client that cannot set headers offers this, and its key after it.
pub(crate) const SUBPROTOCOL: &str = "soniox-api-key";

/// The real service goes by what was said; by loudness alone a breath must not end a line.
const ENDPOINT_DELAY: Duration = Duration::from_millis(600);

/// <https://soniox.com/docs/stt/api-reference/websocket-api> and the types of `soniox` 2.10.0, read 2026-11. Of the audio
/// formats those that a telephone has.
const CONFIG: &[Field] = &[
    must("model", Kind::Name),
    must("audio_format", Kind::Word(&["pcm_s16le", "mulaw", "alaw"])),
    opt("sample_rate", Kind::Int(8000, 48_000)),
    opt("num_channels", Kind::Int(1, 1)),
    opt("language_hints", Kind::List(&Kind::Name)),
    opt("language_hints_strict", Kind::Bool),
    opt("enable_language_identification", Kind::Bool),
    opt("enable_speaker_diarization", Kind::Bool),
    opt("enable_endpoint_detection", Kind::Bool),
    opt("max_endpoint_delay_ms", Kind::Int(500, 3000)),
    opt("endpoint_sensitivity", Kind::Number(-1.0, 1.0)),
    opt("endpoint_latency_adjustment_level", Kind::Int(0, 3)),
    opt(
        "context",
        Kind::Object(&[
            opt("general", Kind::List(&Kind::Object(&[must("key", Kind::Text), must("value", Kind::Text)]))),
            opt("text", Kind::Text),
            opt("terms", Kind::List(&Kind::Text)),
            opt("translation_terms", Kind::List(&Kind::Map)),
        ]),
    ),
    opt("translation", Kind::Map),
    opt("client_reference_id", Kind::Text),
];
