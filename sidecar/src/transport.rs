//! The WebSocket of one call: connecting, sending under back-pressure, keep-alive, and why it ended.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ai_dialect::{Fault, FaultKind, Handshake, Payload, Secret};
use futures_util::{Sink, Stream};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::connector::{Connection, Connector};
use crate::{Outcome, Status};

/// Largest message taken from a provider: four minutes of 24 kHz audio in one piece, in base64, fit.
const MESSAGE_MAX: usize = 16 << 20;
/// Caller audio that may wait for the socket. [ms]
const AUDIO_QUEUE_MS: u64 = 2000;
/// Messages of any kind that may wait for the socket; a peer that takes none of so many is dead.
const QUEUE_MAX: usize = 1024;
/// Time between two pings.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A peer that sends nothing at all for so long, not even a pong, is gone.
const SILENT_MAX: Duration = Duration::from_secs(15);
/// Caller audio that is still sent when the connection is closed. [ms]
const CLOSING_AUDIO_MS: u64 = 100;
/// Patience for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open WebSocket.
pub(crate) struct Transport {
    socket: WebSocketStream<TokioIo<Connection>>,
    queue: VecDeque<Outgoing>,
    audio_queued_ms: u64,
    audio_dropped_ms: u64,
    unflushed: bool,
    /// When the oldest audio that is not written yet was read from the phone.
    unwritten_since: Option<Instant>,
    uplink: Option<Duration>,
    next_ping: Instant,
    heard_at: Instant,
    /// What the server was told and nobody else may read.
    secrets: Vec<Secret>,
}

struct Outgoing {
    message: Message,
    /// Caller audio in it; 0 for a control message. [ms]
    audio_ms: u64,
}

impl Transport {
    /// Opens the WebSocket that `handshake` describes.
    ///
    /// # Errors
    /// An [`Outcome`] for the dialplan.
    pub(crate) async fn connect(handshake: &Handshake, connector: &Connector) -> Result<Self, Outcome> {
        let mut request =
            handshake.url.as_str().into_client_request().map_err(|error| unreachable_host(&describe(&error)))?;
        for (name, value) in &handshake.headers {
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value.reveal()).ok());
            let (header, value) = header
                .ok_or_else(|| unreachable_host(&format!("header '{name}' has characters no header may have")))?;
            request.headers_mut().append(header, value);
        }
        let stream = TokioIo::new(connector.connect(request.uri()).await?);
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let (socket, _) =
            client_async_with_config(request, stream, Some(config)).await.map_err(|error| refusal(&error))?;
        let now = Instant::now();
        Ok(Self {
            socket,
            queue: VecDeque::new(),
            audio_queued_ms: 0,
            audio_dropped_ms: 0,
            unflushed: false,
            unwritten_since: None,
            uplink: None,
            next_ping: now + PING_EVERY,
            heard_at: now,
            secrets: handshake.headers.iter().map(|(_, value)| value.clone()).collect(),
        })
    }

    /// Queues a control message.
    pub(crate) fn send(&mut self, text: String) {
        self.queue.push_back(Outgoing { message: Message::text(text), audio_ms: 0 });
    }

    /// Queues `audio_ms` of caller audio. When the socket does not keep up, the oldest audio is dropped and counted.
    pub(crate) fn send_audio(&mut self, message: Payload, audio_ms: u64) {
        while self.audio_queued_ms + audio_ms > AUDIO_QUEUE_MS
            && let Some(oldest) = self.queue.iter().position(|outgoing| outgoing.audio_ms > 0)
            && let Some(dropped) = self.queue.remove(oldest)
        {
            self.audio_queued_ms -= dropped.audio_ms;
            self.audio_dropped_ms += dropped.audio_ms;
        }
        let message = match message {
            Payload::Text(text) => Message::text(text),
            Payload::Binary(bytes) => Message::binary(bytes),
        };
        self.queue.push_back(Outgoing { message, audio_ms });
        self.audio_queued_ms += audio_ms;
    }

    /// The audio queued last was read from the phone at `heard_at`; [`Transport::uplink`] tells when it is written.
    pub(crate) fn track(&mut self, heard_at: Instant) {
        self.unwritten_since.get_or_insert(heard_at);
    }

    /// How long the latest tracked audio took from the phone to the socket. Once each.
    pub(crate) fn uplink(&mut self) -> Option<Duration> {
        self.uplink.take()
    }

    /// Caller audio dropped because the socket did not keep up. [ms]
    pub(crate) fn audio_dropped_ms(&self) -> u64 {
        self.audio_dropped_ms
    }

    /// Audio that waits for the socket. [ms]
    pub(crate) fn audio_queued_ms(&self) -> u64 {
        self.audio_queued_ms
    }

    /// When [`Transport::handle_timeout`] wants to be called.
    pub(crate) fn next_timeout(&self) -> Instant {
        self.next_ping
    }

    /// Sends a ping when one is due.
    ///
    /// # Errors
    /// When the peer has been silent for too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), Outcome> {
        if now < self.next_ping {
            return Ok(());
        }
        if now - self.heard_at > SILENT_MAX {
            let reason = format!("the AI server has been silent for {} s", SILENT_MAX.as_secs());
            return Err(Outcome::new(Status::Lost, reason));
        }
        self.next_ping = now + PING_EVERY;
        self.queue.push_back(Outgoing { message: Message::Ping(Default::default()), audio_ms: 0 });
        Ok(())
    }

    /// Sends what is queued and waits for the next message. Safe to drop and call again.
    ///
    /// # Errors
    /// How the connection ended.
    pub(crate) async fn next(&mut self) -> Result<Message, Outcome> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Outcome>> {
        if self.queue.len() > QUEUE_MAX {
            return Poll::Ready(Err(Outcome::new(Status::Lost, "the AI server does not take what it is sent")));
        }
        let sent = self.poll_send(context);
        // What the peer said before it closed explains an error in sending, so reading goes first.
        if let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(context) {
            self.heard_at = Instant::now();
            return Poll::Ready(match message {
                Some(Ok(Message::Close(frame))) => Err(closed(frame, &self.secrets)),
                Some(Ok(message)) => Ok(message),
                Some(Err(error)) => Err(lost(&error)),
                None => Err(Outcome::new(Status::Lost, "the AI server closed the connection")),
            });
        }
        match sent {
            Poll::Ready(Err(error)) => Poll::Ready(Err(lost(&error))),
            _ => Poll::Pending,
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        while !self.queue.is_empty() {
            std::task::ready!(Pin::new(&mut self.socket).poll_ready(context))?;
            if let Some(outgoing) = self.queue.pop_front() {
                self.audio_queued_ms -= outgoing.audio_ms;
                self.unflushed = true;
                Pin::new(&mut self.socket).start_send(outgoing.message)?;
            }
        }
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.socket).poll_flush(context))?;
            self.unflushed = false;
        }
        if let Some(since) = self.unwritten_since.take() {
            self.uplink = Some(since.elapsed());
        }
        Poll::Ready(Ok(()))
    }

    /// Says goodbye, with `last` before; a peer that does not answer in time is left.
    pub(crate) async fn close(mut self, last: Vec<String>) {
        // The caller's last word still goes, but nobody waits for a peer that is behind.
        if self.audio_queued_ms > CLOSING_AUDIO_MS {
            self.queue.retain(|outgoing| outgoing.audio_ms == 0);
        }
        last.into_iter().for_each(|text| self.send(text));
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
            // What the peer does not take any more it does not need.
            let _ = poll_fn(|context| self.poll_send(context)).await;
            let frame = tungstenite::protocol::CloseFrame { code: CloseCode::Normal, reason: "".into() };
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut self.socket).poll_next(context)).await {}
            }
        })
        .await;
        // TLS takes back a session that is not ended in form, and the next call could not resume it.
        let end = poll_fn(|context| Pin::new(self.socket.get_mut()).poll_shutdown(context));
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, end).await;
    }
}

/// The provider cannot be reached, for this reason.
pub(crate) fn unreachable_host(reason: &str) -> Outcome {
    Outcome::new(Status::ConnFail, reason)
}

/// The connection ended before there was a session.
pub(crate) fn not_opened(outcome: Outcome) -> Outcome {
    match outcome.status {
        Status::AuthFail => outcome,
        _ => Outcome { status: Status::ConnFail, ..outcome },
    }
}

/// How a session ends by `fault`, which is none that it could survive.
pub(crate) fn fatal(fault: &Fault, ready: bool) -> Outcome {
    let status = match fault.kind {
        FaultKind::Authentication => Status::AuthFail,
        FaultKind::Expired => Status::Lost,
        _ if ready => Status::Error,
        _ => Status::ConnFail,
    };
    Outcome::new(status, format!("the AI server reports: {}", fault.message))
}

/// Why the WebSocket was not opened.
fn refusal(error: &tungstenite::Error) -> Outcome {
    match error {
        tungstenite::Error::Http(response) => {
            let status = response.status();
            let reason = format!("the AI server answered {status} instead of opening a WebSocket");
            let kind = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Status::AuthFail,
                _ => Status::ConnFail,
            };
            Outcome::new(kind, reason)
        }
        other => Outcome::new(Status::ConnFail, describe(other)),
    }
}

/// An error's own words and those of its causes, without anything of the request.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// What a lost connection means.
fn lost(error: &tungstenite::Error) -> Outcome {
    match error {
        tungstenite::Error::Capacity(_) => {
            Outcome::new(Status::Lost, format!("the AI server sent a message of more than {} MiB", MESSAGE_MAX >> 20))
        }
        other => Outcome::new(Status::Lost, format!("the connection to the AI server was lost: {}", describe(other))),
    }
}

/// What the server's close frame means (RFC 6455 §7.4, and the codes registered with IANA).
fn closed(frame: Option<tungstenite::protocol::CloseFrame>, secrets: &[Secret]) -> Outcome {
    let Some(frame) = frame else {
        return Outcome::new(Status::Complete, "the AI server ended the session");
    };
    let status = match u16::from(frame.code) {
        1000 | 1005 => Status::Complete,
        3000 | 3003 => Status::AuthFail,
        1002 | 1003 | 1007..=1010 => Status::Error,
        _ => Status::Lost,
    };
    let code = u16::from(frame.code);
    let words = secrets.iter().fold(frame.reason.as_str().to_owned(), |words, secret| secret.hidden_in(words));
    let reason = match words.as_str() {
        "" => format!("the AI server closed the session with code {code}"),
        words => format!("the AI server closed the session with code {code}: {words}"),
    };
    Outcome::new(status, reason)
}
