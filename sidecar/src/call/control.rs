//! What others order this call to do, and what it tells them.

use ai_dialect::Noticed;
use tokio::time::Instant;
use tracing::info;

use super::Call;
use crate::TRANSCRIPT;
use crate::control::{AiState, ControlError, Hold, Instruction};
use crate::events::{CallState, What};
use crate::outcome::one_line;

/// What was last told of this call.
pub(super) struct Told {
    state: CallState,
    /// Who noticed the barge-in that is counted and not yet told.
    barge_in: Option<Noticed>,
}

impl Default for Told {
    fn default() -> Self {
        Self { state: CallState::Connecting, barge_in: None }
    }
}

impl Call {
    /// Carries out what was ordered from outside, and tells in which state the call is.
    pub(super) fn obey(&mut self, now: Instant) {
        self.tell_state();
        while let Some(order) = self.end.next_order() {
            order.carry_out(now.into(), |instruction| self.follow(instruction, now));
        }
    }

    fn follow(&mut self, instruction: Instruction, now: Instant) -> Result<(), ControlError> {
        let connection = self.connection.as_mut().ok_or(ControlError::NotConnected)?;
        let dialect = &mut connection.dialect;
        let (taken, what, text) = match &instruction {
            Instruction::Say(text) => (dialect.handle_say(text), "is to say", text),
            Instruction::Context { text, answer } => (dialect.handle_context(text, *answer), "gets to know", text),
        };
        if !taken {
            return Err(ControlError::Unsupported);
        }
        if let Instruction::Context { text, answer } = &instruction {
            self.memory.told(text, *answer);
        }
        self.timing.word(now);
        info!(target: TRANSCRIPT, "AI {}: from outside, the agent {what}: {}", self.id(), one_line(text));
        Ok(())
    }

    /// The agent waits, or does not any more.
    pub(super) fn handle_hold(&mut self, hold: Hold, at: Instant) {
        self.timing.on_hold(hold.any(), at);
        self.end.shared().info.condition.set_phone_holds(hold.phone);
        let what = match hold {
            Hold { operator: true, .. } => "held from outside: the agent waits",
            Hold { phone: true, .. } => "on hold: the agent waits",
            Hold { .. } => "taken back from hold",
        };
        info!("AI {}: {what}", self.id());
    }

    /// An interruption was noticed. It is told when it is known what had been heard.
    pub(super) fn tell_barge_in(&mut self, noticed: Noticed) {
        self.told.barge_in = Some(noticed);
    }

    /// What had been heard of the answer, and what had been received of it, when it was interrupted. [ms]
    pub(super) fn tell_heard(&mut self, heard: Option<(u64, u64)>) {
        if let Some(noticed) = self.told.barge_in.take() {
            let (heard_ms, received_ms) = heard.unzip();
            self.publish(|| What::BargeIn { noticed_by: noticed.into(), heard_ms, received_ms });
        }
    }

    /// Tells whoever listens; `make` is not called when nobody does.
    pub(super) fn publish(&self, make: impl FnOnce() -> What) {
        self.end.shared().publish(make);
    }

    fn tell_state(&mut self) {
        let info = &self.end.shared().info;
        info.condition.set_ai(match &self.connection {
            Some(_) => AiState::Ready,
            None if info.stats.connect.get().is_some() => AiState::Lost,
            None => AiState::Connecting,
        });
        let state = info.condition.state();
        if std::mem::replace(&mut self.told.state, state) != state {
            self.publish(|| What::CallStatus { state });
        }
    }
}
