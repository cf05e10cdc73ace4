//! The listener: takes connections, does the handshake (or not), and hands sessions to whoever asks for them.
//!
//! A server runs its own tokio runtime on its own threads, so a plain thread can start one, wait on it and drop it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{self, Ssl, SslAcceptor, SslAcceptorBuilder, SslMethod, SslVersion};
use openssl::x509::X509;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_openssl::SslStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as HttpRequest, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::call::{Brief, Call, Log};
use crate::engine::Api;
use crate::script::{Pace, Script};
use crate::session::{Keep, Request, Session, Shared, TimedOut};
use crate::voice::Voice;
use crate::wire::{Line, Wire};

/// A listening agent. Dropping it ends all its sessions.
#[derive(Debug)]
pub struct Server {
    hall: Arc<Hall>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// What becomes of a connection before it is a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Door {
    /// The handshake succeeds.
    #[default]
    Open,
    /// The handshake is answered with this HTTP status.
    Refuse(u16),
    /// TCP connects; nothing is ever answered.
    Silent,
}

/// A TCP connection somebody made.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it was accepted.
    pub at: Instant,
    /// The handshake, once it was read (also one that was refused).
    pub request: Option<Request>,
    /// True if the client resumed a TLS session of an earlier connection.
    pub resumed: bool,
}

/// Builds a [`Server`].
pub struct Builder {
    bind: String,
    tls: Option<SslAcceptorBuilder>,
    receive_buffer: Option<u32>,
    workers: usize,
    config: Config,
    door: Door,
}

struct Config {
    api: Api,
    api_key: Option<String>,
    script: Box<dyn Fn(u64) -> Script + Send + Sync>,
    turns: Option<u32>,
    pace: Pace,
    keep: Keep,
    voice: Arc<Voice>,
    log: Log,
}

impl Server {
    /// A server that converses, on a free port of loopback.
    pub fn builder() -> Builder {
        Builder {
            bind: "127.0.0.1:0".to_owned(),
            tls: None,
            receive_buffer: None,
            workers: 1,
            config: Config {
                api: Api::Auto,
                api_key: None,
                script: Box::new(|_| Script::converse()),
                turns: None,
                pace: Pace::Times(4.0),
                keep: Keep::Everything,
                voice: Arc::new(Voice::new("en")),
                log: None,
            },
            door: Door::Open,
        }
    }

    /// Where clients connect: `ws://` or `wss://`, with the vendor's path and no query.
    pub fn url(&self) -> String {
        let scheme = if self.hall.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/v1/realtime", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of connections from here on.
    pub fn set_door(&self, door: Door) {
        self.hall.lobby().door = door;
    }

    /// All connections so far, in order.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.hall.lobby().attempts.clone()
    }

    /// All sessions so far, in order.
    pub fn sessions(&self) -> Vec<Session> {
        self.hall.lobby().sessions.clone()
    }

    /// Stops all threads of the server for `time`, as a machine does that has no CPU for it. Blocks the calling thread, and
    /// answers from when to when they certainly stood still.
    pub fn freeze(&self, time: Duration) -> Range<Instant> {
        let workers = self.runtime.as_ref().map_or(0, |runtime| runtime.metrics().num_workers());
        let together = Arc::new(Barrier::new(workers + 1));
        for runtime in self.runtime.iter().cycle().take(workers) {
            let together = together.clone();
            runtime.spawn(async move {
                together.wait();
                thread::sleep(time);
            });
        }
        let end = Instant::now() + time;
        together.wait();
        let start = Instant::now();
        thread::sleep(time);
        start..end
    }

    /// The next session that this method has not returned yet. Blocks the calling thread.
    ///
    /// # Errors
    /// When none is opened in time.
    pub fn next_session(&self, timeout: Duration) -> Result<Session, TimedOut> {
        let deadline = Instant::now() + timeout;
        let mut lobby = self.hall.lobby();
        loop {
            if let Some(session) = lobby.unclaimed.pop_front() {
                return Ok(session);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let so_far = format!("{} connections, {} sessions", lobby.attempts.len(), lobby.sessions.len());
                return Err(TimedOut { waited_for: "the next session".to_owned(), timeout, so_far });
            }
            lobby = self.hall.arrived.wait_timeout(lobby, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Builder {
    /// Address and port to listen on; port 0 takes a free one. Default: `127.0.0.1:0`.
    pub fn bind(mut self, address: impl Into<String>) -> Self {
        self.bind = address.into();
        self
    }

    /// Speaks TLS with this certificate chain and PKCS #8 key, both PEM.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together.
    pub fn tls(mut self, chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, ErrorStack> {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        let mut chain = X509::stack_from_pem(chain_pem)?.into_iter();
        if let Some(certificate) = chain.next() {
            acceptor.set_certificate(&certificate)?;
        }
        chain.try_for_each(|certificate| acceptor.add_extra_chain_cert(certificate))?;
        acceptor.set_private_key(&*PKey::private_key_from_pem(key_pem)?)?;
        acceptor.check_private_key()?;
        self.tls = Some(acceptor);
        Ok(self)
    }

    /// Speaks no later version of TLS than this. To be called after [`Builder::tls`]. Default: 1.3.
    ///
    /// # Errors
    /// When OpenSSL does not speak it.
    pub fn tls_version(mut self, latest: SslVersion) -> Result<Self, ErrorStack> {
        if let Some(tls) = &mut self.tls {
            tls.set_max_proto_version(Some(latest))?;
        }
        Ok(self)
    }

    /// What every session does. Default: [`Script::converse`].
    pub fn script(self, script: Script) -> Self {
        self.scripts(move |_| script.clone())
    }

    /// What each session does, by its number from 1.
    pub fn scripts(mut self, scripts: impl Fn(u64) -> Script + Send + Sync + 'static) -> Self {
        self.config.script = Box::new(scripts);
        self
    }

    /// Which shape of the protocol is spoken. Default: [`Api::Auto`].
    pub fn api(mut self, api: Api) -> Self {
        self.config.api = api;
        self
    }

    /// Refuses handshakes without this bearer token with status 401. Default: any or none will do.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.config.api_key = Some(key.into());
        self
    }

    /// What becomes of connections. Default: [`Door::Open`].
    pub fn door(mut self, door: Door) -> Self {
        self.door = door;
        self
    }

    /// In a conversation, say goodbye after this many turns. Default: never.
    pub fn turns(mut self, turns: Option<u32>) -> Self {
        self.config.turns = turns;
        self
    }

    /// In a conversation, how fast audio is sent. Default: four times faster than it plays.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.config.pace = pace;
        self
    }

    /// The espeak-ng voice. Default: `en`.
    pub fn voice(mut self, name: impl Into<String>) -> Self {
        self.config.voice = Arc::new(Voice::new(name));
        self
    }

    /// What sessions keep of what passes through them. Default: [`Keep::Everything`].
    pub fn keep(mut self, keep: Keep) -> Self {
        self.config.keep = keep;
        self
    }

    /// Is told what happens, a line at a time, from the server's threads. Default: nobody is.
    pub fn log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.config.log = Some(Arc::new(log));
        self
    }

    /// The kernel's receive buffer in bytes: small, so that a slow reader is soon felt. Default: the system's.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Threads of the server's runtime. Default: 1.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Starts to listen. Does not block beyond that.
    ///
    /// # Errors
    /// When the address cannot be parsed or bound, or no thread can be started.
    pub fn start(self) -> io::Result<Server> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.workers)
            .thread_name("practice-agent")
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            listen(&self.bind, self.receive_buffer)?
        };
        let address = listener.local_addr()?;
        let hall = Arc::new(Hall {
            config: self.config,
            tls: self.tls.map(SslAcceptorBuilder::build),
            lobby: Mutex::new(Lobby { door: self.door, ..Lobby::default() }),
            arrived: Condvar::new(),
        });
        runtime.spawn(hall.clone().accept(listener));
        Ok(Server { hall, address, runtime: Some(runtime) })
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("bind", &self.bind).field("door", &self.door).finish_non_exhaustive()
    }
}

/// What the connections of a server share.
struct Hall {
    config: Config,
    tls: Option<SslAcceptor>,
    lobby: Mutex<Lobby>,
    arrived: Condvar,
}

#[derive(Default)]
struct Lobby {
    door: Door,
    attempts: Vec<Attempt>,
    sessions: Vec<Session>,
    unclaimed: VecDeque<Session>,
    opened: u64,
}

impl Hall {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
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
        let line = match &self.tls {
            None => Line::plain(tcp),
            Some(tls) => match secure(tls, tcp).await {
                Ok(stream) => {
                    self.note(attempt, |attempt| attempt.resumed = stream.ssl().session_reused());
                    Line::tls(stream)
                }
                Err(error) => return self.say(&format!("TLS handshake failed: {error}")),
            },
        };
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

    #[expect(clippy::result_large_err, reason = "the WebSocket library's type")]
    fn answer(&self, door: &Door, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let expected = self.config.api_key.as_ref().map(|key| format!("Bearer {key}"));
        let authorized = expected.is_none() || request.header("authorization") == expected.as_deref();
        let status = match door {
            Door::Refuse(status) => *status,
            _ if !authorized => 401,
            _ => {
                // A client that offers subprotocols must be given one of them.
                let offered = request.header("sec-websocket-protocol").unwrap_or_default();
                if offered.split(',').any(|name| name.trim() == "realtime") {
                    response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("realtime"));
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
        let brief = Brief {
            api: self.config.api,
            steps,
            turns: self.config.turns,
            pace: self.config.pace,
            voice: self.config.voice.clone(),
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
    fn lobby(&self) -> MutexGuard<'_, Lobby> {
        self.lobby.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Hall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hall").finish_non_exhaustive()
    }
}

fn listen(address: &str, receive_buffer: Option<u32>) -> io::Result<TcpListener> {
    let address: SocketAddr = address.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is not an address with a port"))
    })?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(1024)
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
