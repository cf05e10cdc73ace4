//! A plain client: one socket, blocking, with a deadline on every read.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use ai_media::{Encoding, Format, g711};
use practice_agent::Server;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// Long enough for a busy machine, short enough for a hanging test.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) const PCM24: Format = Format::slin(24_000);

pub(crate) struct Client {
    pub(crate) socket: WebSocket<MaybeTlsStream<TcpStream>>,
    /// The server speaks the older shapes.
    beta: bool,
}

impl Client {
    /// Connects with `?model=practice`; `session.created` is still to be read.
    pub(crate) fn connect(server: &Server) -> Self {
        Self::try_connect(&format!("{}?model=practice", server.url()), &[]).expect("the handshake succeeds")
    }

    /// Connects and configures both directions for `format`.
    pub(crate) fn configured(server: &Server, format: Format) -> Self {
        let mut client = Self::connect(server);
        client.until("session.created");
        client.send(session_update(format));
        client.until("session.updated");
        client
    }

    pub(crate) fn try_connect(url: &str, headers: &[(&'static str, &str)]) -> tungstenite::Result<Self> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value)?);
        }
        let address = request.uri().authority().expect("the URL has an address").as_str().to_owned();
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(SOON))?;
        tcp.set_nodelay(true)?;
        let (socket, _) =
            tungstenite::client(request, MaybeTlsStream::Plain(tcp)).map_err(|failure| match failure {
                tungstenite::HandshakeError::Failure(error) => error,
                tungstenite::HandshakeError::Interrupted(_) => tungstenite::Error::ConnectionClosed,
            })?;
        Ok(Self { socket, beta: false })
    }

    pub(crate) fn send(&mut self, event: Value) {
        self.send_text(&event.to_string());
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the server takes the message");
    }

    /// Sends audio in pieces of 20 ms.
    pub(crate) fn speak(&mut self, format: Format, audio: &[u8]) {
        for piece in audio.chunks(format.bytes_in_ms(20)) {
            let base64 = base64_simd::STANDARD.encode_to_string(piece);
            self.send(json!({"type": "input_audio_buffer.append", "audio": base64}));
        }
    }

    /// Any next event.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            match self.socket.read().expect("the server sends something") {
                Message::Text(text) => {
                    let event: Value = serde_json::from_str(&text).expect("events are JSON");
                    self.beta |= event["session"].is_object() && event["session"]["type"].is_null();
                    note(if self.beta { "openai-beta" } else { "openai-ga" }, &text);
                    return event;
                }
                Message::Close(frame) => panic!("closed with {frame:?} instead of an event"),
                _ => {}
            }
        }
    }

    /// All events up to and with the first of this type.
    pub(crate) fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            events.push(self.next());
            if events.last().is_some_and(|event| event["type"] == kind) {
                return events;
            }
        }
    }

    /// The first event of this type; those before it are dropped.
    pub(crate) fn wait(&mut self, kind: &str) -> Value {
        self.until(kind).pop().expect("`until` ends with the event")
    }

    /// Sends an event; returns the `error` object that answers it.
    pub(crate) fn error_of(&mut self, event: Value) -> Value {
        self.send(event);
        self.wait("error")["error"].take()
    }

    /// Reads to the close frame and answers it; returns the server's close code.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    let _ = self.socket.flush();
                    return frame.map(|frame| frame.code.into());
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Notes down what the server sent, for a check with the types of the vendor's package (tests/wire/servers.py).
pub(crate) fn note(shape: &'static str, text: &str) {
    if env!("CARGO_CRATE_NAME") == "faults" {
        return; // there the server says what no server should
    }
    static FILES: LazyLock<Mutex<HashMap<&str, File>>> = LazyLock::new(Mutex::default);
    let mut files = FILES.lock().expect("nobody panics with it");
    let file = files.entry(shape).or_insert_with(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire/server");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        let name = format!("{shape}.{}.jsonl", env!("CARGO_CRATE_NAME"));
        File::create(folder.join(name)).expect("the target folder can be written")
    });
    writeln!(file, "{text}").expect("the target folder can be written");
}

/// A `session.update` for both directions, with a short silence and transcription.
pub(crate) fn session_update(format: Format) -> Value {
    json!({"type": "session.update", "session": {"type": "realtime", "audio": {
        "input": {"format": name(format), "transcription": {"model": "gpt-transcribe"},
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 100,
                "silence_duration_ms": 200, "create_response": true, "interrupt_response": true}},
        "output": {"format": name(format)},
    }}})
}

pub(crate) fn name(format: Format) -> Value {
    match format.encoding {
        Encoding::Ulaw => json!({"type": "audio/pcmu"}),
        Encoding::Alaw => json!({"type": "audio/pcma"}),
        Encoding::Slin => json!({"type": "audio/pcm", "rate": 24000}),
    }
}

/// A loud tone.
pub(crate) fn tone(format: Format, ms: u64) -> Vec<u8> {
    wave(format, ms, 8000.0)
}

pub(crate) fn silence(format: Format, ms: u64) -> Vec<u8> {
    vec![format.silence_byte(); format.bytes_in_ms(ms)]
}

fn wave(format: Format, ms: u64, amplitude: f64) -> Vec<u8> {
    let samples = u64::from(format.rate_hz) * ms / 1000;
    let sample = |n: u64| (amplitude * (n as f64 * 2500.0 / f64::from(format.rate_hz)).sin()) as i16;
    (0..samples)
        .map(sample)
        .flat_map(|sample| match format.encoding {
            Encoding::Ulaw => vec![g711::ulaw_encode(sample)],
            Encoding::Alaw => vec![g711::alaw_encode(sample)],
            Encoding::Slin => sample.to_le_bytes().to_vec(),
        })
        .collect()
}

/// The audio of all deltas among these events.
pub(crate) fn agent_audio(events: &[Value]) -> Vec<u8> {
    let deltas = events
        .iter()
        .filter(|event| matches!(event["type"].as_str(), Some("response.output_audio.delta" | "response.audio.delta")));
    let base64 = deltas.map(|event| event["delta"].as_str().expect("a delta has audio"));
    base64.flat_map(|base64| base64_simd::STANDARD.decode_to_vec(base64).expect("base64")).collect()
}

pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    kinds.dedup();
    kinds
}
