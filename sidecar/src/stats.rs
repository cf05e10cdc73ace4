//! What can be seen of a session while it runs and when it has ended.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;

use crate::control::Condition;
use crate::events::Origin;

/// A time that is not known until it is.
///
/// # Realtime
/// Setting and reading is one atomic access.
#[derive(Debug)]
pub struct Figure(AtomicU32);

impl Default for Figure {
    fn default() -> Self {
        Self(AtomicU32::new(Self::UNKNOWN))
    }
}

impl Figure {
    const UNKNOWN: u32 = u32::MAX;

    /// Sets the time. Kept in microseconds, which suffices for an hour.
    pub fn set(&self, time: Duration) {
        self.0.store(time.as_micros().min(u128::from(Self::UNKNOWN - 1)) as u32, Ordering::Relaxed);
    }

    /// The time, if it is known.
    pub fn get(&self) -> Option<Duration> {
        let micros = Some(self.0.load(Ordering::Relaxed)).filter(|&micros| micros != Self::UNKNOWN);
        micros.map(|micros| Duration::from_micros(micros.into()))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.get().map_or_else(|| "-".to_owned(), |time| millis(time).to_string());
        f.pad(&text)
    }
}

/// A time as people read it: milliseconds, with decimals where it is short.
pub(crate) fn millis(time: Duration) -> impl fmt::Display {
    let ms = time.as_secs_f64() * 1000.0;
    format!("{ms:.*} ms", usize::from(ms < 10.0) + usize::from(ms < 1.0))
}

/// How long the parts of a conversation took, each a distribution over the session. [µs]
#[derive(Debug, Clone)]
pub struct Latencies {
    /// From a caller's frame read until its bytes were written to the socket.
    pub uplink: Histogram<u32>,
    /// From the first agent audio of a turn received until it was on the line.
    pub turn_start: Histogram<u32>,
    /// From the caller's last word until the agent was on the line.
    pub response: Histogram<u32>,
    /// From an interruption noticed until the agent was off the line.
    pub barge_in_stop: Histogram<u32>,
    /// In assist: from the end of what somebody said until its final text.
    pub transcription: Histogram<u32>,
    /// In assist: from a line of the caller until the hint that answers it.
    pub hint: Histogram<u32>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            uplink: times(),
            turn_start: times(),
            response: times(),
            barge_in_stop: times(),
            transcription: times(),
            hint: times(),
        }
    }
}

impl Latencies {
    /// Adds those of another session.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.uplink, &other.uplink),
            (&mut self.turn_start, &other.turn_start),
            (&mut self.response, &other.response),
            (&mut self.barge_in_stop, &other.barge_in_stop),
            (&mut self.transcription, &other.transcription),
            (&mut self.hint, &other.hint),
        ];
        for (sum, part) in pairs {
            let added = sum.add(part);
            debug_assert!(added.is_ok(), "all of them have the same bounds");
        }
    }
}

/// A distribution from 1 µs to [`LONGEST`] with two digits. It begins with 1 KB and grows with the longest time in it: 3 KB
/// for a few milliseconds, 8 KB for seconds. Most sessions have nothing to record in some of theirs.
fn times() -> Histogram<u32> {
    match Histogram::new(2) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("two digits are within what a histogram takes: {error}"),
    }
}

/// The longest time a distribution tells from a longer one.
const LONGEST: Duration = Duration::from_secs(60);

/// Adds `time` to `histogram`; what is out of bounds counts as the bound.
pub(crate) fn record(histogram: &mut Histogram<u32>, time: Duration) {
    let added = histogram.record((time.min(LONGEST).as_micros() as u64).max(1));
    debug_assert!(added.is_ok(), "it grows as far as that");
}

/// A distribution as people read it.
pub fn describe(histogram: &Histogram<u32>) -> String {
    if histogram.is_empty() {
        return "-".to_owned();
    }
    let [p50, p95, p99, most] = figures(histogram).map(millis);
    format!("p50 {p50}, p95 {p95}, p99 {p99}, most {most} ({} times)", histogram.len())
}

/// p50, p95, p99 and the longest.
fn figures(histogram: &Histogram<u32>) -> [Duration; 4] {
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| histogram.value_at_quantile(share));
    [p50, p95, p99, histogram.max()].map(Duration::from_micros)
}

/// What a distribution comes to.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Distribution {
    /// Times it was measured.
    pub count: u64,
    /// Median. [ms]
    pub p50_ms: f64,
    /// 95 of 100 were at most this. [ms]
    pub p95_ms: f64,
    /// 99 of 100 were at most this. [ms]
    pub p99_ms: f64,
    /// The longest. [ms]
    pub max_ms: f64,
}

impl Distribution {
    /// That of `histogram`, unless it is empty.
    pub fn of(histogram: &Histogram<u32>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let [p50_ms, p95_ms, p99_ms, max_ms] = figures(histogram).map(|time| time.as_micros() as f64 / 1000.0);
        Some(Self { count: histogram.len(), p50_ms, p95_ms, p99_ms, max_ms })
    }
}

/// Figures of one session. Written by the session's two threads, read by anybody.
#[derive(Debug, Default)]
pub struct CallStats {
    /// From the start of the application until the AI was ready.
    pub connect: Figure,
    /// From then until the agent's first audio was on the line.
    pub first_audio: Figure,
    /// From the caller's last end of speech until the agent was on the line.
    pub response: Figure,
    /// From the last interruption until the agent was off the line.
    pub barge_in_stop: Figure,
    /// Turns the agent began to speak.
    pub turns: AtomicU32,
    /// Times the caller interrupted the agent.
    pub barge_ins: AtomicU32,
    /// Times playback was held for what turned out to be noise.
    pub taken_back: AtomicU32,
    /// Times the agent's audio ran dry in mid-turn.
    pub underruns: AtomicU64,
    /// Times a lost session was made up for by another.
    pub reconnects: AtomicU32,
    /// From the last loss of a session until the next was ready.
    pub reconnect: Figure,
    /// Times a session was followed by another before it would end.
    pub roll_overs: AtomicU32,
    /// Caller audio that never reached the AI. [ms]
    pub dropped_ms: AtomicU64,
    /// In assist: hints that were asked for and did not come, for any reason but a newer line.
    pub hint_failures: AtomicU32,
    latencies: Mutex<Latencies>,
}

impl CallStats {
    /// The distributions. Never from the channel thread: the lock is the task's and its observers'.
    pub fn latencies(&self) -> MutexGuard<'_, Latencies> {
        // Every record is one call: a panic elsewhere leaves the histograms whole.
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session as others see it.
#[derive(Debug)]
pub struct SessionInfo {
    /// The value of `AISESSION`.
    pub id: String,
    /// Name of the profile.
    pub profile: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Name of the protocol it began to speak.
    pub dialect: String,
    /// When it began, by the clock on the wall.
    pub began: SystemTime,
    /// When it began.
    pub started: Instant,
    /// What it is doing.
    pub condition: Condition,
    /// Its figures.
    pub stats: CallStats,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[Duration]) -> Histogram<u32> {
        let mut histogram = super::times();
        times.iter().for_each(|&time| record(&mut histogram, time));
        histogram
    }

    fn assert_about(ms: f64, expected: f64) {
        assert!((ms - expected).abs() <= expected / 100.0, "{ms}, not {expected}");
    }

    #[test]
    fn a_distribution_takes_any_time_and_tells_its_shares() {
        assert_eq!(Distribution::of(&of(&[])), None);
        let all: Vec<_> = (1..=1000).map(Duration::from_millis).collect();
        let shares = Distribution::of(&of(&all)).expect("there are some");
        assert_eq!(shares.count, 1000);
        assert_about(shares.p50_ms, 500.0);
        assert_about(shares.p95_ms, 950.0);
        assert_about(shares.p99_ms, 990.0);
        assert_about(shares.max_ms, 1000.0);
        let odd = Distribution::of(&of(&[Duration::ZERO, Duration::MAX])).expect("there are some");
        assert_about(odd.p50_ms, 0.001);
        assert_about(odd.max_ms, 60_000.0);
    }

    #[test]
    fn sums_hold_what_was_short_and_what_was_long() {
        let (short, long) = (of(&[Duration::from_micros(30)]), of(&[Duration::from_secs(50)]));
        for [first, second] in [[&short, &long], [&long, &short]] {
            let mut sum = times();
            sum.add(first).and_then(|()| sum.add(second)).expect("it grows");
            let shares = Distribution::of(&sum).expect("there are some");
            assert_eq!(shares.count, 2);
            assert_about(shares.p50_ms, 0.03);
            assert_about(shares.max_ms, 50_000.0);
        }
    }
}
