//! What can be seen of a session while it runs and when it has ended.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// A figure that is not known until it is.
///
/// # Realtime
/// Setting and reading is one atomic access.
#[derive(Debug)]
pub struct Figure(AtomicU32);

impl Default for Figure {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

impl Figure {
    /// Sets the figure.
    pub fn set(&self, value: u128) {
        self.0.store(value.min(u128::from(u32::MAX - 1)) as u32, Ordering::Relaxed);
    }

    /// The figure, if it is known.
    pub fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&value| value != u32::MAX)
    }
}

/// Figures of one session. Written by the session's two threads, read by anybody.
#[derive(Debug, Default)]
pub struct CallStats {
    /// From the start of the application until the AI was ready. [ms]
    pub connect_ms: Figure,
    /// From then until the agent's first audio was on the line. [ms]
    pub first_audio_ms: Figure,
    /// From the caller's last end of speech until the agent was on the line. [ms]
    pub response_ms: Figure,
    /// From the last interruption until the agent was off the line. [ms]
    pub barge_in_stop_ms: Figure,
    /// Turns the agent began to speak.
    pub turns: AtomicU32,
    /// Times the caller interrupted the agent.
    pub barge_ins: AtomicU32,
    /// Times the agent's audio ran dry in mid-turn.
    pub underruns: AtomicU64,
    /// Caller audio that never reached the AI. [ms]
    pub dropped_ms: AtomicU64,
}

/// A session as others see it.
#[derive(Debug)]
pub struct SessionInfo {
    /// The value of `AISESSION`.
    pub id: String,
    /// Name of the profile.
    pub profile: String,
    /// Name of the channel.
    pub channel: String,
    /// When it began.
    pub started: Instant,
    /// Its figures.
    pub stats: CallStats,
}
