//! The caller's side of a call: frames in, as the network brings them, and one continuous stream out.
//!
//! ```text
//!  ast_read ─► Order: as they were sent ─► Continuity: at the pace of time ─► caller ring
//! ```
//!
//! # Why there is no jitter buffer in the usual sense
//!
//! A jitter buffer delays everything, so that what comes late is still in time to be *played*. Nobody plays what goes to
//! an AI: it wants the audio early and whole, not evenly spaced. So a frame that comes in order passes at once, however
//! unevenly; only what is out of order waits, and only for what is missing, at most as long as `jitter_target_ms`.
//! `JITTERBUFFER()` of Asterisk would do the ordering too, but at the price of a delay in every call and all the time. It
//! still works in front of `AI()`, which then finds nothing left to do.

use std::time::{Duration, Instant};

use crate::Format;
use crate::continuity::Continuity;
use crate::order::Order;
use crate::playout::PTIME;

/// Longest frame that can wait for its turn. [ms]
const LONGEST_MS: u64 = 60;
/// A frame with a mean magnitude below this has nothing to hear in it: -50 dB of full scale.
const SILENT: u32 = 32768 / 316;

/// The stream of one caller. Owned by the channel thread.
pub struct CallerStream {
    order: Order,
    pace: Pace,
}

struct Pace {
    format: Format,
    continuity: Continuity,
    /// One frame of [`PTIME`].
    silence: Box<[u8]>,
}

impl CallerStream {
    /// A stream of `format` that begins at `now` and waits for a late frame as long as `patience`.
    pub fn new(format: Format, patience: Duration, now: Instant) -> Self {
        let silence = vec![format.silence_byte(); format.bytes_in_ms(PTIME.as_millis() as u64)].into();
        let continuity = Continuity::new(patience, now);
        Self { order: Order::new(patience, format.bytes_in_ms(LONGEST_MS)), pace: Pace { format, continuity, silence } }
    }

    /// A frame came, with its number in the stream if it has one. Gives `out` what the AI hears now.
    ///
    /// # Realtime
    /// At most one copy. No allocation, no lock.
    pub fn heard(&mut self, now: Instant, number: Option<u16>, audio: &[u8], mut out: impl FnMut(&[u8])) {
        let Self { order, pace } = self;
        let flows = pace.continuity.flows(now);
        let waits = order.arrive(now, number, audio, flows, &mut |audio, lost| pace.place(now, audio, lost, &mut out));
        if waits {
            pace.continuity.came_early(now);
        }
    }

    /// What comes next is from another source, whose numbers begin anew. Gives `out` what still waits.
    ///
    /// # Realtime
    /// No allocation, no lock.
    pub fn begin_anew(&mut self, now: Instant, mut out: impl FnMut(&[u8])) {
        let Self { order, pace } = self;
        order.begin_anew(&mut |audio, lost| pace.place(now, audio, lost, &mut out));
    }

    /// Gives `out` what time makes due. Call at every tick.
    ///
    /// # Realtime
    /// No allocation, no lock.
    pub fn tick(&mut self, now: Instant, mut out: impl FnMut(&[u8])) {
        let Self { order, pace } = self;
        order.tick(now, &mut |audio, lost| pace.place(now, audio, lost, &mut out));
        for _ in 0..pace.continuity.missing(now, PTIME) {
            out(&pace.silence);
        }
    }
}

impl Pace {
    fn place(&mut self, now: Instant, audio: &[u8], lost: u32, out: &mut impl FnMut(&[u8])) {
        let samples = (audio.len() / self.format.sample_bytes()) as u64;
        let length = Duration::from_nanos(samples * 1_000_000_000 / u64::from(self.format.rate_hz));
        if length.is_zero() {
            return;
        }
        let place = self.continuity.heard(now, length, lost, || is_silent(self.format, audio));
        let mut silent_bytes = audio.len() * place.lost as usize;
        while silent_bytes > 0 {
            let piece = silent_bytes.min(self.silence.len());
            out(&self.silence[..piece]);
            silent_bytes -= piece;
        }
        if place.keep {
            out(audio);
        }
    }
}

fn is_silent(format: Format, audio: &[u8]) -> bool {
    let samples = audio.chunks_exact(format.sample_bytes());
    let count = samples.len() as u64;
    let sum: u64 = samples.map(|sample| u64::from(format.linear(sample).unsigned_abs())).sum();
    sum < u64::from(SILENT) * count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_silence_of_the_same_length_in_the_same_place() {
        let start = Instant::now();
        let mut stream = CallerStream::new(Format::ALAW, Duration::from_millis(40), start);
        let mut out = Vec::new();
        let at = |ms| start + Duration::from_millis(ms);
        for number in [1, 2, 4, 5, 6, 7] {
            let now = at(u64::from(number) * 30);
            stream.heard(now, Some(number), &[number as u8; 240], |audio| out.extend_from_slice(audio));
            stream.tick(now, |audio| out.extend_from_slice(audio));
        }
        let heard: Vec<u8> = out.chunks(240).map(|frame| frame[0]).collect();
        assert_eq!(heard, [1, 2, Format::ALAW.silence_byte(), 4, 5, 6, 7]);
        assert!(out.chunks(240).all(|frame| frame.iter().all(|&code| code == frame[0])));
    }

    #[test]
    fn frames_that_change_places_cost_nothing() {
        let start = Instant::now();
        let mut stream = CallerStream::new(Format::slin(16000), Duration::from_millis(40), start);
        let mut out = Vec::new();
        for (n, number) in [0u16, 2, 1, 3, 5, 4, 6].into_iter().enumerate() {
            let now = start + PTIME * (n as u32 + 1);
            stream.heard(now, Some(number), &[number as u8; 640], |audio| out.extend_from_slice(audio));
            stream.tick(now, |audio| out.extend_from_slice(audio));
        }
        let heard: Vec<u8> = out.chunks(640).map(|frame| frame[0]).collect();
        assert_eq!(heard, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn only_frames_with_nothing_to_hear_are_silent() {
        assert!(is_silent(Format::ALAW, &[0xD5; 160]));
        assert!(is_silent(Format::ULAW, &[0xFF; 160]));
        assert!(is_silent(Format::slin(8000), &[50, 0, 206, 255]));
        assert!(!is_silent(Format::slin(8000), &[0, 4, 0, 252]));
    }
}
