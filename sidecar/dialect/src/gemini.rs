//! Google's Gemini Live API, at the Gemini API or at Vertex AI.
//!
//! ```text
//!  setup ──► ◄── setupComplete     audio, text, tool results ──► ◄── audio, transcripts, interrupted, tool calls
//! ```
//!
//! The server finds turns and interruptions, and cuts its own memory. Linear audio only: 16 kHz to it, 24 kHz back.
//! What it sends is JSON, in text or in binary frames.
//!
//! Sessions are resumable: a later connection that brings the handle of an earlier one goes on with its session, which has
//! no longest time, as its context is compressed. Without a handle the history is told.
//!
//! Wire format: <https://ai.google.dev/api/live> and the types of `google-genai` 3.4.0, read 2026-11.

mod event;
mod messages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_media::Format;
use serde_json::Value;

use crate::outbox::{MAX_UTTERANCE_BYTES, Outbox};
use crate::{
    AudioChoice, Dialect, Handshake, Heard, Message, Noticed, Output, Payload, Provider, Session, Speaker, json, orders,
};
use event::{Content, Event};

/// The dialect `gemini`.
pub(crate) const PROVIDER: Provider = Provider {
    name: "gemini",
    audio: &[AudioChoice::Auto],
    settings: &[
        "model",
        "api_key",
        "voice",
        "language",
        "instructions",
        "greeting",
        "turn_detection",
        "vad_silence_ms",
        "interrupt_response",
        "provider_settings",
    ],
    check: |session| match session.model.is_empty() {
        true => Err(("model", "missing; give the name of a Live model")),
        false => Ok(()),
    },
    local_barge_in: true,
    // A connection lasts about ten minutes, and the server says so in good time.
    session_max: None,
    create: |session, _| Box::new(Gemini::new(session)),
};

/// What the server takes.
const CALLER: Format = Format::slin(16_000);
/// What the server gives.
const AGENT: Format = Format::slin(24_000);

/// One conversation with a Live model.
pub struct Gemini {
    session: Session,
    ready: bool,
    /// Audio of the answer that is being made has come, and its end has not.
    speaking: bool,
    /// The rest of that answer is not to be heard.
    muted: bool,
    caller_said: Utterance,
    agent_said: Utterance,
    /// Calls that wait for their result: id and name.
    calls: Vec<(String, String)>,
    item: Arc<str>,
    outbox: Outbox,
}

/// What somebody has said so far; it is transcribed piece by piece, and nobody tells its end.
struct Utterance {
    speaker: Speaker,
    text: String,
}

impl Gemini {
    /// A conversation with these settings.
    pub fn new(session: Session) -> Self {
        let silent = |speaker| Utterance { speaker, text: String::new() };
        Self {
            outbox: Outbox::new(&session),
            session,
            ready: false,
            speaking: false,
            muted: false,
            caller_said: silent(Speaker::Caller),
            agent_said: silent(Speaker::Agent),
            calls: Vec::new(),
            item: Arc::from("answer"),
        }
    }
}

impl Dialect for Gemini {
    fn handshake(&self) -> Handshake {
        let key = self.session.api_key.reveal();
        let headers = match key {
            "" => self.session.headers.clone(),
            key if is_vertex(&self.session.url) => self.session.headers_with("Authorization", format!("Bearer {key}")),
            key if key.starts_with("auth_tokens/") => {
                self.session.headers_with("Authorization", format!("Token {key}"))
            }
            key => self.session.headers_with("x-goog-api-key", key.to_owned()),
        };
        Handshake { url: self.session.url.clone(), headers }
    }

    fn caller_format(&self) -> Format {
        CALLER
    }

    fn agent_format(&self) -> Format {
        AGENT
    }

    fn handle_open(&mut self, _now: Instant) {
        self.outbox.send(messages::setup(&self.session));
    }

    fn handle_message(&mut self, message: Message<'_>) {
        let parsed = match message {
            Message::Text(text) => serde_json::from_str(text),
            Message::Binary(bytes) => serde_json::from_slice(bytes),
        };
        match parsed {
            Ok(event) => self.handle_event(event),
            Err(error) => self.outbox.not_readable(&error),
        }
    }

    fn handle_caller_audio(&mut self, audio: &[u8]) {
        if self.ready && !audio.is_empty() {
            let message = Payload::Text(messages::caller_audio(audio));
            self.outbox.send_audio(message, audio);
        }
    }

    fn handle_digits(&mut self, digits: &str) {
        self.outbox.send(messages::text(&orders::keys_pressed(digits)));
    }

    fn handle_interrupted(&mut self, _heard: &[Heard], by: Noticed) {
        self.muted |= by == Noticed::ByUs && self.speaking;
    }

    fn handle_tool_result(&mut self, call_id: &str, result: &str, _go_on: bool) {
        if let Some(at) = self.calls.iter().position(|(id, _)| id == call_id) {
            let (id, name) = self.calls.swap_remove(at);
            self.outbox.send(messages::tool_response(&id, &name, result));
        }
    }

    fn handle_say(&mut self, text: &str) -> bool {
        self.outbox.send(messages::text(&orders::aside(&orders::say(text))));
        true
    }

    /// Whatever the model is told in mid-conversation it answers.
    fn handle_context(&mut self, text: &str, answer: bool) -> bool {
        if answer {
            self.outbox.send(messages::text(&orders::aside(text)));
        }
        answer
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }
}

impl Gemini {
    /// Several things may come in one message.
    fn handle_event(&mut self, event: Event<'_>) {
        let mut known = false;
        if !event.setup_complete.is_null() {
            known = true;
            self.handle_ready();
        }
        if let Some(content) = &event.server_content {
            known = true;
            self.handle_content(content);
        }
        for call in event.tool_call["functionCalls"].as_array().into_iter().flatten() {
            self.call_tool(call);
        }
        for id in event.tool_call_cancellation["ids"].as_array().into_iter().flatten() {
            // Whoever runs it cannot be stopped, but its result is no longer wanted.
            self.calls.retain(|(waiting, _)| Some(waiting.as_str()) != id.as_str());
        }
        if !event.voice_activity.is_null() {
            known = true;
            self.handle_voice_activity(json::text(&event.voice_activity, "voiceActivityType"));
        }
        if !event.go_away.is_null() {
            let within = duration(json::text(&event.go_away, "timeLeft"));
            self.outbox.push(Output::Expiring { within });
        }
        let update = &event.session_resumption_update;
        let handle = json::text(update, "newHandle");
        if update["resumable"] == Value::Bool(true) && !handle.is_empty() && handle.len() <= MAX_HANDLE_BYTES {
            self.outbox.push(Output::Resumable { handle: handle.to_owned() });
        }
        let others = [&event.tool_call, &event.tool_call_cancellation, &event.go_away, update, &event.usage_metadata];
        if !known && others.into_iter().all(|value| value.is_null()) {
            self.outbox.not_understood("a message with nothing in it that is known");
        }
    }

    fn handle_ready(&mut self) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        let (history, question) = self.session.history_and_question();
        if messages::tells_history(&self.session) {
            self.outbox.send(messages::history(history));
        }
        let first_words = match self.session.takes_over() {
            false if self.session.greeting.is_empty() => None,
            false => Some(orders::greet(&self.session.greeting)),
            true if !self.session.agent_owes_answer => None,
            true => Some(question.map_or_else(|| orders::aside(orders::GO_ON), str::to_owned)),
        };
        self.outbox.push(Output::Ready);
        if let Some(text) = first_words {
            self.outbox.send(messages::text(&text));
        }
    }

    fn handle_content(&mut self, content: &Content<'_>) {
        if content.interrupted {
            self.end_answer();
            if self.session.interrupt_response {
                self.outbox.push(Output::Flush);
            }
        }
        self.handle_piece(Speaker::Caller, &content.input_transcription.text);
        self.handle_piece(Speaker::Agent, &content.output_transcription.text);
        for part in &content.model_turn.parts {
            self.handle_agent_audio(&part.inline_data.data, &part.inline_data.mime_type);
        }
        if content.generation_complete || content.turn_complete {
            if std::mem::take(&mut self.speaking) && !self.muted {
                self.outbox.push(Output::AgentAudioDone);
            }
            self.muted = false;
        }
        if content.turn_complete {
            self.end_answer();
        }
    }

    fn handle_agent_audio(&mut self, base64: &str, mime_type: &str) {
        if base64.is_empty() {
            return;
        }
        if !is_agent_audio(mime_type) {
            return self.outbox.not_understood(&format!("data of type {mime_type}"));
        }
        self.speaking = true;
        match json::audio(base64) {
            Ok(_) if self.muted => {}
            Ok(audio) => self.outbox.agent_audio(&self.item, audio),
            Err(_) => self.outbox.not_understood("audio that is not base64"),
        }
    }

    /// The answer is over, heard or interrupted.
    fn end_answer(&mut self) {
        self.speaking = false;
        self.muted = false;
        self.finish(Speaker::Agent);
    }

    fn handle_piece(&mut self, speaker: Speaker, piece: &str) {
        if piece.is_empty() {
            return;
        }
        // Who begins to speak lets the other one finish.
        if speaker == Speaker::Agent {
            self.finish(Speaker::Caller);
        }
        let utterance = self.utterance(speaker);
        if utterance.text.len() + piece.len() <= MAX_UTTERANCE_BYTES {
            utterance.text.push_str(piece);
        }
        self.outbox.transcript(speaker, piece, false);
    }

    fn finish(&mut self, speaker: Speaker) {
        let text = std::mem::take(&mut self.utterance(speaker).text);
        self.outbox.transcript(speaker, &text, true);
    }

    fn utterance(&mut self, speaker: Speaker) -> &mut Utterance {
        [&mut self.caller_said, &mut self.agent_said]
            .into_iter()
            .find(|utterance| utterance.speaker == speaker)
            .expect("there is one for each")
    }

    fn call_tool(&mut self, call: &Value) {
        let [id, name] = ["id", "name"].map(|key| json::id(call, key).to_owned());
        if id.is_empty() || self.calls.len() == MAX_CALLS {
            return self.outbox.not_understood("a function call without an id, or one too many");
        }
        let arguments = if call["args"].is_null() { "{}".to_owned() } else { call["args"].to_string() };
        self.calls.push((id.clone(), name.clone()));
        self.outbox.tool_call(id, name, arguments);
    }

    /// Only some servers tell.
    fn handle_voice_activity(&mut self, activity: &str) {
        match activity {
            "ACTIVITY_START" => self.outbox.push(Output::CallerSpeechStarted),
            "ACTIVITY_END" => self.outbox.push(Output::CallerSpeechStopped { at_ms: None }),
            _ => {}
        }
    }
}

/// A time as protobuf's JSON writes it: seconds, like `9.5s`. Zero if it is left out, or no such time.
fn duration(text: &str) -> Duration {
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}

fn is_vertex(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', ':']).next().unwrap_or_default();
    host.ends_with("aiplatform.googleapis.com")
}

/// `audio/pcm` at our rate, which may be left out.
fn is_agent_audio(mime_type: &str) -> bool {
    let (kind, parameters) = mime_type.split_once(';').unwrap_or((mime_type, ""));
    let rate = parameters.split(';').filter_map(|parameter| parameter.trim().strip_prefix("rate=")).next();
    kind.trim() == "audio/pcm" && rate.is_none_or(|rate| rate == "24000")
}

/// A phone call runs one or two tools at a time.
const MAX_CALLS: usize = 64;

/// Handles are some hundred bytes long. [bytes]
const MAX_HANDLE_BYTES: usize = 16 << 10;
