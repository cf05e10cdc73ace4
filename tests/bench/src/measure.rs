//! One measurement: one path, one number of calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::callers::{Callers, Seen};
use crate::load::{Load, machine_busy};
use crate::paths::{Path, Stage};

/// From the last call up to the time that counts.
const SETTLE: Duration = Duration::from_secs(2);

/// What was measured. CPU is in seconds for one call of one minute.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Measurement {
    pub(crate) path: Path,
    pub(crate) calls: usize,
    pub(crate) answered: usize,
    pub(crate) asterisk_cpu: f64,
    pub(crate) bridge_cpu: f64,
    pub(crate) ai_cpu: f64,
    pub(crate) callers_cpu: f64,
    /// Asterisk's, by name of thread.
    pub(crate) asterisk_threads_cpu: BTreeMap<String, f64>,
    /// Times a thread of Asterisk or of the bridge was woken, for one call. [1/s]
    pub(crate) wake_ups: f64,
    /// Asterisk and bridge together, for one call. [KiB]
    pub(crate) memory_kib: f64,
    pub(crate) bridge_idle_kib: u64,
    /// For one call.
    pub(crate) asterisk_threads: f64,
    pub(crate) asterisk_descriptors: f64,
    pub(crate) delay: Spread,
    pub(crate) spacing: Spread,
    pub(crate) gaps_over_30_ms: usize,
    pub(crate) gaps_over_60_ms: usize,
    /// Bursts that came back, of all sent. [%]
    pub(crate) bursts_percent: f64,
    /// Packets that came back, of all sent. [%]
    pub(crate) packets_percent: f64,
    pub(crate) sender_late: Spread,
    /// CPU that none of ours used. [% of one core]
    pub(crate) others_percent: f64,
    pub(crate) seen: Seen,
}

/// Percentiles. [ms] NaN when there was nothing.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Spread {
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
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

/// Measures `path` with so many calls.
///
/// # Errors
/// When something does not start or no call comes about.
pub(crate) fn measure(path: Path, calls: usize, seconds: Duration, audio: &Arc<Vec<u8>>) -> Result<Measurement> {
    let stage = Stage::set(path)?;
    let target = stage.rig.sip_addr();
    // What the first call alone brings into memory is nobody's cost per call.
    let warm_up = Callers::place(1, path.extension(), target, audio)?;
    thread::sleep(Duration::from_secs(1));
    warm_up.finish()?;
    let idle = Moment::look(&stage)?;

    let callers = Callers::place(calls, path.extension(), target, audio)?;
    thread::sleep(SETTLE);
    let before = Moment::look(&stage)?;
    callers.measure(true);
    let begun = Instant::now();
    thread::sleep(seconds);
    callers.measure(false);
    let lasted = begun.elapsed().as_secs_f64();
    let after = Moment::look(&stage)?;
    let answered = callers.answered();
    let seen = callers.finish()?;

    let call_minutes = answered.max(1) as f64 * lasted / 60.0;
    let used = |after: &Load, before: &Load| after.since(before).values().sum::<f64>();
    let bridge_used =
        after.bridge.as_ref().zip(before.bridge.as_ref()).map_or(0.0, |(after, before)| used(after, before));
    let (asterisk_used, ai_used) = (used(&after.asterisk, &before.asterisk), used(&after.ai, &before.ai));
    let callers_used = used(&after.callers, &before.callers);
    let others = after.machine - before.machine - asterisk_used - bridge_used - ai_used - callers_used;
    let each = |after: f64, before: f64| (after - before) / answered.max(1) as f64;
    let asterisk = |moment: &Moment| moment.asterisk.figures;
    let bridge_kib = |moment: &Moment| moment.bridge.as_ref().map_or(0, |load| load.figures.resident_kib);
    let memory = |moment: &Moment| (asterisk(moment).resident_kib + bridge_kib(moment)) as f64;
    let longer_than = |ms: f32| seen.spacing_ms.iter().filter(|&&gap| gap > ms).count();
    let percent = |part: f64, whole: u64| 100.0 * part / whole.max(1) as f64;
    Ok(Measurement {
        path,
        calls,
        answered,
        asterisk_cpu: asterisk_used / call_minutes,
        bridge_cpu: bridge_used / call_minutes,
        ai_cpu: ai_used / call_minutes,
        callers_cpu: callers_used / call_minutes,
        asterisk_threads_cpu: after
            .asterisk
            .since(&before.asterisk)
            .into_iter()
            .map(|(name, used)| (name, used / call_minutes))
            .filter(|(_, used)| *used > 0.0005)
            .collect(),
        wake_ups: (after.sleeps() - before.sleeps()) as f64 / lasted / answered.max(1) as f64,
        memory_kib: each(memory(&after), memory(&idle)),
        bridge_idle_kib: bridge_kib(&idle),
        asterisk_threads: each(asterisk(&after).threads as f64, asterisk(&idle).threads as f64),
        asterisk_descriptors: each(asterisk(&after).descriptors as f64, asterisk(&idle).descriptors as f64),
        delay: Spread::of(&seen.delay_ms),
        spacing: Spread::of(&seen.spacing_ms),
        gaps_over_30_ms: longer_than(30.0),
        gaps_over_60_ms: longer_than(60.0),
        bursts_percent: percent(seen.delay_ms.len() as f64, seen.bursts_sent),
        packets_percent: percent(seen.packets_received as f64, seen.packets_sent),
        sender_late: Spread::of(&seen.late_ms),
        // The machine's own count is coarser than the processes'.
        others_percent: (100.0 * others / lasted).max(0.0),
        seen,
    })
}

/// All processes at one moment.
struct Moment {
    asterisk: Load,
    bridge: Option<Load>,
    ai: Load,
    callers: Load,
    machine: f64,
}

impl Moment {
    fn look(stage: &Stage) -> Result<Self> {
        Ok(Self {
            asterisk: Load::of(stage.rig.pid())?,
            bridge: stage.bridge.as_ref().map(|bridge| Load::of(bridge.pid())).transpose()?,
            ai: Load::of(stage.ai.pid())?,
            callers: Load::of(std::process::id())?,
            machine: machine_busy()?,
        })
    }

    fn sleeps(&self) -> u64 {
        self.asterisk.sleeps + self.bridge.as_ref().map_or(0, |bridge| bridge.sleeps)
    }
}
