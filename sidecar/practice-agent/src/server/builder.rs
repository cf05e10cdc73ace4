//! What a server is to be like.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod, SslVersion};
use openssl::x509::X509;
use tokio::net::{TcpListener, TcpSocket};

use super::hall::{Hall, Lobby};
use super::{Door, Server};
use crate::call::Log;
use crate::chat::{Answers, ChatAnswer, ChatRequest, Chats};
use crate::engine::Api;
use crate::script::{Pace, Script};
use crate::session::Keep;
use crate::voice::Voice;
use crate::words::Words;

/// Builds a [`Server`].
pub struct Builder {
    bind: String,
    tls: Option<SslAcceptorBuilder>,
    receive_buffer: Option<u32>,
    workers: usize,
    config: Config,
    answers: Answers,
    door: Door,
}

pub(super) struct Config {
    pub(super) api: Api,
    pub(super) api_key: Option<String>,
    pub(super) script: Box<dyn Fn(u64) -> Script + Send + Sync>,
    pub(super) turns: Option<u32>,
    pub(super) pace: Pace,
    pub(super) keep: Keep,
    pub(super) voice: Arc<Voice>,
    pub(super) words: Arc<Words>,
    pub(super) patience: Duration,
    pub(super) log: Log,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
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
                words: Arc::new(Words::new(|_| Vec::new())),
                patience: Duration::from_secs(20),
                log: None,
            },
            answers: Arc::new(ChatAnswer::hint),
            door: Door::Open,
        }
    }

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

    /// What is said in a stream that is to be transcribed, line by line, by the stream's name ([`Session::reference`]): each
    /// time that somebody is heard to speak is the next line, whatever the sound of it. Asked once for every name: a stream
    /// of the same name goes on where the one before ended. Default: nobody knows, so the length of the speech is told.
    ///
    /// [`Session::reference`]: crate::Session::reference
    pub fn words(mut self, lines: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.config.words = Arc::new(Words::new(lines));
        self
    }

    /// What becomes of requests for chat completions. Default: [`ChatAnswer::hint`].
    pub fn chat(mut self, answers: impl Fn(&ChatRequest) -> ChatAnswer + Send + Sync + 'static) -> Self {
        self.answers = Arc::new(answers);
        self
    }

    /// So long a client of Soniox' protocol may send nothing. Default: 20 s, as the vendor's.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.config.patience = patience;
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
        let keep = self.config.keep > Keep::Nothing;
        let hall = Arc::new(Hall {
            config: self.config,
            tls: self.tls.map(SslAcceptorBuilder::build),
            chats: Arc::new(Chats::new(self.answers, keep)),
            lobby: Mutex::new(Lobby::new(self.door)),
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
