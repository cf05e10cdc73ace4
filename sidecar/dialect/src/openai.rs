//! The OpenAI Realtime protocol, spoken by OpenAI, Azure OpenAI and many compatible servers.
//!
//! Two generations differ in how settings and some events are spelled ([`ApiVersion`](crate::ApiVersion)): we write
//! the one configured and read both. Parts:
//!
//! ```text
//!  handshake ─► messages ─► server ─► event ─► OpenAi ─┬─ floor    may the agent be asked to speak now?
//!               (JSON out)           (JSON in)         ├─ spoken   what became of each item of agent audio
//!                    formats (both)                    ├─ calls    which tools are still running
//!                                                      └─ faults   what an error means for the call
//! ```
//!
//! [`Transcription`] is the sort of session that only listens, with parts of the same.
//!
//! Wire formats: <https://platform.openai.com/docs/guides/realtime>, read as of 2026-11.

mod calls;
mod event;
mod faults;
mod floor;
mod formats;
mod handshake;
mod messages;
mod spoken;
mod transcription;

use std::time::{Duration, Instant};

use ai_media::Format;

use crate::outbox::Outbox;
use crate::{
    AudioChoice, Dialect, FaultKind, Handshake, Heard, Message, Noticed, Output, Payload, Provider, Session, Speaker,
    TurnDetection, json,
};
use calls::Calls;
use event::Event;
use floor::{Floor, Request};
use spoken::Spoken;
pub(crate) use transcription::TRANSCRIBER;
pub use transcription::Transcription;

/// The values of `audio` this dialect knows.
pub const AUDIO_CHOICES: &[AudioChoice] =
    &[AudioChoice::Auto, AudioChoice::Ulaw, AudioChoice::Alaw, AudioChoice::Pcm24];

/// The dialect `openai`.
pub(crate) const PROVIDER: Provider = Provider {
    name: "openai",
    audio: AUDIO_CHOICES,
    settings: &[
        "model",
        "api_key",
        "api_version",
        "voice",
        "language",
        "instructions",
        "greeting",
        "transcription_model",
        "turn_detection",
        "vad_threshold",
        "vad_prefix_padding_ms",
        "vad_silence_ms",
        "create_response",
        "interrupt_response",
        "provider_settings",
    ],
    check: |_| Ok(()),
    local_barge_in: true,
    session_max: Some(Duration::from_secs(60 * 60)),
    create: |session, phone| Box::new(OpenAi::new(session, phone)),
};

/// One conversation with a server that speaks the OpenAI Realtime protocol.
pub struct OpenAi {
    session: Session,
    /// Both ways: the phone has one format, too.
    format: Format,
    ready: bool,
    floor: Floor,
    spoken: Spoken,
    calls: Calls,
    outbox: Outbox,
}

impl OpenAi {
    /// A conversation with these settings for a phone that speaks `phone`.
    ///
    /// A choice of audio that is not in [`AUDIO_CHOICES`] counts as [`AudioChoice::Auto`].
    pub fn new(session: Session, phone: Format) -> Self {
        Self {
            outbox: Outbox::new(&session),
            format: formats::choose(session.audio, phone),
            floor: Floor::new(server_answers(&session), server_interrupts(&session)),
            session,
            ready: false,
            spoken: Spoken::default(),
            calls: Calls::default(),
        }
    }
}

impl Dialect for OpenAi {
    fn handshake(&self) -> Handshake {
        handshake::handshake(&self.session)
    }

    fn caller_format(&self) -> Format {
        self.format
    }

    fn agent_format(&self) -> Format {
        self.format
    }

    /// Sends the settings at once, without waiting for `session.created`: the server keeps what arrives early, the
    /// caller is spared one round trip, and compatible servers that never send `session.created` work as well.
    fn handle_open(&mut self, _now: Instant) {
        self.outbox.send(messages::configure(&self.session, self.format));
    }

    fn handle_message(&mut self, message: Message<'_>) {
        if let Some(event) = self.outbox.read(message, event::parse) {
            self.handle_event(&event);
        }
        self.ask_if_due();
    }

    fn handle_caller_audio(&mut self, audio: &[u8]) {
        if self.ready && !audio.is_empty() {
            let message = Payload::Text(messages::caller_audio(audio));
            self.outbox.send_audio(message, audio);
        }
    }

    fn handle_digits(&mut self, digits: &str) {
        self.outbox.send(messages::keys_pressed(digits));
        self.floor.request();
        self.ask_if_due();
    }

    fn handle_interrupted(&mut self, heard: &[Heard], by: Noticed) {
        if let Some(response) = self.floor.cancel()
            && (by == Noticed::ByUs || !server_interrupts(&self.session))
        {
            self.outbox.send(messages::cancel(&response));
        }
        for heard in heard.iter().filter(|heard| !heard.item.is_empty()) {
            self.correct_memory(heard);
        }
        self.spoken.cut();
    }

    fn handle_tool_result(&mut self, call_id: &str, result: &str, go_on: bool) {
        // The server refuses a second output for a call, and one for a call it never made.
        if self.calls.answer(call_id, go_on) {
            self.outbox.send(messages::tool_output(call_id, result));
            self.ask_if_due();
        }
    }

    fn handle_say(&mut self, text: &str) -> bool {
        let accepted = self.floor.say(text);
        self.ask_if_due();
        accepted
    }

    fn handle_context(&mut self, text: &str, answer: bool) -> bool {
        self.outbox.send(messages::context(text));
        if answer {
            self.floor.request();
            self.ask_if_due();
        }
        true
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }
}

impl OpenAi {
    /// Both spellings of an event that was renamed are always accepted: many servers mix them. The current one
    /// comes first.
    fn handle_event(&mut self, event: &Event<'_>) {
        match &*event.kind {
            "response.output_audio.delta" | "response.audio.delta" => self.handle_agent_audio(event),
            "response.output_audio.done" | "response.audio.done" => {
                self.handle_audio_done(Some(&event.item_id), &event.response_id);
            }
            "response.output_audio_transcript.delta"
            | "response.audio_transcript.delta"
            | "response.output_text.delta"
            | "response.text.delta" => self.outbox.transcript(Speaker::Agent, &event.delta, false),
            "response.output_audio_transcript.done" | "response.audio_transcript.done" => {
                self.outbox.transcript(Speaker::Agent, &event.transcript, true);
            }
            "response.output_text.done" | "response.text.done" => {
                self.outbox.transcript(Speaker::Agent, &event.text, true)
            }
            "conversation.item.input_audio_transcription.delta" => {
                self.outbox.transcript(Speaker::Caller, &event.delta, false);
            }
            "conversation.item.input_audio_transcription.completed" => {
                self.outbox.transcript(Speaker::Caller, &event.transcript, true);
            }
            "conversation.item.input_audio_transcription.failed" => {
                self.fault(FaultKind::Transient, "the caller could not be transcribed", &event.error);
            }
            "input_audio_buffer.speech_started" => {
                self.floor.caller_started();
                self.outbox.push(Output::CallerSpeechStarted);
            }
            "input_audio_buffer.speech_stopped" => self.handle_speech_stopped(event),
            "response.created" => self.floor.created(json::id(&event.response, "id")),
            "response.output_item.added" => self.handle_item_added(event),
            "response.output_item.done" => self.handle_item_done(event),
            "response.function_call_arguments.done" => {
                self.call_tool(&event.call_id, &event.name, &event.arguments, &event.response_id);
            }
            "response.done" => self.handle_response_done(event),
            "session.updated" => self.handle_session_updated(event),
            "error" => self.handle_error(event),
            "" => self.outbox.not_understood("a message without a type"),
            kind if event::is_uninteresting(kind) => {}
            kind => self.outbox.not_understood(kind),
        }
    }

    fn handle_session_updated(&mut self, event: &Event<'_>) {
        if let Some(mismatch) = formats::mismatch(self.format, &event.session) {
            // Played all the same, the wrong format is loud noise in the caller's ear.
            return self.outbox.fault(FaultKind::Fatal, &mismatch);
        }
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        for item in messages::history(&self.session) {
            self.outbox.send(item);
        }
        self.outbox.push(Output::Ready);
        let first_words = match self.session.takes_over() {
            true => self.session.agent_owes_answer.then(|| messages::go_on(&self.session)),
            false => (!self.session.greeting.is_empty()).then(|| messages::greet(&self.session)),
        };
        if let Some(first_words) = first_words {
            self.outbox.send(first_words);
            self.floor.asked();
        }
    }

    fn handle_agent_audio(&mut self, event: &Event<'_>) {
        if self.floor.is_cancelled(&event.response_id) {
            return;
        }
        let audio = match json::audio(&event.delta) {
            Ok(audio) if audio.is_empty() => return,
            Ok(audio) => audio,
            Err(_) => return self.outbox.not_understood(&format!("{} that is not base64", &*event.kind)),
        };
        if let Some(item) = self.spoken.item(&event.item_id, event.content_index.as_u64().unwrap_or(0)) {
            self.outbox.push(Output::AgentAudio { item, audio });
        }
    }

    /// All audio of `item` has arrived; `None`: of every item, as its response is over.
    fn handle_audio_done(&mut self, item: Option<&str>, response: &str) {
        if self.spoken.finish(item, self.floor.is_cancelled(response)) {
            self.outbox.push(Output::AgentAudioDone);
        }
    }

    fn handle_speech_stopped(&mut self, event: &Event<'_>) {
        // With server VAD the reported end includes the silence that had to pass before it was one.
        let silence_ms = match self.session.turn_detection {
            TurnDetection::ServerVad => u64::from(self.session.vad_silence_ms),
            TurnDetection::SemanticVad | TurnDetection::None => 0,
        };
        let at_ms = event.audio_end_ms.as_u64().map(|end_ms| end_ms.saturating_sub(silence_ms));
        self.floor.caller_stopped();
        self.outbox.push(Output::CallerSpeechStopped { at_ms });
    }

    /// Beta names a function only here, before its arguments are written.
    fn handle_item_added(&mut self, event: &Event<'_>) {
        let item = &event.item;
        if json::text(item, "type") == "function_call" && !self.floor.is_cancelled(&event.response_id) {
            self.calls.announce(json::id(item, "call_id"), json::id(item, "name"), &event.response_id);
        }
    }

    /// The finished item repeats the call: it counts if nothing before it told both name and arguments.
    fn handle_item_done(&mut self, event: &Event<'_>) {
        let item = &event.item;
        if json::text(item, "type") == "function_call" && json::text(item, "status") != "incomplete" {
            let [call_id, name] = ["call_id", "name"].map(|key| json::id(item, key));
            self.call_tool(call_id, name, json::text(item, "arguments"), &event.response_id);
        }
    }

    /// Gives a tool call out, once. One whose response was cut off may have half its arguments and is not run: the
    /// caller has said something new, and the agent will think again.
    fn call_tool(&mut self, call_id: &str, name: &str, arguments: &str, response: &str) {
        if call_id.is_empty() || self.floor.is_cancelled(response) {
            return;
        }
        if let Some(name) = self.calls.ask(call_id, name, response) {
            self.outbox.tool_call(call_id.to_owned(), name, arguments.to_owned());
        }
    }

    fn handle_response_done(&mut self, event: &Event<'_>) {
        let response = json::id(&event.response, "id");
        self.handle_audio_done(None, response);
        self.floor.done(response);
        self.calls.response_done(response);
        if json::text(&event.response, "status") == "failed" {
            let error = event.response.pointer("/status_details/error").unwrap_or_default();
            self.fault(faults::kind(error), "the answer failed", error);
        }
    }

    fn handle_error(&mut self, event: &Event<'_>) {
        let error = &event.error;
        if faults::is_harmless(error) {
            return;
        }
        let about = json::text(error, "event_id");
        let busy = faults::is_busy(error);
        // Not every server tells what it complains about. If we take it wrongly for our request to speak, the next
        // request meets a busy server and is repeated.
        if matches!(about, messages::RESPOND | messages::SAY | messages::GREET | messages::GO_ON | "") {
            self.floor.ask_failed(busy);
        }
        if busy {
            return;
        }
        let refused =
            !self.ready && (about == messages::CONFIGURE || json::text(error, "type") == "invalid_request_error");
        match faults::kind(error) {
            FaultKind::Transient if refused => {
                let parameter = json::text(error, "param");
                let context = ["the server refused the session settings", parameter].join(" ");
                self.fault(FaultKind::Fatal, context.trim_end(), error);
            }
            kind => self.fault(kind, "", error),
        }
    }

    /// Makes the server forget what the caller has not heard of this item.
    fn correct_memory(&mut self, heard: &Heard) {
        let item = &*heard.item;
        // Of an item that was still being made, the server has made more than it could send us.
        if heard.heard_ms == 0 {
            self.outbox.send(messages::delete(item));
        } else if heard.heard_ms < heard.received_ms || !self.spoken.is_complete(item) {
            let heard_ms = heard.heard_ms.min(heard.received_ms);
            self.outbox.send(messages::truncate(item, self.spoken.content_index(item), heard_ms));
        }
    }

    /// Asks the agent to speak if that is owed and possible. Runs after everything that may have changed either.
    fn ask_if_due(&mut self) {
        if self.calls.take_answered() {
            self.floor.request();
        }
        match self.floor.take_due() {
            Some(Request::Answer) => self.outbox.send(messages::respond()),
            Some(Request::Say(text)) => self.outbox.send(messages::say(&text)),
            None => {}
        }
    }

    fn fault(&mut self, kind: FaultKind, context: &str, error: &serde_json::Value) {
        self.outbox.fault(kind, &faults::message(context, error));
    }
}

/// The server answers by itself when the caller has finished.
fn server_answers(session: &Session) -> bool {
    session.create_response && session.turn_detection != TurnDetection::None
}

/// The server cancels its answer by itself when the caller starts to speak.
fn server_interrupts(session: &Session) -> bool {
    session.interrupt_response && session.turn_detection != TurnDetection::None
}
