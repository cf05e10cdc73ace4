//! What every session has, whatever becomes of its audio: who it is, how it ends, and who is told of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use atomic_waker::AtomicWaker;

use crate::events::{Events, What};
use crate::link::{Doorbell, Shared};
use crate::stats::SessionInfo;
use crate::{Outcome, Status};

/// What a session's channel thread, its task, and those who look at it from outside share.
pub(crate) struct Session {
    pub(crate) info: SessionInfo,
    events: Arc<Events>,
    waker: AtomicWaker,
    woken: AtomicBool,
    closed: AtomicBool,
    stop: AtomicBool,
    /// How the session is to end, where `stop` is not all that was said.
    ending: OnceLock<Outcome>,
    /// How the channel thread has ended the session, and how long it lasted.
    ended: OnceLock<(Outcome, Duration)>,
    /// Wakes the channel thread; `None`: it looks by itself.
    doorbell: Option<Doorbell>,
}

impl Session {
    pub(crate) fn new(info: SessionInfo, events: Arc<Events>, doorbell: Option<Doorbell>) -> Self {
        Self {
            info,
            events,
            waker: AtomicWaker::new(),
            woken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            ending: OnceLock::new(),
            ended: OnceLock::new(),
            doorbell,
        }
    }

    /// Ends the session from outside, whatever the sidecar does.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        self.ring();
    }

    /// As [`Session::stop`], with this outcome. The first one counts.
    pub(crate) fn end_with(&self, outcome: Outcome) {
        let _ = self.ending.set(outcome);
        self.stop();
    }

    /// True once somebody has ended the session from outside.
    ///
    /// # Realtime
    /// One load.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Wakes the channel thread.
    pub(crate) fn ring(&self) {
        self.doorbell.iter().for_each(Doorbell::ring);
    }

    /// Tells whoever listens of this session; `make` is not called when nobody does. Waits for nobody.
    pub(crate) fn publish(&self, make: impl FnOnce() -> What) {
        self.events.publish(&self.info.id, &self.info.profile, &self.info.origin, make);
    }

    /// Says how the session ended. The first word counts.
    pub(crate) fn finish(&self, outcome: &Outcome) {
        let _ = self.ended.set((outcome.clone(), self.info.started.elapsed()));
    }

    /// How the session ended, and how long it lasted. Without a word of the channel thread, it is the task that is gone.
    pub(crate) fn ended(&self) -> (Outcome, Duration) {
        self.ended.get().cloned().unwrap_or_else(|| (self.torn_off(), self.info.started.elapsed()))
    }

    /// How a session ends whose channel thread has said nothing.
    pub(crate) fn torn_off(&self) -> Outcome {
        if self.is_stopped() {
            if let Some(outcome) = self.ending.get() {
                return outcome.clone();
            }
            return Outcome::new(Status::Stopped, "the session was stopped from outside");
        }
        Outcome::new(Status::Error, "the call's task ended unexpectedly")
    }

    /// Wakes the session's task.
    ///
    /// # Realtime
    /// Tokio's run queue: a mutex held for a few instructions, perhaps one system call. No allocation.
    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Waits until the task is woken. Only for the session's own task, which is the one that gets woken.
    pub(crate) async fn woken(&self) {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            if self.woken.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The channel thread's end is gone.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    /// True when the channel thread's end is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until the channel thread's end is gone. Only for the session's own task.
    pub(crate) async fn gone(&self) {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A session in the table of those that are up.
#[derive(Clone)]
pub(crate) enum Listed {
    /// An agent talks in it.
    Agent(Arc<Shared>),
    /// An assistant listens to it.
    Assist(Arc<Session>),
}

impl Listed {
    /// What every session has.
    pub(crate) fn session(&self) -> &Arc<Session> {
        match self {
            Self::Agent(shared) => shared.session(),
            Self::Assist(session) => session,
        }
    }
}
