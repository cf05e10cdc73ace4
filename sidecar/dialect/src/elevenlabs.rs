//! ElevenLabs Agents. The agent is set up at ElevenLabs; a call may override parts of it, as far as its security
//! settings allow.
//!
//! ```text
//!  GET get-signed-url (agents that are not public) ─► WebSocket ─► initiation data ──► ◄── metadata: formats
//!  user_audio_chunk, user_message, pong, client_tool_result ──►  ◄── audio, interruption, transcripts, ping, client_tool_call
//! ```
//!
//! The server finds interruptions, and cuts its own memory to what it believes was heard. No session knows of another: one
//! that takes over is told the history in words. It stays silent at first if the profile has a greeting, as then the
//! agent lets its first message be changed; another agent's own first message the caller hears again.
//!
//! Wire format: `agent.asyncapi.yaml` of `@elevenlabs/types` 0.21.1 and the Python SDK 2.78.0, read 2026-11.

use std::sync::Arc;
use std::time::Instant;

use ai_media::Format;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::json::{Text, bounded};
use crate::outbox::Outbox;
use crate::{
    AudioChoice, Dialect, FaultKind, Handshake, Heard, HttpRequest, Message, Noticed, Output, Payload, Provider,
    Secret, Session, Speaker, json, orders, url,
};

/// The dialect `elevenlabs`.
pub(crate) const PROVIDER: Provider = Provider {
    name: "elevenlabs",
    audio: &[AudioChoice::Auto, AudioChoice::Ulaw, AudioChoice::Pcm8, AudioChoice::Pcm16, AudioChoice::Pcm24],
    settings: &["agent_id", "api_key", "model", "voice", "language", "instructions", "greeting", "provider_settings"],
    check: |session| match session.agent_id.is_empty() && url::parameter(&session.url, "agent_id").is_none() {
        true => Err(("agent_id", "missing; give the id of the agent, like agent_0123")),
        false => Ok(()),
    },
    local_barge_in: true,
    session_max: None,
    create: |session, _| Box::new(ElevenLabs::new(session)),
};

/// What an agent is set to unless somebody changed it, and what the caller's side is when the server does not say.
const USUAL: Format = Format::slin(16_000);

/// One conversation with an agent at ElevenLabs.
pub struct ElevenLabs {
    session: Session,
    /// Address that lets this conversation in, once.
    signed_url: Secret,
    caller: Format,
    agent: Format,
    ready: bool,
    /// Audio up to this event belongs to answers that were interrupted.
    interrupted: i64,
    /// The caller was heard on the line before the server has noticed: the answer is not to be heard any more.
    muted: bool,
    item: Arc<str>,
    outbox: Outbox,
}

impl ElevenLabs {
    /// A conversation with these settings. The format in `session` is an expectation; what the agent is set to counts.
    pub fn new(session: Session) -> Self {
        let expected = session.audio.format().unwrap_or(USUAL);
        Self {
            outbox: Outbox::new(&session),
            session,
            signed_url: Secret::default(),
            caller: expected,
            agent: expected,
            ready: false,
            interrupted: 0,
            muted: false,
            item: Arc::from("answer"),
        }
    }

    /// Address of the agent, for those that are public.
    fn agent_url(&self) -> String {
        url::with_parameter(&self.session.url, "agent_id", &self.session.agent_id)
    }
}

impl Dialect for ElevenLabs {
    /// Agents that are not public let in only who brings an address signed with the account's key.
    fn request_first(&self) -> Option<HttpRequest> {
        let agent_url = self.agent_url();
        if self.session.api_key.is_empty() || url::parameter(&agent_url, "conversation_signature").is_some() {
            return None;
        }
        // ws://… becomes http://…, and wss://… https://….
        let (path, query) = agent_url.split_once('?').unwrap_or((&agent_url, ""));
        let path = path.trim_end_matches('/').replacen("ws", "http", 1);
        let key = self.session.api_key.clone();
        Some(HttpRequest {
            url: format!("{path}/get-signed-url?{query}"),
            headers: vec![("xi-api-key".to_owned(), key)],
        })
    }

    fn handle_response(&mut self, status: u16, body: &[u8]) {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let signed_url = json::text(&answer, "signed_url");
        let scheme = self.session.url.split("://").next().unwrap_or_default();
        let is_url = signed_url.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"));
        if status == 200 && is_url && signed_url.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.signed_url = Secret::new(signed_url);
            return;
        }
        let kind = if matches!(status, 401 | 403) { FaultKind::Authentication } else { FaultKind::Fatal };
        let detail = &answer["detail"];
        let words = detail.as_str().unwrap_or_else(|| json::text(detail, "message"));
        self.outbox.fault(kind, &format!("no signed URL was given (HTTP status {status}): {words}"));
    }

    fn handshake(&self) -> Handshake {
        let url = if self.signed_url.is_empty() { self.agent_url() } else { self.signed_url.reveal().to_owned() };
        Handshake { url, headers: self.session.headers.clone() }
    }

    fn caller_format(&self) -> Format {
        self.caller
    }

    fn agent_format(&self) -> Format {
        self.agent
    }

    /// No event in the protocol is certain to say so.
    fn tells_turn_end(&self) -> bool {
        false
    }

    fn handle_open(&mut self, _now: Instant) {
        let mut data = json!({"type": "conversation_initiation_client_data"});
        let session = &self.session;
        let overrides = [
            ("/agent/prompt/prompt", &session.instructions),
            ("/agent/prompt/llm", &session.model),
            ("/agent/first_message", &session.greeting),
            ("/agent/language", &session.language),
            ("/tts/voice_id", &session.voice),
        ];
        // An override that says nothing is refused like any other by an agent that allows none.
        for (path, text) in overrides.into_iter().filter(|(_, text)| !text.is_empty()) {
            let place =
                path[1..].split('/').fold(&mut data["conversation_config_override"], |place, key| &mut place[key]);
            *place = json!(text);
        }
        if !session.variables.is_empty() {
            data["dynamic_variables"] = session.variables();
        }
        json::merge(&mut data, &session.provider_settings);
        if session.takes_over()
            && let Some(greeting) = data.pointer_mut("/conversation_config_override/agent/first_message")
        {
            // An agent with an empty one waits for the caller.
            *greeting = json!("");
        }
        self.outbox.send_json(&data);
    }

    fn handle_message(&mut self, message: Message<'_>) {
        if let Some(event) = self.outbox.read(message, serde_json::from_str) {
            self.handle_event(event);
        }
    }

    fn handle_caller_audio(&mut self, audio: &[u8]) {
        if self.ready && !audio.is_empty() {
            let message = Payload::Text(json::around_audio(r#"{"user_audio_chunk":""#, audio, r#""}"#));
            self.outbox.send_audio(message, audio);
        }
    }

    /// There is no event for keys, so the agent is told in words, as if the caller had said them.
    fn handle_digits(&mut self, digits: &str) {
        self.say_for_caller(&orders::keys_pressed(digits));
    }

    fn handle_interrupted(&mut self, _heard: &[Heard], by: Noticed) {
        self.muted |= by == Noticed::ByUs;
    }

    fn handle_tool_result(&mut self, call_id: &str, result: &str, _go_on: bool) {
        let is_error = serde_json::from_str(result).is_ok_and(|result: Value| result["ok"] == json!(false));
        self.outbox.send_json(&json!({
            "type": "client_tool_result",
            "tool_call_id": call_id,
            "result": result,
            "is_error": is_error,
        }));
    }

    /// No event is for it. What the agent is told beside the conversation comes nearer to an order than the caller's words.
    fn handle_say(&mut self, text: &str) -> bool {
        self.handle_context(&orders::say(text), true)
    }

    fn handle_context(&mut self, text: &str, answer: bool) -> bool {
        self.tell(text);
        if answer {
            self.say_for_caller(&orders::aside(orders::SPEAK_NOW));
        }
        true
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }
}

/// What the server sends: a type, and one object that is named for it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    audio_event: AudioEvent<'a>,
    #[serde(deserialize_with = "bounded")]
    conversation_initiation_metadata_event: Value,
    #[serde(deserialize_with = "bounded")]
    ping_event: Value,
    #[serde(deserialize_with = "bounded")]
    interruption_event: Value,
    #[serde(deserialize_with = "bounded")]
    user_transcription_event: Value,
    #[serde(deserialize_with = "bounded")]
    agent_response_event: Value,
    #[serde(deserialize_with = "bounded")]
    agent_response_correction_event: Value,
    #[serde(deserialize_with = "bounded")]
    client_tool_call: Value,
    #[serde(deserialize_with = "bounded")]
    error_event: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AudioEvent<'a> {
    #[serde(borrow)]
    audio_base_64: Text<'a>,
    #[serde(deserialize_with = "bounded")]
    event_id: Value,
}

impl ElevenLabs {
    fn handle_event(&mut self, event: Event<'_>) {
        match &*event.kind {
            "audio" => self.handle_audio(&event.audio_event),
            "ping" => self.outbox.send_json(&json!({"type": "pong", "event_id": event.ping_event["event_id"]})),
            "interruption" => self.handle_interruption(&event.interruption_event),
            "user_transcript" => {
                self.muted = false;
                let said = json::text(&event.user_transcription_event, "user_transcript");
                self.outbox.transcript(Speaker::Caller, said, true);
            }
            "agent_response" => {
                self.muted = false;
                let said = json::text(&event.agent_response_event, "agent_response");
                self.outbox.transcript(Speaker::Agent, said, true);
            }
            "agent_response_correction" => {
                let corrected = json::text(&event.agent_response_correction_event, "corrected_agent_response");
                self.outbox.transcript(Speaker::Agent, corrected, true);
            }
            "client_tool_call" => self.handle_tool_call(&event.client_tool_call),
            "conversation_initiation_metadata" => self.handle_metadata(&event.conversation_initiation_metadata_event),
            "error" => self.handle_error(&event.error_event),
            "" => self.outbox.not_understood("a message without a type"),
            kind if is_uninteresting(kind) => {}
            kind => self.outbox.not_understood(kind),
        }
    }

    fn handle_metadata(&mut self, metadata: &Value) {
        let names = ["user_input_audio_format", "agent_output_audio_format"].map(|key| json::text(metadata, key));
        let formats = names.map(|name| if name.is_empty() { Some(USUAL) } else { format(name) });
        // Played all the same, the wrong format is loud noise in the caller's ear.
        let problem = match formats {
            [Some(caller), Some(agent)] if !self.ready => {
                (self.caller, self.agent) = (caller, agent);
                None
            }
            [Some(caller), Some(agent)] if (caller, agent) == (self.caller, self.agent) => None,
            [Some(_), Some(_)] => Some("it changed in the middle of the call"),
            [None, _] | [_, None] => Some("one of them is not known"),
        };
        if let Some(problem) = problem {
            let [caller, agent] = names;
            let message = format!("the agent is set to the audio formats '{caller}' (caller) and '{agent}': {problem}");
            return self.outbox.fault(FaultKind::Fatal, &message);
        }
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        let (history, question) = self.session.history_and_question();
        let question = question.map(str::to_owned);
        if !history.is_empty() {
            let history = orders::history(history);
            self.tell(&history);
        }
        self.outbox.push(Output::Ready);
        if self.session.takes_over() && self.session.agent_owes_answer {
            self.say_for_caller(&question.unwrap_or_else(|| orders::aside(orders::GO_ON)));
        }
    }

    /// Tells the agent something without interrupting it.
    fn tell(&mut self, text: &str) {
        self.outbox.send_json(&json!({"type": "contextual_update", "text": text}));
    }

    /// The agent answers it.
    fn say_for_caller(&mut self, text: &str) {
        self.outbox.send_json(&json!({"type": "user_message", "text": text}));
    }

    fn handle_audio(&mut self, event: &AudioEvent<'_>) {
        let late = event.event_id.as_i64().is_some_and(|id| id <= self.interrupted);
        if late || self.muted || !self.ready {
            return;
        }
        match json::audio(&event.audio_base_64) {
            Ok(audio) if audio.is_empty() => {}
            Ok(audio) => self.outbox.agent_audio(&self.item, audio),
            Err(_) => self.outbox.not_understood("audio that is not base64"),
        }
    }

    fn handle_interruption(&mut self, event: &Value) {
        if !self.session.interrupt_response {
            return;
        }
        self.interrupted = event["event_id"].as_i64().unwrap_or(0).max(self.interrupted);
        self.muted = false;
        self.outbox.push(Output::Flush);
    }

    fn handle_tool_call(&mut self, call: &Value) {
        let [call_id, name] = ["tool_call_id", "tool_name"].map(|key| json::id(call, key).to_owned());
        if call_id.is_empty() {
            return self.outbox.not_understood("a tool call without an id");
        }
        let arguments = match &call["parameters"] {
            Value::Null => "{}".to_owned(),
            parameters => parameters.to_string(),
        };
        self.outbox.tool_call(call_id, name, arguments);
    }

    /// Where an error is fatal the server closes the connection, and the close code tells what it means.
    fn handle_error(&mut self, error: &Value) {
        let [kind, message, reason] = ["error_type", "message", "reason"].map(|key| json::text(error, key));
        let words: Vec<_> = [kind, message, reason].into_iter().filter(|text| !text.is_empty()).collect();
        self.outbox.fault(FaultKind::Transient, &words.join(": "));
    }
}

/// The format called `name`: `ulaw_8000`, or `pcm_` and a rate.
fn format(name: &str) -> Option<Format> {
    match name.split_once('_')? {
        ("ulaw", "8000") => Some(Format::ULAW),
        ("pcm", rate) => rate.parse().ok().filter(|rate| (8000..=48_000).contains(rate)).map(Format::slin),
        _ => None,
    }
}

/// True for events that are known and say nothing a phone call needs.
fn is_uninteresting(kind: &str) -> bool {
    UNINTERESTING.contains(&kind) || kind.starts_with("internal_") || kind.starts_with("mcp_")
}

const UNINTERESTING: &[&str] = &[
    "agent_chat_response_part",
    "agent_response_complete",
    "agent_response_metadata",
    "agent_tool_request",
    "agent_tool_response",
    "agent_tool_response_full_payload",
    "agent_typing",
    "asr_initiation_metadata",
    "context_usage",
    "external_agent_connected",
    "external_agent_disconnected",
    "guardrail_triggered",
    "tentative_user_transcript",
    "vad_score",
];
