//! The listener: takes connections, does the handshake (or not), and hands sessions to whoever asks for them.
//!
//! A server runs its own tokio runtime on its own threads, so a plain thread can start one, wait on it and drop it.

mod builder;
mod hall;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Barrier, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

pub use builder::Builder;

use crate::chat::{self, Chat, ChatAnswer, ChatRequest};
use crate::session::{Request, Session, TimedOut};
use crate::soniox;
use hall::Hall;

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

impl Server {
    /// A server that converses, on a free port of loopback.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Where clients connect: `ws://` or `wss://`, with the vendor's path and no query.
    pub fn url(&self) -> String {
        let scheme = if self.hall.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/v1/realtime", self.address)
    }

    /// The same for Soniox' speech to text.
    pub fn soniox_url(&self) -> String {
        let scheme = if self.hall.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.address, soniox::PATH)
    }

    /// Where chat completions are asked for, as of OpenRouter: `http://` or `https://`. As of OpenAI it is the same without
    /// `/api`.
    pub fn chat_url(&self) -> String {
        let scheme = if self.hall.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, chat::http::OPENROUTER_PATH)
    }

    /// Changes what becomes of requests for chat completions from here on.
    pub fn set_chat(&self, answers: impl Fn(&ChatRequest) -> ChatAnswer + Send + Sync + 'static) {
        *self.hall.chats.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answers);
    }

    /// All requests for chat completions so far that were as they must be, in order.
    pub fn chats(&self) -> Vec<Chat> {
        self.hall.chats.all()
    }

    /// The `nth` of them, counted from 0. Blocks the calling thread.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait_chat(&self, nth: usize, timeout: Duration) -> Result<Chat, TimedOut> {
        self.hall.chats.wait(nth, timeout)
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

    /// The latest session whose name ([`Session::reference`]) ends so, `-caller` for example. Blocks the calling thread.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn stream(&self, name_ends: &str, timeout: Duration) -> Result<Session, TimedOut> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(session) = self.streams(name_ends).pop() {
                return Ok(session);
            }
            if Instant::now() >= deadline {
                let names: Vec<_> = self.sessions().iter().filter_map(Session::reference).collect();
                let waited_for = format!("a stream whose name ends in {name_ends:?}");
                return Err(TimedOut { waited_for, timeout, so_far: format!("streams {names:?}") });
            }
            // Names come some time after their sessions, if at all.
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All sessions so far whose name ends so, in order.
    pub fn streams(&self, name_ends: &str) -> Vec<Session> {
        let has = |session: &Session| session.reference().is_some_and(|name| name.ends_with(name_ends));
        self.sessions().into_iter().filter(has).collect()
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
