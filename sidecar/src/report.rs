//! What is told of a session's beginning and end, and what all sessions come to.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::events::{CallEnd, CallState, Figures, What};
use crate::outbound::Line;
use crate::session::Session;
use crate::stats::{CallStats, Latencies};
use crate::{Outcome, Status};

/// What the sessions since the module was loaded come to.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// How many ended in which way, by `AISTATUS`. Calls that were turned away before they were a session count, too.
    pub ended: BTreeMap<&'static str, u64>,
    /// Turns agents began to speak.
    pub turns: u64,
    /// Times callers interrupted.
    pub barge_ins: u64,
    /// Times playback was held for what turned out to be noise.
    pub taken_back: u64,
    /// Times audio ran dry in mid-turn.
    pub underruns: u64,
    /// Caller audio that never reached an AI. [ms]
    pub dropped_ms: u64,
    /// Times a lost connection to an AI was set up again.
    pub reconnects: u64,
    /// Hints that were asked for and did not come, for any reason but a newer line.
    pub hint_failures: u64,
    /// How long the parts of the conversations took.
    pub latencies: Latencies,
}

impl Totals {
    /// Adds the figures of one session.
    pub(crate) fn add(&mut self, stats: &CallStats) {
        self.turns += u64::from(stats.turns.load(Ordering::Relaxed));
        self.barge_ins += u64::from(stats.barge_ins.load(Ordering::Relaxed));
        self.taken_back += u64::from(stats.taken_back.load(Ordering::Relaxed));
        self.underruns += stats.underruns.load(Ordering::Relaxed);
        self.dropped_ms += stats.dropped_ms.load(Ordering::Relaxed);
        self.reconnects += u64::from(stats.reconnects.load(Ordering::Relaxed));
        self.hint_failures += u64::from(stats.hint_failures.load(Ordering::Relaxed));
        self.latencies.add(&stats.latencies());
    }

    pub(crate) fn count(&mut self, status: Status) {
        *self.ended.entry(status.name()).or_default() += 1;
    }
}

/// The totals of the sessions that are over.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Totals>);

impl Ledger {
    pub(crate) fn totals(&self) -> MutexGuard<'_, Totals> {
        // Sums: a panic elsewhere leaves them usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells of a session's end when it is dropped, whatever has ended it.
pub(crate) struct Report {
    session: Arc<Session>,
    ledger: Arc<Ledger>,
    /// The outbound call whose session this is: that tells the beginning and the end.
    line: Option<Line>,
}

impl Report {
    /// Tells that the session has begun.
    pub(crate) fn begin(session: Arc<Session>, ledger: Arc<Ledger>, line: Option<Line>) -> Self {
        match line {
            None => session.publish(|| What::CallStart { dialect: session.info.dialect.clone() }),
            Some(_) => session.publish(|| What::CallStatus { state: CallState::Connecting }),
        }
        Self { session, ledger, line }
    }

    /// The task has nothing more to tell: waits for the channel thread's word on how it ended.
    pub(crate) async fn end(self) {
        self.session.gone().await;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let (Outcome { status, reason, transfer, digit, .. }, duration) = self.session.ended();
        let stats = &self.session.info.stats;
        let mut totals = self.ledger.totals();
        totals.count(status);
        totals.add(stats);
        drop(totals);
        let end = || {
            let (duration_ms, figures) = (duration.as_millis() as u64, Figures::from(stats));
            CallEnd { status, reason, duration_ms, transfer, digit, cause: None, figures }
        };
        match &self.line {
            None => self.session.publish(|| What::CallEnd(Box::new(end()))),
            Some(line) => line.end_session(end()),
        }
    }
}
