//! Keeps the caller's stream continuous: says when silence has to stand in for frames that do not come.
//!
//! Phones stop sending when they are on hold, muted, or silent with discontinuous transmission; networks lose packets. The
//! AI must still get audio at the pace of time, or its clocks and its voice detection stand still.

use std::time::{Duration, Instant};

/// A frame that is later than this is not late but missing.
const PATIENCE: Duration = Duration::from_millis(40);
/// Length of a frame before any was heard.
const USUAL: Duration = Duration::from_millis(20);

/// The gap detector of one call. Owned by the channel thread.
#[derive(Debug)]
pub struct Continuity {
    covered_until: Instant,
    /// Length of the phone's frames.
    frame: Duration,
    in_gap: bool,
}

impl Continuity {
    /// A stream that begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self { covered_until: now, frame: USUAL, in_gap: false }
    }

    /// A frame of this length came.
    ///
    /// # Realtime
    /// Three stores.
    pub fn heard(&mut self, now: Instant, frame: Duration) {
        self.covered_until = now;
        self.frame = frame;
        self.in_gap = false;
    }

    /// How many silent frames of `ptime` must stand in at `now`. Call at every tick.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn missing(&mut self, now: Instant, ptime: Duration) -> u32 {
        let gap = now.saturating_duration_since(self.covered_until);
        if gap < if self.in_gap { ptime } else { self.frame + PATIENCE } {
            return 0;
        }
        self.in_gap = true;
        let frames = (gap.as_micros() / ptime.as_micros()) as u32;
        self.covered_until += ptime * frames;
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTIME: Duration = Duration::from_millis(20);

    #[test]
    fn a_stream_with_jitter_is_left_alone() {
        let start = Instant::now();
        let mut stream = Continuity::new(start);
        for ms in [20, 45, 100, 101, 155] {
            let now = start + Duration::from_millis(ms);
            assert_eq!(stream.missing(now, PTIME), 0, "at {ms} ms");
            stream.heard(now, PTIME);
        }
    }

    #[test]
    fn a_phone_with_long_frames_has_no_gaps_between_them() {
        let start = Instant::now();
        let mut stream = Continuity::new(start);
        let frame = PTIME * 3;
        stream.heard(start, frame);
        for ms in [60, 125, 180, 240, 339] {
            let now = start + Duration::from_millis(ms);
            assert_eq!(stream.missing(now, PTIME), 0, "at {ms} ms");
            stream.heard(now, frame);
        }
    }

    #[test]
    fn a_gap_is_filled_at_the_pace_of_time() {
        let start = Instant::now();
        let mut stream = Continuity::new(start);
        let filled: u32 = (1..=50).map(|tick| stream.missing(start + PTIME * tick, PTIME)).sum();
        assert_eq!(filled, 50);
        stream.heard(start + PTIME * 51, PTIME);
        assert_eq!(stream.missing(start + PTIME * 53, PTIME), 0);
        assert_eq!(stream.missing(start + PTIME * 54, PTIME), 3);
    }
}
