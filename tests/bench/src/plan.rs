//! What is measured, in which order, and how long that takes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Options;
use crate::load;
use crate::measure::capacity::{self, Capacity};
use crate::measure::drift::Drift;
use crate::measure::freeze::{Doing, Freeze};
use crate::paths::Path::{self, A, A0, B, C, Ct, D, E, Floor};

/// CPU of other programs above which a measurement is made again. [% of one core]
pub(crate) const DISTURBED_PERCENT: f64 = 15.0;
/// So many times at most.
const TRIES: usize = 3;
/// Before a measurement other programs must have used no more for as long as this.
const QUIET_FOR: Duration = Duration::from_secs(1);
/// The quick set is done by then, if need be without measuring again.
const QUICK_MAX: Duration = Duration::from_secs(590);

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Row { path: Path, calls: usize },
    Capacity { path: Path, most: usize },
    Freeze { path: Path, calls: usize, doing: Doing },
    Drift { path: Path, calls: usize, minutes: f64 },
}

impl Step {
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Row { path, calls } => format!("{}, {calls} calls", path.title()),
            Self::Capacity { path, most } => format!("{}, most calls up to {most}", path.title()),
            Self::Freeze { path, calls, doing } => format!("{}, {calls} calls, freeze while {doing:?}", path.title()),
            Self::Drift { path, calls, minutes } => format!("{}, {calls} calls, {minutes} min", path.title()),
        }
    }

    /// How long it takes. [s]
    fn seconds(&self, plan: &Plan) -> f64 {
        match *self {
            Self::Row { path, calls } => {
                let (python, floor) = (matches!(path, B | C | Ct | D), path.is_floor());
                let turns = if floor { 0.0 } else { 1.4 + plan.seconds.as_secs_f64().max(4.0) };
                let start = if python { 11.0 } else { 9.5 };
                start + turns + plan.seconds.as_secs_f64() + calls as f64 / 22.0
            }
            Self::Capacity { .. } => Capacity::seconds_max() as f64 * 0.8,
            Self::Freeze { calls, .. } => Freeze::seconds(calls) as f64 / 2.0,
            Self::Drift { minutes, .. } => Drift::seconds(minutes) as f64,
        }
    }
}

/// All of them.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Of a row, each half.
    pub(crate) seconds: Duration,
    /// When everything must be done.
    limit: Option<Duration>,
    patience: Duration,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Self {
        let full = options.full || options.all;
        let quick = !full && options.paths.is_empty() && options.calls.is_empty() && options.repeat.is_none();
        let only_extras = !full && (options.capacity || options.freeze || options.minutes.is_some());
        let mut steps = if only_extras { Vec::new() } else { rows(options, full) };
        let paths = |default: &[Path]| if options.paths.is_empty() { default.to_vec() } else { options.paths.clone() };
        let calls = |default: usize| if only_extras { options.calls.first().copied() } else { None }.unwrap_or(default);
        if options.capacity || options.all {
            let most = calls(capacity::LAST);
            steps.extend(paths(&[A, E, Ct, C, D, B]).into_iter().map(|path| Step::Capacity { path, most }));
        }
        if options.freeze || options.all {
            for path in paths(&[A, E, Ct]).into_iter().filter(|path| !path.is_floor()) {
                let frozen = [Doing::Speaking, Doing::Echoing];
                steps.extend(frozen.map(|doing| Step::Freeze { path, calls: calls(50), doing }));
            }
        }
        if let Some(minutes) = options.minutes.or(options.all.then_some(30.0)) {
            let long = paths(&[A]).into_iter().filter(|path| !path.is_floor());
            steps.extend(long.map(|path| Step::Drift { path, calls: calls(20), minutes }));
        }
        Self {
            steps,
            seconds: Duration::from_secs(options.seconds.unwrap_or(if full { 20 } else { 4 })),
            limit: (quick && !only_extras).then_some(QUICK_MAX),
            patience: Duration::from_secs(options.patience.unwrap_or(if full { 1800 } else { 90 })),
        }
    }
}

/// Paths and numbers of calls; what is compared runs close together.
fn rows(options: &Options, full: bool) -> Vec<Step> {
    let given = |paths: &[Path]| if options.paths.is_empty() { paths.to_vec() } else { options.paths.clone() };
    let calls = match (&options.calls[..], full) {
        ([], true) => vec![1, 20, 50, 100, 200],
        ([], false) => vec![1, 20, 50, 100],
        (calls, _) => calls.to_vec(),
    };
    let mut steps = Vec::new();
    for _ in 0..options.repeat.unwrap_or(if full { 3 } else { 1 }) {
        for &calls in &calls {
            let paths = match (full, calls) {
                (false, 1) => given(&[Floor, A, A0, E, Ct, C, D, B]),
                // Plain Python is past its end there: that takes time and shows nothing new.
                (false, 100..) => given(&[Floor, A, E, Ct]),
                (false, _) => given(&[Floor, A, E, Ct, C, D, B]),
                (true, 200..) => given(&[Floor, A, A0, E, Ct]),
                (true, _) => given(&[Floor, A, A0, E, Ct, C, D, B]),
            };
            steps.extend(paths.into_iter().map(|path| Step::Row { path, calls }));
        }
    }
    steps
}

/// How far it is.
pub(crate) struct Clock<'a> {
    plan: &'a Plan,
    start: Instant,
    begun: usize,
    /// What is done was expected to take, and took. [s]
    expected: f64,
    patience: Duration,
}

impl<'a> Clock<'a> {
    pub(crate) fn start(plan: &'a Plan) -> Self {
        let clock = Self { plan, start: Instant::now(), begun: 0, expected: 0.0, patience: plan.patience };
        eprintln!("{} measurements, about {}", plan.steps.len(), minutes(clock.left_s()));
        clock
    }

    pub(crate) fn begin(&mut self, step: Step) {
        let left = minutes(self.left_s());
        self.begun += 1;
        eprintln!("[{}/{}, {left} left] {}", self.begun, self.plan.steps.len(), step.title());
    }

    pub(crate) fn done(&mut self, step: Step) {
        self.expected += step.seconds(self.plan);
    }

    /// Of the attempts at `step` the one that other programs, in percent of a core, disturbed least; and how many there
    /// were.
    ///
    /// # Errors
    /// When the last attempt failed.
    pub(crate) fn quietest<T>(
        &mut self,
        step: Step,
        others: impl Fn(&T) -> f64,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<(T, usize)> {
        self.wait_for_quiet()?;
        let mut best = attempt()?;
        let mut tries = 1;
        while others(&best) > DISTURBED_PERCENT && tries < TRIES && self.slack_s() > step.seconds(self.plan) {
            eprintln!("    other programs used {:.0} % of a core: once more", others(&best));
            self.wait_for_quiet()?;
            let next = attempt()?;
            tries += 1;
            if others(&next) < others(&best) {
                best = next;
            }
        }
        Ok((best, tries))
    }

    /// Waits until other programs leave the machine alone, as long as patience and time last.
    ///
    /// # Errors
    /// When the machine does not tell.
    pub(crate) fn wait_for_quiet(&mut self) -> Result<()> {
        let start = Instant::now();
        let patience = self.patience.min(Duration::from_secs_f64(self.slack_s().clamp(0.0, 86400.0)));
        while start.elapsed() < patience {
            let before = load::machine_busy()?;
            thread::sleep(QUIET_FOR);
            if load::machine_busy()? - before < DISTURBED_PERCENT / 100.0 * QUIET_FOR.as_secs_f64() {
                break;
            }
        }
        self.patience = self.patience.saturating_sub(start.elapsed().saturating_sub(QUIET_FOR));
        Ok(())
    }

    /// What is left to do. [s]
    fn left_s(&self) -> f64 {
        let all: f64 = self.plan.steps.iter().map(|step| step.seconds(self.plan)).sum();
        let pace = if self.expected > 60.0 { self.start.elapsed().as_secs_f64() / self.expected } else { 1.0 };
        (all - self.expected) * pace
    }

    /// Time that is not needed for what is left to do. [s]
    fn slack_s(&self) -> f64 {
        self.plan
            .limit
            .map_or(f64::INFINITY, |limit| (limit.as_secs_f64() - self.start.elapsed().as_secs_f64()) - self.left_s())
    }
}

fn minutes(seconds: f64) -> String {
    match seconds / 60.0 {
        minutes if minutes < 100.0 => format!("{:.0} min", minutes.ceil()),
        minutes => format!("{:.1} h", minutes / 60.0),
    }
}
