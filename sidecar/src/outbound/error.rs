//! Why a call was not dialled.

use std::time::Duration;

use super::request::{CALLER_ID, NUMBER, PROFILE, TIMEOUT, TRUNK, VARIABLES};

/// Why a call was not dialled. Unless it says otherwise, the same request would fail again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// It is no number.
    #[error("phone_number: {0}")]
    NotANumber(super::number::NotANumber),
    /// No trunk takes that number.
    #[error("phone_number: {trunks} takes only {patterns}", trunks = .trunks.join(", "), patterns = .patterns.join(", "))]
    NumberNotAllowed {
        /// The trunks that were asked.
        trunks: Vec<String>,
        /// The patterns of their numbers.
        patterns: Vec<String>,
    },
    /// There is no profile of that name, or none was named and there is no default.
    #[error("profile: {}", if .0.is_empty() { "none was named, and there is no default_profile".to_owned() } else { format!("there is no profile '{}'", .0) })]
    UnknownProfile(String),
    /// There is no trunk of that name.
    #[error("trunk: there is no trunk '{0}'")]
    UnknownTrunk(String),
    /// The configuration has no trunk at all.
    #[error("there is no section with type = trunk in ai_bridge.conf: no call can be made")]
    NoTrunk,
    /// It is no number to call from.
    #[error("caller_id: {0}")]
    BadCallerId(super::number::NotANumber),
    /// No trunk in question may be called from with that number.
    #[error("caller_id: allowed are {}", .0.join(", "))]
    CallerIdNotAllowed(Vec<String>),
    /// A variable is not what one can be.
    #[error("variables: {0}")]
    BadVariable(String),
    /// The time to wait for an answer is out of bounds.
    #[error("timeout_s: expected 1 to {} s", .0.as_secs())]
    BadTimeout(Duration),
    /// The exchange cannot tell people from machines.
    #[error("detect_machine: Asterisk has no AMD(); load app_amd.so")]
    NoDetection,
    /// Too many calls, or too soon. The same request may succeed after that time.
    #[error("{limited}")]
    TooMany {
        /// Which limit it is.
        limited: Limited,
        /// How long to wait.
        retry_after: Duration,
    },
    /// The module is being unloaded, or the exchange shut down.
    #[error("no more calls are made: the module is going down")]
    Draining,
    /// The system could not do it.
    #[error("the call could not be dialled: {0}")]
    Failed(String),
}

/// A limit of the configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Limited {
    /// `max_calls` of a trunk.
    #[error("trunk {name} has {most} calls, and its max_calls allows no more")]
    Trunk {
        /// The trunk.
        name: String,
        /// Its limit.
        most: usize,
    },
    /// `max_calls` of a profile.
    #[error("profile {name} has {most} calls, and its max_calls allows no more")]
    Profile {
        /// The profile.
        name: String,
        /// Its limit.
        most: usize,
    },
    /// `calls_per_second` of a trunk.
    #[error("trunk {name} takes {per_second} calls a second")]
    Pace {
        /// The trunk.
        name: String,
        /// Its limit.
        per_second: f64,
    },
}

impl DialError {
    /// The HTTP status (RFC 9110, RFC 6585) that says the same.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::TooMany { .. } => 429,
            Self::Draining | Self::NoTrunk | Self::Failed(_) => 503,
            _ => 422,
        }
    }

    /// The field of the request that is wrong.
    pub fn field(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotANumber(_) | Self::NumberNotAllowed { .. } => NUMBER,
            Self::UnknownProfile(_) => PROFILE,
            Self::UnknownTrunk(_) => TRUNK,
            Self::BadCallerId(_) | Self::CallerIdNotAllowed(_) => CALLER_ID,
            Self::BadVariable(_) => VARIABLES,
            Self::BadTimeout(_) => TIMEOUT,
            Self::NoDetection => "detect_machine",
            _ => return None,
        })
    }

    /// When the same request may succeed.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::TooMany { retry_after, .. } = self { Some(*retry_after) } else { None }
    }
}
