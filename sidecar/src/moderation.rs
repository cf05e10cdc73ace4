//! Moderation: under load a worker rests for a moment before it waits, and then finds more to do at once.
//!
//! A busy sidecar would go to sleep and be woken thousands of times a second, once for every caller's packet and once for
//! every message of an AI, and most of its CPU would be the kernel's. What network cards do about it is done here, too
//! (interrupt moderation; Mogul and Ramakrishnan, "Eliminating receive livelock in an interrupt-driven kernel", USENIX
//! 1996): a worker that wakes often takes a rest of a millisecond before it goes to sleep. Channel threads save the system
//! call that would wake it, and nobody waits for longer than [`REST`] because of it. A worker that has no time to sleep
//! does not rest either.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// How long a busy worker rests.
pub(crate) const REST: Duration = Duration::from_millis(1);
/// A worker that waits more often than this is busy.
const BUSY: Duration = Duration::from_micros(1500);
/// Part of the last interval in their mean.
const SHARE: u32 = 16;

/// How often one worker waits.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    waited_at: Instant,
    /// Mean time between two waits.
    interval: Duration,
}

impl Pulse {
    /// Nothing is known: at rest.
    fn new(now: Instant) -> Self {
        Self { waited_at: now, interval: BUSY * 2 }
    }

    /// The worker is about to wait at `now`; answers whether it is busy.
    fn wait(&mut self, now: Instant) -> bool {
        // One long wait says as much as a few: a worker that is woken after a pause is quick again.
        let interval = now.saturating_duration_since(self.waited_at).min(BUSY * 8);
        self.waited_at = now;
        self.interval = (self.interval * (SHARE - 1) + interval) / SHARE;
        self.interval < BUSY
    }
}

/// To be called on a worker that has nothing more to do, before it waits.
pub(crate) fn before_wait() {
    thread_local!(static PULSE: Cell<Option<Pulse>> = const { Cell::new(None) });
    let now = Instant::now();
    let mut pulse = PULSE.get().unwrap_or_else(|| Pulse::new(now));
    if pulse.wait(now) {
        thread::sleep(REST);
    }
    PULSE.set(Some(pulse));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits once every `micros`; answers whether the worker rests at the end.
    fn busy_after(pulse: &mut Pulse, now: &mut Instant, micros: u64, times: u32) -> bool {
        (0..times)
            .map(|_| {
                *now += Duration::from_micros(micros);
                pulse.wait(*now)
            })
            .last()
            == Some(true)
    }

    #[test]
    fn only_a_busy_worker_rests() {
        let mut now = Instant::now();
        let mut pulse = Pulse::new(now);
        assert!(!busy_after(&mut pulse, &mut now, 10_000, 100), "a call or two");
        assert!(busy_after(&mut pulse, &mut now, 200, 100), "fifty calls");
        assert!(busy_after(&mut pulse, &mut now, 1100, 100), "it goes on resting while there is much to do");
        assert!(!busy_after(&mut pulse, &mut now, 5000, 10), "and stops when there is less");
    }
}
