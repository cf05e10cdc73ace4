//! What a dialect tells its owner, in order: the part of every dialect that is the same.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::{Fault, FaultKind, Output, Payload, Secret, Session, Speaker, json};

/// The outputs that nobody has taken yet.
pub(crate) struct Outbox {
    outputs: VecDeque<Output>,
    /// Must not be read in any text for a person.
    secrets: Vec<Secret>,
}

impl Outbox {
    /// An empty one, for a conversation with these settings.
    pub(crate) fn new(session: &Session) -> Self {
        let headers = session.headers.iter().map(|(_, value)| value);
        Self { outputs: VecDeque::new(), secrets: headers.chain([&session.api_key]).cloned().collect() }
    }

    /// The oldest output.
    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// A control message, ready for the wire.
    pub(crate) fn send(&mut self, message: String) {
        self.push(Output::Send(message));
    }

    /// A control message.
    pub(crate) fn send_json(&mut self, message: &Value) {
        self.send(message.to_string());
    }

    /// A message that carries `audio` of the caller.
    pub(crate) fn send_audio(&mut self, message: Payload, audio: &[u8]) {
        self.push(Output::SendAudio { message, audio_bytes: audio.len() });
    }

    pub(crate) fn agent_audio(&mut self, item: &Arc<str>, audio: Vec<u8>) {
        self.push(Output::AgentAudio { item: Arc::clone(item), audio });
    }

    /// What `speaker` said, unless that is nothing. White space counts between the pieces of an utterance alone.
    pub(crate) fn transcript(&mut self, speaker: Speaker, text: &str, complete: bool) {
        let text = if complete { text.trim() } else { text };
        let end = (0..=text.len().min(MAX_UTTERANCE_BYTES)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let text = &text[..end];
        if !text.is_empty() {
            self.push(Output::Transcript { speaker, text: text.to_owned(), complete });
        }
    }

    /// The agent wants the tool `name` to run with `arguments`, unless no tool could want so many of them.
    pub(crate) fn tool_call(&mut self, call_id: String, name: String, arguments: String) {
        match arguments.len() > json::MAX_VALUE_BYTES {
            true => self.not_understood("tool arguments of endless size"),
            false => self.push(Output::ToolCall { call_id, name, arguments }),
        }
    }

    pub(crate) fn fault(&mut self, kind: FaultKind, message: &str) {
        let message = self.presentable(message);
        self.push(Output::Fault(Fault { kind, message }));
    }

    pub(crate) fn not_understood(&mut self, what: &str) {
        let what = self.presentable(what);
        self.push(Output::Unrecognised(what));
    }

    /// A text message could not be read.
    pub(crate) fn not_readable(&mut self, error: &serde_json::Error) {
        self.not_understood(&format!("not a message of this protocol (column {})", error.column()));
    }

    /// A binary message came where there are none.
    pub(crate) fn not_text(&mut self, bytes: &[u8]) {
        self.not_understood(&format!("binary message of {} bytes", bytes.len()));
    }

    /// `text` fit for a log: one line, bounded, and without any secret that somebody may have repeated.
    fn presentable(&self, text: &str) -> String {
        let hidden = self.secrets.iter().fold(text.to_owned(), |text, secret| secret.hidden_in(text));
        let mut line: String =
            hidden.chars().take(MAX_TEXT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if hidden.chars().nth(MAX_TEXT_CHARS).is_some() {
            line.push('…');
        }
        line
    }
}

/// Longer than anybody speaks in one go. [bytes]
pub(crate) const MAX_UTTERANCE_BYTES: usize = 64 << 10;

/// A log line is read by a person.
const MAX_TEXT_CHARS: usize = 300;
