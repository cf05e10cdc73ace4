//! Chat completions over HTTP, as OpenRouter and OpenAI offer them: what a test orders, and what it gets to know.
//!
//! ```text
//!  POST ─► requirements ─► the test's ChatAnswer, or else a hint by hints ─► http ─► JSON or SSE
//!                                     └─► Chat (any thread)
//! ```

pub(crate) mod hints;
pub(crate) mod http;
mod requirements;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::session::{Request, TimedOut};

/// A request for a chat completion that was as the vendors want it.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// Number of the request, from 1.
    pub number: u64,
    /// When all of it had come.
    pub at: Instant,
    /// Path and headers.
    pub request: Request,
    /// The body.
    pub body: Value,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub struct ChatAnswer {
    pub(crate) kind: Kind,
    pub(crate) after: Duration,
    pub(crate) between_pieces: Duration,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Says(String),
    Refuses { status: u16, retry_after_s: Option<u64> },
    Hangs,
    Is(String),
    BreaksOff { said: String, with_error: bool },
}

/// One request, from the server's side. Clones are the same request. Every wait blocks the calling thread.
#[derive(Debug, Clone)]
pub struct Chat {
    asked: Arc<ChatRequest>,
    outcome: Arc<(Mutex<Outcome>, Condvar)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    answered_at: Option<Instant>,
    cancelled_at: Option<Instant>,
}

impl ChatRequest {
    /// The content of the last message of a user.
    pub fn question(&self) -> &str {
        let messages = self.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let last = messages.iter().rev().find(|message| message["role"] == "user");
        last.and_then(|message| message["content"].as_str()).unwrap_or_default()
    }

    /// Whether the answer is to come in pieces.
    pub fn streams(&self) -> bool {
        self.body["stream"] == true
    }
}

impl ChatAnswer {
    /// The model says this.
    pub fn says(content: impl Into<String>) -> Self {
        Self::of(Kind::Says(content.into()))
    }

    /// What the practice agent makes of the request by itself: a hint about the last line of the caller.
    pub fn hint(request: &ChatRequest) -> Self {
        Self::says(hints::hint(request).to_string())
    }

    /// An HTTP status other than 200, with an error in the body.
    pub fn refuses(status: u16) -> Self {
        Self::of(Kind::Refuses { status, retry_after_s: None })
    }

    /// Status 429, and when to ask again.
    pub fn limits(retry_after_s: u64) -> Self {
        Self::of(Kind::Refuses { status: 429, retry_after_s: Some(retry_after_s) })
    }

    /// No answer, ever.
    pub fn hangs() -> Self {
        Self::of(Kind::Hangs)
    }

    /// Status 200 with this as the body, whatever it is.
    pub fn is(body: impl Into<String>) -> Self {
        Self::of(Kind::Is(body.into()))
    }

    /// The model fails after it has said this: a streamed answer has an error in it, another is status 502.
    pub fn fails_after(said: impl Into<String>) -> Self {
        Self::of(Kind::BreaksOff { said: said.into(), with_error: true })
    }

    /// The connection is dropped after this much of a streamed answer, and at once for another.
    pub fn drops_after(said: impl Into<String>) -> Self {
        Self::of(Kind::BreaksOff { said: said.into(), with_error: false })
    }

    /// The same so much later.
    pub fn after(self, time: Duration) -> Self {
        Self { after: time, ..self }
    }

    /// The same with this time between two pieces of it, where it is streamed.
    pub fn slowly(self, between_pieces: Duration) -> Self {
        Self { between_pieces, ..self }
    }

    fn of(kind: Kind) -> Self {
        Self { kind, after: Duration::ZERO, between_pieces: Duration::ZERO }
    }
}

impl Chat {
    pub(crate) fn new(asked: ChatRequest) -> Self {
        Self { asked: Arc::new(asked), outcome: Arc::default() }
    }

    /// What was asked.
    pub fn asked(&self) -> &ChatRequest {
        &self.asked
    }

    /// When the whole answer had been handed over, if it was.
    pub fn answered_at(&self) -> Option<Instant> {
        self.outcome().answered_at
    }

    /// When the client hung up before it had the whole answer, if it did.
    pub fn cancelled_at(&self) -> Option<Instant> {
        self.outcome().cancelled_at
    }

    /// Waits for the whole answer to be handed over.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_answered(&self, timeout: Duration) -> Result<Instant, TimedOut> {
        self.wait("the answer", timeout, |outcome| outcome.answered_at)
    }

    /// Waits for the client to hang up before it has the whole answer.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_cancelled(&self, timeout: Duration) -> Result<Instant, TimedOut> {
        self.wait("the client's change of mind", timeout, |outcome| outcome.cancelled_at)
    }

    pub(crate) fn answered(&self, at: Instant) {
        self.outcome().answered_at = Some(at);
        self.outcome.1.notify_all();
    }

    pub(crate) fn cancelled(&self, at: Instant) {
        self.outcome().cancelled_at = Some(at);
        self.outcome.1.notify_all();
    }

    fn wait(
        &self,
        what: &str,
        timeout: Duration,
        find: impl Fn(&Outcome) -> Option<Instant>,
    ) -> Result<Instant, TimedOut> {
        let (_, changed) = &*self.outcome;
        let waiting = changed.wait_timeout_while(self.outcome(), timeout, |outcome| find(outcome).is_none());
        let outcome = *waiting.unwrap_or_else(PoisonError::into_inner).0;
        find(&outcome).ok_or_else(|| TimedOut {
            waited_for: format!("{what} to chat request {}", self.asked.number),
            timeout,
            so_far: format!("{outcome:?}"),
        })
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides what becomes of requests.
pub(crate) type Answers = Arc<dyn Fn(&ChatRequest) -> ChatAnswer + Send + Sync>;

/// The chat side of a server.
pub(crate) struct Chats {
    pub(crate) answers: Mutex<Answers>,
    list: Mutex<(u64, Vec<Chat>)>,
    arrived: Condvar,
    /// Requests are remembered.
    keep: bool,
}

impl Chats {
    pub(crate) fn new(answers: Answers, keep: bool) -> Self {
        Self { answers: Mutex::new(answers), list: Mutex::default(), arrived: Condvar::new(), keep }
    }

    /// A request came: its record, and what becomes of it.
    pub(crate) fn take(&self, request: Request, body: Value) -> (Chat, ChatAnswer) {
        let chat = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.0 += 1;
            let chat = Chat::new(ChatRequest { number: list.0, at: Instant::now(), request, body });
            if self.keep {
                list.1.push(chat.clone());
            }
            chat
        };
        self.arrived.notify_all();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = answers(chat.asked());
        (chat, answer)
    }

    pub(crate) fn all(&self) -> Vec<Chat> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    pub(crate) fn wait(&self, nth: usize, timeout: Duration) -> Result<Chat, TimedOut> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.arrived.wait_timeout_while(list, timeout, |list| list.1.len() <= nth);
        let list = waiting.unwrap_or_else(PoisonError::into_inner).0;
        list.1.get(nth).cloned().ok_or_else(|| TimedOut {
            waited_for: format!("chat request #{nth}"),
            timeout,
            so_far: format!("{} requests", list.1.len()),
        })
    }
}

impl fmt::Debug for Chats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chats").finish_non_exhaustive()
    }
}
