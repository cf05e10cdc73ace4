//! What follows the end of a session with the AI that is not the end of the call, and when a session is followed by
//! another before it ends by itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Outcome, Status};

/// Longest pause before the first attempt, so that the calls of a server that restarts do not all come back at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before the second; every further one is twice as long,
const PAUSE: Duration = Duration::from_millis(500);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// A session that has lasted so long was in order: a loss after it is a new one.
const STABLE: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Open another session after this pause.
    Again(Duration),
    /// Open one with the fallback.
    FallBack,
    /// The conversation is over.
    GiveUp(Outcome),
}

/// The attempts to get a lost session back. Knows no clock: every method is told the time.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// A first session that cannot be had counts as a lost one.
    persistent: bool,
    attempts: u32,
    up_since: Option<Instant>,
    lost: Option<(Instant, String)>,
}

impl Recovery {
    /// One that tries again although there has been no session yet: for those who lose nothing by it.
    pub(crate) fn persistent() -> Self {
        Self { persistent: true, ..Self::default() }
    }

    /// A session is up; answers how long there was none.
    pub(crate) fn up(&mut self, now: Instant) -> Option<Duration> {
        self.up_since = Some(now);
        self.lost.take().map(|(since, _)| now - since)
    }

    /// Attempts since the loss, the one that is being made included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// There is no session, because of `outcome`. With `attempts_max` attempts allowed, and a fallback or none; `chance`
    /// from 0 to 1 spreads the pauses.
    pub(crate) fn step(
        &mut self,
        outcome: Outcome,
        now: Instant,
        attempts_max: u32,
        fallback: bool,
        chance: f64,
    ) -> Step {
        let was_up = self.up_since.take();
        if was_up.is_some() || self.persistent {
            self.lost.get_or_insert_with(|| (now, outcome.reason.clone()));
        }
        match outcome.status {
            Status::AuthFail if fallback => return self.fall_back(),
            Status::Lost | Status::ConnFail => {}
            _ => return Step::GiveUp(outcome),
        }
        if was_up.is_some_and(|since| now - since >= STABLE) {
            self.attempts = 0;
        }
        let Some((_, first)) = &self.lost else {
            return if fallback { self.fall_back() } else { Step::GiveUp(outcome) };
        };
        if self.attempts < attempts_max {
            let pause = pause(self.attempts, chance);
            self.attempts += 1;
            return Step::Again(pause);
        }
        if fallback {
            return self.fall_back();
        }
        Step::GiveUp(Outcome::new(Status::Lost, given_up(first, self.attempts, &outcome.reason)))
    }

    fn fall_back(&mut self) -> Step {
        self.attempts = 0;
        Step::FallBack
    }
}

/// The sentence for a person.
fn given_up(first: &str, attempts: u32, last: &str) -> String {
    match attempts {
        0 => first.to_owned(),
        _ if first == last => format!("{first}, and {attempts} times after it was reconnected"),
        _ => format!("{first}; it could not be reconnected ({attempts} attempts): {last}"),
    }
}

/// The pause before attempt `attempts`, of which at most half is left to chance, but for the first.
fn pause(attempts: u32, chance: f64) -> Duration {
    match attempts {
        0 => FIRST_PAUSE.mul_f64(chance),
        _ => (PAUSE * (1 << (attempts - 1).min(10))).min(PAUSE_MAX).mul_f64(0.5 + chance / 2.0),
    }
}

/// How long before the end of the longest session a pause of the conversation is looked for, as a part of it,
const WINDOW_PART: u32 = 10;
/// and at most.
const WINDOW_MAX: Duration = Duration::from_secs(300);
/// So long before the end there is no waiting for a pause any more, or with a quarter of the window left.
const URGENT_MAX: Duration = Duration::from_secs(5);
/// Time between two looks for a pause, or after an attempt.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A pause of the conversation is one when nobody has spoken for so long.
pub(crate) const QUIET: Duration = Duration::from_millis(600);
/// Patience after a successor that could not be opened.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What a provider says about the end of a session counts as this at most: longer than any.
const LONGEST: Duration = Duration::from_secs(86_400);

/// When a session is to be followed by another one. Knows no clock.
#[derive(Debug, Default)]
pub(crate) struct RollOver {
    began: Option<Instant>,
    ends: Option<Ends>,
    look_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    at: Instant,
    urgent_at: Instant,
}

impl RollOver {
    /// A session begins that may last `longest`.
    pub(crate) fn begin(&mut self, now: Instant, longest: Option<Duration>) {
        *self = Self { began: Some(now), ..Self::default() };
        if let Some(longest) = longest {
            self.end_by(now + longest, (longest / WINDOW_PART).min(WINDOW_MAX));
        }
    }

    /// The provider says that it ends the session in so much time.
    pub(crate) fn expiring(&mut self, now: Instant, within: Duration) {
        // A server that ends every session at once is not followed from one to the next.
        let least = self.began.map_or(Duration::ZERO, |began| (began + STABLE).saturating_duration_since(now));
        let within = within.min(LONGEST).max(least);
        if self.ends.is_none_or(|ends| now + within < ends.at) {
            self.end_by(now + within, within);
        }
    }

    fn end_by(&mut self, at: Instant, window: Duration) {
        self.ends = Some(Ends { at, urgent_at: at - (window / 4).min(URGENT_MAX) });
        self.look_at = Some(at - window);
    }

    /// When to look whether there is a pause.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.look_at
    }

    /// True if a look is due; the next one comes a little later.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let due = self.look_at.is_some_and(|at| now >= at);
        if due {
            self.look_at = Some(now + LOOK_EVERY);
        }
        due
    }

    /// A successor could not be opened.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.look_at = self.look_at.map(|_| now + TRY_AGAIN);
    }

    /// True when there is no more time to wait for a pause.
    pub(crate) fn is_urgent(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now >= ends.urgent_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Outcome {
        Outcome::new(Status::Lost, "gone")
    }

    fn unreachable() -> Outcome {
        Outcome::new(Status::ConnFail, "no route")
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_grow_and_attempts_end() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        assert_eq!(recovery.up(now), None);
        assert_eq!(recovery.step(lost(), now, 3, false, 1.0), Step::Again(100 * MS));
        assert_eq!(recovery.step(unreachable(), now + 200 * MS, 3, false, 0.0), Step::Again(250 * MS));
        assert_eq!(recovery.step(unreachable(), now + 500 * MS, 3, false, 1.0), Step::Again(1000 * MS));
        let Step::GiveUp(outcome) = recovery.step(unreachable(), now + 2000 * MS, 3, false, 1.0) else { panic!() };
        assert_eq!(outcome.status, Status::Lost);
        assert_eq!(outcome.reason, "gone; it could not be reconnected (3 attempts): no route");
        assert!(pause(40, 1.0) == PAUSE_MAX);
    }

    #[test]
    fn the_time_without_a_session_is_told() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        recovery.up(now);
        recovery.step(lost(), now + 5000 * MS, 3, false, 0.0);
        recovery.step(unreachable(), now + 5100 * MS, 3, false, 0.0);
        assert_eq!(recovery.up(now + 5500 * MS), Some(500 * MS));
    }

    #[test]
    fn a_server_that_hangs_up_again_and_again_is_left_but_a_session_in_order_counts_anew() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        let again = |recovery: &mut Recovery, at: Duration, up: Duration| {
            recovery.up(now + at);
            matches!(recovery.step(lost(), now + at + up, 2, false, 0.0), Step::Again(_))
        };
        assert!(again(&mut recovery, MS, MS) && again(&mut recovery, 10 * MS, MS));
        assert!(!again(&mut recovery, 20 * MS, MS));
        let mut recovery = Recovery::default();
        assert!((0..9).all(|n| again(&mut recovery, STABLE * 2 * n, STABLE)));
    }

    #[test]
    fn an_account_that_is_not_accepted_is_never_tried_again() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        recovery.up(now);
        recovery.step(lost(), now, 3, false, 0.0);
        let refused = || Outcome::new(Status::AuthFail, "who are you?");
        assert_eq!(recovery.step(refused(), now, 3, false, 0.0), Step::GiveUp(refused()));
        assert_eq!(recovery.step(refused(), now, 3, true, 0.0), Step::FallBack);
        // The fallback has its own attempts, and the call had talked: it is lost, when all fails.
        let mut recovery = Recovery::default();
        recovery.up(now);
        assert_eq!(recovery.step(refused(), now, 1, true, 0.0), Step::FallBack);
        assert_eq!(recovery.step(unreachable(), now, 1, false, 0.0), Step::Again(Duration::ZERO));
        let Step::GiveUp(outcome) = recovery.step(unreachable(), now, 1, false, 0.0) else { panic!() };
        assert_eq!(outcome.status, Status::Lost);
    }

    #[test]
    fn a_call_that_never_had_a_session_falls_back_at_once_or_ends_as_it_failed() {
        let now = Instant::now();
        assert_eq!(Recovery::default().step(unreachable(), now, 3, true, 0.0), Step::FallBack);
        assert_eq!(Recovery::default().step(unreachable(), now, 3, false, 0.0), Step::GiveUp(unreachable()));
    }

    #[test]
    fn a_persistent_one_tries_again_though_there_was_never_a_session() {
        let (mut recovery, now) = (Recovery::persistent(), Instant::now());
        assert_eq!(recovery.step(unreachable(), now, 1, false, 1.0), Step::Again(100 * MS));
        assert!(matches!(recovery.step(unreachable(), now, 1, false, 1.0), Step::GiveUp(_)));
        let refused = Outcome::new(Status::AuthFail, "who are you?");
        assert_eq!(Recovery::persistent().step(refused.clone(), now, 1, false, 1.0), Step::GiveUp(refused));
    }

    #[test]
    fn an_end_that_was_meant_stays_one() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        recovery.up(now);
        let end = Outcome::new(Status::Complete, "bye");
        assert_eq!(recovery.step(end.clone(), now, 3, true, 0.0), Step::GiveUp(end));
    }

    #[test]
    fn a_pause_is_looked_for_before_the_longest_session_is_over() {
        let (mut rollover, now) = (RollOver::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        rollover.begin(now, Some(Duration::from_secs(3600)));
        assert!(!rollover.look(after(3299)) && rollover.look(after(3300)));
        assert!(!rollover.look(after(3300)) && rollover.look(after(3301)));
        assert!(!rollover.is_urgent(after(3594)) && rollover.is_urgent(after(3595)));
        rollover.begin(now, None);
        assert!(rollover.next().is_none() && !rollover.look(after(90_000)));
        rollover.expiring(after(100), Duration::from_secs(8));
        assert!(rollover.look(after(100)) && !rollover.is_urgent(after(105)) && rollover.is_urgent(after(106)));
        rollover.begin(now, None);
        rollover.expiring(now, Duration::MAX);
        assert!(!rollover.is_urgent(after(80_000)));
        rollover.expiring(now, Duration::ZERO);
        assert!(!rollover.is_urgent(after(7)) && rollover.is_urgent(after(8)), "not at once, again and again");
    }
}
