//! An assistant: hears two people who talk to each other, writes down what they say, and suggests to one of them what to
//! say next. It says nothing itself, and whatever becomes of it, the call goes on.
//!
//! ```text
//!  threads that service the channel              sidecar task, on a tick
//!  AssistEnd.this  ══ leg ring ══► Leg ─► Transcriber ─► WebSocket ──┐
//!  AssistEnd.other ══ leg ring ══► Leg ─► Transcriber ─► WebSocket ──┤ lines
//!  AssistEnd::set_talking ── flag ──► both                           └─► events, and Hints ─► chat service
//! ```
//!
//! Nothing wakes the task from the channel's side: it looks at both rings and at the flags ten times a second.

mod chat;
mod hints;
mod intake;
mod leg;
mod options;
mod stream;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ai_dialect::transcriber::{TranscriberProvider, transcriber};
use ai_media::tap::{LegFeed, leg_ring};
use tokio::task::JoinHandle;

pub use self::options::{AssistOptions, Side};
use self::task::Assistant;
use crate::control::{AiState, Condition};
use crate::events::Origin;
use crate::runtime::{Seat, Sidecar, call_id};
use crate::session::{Listed, Session};
use crate::settings::{AssistProfile, Settings};
use crate::stats::{CallStats, SessionInfo};
use crate::{Outcome, Status};

/// How often the task looks at what was said.
const TICK: Duration = Duration::from_millis(100);
/// What a leg's ring holds while the task is late: twice as much of frames of 20 ms at the rates of telephones. [ms]
const RING_MS: u32 = 1000;

/// An assistant that is about to begin.
pub struct AssistPlan {
    profile: Arc<AssistProfile>,
    provider: &'static TranscriberProvider,
    options: AssistOptions,
}

impl AssistPlan {
    /// Plans an assistant of `profile`, which is one of `settings`, with `options`. `None`: its dialect is unknown.
    pub fn new(_: &Settings, profile: &Arc<AssistProfile>, options: &AssistOptions) -> Option<Self> {
        let provider = transcriber(&profile.dialect)?;
        Some(Self { profile: profile.clone(), provider, options: options.clone() })
    }
}

/// What the channel's side tells the task while the call lasts.
struct Tapped {
    session: Arc<Session>,
    /// The channel is bridged.
    talking: Flag,
    /// Music plays to it.
    music: Flag,
}

impl Tapped {
    /// Whether this channel's party is to be heard, and since when that has been so.
    fn this(&self) -> (bool, Instant) {
        let (talking, since) = self.talking.get();
        (talking, self.session.info.started + since)
    }

    /// The same of the other party.
    fn other(&self) -> (bool, Instant) {
        let ((talking, one), (music, other)) = (self.talking.get(), self.music.get());
        (talking && !music, self.session.info.started + one.max(other))
    }
}

/// Something that is so or is not, and since when. Set by the channel's side, read by the task.
#[derive(Default)]
struct Flag {
    value: AtomicBool,
    /// As time since the session began. [ns]
    since: AtomicU64,
}

impl Flag {
    /// # Realtime
    /// One load; when it is news, two stores and a look at the clock.
    fn set(&self, value: bool, started: Instant) {
        if self.value.load(Ordering::Relaxed) != value {
            self.since.store(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
            // Who sees it sees since when.
            self.value.store(value, Ordering::Release);
        }
    }

    fn get(&self) -> (bool, Duration) {
        let value = self.value.load(Ordering::Acquire);
        (value, Duration::from_nanos(self.since.load(Ordering::Relaxed)))
    }
}

/// The channel's end of an assistant. Dropping it ends the session: the call is over, unless [`AssistEnd::complete`] was
/// called before.
pub struct AssistEnd {
    /// Takes what this channel's party says.
    pub this: LegFeed,
    /// Takes what it hears.
    pub other: LegFeed,
    tapped: Arc<Tapped>,
    /// Held so that a waker used on the channel thread is never the last owner of the task, which would free it there.
    _task: JoinHandle<()>,
}

impl AssistEnd {
    /// This channel is bridged, or is not. Until it is for the first time nothing is transcribed; after that it is on hold
    /// while it is not.
    ///
    /// # Realtime
    /// One load; when it is news, two stores and a look at the clock.
    pub fn set_talking(&self, talking: bool) {
        self.tapped.talking.set(talking, self.info().started);
    }

    /// Music on hold plays to this channel, or does not. While it does, what the channel hears is not transcribed.
    ///
    /// # Realtime
    /// As [`AssistEnd::set_talking`].
    pub fn set_music(&self, music: bool) {
        self.tapped.music.set(music, self.info().started);
    }

    /// The session as others see it.
    pub fn info(&self) -> &SessionInfo {
        &self.tapped.session.info
    }

    /// True once somebody has ended the session from outside: nobody listens any more.
    ///
    /// # Realtime
    /// One load.
    pub fn is_stopped(&self) -> bool {
        self.tapped.session.is_stopped()
    }

    /// The dialplan ends the session, and the call goes on. Not on a channel thread's frame path: allocates.
    pub fn complete(&self) {
        self.tapped.session.finish(&Outcome::new(Status::Complete, "StopAIAssist() ended it"));
    }
}

impl Drop for AssistEnd {
    fn drop(&mut self) {
        if !self.is_stopped() {
            self.tapped.session.finish(&Outcome::new(Status::Hangup, "the call is over"));
        }
        self.tapped.session.close();
    }
}

impl Sidecar {
    /// Begins the assistant `plan` on a channel. It listens as soon as the channel is [bridged](AssistEnd::set_talking).
    pub fn begin_assist(&self, seat: Seat, plan: AssistPlan, origin: Origin) -> AssistEnd {
        let condition = Condition::default();
        condition.set_ai(AiState::Ringing);
        let info = SessionInfo {
            id: self.next_id(),
            profile: plan.profile.name.clone(),
            origin,
            dialect: plan.profile.dialect.clone(),
            began: SystemTime::now(),
            started: Instant::now(),
            condition,
            stats: CallStats::default(),
        };
        let session = Arc::new(Session::new(info, self.shared_events(), None));
        let (talking, music) = Default::default();
        let tapped = Arc::new(Tapped { session: session.clone(), talking, music });
        let ((this, this_tap), (other, other_tap)) = (leg_ring(RING_MS), leg_ring(RING_MS));
        let task = self.spawn_session(seat, Listed::Assist(session), {
            let tapped = tapped.clone();
            async move { Assistant::new(plan, tapped, [this_tap, other_tap], call_id()).run().await }
        });
        AssistEnd { this, other, tapped, _task: task }
    }
}
