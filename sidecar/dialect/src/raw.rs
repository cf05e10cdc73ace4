//! Our own protocol for bots that somebody writes for this module: audio as it is, and a handful of JSON messages.
//!
//! ```text
//!  this side ── start ─ audio… ─ digit ─ mark ─ flushed ─ refused ─ say ─ context ──► bot
//!            ◄── audio… ─ mark ─ flush ─ transcript ─ hangup ─ transfer ──
//! ```
//!
//! Binary messages are audio, text messages are JSON objects with a `type`. `docs/raw.md` describes it for those who
//! write bots.

use std::sync::Arc;
use std::time::Instant;

use ai_media::{Encoding, Format};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::json::{Text, bounded};
use crate::outbox::Outbox;
use crate::{
    AudioChoice, Dialect, Handshake, Heard, Message, Noticed, Output, Payload, Provider, Session, Speaker, Turn, json,
};

/// The dialect `raw`.
pub(crate) const PROVIDER: Provider = Provider {
    name: "raw",
    audio: &[
        AudioChoice::Auto,
        AudioChoice::Ulaw,
        AudioChoice::Alaw,
        AudioChoice::Pcm8,
        AudioChoice::Pcm16,
        AudioChoice::Pcm24,
    ],
    settings: &["model", "api_key", "voice", "language", "instructions", "greeting", "provider_settings"],
    check: |_| Ok(()),
    local_barge_in: true,
    session_max: None,
    create: |session, phone| Box::new(Raw::new(session, phone)),
};

/// One conversation with a bot.
pub struct Raw {
    session: Session,
    /// Both ways.
    format: Format,
    /// Turns the agent has begun, by the pauses it made.
    item: Arc<str>,
    /// The bot ordered the flush that is under way.
    ordered: bool,
    /// Requests to hang up or transfer so far; names them.
    requests: u64,
    outbox: Outbox,
}

impl Raw {
    /// A conversation with these settings for a phone that speaks `phone`.
    pub fn new(session: Session, phone: Format) -> Self {
        let format = session.audio.for_phone(phone);
        let outbox = Outbox::new(&session);
        Self { session, format, item: Arc::from("turn"), ordered: false, requests: 0, outbox }
    }
}

impl Dialect for Raw {
    fn handshake(&self) -> Handshake {
        let headers = if self.session.api_key.is_empty() {
            self.session.headers.clone()
        } else {
            self.session.headers_with("Authorization", format!("Bearer {}", self.session.api_key.reveal()))
        };
        Handshake { url: self.session.url.clone(), headers }
    }

    fn caller_format(&self) -> Format {
        self.format
    }

    fn agent_format(&self) -> Format {
        self.format
    }

    fn takes_single_digits(&self) -> bool {
        true
    }

    fn tells_turn_end(&self) -> bool {
        false
    }

    fn handle_open(&mut self, _now: Instant) {
        let session = &self.session;
        let mut start = json!({
            "type": "start",
            "call": session.call_id,
            "encoding": encoding(self.format),
            "rate": self.format.rate_hz,
            "variables": session.variables(),
        });
        let texts = [
            ("model", &session.model),
            ("voice", &session.voice),
            ("language", &session.language),
            ("instructions", &session.instructions),
        ];
        if session.takes_over() || session.earlier_sessions > 0 {
            start["resumed"] = json!(true);
            start["owes_answer"] = json!(session.agent_owes_answer);
            start["history"] = session.history.iter().map(remembered).collect();
        } else if !session.greeting.is_empty() {
            start["greeting"] = json!(session.greeting);
        }
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            start[name] = json!(text);
        }
        json::merge(&mut start, &session.provider_settings);
        self.outbox.send_json(&start);
        self.outbox.push(Output::Ready);
    }

    fn handle_message(&mut self, message: Message<'_>) {
        match message {
            Message::Binary([]) => {}
            Message::Binary(audio) => self.outbox.agent_audio(&self.item, audio.to_vec()),
            Message::Text(text) => match serde_json::from_str(text) {
                Ok(event) => self.handle_event(event),
                Err(error) => self.outbox.not_readable(&error),
            },
        }
    }

    fn handle_caller_audio(&mut self, audio: &[u8]) {
        if !audio.is_empty() {
            let message = Payload::Binary(audio.to_vec());
            self.outbox.send_audio(message, audio);
        }
    }

    fn handle_digits(&mut self, digits: &str) {
        for digit in digits.chars() {
            self.outbox.send_json(&json!({"type": "digit", "digit": digit}));
        }
    }

    fn handle_interrupted(&mut self, heard: &[Heard], _by: Noticed) {
        let by = if std::mem::take(&mut self.ordered) { "bot" } else { "caller" };
        let sum = |ms: fn(&Heard) -> u64| heard.iter().map(ms).sum::<u64>();
        let (heard_ms, received_ms) = (sum(|item| item.heard_ms), sum(|item| item.received_ms));
        self.outbox.send_json(&json!({"type": "flushed", "by": by, "heard_ms": heard_ms, "received_ms": received_ms}));
    }

    fn handle_mark(&mut self, name: &str, heard: bool) {
        self.outbox.send_json(&json!({"type": "mark", "name": name, "heard": heard}));
    }

    /// Only what was refused needs an answer: the other requests end the call.
    fn handle_tool_result(&mut self, _call_id: &str, result: &str, _go_on: bool) {
        let result: Value = serde_json::from_str(result).unwrap_or_default();
        if result["ok"] == json!(false) {
            self.outbox.send_json(&json!({"type": "refused", "reason": json::text(&result, "error")}));
        }
    }

    fn handle_say(&mut self, text: &str) -> bool {
        self.outbox.send_json(&json!({"type": "say", "text": text}));
        true
    }

    fn handle_context(&mut self, text: &str, answer: bool) -> bool {
        self.outbox.send_json(&json!({"type": "context", "text": text, "answer": answer}));
        true
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }
}

/// What a bot sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    speaker: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(deserialize_with = "bounded")]
    extension: Value,
    #[serde(deserialize_with = "bounded")]
    context: Value,
}

impl Raw {
    fn handle_event(&mut self, mut event: Event<'_>) {
        match &*event.kind {
            "mark" => {
                event.name.keep_if_short();
                self.outbox.push(Output::Mark { name: event.name.to_string() });
            }
            "flush" => {
                self.ordered = true;
                self.outbox.push(Output::Flush);
            }
            "transcript" => self.handle_transcript(&event),
            "hangup" => self.request("hangup", &json!({})),
            "transfer" => {
                self.request("transfer", &json!({"extension": event.extension, "context": event.context}));
            }
            "" => self.outbox.not_understood("a message without a type"),
            kind => self.outbox.not_understood(kind),
        }
    }

    fn handle_transcript(&mut self, event: &Event<'_>) {
        let speaker = match &*event.speaker {
            "caller" => Speaker::Caller,
            "agent" => Speaker::Agent,
            _ => return self.outbox.not_understood("a transcript whose speaker is neither caller nor agent"),
        };
        self.outbox.transcript(speaker, &event.text, true);
    }

    /// What ends the call goes the way of the tools of other providers, so the same rules hold.
    fn request(&mut self, name: &str, arguments: &Value) {
        self.requests += 1;
        self.outbox.tool_call(self.requests.to_string(), name.to_owned(), arguments.to_string());
    }
}

/// A piece of the conversation so far.
fn remembered(turn: &Turn) -> Value {
    match turn {
        Turn::Said { speaker: Speaker::Caller, text } => json!({"speaker": "caller", "text": text}),
        Turn::Said { speaker: Speaker::Agent, text } => json!({"speaker": "agent", "text": text}),
        Turn::Told { text } => json!({"context": text}),
        Turn::ToolRan { name, arguments, result } => json!({"tool": name, "arguments": arguments, "result": result}),
    }
}

fn encoding(format: Format) -> &'static str {
    match format.encoding {
        Encoding::Alaw => "alaw",
        Encoding::Ulaw => "ulaw",
        Encoding::Slin => "pcm",
    }
}
