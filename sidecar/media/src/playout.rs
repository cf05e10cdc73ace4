//! Playout: decides, every 20 ms, what the caller hears.
//!
//! ```text
//!  ring ─► Playout ─► 20 ms frame ─► ast_write
//!            ▲
//!            └ now (monotonic)
//! ```
//!
//! The grid comes from the clock that the owner passes in, never from the caller's packets, so the line keeps its
//! rhythm through silence suppression, hold and loss. After a stall of the thread at most [`MAX_LATE_FRAMES`] are
//! made up for; the rest of the debt is forgotten, since a burst would only become delay in the phone.

use std::time::{Duration, Instant};

use crate::Format;
use crate::ring::AgentSink;

/// Time between two frames, and their length.
pub const PTIME: Duration = Duration::from_millis(20);

/// Frames that may follow each other at once after a stall.
pub const MAX_LATE_FRAMES: u32 = 3;

/// Below this much audio in the ring the sidecar is asked for more. [ms]
pub const LOW_WATER_MS: u64 = 200;

/// What is in the frame that [`Playout::poll`] filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    /// The agent's voice; `first` is true for the frame that breaks a silence.
    Agent {
        /// This frame breaks a silence.
        first: bool,
    },
    /// Silence; `last` is true for the first such frame after the agent's voice.
    Silence {
        /// This frame follows the agent's voice.
        first: bool,
    },
}

/// The pacing state machine of one call. Owned by the channel thread.
pub struct Playout {
    sink: AgentSink,
    format: Format,
    preroll_bytes: usize,
    preroll: Duration,
    next_due: Instant,
    speaking: bool,
    waiting_since: Option<Instant>,
    underruns: u64,
}

impl Playout {
    /// Playout of `sink`, which holds audio in `format`, with its first frame due at `now`.
    ///
    /// `preroll` is how much of a turn must have arrived before it starts to be heard, unless the turn is shorter.
    pub fn new(sink: AgentSink, format: Format, preroll: Duration, now: Instant) -> Self {
        Self {
            sink,
            format,
            preroll_bytes: format.bytes_in_ms(preroll.as_millis() as u64),
            preroll,
            next_due: now,
            speaking: false,
            waiting_since: None,
            underruns: 0,
        }
    }

    /// Bytes of one frame.
    pub fn frame_bytes(&self) -> usize {
        self.format.bytes_in_ms(PTIME.as_millis() as u64)
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Instant {
        self.next_due
    }

    /// Times the agent's audio ran dry in the middle of a turn.
    pub fn underruns(&self) -> u64 {
        self.underruns
    }

    /// True when the sidecar should be woken to push more.
    pub fn wants_more(&self) -> bool {
        self.sink.backlog() && self.sink.ready() < self.format.bytes_in_ms(LOW_WATER_MS)
    }

    /// Drops flushed audio now instead of at the next tick; true if there was any flush to act on.
    ///
    /// # Realtime
    /// Wait-free; no allocation, no lock.
    pub fn apply_flush(&mut self) -> bool {
        self.sink.apply_flush()
    }

    /// If a frame is due at `now`, fills `frame` ([`Playout::frame_bytes`] long) and says what it is. Call again
    /// until `None`.
    ///
    /// # Realtime
    /// Wait-free; one copy. No allocation, no lock, no log.
    pub fn poll(&mut self, now: Instant, frame: &mut [u8]) -> Option<Played> {
        self.sink.apply_flush();
        if now < self.next_due {
            return None;
        }
        // Whole frames are forgotten, so that the grid keeps its phase.
        let owed = ((now - self.next_due).as_nanos() / PTIME.as_nanos()) as u32 + 1;
        self.next_due += PTIME * owed.saturating_sub(MAX_LATE_FRAMES);
        self.next_due += PTIME;

        let spoke = self.speaking;
        let ready = self.sink.ready();
        self.speaking = if spoke { self.goes_on(ready) } else { self.starts(ready, now) };
        if !self.speaking {
            frame.fill(self.format.silence_byte());
            return Some(Played::Silence { first: spoke });
        }
        let (audio, padding) = frame.split_at_mut(ready.min(frame.len()));
        self.sink.pop(audio);
        padding.fill(self.format.silence_byte());
        Some(Played::Agent { first: !spoke })
    }

    /// Whether a turn that is being heard has another frame. Counts an underrun when it should have and has not.
    fn goes_on(&mut self, ready: usize) -> bool {
        if ready >= self.frame_bytes() {
            return true;
        }
        let complete = self.sink.turn_complete();
        if !complete {
            self.underruns += 1;
        }
        complete && ready > 0
    }

    /// Whether the silence ends: enough has come, all there will be has come, or it has waited long enough.
    fn starts(&mut self, ready: usize, now: Instant) -> bool {
        if ready == 0 {
            self.waiting_since = None;
            return false;
        }
        let waiting_since = *self.waiting_since.get_or_insert(now);
        let start = ready >= self.preroll_bytes.max(self.frame_bytes())
            || self.sink.turn_complete()
            || now - waiting_since >= 2 * self.preroll.max(PTIME);
        if start {
            self.waiting_since = None;
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{AgentFeed, agent_ring};

    const FRAME: usize = 160;

    struct Line {
        feed: AgentFeed,
        playout: Playout,
        start: Instant,
    }

    impl Line {
        fn new() -> Self {
            let (feed, sink) = agent_ring(3200);
            let start = Instant::now();
            Self { feed, playout: Playout::new(sink, Format::ALAW, Duration::from_millis(40), start), start }
        }

        fn at(&mut self, ms: u64) -> Vec<(Played, Vec<u8>)> {
            let now = self.start + Duration::from_millis(ms);
            let mut frame = [0; FRAME];
            std::iter::from_fn(|| self.playout.poll(now, &mut frame).map(|played| (played, frame.to_vec()))).collect()
        }

        fn one(&mut self, ms: u64) -> Played {
            let frames = self.at(ms);
            assert_eq!(frames.len(), 1, "frames at {ms} ms");
            frames[0].0
        }
    }

    #[test]
    fn silence_leaves_every_twenty_milliseconds() {
        let mut line = Line::new();
        let frames: Vec<_> = (0..200).flat_map(|ms| line.at(ms)).collect();
        assert_eq!(frames.len(), 10);
        assert!(frames.iter().all(|(_, frame)| frame.iter().all(|&code| code == 0xD5)));
    }

    #[test]
    fn a_turn_starts_after_its_preroll_and_ends_padded() {
        let mut line = Line::new();
        line.feed.push(&[1; FRAME]);
        assert_eq!(line.one(0), Played::Silence { first: false });
        line.feed.push(&[1; FRAME]);
        assert_eq!(line.one(20), Played::Agent { first: true });
        line.feed.push(&[1; 10]);
        line.feed.end_turn();
        assert_eq!(line.one(40), Played::Agent { first: false });
        let last = line.at(60);
        assert_eq!(last[0].0, Played::Agent { first: false });
        assert_eq!(&last[0].1[8..12], [1, 1, 0xD5, 0xD5]);
        assert_eq!(line.one(80), Played::Silence { first: true });
        assert_eq!(line.playout.underruns(), 0);
    }

    #[test]
    fn a_turn_shorter_than_the_preroll_is_heard() {
        let mut line = Line::new();
        line.feed.push(&[1; 50]);
        line.feed.end_turn();
        assert_eq!(line.one(0), Played::Agent { first: true });
    }

    #[test]
    fn audio_without_an_end_is_not_held_back_for_ever() {
        let mut line = Line::new();
        line.feed.push(&[1; FRAME]);
        let heard = (0..10).find(|tick| line.one(tick * 20) == Played::Agent { first: true });
        assert_eq!(heard, Some(4));
    }

    #[test]
    fn running_dry_in_a_turn_is_counted_once_and_needs_a_new_preroll() {
        let mut line = Line::new();
        line.feed.push(&[1; 2 * FRAME]);
        assert_eq!(line.one(0), Played::Agent { first: true });
        assert_eq!(line.one(20), Played::Agent { first: false });
        assert_eq!(line.one(40), Played::Silence { first: true });
        line.feed.push(&[1; FRAME]);
        assert_eq!(line.one(60), Played::Silence { first: false });
        line.feed.push(&[1; FRAME]);
        assert_eq!(line.one(80), Played::Agent { first: true });
        assert_eq!(line.playout.underruns(), 1);
    }

    #[test]
    fn a_stall_of_the_thread_is_made_up_for_by_three_frames_at_most() {
        let mut line = Line::new();
        assert_eq!(line.at(0).len(), 1);
        assert_eq!(line.at(1009).len(), 3);
        assert_eq!(line.at(1019).len(), 0);
        assert_eq!(line.at(1020).len(), 1);
    }

    #[test]
    fn a_flush_silences_the_next_frame_and_the_next_turn_is_heard() {
        let mut line = Line::new();
        line.feed.push(&[1; 10 * FRAME]);
        assert_eq!(line.one(0), Played::Agent { first: true });
        line.feed.flush();
        assert_eq!(line.one(20), Played::Silence { first: true });
        assert_eq!(line.feed.cut(), Some(FRAME as u64));
        line.feed.push(&[2; 2 * FRAME]);
        let next = line.at(40);
        assert_eq!((next[0].0, next[0].1[0]), (Played::Agent { first: true }, 2));
        assert_eq!(line.playout.underruns(), 0);
    }
}
