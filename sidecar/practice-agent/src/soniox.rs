//! Soniox' side of a stream of speech to text, without a socket.
//!
//! ```text
//!  config ─► checked ─┐
//!  audio ─► Vad ──────┴─► Utterance ─► tokens, <end>      finalize ─► tokens, <fin>      "" ─► tokens, finished
//! ```
//!
//! Speech is found in the audio by its loudness; the words are those of [`Words`], told as the real service does: a few
//! guesses while somebody speaks, final ones some time later, each once.

mod config;
mod task;
mod utterance;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_media::Format;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::audio::decode;
use crate::session::{Sent, Shared};
use crate::settings::TurnDetection;
use crate::vad::{Transition, Vad};
use crate::words::Words;

use config::Config;
pub(crate) use config::SUBPROTOCOL;
pub(crate) use task::Task;
use utterance::Utterance;

/// Where clients connect.
pub(crate) const PATH: &str = "/transcribe-websocket";

/// One stream's protocol state.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) queue: VecDeque<Message>,
    shared: Arc<Shared>,
    words: Arc<Words>,
    /// The only key that is accepted, if there is only one.
    key: Option<String>,
    patience: Duration,
    config: Option<Config>,
    vad: Option<Vad>,
    samples: Vec<i16>,
    /// Audio so far. [samples]
    time_samples: u64,
    /// Final tokens reach so far. [ms]
    final_ms: u64,
    utterance: Option<Utterance>,
    heard_at: Instant,
    /// Everything was said: the connection is to be closed.
    over: bool,
}

impl Stream {
    /// A stream that has been opened. A client that sends nothing for `patience` is sent away.
    pub(crate) fn new(
        shared: Arc<Shared>,
        words: Arc<Words>,
        key: Option<String>,
        patience: Duration,
        now: Instant,
    ) -> Self {
        Self {
            queue: VecDeque::new(),
            shared,
            words,
            key,
            patience,
            config: None,
            vad: None,
            samples: Vec::new(),
            time_samples: 0,
            final_ms: 0,
            utterance: None,
            heard_at: now,
            over: false,
        }
    }

    /// Takes a text message; returns what kind of message it was.
    pub(crate) fn handle_text(&mut self, text: &str, now: Instant) -> &'static str {
        self.heard_at = now;
        let message: Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
        let kind = match (&self.config, text, message["type"].as_str()) {
            (None, ..) => "config",
            (Some(_), "", _) => "end",
            (_, _, Some("keepalive")) => "keepalive",
            (_, _, Some("finalize")) => "finalize",
            _ => "",
        };
        self.shared.received(now, kind, message.clone());
        match kind {
            "config" => self.configure(&message, now),
            "end" => self.end(now),
            "finalize" => self.finish_utterance(Some("<fin>"), now),
            "keepalive" => {}
            _ => self.raise(400, "Control request invalid type.", now),
        }
        kind
    }

    /// Takes a binary message; returns what kind of message it was.
    pub(crate) fn handle_binary(&mut self, bytes: &[u8], now: Instant) -> &'static str {
        self.heard_at = now;
        let Some(config) = &self.config else {
            self.raise(400, "Start request must be a text message.", now);
            return "";
        };
        if bytes.is_empty() {
            self.shared.received(now, "end", Value::Null);
            self.end(now);
            return "end";
        }
        let format = config.format;
        if !bytes.len().is_multiple_of(format.sample_bytes()) {
            self.raise(400, "Audio data decode error: the last sample is incomplete.", now);
            return "";
        }
        self.listen(format, bytes, now);
        "audio"
    }

    /// When [`Stream::handle_idle`] is due.
    pub(crate) fn idle_at(&self) -> Instant {
        self.heard_at + self.patience
    }

    /// The client has sent nothing for too long.
    pub(crate) fn handle_idle(&mut self, now: Instant) {
        self.raise(408, "Request timeout.", now);
    }

    /// Ends the stream with an error.
    pub(crate) fn raise(&mut self, code: u16, message: &str, now: Instant) {
        if self.over {
            return;
        }
        let error = json!({
            "tokens": [],
            "error_code": code,
            "error_type": error_type(code),
            "error_message": message,
            "more_info": "https://soniox.com/docs/stt/api-reference/errors",
            "request_id": format!("practice-{}", self.shared.number),
        });
        self.send("error", error, now);
        self.over = true;
    }

    /// Whether the connection is to be closed once the queue is sent.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// All audio so far.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.ms(self.time_samples))
    }

    fn configure(&mut self, message: &Value, now: Instant) {
        match Config::read(message, &self.shared.request, self.key.as_deref()) {
            Ok(config) => {
                self.shared.named(&config.reference);
                let turns = TurnDetection {
                    threshold: 0.5,
                    prefix_padding: Duration::ZERO,
                    silence: config.endpoint_delay,
                    create_response: false,
                    interrupt_response: false,
                };
                self.vad = Some(Vad::new(config.format.rate_hz, &turns));
                self.config = Some(config);
            }
            Err((code, message)) => self.raise(code, &message, now),
        }
    }

    fn listen(&mut self, format: Format, audio: &[u8], now: Instant) {
        let mut samples = std::mem::take(&mut self.samples);
        samples.clear();
        decode(format, audio, &mut samples);
        let mut done = 0;
        while let Some(vad) = &mut self.vad
            && done < samples.len()
        {
            let (used, transition) = vad.advance(&samples[done..]);
            done += used;
            self.time_samples += used as u64;
            match transition {
                Some(Transition::Started { ago_samples }) => self.begin_utterance(ago_samples),
                Some(Transition::Stopped { quiet_samples }) => {
                    if let Some(utterance) = &mut self.utterance {
                        utterance.stopped_ms = Some(ms(format, self.time_samples - quiet_samples));
                    }
                    self.finish_utterance(None, now);
                }
                None => {}
            }
        }
        self.samples = samples;
        self.shared.appended(now, audio, format, self.time());
        self.guess(now);
    }

    fn begin_utterance(&mut self, ago_samples: u64) {
        let reference = self.config.as_ref().map_or("", |config| &config.reference);
        let from_ms = self.ms(self.time_samples - ago_samples);
        self.utterance = Some(Utterance::new(self.words.next(reference), from_ms));
    }

    /// Somebody is speaking: tells what that seems to be, if that is news.
    fn guess(&mut self, now: Instant) {
        let at_ms = self.ms(self.time_samples);
        if let Some(utterance) = &mut self.utterance
            && let Some(tokens) = utterance.guess(at_ms)
        {
            self.final_ms = utterance.final_ms().max(self.final_ms);
            self.tell(tokens, now);
        }
    }

    /// Tells all of what was being said, and `mark` or else, where that is wanted, the endpoint.
    fn finish_utterance(&mut self, mark: Option<&str>, now: Instant) {
        let at_ms = self.ms(self.time_samples);
        let mut tokens = self.utterance.take().map(|utterance| utterance.finish(at_ms)).unwrap_or_default();
        let endpoints = self.config.as_ref().is_some_and(|config| config.endpoints);
        match mark {
            Some(mark) => {
                if let Some(vad) = &mut self.vad {
                    vad.reset();
                }
                tokens.push(utterance::mark(mark));
            }
            None if endpoints => tokens.push(utterance::mark("<end>")),
            None => {}
        }
        self.final_ms = at_ms;
        self.tell(tokens, now);
    }

    fn end(&mut self, now: Instant) {
        let at_ms = self.ms(self.time_samples);
        let tokens = self.utterance.take().map(|utterance| utterance.finish(at_ms)).unwrap_or_default();
        self.final_ms = at_ms;
        if !tokens.is_empty() {
            self.tell(tokens, now);
        }
        let last = json!({"tokens": [], "final_audio_proc_ms": at_ms, "total_audio_proc_ms": at_ms, "finished": true});
        self.send("finished", last, now);
        self.over = true;
    }

    fn tell(&mut self, tokens: Vec<Value>, now: Instant) {
        let at_ms = self.ms(self.time_samples);
        let message = json!({"tokens": tokens, "final_audio_proc_ms": self.final_ms, "total_audio_proc_ms": at_ms});
        self.send("tokens", message, now);
    }

    fn send(&mut self, kind: &'static str, message: Value, now: Instant) {
        if !self.over {
            self.queue.push_back(Message::text(message.to_string()));
            self.shared.sent(|| Sent { at: now, kind, json: Arc::new(message), audio_bytes: 0 });
        }
    }

    fn ms(&self, samples: u64) -> u64 {
        self.config.as_ref().map_or(0, |config| ms(config.format, samples))
    }
}

fn ms(format: Format, samples: u64) -> u64 {
    samples * 1000 / u64::from(format.rate_hz)
}

/// The name of an error (<https://soniox.com/docs/stt/rt/error-handling>, read 2026-11).
fn error_type(code: u16) -> &'static str {
    match code {
        401 => "unauthenticated",
        402 => "balance_exhausted",
        403 => "permission_denied",
        404 => "model_not_available",
        408 => "request_timeout",
        413 => "max_duration_reached",
        429 => "limit_exceeded",
        503 => "service_unavailable",
        500.. => "internal_error",
        _ => "invalid_request",
    }
}
