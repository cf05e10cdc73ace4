//! The clocks of a call: its deadlines, and the moments its figures are made of.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Profile;

/// Keys pressed within this of each other go to the agent together.
const DIGIT_PAUSE: Duration = Duration::from_millis(1000);
/// The agent's last sentence may take this long before the call ends regardless.
pub(super) const ENDING_MAX: Duration = Duration::from_secs(30);

/// A turn whose end nobody tells is over when no audio has come for this long,
const TURN_GAP: Duration = Duration::from_millis(200);
/// and no more than this of it is left to be heard: enough that what the resampler holds follows without a seam. [ms]
const TURN_TAIL_MS: u64 = 60;
/// Shortest time between two looks at where playout has got to.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// What the agent's voice on the line makes known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audible {
    /// Time from connect to the call's first agent audio.
    pub(super) first_audio: Option<Duration>,
    /// Time from the turn's first audio received.
    pub(super) turn_start: Option<Duration>,
    /// Time from the caller's last word to the agent's first.
    pub(super) response: Option<Duration>,
}

/// Deadlines and moments of one call. Knows no clock: every method is told the time.
pub(super) struct Timing {
    started: Instant,
    idle_after: Option<Duration>,
    ready_at: Option<Instant>,
    was_ready: bool,
    retry_at: Option<Instant>,
    unsent_ms: u64,
    heard_agent: bool,
    agent_audible: bool,
    caller_speaking: bool,
    on_hold: bool,
    /// A tool runs for the caller, who waits for it.
    acting: bool,
    last_word: Instant,
    /// How long the caller's stream was when it was last given to the AI, and when that was.
    stream: (u64, Instant),
    speech_end: Option<Instant>,
    turn_received: Option<Instant>,
    barge_in: Option<Instant>,
    digits_at: Option<Instant>,
    ending_at: Option<Instant>,
    turn_end_at: Option<Instant>,
    mark_at: Option<Instant>,
}

impl Timing {
    pub(super) fn new(profile: &Profile, started: Instant) -> Self {
        Self {
            started,
            idle_after: Some(profile.idle_timeout).filter(|limit| !limit.is_zero()),
            ready_at: None,
            was_ready: false,
            retry_at: None,
            unsent_ms: 0,
            heard_agent: false,
            agent_audible: false,
            caller_speaking: false,
            on_hold: false,
            acting: false,
            last_word: started,
            stream: (0, started),
            speech_end: None,
            turn_received: None,
            barge_in: None,
            digits_at: None,
            ending_at: None,
            turn_end_at: None,
            mark_at: None,
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        // Digits pressed before the AI is ready wait for that, however long ago their pause was over.
        let digits_at = self.digits_at.filter(|_| self.ready_at.is_some());
        let all = [self.idle_at(), digits_at, self.ending_at, self.turn_end_at, self.mark_at, self.retry_at];
        all.into_iter().flatten().min()
    }

    /// The AI is ready; answers how long that took, if it is so for the first time.
    pub(super) fn ready(&mut self, now: Instant) -> Option<Duration> {
        self.ready_at = Some(now);
        self.last_word = now;
        self.stream = (0, now);
        let first = !std::mem::replace(&mut self.was_ready, true);
        first.then(|| now - self.started)
    }

    /// There is no AI any more, or none yet. Another session is to be opened at `retry_at`, if that is not being done.
    pub(super) fn away(&mut self, retry_at: Option<Instant>) {
        self.ready_at = None;
        self.caller_speaking = false;
        self.turn_end_at = None;
        self.retry_at = retry_at;
    }

    /// A session that is over has not sent `unsent_ms` of the caller's audio.
    pub(super) fn unsent(&mut self, unsent_ms: u64) {
        self.unsent_ms += unsent_ms;
    }

    /// True once when another session is to be opened.
    pub(super) fn retry_due(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|due| now >= *due).is_some()
    }

    /// Caller audio that sessions before this one have not sent. [ms]
    pub(super) fn unsent_before(&self) -> u64 {
        self.unsent_ms
    }

    /// True if nobody has said a word since `since`, and nobody is about to.
    pub(super) fn quiet_since(&self, since: Instant) -> bool {
        !self.agent_audible && !self.caller_speaking && self.last_word <= since
    }

    /// The AI has been given `total_ms` of the caller's stream by `now`, which is all there was.
    pub(super) fn caller_stream(&mut self, total_ms: u64, now: Instant) {
        self.stream = (total_ms, now);
    }

    pub(super) fn word(&mut self, now: Instant) {
        self.last_word = now;
    }

    /// The phone has put the call on hold, or taken it back: nobody is idle meanwhile.
    pub(super) fn on_hold(&mut self, on_hold: bool, at: Instant) {
        self.on_hold = on_hold;
        self.word(at);
    }

    /// A tool runs, or none does any more: nobody is idle meanwhile.
    pub(super) fn acting(&mut self, acting: bool, now: Instant) {
        if self.acting != acting {
            self.acting = acting;
            self.word(now);
        }
    }

    pub(super) fn speech_started(&mut self, now: Instant, interrupts: bool) {
        self.caller_speaking = true;
        self.speech_end = None;
        self.turn_received = None;
        self.word(now);
        if interrupts && self.agent_audible {
            self.barge_in = Some(now);
        }
    }

    /// Playback is held since `at`: if the agent's voice is on the line, how long it takes to fall silent counts from there.
    pub(super) fn held(&mut self, at: Instant) {
        self.barge_in = Some(at).filter(|_| self.agent_audible);
    }

    /// The provider silences the agent: if its voice is on the line, how long that takes counts from the first notice.
    pub(super) fn flushed(&mut self, now: Instant) {
        if self.agent_audible {
            self.barge_in.get_or_insert(now);
        }
        self.turn_end_at = None;
    }

    /// Audio came of a turn whose end nobody will tell; `waiting_ms` are now to be heard.
    pub(super) fn agent_audio(&mut self, now: Instant, waiting_ms: u64) {
        self.turn_end_at = Some(now + TURN_GAP.max(Duration::from_millis(waiting_ms.saturating_sub(TURN_TAIL_MS))));
    }

    /// True once when that turn is over. Looks again later while more than its tail is left.
    pub(super) fn turn_over(&mut self, now: Instant, waiting_ms: u64) -> bool {
        if self.turn_end_at.take_if(|due| now >= *due).is_none() {
            return false;
        }
        let left = waiting_ms.saturating_sub(TURN_TAIL_MS);
        if left > 0 {
            self.turn_end_at = Some(now + LOOK_PAUSE.max(Duration::from_millis(left)));
        }
        left == 0
    }

    /// The next mark is reached in `in_ms` at the earliest; `None`: there is none.
    pub(super) fn mark(&mut self, now: Instant, in_ms: Option<u64>) {
        self.mark_at = in_ms.map(|ms| now + LOOK_PAUSE.max(Duration::from_millis(ms)));
    }

    pub(super) fn speech_stopped(&mut self, now: Instant, at_ms: Option<u64>) {
        self.caller_speaking = false;
        self.word(now);
        // Counted back from the latest audio: what came earlier may have been late, or stood in for by silence.
        let (total_ms, given_at) = self.stream;
        let spoken_at = |ms| given_at.checked_sub(Duration::from_millis(total_ms.saturating_sub(ms)));
        self.speech_end = Some(at_ms.and_then(spoken_at).unwrap_or(now));
    }

    /// Agent audio came while there was nothing to be heard.
    pub(super) fn turn_received(&mut self, now: Instant) {
        if !self.agent_audible {
            self.turn_received.get_or_insert(now);
        }
    }

    /// The agent's voice is on the line since `at`.
    pub(super) fn audible(&mut self, at: Instant) -> Audible {
        self.agent_audible = true;
        self.word(at);
        let first = !std::mem::replace(&mut self.heard_agent, true);
        Audible {
            first_audio: self.ready_at.filter(|_| first).map(|ready| at.saturating_duration_since(ready)),
            turn_start: self.turn_received.take().map(|received| at.saturating_duration_since(received)),
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
        let quiet = quiet && !self.on_hold && !self.acting;
        self.idle_after.filter(|_| quiet).map(|limit| self.last_word + limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{RawEntry, RawSection, Settings};

    fn timing(idle_s: u64) -> (Timing, Instant) {
        let entry = |key: &str, value: String| RawEntry { file: String::new(), line: 0, key: key.to_owned(), value };
        let entries = vec![entry("url", "ws://127.0.0.1".into()), entry("idle_timeout_s", idle_s.to_string())];
        let section = RawSection { name: "p".to_owned(), entries };
        let settings = Settings::parse(&[section], std::path::Path::new("/")).expect("valid");
        let start = Instant::now();
        (Timing::new(&settings.profiles["p"], start), start)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_response_is_timed_from_the_callers_last_word_even_after_audio_was_late() {
        let (mut timing, start) = timing(0);
        timing.ready(start);
        // 300 ms more audio than time: some had been stood in for by silence and came after all.
        timing.caller_stream(5300, start + ms(5000));
        timing.speech_stopped(start + ms(5010), Some(4800));
        assert_eq!(timing.audible(start + ms(5100)).response, Some(ms(600)));
        assert_eq!(timing.audible(start + ms(6000)).response, None);
    }

    #[test]
    fn only_the_first_audio_is_the_first() {
        let (mut timing, start) = timing(0);
        timing.ready(start + ms(50));
        assert_eq!(timing.audible(start + ms(80)).first_audio, Some(ms(30)));
        assert_eq!(timing.audible(start + ms(500)).first_audio, None);
    }

    #[test]
    fn a_barge_in_is_timed_only_when_there_was_a_voice_to_silence() {
        let (mut timing, start) = timing(0);
        timing.speech_started(start, true);
        assert_eq!(timing.silent(start + ms(20)), None);
        timing.audible(start + ms(40));
        timing.speech_started(start + ms(100), true);
        assert_eq!(timing.silent(start + ms(115)), Some(ms(15)));
    }

    #[test]
    fn nobody_is_idle_while_somebody_speaks() {
        let (mut timing, start) = timing(2);
        timing.ready(start);
        assert!(!timing.idle_due(start + ms(1999)) && timing.idle_due(start + ms(2000)));
        timing.speech_started(start + ms(1000), false);
        assert!(!timing.idle_due(start + ms(9000)));
        timing.speech_stopped(start + ms(9000), None);
        timing.audible(start + ms(9500));
        assert!(!timing.idle_due(start + ms(20_000)));
        timing.silent(start + ms(20_000));
        assert!(!timing.idle_due(start + ms(21_999)) && timing.idle_due(start + ms(22_000)));
        timing.on_hold(true, start + ms(21_000));
        assert!(!timing.idle_due(start + ms(90_000)));
        timing.on_hold(false, start + ms(90_000));
        assert!(!timing.idle_due(start + ms(91_999)) && timing.idle_due(start + ms(92_000)));
        timing.acting(true, start + ms(91_000));
        assert!(!timing.idle_due(start + ms(120_000)));
        timing.acting(false, start + ms(120_000));
        assert!(!timing.idle_due(start + ms(121_999)) && timing.idle_due(start + ms(122_000)));
    }

    #[test]
    fn a_turn_ends_by_itself_when_nothing_came_and_its_tail_is_left() {
        let (mut timing, start) = timing(0);
        timing.agent_audio(start, 1000);
        timing.agent_audio(start + ms(10), 1500);
        assert!(!timing.turn_over(start + ms(1449), 61));
        // Playback was held meanwhile.
        assert!(!timing.turn_over(start + ms(1450), 300));
        assert!(!timing.turn_over(start + ms(1689), 60) && timing.turn_over(start + ms(1690), 60));
        assert!(!timing.turn_over(start + ms(9000), 0), "once");
        // Sent no faster than it is heard: little waits, but more may come.
        timing.agent_audio(start, 20);
        assert!(!timing.turn_over(start + ms(199), 0) && timing.turn_over(start + ms(200), 0));
    }

    #[test]
    fn who_is_away_is_tried_again_once_and_nobody_is_idle_meanwhile() {
        let (mut timing, start) = timing(2);
        assert_eq!(timing.ready(start + ms(70)), Some(ms(70)));
        timing.speech_started(start + ms(500), false);
        assert!(!timing.quiet_since(start + ms(1000)));
        timing.away(Some(start + ms(1100)));
        timing.unsent(40);
        assert_eq!((timing.next(), timing.unsent_before()), (Some(start + ms(1100)), 40));
        assert!(!timing.retry_due(start + ms(1099)) && timing.retry_due(start + ms(1100)));
        assert!(!timing.retry_due(start + ms(9000)) && !timing.idle_due(start + ms(9000)));
        assert!(timing.quiet_since(start + ms(500)) && !timing.quiet_since(start + ms(499)));
        assert_eq!(timing.ready(start + ms(9000)), None, "not for the first time");
        assert!(timing.idle_due(start + ms(11_000)));
    }

    #[test]
    fn a_mark_is_looked_at_when_it_can_be_reached_and_never_in_a_hurry() {
        let (mut timing, start) = timing(0);
        timing.ready(start);
        timing.mark(start, Some(300));
        assert_eq!(timing.next(), Some(start + ms(300)));
        timing.mark(start + ms(300), Some(2));
        assert_eq!(timing.next(), Some(start + ms(310)));
        timing.mark(start, None);
        assert_eq!(timing.next(), None);
    }

    #[test]
    fn digits_pressed_early_wake_nobody_before_the_ai_is_ready() {
        let (mut timing, start) = timing(0);
        let after = |after| start + ms(after);
        timing.digit(after(100));
        assert_eq!(timing.next(), None);
        assert!(!timing.digits_due(after(3000)));
        timing.ready(after(3000));
        assert!(timing.next().is_some_and(|next| next <= after(3000)));
        assert!(timing.digits_due(after(3000)));
        assert_eq!(timing.next(), None);
    }
}
