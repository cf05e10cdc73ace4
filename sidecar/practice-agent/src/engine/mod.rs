//! The server side of the OpenAI Realtime protocol, without a socket and without an opinion.
//!
//! ```text
//!  client text ─► handle_text ─► [check] ─► session │ caller audio │ conversation │ response
//!                                                         │                            ▲
//!                             cues (what happened) ◄──────┘      begin_reply (what to say)
//! ```
//!
//! Time comes in as a parameter. What is to be sent collects in the outbox; what whoever drives the engine should
//! know collects in the cues.

mod append;
mod caller;
mod items;
mod reply;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ai_media::Format;
use serde_json::{Value, json};

use crate::foreign::{Foreign, Heard};
use crate::outbox::Outbox;
use crate::schema::ApiError;
use crate::script::Mode;
use crate::session::Shared;
use crate::settings::Settings;
use crate::shapes;
use crate::words::Words;

use caller::Caller;
use items::Conversation;
use reply::ActiveReply;

/// One session's protocol state.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) outbox: Outbox,
    pub(crate) settings: Settings,
    pub(crate) mode: Mode,
    api: Api,
    shared: Arc<Shared>,
    words: Arc<Words>,
    session_id: String,
    conversation: Conversation,
    caller: Caller,
    reply: Option<ActiveReply>,
    /// `response` of the last `response.create` that nothing has answered yet.
    requested: Option<Value>,
    /// The client has sent a valid `session.update`.
    configured: bool,
    /// The agent has been heard, so its voice is fixed.
    voice_in_use: bool,
    fatal: bool,
    cues: VecDeque<Cue>,
}

/// Which shape of the protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Api {
    /// GA, unless the client asks for beta: by header `OpenAI-Beta`, subprotocol, or a flat first `session.update`.
    #[default]
    Auto,
    /// GA only; a beta handshake is refused as the vendor refuses it.
    Ga,
    /// Beta, whatever the client asks for.
    Beta,
    /// Not OpenAI's protocol at all: Twilio Media Streams.
    Twilio,
    /// Nor this: res_ai_bridge's own, `raw`.
    Raw,
}

/// Something that whoever decides what the agent says should know.
#[derive(Debug)]
pub(crate) enum Cue {
    /// The caller's turn has ended.
    Turn(Turn),
    /// The client asks for a response.
    Requested {
        /// `response.instructions`.
        instructions: Option<String>,
    },
    /// The client put this text into the conversation.
    Text(String),
    /// The result of a function call.
    ToolOutput(String),
}

/// What the caller said in one turn.
#[derive(Debug)]
pub(crate) struct Turn {
    /// From the first to the last loud moment, in ms.
    pub(crate) speech_ms: u64,
    /// The audio, silence after the last word left out.
    pub(crate) audio: Vec<u8>,
    pub(crate) format: Format,
    /// The session wants a response to this turn without being asked.
    pub(crate) answer: bool,
}

impl Engine {
    /// A session that has sent `session.created`.
    pub(crate) fn new(shared: Arc<Shared>, words: Arc<Words>, api: Api, now: Instant) -> Self {
        let beta = api == Api::Beta || (api == Api::Auto && asks_for_beta(&shared));
        let mut outbox = Outbox::new(shared.clone(), beta, Foreign::new(api));
        let session_id = outbox.id("sess");
        let settings = new_settings(&shared, &session_id, beta);
        let caller = Caller::new(&settings);
        let mut engine = Self {
            outbox,
            settings,
            mode: Mode::default(),
            api,
            shared,
            words,
            session_id,
            conversation: Conversation::default(),
            caller,
            reply: None,
            requested: None,
            configured: false,
            voice_in_use: false,
            fatal: false,
            cues: VecDeque::new(),
        };
        engine.open(now);
        engine
    }

    /// Takes a text message; returns its type unless it was audio or no event at all.
    pub(crate) fn handle_text(&mut self, text: &str, now: Instant) -> Option<String> {
        match &mut self.outbox.foreign {
            None => self.handle_own(text, now),
            Some(foreign) => {
                let heard = foreign.hear(text);
                self.handle_heard(heard, now)
            }
        }
    }

    /// Takes a binary message, which the protocol itself does not have.
    pub(crate) fn handle_binary(&mut self, bytes: &[u8], now: Instant) {
        match &self.outbox.foreign {
            None => {
                let error = ApiError::new("invalid_json", "Events are text messages; a binary message came.");
                self.outbox.event("error", error.to_json(None), now);
            }
            Some(foreign) => {
                let heard = foreign.hear_binary(bytes);
                self.handle_heard(heard, now);
            }
        }
    }

    fn handle_heard(&mut self, heard: Heard, now: Instant) -> Option<String> {
        for event in &heard.events {
            self.handle_own(event, now);
        }
        let (kind, original) = heard.original?;
        self.shared.received(now, &kind, original);
        Some(kind)
    }

    fn handle_own(&mut self, text: &str, now: Instant) -> Option<String> {
        if let Some(base64) = append::splice(text) {
            if let Err(error) = self.handle_append(base64, now) {
                self.outbox.event("error", error.to_json(None), now);
            }
            return None;
        }
        let event: Value = match serde_json::from_str(text) {
            Ok(event) => event,
            Err(problem) => {
                let error = ApiError::new("invalid_json", format!("The event could not be parsed as JSON: {problem}."));
                self.outbox.event("error", error.to_json(None), now);
                self.shared.received(now, "", text.into());
                return None;
            }
        };
        if let Err(error) = self.handle_event(&event, now) {
            self.outbox.event("error", error.to_json(event["event_id"].as_str()), now);
        }
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        if kind == "input_audio_buffer.append" {
            return None;
        }
        self.shared.received(now, &kind, event);
        Some(kind)
    }

    /// Sends an `error` event that no client event caused.
    pub(crate) fn raise(&mut self, code: &str, message: &str, now: Instant) {
        let error = json!({"type": "server_error", "code": code, "message": message, "param": null, "event_id": null});
        self.outbox.event("error", json!({"error": error}), now);
    }

    /// Whether [`Engine::take_cue`] has something.
    pub(crate) fn has_cues(&self) -> bool {
        !self.cues.is_empty()
    }

    /// What has happened since the last call.
    pub(crate) fn take_cue(&mut self) -> Option<Cue> {
        self.cues.pop_front()
    }

    /// Whether the client has configured the session.
    pub(crate) fn is_configured(&self) -> bool {
        self.configured
    }

    /// Whether the session is over before it began: the client must be sent away with close code 4000.
    pub(crate) fn is_fatal(&self) -> bool {
        self.fatal
    }

    fn open(&mut self, now: Instant) {
        if self.api == Api::Ga && asks_for_beta(&self.shared) {
            let message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.";
            return self.refuse("beta_api_shape_disabled", message, now);
        }
        if self.outbox.foreign.is_some() {
            return;
        }
        let request = &self.shared.request;
        if !["model", "deployment", "call_id", "intent"].iter().any(|key| request.query_parameter(key).is_some()) {
            return self.refuse("missing_model", "You must provide a model parameter.", now);
        }
        if transcribes(&self.shared) && request.query_parameter("model").is_some() {
            let message = "The model of a transcription session belongs into its settings.";
            return self.refuse("invalid_model", message, now);
        }
        self.outbox.event("session.created", json!({"session": self.settings.json()}), now);
    }

    fn refuse(&mut self, code: &'static str, message: &str, now: Instant) {
        self.fatal = true;
        self.outbox.event("error", ApiError::new(code, message).to_json(None), now);
    }

    fn handle_event(&mut self, event: &Value, now: Instant) -> Result<(), ApiError> {
        if self.api == Api::Auto && !self.outbox.beta && !self.configured && shapes::looks_beta(event) {
            self.outbox.beta = true;
            self.settings = new_settings(&self.shared, &self.session_id, true);
        }
        shapes::check_event(event, self.outbox.beta)?;
        match event["type"].as_str().unwrap_or_default() {
            "session.update" => self.update_session(&event["session"], now),
            "input_audio_buffer.append" => self.handle_append(event["audio"].as_str().unwrap_or_default(), now),
            "input_audio_buffer.commit" => self.commit_by_client(now),
            "input_audio_buffer.clear" => {
                self.caller.clear();
                self.outbox.event("input_audio_buffer.cleared", json!({}), now);
                Ok(())
            }
            "conversation.item.create" => self.create_item(event, now),
            "conversation.item.truncate" => self.truncate_item(event, now),
            "conversation.item.delete" => self.delete_item(&event["item_id"], now),
            "conversation.item.retrieve" => self.retrieve_item(&event["item_id"], now),
            "response.create" => self.request_reply(event.get("response")),
            "response.cancel" => self.cancel_by_client(event["response_id"].as_str(), now),
            _ => Ok(()),
        }
    }

    fn update_session(&mut self, session: &Value, now: Instant) -> Result<(), ApiError> {
        self.settings.update(session, self.voice_in_use)?;
        self.configured = true;
        self.caller.configure(&self.settings);
        self.outbox.event("session.updated", json!({"session": self.settings.json()}), now);
        Ok(())
    }

    fn request_reply(&mut self, response: Option<&Value>) -> Result<(), ApiError> {
        // An echo is one endless response of our own making: the client cannot know that it must not ask.
        if self.mode == Mode::Echo {
            return Ok(());
        }
        if let Some(active) = &self.reply {
            let message = format!(
                "Conversation already has an active response in progress: {}. \
                 Wait until the response is finished before creating a new one.",
                active.id()
            );
            return Err(ApiError::new("conversation_already_has_active_response", message));
        }
        let instructions = response.and_then(|response| response["instructions"].as_str()).map(str::to_owned);
        self.requested = response.cloned();
        self.cues.push_back(Cue::Requested { instructions });
        Ok(())
    }
}

fn new_settings(shared: &Shared, session_id: &str, beta: bool) -> Settings {
    let model = shared.request.query_parameter("model").unwrap_or("practice");
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let expires_at = now_s + 3600; // sessions last an hour at most
    match transcribes(shared) {
        true => Settings::transcription(session_id, expires_at),
        false => Settings::new(session_id, model, expires_at, beta),
    }
}

fn transcribes(shared: &Shared) -> bool {
    shared.request.query_parameter("intent") == Some("transcription")
}

fn asks_for_beta(shared: &Shared) -> bool {
    let has = |name, wanted| shared.request.header(name).is_some_and(|value| value.contains(wanted));
    has("openai-beta", "realtime=v1") || has("sec-websocket-protocol", "openai-beta.realtime-v1")
}
