//! Behaviour of the OpenAI dialect, driven as its owner drives it: events in, outputs out, no network.

#[path = "../common/mod.rs"]
mod common;
mod conversation;
mod faults;
mod interruption;
mod settings;
mod tools;
mod transcription;
mod untrusted;

use std::time::Instant;

use ai_dialect::{
    ApiVersion, AudioChoice, Dialect, Fault, FaultKind, Heard, Message, Noticed, Output, Payload, Secret, Session,
    TurnDetection, openai::OpenAi,
};
use ai_media::Format;
use serde_json::{Value, json};

/// The settings most tests start from.
fn session() -> Session {
    Session {
        url: "wss://api.openai.com/v1/realtime".into(),
        model: "gpt-realtime-2.1".into(),
        api_key: Secret::new("sk-very-secret"),
        api_version: ApiVersion::Ga,
        voice: "marin".into(),
        language: "ru".into(),
        instructions: "You answer the phone for ACME.".into(),
        greeting: String::new(),
        audio: AudioChoice::Auto,
        transcription_model: "gpt-transcribe".into(),
        turn_detection: TurnDetection::ServerVad,
        vad_threshold: 0.3,
        vad_prefix_padding_ms: 300,
        vad_silence_ms: 200,
        create_response: true,
        interrupt_response: true,
        headers: Vec::new(),
        tools: Vec::new(),
        ..Session::default()
    }
}

/// A dialect whose outputs are taken after every call, as the contract asks.
struct Talk(OpenAi, &'static str);

impl Talk {
    /// Just opened; the settings are sent.
    fn opened(session: Session) -> Self {
        let wire = common::wire_name("openai", &session);
        let mut talk = Self(OpenAi::new(session, Format::ULAW), wire);
        talk.0.handle_open(Instant::now());
        talk.outputs();
        talk
    }

    /// Settings accepted; a greeting, if there is one, is asked for.
    fn ready(session: Session) -> Self {
        let mut talk = Self::opened(session);
        assert_eq!(talk.hear(json!({"type": "session.updated"}))[0], Output::Ready);
        talk
    }

    fn hear(&mut self, event: Value) -> Vec<Output> {
        self.0.handle_message(Message::Text(&event.to_string()));
        self.outputs()
    }

    /// Events in which only a type and a response matter.
    fn response(&mut self, kind: &str, id: &str) -> Vec<Output> {
        self.hear(json!({"type": kind, "response": {"id": id, "status": "completed"}}))
    }

    /// 1 s of µ-law for `item` of `response`.
    fn audio(&mut self, response: &str, item: &str) -> Vec<Output> {
        let delta = base64_simd::STANDARD.encode_to_string([0x7f; 8000]);
        self.hear(json!({"type": "response.output_audio.delta", "response_id": response, "item_id": item,
            "content_index": 0, "delta": delta}))
    }

    fn error(&mut self, error: Value) -> Vec<Output> {
        self.hear(json!({"type": "error", "error": error}))
    }

    fn interrupt(&mut self, heard: &[(&str, u64, u64)]) -> Vec<Value> {
        let heard: Vec<_> = heard
            .iter()
            .map(|&(item, heard_ms, received_ms)| Heard { item: item.into(), heard_ms, received_ms })
            .collect();
        self.0.handle_interrupted(&heard, Noticed::ByProvider);
        self.sent()
    }

    fn digits(&mut self, digits: &str) -> Vec<Value> {
        self.0.handle_digits(digits);
        self.sent()
    }

    fn tool_result(&mut self, call_id: &str, go_on: bool) -> Vec<Value> {
        self.0.handle_tool_result(call_id, "{\"ok\":true}", go_on);
        self.sent()
    }

    fn sent(&mut self) -> Vec<Value> {
        sent(&self.outputs())
    }

    fn outputs(&mut self) -> Vec<Output> {
        common::taken(&mut self.0, self.1)
    }
}

/// The messages in `outputs`, which must contain nothing else, without the `event_id`s we put on them.
fn sent(outputs: &[Output]) -> Vec<Value> {
    let message = |output: &Output| match output {
        Output::Send(text) => {
            let mut message: Value = serde_json::from_str(text).expect("we send JSON");
            message.as_object_mut().unwrap().remove("event_id");
            message
        }
        other => panic!("{other:?} is no message"),
    };
    outputs.iter().map(message).collect()
}

/// The one fault in `outputs`, which must contain nothing else.
fn fault(outputs: &[Output]) -> (FaultKind, &str) {
    match outputs {
        [Output::Fault(Fault { kind, message })] => (*kind, message),
        other => panic!("{other:?} is not one fault"),
    }
}

/// The message that asks the agent to speak.
fn respond() -> Value {
    json!({"type": "response.create"})
}
