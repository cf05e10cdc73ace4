//! Control of a running call from outside: what CLI, AMI and HTTP do, they do through these functions.
//!
//! ```text
//!  any thread                                       threads of the call
//!  Sidecar::say, context ── Order, bounded ───────► task ─► dialect      answered when the dialect has taken it
//!  Sidecar::hold, resume, stop ── one flag each ──► channel thread       at once, whatever the AI does
//!  Sidecar::hang_up, transfer ── the same ────────► channel thread
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::events::CallState;
use crate::link::Shared;
use crate::session::Listed;
use crate::settings::Settings;
use crate::{Outcome, Sidecar, tools};

/// Longest text for [`Sidecar::say`] and [`Sidecar::context`]. [bytes]
pub const TEXT_MAX: usize = 4096;
/// Longest an order waits for its call's task; one that has not been taken by then never is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Orders that may wait for a call's task.
const ORDERS: usize = 16;

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No session has this id, and none runs on a channel of this name.
    #[error("there is no such session")]
    NoSession,
    /// There is nothing to say.
    #[error("the text is empty")]
    Empty,
    /// The text is longer than [`TEXT_MAX`].
    #[error("the text has {bytes} bytes, and at most {TEXT_MAX} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// These are no keys, or too many; why, for a person.
    #[error("{0}")]
    Keys(String),
    /// The AI is not ready yet, or not again. A later try may help.
    #[error("the AI is not connected at this moment")]
    NotConnected,
    /// There is no way to do that in the dialect of this session.
    #[error("this provider cannot be told")]
    Unsupported,
    /// Too many orders wait already. A later try may help.
    #[error("{ORDERS} orders wait already")]
    Busy,
    /// The call's task is late. The order is forgotten; a later try may help.
    #[error("the session did not take the order within {} s", PATIENCE.as_secs())]
    NoAnswer,
    /// Two people talk in this session, and an assistant listens.
    #[error("no agent talks in this session: an assistant listens to it")]
    NoAgent,
    /// The exchange did not do it; why, for a person.
    #[error("{0}")]
    Exchange(String),
    /// The profile does not allow a transfer to there.
    #[error("{0}")]
    NotAllowed(String),
}

/// Every function that takes a `session` finds it by its id (`AISESSION`) or by the name its channel had when it began.
impl Sidecar {
    /// Has the agent say `text`, word for word, as soon as it can.
    ///
    /// Waits for the call's task, a second at most: neither for a channel thread nor for one of the sidecar's.
    ///
    /// # Errors
    /// Any of [`ControlError`].
    pub fn say(&self, session: &str, text: &str) -> Result<(), ControlError> {
        order(&*self.agent(session)?, Instruction::Say(checked(text)?))
    }

    /// Lets the agent know `text`; with `answer` it speaks about it now. Waits as [`Sidecar::say`].
    ///
    /// # Errors
    /// Any of [`ControlError`].
    pub fn context(&self, session: &str, text: &str, answer: bool) -> Result<(), ControlError> {
        order(&*self.agent(session)?, Instruction::Context { text: checked(text)?, answer })
    }

    /// Holds the agent: it neither hears nor is heard until [`Sidecar::resume`]. What it had to say waits. Nothing new if
    /// it is held already.
    ///
    /// # Errors
    /// [`ControlError::NoSession`], [`ControlError::NoAgent`].
    pub fn hold(&self, session: &str) -> Result<(), ControlError> {
        self.agent(session).map(|shared| shared.hold(true))
    }

    /// Ends what [`Sidecar::hold`] began: the agent goes on where it stopped. A hold of the phone itself goes on.
    ///
    /// # Errors
    /// [`ControlError::NoSession`], [`ControlError::NoAgent`].
    pub fn resume(&self, session: &str) -> Result<(), ControlError> {
        self.agent(session).map(|shared| shared.hold(false))
    }

    /// Presses `digits` for the phone, one after the other: `0`-`9`, `*`, `#`, `A`-`D`, and `w` for half a second's pause.
    ///
    /// # Errors
    /// [`ControlError::NoSession`], [`ControlError::NoAgent`] or [`ControlError::Keys`].
    pub fn send_digits(&self, session: &str, digits: &str) -> Result<(), ControlError> {
        let shared = self.agent(session)?;
        let sent = tools::keys(digits).and_then(|digits| shared.send_digits(&digits));
        sent.map(drop).map_err(ControlError::Keys)
    }

    /// Ends the session; its dialplan goes on with `AISTATUS=STOPPED`.
    ///
    /// # Errors
    /// [`ControlError::NoSession`].
    pub fn stop(&self, session: &str) -> Result<(), ControlError> {
        self.find(session).map(|listed| listed.session().stop())
    }

    /// As [`Sidecar::stop`], and the channel is hung up: its dialplan does not go on, and where an assistant listens the
    /// call ends. An outbound call ends in whatever state it is. Waits for a lock of the exchange then: not on a sidecar
    /// thread.
    ///
    /// # Errors
    /// [`ControlError::NoSession`], [`ControlError::Exchange`].
    pub fn hang_up(&self, session: &str) -> Result<(), ControlError> {
        if self.outbound().hang_up(session) {
            return Ok(());
        }
        let listed = self.find(session)?;
        if let Listed::Assist(session) = &listed {
            self.exchange().hang_up(&session.info.id).map_err(|problem| ControlError::Exchange(problem.0))?;
        }
        listed.session().end_with(Outcome::hung_up_from_outside());
        Ok(())
    }

    /// Ends the session with `AISTATUS=TRANSFER` and the target in `AITRANSFER`; the dialplan does the rest. The target
    /// is `extension` in `context`, one of those that the session's profile in `settings` allows, or in the first of them.
    ///
    /// # Errors
    /// [`ControlError::NoSession`], [`ControlError::NoAgent`], [`ControlError::NotAllowed`].
    pub fn transfer(
        &self,
        session: &str,
        settings: &Settings,
        extension: &str,
        context: Option<&str>,
    ) -> Result<(), ControlError> {
        let shared = self.agent(session)?;
        let contexts =
            settings.profile(Some(&shared.info.profile)).map_or(&[][..], |profile| &profile.transfer_contexts);
        let target = tools::target(contexts, extension, context).map_err(ControlError::NotAllowed)?;
        shared.end_with(Outcome::transferred_from_outside(target));
        Ok(())
    }

    fn find(&self, session: &str) -> Result<Listed, ControlError> {
        self.find_session(session).ok_or(ControlError::NoSession)
    }

    fn agent(&self, session: &str) -> Result<Arc<Shared>, ControlError> {
        match self.find(session)? {
            Listed::Agent(shared) => Ok(shared),
            Listed::Assist(_) => Err(ControlError::NoAgent),
        }
    }
}

fn checked(text: &str) -> Result<String, ControlError> {
    match text.trim() {
        "" => Err(ControlError::Empty),
        text if text.len() > TEXT_MAX => Err(ControlError::TooLong { bytes: text.len() }),
        text => Ok(text.to_owned()),
    }
}

fn order(shared: &Shared, instruction: Instruction) -> Result<(), ControlError> {
    let (answer, answered) = bounded(1);
    let until = Instant::now() + PATIENCE;
    shared.order(Order { instruction, until, answer }).map_err(|full| match full {
        TrySendError::Full(_) => ControlError::Busy,
        TrySendError::Disconnected(_) => ControlError::NoSession,
    })?;
    answered.recv_deadline(until).unwrap_or_else(|problem| match problem {
        RecvTimeoutError::Timeout => Err(ControlError::NoAnswer),
        // The call ended with the order unread.
        RecvTimeoutError::Disconnected => Err(ControlError::NoSession),
    })
}

/// What the call's task is to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Instruction {
    Say(String),
    Context { text: String, answer: bool },
}

/// An instruction from outside, and where its answer goes.
pub(crate) struct Order {
    pub(crate) instruction: Instruction,
    until: Instant,
    answer: Sender<Result<(), ControlError>>,
}

impl Order {
    /// Carries it out, unless nobody waits for it any more.
    pub(crate) fn carry_out(self, now: Instant, act: impl FnOnce(Instruction) -> Result<(), ControlError>) {
        if now < self.until {
            // Gone if it took until then.
            let _ = self.answer.try_send(act(self.instruction));
        }
    }
}

/// A way for orders to a call's task.
pub(crate) fn orders() -> (Sender<Order>, Receiver<Order>) {
    bounded(ORDERS)
}

/// Who wants the agent to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hold {
    /// The phone: its user listens to something else.
    pub phone: bool,
    /// Somebody from outside.
    pub operator: bool,
}

impl Hold {
    /// True if anybody does.
    pub fn any(self) -> bool {
        self.phone || self.operator
    }
}

/// What a session is doing, as its threads know it.
#[derive(Debug, Default)]
pub struct Condition {
    ai: AtomicU8,
    phone_holds: AtomicBool,
    held: AtomicBool,
}

/// How a session stands with its AI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AiState {
    /// It has not been ready yet.
    Connecting,
    /// It is not wanted yet: nobody talks.
    Ringing,
    /// It is ready.
    Ready,
    /// It was, and is being made ready again.
    Lost,
}

impl Condition {
    /// The state it amounts to.
    pub fn state(&self) -> CallState {
        let ai = self.ai.load(Ordering::Relaxed);
        match () {
            () if ai == AiState::Connecting as u8 => CallState::Connecting,
            () if ai == AiState::Ringing as u8 => CallState::Ringing,
            () if ai == AiState::Lost as u8 => CallState::Reconnecting,
            () if self.is_held() => CallState::Held,
            () if self.phone_holds.load(Ordering::Relaxed) => CallState::OnHold,
            () => CallState::Talking,
        }
    }

    pub(crate) fn set_ai(&self, state: AiState) {
        self.ai.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn set_phone_holds(&self, holds: bool) {
        self.phone_holds.store(holds, Ordering::Relaxed);
    }

    pub(crate) fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_text_is_something_and_not_endless() {
        assert_eq!(checked(" \t\n"), Err(ControlError::Empty));
        assert_eq!(checked("  one moment, please "), Ok("one moment, please".to_owned()));
        assert_eq!(checked(&"x".repeat(TEXT_MAX)).map(|text| text.len()), Ok(TEXT_MAX));
        let long = "ä".repeat(TEXT_MAX);
        assert_eq!(checked(&long), Err(ControlError::TooLong { bytes: 2 * TEXT_MAX }));
        assert_eq!(
            checked(&long).expect_err("too long").to_string(),
            "the text has 8192 bytes, and at most 4096 are allowed"
        );
    }

    #[test]
    fn an_order_that_nobody_waits_for_any_more_is_not_carried_out() {
        let order = |until| {
            let (answer, answered) = bounded(1);
            (Order { instruction: Instruction::Say("x".to_owned()), until, answer }, answered)
        };
        let now = Instant::now();
        let (late, _answered) = order(now);
        late.carry_out(now, |_| panic!("too late"));
        let (in_time, answered) = order(now + PATIENCE);
        in_time.carry_out(now, |instruction| {
            assert_eq!(instruction, Instruction::Say("x".to_owned()));
            Err(ControlError::Unsupported)
        });
        assert_eq!(answered.try_recv(), Ok(Err(ControlError::Unsupported)));
    }

    #[test]
    fn orders_that_nobody_takes_are_few_and_given_up_on() {
        let shared = Shared::for_tests();
        let say = || order(&shared.0, Instruction::Say("x".to_owned()));
        let started = Instant::now();
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..ORDERS).map(|_| scope.spawn(say)).collect();
            while shared.1.waiting_orders() < ORDERS {
                thread::yield_now();
            }
            assert_eq!(say(), Err(ControlError::Busy));
            for waiting in waiting {
                assert_eq!(waiting.join().expect("no panic"), Err(ControlError::NoAnswer));
            }
        });
        let took = started.elapsed();
        assert!((PATIENCE..2 * PATIENCE).contains(&took), "{took:?}");
    }
}
