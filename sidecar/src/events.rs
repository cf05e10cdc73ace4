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

mod end;
mod publisher;
mod words;

use std::time::SystemTime;

use serde::{Serialize, Serializer};

pub use end::{CallEnd, Figures};
pub use publisher::{Events, Notice, Subscription};
pub use words::{CallState, Direction, Hint, HintKind, NoticedBy, Priority, Speaker};

/// The JSON Schema (draft 2020-12) that every event conforms to.
pub const SCHEMA: &str = include_str!("events.schema.json");

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
        /// When they began to, since the session began. [ms] Known of what an assistant hears.
        start_ms: Option<u64>,
        /// When they had said it. [ms]
        end_ms: Option<u64>,
    },
    /// What somebody is saying, as far as it is understood by now. It replaces the one before of the same speaker, until
    /// their transcript tells the whole; without words there is nothing after all.
    Interim {
        /// Who.
        speaker: Speaker,
        /// The words.
        text: String,
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
        /// What.
        #[serde(flatten)]
        hint: Hint,
        /// From the caller's line that it answers until it was there. [ms]
        latency_ms: u64,
    },
    /// The session is over.
    CallEnd(Box<CallEnd>),
}

impl What {
    /// What `speaker` said in a conversation with an agent, where the times of words are not known.
    pub(crate) fn said(speaker: Speaker, text: &str, complete: bool) -> Self {
        Self::Transcript { speaker, text: text.to_owned(), complete, start_ms: None, end_ms: None }
    }

    /// True for a piece of something that an event yet to come tells as a whole.
    pub(crate) fn is_piece(&self) -> bool {
        matches!(self, Self::Transcript { complete: false, .. } | Self::Interim { .. })
    }

    /// The same with no text longer than a subscriber has to reckon with.
    fn bounded(mut self) -> Self {
        match &mut self {
            Self::Transcript { text, .. } | Self::Interim { text, .. } => cut(text),
            Self::Suggestion { hint, .. } => [&mut hint.title, &mut hint.content].into_iter().for_each(cut),
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

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

#[cfg(test)]
mod tests;
