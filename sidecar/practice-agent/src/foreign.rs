//! The practice agent as a bot for telephone bridges: Twilio Media Streams and res_ai_bridge's own `raw` protocol.
//!
//! ```text
//!  client's message ─► Foreign::hear ─► events of the OpenAI protocol ─► Engine ─► Outbox ─► Foreign::say ─► client
//! ```
//!
//! The engine speaks one protocol; this puts the others into it and takes them out again. A bot of this kind greets as
//! soon as the stream starts, orders silence when the caller speaks, and puts a mark after everything it says.

use base64_simd::STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::engine::Api;

/// One session in another protocol.
#[derive(Debug)]
pub(crate) enum Foreign {
    /// Twilio Media Streams.
    Twilio { stream_sid: String },
    /// res_ai_bridge's own.
    Raw,
}

/// What a message of the client means.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The message as it came, and its kind, unless it is audio.
    pub(crate) original: Option<(String, Value)>,
    /// The same in the engine's protocol.
    pub(crate) events: Vec<String>,
}

impl Foreign {
    /// The protocol of `api`, unless that is the engine's own.
    pub(crate) fn new(api: Api) -> Option<Self> {
        match api {
            Api::Twilio => Some(Self::Twilio { stream_sid: String::new() }),
            Api::Raw => Some(Self::Raw),
            Api::Auto | Api::Ga | Api::Beta => None,
        }
    }

    /// Takes a text message.
    pub(crate) fn hear(&mut self, text: &str) -> Heard {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let (key, digit) = match self {
            Self::Twilio { .. } => ("event", &message["dtmf"]["digit"]),
            Self::Raw => ("type", &message["digit"]),
        };
        let kind = message[key].as_str().unwrap_or_default().to_owned();
        let events = match kind.as_str() {
            "media" => return Heard { original: None, events: vec![append(&message["media"]["payload"])] },
            "start" => start(&message),
            "digit" | "dtmf" => key_pressed(digit),
            _ => Vec::new(),
        };
        if let (Self::Twilio { stream_sid }, Some(sid)) = (self, message["start"]["streamSid"].as_str()) {
            sid.clone_into(stream_sid);
        }
        Heard { original: Some((kind, message)), events }
    }

    /// Takes a binary message, which is audio where it is allowed.
    pub(crate) fn hear_binary(&self, audio: &[u8]) -> Heard {
        let audio = match self {
            Self::Twilio { .. } => &[],
            Self::Raw => audio,
        };
        Heard { original: None, events: vec![append(&STANDARD.encode_to_string(audio).into())] }
    }

    /// The engine's event `kind` for the client, if it is to know of it.
    pub(crate) fn say(&self, kind: &str, fields: &Value) -> Option<Message> {
        let message = match (self, kind) {
            (Self::Twilio { stream_sid }, "response.output_audio.done") => {
                json!({"event": "mark", "streamSid": stream_sid, "mark": {"name": fields["item_id"]}})
            }
            (Self::Twilio { stream_sid }, "input_audio_buffer.speech_started") => {
                json!({"event": "clear", "streamSid": stream_sid})
            }
            (Self::Raw, "response.output_audio.done") => json!({"type": "mark", "name": fields["item_id"]}),
            (Self::Raw, "input_audio_buffer.speech_started") => json!({"type": "flush"}),
            (Self::Raw, "response.output_audio_transcript.done") => {
                json!({"type": "transcript", "speaker": "agent", "text": fields["transcript"]})
            }
            (Self::Raw, "response.function_call_arguments.done") => {
                let mut request: Value =
                    serde_json::from_str(fields["arguments"].as_str().unwrap_or_default()).unwrap_or_default();
                request["type"] = fields["name"].clone();
                request
            }
            _ => return None,
        };
        Some(Message::text(message.to_string()))
    }

    /// Agent audio for the client.
    pub(crate) fn say_audio(&self, base64: &str) -> Message {
        match self {
            Self::Twilio { stream_sid } => {
                let message = json!({"event": "media", "streamSid": stream_sid, "media": {"payload": base64}});
                Message::text(message.to_string())
            }
            // The engine makes base64 itself, or gives back what it has decoded before.
            Self::Raw => Message::binary(STANDARD.decode_to_vec(base64).unwrap_or_default()),
        }
    }
}

fn append(base64: &Value) -> String {
    json!({"type": "input_audio_buffer.append", "audio": base64}).to_string()
}

/// The settings that the start of a stream implies, and the request to greet.
fn start(message: &Value) -> Vec<String> {
    let format = match message["encoding"].as_str() {
        None | Some("ulaw") => json!({"type": "audio/pcmu"}),
        Some("alaw") => json!({"type": "audio/pcma"}),
        Some(_) => json!({"type": "audio/pcm", "rate": message["rate"]}),
    };
    let tool = |name: &str| json!({"type": "function", "name": name, "description": "", "parameters": {}});
    let session = json!({
        "type": "realtime",
        "instructions": message["instructions"].as_str().unwrap_or_default(),
        "audio": {"input": {"format": format}, "output": {"format": format}},
        "tools": [tool("hangup"), tool("transfer")],
    });
    let greet = match message["greeting"].as_str() {
        Some(greeting) => {
            json!({"type": "response.create", "response": {"instructions": format!("\nGreeting: {greeting}")}})
        }
        None => json!({"type": "response.create"}),
    };
    vec![json!({"type": "session.update", "session": session}).to_string(), greet.to_string()]
}

fn key_pressed(digit: &Value) -> Vec<String> {
    let content = json!([{"type": "input_text", "text": format!("key {}", digit.as_str().unwrap_or_default())}]);
    let item = json!({"type": "message", "role": "user", "content": content});
    vec![
        json!({"type": "conversation.item.create", "item": item}).to_string(),
        json!({"type": "response.create"}).to_string(),
    ]
}
