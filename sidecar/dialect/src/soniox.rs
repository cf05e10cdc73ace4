//! Soniox real-time speech to text.
//!
//! ```text
//!  config ──► audio (binary) ──► ◄── tokens …  {"type":"finalize"} ──► ◄── tokens, <fin>     "" ──► ◄── tokens, finished
//! ```
//!
//! What is said comes as tokens, parts of words: a final one comes once, the others are told anew in every message. Its
//! speech model itself finds where somebody has finished (`<end>`): that is a line here. The service never says that it
//! took the config; an error is the first and last thing it says if it did not.
//!
//! Wire format: <https://soniox.com/docs/stt/api-reference/websocket-api> and the types of `soniox` 2.10.0, read 2026-11.

use std::time::{Duration, Instant};

use ai_media::{Encoding, Format};
use serde_json::{Value, json};

use crate::outbox::Outbox;
use crate::transcriber::{Listening, Transcribed, Transcriber, TranscriberProvider};
use crate::{AudioChoice, FaultKind, Handshake, Message, Payload, json};

/// The transcriber `soniox`.
pub(crate) const TRANSCRIBER: TranscriberProvider = TranscriberProvider {
    name: "soniox",
    url: "wss://stt-rt.soniox.com/transcribe-websocket",
    model: "stt-rt-v5",
    audio: &[
        AudioChoice::Auto,
        AudioChoice::Ulaw,
        AudioChoice::Alaw,
        AudioChoice::Pcm8,
        AudioChoice::Pcm16,
        AudioChoice::Pcm24,
    ],
    settings: &["terms", "context", "endpoint_delay_ms"],
    check: |listening| {
        let context_chars: usize =
            listening.terms.iter().chain([&listening.context]).map(|text| text.chars().count()).sum();
        match listening.endpoint_delay_ms {
            _ if listening.model.is_empty() => Err(("model", "missing")),
            _ if !matches!(listening.language.len(), 0 | 2) => {
                Err(("language", "this service names one by two letters"))
            }
            Some(delay) if !ENDPOINT_DELAYS_MS.contains(&delay) => {
                Err(("endpoint_delay_ms", "this service allows 500 to 3000"))
            }
            _ if context_chars > MAX_CONTEXT_CHARS => {
                Err(("context", "this service allows 10000 characters, those of the terms among them"))
            }
            _ => Ok(()),
        }
    },
    // <https://soniox.com/docs/stt/rt/limits-and-quotas>, read 2026-11.
    session_max: Some(Duration::from_secs(300 * 60)),
    create: |listening, phone| Box::new(Soniox::new(listening, phone)),
};

/// Allowed values of `max_endpoint_delay_ms`.
const ENDPOINT_DELAYS_MS: std::ops::RangeInclusive<u32> = 500..=3000;

/// For the whole of `context` (<https://soniox.com/docs/stt/concepts/context>, read 2026-11).
const MAX_CONTEXT_CHARS: usize = 10_000;

/// Something must be sent every 20 s; the vendor's own clients send a keepalive after 5.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);

/// "Every few seconds is fine; too often may cause disconnections."
const FINALIZE_EVERY: Duration = Duration::from_secs(3);

/// A line with so many characters ends before the next word: half a minute of speech without an endpoint.
const LONG_LINE_CHARS: usize = 400;

/// A line ends before a token that would make it longer, whether or not a word begins there.
const MAX_LINE_CHARS: usize = 1000;

/// One stream to Soniox.
pub struct Soniox {
    listening: Listening,
    format: Format,
    /// The config was sent, and the end was not.
    open: bool,
    /// Audio was given that nobody has asked to be finalised.
    unfinalized: bool,
    finalized_at: Option<Instant>,
    finalize_at: Option<Instant>,
    ended: bool,
    /// When something was sent last.
    sent_at: Option<Instant>,
    line: Line,
    /// The interim text that was told last and still counts.
    interim: String,
    outbox: Outbox<Transcribed>,
}

/// The line being said.
#[derive(Default)]
struct Line {
    /// Its final tokens.
    text: String,
    chars: usize,
    start_ms: Option<u64>,
    end_ms: Option<u64>,
}

impl Soniox {
    /// A stream with these settings for a phone that speaks `phone`.
    pub fn new(listening: Listening, phone: Format) -> Self {
        Self {
            outbox: Outbox::of_stream(&listening),
            format: listening.audio.for_phone(phone),
            listening,
            open: false,
            unfinalized: false,
            finalized_at: None,
            finalize_at: None,
            ended: false,
            sent_at: None,
            line: Line::default(),
            interim: String::new(),
        }
    }
}

impl Transcriber for Soniox {
    /// The key goes nowhere else: in the config, too, it would be refused.
    fn handshake(&self) -> Handshake {
        Handshake { url: self.listening.url.clone(), headers: self.listening.headers_with_bearer() }
    }

    fn format(&self) -> Format {
        self.format
    }

    fn handle_open(&mut self, now: Instant) {
        self.outbox.send(config(&self.listening, self.format).to_string());
        self.outbox.push(Transcribed::Ready);
        self.open = true;
        self.sent_at = Some(now);
    }

    fn handle_message(&mut self, message: Message<'_>) {
        match message {
            Message::Binary(bytes) => self.outbox.not_text(bytes),
            Message::Text(text) if text.len() > json::MAX_VALUE_BYTES => {
                self.outbox.not_understood("a message of endless size")
            }
            Message::Text(text) => match serde_json::from_str(text) {
                Ok(event) => self.handle_event(&event),
                Err(error) => self.outbox.not_readable(&error),
            },
        }
    }

    fn handle_audio(&mut self, audio: &[u8], now: Instant) {
        if self.open && !audio.is_empty() {
            self.unfinalized = true;
            self.finalize_at = None;
            self.sent_at = Some(now);
            self.outbox.send_audio(Payload::Binary(audio.to_vec()), audio);
        }
    }

    fn handle_pause(&mut self, now: Instant) {
        if self.open && self.unfinalized {
            let earliest = self.finalized_at.map_or(now, |last| last + FINALIZE_EVERY);
            self.finalize_at = Some(earliest.max(now));
            self.handle_timeout(now);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let keepalive = self.sent_at.filter(|_| self.open).map(|sent| sent + KEEPALIVE_AFTER);
        [keepalive, self.finalize_at.filter(|_| self.open)].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.open {
            return;
        }
        if self.finalize_at.is_some_and(|due| now >= due) {
            self.finalize_at = None;
            self.finalized_at = Some(now);
            self.unfinalized = false;
            self.sent_at = Some(now);
            self.outbox.send(json!({"type": "finalize"}).to_string());
        }
        if self.sent_at.is_some_and(|sent| now >= sent + KEEPALIVE_AFTER) {
            self.sent_at = Some(now);
            self.outbox.send(json!({"type": "keepalive"}).to_string());
        }
    }

    /// The empty message finalises what was said, too.
    fn handle_end(&mut self, _now: Instant) {
        if std::mem::take(&mut self.open) {
            self.ended = true;
            self.outbox.send(String::new());
        }
    }

    fn handle_lost(&mut self) {
        self.open = false;
        self.end_line();
        self.tell_interim("", None);
    }

    fn poll_output(&mut self) -> Option<Transcribed> {
        self.outbox.pop()
    }
}

impl Soniox {
    fn handle_event(&mut self, event: &Value) {
        let tokens = event["tokens"].as_array();
        let finished = event["finished"] == Value::Bool(true);
        let failed = !event["error_code"].is_null() || !json::text(event, "error_type").is_empty();
        if tokens.is_none() && !finished && !failed {
            return match json::text(event, "type") {
                "" => self.outbox.not_understood("a message without tokens"),
                kind => self.outbox.not_understood(kind),
            };
        }
        let mut guess = String::new();
        let mut guess_from = None;
        for token in tokens.into_iter().flatten() {
            let text = json::text(token, "text");
            match (token["is_final"] == Value::Bool(true), text) {
                // What was made of the words in another language is not what was said.
                _ if token["translation_status"] == "translation" => {}
                (true, "<end>" | "<fin>") => self.end_line(),
                (true, _) => self.add(token, text),
                (false, _) => {
                    guess.push_str(text);
                    guess_from = guess_from.or(token["start_ms"].as_u64());
                }
            }
        }
        if finished || failed {
            // Nobody will say more about it.
            self.end_line();
            guess.clear();
        }
        self.tell_interim(&guess, guess_from);
        if failed {
            self.open = false;
            self.outbox.fault(kind(event), &reason(event));
        } else if finished {
            self.open = false;
            match self.ended {
                true => self.outbox.push(Transcribed::Finished),
                false => self.outbox.fault(FaultKind::Expired, "the service has ended the stream"),
            }
        }
    }

    /// A final token.
    fn add(&mut self, token: &Value, text: &str) {
        let begins_word = text.starts_with(char::is_whitespace);
        let chars = text.chars().count();
        if (self.line.chars >= LONG_LINE_CHARS && begins_word) || self.line.chars + chars > MAX_LINE_CHARS {
            self.end_line();
        }
        let line = &mut self.line;
        line.text.push_str(text);
        line.chars += chars;
        line.start_ms = line.start_ms.or(token["start_ms"].as_u64());
        line.end_ms = token["end_ms"].as_u64().or(line.end_ms);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.outbox.line(&line.text, line.start_ms, line.end_ms) {
            self.interim.clear();
        }
    }

    /// The line so far and what the service guesses comes after it, if that is news.
    fn tell_interim(&mut self, guess: &str, guess_from: Option<u64>) {
        let text = format!("{}{guess}", self.line.text);
        if text.trim() != self.interim {
            text.trim().clone_into(&mut self.interim);
            self.outbox.interim(&text, self.line.start_ms.or(guess_from));
        }
    }
}

/// The first message.
fn config(listening: &Listening, format: Format) -> Value {
    let mut config = json!({
        "model": listening.model,
        "audio_format": match format.encoding {
            Encoding::Alaw => "alaw",
            Encoding::Ulaw => "mulaw",
            Encoding::Slin => "pcm_s16le",
        },
        "sample_rate": format.rate_hz,
        "num_channels": 1,
        "enable_endpoint_detection": true,
        "client_reference_id": listening.reference(),
    });
    if !listening.language.is_empty() {
        config["language_hints"] = json!([listening.language]);
    }
    if let Some(delay_ms) = listening.endpoint_delay_ms {
        config["max_endpoint_delay_ms"] = json!(delay_ms);
    }
    if !listening.context.is_empty() {
        config["context"]["text"] = json!(listening.context);
    }
    if !listening.terms.is_empty() {
        config["context"]["terms"] = json!(listening.terms);
    }
    json::merge(&mut config, &listening.provider_settings);
    config
}

/// What an error means. Older servers give it a number alone (<https://soniox.com/docs/stt/rt/error-handling>, read
/// 2026-11).
fn kind(event: &Value) -> FaultKind {
    match json::text(event, "error_type") {
        "unauthenticated" | "permission_denied" => FaultKind::Authentication,
        exhausted if exhausted.ends_with("_exhausted") => FaultKind::Authentication,
        "request_timeout" | "service_unavailable" | "internal_error" | "max_duration_reached" => FaultKind::Expired,
        "limit_exceeded" | "max_concurrent_connections_reached" => FaultKind::Transient,
        "invalid_request" | "model_not_available" => FaultKind::Fatal,
        _ => match event["error_code"].as_u64() {
            Some(401..=403) => FaultKind::Authentication,
            Some(408 | 413 | 500..) => FaultKind::Expired,
            Some(429) => FaultKind::Transient,
            _ => FaultKind::Fatal,
        },
    }
}

/// An error in a sentence, with what their support asks for.
fn reason(event: &Value) -> String {
    let [message, kind, request] = ["error_message", "error_type", "request_id"].map(|key| json::text(event, key));
    let message = if message.is_empty() { "no reason given" } else { message };
    let code = event["error_code"].as_u64().map(|code| code.to_string()).unwrap_or_default();
    let code = [code.as_str(), kind].join(" ");
    match request {
        "" => format!("{message} ({})", code.trim()),
        _ => format!("{message} ({}, request {request})", code.trim()),
    }
}
