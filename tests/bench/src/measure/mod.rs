//! The measurements. Everything is measured from outside, at the phones and at the AI, so that it is the same for every
//! path.
//!
//! ```text
//!  row        one path, one number of calls: cost, delay, turns        capacity   the most calls a path can hold
//!  freeze     the AI stands still for 2 s                              drift      endless audio and clocks that are wrong
//! ```

pub(crate) mod capacity;
pub(crate) mod drift;
pub(crate) mod freeze;
mod moment;
mod row;
mod window;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use bench_common::audio::Loop;

use crate::callers::Callers;
use crate::paths::{Path, Stage};

use moment::Moment;
pub(crate) use row::{Raw, Row, measure};
pub(crate) use window::Bursts;

/// From the last call up to the time that counts. By then callers have told their numbers and begun their loops.
const SETTLE: Duration = Duration::from_secs(3);
/// Clocks that are right.
const RIGHT: &[f64] = &[0.0];

/// The loops callers and agent can say.
#[derive(Clone)]
pub(crate) struct Loops {
    pub(crate) sparse: Arc<Loop>,
    pub(crate) dense: Arc<Loop>,
}

impl Loops {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { sparse: Arc::new(Loop::sparse()?), dense: Arc::new(Loop::dense()) })
    }
}

/// A fresh stage on which one call has been made: what the first call alone brings into memory is nobody's cost per call.
fn warm_stage(path: Path, audio: &Arc<Loop>) -> Result<Stage> {
    let stage = Stage::set(path)?;
    let warm_up = Callers::place(1, path.extension(), stage.rig.sip_addr(), audio, RIGHT)?;
    thread::sleep(Duration::from_secs(1));
    warm_up.finish()?;
    Ok(stage)
}

/// Percentiles. [ms] NaN when there was nothing.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: f32,
    pub(crate) p95: f32,
    pub(crate) p99: f32,
    pub(crate) max: f32,
}

impl Spread {
    /// Of figures that are in order.
    fn of(sorted: &[f32]) -> Self {
        let at = |part: f64| {
            let last = sorted.len().saturating_sub(1);
            sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f32::NAN)
        };
        Self { count: sorted.len(), p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }

    fn of_any(figures: impl IntoIterator<Item = f32>) -> Self {
        Self::of(&sorted(figures))
    }
}

fn sorted(figures: impl IntoIterator<Item = f32>) -> Vec<f32> {
    let mut figures: Vec<f32> = figures.into_iter().collect();
    figures.sort_by(f32::total_cmp);
    figures
}
