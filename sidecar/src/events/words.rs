//! The words that events are told in.

use serde::{Deserialize, Serialize};

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

/// What an assistant suggests to its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hint {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: HintKind,
    /// A few words that stand for it.
    pub title: String,
    /// The words.
    pub content: String,
    /// How much it matters now.
    pub priority: Priority,
}

/// What a hint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintKind {
    /// The caller objects to something.
    Objection,
    /// What to ask the caller.
    Question,
    /// The answer to what the caller asks.
    Answer,
    /// Something to know.
    Information,
    /// Something to beware of.
    Warning,
    /// A way to bring the call to its end.
    Closing,
    /// Something else.
    Other,
}

impl HintKind {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Objection, Self::Question, Self::Answer, Self::Information, Self::Warning, Self::Closing, Self::Other];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Objection => "objection",
            Self::Question => "question",
            Self::Answer => "answer",
            Self::Information => "information",
            Self::Warning => "warning",
            Self::Closing => "closing",
            Self::Other => "other",
        }
    }
}

/// How much a hint matters now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// At once.
    High,
    /// As usual.
    Medium,
    /// At some time.
    Low,
}

impl Priority {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}
