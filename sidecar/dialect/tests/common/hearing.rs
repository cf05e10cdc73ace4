//! A stream driven as its owner drives it.

use std::time::{Duration, Instant};

use ai_dialect::transcriber::{Listening, Transcribed, Transcriber, transcriber};
use ai_dialect::{Message, Payload, Secret};
use ai_media::Format;
use serde_json::{Value, json};

use super::note;

/// One stream, whose outputs are taken after every call, as the contract asks.
pub struct Hearing {
    pub transcriber: Box<dyn Transcriber>,
    name: &'static str,
    pub now: Instant,
}

impl Hearing {
    /// Not open yet.
    pub fn new(name: &'static str, listening: Listening, phone: Format) -> Self {
        let transcriber = transcriber(name).expect("a transcriber").create(listening, phone);
        Self { transcriber, name, now: Instant::now() }
    }

    pub fn open(&mut self) -> Vec<Transcribed> {
        self.transcriber.handle_open(self.now);
        self.outputs()
    }

    /// Opens it and lets the service accept the settings: all that comes out of both.
    pub fn make_ready(&mut self) -> Vec<Transcribed> {
        let mut outputs = self.open();
        if self.name == "openai-transcription" {
            outputs.extend(self.told(json!({"type": "session.updated", "session": {"type": "transcription"}})));
        }
        outputs
    }

    /// What comes out when the service says this.
    pub fn told(&mut self, message: Value) -> Vec<Transcribed> {
        self.told_text(&message.to_string())
    }

    pub fn told_text(&mut self, text: &str) -> Vec<Transcribed> {
        self.transcriber.handle_message(Message::Text(text));
        self.outputs()
    }

    pub fn told_binary(&mut self, bytes: &[u8]) -> Vec<Transcribed> {
        self.transcriber.handle_message(Message::Binary(bytes));
        self.outputs()
    }

    pub fn hear(&mut self, audio: &[u8]) -> Vec<Transcribed> {
        self.transcriber.handle_audio(audio, self.now);
        self.outputs()
    }

    pub fn pause(&mut self) -> Vec<Transcribed> {
        self.transcriber.handle_pause(self.now);
        self.outputs()
    }

    pub fn end(&mut self) -> Vec<Transcribed> {
        self.transcriber.handle_end(self.now);
        self.outputs()
    }

    pub fn lose(&mut self) -> Vec<Transcribed> {
        self.transcriber.handle_lost();
        self.outputs()
    }

    /// Lets time pass, and calls for what is due.
    pub fn wait(&mut self, time: Duration) -> Vec<Transcribed> {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.transcriber.next_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.transcriber.handle_timeout(self.now);
            all.extend(self.outputs());
        }
        self.now = until;
        all
    }

    /// All outputs; what goes over the wire is noted down for those who know the vendor's own types.
    pub fn outputs(&mut self) -> Vec<Transcribed> {
        let outputs: Vec<_> = std::iter::from_fn(|| self.transcriber.poll_output()).collect();
        for output in &outputs {
            if let Transcribed::Send(text) | Transcribed::SendAudio { message: Payload::Text(text), .. } = output
                && !text.is_empty()
            {
                note(self.name, text);
            }
        }
        outputs
    }
}

/// Settings that the transcriber `name` accepts, with a key.
pub fn listening(name: &str) -> Listening {
    let provider = transcriber(name).expect("a transcriber");
    let listening = Listening {
        call_id: "00112233445566778899aabbccddeeff".into(),
        leg: "caller".into(),
        url: provider.url.into(),
        model: provider.model.into(),
        api_key: Secret::new("sk-very-secret"),
        ..Listening::default()
    };
    assert_eq!((provider.check)(&listening), Ok(()));
    listening
}

/// The JSON messages in `outputs`, which must contain nothing else.
#[track_caller]
pub fn sent(outputs: &[Transcribed]) -> Vec<Value> {
    let message = |output: &Transcribed| match output {
        Transcribed::Send(text) => serde_json::from_str(text).expect("we send JSON"),
        other => panic!("{other:?} is no message"),
    };
    outputs.iter().map(message).collect()
}

pub fn line(text: &str, start_ms: u64, end_ms: u64) -> Transcribed {
    Transcribed::Line { text: text.into(), start_ms: Some(start_ms), end_ms: Some(end_ms) }
}

pub fn interim(text: &str, start_ms: u64) -> Transcribed {
    Transcribed::Interim { text: text.into(), start_ms: Some(start_ms) }
}

pub fn nothing_after_all() -> Transcribed {
    Transcribed::Interim { text: String::new(), start_ms: None }
}
