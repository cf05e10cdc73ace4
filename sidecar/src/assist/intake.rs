//! What one of the two says, brought onto the call's clock.
//!
//! ```text
//!  pieces, each with its time ─► gaps become silence ─► chunks of a run ─► stream
//! ```
//!
//! A transcriber hears the end of a sentence by the silence after it, so silence there must be, whatever the network
//! delivers. A run goes on from sample to sample; a pause ends it. Knows no clock: every method is told the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longest piece of a run that is passed on as one.
const CHUNK: Duration = Duration::from_millis(100);
/// A gap up to this is the network's jitter.
const JITTER: Duration = Duration::from_millis(60);
/// What has not come after so long does not come: silence takes its place.
const LATE: Duration = Duration::from_millis(200);
/// Audio that is so far ahead of its time does not belong there: it came late, and silence was heard in its place.
const AHEAD_MAX: Duration = Duration::from_millis(500);
/// Most audio that waits for its stream; the oldest is dropped.
const BACKLOG: Duration = Duration::from_secs(8);

/// Some audio without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// When its first sample was tapped.
    pub(super) at: Instant,
    /// [Hz]
    pub(super) rate_hz: u32,
    /// Linear samples.
    pub(super) samples: Vec<i16>,
}

impl Chunk {
    /// How long it lasts.
    pub(super) fn duration(&self) -> Duration {
        duration(self.samples.len(), self.rate_hz)
    }

    /// When the sample after its last is due.
    fn end(&self) -> Instant {
        self.at + self.duration()
    }
}

/// The audio of one of the two that no stream has taken.
#[derive(Debug, Default)]
pub(super) struct Intake {
    chunks: VecDeque<Chunk>,
    dropped: Duration,
    /// Where the run goes on, and at which rate.
    next: Option<(Instant, u32)>,
}

impl Intake {
    /// Takes a piece that was tapped at `at`.
    pub(super) fn hear(&mut self, samples: &[i16], rate_hz: u32, at: Instant) {
        let Some((next, rate)) = self.next else { return self.append(samples, rate_hz, at) };
        if next.saturating_duration_since(at) > AHEAD_MAX {
            self.dropped += duration(samples.len(), rate_hz);
        } else if at.saturating_duration_since(next) > JITTER {
            self.silence(next, at, rate);
            self.append(samples, rate_hz, at);
        } else {
            self.append(samples, rate_hz, next);
        }
    }

    /// It is `now`: what should have come long ago is silence.
    pub(super) fn fill(&mut self, now: Instant) {
        if let Some((next, rate)) = self.next
            && now > next + LATE
        {
            self.silence(next, now - LATE, rate);
        }
    }

    /// The run ends.
    pub(super) fn pause(&mut self) {
        self.next = None;
    }

    /// The rate of the audio that waits, or would come next. [Hz]
    pub(super) fn rate_hz(&self) -> Option<u32> {
        self.chunks.front().map(|chunk| chunk.rate_hz).or(self.next.map(|(_, rate)| rate))
    }

    /// The oldest audio.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        self.chunks.pop_front()
    }

    /// These had been taken, and have to be taken again.
    pub(super) fn put_back(&mut self, chunks: impl DoubleEndedIterator<Item = Chunk>) {
        chunks.rev().for_each(|chunk| self.chunks.push_front(chunk));
    }

    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// What was never taken, so that it had to be dropped.
    pub(super) fn dropped(&self) -> Duration {
        self.dropped
    }

    /// Forgets what waits: nobody will take it.
    pub(super) fn clear(&mut self) {
        self.dropped += self.waiting();
        self.chunks.clear();
        self.next = None;
    }

    fn waiting(&self) -> Duration {
        self.chunks.iter().map(Chunk::duration).sum()
    }

    fn silence(&mut self, from: Instant, to: Instant, rate_hz: u32) {
        // More would only push out what is there, and then itself.
        let lasting = to.saturating_duration_since(from).min(BACKLOG);
        let samples = (lasting.as_secs_f64() * f64::from(rate_hz)).round() as usize;
        self.append(&vec![0; samples], rate_hz, to - lasting);
    }

    fn append(&mut self, mut samples: &[i16], rate_hz: u32, mut at: Instant) {
        let full = (CHUNK.as_secs_f64() * f64::from(rate_hz)) as usize;
        while !samples.is_empty() && full > 0 {
            let goes_on = |last: &Chunk| last.rate_hz == rate_hz && last.end() == at && last.samples.len() < full;
            if !self.chunks.back().is_some_and(goes_on) {
                self.chunks.push_back(Chunk { at, rate_hz, samples: Vec::with_capacity(full) });
            }
            let Some(chunk) = self.chunks.back_mut() else { unreachable!("there is one, or one was pushed") };
            let (first, rest) = samples.split_at(samples.len().min(full - chunk.samples.len()));
            chunk.samples.extend_from_slice(first);
            samples = rest;
            at = chunk.end();
            self.next = Some((at, rate_hz));
        }
        while self.waiting() > BACKLOG
            && let Some(oldest) = self.take()
        {
            self.dropped += oldest.duration();
        }
    }
}

fn duration(samples: usize, rate_hz: u32) -> Duration {
    Duration::from_nanos((samples as u64).saturating_mul(1_000_000_000) / u64::from(rate_hz.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What waits, as pairs of its time and its samples, with equal neighbours as one: (since `start` [ms], sample, length [ms]).
    fn heard(intake: &mut Intake, start: Instant) -> Vec<(u128, i16, usize)> {
        let mut runs: Vec<(u128, i16, usize)> = Vec::new();
        while let Some(chunk) = intake.take() {
            assert!(chunk.duration() <= CHUNK);
            let per_ms = chunk.rate_hz as usize / 1000;
            for (at, ms) in chunk.samples.chunks(per_ms).enumerate() {
                let time = (chunk.at - start).as_millis() + at as u128;
                match runs.last_mut() {
                    Some((from, sample, length)) if *sample == ms[0] && *from + *length as u128 == time => *length += 1,
                    _ => runs.push((time, ms[0], 1)),
                }
            }
        }
        runs
    }

    #[test]
    fn frames_go_on_from_each_other_although_they_come_unevenly() {
        let (mut intake, start) = (Intake::default(), Instant::now());
        for (frame, jitter) in [0, 15, 0, 50, 30, 3, 0].into_iter().enumerate() {
            intake.hear(&[7; 160], 8000, start + (20 * frame as u32 + jitter) * MS);
            intake.fill(start + (20 * frame as u32 + 60) * MS);
        }
        assert_eq!(heard(&mut intake, start), [(0, 7, 140)]);
        assert_eq!(intake.dropped(), Duration::ZERO);
    }

    #[test]
    fn a_gap_is_silence_and_what_comes_later_is_where_it_belongs() {
        let (mut intake, start) = (Intake::default(), Instant::now());
        intake.hear(&[1; 160], 8000, start);
        intake.hear(&[2; 160], 8000, start + 500 * MS);
        assert_eq!(heard(&mut intake, start), [(0, 1, 20), (20, 0, 480), (500, 2, 20)]);
        intake.fill(start + 1000 * MS);
        assert_eq!(heard(&mut intake, start), [(520, 0, 280)], "a phone that sends nothing is silent");
        intake.fill(start + 1010 * MS);
        intake.hear(&[3; 320], 16_000, start + 1010 * MS);
        assert_eq!(heard(&mut intake, start), [(800, 0, 210), (1010, 3, 20)], "at another rate, too");
    }

    #[test]
    fn what_comes_much_too_late_is_left_out() {
        let (mut intake, start) = (Intake::default(), Instant::now());
        intake.hear(&[1; 160], 8000, start);
        for _ in 0..40 {
            intake.hear(&[2; 160], 8000, start + 20 * MS);
        }
        let [_, (at, 2, length)] = heard(&mut intake, start)[..] else { panic!("a burst") };
        assert_eq!((at, length), (20, 520));
        assert_eq!(intake.dropped(), 280 * MS);
    }

    #[test]
    fn after_a_pause_a_run_begins_when_it_does() {
        let (mut intake, start) = (Intake::default(), Instant::now());
        intake.hear(&[1; 160], 8000, start);
        intake.pause();
        intake.fill(start + 900 * MS);
        intake.hear(&[2; 160], 8000, start + 3000 * MS);
        assert_eq!(heard(&mut intake, start), [(0, 1, 20), (3000, 2, 20)]);
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let (mut intake, start) = (Intake::default(), Instant::now());
        for frame in 0..20 {
            intake.hear(&[frame as i16 / 5; 160], 8000, start + 20 * frame * MS);
        }
        let taken: Vec<_> = std::iter::from_fn(|| intake.take()).take(2).collect();
        intake.put_back(taken.into_iter());
        assert_eq!(heard(&mut intake, start), [(0, 0, 100), (100, 1, 100), (200, 2, 100), (300, 3, 100)]);
    }

    #[test]
    fn the_oldest_is_dropped_where_nobody_takes_it() {
        let (mut intake, start) = (Intake::default(), Instant::now());
        for frame in 0..500 {
            intake.hear(&[frame as i16 / 50; 160], 8000, start + 20 * frame * MS);
        }
        assert_eq!(heard(&mut intake, start).first(), Some(&(2000, 2, 1000)));
        assert_eq!(intake.dropped(), 2000 * MS);
        intake.hear(&[9; 160], 8000, start + 3_600_000 * MS);
        let [(silent_from, 0, length), (at, 9, 20)] = heard(&mut intake, start)[..] else { panic!("an hour's gap") };
        assert_eq!((silent_from + length as u128, at), (3_600_000, 3_600_000));
        assert!(length <= 8000);
        intake.hear(&[], 8000, start);
        intake.hear(&[1], 0, start + 3_600_020 * MS);
        assert!(heard(&mut intake, start).is_empty(), "nothing is nothing");
    }
}
