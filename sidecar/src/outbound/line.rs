//! One call, from the order until nobody has anything to tell of it any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use serde::Serialize;
use tracing::info;

use super::Leg;
use super::number::Number;
use crate::events::{CallEnd, CallState, Direction, Events, Figures, Origin, What};
use crate::link::Shared;
use crate::settings::{Profile, Trunk};
use crate::stats::CallStats;
use crate::{Outcome, Status};

/// What a line does before it is a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The phone rings.
    Ringing,
    /// There is audio before the answer: an announcement, or a tone.
    EarlyMedia,
    /// Somebody or something has answered.
    Answered,
}

/// Who has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answerer {
    /// A person.
    Human,
    /// An answering machine, or an announcement.
    Machine,
    /// It could not be told; taken for a person.
    Unsure,
}

impl Answerer {
    /// Its name, as in JSON and `{{answered_by}}`.
    pub const fn name(self) -> &'static str {
        self.state().name()
    }

    const fn state(self) -> CallState {
        match self {
            Self::Human => CallState::Human,
            Self::Machine => CallState::Machine,
            Self::Unsure => CallState::Unsure,
        }
    }
}

/// Why a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Cause value of ITU-T Q.850: 17 is busy.
    pub q850: u16,
    /// Status of the SIP response that ended it, if one did: 486 is busy.
    pub sip: Option<u16>,
}

impl Cause {
    /// A call that nobody answered in time.
    pub const NO_ANSWER: Self = Self { q850: 19, sip: None };
    /// A call that ended as calls do.
    pub const NORMAL: Self = Self { q850: 16, sip: None };

    /// What it means for a call that was not answered (Q.850 of 10/2018, table 1).
    fn status(self) -> Status {
        match self.q850 {
            17 => Status::Busy,
            18..=20 => Status::NoAnswer,
            21 => Status::Declined,
            1 | 22 | 28 => Status::Unallocated,
            34 | 38 | 41 | 42 | 44 | 47 => Status::Congestion,
            _ => Status::Failed,
        }
    }
}

/// A call as it is at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its id: the value of `AISESSION`, the `session` of its events and its channel's unique id.
    pub id: String,
    /// The number that was dialled.
    pub phone_number: String,
    /// Name of the profile.
    pub profile: String,
    /// The protocol it is to speak to the AI.
    pub dialect: String,
    /// Name of the trunk.
    pub trunk: String,
    /// The number it is made from; `None`: the trunk's own.
    pub caller_id: Option<String>,
    /// What it is doing.
    pub state: CallState,
    /// Name of its channel; empty until there is one.
    pub channel: String,
    /// When it was ordered.
    pub started: SystemTime,
    /// When it was answered.
    pub answered: Option<SystemTime>,
    /// Who answered, if that was to be found out and is.
    pub answered_by: Option<Answerer>,
    /// When it was over.
    pub ended: Option<SystemTime>,
    /// How it ended: as its event `call_end` says.
    pub status: Option<Status>,
    /// Why its line ended.
    pub cause: Option<Cause>,
}

/// A call in the table.
pub(super) struct Record {
    id: String,
    number: String,
    profile: Arc<Profile>,
    trunk: String,
    caller_id: Option<String>,
    variables: Vec<(String, String)>,
    detect_machine: bool,
    started: SystemTime,
    now: Mutex<Now>,
}

/// What changes of a call.
struct Now {
    state: CallState,
    channel: String,
    answered: Option<SystemTime>,
    answered_by: Option<Answerer>,
    ended: Option<SystemTime>,
    cause: Option<Cause>,
    unwanted: bool,
    leg: Option<Arc<dyn Leg>>,
    session: Weak<Shared>,
    sessions: u32,
    conclusion: Option<CallEnd>,
}

impl Record {
    pub(super) fn new(
        id: String,
        number: &Number,
        profile: &Arc<Profile>,
        trunk: &Trunk,
        caller_id: Option<String>,
        variables: Vec<(String, String)>,
        detect_machine: bool,
    ) -> Self {
        let now = Now {
            state: CallState::Dialing,
            channel: String::new(),
            answered: None,
            answered_by: None,
            ended: None,
            cause: None,
            unwanted: false,
            leg: None,
            session: Weak::new(),
            sessions: 0,
            conclusion: None,
        };
        Self {
            id,
            number: number.to_string(),
            profile: profile.clone(),
            trunk: trunk.name.clone(),
            caller_id,
            variables,
            detect_machine,
            started: SystemTime::now(),
            now: Mutex::new(now),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn profile(&self) -> &str {
        &self.profile.name
    }

    pub(super) fn trunk(&self) -> &str {
        &self.trunk
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Every change is a few stores: a panic elsewhere leaves it usable.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn call(&self) -> Call {
        let now = self.now();
        let talking = now.session.upgrade().filter(|_| now.ended.is_none());
        Call {
            id: self.id.clone(),
            phone_number: self.number.clone(),
            profile: self.profile.name.clone(),
            dialect: self.profile.dialect.clone(),
            trunk: self.trunk.clone(),
            caller_id: self.caller_id.clone(),
            state: talking.map_or(now.state, |session| session.info.condition.state()),
            channel: now.channel.clone(),
            started: self.started,
            answered: now.answered,
            answered_by: now.answered_by,
            ended: now.ended,
            status: now.conclusion.as_ref().filter(|_| now.ended.is_some()).map(|end| end.status),
            cause: now.cause,
        }
    }

    /// Whoever may hang it up is known from now on; perhaps somebody has already asked for that.
    pub(super) fn set_leg(&self, leg: Arc<dyn Leg>) {
        let mut now = self.now();
        if now.ended.is_some() {
            return;
        }
        let unwanted = now.unwanted;
        now.leg = Some(leg.clone());
        drop(now);
        if unwanted {
            leg.hang_up();
        }
    }

    pub(super) fn hang_up(&self) {
        let mut now = self.now();
        now.unwanted = true;
        let leg = now.leg.clone();
        drop(now);
        leg.inspect(|leg| leg.hang_up());
    }
}

/// The end of a call that tells what happens to it. Shared by all who do; the call is over when the last of them is gone.
#[derive(Clone)]
pub struct Line(Arc<Teller>);

struct Teller {
    record: Arc<Record>,
    events: Arc<Events>,
    removal: Mutex<Option<Box<dyn FnOnce() + Send + Sync>>>,
}

impl Line {
    /// Tells that the call `record` begins, and calls `removal` when it is over.
    pub(super) fn new(record: Arc<Record>, events: Arc<Events>, removal: Box<dyn FnOnce() + Send + Sync>) -> Self {
        let line = Self(Arc::new(Teller { record, events, removal: Mutex::new(Some(removal)) }));
        line.0.publish(|| What::CallStart { dialect: line.0.record.profile.dialect.clone() });
        line.0.publish(|| What::CallStatus { state: CallState::Dialing });
        line
    }

    /// The call's id.
    pub fn id(&self) -> &str {
        &self.0.record.id
    }

    /// Name of the profile that the call is for.
    pub fn profile(&self) -> &str {
        self.0.record.profile()
    }

    /// Variables for the agent.
    pub fn variables(&self) -> &[(String, String)] {
        &self.0.record.variables
    }

    /// True if only a person is to talk to the agent, or as the profile's `on_machine` says.
    pub fn detect_machine(&self) -> bool {
        self.0.record.detect_machine
    }

    /// True if somebody has asked to hang the call up.
    pub fn is_unwanted(&self) -> bool {
        self.0.record.now().unwanted
    }

    /// Where the call comes from, for its events.
    pub fn origin(&self) -> Origin {
        self.0.origin()
    }

    /// The call has a channel of this name.
    pub fn has_channel(&self, name: &str) {
        name.clone_into(&mut self.0.record.now().channel);
    }

    /// The line has come so far. What was told already is not told again.
    pub fn progress(&self, progress: Progress) {
        let state = match progress {
            Progress::Ringing => CallState::Ringing,
            Progress::EarlyMedia => CallState::Progress,
            Progress::Answered => {
                self.0.record.now().answered.get_or_insert_with(SystemTime::now);
                CallState::Answered
            }
        };
        self.0.enter(state);
    }

    /// It is known who has answered.
    pub fn answered_by(&self, answerer: Answerer) {
        self.0.record.now().answered_by = Some(answerer);
        self.0.enter(answerer.state());
    }

    /// The line has ended, or was not to be had.
    pub fn ended(&self, cause: Cause) {
        self.0.record.now().cause = Some(cause);
    }

    /// The application ended without a session.
    pub fn concluded(&self, outcome: &Outcome) {
        let end = conclusion(outcome.status, outcome.reason.clone());
        self.0.record.now().conclusion = Some(CallEnd { transfer: outcome.transfer.clone(), ..end });
    }

    /// A session begins in this call. True for the first: that one is the call, and bears its id.
    pub(crate) fn take_session(&self) -> bool {
        let mut now = self.0.record.now();
        now.sessions += 1;
        now.sessions == 1
    }

    /// That session is this one.
    pub(crate) fn begin_session(&self, session: &Arc<Shared>) {
        self.0.record.now().session = Arc::downgrade(session);
    }

    /// It has ended so.
    pub(crate) fn end_session(&self, end: CallEnd) {
        let mut now = self.0.record.now();
        now.session = Weak::new();
        now.state = CallState::Answered;
        now.conclusion = Some(end);
    }
}

impl Teller {
    fn origin(&self) -> Origin {
        Origin {
            direction: Direction::Outbound,
            channel: self.record.now().channel.clone(),
            uniqueid: self.record.id.clone(),
            caller: self.record.caller_id.clone(),
            callee: Some(self.record.number.clone()),
        }
    }

    fn publish(&self, make: impl FnOnce() -> What) {
        self.events.publish(&self.record.id, &self.record.profile.name, &self.origin(), make);
    }

    fn enter(&self, state: CallState) {
        let before = std::mem::replace(&mut self.record.now().state, state);
        if before != state {
            info!("AI {}: {}", self.record.id, state.name());
            self.publish(|| What::CallStatus { state });
        }
    }

    /// How the call ended, when the conversation, if there was one, does not say so.
    fn conclusion(&self, now: &Now) -> CallEnd {
        let cause = now.cause.unwrap_or(Cause::NORMAL);
        let sip = cause.sip.map_or_else(String::new, |sip| format!(", SIP {sip}"));
        let (status, reason) = match now.answered {
            _ if now.unwanted => (Status::Stopped, "the call was hung up from outside".to_owned()),
            None => (cause.status(), format!("the call was not answered (Q.850 {}{sip})", cause.q850)),
            Some(_) => (Status::Hangup, "the called party hung up before the conversation".to_owned()),
        };
        conclusion(status, reason)
    }
}

/// An end without a conversation.
fn conclusion(status: Status, reason: String) -> CallEnd {
    let figures = Figures::from(&CallStats::default());
    CallEnd { status, reason, duration_ms: 0, transfer: None, digit: None, cause: None, figures }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let mut now = self.record.now();
        let end = now.conclusion.take().unwrap_or_else(|| self.conclusion(&now));
        let ended = SystemTime::now();
        let lasted = now.answered.map(|answered| ended.duration_since(answered).unwrap_or_default());
        let end =
            CallEnd { duration_ms: lasted.map_or(0, |lasted| lasted.as_millis() as u64), cause: now.cause, ..end };
        now.state = CallState::Ended;
        now.ended = Some(ended);
        now.leg = None;
        now.conclusion = Some(end.clone());
        drop(now);
        let removal = self.removal.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        removal.into_iter().for_each(|remove| remove());
        info!("AI {}: the call is over: {} ({})", self.record.id, end.status, end.reason);
        self.publish(|| What::CallEnd(Box::new(end)));
    }
}
