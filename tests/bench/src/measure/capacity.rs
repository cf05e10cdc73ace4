//! The most calls a path can hold: none dropped, no packet lost, no gap over 60 ms, every burst back.

use std::time::Duration;

use anyhow::Result;

use super::{Loops, Row, measure};
use crate::paths::Path;
use crate::plan::DISTURBED_PERCENT;

/// Each number of calls is held that long.
const SECONDS: Duration = Duration::from_secs(10);
/// Numbers are doubled from here until it fails,
const FIRST: usize = 25;
/// at most up to here, unless somebody says otherwise.
pub(crate) const LAST: usize = 400;
/// Then the space between is halved so many times.
const HALVINGS: usize = 3;
/// One attempt, without the calls' own set-up. [s]
const ATTEMPT_S: u64 = 24;

/// What the search found.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Capacity {
    path: Path,
    /// The most that were held; 0: not even the first.
    pub(crate) held: usize,
    /// The fewest that were not; `None`: it never failed.
    pub(crate) failed: Option<usize>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, serde::Serialize)]
struct Attempt {
    calls: usize,
    held: bool,
    answered: usize,
    gaps_over_60_ms: usize,
    spacing_max: f32,
    packets_lost: i64,
    bursts_percent: f64,
    delay_p99: f32,
    others_percent: f64,
}

impl Capacity {
    pub(crate) fn path(&self) -> Path {
        self.path
    }

    /// Longest time a search takes. [s]
    pub(crate) fn seconds_max() -> u64 {
        8 * ATTEMPT_S + 4 * LAST as u64 / 25
    }
}

/// Searches among numbers of up to `most` calls, telling each attempt to `tell`.
///
/// # Errors
/// When the very first attempt cannot be made.
pub(crate) fn search(path: Path, most: usize, loops: &Loops, mut tell: impl FnMut(&str)) -> Result<Capacity> {
    let mut found = Capacity { path, held: 0, failed: None, attempts: Vec::new() };
    while let Some(calls) = next(&found, most) {
        let mut attempt = || {
            let attempt = match measure(path, calls, SECONDS, loops, false) {
                Ok((row, _)) => Attempt::of(&row),
                Err(error) if found.attempts.is_empty() => return Err(error),
                // So many calls that nothing can be measured any more.
                Err(_) => Attempt::none(calls),
            };
            tell(&attempt.line());
            Ok(attempt)
        };
        let attempt = match attempt()? {
            // Perhaps others are to blame.
            failed if !failed.held && failed.others_percent > DISTURBED_PERCENT => attempt()?,
            attempt => attempt,
        };
        if attempt.held {
            found.held = calls;
        } else {
            found.failed = Some(calls);
        }
        found.attempts.push(attempt);
    }
    Ok(found)
}

/// The next number of calls to try; `None` at the end of the search.
fn next(found: &Capacity, most: usize) -> Option<usize> {
    match found.failed {
        None if found.held == 0 => Some(FIRST.min(most)),
        None => Some((found.held * 2).min(most)).filter(|&calls| calls > found.held),
        Some(failed) => {
            let doublings = found.attempts.iter().take_while(|attempt| attempt.held).count() + 1;
            let halved = found.attempts.len() - doublings;
            (halved < HALVINGS && failed - found.held > 1).then_some(found.held.midpoint(failed))
        }
    }
}

impl Attempt {
    fn of(row: &Row) -> Self {
        let whole = row.answered == row.calls && row.ended_early == 0 && row.packets_lost == 0;
        Self {
            calls: row.calls,
            held: whole && row.gaps_over_60_ms == 0 && row.bursts_percent >= 99.9,
            answered: row.answered,
            gaps_over_60_ms: row.gaps_over_60_ms,
            spacing_max: row.spacing.max,
            packets_lost: row.packets_lost,
            bursts_percent: row.bursts_percent,
            delay_p99: row.delay.p99,
            others_percent: row.others_percent,
        }
    }

    fn none(calls: usize) -> Self {
        Self {
            calls,
            held: false,
            answered: 0,
            gaps_over_60_ms: 0,
            spacing_max: f32::NAN,
            packets_lost: 0,
            bursts_percent: 0.0,
            delay_p99: f32::NAN,
            others_percent: 0.0,
        }
    }

    fn line(&self) -> String {
        format!(
            "{} calls: {} ({} answered, longest gap {:.0} ms, {} over 60 ms, {} lost, {:.1} % of bursts back, delay p99 \
             {:.0} ms, others {:.0} % of a core)",
            self.calls,
            if self.held { "held" } else { "not held" },
            self.answered,
            self.spacing_max,
            self.gaps_over_60_ms,
            self.packets_lost,
            self.bursts_percent,
            self.delay_p99,
            self.others_percent
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers tried, and the result, for a path that holds `most` calls.
    fn search_of(most: usize) -> (Vec<usize>, usize, Option<usize>) {
        let mut found = Capacity { path: Path::A, held: 0, failed: None, attempts: Vec::new() };
        while let Some(calls) = next(&found, LAST) {
            let held = calls <= most;
            if held {
                found.held = calls
            } else {
                found.failed = Some(calls)
            }
            found.attempts.push(Attempt { held, ..Attempt::none(calls) });
        }
        (found.attempts.iter().map(|attempt| attempt.calls).collect(), found.held, found.failed)
    }

    #[test]
    fn a_search_doubles_then_halves_and_ends() {
        assert_eq!(search_of(170), (vec![25, 50, 100, 200, 150, 175, 162], 162, Some(175)));
        assert_eq!(search_of(1000), (vec![25, 50, 100, 200, 400], 400, None));
        assert_eq!(search_of(0), (vec![25, 12, 6, 3], 0, Some(3)));
    }
}
