//! The AI's process stands still for 2 s in the middle of all calls, and goes on.
//!
//! Twice: with an AI that speaks at its own pace and does not make up for what it has not said, and with one that echoes,
//! so that on its return it sends 2 s of audio at once.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::window::{Delay, Window, by_line, delays, heard};
use super::{Loops, Moment, RIGHT, SETTLE, Spread, sorted, warm_stage};
use crate::callers::Callers;
use crate::paths::Path;

/// How long it stands still.
const FROZEN: Duration = Duration::from_secs(2);
/// What is normal is seen before that, for so long,
const NORMAL: Duration = Duration::from_secs(4);
/// and the return afterwards.
const AFTER: Duration = Duration::from_secs(8);
/// A call is back when no burst is later than the 99th percentile before by more than this, until the end. [ms]
const BACK_MS: f32 = 10.0;
/// A freeze, all in all. [s]
const SECONDS: u64 = 28;

/// What the AI was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Doing {
    Speaking,
    Echoing,
}

/// What a freeze did to one path.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Freeze {
    pub(crate) path: Path,
    pub(crate) calls: usize,
    pub(crate) answered: usize,
    pub(crate) doing: Doing,
    /// Time between two packets while it stood still. [ms]
    pub(crate) spacing: Spread,
    /// From AI to caller (speaking), or there and back (echoing).
    pub(crate) agent: Return,
    /// From caller to AI.
    pub(crate) caller: Return,
    pub(crate) others_percent: f64,
}

/// How a delay went back to what it was.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Return {
    pub(crate) normal: Spread,
    /// In the last second that was looked at.
    pub(crate) at_end: Spread,
    /// From the AI's return until the last call was back; `None`: not within 8 s. A call is looked at every 160 ms. [ms]
    pub(crate) back_ms: Option<f32>,
    pub(crate) calls_back: usize,
}

impl Freeze {
    /// How long all of `calls` take. [s]
    pub(crate) fn seconds(calls: usize) -> u64 {
        2 * (SECONDS + calls as u64 / 25)
    }
}

/// Freezes the AI of `path` while it is `doing` that.
///
/// # Errors
/// When something does not start or no call comes about.
pub(crate) fn measure(path: Path, calls: usize, doing: Doing, loops: &Loops) -> Result<Freeze> {
    let mut stage = warm_stage(path, &loops.dense)?;
    let callers = Callers::place(calls, path.extension(), stage.rig.sip_addr(), &loops.dense, RIGHT)?;
    thread::sleep(SETTLE);
    if doing == Doing::Speaking {
        stage.ai.order("stream dense 0")?;
        thread::sleep(Duration::from_secs(1));
    }
    let before = Moment::look(&stage)?;
    let normal = Window::lasting(NORMAL)?;
    let frozen = Window::of(|| {
        stage.ai.freeze(true)?;
        thread::sleep(FROZEN);
        stage.ai.freeze(false)
    })?;
    let after = Window::lasting(AFTER)?;
    let others = Moment::look(&stage)?.since(&before).others;
    let answered = callers.answered();
    let notes = by_line(&stage.ai.report()?);
    let logs = callers.finish()?;

    let known = || logs.iter().filter_map(|log| Some((log, notes.get(&log.line)?)));
    let agent: Vec<_> = known()
        .map(|(log, notes)| delays(if doing == Doing::Speaking { &notes.said } else { &log.said }, &heard(log)))
        .collect();
    let caller: Vec<_> = known().map(|(log, notes)| delays(&log.said, &notes.heard)).collect();
    Ok(Freeze {
        path,
        calls,
        answered,
        doing,
        spacing: Spread::of(&frozen.spacing_ms(&logs)),
        agent: Return::of(normal, after, &agent),
        caller: Return::of(normal, after, &caller),
        others_percent: 100.0 * others / (NORMAL + FROZEN + AFTER).as_secs_f64(),
    })
}

impl Return {
    /// Of the delays of each call.
    fn of(normal: Window, after: Window, calls: &[Vec<Delay>]) -> Self {
        let within =
            |window: Window| sorted(calls.iter().flatten().filter(|delay| window.has(delay.heard_ns)).map(Delay::ms));
        let usual = Spread::of(&within(normal));
        let limit = usual.p99 + BACK_MS;
        let back: Vec<f32> = calls.iter().filter_map(|delays| back_ms(after, delays, limit)).collect();
        let at_end = Window { from_ns: after.to_ns - 1_000_000_000, ..after };
        Self {
            normal: usual,
            at_end: Spread::of(&within(at_end)),
            back_ms: (back.len() == calls.len()).then(|| back.iter().copied().fold(0.0, f32::max)),
            calls_back: back.len(),
        }
    }
}

/// From the beginning of `after` to the first burst after the last that was later than `limit_ms`.
fn back_ms(after: Window, delays: &[Delay], limit_ms: f32) -> Option<f32> {
    let mut heard = delays.iter().filter(|delay| after.has(delay.heard_ns)).rev().peekable();
    let mut back = None;
    while let Some(delay) = heard.next_if(|delay| delay.ms() <= limit_ms) {
        back = Some(super::window::ms(delay.heard_ns - after.from_ns));
    }
    back
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_back_when_no_later_burst_is_late() {
        let second = 1_000_000_000;
        let after = Window { from_ns: 10 * second, to_ns: 20 * second };
        let delay =
            |heard_ms: i64, ms: i64| Delay { said_ns: (heard_ms - ms) * 1_000_000, heard_ns: heard_ms * 1_000_000 };
        let mut calls =
            vec![delay(9000, 20), delay(10_050, 900), delay(10_100, 25), delay(10_200, 50), delay(10_360, 25)];
        assert_eq!(back_ms(after, &calls, 30.0), Some(360.0));
        calls.push(delay(19_000, 31));
        assert_eq!(back_ms(after, &calls, 30.0), None);
        assert_eq!(back_ms(after, &[], 30.0), None);
    }
}
