//! The headers of an AMI message.

use std::fmt::{self, Display, Write as _};

use ai_sidecar::events::Origin;

/// Headers, one a line. What is said in a call may be anything, so no value can end its line and begin another.
#[derive(Default)]
pub(super) struct Headers(String);

impl Headers {
    /// The headers that name a session.
    pub(super) fn session(id: &str, profile: &str, origin: &Origin) -> Self {
        Self::default()
            .add("Session", id)
            .add("Channel", &origin.channel)
            .add("Uniqueid", &origin.uniqueid)
            .add("CallerIDNum", origin.caller.as_deref().unwrap_or("<unknown>"))
            .add_some("CalledNum", origin.callee.as_ref())
            .add("Profile", profile)
    }

    /// One more header.
    pub(super) fn add(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string().replace(char::is_control, " ");
        let written = write!(self.0, "{name}: {value}\r\n");
        debug_assert!(written.is_ok(), "a String takes everything");
        self
    }

    /// One more header, if there is a value for it.
    pub(super) fn add_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.add(name, value),
            None => self,
        }
    }
}

impl Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
