//! What callers and AI noticed within some time, put together.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use bench_common::audio::TONES;
use bench_common::clock;
use bench_common::record::{Record, What};

use crate::meter::{Arrival, Log};

/// A stretch of the real-time clock. [ns]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from_ns: i64,
    pub(crate) to_ns: i64,
}

impl Window {
    /// Runs `during` and tells when that was.
    ///
    /// # Errors
    /// Those of `during`.
    pub(crate) fn of(during: impl FnOnce() -> Result<()>) -> Result<Self> {
        let from_ns = clock::now_ns()?;
        during()?;
        Ok(Self { from_ns, to_ns: clock::now_ns()? })
    }

    /// Waits so long and tells when that was.
    ///
    /// # Errors
    /// When the machine has no clock.
    pub(crate) fn lasting(time: Duration) -> Result<Self> {
        Self::of(|| {
            thread::sleep(time);
            Ok(())
        })
    }

    pub(crate) fn has(&self, at_ns: i64) -> bool {
        (self.from_ns..self.to_ns).contains(&at_ns)
    }

    /// Arrivals on one line, in order.
    pub(crate) fn arrivals<'a>(&self, log: &'a Log) -> &'a [Arrival] {
        let at = |ns| log.arrivals.partition_point(|arrival| arrival.at_ns < ns);
        &log.arrivals[at(self.from_ns)..at(self.to_ns).max(at(self.from_ns))]
    }

    /// Time between two packets, on all lines, in order of size. [ms] A line on which nothing came has one such time, the
    /// whole window.
    pub(crate) fn spacing_ms(&self, logs: &[Log]) -> Vec<f32> {
        let answered = logs.iter().filter(|log| log.answered);
        let mut spacing: Vec<f32> = answered
            .flat_map(|log| {
                let arrivals = self.arrivals(log);
                let silent = arrivals.is_empty().then(|| ms(self.to_ns - self.from_ns));
                let next = arrivals.iter().skip(1);
                arrivals.iter().zip(next).map(|(one, next)| ms(next.at_ns - one.at_ns)).chain(silent)
            })
            .collect();
        spacing.sort_by(f32::total_cmp);
        spacing
    }

    /// Packets missing in Asterisk's numbers.
    pub(crate) fn lost(&self, logs: &[Log]) -> i64 {
        let lost = |log: &Log| {
            let numbers = || self.arrivals(log).iter().map(|arrival| arrival.sequence);
            let sent = numbers().max().zip(numbers().min()).map_or(0, |(last, first)| last - first + 1);
            sent - numbers().count() as i64
        };
        logs.iter().map(lost).sum()
    }
}

/// Tone and time of bursts, in order of time. [ns]
pub(crate) type Bursts = Vec<(u8, i64)>;

/// One burst that was said at one end and heard at the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Delay {
    pub(crate) said_ns: i64,
    pub(crate) heard_ns: i64,
}

impl Delay {
    pub(crate) fn ms(&self) -> f32 {
        ms(self.heard_ns - self.said_ns)
    }
}

/// Every burst that arrived, by when it was heard.
pub(crate) fn delays(said: &[(u8, i64)], heard: &[(u8, i64)]) -> Vec<Delay> {
    let mut found: HashMap<i64, i64> = HashMap::new();
    for &(tone, heard_ns) in heard {
        let before = said.partition_point(|&(_, at_ns)| at_ns <= heard_ns);
        // The latest of that tone is at most one round back. One that comes in two pieces came with the first.
        let latest = said[..before].iter().rev().take(TONES).find(|&&(of, _)| of == tone);
        if let Some(&(_, said_ns)) = latest {
            found.entry(said_ns).or_insert(heard_ns);
        }
    }
    let mut delays: Vec<_> = found.into_iter().map(|(said_ns, heard_ns)| Delay { said_ns, heard_ns }).collect();
    delays.sort_by_key(|delay| delay.heard_ns);
    delays
}

/// Audio that was left out, and that was put in, between the bursts an ear heard. [samples of 8 kHz]
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Slips {
    pub(crate) left_out: u64,
    pub(crate) put_in: u64,
}

impl Slips {
    /// Tone and position of the bursts of one line, in order.
    pub(crate) fn add(&mut self, heard: &[(u8, u64)], period: u64) {
        for (&(one, from), &(next, to)) in heard.iter().zip(heard.iter().skip(1)) {
            let periods = (u64::from(next) + TONES as u64 - u64::from(one)) % TONES as u64;
            let (expected, got) = (periods * period, to - from);
            self.left_out += expected.saturating_sub(got);
            self.put_in += got.saturating_sub(expected);
        }
    }
}

/// What the AI noted about one line.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) heard: Bursts,
    pub(crate) positions: Vec<(u8, u64, i64)>,
    pub(crate) said: Bursts,
    /// A turn and its interruption.
    pub(crate) turns: Vec<(i64, i64)>,
}

/// The AI's notes by line.
pub(crate) fn by_line(records: &[Record]) -> HashMap<u16, Notes> {
    let mut lines: HashMap<u16, Notes> = HashMap::new();
    let mut begun: HashMap<u16, i64> = HashMap::new();
    for &Record { line, at_ns, what } in records {
        let notes = lines.entry(line).or_default();
        match what {
            What::Heard { tone, position } => {
                notes.heard.push((tone, at_ns));
                notes.positions.push((tone, position, at_ns));
            }
            What::Said(tone) => notes.said.push((tone, at_ns)),
            What::Turn => drop(begun.insert(line, at_ns)),
            What::Interrupt => notes.turns.extend(begun.remove(&line).map(|began| (began, at_ns))),
        }
    }
    lines
}

/// What a caller heard.
pub(crate) fn heard(log: &Log) -> Bursts {
    log.heard.iter().filter_map(|burst| Some((burst.tone?, burst.at_ns))).collect()
}

pub(crate) fn ms(ns: i64) -> f32 {
    (ns as f64 / 1e6) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_the_latest_of_its_tone() {
        let said = [(0, 0), (1, 500), (2, 1000), (0, 16000)];
        let heard = [(0, 20), (0, 90), (2, 1300), (0, 16040), (9, 17000)];
        let delay = |said_ns, heard_ns| Delay { said_ns, heard_ns };
        assert_eq!(delays(&said, &heard), [delay(0, 20), delay(1000, 1300), delay(16000, 16040)]);
    }

    #[test]
    fn slips_count_what_is_missing_and_what_is_too_much() {
        let mut slips = Slips::default();
        // 160 samples too few, then one burst not heard at all, then 320 too many.
        slips.add(&[(30, 1000), (31, 4840), (1, 12840), (2, 17160)], 4000);
        assert_eq!(slips, Slips { left_out: 160, put_in: 320 });
    }

    #[test]
    fn spacing_is_that_within_the_window() {
        let arrivals = [0, 20, 40, 100, 120].map(|ms| Arrival { at_ns: ms * 1_000_000, sequence: ms / 20 });
        let log = Log { answered: true, arrivals: arrivals.into(), ..Log::default() };
        let window = Window { from_ns: 20_000_000, to_ns: 110_000_000 };
        assert_eq!(window.spacing_ms(std::slice::from_ref(&log)), [20.0, 60.0]);
        assert_eq!(window.lost(&[log]), 2);
    }
}
