//! What the sidecar needs of the telephone exchange, apart from the audio of a call.
//!
//! The exchange's side implements [`Exchange`]; tools, and whoever controls calls from outside, use it. Sessions are
//! named by their id: what the exchange keeps of one is its own affair.

use std::fmt;

/// The telephone exchange. Its methods may wait for a lock or a database: they are called on threads that may, and never on
/// a call's task.
pub trait Exchange: Send + Sync + fmt::Debug {
    /// True once the exchange has been told to end: it takes no more calls, and those that are up go on.
    fn is_shutting_down(&self) -> bool;

    /// Sets the channel variable `name` of `session` to `value`, which is taken as it is.
    ///
    /// # Errors
    /// Why not.
    fn set_variable(&self, session: &str, name: &str, value: &str) -> Result<(), Problem>;

    /// Who calls in `session`; `None`: the call is over.
    fn caller(&self, session: &str) -> Option<Caller>;

    /// Hangs up the channel of `session`: whoever it is bridged with goes on as the dialplan says. For a session that an
    /// assistant listens to; others end by themselves.
    ///
    /// # Errors
    /// Why not.
    fn hang_up(&self, session: &str) -> Result<(), Problem>;

    /// A run of the routine at `place` in the dialplan, on behalf of `session`: it sees a copy of the call's variables, and
    /// besides them `variables`, with `arguments` as `ARG1` and so on. All values are taken as they are.
    ///
    /// # Errors
    /// Why it cannot run.
    fn routine(
        &self,
        session: &str,
        place: &str,
        arguments: &[String],
        variables: &[(&str, String)],
    ) -> Result<Box<dyn Routine>, Problem>;
}

/// A routine of the dialplan that is about to run.
pub trait Routine: Send + Sync {
    /// Runs it, for as long as it takes, and answers with what it returned.
    ///
    /// # Errors
    /// Why there is nothing returned.
    fn run(&self) -> Result<String, Problem>;

    /// Ends it early, from another thread: `run` comes back once the application it is in notices. Waits for nothing but the
    /// lock of the routine's own channel.
    fn stop(&self);
}

/// Who calls, as the exchange was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Number; empty: not told.
    pub number: String,
    /// Name; empty: not told.
    pub name: String,
}

/// Why the exchange did not do what it was asked to: a sentence for a person, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

/// An exchange that does nothing, for tests.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Nowhere;

#[cfg(test)]
impl Exchange for Nowhere {
    fn is_shutting_down(&self) -> bool {
        false
    }

    fn set_variable(&self, _: &str, _: &str, _: &str) -> Result<(), Problem> {
        Err(Problem("there is no exchange".to_owned()))
    }

    fn caller(&self, _: &str) -> Option<Caller> {
        None
    }

    fn hang_up(&self, _: &str) -> Result<(), Problem> {
        Err(Problem("there is no exchange".to_owned()))
    }

    fn routine(&self, _: &str, _: &str, _: &[String], _: &[(&str, String)]) -> Result<Box<dyn Routine>, Problem> {
        Err(Problem("there is no exchange".to_owned()))
    }
}
