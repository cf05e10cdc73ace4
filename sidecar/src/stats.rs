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

/// A distribution from 1 µs to a minute with two digits: about 20 KB.
fn times() -> Histogram<u32> {
    match Histogram::new_with_bounds(1, 60_000_000, 2) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("bounds and digits are within what a histogram takes: {error}"),
    }
}

/// Adds `time` to `histogram`; what is out of bounds counts as the bound.
pub(crate) fn record(histogram: &mut Histogram<u32>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
}

/// A distribution as people read it.
pub fn describe(histogram: &Histogram<u32>) -> String {
    if histogram.is_empty() {
        return "-".to_owned();
    }
    let at = |share| millis(Duration::from_micros(histogram.value_at_quantile(share)));
    let most = millis(Duration::from_micros(histogram.max()));
    format!("p50 {}, p95 {}, p99 {}, most {most} ({} times)", at(0.5), at(0.95), at(0.99), histogram.len())
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
        let ms = |micros: u64| micros as f64 / 1000.0;
        let at = |share| ms(histogram.value_at_quantile(share));
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: ms(histogram.max()),
        })
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
