//! How a conversation ended.

use std::fmt;

/// The value of the channel variable `AISTATUS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The caller hung up.
    Hangup,
    /// The agent or the server ended the conversation.
    Complete,
    /// The agent handed the caller over; `AITRANSFER` says where to.
    Transfer,
    /// The caller pressed one of the digits of option `d`; `AIDIGIT` says which.
    Dtmf,
    /// The longest allowed time was over.
    Timeout,
    /// Nobody said a word for the time of option `i`.
    Idle,
    /// Somebody ended it from outside: CLI, unload or shutdown.
    Stopped,
    /// Too many sessions were up already.
    Limit,
    /// There is no profile of that name.
    NoProfile,
    /// The AI could not be reached or did not set up the session.
    ConnFail,
    /// The AI did not accept the account.
    AuthFail,
    /// The connection was lost in mid-call.
    Lost,
    /// An answering machine answered, and the agent was not to talk to it.
    Machine,
    /// Of a call that was made to happen, and as all below no `AISTATUS`: the line was busy.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// The called party did not want the call.
    Declined,
    /// There was no way through the network.
    Congestion,
    /// There is no such number.
    Unallocated,
    /// The call did not come about for another reason.
    Failed,
    /// Something else went wrong; `AIREASON` says what.
    Error,
}

impl Status {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::Hangup,
        Self::Complete,
        Self::Transfer,
        Self::Dtmf,
        Self::Timeout,
        Self::Idle,
        Self::Stopped,
        Self::Limit,
        Self::NoProfile,
        Self::ConnFail,
        Self::AuthFail,
        Self::Lost,
        Self::Machine,
        Self::Busy,
        Self::NoAnswer,
        Self::Declined,
        Self::Congestion,
        Self::Unallocated,
        Self::Failed,
        Self::Error,
    ];

    /// The word the dialplan sees.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hangup => "HANGUP",
            Self::Complete => "COMPLETE",
            Self::Transfer => "TRANSFER",
            Self::Dtmf => "DTMF",
            Self::Timeout => "TIMEOUT",
            Self::Idle => "IDLE",
            Self::Stopped => "STOPPED",
            Self::Limit => "LIMIT",
            Self::NoProfile => "NOPROFILE",
            Self::ConnFail => "CONNFAIL",
            Self::AuthFail => "AUTHFAIL",
            Self::Lost => "LOST",
            Self::Machine => "MACHINE",
            Self::Busy => "BUSY",
            Self::NoAnswer => "NOANSWER",
            Self::Declined => "DECLINED",
            Self::Congestion => "CONGESTION",
            Self::Unallocated => "UNALLOCATED",
            Self::Failed => "FAILED",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Longest text from outside that is passed on in a line. [characters]
const LINE_MAX: usize = 500;

/// Text from outside, fit for a log line or a channel variable: no control characters, not endless.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(LINE_MAX).collect()
}

/// How a conversation ended, as the dialplan learns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `AISTATUS`.
    pub status: Status,
    /// `AIREASON`: a sentence for a person. Contains no secret.
    pub reason: String,
    /// `AITRANSFER`: `exten` or `exten@context`.
    pub transfer: Option<String>,
    /// `AIDIGIT`.
    pub digit: Option<char>,
    /// The channel is to be hung up, in the place of the dialplan's going on.
    pub hang_up: bool,
}

impl Outcome {
    /// An end of kind `status`, explained by `reason`.
    pub fn new(status: Status, reason: impl AsRef<str>) -> Self {
        Self { status, reason: one_line(reason.as_ref()), transfer: None, digit: None, hang_up: false }
    }

    /// The caller pressed the end digit `digit`.
    pub fn digit(digit: char) -> Self {
        Self { digit: Some(digit), ..Self::new(Status::Dtmf, format!("the caller pressed {digit}")) }
    }

    /// Somebody hung up from outside.
    pub(crate) fn hung_up_from_outside() -> Self {
        Self { hang_up: true, ..Self::new(Status::Stopped, "the call was hung up from outside") }
    }

    /// Somebody sent the caller to `target`, `exten@context`, from outside.
    pub(crate) fn transferred_from_outside(target: String) -> Self {
        let reason = format!("the caller was transferred to {target} from outside");
        Self { transfer: Some(target), ..Self::new(Status::Transfer, reason) }
    }

    /// The agent sent the caller to `target`, `exten[@context]`.
    pub fn transfer(target: String) -> Self {
        let reason = format!("the agent transferred the caller to {target}");
        Self { transfer: Some(target), ..Self::new(Status::Transfer, reason) }
    }
}
