//! What the agent says on the way to the line, and what silences it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ai_dialect::{Heard, Noticed};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Call;
use super::opening::Connection;
use crate::runtime::transcoder;

impl Call {
    /// Converts between the formats the dialect has agreed on with the provider.
    pub(super) fn settle_formats(&mut self) {
        let Some(Connection { dialect, .. }) = &self.connection else { return };
        let (channel, caller, agent) = (self.caller.from(), dialect.caller_format(), dialect.agent_format());
        if caller != self.caller.to() {
            self.caller = transcoder(channel, caller);
        }
        if agent != self.line.from() {
            self.line.convert_with(transcoder(agent, channel));
        }
    }

    /// The agent's turn is complete.
    pub(super) fn end_turn(&mut self) {
        self.line.end_turn();
        self.memory.agent_done();
    }

    pub(super) fn handle_mark(&mut self, name: String) {
        if !self.line.mark(name) && self.may_complain() {
            warn!("AI {}: the AI server sets more marks than can wait; one is forgotten", self.id());
        }
    }

    pub(super) fn handle_agent_audio(&mut self, item: &Arc<str>, audio: &[u8], now: Instant) {
        if self.line.drained() {
            self.timing.turn_received(now);
        }
        self.memory.agent_speaks();
        self.agent_speaks();
        if !self.line.push(item, audio) {
            let limit = self.route.profile().playout_max.as_secs();
            if self.may_complain() {
                warn!(
                    "AI {}: more than {limit} s of agent audio queued; the rest of this answer is dropped",
                    self.id()
                );
            }
        }
        if self.connection.as_ref().is_some_and(|connection| !connection.dialect.tells_turn_end()) {
            self.timing.agent_audio(now, self.line.waiting_ms());
        }
    }

    pub(super) fn handle_flush(&mut self, now: Instant) {
        let audible = self.timing.agent_audible() || !self.line.drained();
        self.timing.flushed(now);
        if audible {
            info!("AI {}: the server silences the agent", self.id());
        }
        self.interrupt(audible, Noticed::ByProvider);
    }

    pub(super) fn handle_speech_started(&mut self, now: Instant) {
        let server_interrupts = self.route.barge_in().by_server();
        let interrupts = server_interrupts && (self.timing.agent_audible() || !self.line.drained());
        self.timing.speech_started(now, interrupts);
        if interrupts {
            info!("AI {}: barge-in, heard by the server", self.id());
        }
        if server_interrupts {
            self.interrupt(interrupts, Noticed::ByProvider);
        }
    }

    /// Silences the agent. `audible` if there was something to silence.
    pub(super) fn interrupt(&mut self, audible: bool, noticed: Noticed) {
        self.end.shared().info.stats.barge_ins.fetch_add(u32::from(audible), Ordering::Relaxed);
        self.noticed = noticed;
        if audible {
            self.tell_barge_in(noticed);
        }
        self.silence_filler();
        self.line.flush();
        self.end.ring();
        // A flush at the place of the one before has nothing to wait for.
        self.settle_flush();
    }

    /// Tells the dialect what had been heard when the line fell silent, once that is certain.
    pub(super) fn settle_flush(&mut self) {
        let Some(heard) = self.line.heard() else { return };
        if let Some(connection) = &mut self.connection {
            connection.dialect.handle_interrupted(&heard, self.noticed);
        }
        let [heard_ms, received_ms] =
            [|item: &Heard| item.heard_ms, |item: &Heard| item.received_ms].map(|ms| heard.iter().map(ms).sum());
        self.memory.interrupted(heard_ms, received_ms);
        self.tell_heard((!heard.is_empty()).then_some((heard_ms, received_ms)));
        if let Some(item) = heard.first() {
            let (heard, received) = (item.heard_ms, item.received_ms);
            info!("AI {}: interrupted after {heard} ms of {received} ms of the answer", self.id());
        }
    }
}
