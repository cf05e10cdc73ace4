//! What the tests of all dialects share: a conversation driven as its owner drives it, and a record of what was sent.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part of this")]

pub mod damage;
pub mod hearing;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use ai_dialect::{
    ApiVersion, Dialect, Fault, FaultKind, Heard, Message, Noticed, Output, Payload, Secret, Session, Speaker, Turn,
    provider,
};
use ai_media::Format;
use serde_json::{Value, json};

/// One conversation, whose outputs are taken after every call, as the contract asks.
pub struct Talk {
    pub dialect: Box<dyn Dialect>,
    name: &'static str,
    /// What its messages are noted down under.
    wire: &'static str,
    pub now: Instant,
}

impl Talk {
    /// Not open yet.
    pub fn new(name: &'static str, session: Session, phone: Format) -> Self {
        let wire = wire_name(name, &session);
        let dialect = provider(name).expect("a dialect").create(session, phone);
        Self { dialect, name, wire, now: Instant::now() }
    }

    pub fn open(&mut self) -> Vec<Output> {
        self.dialect.handle_open(self.now);
        self.outputs()
    }

    /// Opens it and lets the server accept the settings: all that comes out of both.
    pub fn make_ready(&mut self) -> Vec<Output> {
        let mut outputs = self.open();
        let accepted = match self.name {
            "deepgram" => json!({"type": "SettingsApplied"}),
            "elevenlabs" => json!({"type": "conversation_initiation_metadata",
                "conversation_initiation_metadata_event": {"conversation_id": "c", "agent_output_audio_format": "pcm_16000"}}),
            "gemini" => json!({"setupComplete": {}}),
            "openai" => json!({"type": "session.updated", "session": {}}),
            _ => return outputs,
        };
        outputs.extend(self.hear(accepted));
        outputs
    }

    /// Whether the dialect has a way for it, and what it sent.
    pub fn say_text(&mut self, text: &str) -> (bool, Vec<Value>) {
        let accepted = self.dialect.handle_say(text);
        (accepted, sent(&self.outputs()))
    }

    /// Whether the dialect has a way for it, and what it sent.
    pub fn context(&mut self, text: &str, answer: bool) -> (bool, Vec<Value>) {
        let accepted = self.dialect.handle_context(text, answer);
        (accepted, sent(&self.outputs()))
    }

    pub fn hear(&mut self, event: Value) -> Vec<Output> {
        self.hear_text(&event.to_string())
    }

    pub fn hear_text(&mut self, text: &str) -> Vec<Output> {
        self.dialect.handle_message(Message::Text(text));
        self.outputs()
    }

    pub fn hear_binary(&mut self, bytes: &[u8]) -> Vec<Output> {
        self.dialect.handle_message(Message::Binary(bytes));
        self.outputs()
    }

    pub fn say(&mut self, audio: &[u8]) -> Vec<Output> {
        self.dialect.handle_caller_audio(audio);
        self.outputs()
    }

    pub fn digits(&mut self, digits: &str) -> Vec<Value> {
        self.dialect.handle_digits(digits);
        sent(&self.outputs())
    }

    pub fn mark(&mut self, name: &str, heard: bool) -> Vec<Value> {
        self.dialect.handle_mark(name, heard);
        sent(&self.outputs())
    }

    pub fn interrupt(&mut self, heard: &[(&str, u64, u64)], by: Noticed) -> Vec<Value> {
        let heard: Vec<_> = heard
            .iter()
            .map(|&(item, heard_ms, received_ms)| Heard { item: item.into(), heard_ms, received_ms })
            .collect();
        self.dialect.handle_interrupted(&heard, by);
        sent(&self.outputs())
    }

    pub fn tool_result(&mut self, call_id: &str, result: &str) -> Vec<Value> {
        self.dialect.handle_tool_result(call_id, result, true);
        sent(&self.outputs())
    }

    pub fn end(&mut self) -> Vec<Value> {
        self.dialect.handle_end();
        sent(&self.outputs())
    }

    /// Lets time pass, and calls for what is due.
    pub fn wait(&mut self, time: Duration) -> Vec<Value> {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.dialect.next_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.dialect.handle_timeout(self.now);
            all.extend(sent(&self.outputs()));
        }
        self.now = until;
        all
    }

    pub fn outputs(&mut self) -> Vec<Output> {
        taken(&mut *self.dialect, self.wire)
    }
}

/// Names the types that judge what a conversation with `session` sends.
pub fn wire_name(dialect: &'static str, session: &Session) -> &'static str {
    if session.api_version == ApiVersion::Beta { "openai-beta" } else { dialect }
}

/// Settings that the dialect `name` accepts, with a key and a greeting.
pub fn settings(name: &str) -> Session {
    let session = Session {
        url: "wss://server.example/path".into(),
        call_id: "00112233445566778899aabbccddeeff".into(),
        api_key: Secret::new("sk-very-secret"),
        model: "m".into(),
        agent_id: if name == "elevenlabs" { "agent_1".into() } else { String::new() },
        greeting: "Welcome!".into(),
        ..Session::default()
    };
    assert_eq!((provider(name).expect("a dialect").check)(&session), Ok(()));
    session
}

/// A conversation so far, which the caller broke off with a question.
pub fn history() -> Vec<Turn> {
    let said = |speaker, text: &str| Turn::Said { speaker, text: text.into() };
    vec![
        said(Speaker::Agent, "Welcome!"),
        said(Speaker::Caller, "My parcel?"),
        Turn::ToolRan { name: "lookup".into(), arguments: r#"{"id":7}"#.into(), result: r#"{"ok":true}"#.into() },
        Turn::Told { text: "It left on Monday.".into() },
        said(Speaker::Agent, "It is on its way."),
        said(Speaker::Caller, "Since when?"),
    ]
}

/// All outputs of `dialect`; what goes over the wire is noted down for those who know the provider's own types.
pub fn taken(dialect: &mut dyn Dialect, name: &str) -> Vec<Output> {
    let outputs: Vec<_> = std::iter::from_fn(|| dialect.poll_output()).collect();
    for output in &outputs {
        if let Output::Send(text) | Output::SendAudio { message: Payload::Text(text), .. } = output {
            note(name, text);
        }
    }
    outputs
}

/// The messages in `outputs`, which must contain nothing else.
#[track_caller]
pub fn sent(outputs: &[Output]) -> Vec<Value> {
    let message = |output: &Output| match output {
        Output::Send(text) => serde_json::from_str(text).expect("we send JSON"),
        other => panic!("{other:?} is no message"),
    };
    outputs.iter().map(message).collect()
}

/// The one message of caller audio in `outputs`, and how much audio it says is in it.
#[track_caller]
pub fn audio_sent(outputs: &[Output]) -> (&Payload, usize) {
    match outputs {
        [Output::SendAudio { message, audio_bytes }] => (message, *audio_bytes),
        other => panic!("{other:?} is not one message of caller audio"),
    }
}

/// What was not recognised in `outputs`, which must contain nothing else.
#[track_caller]
pub fn unrecognised(outputs: &[Output]) -> &str {
    match outputs {
        [Output::Unrecognised(what)] => what,
        other => panic!("{other:?} should not be recognised"),
    }
}

/// The one fault in `outputs`, which must contain nothing else.
#[track_caller]
pub fn fault(outputs: &[Output]) -> (FaultKind, &str) {
    match outputs {
        [Output::Fault(Fault { kind, message })] => (*kind, message),
        other => panic!("{other:?} is not one fault"),
    }
}

/// Notes down a message for those who know the provider's own types.
pub fn note(name: &str, text: &str) {
    static FILES: LazyLock<Mutex<Vec<(String, File)>>> = LazyLock::new(Mutex::default);
    let mut files = FILES.lock().expect("nobody panics with it");
    if !files.iter().any(|(known, _)| known == name) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        // Every test binary writes for itself.
        let file = folder.join(format!("{name}.{}.jsonl", env!("CARGO_CRATE_NAME")));
        let file = File::create(file).expect("the target folder can be written");
        files.push((name.to_owned(), file));
    }
    let (_, file) = files.iter_mut().find(|(known, _)| known == name).expect("just added");
    writeln!(file, "{text}").expect("the target folder can be written");
}
