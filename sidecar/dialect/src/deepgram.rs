//! Deepgram Voice Agent.
//!
//! ```text
//!  Settings ──► ◄── SettingsApplied     audio (binary) ──► ◄── audio (binary), UserStartedSpeaking, texts, function calls
//! ```
//!
//! The server finds turns and interruptions by itself and is not told what was heard. A session that takes over gets the
//! history with its settings. An agent that was set up at Deepgram takes none there, so its prompt gets it, in words; and
//! if it has a greeting of its own, the caller hears that again.
//!
//! Wire format: <https://developers.deepgram.com/docs/voice-agent> and the types of `deepgram-sdk` 7.17.0, read 2026-11.

mod messages;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_media::Format;
use serde_json::Value;

use crate::outbox::Outbox;
use crate::{
    AudioChoice, Dialect, FaultKind, Handshake, Heard, Message, Noticed, Output, Payload, Provider, Session, Speaker,
    json, orders,
};

/// The dialect `deepgram`.
pub(crate) const PROVIDER: Provider = Provider {
    name: "deepgram",
    audio: &[
        AudioChoice::Auto,
        AudioChoice::Ulaw,
        AudioChoice::Alaw,
        AudioChoice::Pcm8,
        AudioChoice::Pcm16,
        AudioChoice::Pcm24,
    ],
    settings: &[
        "agent_id",
        "api_key",
        "think_provider",
        "model",
        "voice",
        "language",
        "instructions",
        "greeting",
        "transcription_model",
        "provider_settings",
    ],
    check: |session| match (session.model.is_empty(), session.agent_id.is_empty()) {
        (true, true) => Err(("model", "missing; give the model that thinks, or an agent_id")),
        (false, false) => Err(("agent_id", "there is 'model' too; an agent has its own")),
        _ => Ok(()),
    },
    local_barge_in: true,
    // <https://developers.deepgram.com/changelog/2026/7/31>, read 2026-11.
    session_max: Some(Duration::from_secs(2 * 60 * 60)),
    create: |session, phone| Box::new(Deepgram::new(session, phone)),
};

/// The server ends a session in which it gets nothing for longer than it says: a message every 8 s is asked for while no
/// audio flows (<https://developers.deepgram.com/docs/agent-keep-alive>, 2026-11). We look twice as often.
const LOOK_EVERY: Duration = Duration::from_secs(4);

/// One conversation with a voice agent at Deepgram.
pub struct Deepgram {
    session: Session,
    /// Both ways.
    format: Format,
    ready: bool,
    /// The rest of the answer that is being made is not to be heard.
    muted: bool,
    /// Audio was sent since the last look.
    audio_flows: bool,
    look_at: Option<Instant>,
    /// What we said in the caller's place and have not seen come back as a text, latest last.
    said_for_caller: VecDeque<String>,
    /// Calls that wait for their result: id and name.
    calls: Vec<(String, String)>,
    item: Arc<str>,
    outbox: Outbox,
}

impl Deepgram {
    /// A conversation with these settings for a phone that speaks `phone`.
    pub fn new(session: Session, phone: Format) -> Self {
        Self {
            outbox: Outbox::new(&session),
            format: session.audio.for_phone(phone),
            session,
            ready: false,
            muted: false,
            audio_flows: false,
            look_at: None,
            said_for_caller: VecDeque::new(),
            calls: Vec::new(),
            item: Arc::from("answer"),
        }
    }
}

impl Dialect for Deepgram {
    fn handshake(&self) -> Handshake {
        let headers = match self.session.api_key.reveal() {
            "" => self.session.headers.clone(),
            key => self.session.headers_with("Authorization", format!("Token {key}")),
        };
        Handshake { url: self.session.url.clone(), headers }
    }

    fn caller_format(&self) -> Format {
        self.format
    }

    fn agent_format(&self) -> Format {
        self.format
    }

    /// Sends the settings at once, without waiting for `Welcome`, which only says that there is a server.
    fn handle_open(&mut self, now: Instant) {
        self.outbox.send(messages::settings(&self.session, self.format));
        self.look_at = Some(now + LOOK_EVERY);
    }

    fn handle_message(&mut self, message: Message<'_>) {
        match message {
            Message::Binary([]) => {}
            Message::Binary(_) if self.muted || !self.ready => {}
            Message::Binary(audio) => self.outbox.agent_audio(&self.item, audio.to_vec()),
            Message::Text(text) if text.len() > json::MAX_VALUE_BYTES => {
                self.outbox.not_understood("a message of endless size")
            }
            Message::Text(text) => match serde_json::from_str(text) {
                Ok(event) => self.handle_event(&event),
                Err(error) => self.outbox.not_readable(&error),
            },
        }
    }

    fn handle_caller_audio(&mut self, audio: &[u8]) {
        if self.ready && !audio.is_empty() {
            self.audio_flows = true;
            let message = Payload::Binary(audio.to_vec());
            self.outbox.send_audio(message, audio);
        }
    }

    fn handle_digits(&mut self, digits: &str) {
        self.say_for_caller(orders::keys_pressed(digits));
    }

    fn handle_interrupted(&mut self, heard: &[Heard], by: Noticed) {
        self.muted |= by == Noticed::ByUs && !heard.is_empty();
    }

    fn handle_tool_result(&mut self, call_id: &str, result: &str, _go_on: bool) {
        if let Some(at) = self.calls.iter().position(|(id, _)| id == call_id) {
            let (id, name) = self.calls.swap_remove(at);
            self.outbox.send(messages::function_result(&id, &name, result));
        }
    }

    fn handle_say(&mut self, text: &str) -> bool {
        self.outbox.send(messages::agent_says(text));
        true
    }

    fn handle_context(&mut self, text: &str, answer: bool) -> bool {
        self.outbox.send(messages::add_to_prompt(text));
        if answer {
            self.say_for_caller(orders::aside(orders::SPEAK_NOW));
        }
        true
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.look_at = Some(now + LOOK_EVERY);
        // Nothing but Settings may come before they are applied.
        if self.ready && !std::mem::take(&mut self.audio_flows) {
            self.outbox.send(messages::keep_alive());
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }
}

impl Deepgram {
    fn handle_event(&mut self, event: &Value) {
        match json::text(event, "type") {
            "SettingsApplied" => self.handle_applied(),
            "UserStartedSpeaking" => {
                self.muted = false;
                if self.session.interrupt_response {
                    self.outbox.push(Output::Flush);
                }
            }
            "AgentStartedSpeaking" => self.muted = false,
            "AgentAudioDone" => {
                self.muted = false;
                self.outbox.push(Output::AgentAudioDone);
            }
            "ConversationText" => self.handle_text(event),
            "FunctionCallRequest" => {
                for call in event["functions"].as_array().into_iter().flatten() {
                    self.call_tool(call);
                }
            }
            "FunctionCallCancelled" => {
                // Whoever runs it cannot be stopped, but its result is no longer wanted.
                for call in event["functions"].as_array().into_iter().flatten() {
                    self.calls.retain(|(id, _)| id != json::text(call, "id"));
                }
            }
            "Error" => self.handle_problem(FaultKind::Fatal, event),
            "Warning" => self.handle_problem(FaultKind::Transient, event),
            "InjectionRefused" => self.outbox.fault(FaultKind::Transient, json::text(event, "message")),
            "" => self.outbox.not_understood("a message without a type"),
            kind if UNINTERESTING.contains(&kind) => {}
            kind => self.outbox.not_understood(kind),
        }
    }

    fn handle_applied(&mut self) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        let (history, question) = self.session.history_and_question();
        let question = question.map(str::to_owned);
        if !self.session.agent_id.is_empty() && !history.is_empty() {
            let history = orders::history(history);
            self.outbox.send(messages::add_to_prompt(&history));
        }
        self.outbox.push(Output::Ready);
        if self.session.takes_over() && self.session.agent_owes_answer {
            // The server answers the caller, and nobody else.
            self.say_for_caller(question.unwrap_or_else(|| orders::aside(orders::GO_ON)));
        }
    }

    fn say_for_caller(&mut self, text: String) {
        self.outbox.send(messages::user_says(&text));
        if self.said_for_caller.len() == MAX_CALLS {
            self.said_for_caller.pop_front();
        }
        self.said_for_caller.push_back(text);
    }

    fn handle_text(&mut self, event: &Value) {
        let speaker = match json::text(event, "role") {
            "user" => Speaker::Caller,
            "assistant" => Speaker::Agent,
            _ => return self.outbox.not_understood("a text that nobody said"),
        };
        let text = json::text(event, "content");
        if speaker == Speaker::Caller
            && let Some(at) = self.said_for_caller.iter().position(|said| said == text)
        {
            self.said_for_caller.remove(at);
            return;
        }
        self.outbox.transcript(speaker, text, true);
    }

    fn call_tool(&mut self, call: &Value) {
        if call["client_side"] == Value::Bool(false) {
            return;
        }
        let [id, name] = ["id", "name"].map(|key| json::id(call, key).to_owned());
        if id.is_empty() || self.calls.len() == MAX_CALLS {
            return self.outbox.not_understood("a function call without an id, or one too many");
        }
        let arguments = json::text(call, "arguments").to_owned();
        self.calls.push((id.clone(), name.clone()));
        self.outbox.tool_call(id, name, arguments);
    }

    fn handle_problem(&mut self, kind: FaultKind, event: &Value) {
        let [code, description] = ["code", "description"].map(|key| json::text(event, key));
        self.outbox.fault(kind, &format!("{description} ({code})"));
    }
}

/// Events that are known and say nothing a phone call needs.
const UNINTERESTING: &[&str] = &[
    "AgentThinking",
    "FrustrationDetected",
    "FunctionCallResponse",
    "History",
    "LatencyReport",
    "ListenUpdated",
    "PromptUpdated",
    "SpeakUpdated",
    "ThinkLiveUpdated",
    "ThinkUpdated",
    "Welcome",
];

/// A phone call runs one or two tools at a time.
const MAX_CALLS: usize = 64;
