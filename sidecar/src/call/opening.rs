//! The beginning of a session with the AI: from nothing to a WebSocket over which caller audio may flow.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use ai_dialect::{Dialect, FaultKind, Message, Output};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use crate::connector::Connector;
use crate::transport::{Transport, fatal, not_opened};
use crate::{Outcome, Status, http};

/// A session that is being opened. Dropping it gives up.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Connection, Outcome>> + Send>>;

/// An open session with the AI.
pub(super) struct Connection {
    /// What is said over it.
    pub(super) dialect: Box<dyn Dialect>,
    /// Where it is said.
    pub(super) transport: Transport,
    /// What the dialect wanted done while the session was being opened, and nobody did.
    early: VecDeque<Output>,
}

/// Opens a session of `dialect` and sees to it until it is ready.
///
/// # Errors
/// An [`Outcome`] for the dialplan; after `limit` in any case.
pub(super) fn open(mut dialect: Box<dyn Dialect>, connector: Connector, limit: Duration) -> Opening {
    Box::pin(async move {
        let opened = timeout(limit, async {
            let mut connection =
                Connection { transport: connect(&mut *dialect, &connector).await?, dialect, early: VecDeque::new() };
            connection.dialect.handle_open(Instant::now().into());
            connection.make_ready().await.map(|()| connection)
        });
        let late =
            |_| Err(Outcome::new(Status::ConnFail, format!("the AI was not ready within {} ms", limit.as_millis())));
        opened.await.unwrap_or_else(late)
    })
}

/// Opens the WebSocket, after what the provider wants before.
async fn connect(dialect: &mut dyn Dialect, connector: &Connector) -> Result<Transport, Outcome> {
    if let Some(request) = dialect.request_first() {
        let (status, body) = http::fetch(&request, connector).await?;
        dialect.handle_response(status, &body);
        while let Some(output) = dialect.poll_output() {
            if let Output::Fault(fault) = output {
                return Err(fatal(&fault, false));
            }
        }
    }
    Transport::connect(&dialect.handshake(), connector).await
}

impl Connection {
    /// What the dialect wants done next.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.early.pop_front().or_else(|| self.dialect.poll_output())
    }

    /// Passes on what the provider sent.
    pub(super) fn handle_message(&mut self, message: &tungstenite::Message) {
        match message {
            tungstenite::Message::Text(text) => self.dialect.handle_message(Message::Text(text)),
            tungstenite::Message::Binary(bytes) => self.dialect.handle_message(Message::Binary(bytes)),
            _ => {}
        }
    }

    /// Does what time makes due.
    ///
    /// # Errors
    /// When the peer has been silent for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Outcome> {
        self.transport.handle_timeout(now)?;
        if self.dialect.next_timeout().is_some_and(|due| now >= due.into()) {
            self.dialect.handle_timeout(now.into());
        }
        Ok(())
    }

    /// When [`Connection::handle_timeout`] wants to be called.
    pub(super) fn next_timeout(&self) -> Instant {
        let transport = self.transport.next_timeout();
        self.dialect.next_timeout().map_or(transport, |due| transport.min(due.into()))
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        self.dialect.handle_end();
        let last = std::iter::from_fn(|| self.dialect.poll_output()).filter_map(|output| match output {
            Output::Send(text) => Some(text),
            _ => None,
        });
        self.transport.close(last.collect()).await;
    }

    /// Sees to the session until the dialect says that it is ready. What else it wants is kept.
    async fn make_ready(&mut self) -> Result<(), Outcome> {
        loop {
            while let Some(output) = self.dialect.poll_output() {
                match output {
                    Output::Ready => return Ok(()),
                    Output::Send(text) => self.transport.send(text),
                    Output::Fault(fault) if fault.kind != FaultKind::Transient => return Err(fatal(&fault, false)),
                    other => self.early.push_back(other),
                }
            }
            let due = self.next_timeout();
            if Instant::now() >= due {
                self.handle_timeout(Instant::now())?;
                continue;
            }
            tokio::select! {
                message = self.transport.next() => self.handle_message(&message.map_err(not_opened)?),
                () = sleep_until(due) => {}
            }
        }
    }
}
