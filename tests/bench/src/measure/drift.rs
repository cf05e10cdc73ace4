//! Endless audio both ways for many minutes, with clocks that are wrong: what a delay does over time.
//!
//! Callers are in five groups, which are told apart by the clock that is wrong: nobody's, the phone's, or the AI's, too fast
//! or too slow by 100 ppm. In 30 minutes such a clock is 180 ms off.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::window::{Bursts, Delay, Window, by_line, delays, heard};
use super::{Loops, Moment, SETTLE, Spread, sorted, warm_stage};
use crate::callers::Callers;
use crate::paths::Path;

/// What is wrong with the phone's and the AI's clock in each group. [ppm]
const PHONE_PPM: &[f64] = &[0.0, 100.0, -100.0, 0.0, 0.0];
const AI_PPM: [f64; 5] = [0.0, 0.0, 0.0, 100.0, -100.0];
/// Points on each curve.
const POINTS: i64 = 120;
/// Set-up and end. [s]
const AROUND_S: u64 = 16;

/// A long run of one path.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Drift {
    pub(crate) path: Path,
    pub(crate) calls: usize,
    pub(crate) answered: usize,
    pub(crate) minutes: f64,
    pub(crate) groups: Vec<Group>,
    pub(crate) spacing: Spread,
    pub(crate) gaps_over_30_ms: usize,
    pub(crate) packets_lost: i64,
    /// Asterisk and bridge, at the beginning and at the end. [KiB]
    pub(crate) memory_kib: [f64; 2],
    pub(crate) others_percent: f64,
}

/// Calls with the same clocks.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Group {
    pub(crate) phone_ppm: f64,
    pub(crate) ai_ppm: f64,
    pub(crate) calls: usize,
    /// From AI to caller.
    pub(crate) agent: Course,
    /// From caller to AI.
    pub(crate) caller: Course,
}

/// A delay over time.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Course {
    /// In the first and the last tenth of the time. [ms]
    pub(crate) first: Spread,
    pub(crate) last: Spread,
    pub(crate) bursts_percent: f64,
    points: Vec<Point>,
}

/// A piece of the time.
#[derive(Debug, serde::Serialize)]
struct Point {
    minute: f32,
    p50: f32,
    max: f32,
}

impl Drift {
    /// How long one takes. [s]
    pub(crate) fn seconds(minutes: f64) -> u64 {
        (minutes * 60.0) as u64 + AROUND_S
    }
}

/// Runs `path` for so many minutes, telling how far it is to `tell`.
///
/// # Errors
/// When something does not start or no call comes about.
pub(crate) fn measure(
    path: Path,
    calls: usize,
    minutes: f64,
    loops: &Loops,
    mut tell: impl FnMut(Duration),
) -> Result<Drift> {
    let mut stage = warm_stage(path, &loops.sparse)?;
    let callers = Callers::place(calls, path.extension(), stage.rig.sip_addr(), &loops.sparse, PHONE_PPM)?;
    thread::sleep(SETTLE);
    stage.ai.order(&format!("stream sparse {}", AI_PPM.map(|ppm| ppm.to_string()).join(",")))?;
    thread::sleep(Duration::from_secs(1));
    let before = Moment::look(&stage)?;
    let all = Window::of(|| {
        let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            tell(left);
            thread::sleep(left.min(Duration::from_secs(60)));
        }
        Ok(())
    })?;
    let after = Moment::look(&stage)?;
    thread::sleep(Duration::from_millis(400));
    let answered = callers.answered();
    let notes = by_line(&stage.ai.report()?);
    let logs = callers.finish()?;

    let spacing = all.spacing_ms(&logs);
    let groups = (0..AI_PPM.len()).map(|group| {
        let known =
            || logs.iter().skip(group).step_by(AI_PPM.len()).filter_map(|log| Some((log, notes.get(&log.line)?)));
        let agent: Vec<_> = known().map(|(log, notes)| (&notes.said, heard(log))).collect();
        let caller: Vec<_> = known().map(|(log, notes)| (&log.said, notes.heard.clone())).collect();
        Group {
            phone_ppm: PHONE_PPM[group],
            ai_ppm: AI_PPM[group],
            calls: agent.len(),
            agent: Course::of(all, &agent),
            caller: Course::of(all, &caller),
        }
    });
    Ok(Drift {
        path,
        calls,
        answered,
        minutes,
        groups: groups.collect(),
        gaps_over_30_ms: spacing.iter().filter(|&&gap| gap > 30.0).count(),
        spacing: Spread::of(&spacing),
        packets_lost: all.lost(&logs),
        memory_kib: [before.held().memory_kib, after.held().memory_kib],
        others_percent: 100.0 * after.since(&before).others / (minutes * 60.0),
    })
}

impl Course {
    /// Of what was said and heard in each call.
    fn of(all: Window, calls: &[(&Bursts, Bursts)]) -> Self {
        let found: Vec<Delay> = calls.iter().flat_map(|(said, heard)| delays(said, heard)).collect();
        let found: Vec<_> = found.into_iter().filter(|delay| all.has(delay.said_ns)).collect();
        let said = calls.iter().flat_map(|(said, _)| *said).filter(|(_, at_ns)| all.has(*at_ns)).count();
        let part = |from: i64, to: i64, of: i64| {
            let at = |part: i64| all.from_ns + (all.to_ns - all.from_ns) / of * part;
            let window = Window { from_ns: at(from), to_ns: at(to) };
            Spread::of(&sorted(found.iter().filter(|delay| window.has(delay.said_ns)).map(Delay::ms)))
        };
        let minutes = super::window::ms(all.to_ns - all.from_ns) / 60_000.0;
        let points =
            (0..POINTS).map(|point| (point, part(point, point + 1, POINTS))).filter(|(_, part)| part.count > 0);
        Self {
            first: part(0, 1, 10),
            last: part(9, 10, 10),
            bursts_percent: 100.0 * found.len() as f64 / said.max(1) as f64,
            points: points
                .map(|(point, part)| Point {
                    minute: minutes * (point as f32 + 0.5) / POINTS as f32,
                    p50: part.p50,
                    max: part.max,
                })
                .collect(),
        }
    }
}
