//! What happens in calls, for whoever wants to know: one vocabulary for AMI, WebSocket, webhooks and the call log.
//!
//! ```text
//!  task of a call ── publish ──► Events ─┬─► Subscription   each reads at its own pace; who is too slow is told
//!                 never waits            └─► Subscription   how much was missed
//! ```
//!
//! `events.schema.json` beside this file is the contract of the JSON form. Fields and kinds may be added to it; what is there
//! keeps its meaning. A session's first event is its `call_start` and its last its `call_end`. In an outbound call that is
//! the call, from the order to dial until its line is free, and the session in it tells its state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::Status;
use crate::outbound::Cause;
use crate::stats::{CallStats, Distribution};

/// The JSON Schema (draft 2020-12) that every event conforms to.
pub const SCHEMA: &str = include_str!("events.schema.json");

/// Events that a subscriber may be behind. At two a second in each of a hundred calls, five seconds.
const CAPACITY: usize = 1024;

/// Longest text in an event; what is longer is cut. [characters]
const TEXT_MAX: usize = 8000;

/// Something that happened in a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Greater than that of every earlier event, also of those before a restart while the clock is right. Fits into the
    /// integers of JavaScript.
    pub id: u64,
    /// When it happened. In JSON as RFC 3339 says, in UTC, with milliseconds.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// The value of `AISESSION`.
    pub session: String,
    /// Name of the profile.
    pub profile: String,
    /// Where the call comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// [`Event::time`] as in JSON.
    pub fn time_text(&self) -> String {
        humantime::format_rfc3339_millis(self.time).to_string()
    }
}

/// Where a call comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Origin {
    /// Who called whom.
    pub direction: Direction,
    /// The channel's name when the session began.
    pub channel: String,
    /// The channel's unique id, which CDR and CEL know it by.
    pub uniqueid: String,
    /// The caller's number, if the channel has one.
    pub caller: Option<String>,
    /// The number that was called, in an outbound call.
    pub callee: Option<String>,
}

/// Who called whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A caller reached the agent.
    Inbound,
    /// The agent was made to call.
    Outbound,
    /// An operator and a caller talk, and an assistant listens.
    Assist,
}

impl Direction {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Inbound, Self::Outbound, Self::Assist];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Assist => "assist",
        }
    }
}

/// What an [`Event`] tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A session has begun, and is [`CallState::Connecting`]; or an outbound call, and is [`CallState::Dialing`].
    CallStart {
        /// The protocol it speaks to the AI.
        dialect: String,
    },
    /// The session is in another state.
    CallStatus {
        /// Which.
        state: CallState,
    },
    /// Somebody said something.
    Transcript {
        /// Who.
        speaker: Speaker,
        /// The words.
        text: String,
        /// True for the whole utterance; false for the next piece of one that goes on, which the whole one repeats.
        complete: bool,
    },
    /// The caller interrupted the agent.
    BargeIn {
        /// Who noticed.
        noticed_by: NoticedBy,
        /// How much of the answer was heard. [ms] Unknown when the end of the answer had been heard already.
        heard_ms: Option<u64>,
        /// How much of it had been received. [ms]
        received_ms: Option<u64>,
    },
    /// The agent called a tool.
    ToolCall {
        /// The provider's name of this call.
        call_id: String,
        /// Name of the tool.
        tool: String,
        /// Its arguments as the agent wrote them: a JSON text that nobody has checked.
        arguments: String,
        /// What was wrong with it; `None`: it was carried out.
        error: Option<String>,
    },
    /// An assistant suggests to its operator what to say.
    Suggestion {
        /// The words.
        text: String,
        /// True for the whole suggestion; false for the next piece of one that goes on, which the whole one repeats.
        complete: bool,
    },
    /// The session is over.
    CallEnd(Box<CallEnd>),
}

impl What {
    /// True for a piece of something that an event yet to come tells as a whole.
    pub(crate) fn is_piece(&self) -> bool {
        matches!(self, Self::Transcript { complete: false, .. } | Self::Suggestion { complete: false, .. })
    }

    /// The same with no text longer than a subscriber has to reckon with.
    fn bounded(mut self) -> Self {
        match &mut self {
            Self::Transcript { text, .. } | Self::Suggestion { text, .. } => cut(text),
            Self::ToolCall { call_id, tool, arguments, error } => {
                [call_id, tool, arguments].into_iter().chain(error).for_each(cut);
            }
            _ => {}
        }
        self
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(end);
    }
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallState {
    /// An outbound call is on its way.
    Dialing,
    /// The called phone rings.
    Ringing,
    /// There is audio before the answer.
    Progress,
    /// The call is answered, and no session has begun.
    Answered,
    /// A person has answered.
    Human,
    /// An answering machine has answered.
    Machine,
    /// It could not be told who has answered.
    Unsure,
    /// The AI is not ready yet.
    Connecting,
    /// Caller and agent hear each other.
    Talking,
    /// The connection was lost and is being set up again.
    Reconnecting,
    /// The phone has put the call on hold.
    OnHold,
    /// Somebody has put the agent on hold from outside.
    Held,
    /// The call is over. Told as [`What::CallEnd`], never as [`What::CallStatus`].
    Ended,
}

impl CallState {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::Dialing,
        Self::Ringing,
        Self::Progress,
        Self::Answered,
        Self::Human,
        Self::Machine,
        Self::Unsure,
        Self::Connecting,
        Self::Talking,
        Self::Reconnecting,
        Self::OnHold,
        Self::Held,
        Self::Ended,
    ];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dialing => "dialing",
            Self::Ringing => "ringing",
            Self::Progress => "progress",
            Self::Answered => "answered",
            Self::Human => "human",
            Self::Machine => "machine",
            Self::Unsure => "unsure",
            Self::Connecting => "connecting",
            Self::Talking => "talking",
            Self::Reconnecting => "reconnecting",
            Self::OnHold => "on_hold",
            Self::Held => "held",
            Self::Ended => "ended",
        }
    }
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person on the phone.
    Caller,
    /// The AI.
    Agent,
    /// In assist: the person who talks to the caller.
    Operator,
}

impl Speaker {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }
}

impl From<ai_dialect::Speaker> for Speaker {
    fn from(speaker: ai_dialect::Speaker) -> Self {
        match speaker {
            ai_dialect::Speaker::Caller => Self::Caller,
            ai_dialect::Speaker::Agent => Self::Agent,
        }
    }
}

/// Who noticed an interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticedBy {
    /// The provider's voice detection.
    Provider,
    /// This side, by listening to the line.
    Line,
}

impl NoticedBy {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Line => "line",
        }
    }
}

impl From<ai_dialect::Noticed> for NoticedBy {
    fn from(noticed: ai_dialect::Noticed) -> Self {
        match noticed {
            ai_dialect::Noticed::ByProvider => Self::Provider,
            ai_dialect::Noticed::ByUs => Self::Line,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallEnd {
    /// `AISTATUS`.
    #[serde(serialize_with = "status")]
    pub status: Status,
    /// `AIREASON`.
    pub reason: String,
    /// How long it lasted; an outbound call since its answer. [ms]
    pub duration_ms: u64,
    /// `AITRANSFER`, after a transfer.
    pub transfer: Option<String>,
    /// `AIDIGIT`, when a key ended it.
    pub digit: Option<char>,
    /// Why the line of an outbound call ended.
    pub cause: Option<Cause>,
    /// Its figures.
    pub figures: Figures,
}

/// The figures of a session. Times that were never taken are `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// From the start of the application until the AI was ready. [ms]
    pub connect_ms: Option<f64>,
    /// From then until the agent's first audio was on the line. [ms]
    pub first_audio_ms: Option<f64>,
    /// Turns the agent began to speak.
    pub turns: u32,
    /// Times the caller interrupted the agent.
    pub barge_ins: u32,
    /// Times playback was held for what turned out to be noise.
    pub taken_back: u32,
    /// Times the agent's audio ran dry in mid-turn.
    pub underruns: u64,
    /// Caller audio that never reached the AI. [ms]
    pub dropped_ms: u64,
    /// Times a lost connection to the AI was set up again.
    pub reconnects: u32,
    /// Times the AI's session was followed by a new one before it would end.
    pub roll_overs: u32,
    /// From a caller's frame read until its bytes were written to the socket.
    pub uplink: Option<Distribution>,
    /// From the first agent audio of a turn received until it was on the line.
    pub turn_start: Option<Distribution>,
    /// From the caller's last word until the agent was on the line.
    pub response: Option<Distribution>,
    /// From an interruption noticed until the agent was off the line.
    pub barge_in_stop: Option<Distribution>,
}

impl From<&CallStats> for Figures {
    fn from(stats: &CallStats) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
        let latencies = stats.latencies();
        Self {
            connect_ms: stats.connect.get().map(ms),
            first_audio_ms: stats.first_audio.get().map(ms),
            turns: stats.turns.load(Relaxed),
            barge_ins: stats.barge_ins.load(Relaxed),
            taken_back: stats.taken_back.load(Relaxed),
            underruns: stats.underruns.load(Relaxed),
            dropped_ms: stats.dropped_ms.load(Relaxed),
            reconnects: stats.reconnects.load(Relaxed),
            roll_overs: stats.roll_overs.load(Relaxed),
            uplink: Distribution::of(&latencies.uplink),
            turn_start: Distribution::of(&latencies.turn_start),
            response: Distribution::of(&latencies.response),
            barge_in_stop: Distribution::of(&latencies.barge_in_stop),
        }
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn status<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.name())
}

/// Takes events from the calls' tasks to the subscribers.
pub struct Events(Mutex<Publisher>);

struct Publisher {
    last_id: u64,
    /// Everything, and everything but the pieces; `None` once closed.
    senders: Option<[broadcast::Sender<Arc<Event>>; 2]>,
}

const ALL: usize = 0;
const WHOLE: usize = 1;

impl Default for Events {
    fn default() -> Self {
        // Microseconds: no restart is so quick, and no exchange so busy, that an id would come twice.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let senders = Some([ALL, WHOLE].map(|_| broadcast::Sender::new(CAPACITY)));
        Self(Mutex::new(Publisher { last_id: since, senders }))
    }
}

impl Events {
    /// From now on, every event.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(ALL)
    }

    /// From now on, every event but the pieces of what a later event tells as a whole.
    pub fn subscribe_to_whole(&self) -> Subscription {
        self.subscribe_to(WHOLE)
    }

    fn subscribe_to(&self, which: usize) -> Subscription {
        let publisher = self.publisher();
        // A receiver without a sender is at its end at once.
        let receiver = match &publisher.senders {
            Some(senders) => senders[which].subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        Subscription(receiver)
    }

    /// Tells the subscribers what `make` says, or does nothing when there are none. Waits for nobody: a subscriber that is
    /// too far behind misses the oldest events.
    pub(crate) fn publish(&self, session: &str, profile: &str, origin: &Origin, make: impl FnOnce() -> What) {
        let mut publisher = self.publisher();
        let Some([all, whole]) = &publisher.senders else { return };
        if all.receiver_count() + whole.receiver_count() == 0 {
            return;
        }
        let event = Arc::new(Event {
            id: publisher.last_id + 1,
            time: SystemTime::now(),
            session: session.to_owned(),
            profile: profile.to_owned(),
            origin: origin.clone(),
            what: make().bounded(),
        });
        // Fails when that one has no subscriber.
        if !event.what.is_piece() {
            let _ = whole.send(event.clone());
        }
        let _ = all.send(event);
        publisher.last_id += 1;
    }

    /// The id of the event that was told last, or one that is smaller than that of every event to come.
    pub(crate) fn last_id(&self) -> u64 {
        self.publisher().last_id
    }

    /// No more events: subscribers read what there is, and then the end.
    pub(crate) fn close(&self) {
        self.publisher().senders = None;
    }

    fn publisher(&self) -> MutexGuard<'_, Publisher> {
        // Whole at every moment: a panic in `make` leaves it as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader of the events.
pub struct Subscription(broadcast::Receiver<Arc<Event>>);

/// What a [`Subscription`] has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The next event.
    Event(Arc<Event>),
    /// The reader was too slow, and so many events are lost to it.
    Missed(u64),
}

impl Subscription {
    /// The next event; `None`: there will be none.
    pub async fn next(&mut self) -> Option<Notice> {
        notice(self.0.recv().await)
    }

    /// As [`Subscription::next`], on a thread that may block and is none of the sidecar's.
    pub fn wait(&mut self) -> Option<Notice> {
        notice(self.0.blocking_recv())
    }
}

fn notice(received: Result<Arc<Event>, RecvError>) -> Option<Notice> {
    match received {
        Ok(event) => Some(Notice::Event(event)),
        Err(RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
        Err(RecvError::Closed) => None,
    }
}

#[cfg(test)]
mod tests;
