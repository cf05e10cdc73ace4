//! What a dialect or a transcriber tells its owner, in order: the part of all of them that is the same.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::transcriber::{Listening, Transcribed};
use crate::{Fault, FaultKind, Message, Output, Payload, Secret, Session, Speaker, json};

/// The outputs that nobody has taken yet.
pub(crate) struct Outbox<O = Output> {
    outputs: VecDeque<O>,
    /// Must not be read in any text for a person.
    secrets: Vec<Secret>,
}

/// What every kind of output can say.
pub(crate) trait Say {
    fn send(message: String) -> Self;
    fn send_audio(message: Payload, audio_bytes: usize) -> Self;
    fn fault(fault: Fault) -> Self;
    fn unrecognised(what: String) -> Self;
}

impl<O: Say> Outbox<O> {
    fn without(secrets: impl Iterator<Item = Secret>) -> Self {
        Self { outputs: VecDeque::new(), secrets: secrets.collect() }
    }

    /// The oldest output.
    pub(crate) fn pop(&mut self) -> Option<O> {
        self.outputs.pop_front()
    }

    pub(crate) fn push(&mut self, output: O) {
        self.outputs.push_back(output);
    }

    /// A control message, ready for the wire.
    pub(crate) fn send(&mut self, message: String) {
        self.push(O::send(message));
    }

    /// A control message.
    pub(crate) fn send_json(&mut self, message: &Value) {
        self.send(message.to_string());
    }

    /// A message that carries `audio`.
    pub(crate) fn send_audio(&mut self, message: Payload, audio: &[u8]) {
        self.push(O::send_audio(message, audio.len()));
    }

    pub(crate) fn fault(&mut self, kind: FaultKind, message: &str) {
        let message = self.presentable(message);
        self.push(O::fault(Fault { kind, message }));
    }

    pub(crate) fn not_understood(&mut self, what: &str) {
        let what = self.presentable(what);
        self.push(O::unrecognised(what));
    }

    /// What `parse` makes of `message`, where every message is text; `None`: nothing, which has been told.
    pub(crate) fn read<'a, T>(
        &mut self,
        message: Message<'a>,
        parse: impl FnOnce(&'a str) -> serde_json::Result<T>,
    ) -> Option<T> {
        match message {
            Message::Text(text) => parse(text).inspect_err(|error| self.not_readable(error)).ok(),
            Message::Binary(bytes) => {
                self.not_text(bytes);
                None
            }
        }
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

impl Outbox<Output> {
    /// An empty one, for a conversation with these settings.
    pub(crate) fn new(session: &Session) -> Self {
        Self::without(session.headers.iter().map(|(_, value)| value).chain([&session.api_key]).cloned())
    }

    pub(crate) fn agent_audio(&mut self, item: &Arc<str>, audio: Vec<u8>) {
        self.push(Output::AgentAudio { item: Arc::clone(item), audio });
    }

    /// What `speaker` said, unless that is nothing. White space counts between the pieces of an utterance alone.
    pub(crate) fn transcript(&mut self, speaker: Speaker, text: &str, complete: bool) {
        let text = if complete { text.trim() } else { text };
        let text = utterance(text);
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
}

impl Outbox<Transcribed> {
    /// An empty one, for a stream with these settings.
    pub(crate) fn of_stream(listening: &Listening) -> Self {
        Self::without(listening.headers.iter().map(|(_, value)| value).chain([&listening.api_key]).cloned())
    }

    /// What is being said sounds like `text`.
    pub(crate) fn interim(&mut self, text: &str, start_ms: Option<u64>) {
        self.push(Transcribed::Interim { text: utterance(text.trim()).to_owned(), start_ms });
    }

    /// `text` was said, unless that is nothing: false.
    pub(crate) fn line(&mut self, text: &str, start_ms: Option<u64>, end_ms: Option<u64>) -> bool {
        let text = utterance(text.trim());
        if !text.is_empty() {
            self.push(Transcribed::Line { text: text.to_owned(), start_ms, end_ms });
        }
        !text.is_empty()
    }
}

impl Say for Output {
    fn send(message: String) -> Self {
        Self::Send(message)
    }

    fn send_audio(message: Payload, audio_bytes: usize) -> Self {
        Self::SendAudio { message, audio_bytes }
    }

    fn fault(fault: Fault) -> Self {
        Self::Fault(fault)
    }

    fn unrecognised(what: String) -> Self {
        Self::Unrecognised(what)
    }
}

impl Say for Transcribed {
    fn send(message: String) -> Self {
        Self::Send(message)
    }

    fn send_audio(message: Payload, audio_bytes: usize) -> Self {
        Self::SendAudio { message, audio_bytes }
    }

    fn fault(fault: Fault) -> Self {
        Self::Fault(fault)
    }

    fn unrecognised(what: String) -> Self {
        Self::Unrecognised(what)
    }
}

/// The beginning of `text`, as far as anybody speaks in one go.
fn utterance(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_UTTERANCE_BYTES)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

/// Longer than anybody speaks in one go. [bytes]
pub(crate) const MAX_UTTERANCE_BYTES: usize = 64 << 10;

/// A log line is read by a person.
const MAX_TEXT_CHARS: usize = 300;
