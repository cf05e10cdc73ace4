//! A session that only transcribes.
//!
//! ```text
//!  speech_started ─► speech_stopped ─► committed ─► delta … ─► completed | failed      of one item
//!                    speech_started ─► speech_stopped ─► committed ─► …                of the next, at the same time
//! ```
//!
//! The server finds where somebody speaks by loudness, and each such stretch is an item. Items are transcribed side by
//! side, so a short one may be done before a long one that was said first: lines are given out in the order of the speech.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ai_media::Format;
use serde_json::{Value, json};

use super::event::{self, Event};
use super::{AUDIO_CHOICES, faults, formats, handshake, messages};
use crate::outbox::{MAX_UTTERANCE_BYTES, Outbox};
use crate::transcriber::{Listening, Transcribed, Transcriber, TranscriberProvider};
use crate::{FaultKind, Handshake, Message, Payload, json};

/// The transcriber `openai-transcription`.
pub(crate) const TRANSCRIBER: TranscriberProvider = TranscriberProvider {
    name: "openai-transcription",
    url: "wss://api.openai.com/v1/realtime",
    model: "gpt-transcribe",
    audio: AUDIO_CHOICES,
    settings: &["terms", "context", "endpoint_delay_ms"],
    check: |listening| {
        let by_hand =
            ["gpt-realtime-whisper", "gpt-live-transcribe"].iter().any(|model| listening.model.starts_with(model));
        match listening.provider_settings.get("audio").and_then(|audio| audio.pointer("/input/turn_detection")) {
            _ if listening.model.is_empty() => Err(("model", "missing")),
            _ if by_hand => Err(("model", "finds no lines by itself; gpt-transcribe does")),
            Some(Value::Null) => Err(("provider_settings", "without a turn_detection there would be no lines")),
            _ => Ok(()),
        }
    },
    session_max: Some(Duration::from_secs(60 * 60)),
    create: |listening, phone| Box::new(Transcription::new(listening, phone)),
};

/// What the server adds to the speech it heard, unless configured otherwise. [ms]
const PREFIX_PADDING_MS: u64 = 300;

/// Silence that ends a line, unless configured otherwise. [ms]
const SILENCE_MS: u32 = 500;

/// An item that has not become words by then never will.
const PATIENCE: Duration = Duration::from_secs(15);

/// So long after the last audio the server may still find that somebody speaks in it.
const LAST_SPEECH_WITHIN: Duration = Duration::from_millis(700);

/// Nobody speaks so many lines before the first of them is transcribed.
const MAX_ITEMS: usize = 32;

/// One stream to a server that speaks the OpenAI Realtime protocol.
pub struct Transcription {
    listening: Listening,
    settings: Value,
    format: Format,
    ready: bool,
    /// No audio comes now.
    paused: bool,
    /// When the last audio had come, for good.
    ended_at: Option<Instant>,
    finished: bool,
    /// The time, as far as anybody has told it.
    now: Option<Instant>,
    /// What was said and is not given out yet, in the order of the speech.
    items: VecDeque<Item>,
    /// The interim text that was told last and still counts.
    interim: String,
    outbox: Outbox<Transcribed>,
}

/// One stretch of speech.
struct Item {
    id: String,
    start_ms: Option<u64>,
    end_ms: Option<u64>,
    text: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// It is being said.
    Spoken,
    /// We asked the server not to wait for its end, and give it until then.
    CutOff(Option<Instant>),
    /// The server has all of it, and is to have transcribed it by then.
    Awaited(Option<Instant>),
    /// Nothing more comes of it.
    Done,
}

impl Item {
    fn awaited_until(&self) -> Option<Instant> {
        match self.state {
            State::CutOff(until) | State::Awaited(until) => until,
            State::Spoken | State::Done => None,
        }
    }
}

impl Transcription {
    /// A stream with these settings for a phone that speaks `phone`.
    ///
    /// A choice of audio that is not in [`AUDIO_CHOICES`] counts as [`AudioChoice::Auto`](crate::AudioChoice::Auto).
    pub fn new(listening: Listening, phone: Format) -> Self {
        let format = formats::choose(listening.audio, phone);
        Self {
            outbox: Outbox::of_stream(&listening),
            settings: settings(&listening, format),
            listening,
            format,
            ready: false,
            paused: false,
            ended_at: None,
            finished: false,
            now: None,
            items: VecDeque::new(),
            interim: String::new(),
        }
    }
}

impl Transcriber for Transcription {
    fn handshake(&self) -> Handshake {
        handshake::transcription(&self.listening)
    }

    fn format(&self) -> Format {
        self.format
    }

    fn handle_open(&mut self, now: Instant) {
        self.now = Some(now);
        let message = json!({"type": "session.update", "event_id": messages::CONFIGURE, "session": self.settings});
        self.outbox.send(message.to_string());
    }

    fn handle_message(&mut self, message: Message<'_>) {
        if let Some(event) = self.outbox.read(message, event::parse) {
            self.handle_event(&event);
        }
        self.give_out();
    }

    fn handle_audio(&mut self, audio: &[u8], now: Instant) {
        self.now = Some(now);
        if self.ready && self.ended_at.is_none() && !audio.is_empty() {
            self.paused = false;
            self.outbox.send_audio(Payload::Text(messages::caller_audio(audio)), audio);
        }
    }

    fn handle_pause(&mut self, now: Instant) {
        self.now = Some(now);
        self.paused = true;
        self.cut_off();
    }

    fn next_timeout(&self) -> Option<Instant> {
        let awaited = self.items.iter().filter_map(Item::awaited_until);
        let end = self.ended_at.filter(|_| !self.finished).map(|ended| ended + LAST_SPEECH_WITHIN);
        // Later than that, the end waits for items alone.
        awaited.chain(end.filter(|end| self.now.is_none_or(|now| now < *end))).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        for item in self.items.iter_mut().filter(|item| item.awaited_until().is_some_and(|until| now >= until)) {
            item.state = State::Done;
            item.text.clear();
            self.outbox.fault(FaultKind::Transient, "something that was said was never transcribed");
        }
        self.give_out();
    }

    fn handle_end(&mut self, now: Instant) {
        self.now = Some(now);
        self.ended_at.get_or_insert(now);
        self.cut_off();
        self.give_out();
    }

    /// What is transcribed waits only for what was said before it; of that, nothing is certain.
    fn handle_lost(&mut self) {
        self.items.retain(|item| item.state == State::Done);
        self.give_out();
    }

    fn poll_output(&mut self) -> Option<Transcribed> {
        self.outbox.pop()
    }
}

impl Transcription {
    fn handle_event(&mut self, event: &Event<'_>) {
        match &*event.kind {
            "session.updated" => self.handle_session_updated(event),
            "input_audio_buffer.speech_started" => {
                self.handle_speech_started(event);
            }
            "input_audio_buffer.speech_stopped" => {
                let end_ms = event.audio_end_ms.as_u64().map(|end_ms| end_ms.saturating_sub(self.silence_ms()));
                let until = self.patience();
                if let Some(item) = self.item(&event.item_id) {
                    item.end_ms = end_ms;
                    item.start_ms = item.start_ms.map(|start_ms| start_ms.min(end_ms.unwrap_or(start_ms)));
                    item.state = State::Awaited(until);
                }
            }
            "input_audio_buffer.committed" => self.handle_committed(event),
            "conversation.item.input_audio_transcription.delta" => {
                if let Some(item) = self.item(&event.item_id)
                    && item.text.len() + event.delta.len() <= MAX_UTTERANCE_BYTES
                {
                    item.text.push_str(&event.delta);
                }
            }
            "conversation.item.input_audio_transcription.completed" => self.complete(&event.item_id, &event.transcript),
            "conversation.item.input_audio_transcription.failed" => {
                self.complete(&event.item_id, "");
                let message = faults::message("something that was said could not be transcribed", &event.error);
                self.outbox.fault(faults::kind(&event.error), &message);
            }
            "error" => self.handle_error(&event.error),
            "" => self.outbox.not_understood("a message without a type"),
            kind if event::is_uninteresting(kind) => {}
            kind => self.outbox.not_understood(kind),
        }
    }

    fn handle_session_updated(&mut self, event: &Event<'_>) {
        if let Some(mismatch) = formats::mismatch(self.format, &event.session) {
            return self.outbox.fault(FaultKind::Fatal, &mismatch);
        }
        if !std::mem::replace(&mut self.ready, true) {
            self.outbox.push(Transcribed::Ready);
        }
    }

    fn handle_speech_started(&mut self, event: &Event<'_>) {
        let start_ms = event.audio_start_ms.as_u64().map(|start_ms| start_ms.saturating_add(self.padding_ms()));
        let until = self.patience();
        // Nobody says two things at once.
        for item in self.items.iter_mut().filter(|item| item.state == State::Spoken) {
            item.state = State::Awaited(until);
        }
        if let Some(item) = self.item(&event.item_id) {
            item.start_ms = start_ms;
            item.state = State::Spoken;
        }
        if self.paused || self.ended_at.is_some() {
            self.cut_off();
        }
    }

    /// The server has all of an item: its place is known for certain now.
    fn handle_committed(&mut self, event: &Event<'_>) {
        let until = self.patience();
        let known = self.items.iter().any(|item| item.id == *event.item_id);
        if !known && let Some(cut_off) = self.items.iter_mut().find(|item| matches!(item.state, State::CutOff(_))) {
            // The server made another item of it than it had announced.
            cut_off.id = event.item_id.to_string();
        }
        let Some(item) = self.item(&event.item_id) else { return };
        if item.state != State::Done {
            item.state = State::Awaited(until);
        }
        let place = |id: &str| self.items.iter().position(|item| item.id == *id);
        if let (Some(after), Some(at)) = (place(&event.previous_item_id), place(&event.item_id))
            && at < after
            && let Some(item) = self.items.remove(at)
        {
            self.items.insert(after, item);
        }
    }

    fn complete(&mut self, id: &str, transcript: &str) {
        if let Some(item) = self.item(id) {
            transcript.clone_into(&mut item.text);
            item.state = State::Done;
        }
    }

    fn handle_error(&mut self, error: &Value) {
        // We cut off what had just ended by itself.
        if json::text(error, "code") == "input_audio_buffer_commit_empty" {
            return self.items.retain(|item| !matches!(item.state, State::CutOff(_)));
        }
        let refused = !self.ready && json::text(error, "type") == "invalid_request_error";
        match faults::kind(error) {
            FaultKind::Transient if refused => {
                let context = ["the server refused the session settings", json::text(error, "param")].join(" ");
                self.outbox.fault(FaultKind::Fatal, &faults::message(context.trim_end(), error));
            }
            kind => self.outbox.fault(kind, &faults::message("", error)),
        }
    }

    /// Has the server transcribe what is being said as if it had ended: silence, by which the server would know, does not
    /// come.
    fn cut_off(&mut self) {
        let until = self.patience();
        for item in self.items.iter_mut().filter(|item| item.state == State::Spoken) {
            item.state = State::CutOff(until);
            self.outbox.send(json!({"type": "input_audio_buffer.commit", "event_id": "commit"}).to_string());
        }
    }

    /// The item called `id`, a new one if need be. `None` for one without a name.
    fn item(&mut self, id: &str) -> Option<&mut Item> {
        if id.is_empty() {
            self.outbox.not_understood("speech without an id");
            return None;
        }
        let until = self.patience();
        let at = self.items.iter().position(|item| item.id == id).unwrap_or_else(|| {
            if self.items.len() == MAX_ITEMS {
                self.items.pop_front();
            }
            let (id, text) = (id.to_owned(), String::new());
            self.items.push_back(Item { id, start_ms: None, end_ms: None, text, state: State::Awaited(until) });
            self.items.len() - 1
        });
        self.items.get_mut(at)
    }

    /// Tells what can be told. Runs after everything that may have changed it.
    fn give_out(&mut self) {
        while self.items.front().is_some_and(|item| item.state == State::Done)
            && let Some(item) = self.items.pop_front()
        {
            if self.outbox.line(&item.text, item.start_ms, item.end_ms) {
                self.interim.clear();
            }
        }
        let texts: Vec<&str> = self.items.iter().map(|item| item.text.trim()).filter(|text| !text.is_empty()).collect();
        let interim = texts.join(" ");
        if interim != self.interim {
            let from = self.items.iter().find(|item| !item.text.is_empty()).and_then(|item| item.start_ms);
            self.outbox.interim(&interim, from);
            self.interim = interim;
        }
        let over =
            |ended: Instant| self.items.is_empty() && self.now.is_some_and(|now| now >= ended + LAST_SPEECH_WITHIN);
        if !self.finished && self.ended_at.is_some_and(over) {
            self.finished = true;
            self.outbox.push(Transcribed::Finished);
        }
    }

    fn patience(&self) -> Option<Instant> {
        self.now.map(|now| now + PATIENCE)
    }

    /// Of what the server counts as speech, before the first sound. [ms]
    fn padding_ms(&self) -> u64 {
        self.turn_detection_ms("prefix_padding_ms")
    }

    /// Of what the server counts as speech, after the last sound. [ms]
    fn silence_ms(&self) -> u64 {
        self.turn_detection_ms("silence_duration_ms")
    }

    /// Other ways to find turns report what they found.
    fn turn_detection_ms(&self, field: &str) -> u64 {
        let turn_detection = self.settings.pointer("/audio/input/turn_detection").unwrap_or_default();
        match json::text(turn_detection, "type") {
            "server_vad" => turn_detection[field].as_u64().unwrap_or_default(),
            _ => 0,
        }
    }
}

fn settings(listening: &Listening, format: Format) -> Value {
    let mut transcription = json!({"model": listening.model});
    if !listening.language.is_empty() {
        transcription["language"] = json!(listening.language);
    }
    // Older models take one text for all.
    let terms = listening.terms.join(", ");
    let takes_keywords = listening.model.starts_with("gpt-transcribe");
    let prompt = match takes_keywords {
        true => listening.context.clone(),
        false => [listening.context.as_str(), terms.as_str()].join("\n").trim().to_owned(),
    };
    if takes_keywords && !listening.terms.is_empty() {
        transcription["keywords"] = json!(listening.terms);
    }
    if !prompt.is_empty() {
        transcription["prompt"] = json!(prompt);
    }
    let turn_detection = json!({
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": PREFIX_PADDING_MS,
        "silence_duration_ms": listening.endpoint_delay_ms.unwrap_or(SILENCE_MS),
    });
    let input =
        json!({"format": formats::ga(format), "transcription": transcription, "turn_detection": turn_detection});
    let mut settings = json!({"type": "transcription", "audio": {"input": input}});
    json::merge(&mut settings, &listening.provider_settings);
    settings
}
