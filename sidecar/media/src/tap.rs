//! One leg of a call between two people, listened to on its way: from the thread that services its channel to the assist task.
//!
//! ```text
//!  whoever services the channel                      sidecar thread
//!  LegFeed ── push ──►  [ pieces ][ samples ] ── take ──► LegTap       one leg; a tapped call has two
//! ```
//!
//! The channel delivers frames whose rate can change in mid-call and which can stop coming for as long as they like. So
//! each frame crosses as a piece of its own: its samples, their rate, and when they were tapped. Samples and pieces lie in
//! two wait-free rings; the piece is written last and read first, so a piece that is seen has all its samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtrb::{Consumer, Producer, RingBuffer};

/// Most samples of one millisecond: the ring is sized for fullband audio, and holds the longer the lower the rate is.
const SAMPLES_PER_MS: usize = 48; // 48 kHz

/// Shortest frame that channels commonly deliver. [ms]
const SHORTEST_FRAME_MS: usize = 10;

/// A ring for one leg. It holds `capacity_ms` milliseconds at 48 kHz in frames of 10 ms or longer; more at lower rates.
pub fn leg_ring(capacity_ms: u32) -> (LegFeed, LegTap) {
    let capacity_ms = capacity_ms as usize;
    let (samples, taken_samples) = RingBuffer::new(capacity_ms * SAMPLES_PER_MS);
    let (pieces, taken_pieces) = RingBuffer::new(capacity_ms.div_ceil(SHORTEST_FRAME_MS));
    let dropped = Arc::new(AtomicU64::new(0));
    (
        LegFeed { samples, pieces, dropped: dropped.clone() },
        LegTap { samples: taken_samples, pieces: taken_pieces, dropped },
    )
}

/// One frame of a leg, whose samples [`LegTap::take`] has appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Samples a second. [Hz]
    pub rate_hz: u32,
    /// When the frame was tapped.
    pub at: Instant,
}

/// The end of the thread that services the channel.
pub struct LegFeed {
    samples: Producer<i16>,
    pieces: Producer<(Piece, usize)>,
    dropped: Arc<AtomicU64>,
}

impl LegFeed {
    /// Copies one frame, whole or not at all: without room for it, it is dropped and counted. An empty frame is nothing.
    ///
    /// # Realtime
    /// Wait-free; one copy. No allocation, no lock.
    pub fn push(&mut self, samples: &[i16], rate_hz: u32, at: Instant) {
        if samples.is_empty() {
            return;
        }
        if self.pieces.is_full() || self.samples.push_entire_slice(samples).is_err() {
            self.dropped.fetch_add(samples.len() as u64, Ordering::Relaxed);
            return;
        }
        if self.pieces.push((Piece { rate_hz, at }, samples.len())).is_err() {
            unreachable!("this end alone fills the ring, and there was room");
        }
    }
}

/// The assist task's end.
pub struct LegTap {
    samples: Consumer<i16>,
    pieces: Consumer<(Piece, usize)>,
    dropped: Arc<AtomicU64>,
}

impl LegTap {
    /// Appends the oldest frame's samples to `into`; `None` if there is none.
    pub fn take(&mut self, into: &mut Vec<i16>) -> Option<Piece> {
        let (piece, count) = self.pieces.pop().ok()?;
        let start = into.len();
        into.resize(start + count, 0);
        if self.samples.pop_entire_slice(&mut into[start..]).is_err() {
            unreachable!("a piece's samples are in the ring before the piece is");
        }
        Some(piece)
    }

    /// Samples that were dropped because this end did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_frame_keeps_its_rate_and_its_time() {
        let (mut feed, mut tap) = leg_ring(100);
        let start = Instant::now();
        feed.push(&[1; 160], 8000, start);
        feed.push(&[], 8000, start);
        feed.push(&[2; 320], 16_000, start + Duration::from_millis(20));
        let mut audio = Vec::new();
        assert_eq!(tap.take(&mut audio), Some(Piece { rate_hz: 8000, at: start }));
        assert_eq!(audio, [1; 160]);
        let second = Piece { rate_hz: 16_000, at: start + Duration::from_millis(20) };
        assert_eq!(tap.take(&mut audio), Some(second));
        assert_eq!((audio.len(), audio[160], audio[479]), (480, 2, 2));
        assert_eq!((tap.take(&mut audio), tap.dropped()), (None, 0));
    }

    #[test]
    fn a_full_ring_drops_whole_frames_and_counts_them() {
        let (mut feed, mut tap) = leg_ring(40);
        let now = Instant::now();
        for frame in 1..=6 {
            feed.push(&[frame; 480], 48_000, now);
        }
        assert_eq!(tap.dropped(), 2 * 480);
        let mut audio = Vec::new();
        while tap.take(&mut audio).is_some() {}
        assert_eq!(audio, [[1; 480], [2; 480], [3; 480], [4; 480]].concat());
        feed.push(&[7; 480], 48_000, now);
        audio.clear();
        assert!(tap.take(&mut audio).is_some());
        assert_eq!(audio, [7; 480]);
    }

    #[test]
    fn a_frame_longer_than_the_ring_is_dropped() {
        let (mut feed, mut tap) = leg_ring(10);
        feed.push(&[1; 481], 48_000, Instant::now());
        assert_eq!((tap.take(&mut Vec::new()), tap.dropped()), (None, 481));
    }

    #[test]
    fn frames_arrive_whole_while_both_threads_run() {
        const FRAMES: u32 = 2_000;
        let (mut feed, mut tap) = leg_ring(50);
        let now = Instant::now();
        let writer = std::thread::spawn(move || {
            for frame in 0..FRAMES {
                let value = (frame % 1000) as i16;
                feed.push(&vec![value; 80 + frame as usize % 81], 8000 + frame, now);
            }
        });
        let (mut audio, mut seen) = (Vec::new(), 0);
        loop {
            let done = writer.is_finished();
            while let Some(piece) = tap.take(&mut audio) {
                let frame = piece.rate_hz - 8000;
                assert_eq!(audio, vec![(frame % 1000) as i16; 80 + frame as usize % 81]);
                seen += audio.len() as u64;
                audio.clear();
            }
            if done {
                break;
            }
        }
        let sent = (0..FRAMES).map(|frame| 80 + u64::from(frame % 81)).sum::<u64>();
        assert_eq!(seen + tap.dropped(), sent);
    }
}
