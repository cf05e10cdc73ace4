//! Where connections arrive: TLS, the handshake (or not), and the lists of what has come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openssl::ssl::{self, Ssl, SslAcceptor};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_openssl::SslStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as HttpRequest, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::builder::Config;
use super::{Attempt, Door};
use crate::call::{Brief, Call};
use crate::chat::{self, Chats};
use crate::session::{Keep, Request, Session, Shared};
use crate::soniox::{self, Stream};
use crate::wire::{Line, Wire};

/// What the connections of a server share.
pub(super) struct Hall {
    pub(super) config: Config,
    pub(super) tls: Option<SslAcceptor>,
    pub(super) chats: Arc<Chats>,
    pub(super) lobby: Mutex<Lobby>,
    pub(super) arrived: Condvar,
}

#[derive(Default)]
pub(super) struct Lobby {
    pub(super) door: Door,
    pub(super) attempts: Vec<Attempt>,
    pub(super) sessions: Vec<Session>,
    pub(super) unclaimed: VecDeque<Session>,
    opened: u64,
}

impl Lobby {
    pub(super) fn new(door: Door) -> Self {
        Self { door, ..Self::default() }
    }
}

impl Hall {
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => {
                    let hall = self.clone();
                    tokio::spawn(async move { hall.receive(tcp).await });
                }
                // Out of file descriptors, mostly: some will come free.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn receive(&self, tcp: TcpStream) {
        let _ = tcp.set_nodelay(true);
        let (door, attempt) = self.note_attempt();
        if door == Door::Silent {
            return keep_silent(tcp).await;
        }
        let mut line = match &self.tls {
            None => Line::plain(tcp),
            Some(tls) => match secure(tls, tcp).await {
                Ok(stream) => {
                    self.note(attempt, |attempt| attempt.resumed = stream.ssl().session_reused());
                    Line::tls(stream)
                }
                Err(error) => return self.say(&format!("TLS handshake failed: {error}")),
            },
        };
        match line.begins_with(b"POST ").await {
            Ok(true) => return self.chat(line, attempt).await,
            Ok(false) => {}
            Err(error) => return self.say(&format!("connection lost: {error}")),
        }
        let mut request = Request::default();
        #[expect(clippy::result_large_err, reason = "the WebSocket library's type")]
        let shake = |asked: &HttpRequest, response: Response| {
            request = read_request(asked);
            self.note(attempt, |attempt| attempt.request = Some(request.clone()));
            self.answer(&door, &request, response)
        };
        match accept_hdr_async_with_config(line, shake, Some(web_socket_config())).await {
            Ok(socket) => self.open(Wire::new(socket), request).await,
            Err(error) => self.say(&format!("handshake failed: {error}")),
        }
    }

    async fn chat(&self, line: Line, attempt: Option<usize>) {
        let note = |request: &Request| {
            self.note(attempt, |attempt| attempt.request = Some(request.clone()));
            self.say(&format!("chat request to {}", request.path));
        };
        if let Err(error) = chat::http::serve(line, self.chats.clone(), self.config.api_key.clone(), note).await {
            self.say(&format!("chat: {error}"));
        }
    }

    #[expect(clippy::result_large_err, reason = "the WebSocket library's type")]
    fn answer(&self, door: &Door, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let expected = self.config.api_key.as_ref().map(|key| format!("Bearer {key}"));
        let listens = request.path == soniox::PATH;
        // Soniox lets everybody in, and tells those it does not know in an error message.
        let authorized = listens || expected.is_none() || request.header("authorization") == expected.as_deref();
        let status = match door {
            Door::Refuse(status) => *status,
            _ if !authorized => 401,
            _ => {
                // A client that offers subprotocols must be given one of them.
                let offered = request.header("sec-websocket-protocol").unwrap_or_default();
                let accepted = if listens { soniox::SUBPROTOCOL } else { "realtime" };
                if offered.split(',').any(|name| name.trim() == accepted) {
                    response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(accepted));
                }
                return Ok(response);
            }
        };
        let body = r#"{"error":{"type":"invalid_request_error","code":null,"message":"Refused.","param":null}}"#;
        let mut refusal = ErrorResponse::new(Some(body.to_owned()));
        *refusal.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Err(refusal)
    }

    async fn open(&self, wire: Wire, request: Request) {
        let (control, commands) = mpsc::unbounded_channel();
        let (shared, steps) = {
            let mut lobby = self.lobby();
            lobby.opened += 1;
            let steps = (self.config.script)(lobby.opened).steps;
            let shared = Arc::new(Shared::new(lobby.opened, request, self.config.keep, steps.len()));
            if self.config.keep > Keep::Nothing {
                let session = Session::new(shared.clone(), control);
                lobby.sessions.push(session.clone());
                lobby.unclaimed.push_back(session);
            }
            (shared, steps)
        };
        self.arrived.notify_all();
        if shared.request.path == soniox::PATH {
            let Config { words, api_key, patience, log, .. } = &self.config;
            let stream = Stream::new(shared.clone(), words.clone(), api_key.clone(), *patience, Instant::now());
            return soniox::Task::new(wire, stream, steps, shared, commands, log.clone()).run().await;
        }
        let brief = Brief {
            api: self.config.api,
            steps,
            turns: self.config.turns,
            pace: self.config.pace,
            voice: self.config.voice.clone(),
            words: self.config.words.clone(),
            log: self.config.log.clone(),
        };
        Call::new(wire, brief, shared, commands).run().await;
    }

    /// Returns what becomes of the connection, and its place in the list if it is kept.
    fn note_attempt(&self) -> (Door, Option<usize>) {
        let mut lobby = self.lobby();
        let kept = self.config.keep > Keep::Nothing;
        if kept {
            lobby.attempts.push(Attempt { at: Instant::now(), request: None, resumed: false });
        }
        (lobby.door.clone(), kept.then(|| lobby.attempts.len() - 1))
    }

    fn note(&self, attempt: Option<usize>, what: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = attempt {
            what(&mut self.lobby().attempts[attempt]);
        }
    }

    fn say(&self, line: &str) {
        if let Some(log) = &self.config.log {
            log(line);
        }
    }

    /// Whoever panicked with the lock held left the lists whole.
    pub(super) fn lobby(&self) -> MutexGuard<'_, Lobby> {
        self.lobby.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Hall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hall").finish_non_exhaustive()
    }
}

async fn secure(tls: &SslAcceptor, tcp: TcpStream) -> Result<SslStream<TcpStream>, ssl::Error> {
    let mut stream = SslStream::new(Ssl::new(tls.context())?, tcp)?;
    Pin::new(&mut stream).accept().await?;
    Ok(stream)
}

/// Swallows what comes until the client gives up.
async fn keep_silent(mut tcp: TcpStream) {
    let mut swallowed = [0; 512];
    while matches!(tcp.read(&mut swallowed).await, Ok(1..)) {}
}

fn read_request(asked: &HttpRequest) -> Request {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Request {
        path: asked.uri().path().to_owned(),
        query: asked.uri().query().unwrap_or_default().to_owned(),
        headers: asked.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
    }
}

/// Small buffers: a server has hundreds of sessions, and a frame of audio is a few hundred bytes. Messages may be as
/// large as the vendor's: 15 MiB of audio, and some JSON around it.
fn web_socket_config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(8 << 10).max_message_size(Some(16 << 20)).max_frame_size(Some(16 << 20))
}
