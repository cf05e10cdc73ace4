//! The sessions of a call with its AI, one after the other: opening, losing and replacing them.

use std::future::pending;
use std::sync::atomic::Ordering;

use ai_dialect::Dialect;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tracing::{info, warn};

use super::Call;
use super::opening::{self, Connection, Opening};
use crate::Outcome;
use crate::link::Command;
use crate::recovery::{QUIET, RollOver, Step};
use crate::route::Route;
use crate::stats::millis;

/// Opens a session of `dialect` as the profile in use says.
pub(super) fn open(route: &Route, dialect: Box<dyn Dialect>) -> Opening {
    let profile = route.profile();
    opening::open(dialect, profile.connector.clone(), profile.connect_timeout)
}

/// Waits for the session that is being opened, if one is.
pub(super) async fn opened(opening: &mut Option<Opening>) -> Result<Connection, Outcome> {
    let result = match opening {
        Some(opening) => opening.await,
        None => pending().await,
    };
    *opening = None;
    result
}

/// Sends what is to be sent and waits for the next message, if there is a session.
pub(super) async fn next_message(connection: &mut Option<Connection>) -> Result<Message, Outcome> {
    match connection {
        Some(connection) => connection.transport.next().await,
        None => pending().await,
    }
}

impl Call {
    /// Opens a session that goes on where the one before ended.
    pub(super) fn open_session(&mut self) {
        let mut legacy = self.memory.legacy();
        legacy.history.extend(self.acting.still_to_come());
        legacy.agent_owes_answer &= self.acting.is_idle();
        self.opening = Some(open(&self.route, self.route.dialect(legacy)));
        self.acting.session_told();
    }

    /// A session was opened, or could not be.
    pub(super) fn handle_opened(&mut self, opened: Result<Connection, Outcome>, now: Instant) -> Result<(), Outcome> {
        match (opened, self.connection.is_some()) {
            (Ok(connection), false) => self.begin_session(connection, now),
            (Ok(connection), true) => self.follow_on(connection, now),
            (Err(outcome), false) => return Err(outcome),
            (Err(outcome), true) => {
                warn!("AI {}: no session to follow this one could be opened: {}", self.id(), outcome.reason);
                self.memory.forget_resumption();
                self.roll_over.failed(now);
            }
        }
        Ok(())
    }

    fn begin_session(&mut self, connection: Connection, now: Instant) {
        let first = self.timing.ready(now);
        self.install(connection, now);
        let gap = self.recovery.up(now);
        let stats = &self.end.shared().info.stats;
        let profile = self.route.profile();
        if let Some(took) = first {
            stats.connect.set(took);
            info!(
                "AI {}: connected to {} in {}, {} on the line, {} to the AI",
                self.id(),
                profile.name,
                millis(took),
                self.caller.from(),
                self.caller.to()
            );
            self.end.command(Command::Connected);
        }
        if let Some(gap) = gap {
            stats.reconnects.fetch_add(1, Ordering::Relaxed);
            stats.reconnect.set(gap);
            let turns = self.memory.legacy().history.len();
            info!(
                "AI {}: connected to {} again after {}, with {turns} lines of the conversation",
                self.id(),
                profile.name,
                millis(gap)
            );
        }
    }

    /// Talks over `connection` from now on.
    fn install(&mut self, connection: Connection, now: Instant) {
        let profile = self.route.profile();
        let longest = Some(profile.session_max).filter(|max| !max.is_zero()).or(self.route.provider().session_max);
        self.roll_over.begin(now, longest);
        self.given = 0;
        self.wait_over();
        self.memory.session_begins();
        self.connection = Some(connection);
        self.settle_formats();
        self.tell_late_answers();
    }

    /// `connection` takes over, if nobody has said a word since it was begun to be opened.
    fn follow_on(&mut self, connection: Connection, now: Instant) {
        if !self.roll_over.is_urgent(now) && !self.is_quiet(now) {
            tokio::spawn(connection.close());
            return;
        }
        let profile = &self.route.profile().name;
        info!("AI {}: the session with {profile} goes on as a new one before it would end", self.id());
        self.end.shared().info.stats.roll_overs.fetch_add(1, Ordering::Relaxed);
        if let Some(before) = self.take_connection() {
            tokio::spawn(before.close());
        }
        self.timing.ready(now);
        self.install(connection, now);
    }

    /// Opens the session that follows this one, if it is time.
    pub(super) fn prepare_successor(&mut self, now: Instant) {
        if self.opening.is_none() && self.ending.is_none() && (self.roll_over.is_urgent(now) || self.is_quiet(now)) {
            self.successor_of = now;
            self.open_session();
        }
    }

    /// True in a pause of the conversation: what was said until now is complete.
    fn is_quiet(&self, now: Instant) -> bool {
        let since = if self.opening.is_some() { self.successor_of } else { now - QUIET };
        let settled = self.line.drained()
            && !self.line.is_flushing()
            && self.digits.is_empty()
            && self.ending.is_none()
            && self.acting.is_idle();
        settled && self.timing.quiet_since(since)
    }

    /// There is no session any more, or none yet, because of `outcome`. `None` if another one is going to be tried, and
    /// otherwise how the conversation ends.
    pub(super) fn recover(&mut self, outcome: Outcome, now: Instant) -> Option<Outcome> {
        // An end that had been agreed on before counts more.
        if let Some(agreed) = self.ending.take() {
            return Some(agreed);
        }
        if self.connection.is_none() {
            // Perhaps because of what the provider was asked to resume.
            self.memory.forget_resumption();
        }
        let (reason, attempts_max) = (outcome.reason.clone(), self.route.profile().reconnect_attempts);
        let step = self.recovery.step(outcome, now, attempts_max, self.route.has_fallback(), fastrand::f64());
        let retry_at = match step {
            Step::GiveUp(outcome) => return Some(outcome),
            Step::Again(pause) => {
                let attempt = self.recovery.attempts();
                warn!("AI {}: {reason}: attempt {attempt} of {attempts_max} to reconnect", self.id());
                // The one that was to follow comes in its place, if it knows all there is to know.
                if self.opening.is_some() && !self.is_quiet(now) {
                    self.opening = None;
                }
                self.opening.is_none().then_some(now + pause)
            }
            Step::FallBack => {
                self.opening = None;
                let failed = self.route.profile().name.clone();
                self.route.fall_back();
                self.memory.forget_resumption();
                warn!("AI {}: {failed}: {reason}: falling back on {}", self.id(), self.route.profile().name);
                Some(now)
            }
        };
        let lost = self.take_connection();
        if lost.is_some() {
            self.acting.wait(now);
        }
        self.timing.away(retry_at);
        if let Some(lost) = lost {
            // OpenSSL resumes no TLS session of a connection that was dropped instead of closed.
            tokio::spawn(lost.close());
        }
        None
    }

    /// Takes leave of the session. What the agent has said is still heard; the next one knows nothing of the pieces of it.
    fn take_connection(&mut self) -> Option<Connection> {
        let connection = self.connection.take()?;
        self.timing.unsent(connection.transport.audio_dropped_ms());
        self.roll_over = RollOver::default();
        self.line.end_turn();
        self.line.disown();
        self.acting.session_left();
        Some(connection)
    }
}
