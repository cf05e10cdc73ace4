//! Keeps the caller's stream at the pace of time: says when silence has to stand in for frames that do not come, and takes
//! that silence back when they come after all.
//!
//! Phones stop sending when they are on hold, muted, or silent with discontinuous transmission; networks lose packets, and
//! networks that stall deliver everything at once afterwards. The AI must get audio at the pace of time whatever happens,
//! or its clocks and its voice detection stand still or run ahead.
//!
//! ```text
//!              nothing for a frame and the patience
//!  ┌─────────┐ ───────────────────────────────────► ┌─────┐
//!  │ flowing │         silence for all of it        │ gap │ ─┐ silence, frame by frame
//!  └─────────┘ ◄─────────────────────────────────── └─────┘ ◄┘
//!                a frame; what stood in is a debt
//! ```
//!
//! The debt: for a second after a gap the frames for which silence stood in may still come, and then the stream is longer
//! than time. It is given back where nobody hears it: silent frames are left out, and the next gap is filled so much later.
//! What the caller says is left out only when the stream is a whole [`MOST_AHEAD`] too long.

use std::time::{Duration, Instant};

/// Most that the stream may be longer than time. What comes after a longer stall is cut to this.
pub const MOST_AHEAD: Duration = Duration::from_secs(1);
/// Frames for which silence stood in may come this long after the gap.
const GRACE: Duration = Duration::from_secs(1);
/// Length of a frame before any was heard.
const USUAL: Duration = Duration::from_millis(20);
/// A phone's clock that is slow by less than this share of time is never mistaken for a gap.
const DRIFT: u32 = 1000;

/// The clock of a caller's stream. Owned by the channel thread.
#[derive(Debug)]
pub struct Continuity {
    /// A frame that is later than this is not late but missing.
    patience: Duration,
    /// The stream has audio up to this moment: later than now if it is longer than time.
    covered_until: Instant,
    heard_at: Instant,
    /// Length of the phone's frames.
    frame: Duration,
    in_gap: bool,
    gap_ended: Instant,
    /// Silence that stood in for what may still come.
    debt: Duration,
}

/// What to do with a frame that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Frames of the same length for which silence goes before it: they are lost.
    pub lost: u32,
    /// False if it is to be left out, for silence that stood in already.
    pub keep: bool,
}

impl Continuity {
    /// A stream that begins at `now` and waits for a late frame as long as `patience`.
    pub fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            covered_until: now,
            heard_at: now,
            frame: USUAL,
            in_gap: false,
            gap_ended: now,
            debt: Duration::ZERO,
        }
    }

    /// True while frames come one after the other, and a missing one may still come.
    pub fn flows(&self, now: Instant) -> bool {
        !self.in_gap && now.saturating_duration_since(self.heard_at) < self.frame + self.patience
    }

    /// A frame came that cannot be used yet.
    pub fn came_early(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// A frame of this length came, after `lost` others of its stream that will not come any more. `silent` looks whether
    /// there is anything to hear in it.
    ///
    /// # Realtime
    /// Arithmetic, and `silent` while the stream is longer than time.
    pub fn heard(&mut self, now: Instant, frame: Duration, lost: u32, silent: impl FnOnce() -> bool) -> Place {
        if self.in_gap {
            self.in_gap = false;
            self.gap_ended = now;
        }
        self.heard_at = now;
        self.frame = frame;
        let behind = now.saturating_duration_since(self.covered_until + frame);
        let lost = lost.min(((behind + frame / 2).as_nanos() / frame.as_nanos().max(1)) as u32);
        self.covered_until += frame * lost;

        let ahead = self.covered_until.saturating_duration_since(now);
        if now.saturating_duration_since(self.gap_ended) > GRACE {
            self.debt = self.debt.min(ahead);
        }
        if ahead >= MOST_AHEAD {
            return Place { lost, keep: false };
        }
        if self.debt >= frame && ahead >= frame / 2 && silent() {
            self.debt -= frame;
            return Place { lost, keep: false };
        }
        // Without a debt, the earliest frames set the pace: a stream that seems ahead was late before.
        self.covered_until = (self.covered_until + frame).min(now + self.debt);
        let behind = now.saturating_duration_since(self.covered_until);
        self.covered_until += behind.min(frame / DRIFT);
        Place { lost, keep: true }
    }

    /// How many silent frames of `ptime` must stand in at `now`. Call at every tick.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn missing(&mut self, now: Instant, ptime: Duration) -> u32 {
        if self.flows(now) {
            return 0;
        }
        self.in_gap = true;
        let gap = now.saturating_duration_since(self.covered_until);
        let frames = (gap.as_nanos() / ptime.as_nanos().max(1)) as u32;
        self.covered_until += ptime * frames;
        self.debt = (self.debt + ptime * frames).min(MOST_AHEAD);
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTIME: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_millis(40);

    /// A stream on which things happen at certain milliseconds, and its length.
    struct Stream {
        start: Instant,
        clock: Continuity,
        length: Duration,
        /// Frames that were left out although there was something to hear in them.
        cut: u32,
    }

    impl Stream {
        fn new() -> Self {
            let start = Instant::now();
            Self { start, clock: Continuity::new(PATIENCE, start), length: Duration::ZERO, cut: 0 }
        }

        fn tick(&mut self, ms: u64) -> u32 {
            let missing = self.clock.missing(self.start + Duration::from_millis(ms), PTIME);
            self.length += PTIME * missing;
            missing
        }

        fn frame(&mut self, ms: u64, frame: Duration, lost: u32, silent: bool) -> Place {
            let place = self.clock.heard(self.start + Duration::from_millis(ms), frame, lost, || silent);
            self.length += frame * (place.lost + u32::from(place.keep));
            self.cut += u32::from(!place.keep && !silent);
            place
        }

        fn speech(&mut self, ms: u64) {
            self.frame(ms, PTIME, 0, false);
        }

        fn silence(&mut self, ms: u64) {
            self.frame(ms, PTIME, 0, true);
        }

        /// How much longer than time the stream is at this moment. [ms]
        fn surplus_ms(&self, ms: u64) -> i64 {
            self.length.as_millis() as i64 - ms as i64
        }
    }

    #[test]
    fn a_stream_with_jitter_is_left_alone() {
        let mut stream = Stream::new();
        for ms in [20, 45, 100, 101, 155, 156, 157, 160] {
            assert_eq!(stream.tick(ms), 0, "at {ms} ms");
            stream.silence(ms);
        }
        assert_eq!(stream.surplus_ms(160), 0);
    }

    #[test]
    fn frames_of_any_length_have_no_gaps_between_them() {
        for frame_ms in [10, 20, 30, 40, 60] {
            let mut stream = Stream::new();
            let frame = Duration::from_millis(frame_ms);
            // As it is after the first one.
            stream.clock.frame = frame;
            for at in (frame_ms..3000).step_by(frame_ms as usize) {
                for ms in (at - frame_ms..=at).step_by(5) {
                    assert_eq!(stream.tick(ms), 0, "at {ms} ms");
                }
                stream.frame(at, frame, 0, false);
                assert_eq!(stream.surplus_ms(at), 0);
            }
        }
    }

    #[test]
    fn a_gap_is_filled_at_the_pace_of_time() {
        let mut stream = Stream::new();
        let filled: u32 = (1..=50).map(|tick| stream.tick(tick * 20)).sum();
        assert_eq!(filled, 50);
        stream.speech(1020);
        assert_eq!(stream.tick(1060), 0);
        assert_eq!(stream.tick(1080), 3);
    }

    #[test]
    fn silence_stands_where_a_packet_was_lost() {
        let mut stream = Stream::new();
        for at in (20..2000).step_by(20) {
            // One of ten is lost.
            if at % 200 != 100 {
                let place = stream.frame(at, PTIME, u32::from(at % 200 == 120), false);
                assert_eq!(place.lost, u32::from(at % 200 == 120), "at {at} ms");
                assert_eq!(stream.surplus_ms(at), 0);
            }
            assert_eq!(stream.tick(at), 0);
        }
    }

    #[test]
    fn numbers_that_carried_no_audio_are_not_lost_audio() {
        let mut stream = Stream::new();
        stream.speech(20);
        (40..=300).step_by(20).for_each(|ms| _ = stream.tick(ms));
        // Eleven packets of a key, during which silence stood in.
        assert_eq!(stream.frame(301, PTIME, 11, false), Place { lost: 0, keep: true });
    }

    #[test]
    fn what_comes_after_a_stall_is_heard_and_given_back_in_the_next_pause() {
        let mut stream = Stream::new();
        (20..=200).step_by(20).for_each(|ms| stream.speech(ms));
        // The network holds back ten frames.
        (220..=399).step_by(20).for_each(|ms| _ = stream.tick(ms));
        (0..10).for_each(|_| stream.speech(400));
        assert_eq!(stream.surplus_ms(400), 180, "nothing said is left out");
        (420..=600).step_by(20).for_each(|ms| stream.speech(ms));
        assert_eq!(stream.surplus_ms(600), 180);
        (620..=1000).step_by(20).for_each(|ms| stream.silence(ms));
        assert!(stream.surplus_ms(1000).abs() <= 20, "{} ms too long", stream.surplus_ms(1000));
        assert_eq!(stream.cut, 0);
    }

    #[test]
    fn a_surplus_is_given_back_in_the_next_gap_too() {
        let mut stream = Stream::new();
        stream.speech(20);
        (40..=319).step_by(20).for_each(|ms| _ = stream.tick(ms));
        (0..15).for_each(|_| stream.speech(320));
        assert_eq!(stream.surplus_ms(320), 280);
        (340..=800).step_by(20).for_each(|ms| _ = stream.tick(ms));
        assert!(stream.surplus_ms(800).abs() <= 20, "{} ms too long", stream.surplus_ms(800));
    }

    #[test]
    fn after_a_very_long_stall_the_stream_is_a_second_too_long_and_no_more() {
        let mut stream = Stream::new();
        (20..=5000).step_by(20).for_each(|ms| _ = stream.tick(ms));
        (0..250).for_each(|_| stream.speech(5001));
        assert!((980..=1020).contains(&stream.surplus_ms(5001)), "{} ms too long", stream.surplus_ms(5001));
    }

    #[test]
    fn hours_of_a_slow_or_fast_phone_are_no_gap_and_no_surplus() {
        for step_us in [19_994, 20_006] {
            let mut stream = Stream::new();
            let at = |n: u64| stream.start + Duration::from_micros(n * step_us);
            let mut clock = Continuity::new(PATIENCE, stream.start);
            for n in 1..=500_000 {
                assert_eq!(clock.missing(at(n), PTIME), 0);
                assert_eq!(clock.heard(at(n), PTIME, 0, || true), Place { lost: 0, keep: true });
            }
            // And then a lost packet is one lost packet.
            assert_eq!(clock.heard(at(500_002), PTIME, 1, || true).lost, 1);
            stream.tick(0);
        }
    }

    #[test]
    fn a_late_thread_takes_what_waited_for_it_and_adds_nothing() {
        let mut stream = Stream::new();
        (20..=200).step_by(20).for_each(|ms| stream.speech(ms));
        for _ in 0..10 {
            stream.speech(401);
            assert_eq!(stream.tick(401), 0);
        }
        assert_eq!(stream.surplus_ms(400), 0);
    }
}
