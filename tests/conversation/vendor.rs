//! The other end of a conversation, in no vendor's words.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use practice_agent::{Api, Frame, Pace, Reply, Script, Server, Session, Speech, Step, ToolCall, faults};
use rig::Codec;
use serde_json::{Value, json};

use crate::common::SOON;
use crate::common::python::{Event, PythonServer};
use crate::common::signal::Chord;

/// Something the agent says: a sound that can be recognised, and the words for it.
pub(crate) struct Words {
    pub(crate) sound: Chord,
    pub(crate) text: &'static str,
}

impl Words {
    /// Another sound for every `seed`.
    pub(crate) fn new(seed: u64, ms: u64, text: &'static str) -> Self {
        Self { sound: Chord::narrow(seed, Duration::from_millis(ms)), text }
    }

    fn ulaw(&self) -> Vec<u8> {
        Codec::Ulaw.encode(&self.sound.at_rate(8000))
    }
}

/// How the agent learns, beside silence on the line, how far it was heard.
#[derive(Debug, PartialEq)]
pub(crate) enum Account {
    /// The vendor has no message for it.
    None,
    /// Everything before its mark is over.
    Mark,
    /// This much was heard. [ms]
    HeardMs(u64),
}

/// A vendor that does what it is told, and hears by itself when the caller speaks. Every wait fails the test when it is in
/// vain.
pub(crate) trait Vendor {
    /// What it was asked to greet with; `None`: the vendor's bots greet by themselves.
    fn asked_to_greet(&self) -> Option<String>;
    /// Says this, and goes on at once. It is sent faster than it is heard.
    fn say(&self, words: &Words);
    /// When it noticed, first after `since`, that the caller begins to speak.
    fn caller_begins(&self, since: Instant) -> Instant;
    /// The same for the end.
    fn caller_ends(&self, since: Instant) -> Instant;
    /// The keys it was told of.
    fn keys(&self) -> String;
    /// What it learns of what the caller heard of an interrupted answer.
    fn account(&self) -> Account;
    /// What a call of this tool is answered; `None`: the vendor's bots know no tools.
    fn answered(&self, tool: &str, arguments: &Value) -> Option<Value>;
    /// The error that it is answered with; `None`: the vendor's bots cannot be refused anything.
    fn refused(&self, tool: &str, arguments: &Value) -> Option<String> {
        self.answered(tool, arguments).map(|answer| error_in(&answer))
    }
    /// Says this, and then calls the tool, or what else the vendor's bots do to that end.
    fn say_and_call(&self, words: &Words, tool: &str, arguments: &Value);
    /// Waits until its side of the connection has ended.
    fn ended(&self);
    /// When its session was open.
    fn opened(&self) -> Instant;
    /// Everything it was told so far, audio apart.
    fn told(&self) -> String;
    /// Calls a tool, and does not wait for the answer.
    fn call(&self, tool: &str, arguments: &Value);
    /// Breaks the connection off, without a goodbye.
    fn kill(&self);
    /// Sends a text message as it is.
    fn send(&self, text: &str);
    /// Sends a text message of this many bytes.
    fn send_huge(&self, bytes: usize);
}

/// OpenAI, or a bot for Twilio or `raw`: the practice agent.
pub(crate) struct Practice {
    api: Api,
    session: Session,
    answers: AtomicUsize,
}

impl Practice {
    /// The next session of `server`.
    pub(crate) fn next(api: Api, server: &Server) -> Self {
        let session = server.next_session(SOON).expect("the module connects");
        session.perform(Step::DetectSpeech(true));
        Self { api, session, answers: AtomicUsize::new(0) }
    }

    fn event(&self, kind: &str, nth: usize) -> Value {
        self.session.wait_event(kind, nth, SOON).unwrap_or_else(|problem| panic!("{problem}")).json
    }

    /// When it first said `kind` after `since`.
    fn said(&self, kind: &str, since: Instant) -> Instant {
        let wait = |nth| self.session.wait_sent(kind, nth, SOON).unwrap_or_else(|problem| panic!("{problem}")).at;
        (0..).map(wait).find(|at| *at >= since).expect("a wait ends")
    }

    /// The `nth` item that the client made and `fits`.
    fn item(&self, nth: usize, fits: impl Fn(&Value) -> bool) -> Value {
        for all in 0.. {
            let item = self.event("conversation.item.create", all)["item"].clone();
            let before = self.session.events_of("conversation.item.create");
            if fits(&item) && before[..all].iter().filter(|event| fits(&event.json["item"])).count() == nth {
                return item;
            }
        }
        unreachable!("a wait ends")
    }

    fn speech(words: &Words) -> Speech {
        Speech::wire(words.text, words.ulaw()).at(Pace::Times(10.0))
    }
}

impl Vendor for Practice {
    fn asked_to_greet(&self) -> Option<String> {
        match self.api {
            Api::Twilio => None,
            Api::Raw => Some(text(&self.event("start", 0)["greeting"])),
            _ => Some(text(&self.event("response.create", 0)["response"]["instructions"])),
        }
    }

    fn say(&self, words: &Words) {
        self.session.perform(Script::new().start_saying(Self::speech(words)));
    }

    fn caller_begins(&self, since: Instant) -> Instant {
        self.said("input_audio_buffer.speech_started", since)
    }

    fn caller_ends(&self, since: Instant) -> Instant {
        self.said("input_audio_buffer.speech_stopped", since)
    }

    fn keys(&self) -> String {
        match self.api {
            Api::Twilio => text(&self.event("dtmf", 0)["dtmf"]["digit"]),
            Api::Raw => text(&self.event("digit", 0)["digit"]),
            _ => text(&self.item(0, |item| item["type"] == "message")["content"][0]["text"]),
        }
    }

    fn account(&self) -> Account {
        let told_ms = match self.api {
            Api::Twilio => {
                // The greeting's mark is the first.
                self.event("mark", 1);
                return Account::Mark;
            }
            // There is one for every time the caller speaks; most of them interrupt nothing.
            Api::Raw => (0..)
                .map(|nth| self.event("flushed", nth))
                .find(|flushed| flushed["received_ms"] != 0)
                .expect("a wait ends")["heard_ms"]
                .clone(),
            _ => self.event("conversation.item.truncate", 0)["audio_end_ms"].clone(),
        };
        Account::HeardMs(told_ms.as_u64().expect("a number"))
    }

    fn answered(&self, tool: &str, arguments: &Value) -> Option<Value> {
        if matches!(self.api, Api::Twilio | Api::Raw) {
            return None;
        }
        self.session.perform(Script::new().call_tool(tool, arguments.to_string()));
        let nth = self.answers.fetch_add(1, Ordering::Relaxed);
        let item = self.item(nth, |item| item["type"] == "function_call_output");
        Some(json_in(&item["output"]))
    }

    fn refused(&self, tool: &str, arguments: &Value) -> Option<String> {
        if self.api != Api::Raw {
            return self.answered(tool, arguments).map(|answer| error_in(&answer));
        }
        self.session.perform(Script::new().call_tool(tool, arguments.to_string()));
        let nth = self.answers.fetch_add(1, Ordering::Relaxed);
        Some(text(&self.event("refused", nth)["reason"]))
    }

    fn say_and_call(&self, words: &Words, tool: &str, arguments: &Value) {
        let call = ToolCall { name: tool.to_owned(), arguments: arguments.to_string() };
        let calls = if self.api == Api::Twilio { Vec::new() } else { vec![call] };
        let reply = Reply { speech: Some(Self::speech(words)), tool_calls: calls };
        let mut script = Script::new().then(Step::Reply(reply)).then(Step::FinishReply);
        if self.api == Api::Twilio {
            // A bot for Twilio has no other way to end the stream.
            script = script.close(1000, "");
        }
        self.session.perform(script);
    }

    fn ended(&self) {
        self.session.wait_closed(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    }

    fn opened(&self) -> Instant {
        self.session.opened_at()
    }

    fn told(&self) -> String {
        self.session.events().iter().map(|event| format!("{}\n", event.json)).collect()
    }

    fn call(&self, tool: &str, arguments: &Value) {
        self.session.perform(Script::new().call_tool(tool, arguments.to_string()));
    }

    fn kill(&self) {
        self.session.perform(Step::Reset);
    }

    fn send(&self, text: &str) {
        self.session.perform(Step::Send(Frame::Text(text.to_owned())));
    }

    fn send_huge(&self, bytes: usize) {
        self.session.perform(faults::huge_message(bytes));
    }
}

/// ElevenLabs, Gemini or Deepgram: a stand-in after their documentation.
pub(crate) struct StandIn<'a> {
    server: &'a PythonServer,
    session: u64,
    /// The agent's words have this many samples a second, or are µ-law.
    slin_hz: Option<u32>,
    calls: AtomicUsize,
}

impl<'a> StandIn<'a> {
    /// The session of this number, from 1, of a vendor that speaks linear samples, or µ-law.
    pub(crate) fn new(server: &'a PythonServer, session: u64, slin_hz: Option<u32>) -> Self {
        Self { server, session, slin_hz, calls: AtomicUsize::new(0) }
    }

    fn wait(&self, event: &str, fits: impl Fn(&Event) -> bool) -> Event {
        self.server.wait_event(event, 0, SOON, |event| event.json["session"] == self.session && fits(event))
    }

    fn caller(&self, speaks: bool, since: Instant) -> Instant {
        self.wait("caller", |event| event.at >= since && event.json["speaks"] == speaks).at
    }

    fn begin_call(&self, tool: &str, arguments: &Value) -> String {
        let id = format!("call{}", self.calls.fetch_add(1, Ordering::Relaxed));
        self.server.order(&json!({"do": "call", "id": id, "tool": tool, "arguments": arguments}));
        id
    }
}

impl Vendor for StandIn<'_> {
    fn asked_to_greet(&self) -> Option<String> {
        Some(text(&self.wait("greet", |_| true).json["text"]))
    }

    fn say(&self, words: &Words) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let audio = self.slin_hz.map_or_else(|| words.ulaw(), |rate_hz| words.sound.slin(rate_hz));
        let name = format!("words-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&file, audio).expect("the target folder can be written");
        self.server.order(&json!({"do": "say", "file": file, "text": words.text}));
    }

    fn caller_begins(&self, since: Instant) -> Instant {
        self.caller(true, since)
    }

    fn caller_ends(&self, since: Instant) -> Instant {
        self.caller(false, since)
    }

    fn keys(&self) -> String {
        text(&self.wait("keys", |_| true).json["keys"])
    }

    fn account(&self) -> Account {
        Account::None
    }

    fn answered(&self, tool: &str, arguments: &Value) -> Option<Value> {
        let id = self.begin_call(tool, arguments);
        let answer = self.wait("result", |event| event.json["id"] == id.as_str());
        Some(json_in(&answer.json["text"]))
    }

    fn say_and_call(&self, words: &Words, tool: &str, arguments: &Value) {
        self.say(words);
        self.call(tool, arguments);
    }

    fn ended(&self) {
        self.wait("closed", |_| true);
    }

    fn opened(&self) -> Instant {
        self.wait("opened", |_| true).at
    }

    fn told(&self) -> String {
        let told = self.server.events("told").into_iter().filter(|event| event.json["session"] == self.session);
        told.map(|event| format!("{}\n", event.json["message"])).collect()
    }

    fn call(&self, tool: &str, arguments: &Value) {
        self.begin_call(tool, arguments);
    }

    fn kill(&self) {
        self.server.order(&json!({"do": "reset"}));
    }

    fn send(&self, text: &str) {
        self.server.order(&json!({"do": "send", "text": text}));
    }

    fn send_huge(&self, bytes: usize) {
        self.server.order(&json!({"do": "send huge", "bytes": bytes}));
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A tool's answer.
fn json_in(answer: &Value) -> Value {
    serde_json::from_str(&text(answer)).unwrap_or_default()
}

/// The error in it.
fn error_in(answer: &Value) -> String {
    assert_eq!(answer["ok"], false, "{answer}");
    text(&answer["error"])
}
