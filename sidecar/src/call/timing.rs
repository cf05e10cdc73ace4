//! The clocks of a call: its deadlines, and the moments its figures are made of.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Profile;

/// Keys pressed within this of each other go to the agent together.
const DIGIT_PAUSE: Duration = Duration::from_millis(1000);
/// The agent's last sentence may take this long before the call ends regardless.
pub(super) const ENDING_MAX: Duration = Duration::from_secs(30);

/// What the agent's voice on the line makes known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audible {
    /// Time from connect to the call's first agent audio.
    pub(super) first_audio: Option<Duration>,
    /// Time from the caller's last word to the agent's first.
    pub(super) response: Option<Duration>,
}

/// Deadlines and moments of one call. Knows no clock: every method is told the time.
pub(super) struct Timing {
    started: Instant,
    ready_by: Instant,
    idle_after: Option<Duration>,
    ready_at: Option<Instant>,
    heard_agent: bool,
    agent_audible: bool,
    caller_speaking: bool,
    last_word: Instant,
    /// When the first byte of the caller's stream was spoken.
    stream_start: Option<Instant>,
    speech_end: Option<Instant>,
    barge_in: Option<Instant>,
    digits_at: Option<Instant>,
    ending_at: Option<Instant>,
}

impl Timing {
    pub(super) fn new(profile: &Profile, started: Instant) -> Self {
        Self {
            started,
            ready_by: started + profile.connect_timeout,
            idle_after: Some(profile.idle_timeout).filter(|limit| !limit.is_zero()),
            ready_at: None,
            heard_agent: false,
            agent_audible: false,
            caller_speaking: false,
            last_word: started,
            stream_start: None,
            speech_end: None,
            barge_in: None,
            digits_at: None,
            ending_at: None,
        }
    }

    /// The earliest deadline, `other` included.
    pub(super) fn next(&self, other: Instant) -> Instant {
        let ready_by = Some(self.ready_by).filter(|_| self.ready_at.is_none());
        [ready_by, self.idle_at(), self.digits_at, self.ending_at].into_iter().flatten().fold(other, Instant::min)
    }

    pub(super) fn ready_by(&self) -> Instant {
        self.ready_by
    }

    /// The AI is ready; answers how long that took.
    pub(super) fn ready(&mut self, now: Instant) -> Duration {
        self.ready_at = Some(now);
        self.last_word = now;
        now - self.started
    }

    /// `waiting_ms` of caller audio wait at `now`; the first such moment places the caller's stream in time.
    pub(super) fn caller_stream(&mut self, now: Instant, waiting_ms: u64) {
        if waiting_ms > 0 {
            self.stream_start.get_or_insert_with(|| now - Duration::from_millis(waiting_ms));
        }
    }

    pub(super) fn word(&mut self, now: Instant) {
        self.last_word = now;
    }

    pub(super) fn speech_started(&mut self, now: Instant, interrupts: bool) {
        self.caller_speaking = true;
        self.speech_end = None;
        self.word(now);
        if interrupts && self.agent_audible {
            self.barge_in = Some(now);
        }
    }

    pub(super) fn speech_stopped(&mut self, now: Instant, at_ms: Option<u64>) {
        self.caller_speaking = false;
        self.word(now);
        let spoken_at = |(start, ms)| start + Duration::from_millis(ms);
        let end = self.stream_start.zip(at_ms).map_or(now, spoken_at);
        self.speech_end = Some(end.min(now));
    }

    /// The agent's voice is on the line since `at`.
    pub(super) fn audible(&mut self, at: Instant) -> Audible {
        self.agent_audible = true;
        self.word(at);
        let first = !std::mem::replace(&mut self.heard_agent, true);
        Audible {
            first_audio: self.ready_at.filter(|_| first).map(|ready| at.saturating_duration_since(ready)),
            response: self.speech_end.take().map(|end| at.saturating_duration_since(end)),
        }
    }

    /// The agent's voice is off the line since `at`; after a barge-in, how long that took.
    pub(super) fn silent(&mut self, at: Instant) -> Option<Duration> {
        self.agent_audible = false;
        self.word(at);
        self.barge_in.take().map(|since| at.saturating_duration_since(since))
    }

    pub(super) fn agent_audible(&self) -> bool {
        self.agent_audible
    }

    pub(super) fn digit(&mut self, now: Instant) {
        self.word(now);
        self.digits_at = Some(now + DIGIT_PAUSE);
    }

    /// True once when the keys pressed so far are complete.
    pub(super) fn digits_due(&mut self, now: Instant) -> bool {
        self.ready_at.is_some() && self.digits_at.take_if(|due| now >= *due).is_some()
    }

    pub(super) fn idle_after(&self) -> Duration {
        self.idle_after.unwrap_or_default()
    }

    pub(super) fn idle_due(&self, now: Instant) -> bool {
        self.idle_at().is_some_and(|due| now >= due)
    }

    pub(super) fn ending(&mut self, now: Instant) {
        self.ending_at = Some(now + ENDING_MAX);
    }

    pub(super) fn ending_due(&self, now: Instant) -> bool {
        self.ending_at.is_some_and(|due| now >= due)
    }

    fn idle_at(&self) -> Option<Instant> {
        let quiet = self.ready_at.is_some() && !self.agent_audible && !self.caller_speaking;
        self.idle_after.filter(|_| quiet).map(|limit| self.last_word + limit)
    }
}
