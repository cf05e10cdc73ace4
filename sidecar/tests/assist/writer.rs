//! A transcriber in Soniox's protocol that writes down tones: it hears who speaks, from when until when, and goes wrong to
//! order.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// A-law at 8 kHz. [bytes]
const BYTES_IN_MS: usize = 8;
/// Silence that ends a line. [ms]
const ENDPOINT_MS: u64 = 300;

/// What is known of the server, and what it is to do.
#[derive(Default)]
pub(crate) struct Writer {
    /// The legs whose streams were begun, in their order.
    pub(crate) streams: Mutex<Vec<String>>,
    /// Requests to finalise.
    pub(crate) finalized: AtomicU32,
    /// Audio heard. [ms]
    pub(crate) heard_ms: AtomicUsize,
    /// This leg's account is not accepted.
    pub(crate) refused: Mutex<Option<&'static str>>,
    /// Ends every connection there is, without a word.
    pub(crate) cut: Notify,
    /// The server ends no line by itself.
    pub(crate) waits: std::sync::atomic::AtomicBool,
    authorization: Mutex<Vec<String>>,
}

impl Writer {
    /// Serves at the address it answers with.
    pub(crate) fn start(runtime: &tokio::runtime::Handle) -> (Arc<Self>, String) {
        let writer = Arc::<Self>::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("it can be");
        let url = format!("ws://{}/transcribe", listener.local_addr().expect("it is bound"));
        let serving = writer.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("tokio takes it");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (writer, url)
    }

    pub(crate) fn streams(&self) -> Vec<String> {
        self.streams.lock().expect("no panic").clone()
    }

    pub(crate) fn authorization(&self) -> Vec<String> {
        self.authorization.lock().expect("no panic").clone()
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let keep = |request: &Request, response: Response| {
            let value = request.headers().get("authorization").map(|value| value.to_str().expect("ASCII").to_owned());
            self.authorization.lock().expect("no panic").extend(value);
            Ok(response)
        };
        #[allow(clippy::result_large_err)]
        let accepted = tokio_tungstenite::accept_hdr_async(stream, keep).await;
        let mut socket = accepted.expect("a WebSocket");
        let Some(Ok(Message::Text(config))) = socket.next().await else { return };
        let config: Value = serde_json::from_str(&config).expect("JSON");
        assert_eq!((&config["audio_format"], &config["sample_rate"]), (&json!("alaw"), &json!(8000)));
        let leg = config["client_reference_id"].as_str().expect("a name").rsplit('-').next().expect("a leg").to_owned();
        self.streams.lock().expect("no panic").push(leg.clone());
        if self.refused.lock().expect("no panic").is_some_and(|refused| refused == leg) {
            let error =
                json!({"tokens": [], "error_code": 401, "error_type": "unauthenticated", "error_message": "no"});
            let _ = socket.send(Message::text(error.to_string())).await;
            return;
        }
        let mut ear = Ear { leg, ..Ear::default() };
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                () = self.cut.notified() => return,
            };
            let mut told = Vec::new();
            match message {
                Some(Ok(Message::Binary(audio))) => {
                    self.heard_ms.fetch_add(audio.len() / BYTES_IN_MS, Ordering::Relaxed);
                    told = ear.hear(&audio, !self.waits.load(Ordering::Relaxed));
                }
                Some(Ok(Message::Text(text))) if text.is_empty() => {
                    told.extend(ear.line("<end>"));
                    told.push(json!({"tokens": [], "finished": true}));
                }
                Some(Ok(Message::Text(text))) if text.contains("finalize") => {
                    self.finalized.fetch_add(1, Ordering::Relaxed);
                    told.extend(ear.line("<fin>"));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
            for message in told {
                if socket.send(Message::text(message.to_string())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Hears one leg.
#[derive(Default)]
struct Ear {
    leg: String,
    bytes: Vec<u8>,
    ms: u64,
    since: Option<u64>,
    until: u64,
    lines: u32,
}

impl Ear {
    fn hear(&mut self, audio: &[u8], ends_lines: bool) -> Vec<Value> {
        let mut told = Vec::new();
        self.bytes.extend_from_slice(audio);
        let whole = self.bytes.len() / BYTES_IN_MS * BYTES_IN_MS;
        for ms in self.bytes.drain(..whole).collect::<Vec<_>>().chunks(BYTES_IN_MS) {
            // The upper bits of A-law are a logarithm (ITU-T G.711, even bits inverted).
            let loud = ms.iter().any(|byte| (byte ^ 0x55) & 0x7f > 0x50);
            match (loud, self.since) {
                (true, None) => {
                    self.since = Some(self.ms);
                    told.push(json!({"tokens": [{"text": "Hm", "start_ms": self.ms, "is_final": false}]}));
                }
                (false, Some(_)) if ends_lines && self.ms >= self.until + ENDPOINT_MS => {
                    told.extend(self.line("<end>"))
                }
                _ => {}
            }
            self.ms += 1;
            if loud {
                self.until = self.ms;
            }
        }
        told
    }

    /// What was begun, to its end.
    fn line(&mut self, end: &str) -> Option<Value> {
        let since = self.since.take()?;
        self.lines += 1;
        let text = format!("{} {}", self.leg, self.lines);
        Some(json!({"tokens": [
            {"text": text, "start_ms": since, "end_ms": self.until, "is_final": true},
            {"text": end, "is_final": true},
        ]}))
    }
}
