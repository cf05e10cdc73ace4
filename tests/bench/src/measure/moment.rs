//! All processes at one moment.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;

use crate::load::{Load, machine_busy};
use crate::paths::Stage;

/// What the processes of a stage, and the whole machine, have used so far.
pub(crate) struct Moment {
    asterisk: Load,
    bridge: Option<Load>,
    ai: Load,
    callers: Load,
    machine: f64,
    at: Instant,
}

impl Moment {
    /// # Errors
    /// When one of the processes is gone.
    pub(crate) fn look(stage: &Stage) -> Result<Self> {
        Ok(Self {
            asterisk: Load::of(stage.rig.pid())?,
            bridge: stage.bridge.as_ref().map(|bridge| Load::of(bridge.pid())).transpose()?,
            ai: Load::of(stage.ai.pid())?,
            callers: Load::of(std::process::id())?,
            machine: machine_busy()?,
            at: Instant::now(),
        })
    }

    /// CPU time since `before`. [s]
    pub(crate) fn since(&self, before: &Self) -> Used {
        let sum = |after: &Load, before: &Load| after.since(before).values().sum::<f64>();
        let asterisk_threads = self.asterisk.since(&before.asterisk);
        let asterisk = asterisk_threads.values().sum();
        let bridge = self.bridge.as_ref().zip(before.bridge.as_ref()).map_or(0.0, |(after, before)| sum(after, before));
        let (ai, callers) = (sum(&self.ai, &before.ai), sum(&self.callers, &before.callers));
        let others = self.machine - before.machine - asterisk - bridge - ai - callers;
        let sleeps = (self.sleeps() - before.sleeps()) as f64;
        // The machine's own count is coarser than the processes'.
        Used { asterisk, asterisk_threads, bridge, ai, callers, others: others.max(0.0), sleeps }
    }

    /// Time since `before`. [s]
    pub(crate) fn seconds_since(&self, before: &Self) -> f64 {
        (self.at - before.at).as_secs_f64()
    }

    /// Memory, threads and descriptors of Asterisk and bridge.
    pub(crate) fn held(&self) -> Held {
        let (asterisk, bridge) = (self.asterisk.figures, self.bridge.as_ref().map(|load| load.figures));
        let both = |figure: fn(&rig::ProcessFigures) -> f64| figure(&asterisk) + bridge.as_ref().map_or(0.0, figure);
        Held {
            memory_kib: both(|figures| figures.resident_kib as f64),
            threads: both(|figures| figures.threads as f64),
            descriptors: both(|figures| figures.descriptors as f64),
            bridge_kib: bridge.map_or(0.0, |figures| figures.resident_kib as f64),
        }
    }

    fn sleeps(&self) -> u64 {
        self.asterisk.sleeps + self.bridge.as_ref().map_or(0, |bridge| bridge.sleeps)
    }
}

/// CPU time. [s]
pub(crate) struct Used {
    pub(crate) asterisk: f64,
    pub(crate) asterisk_threads: BTreeMap<String, f64>,
    pub(crate) bridge: f64,
    pub(crate) ai: f64,
    pub(crate) callers: f64,
    /// Of programs that are not ours.
    pub(crate) others: f64,
    /// Times a thread of Asterisk or of the bridge went to sleep.
    pub(crate) sleeps: f64,
}

/// What Asterisk and bridge hold together.
pub(crate) struct Held {
    pub(crate) memory_kib: f64,
    pub(crate) threads: f64,
    pub(crate) descriptors: f64,
    pub(crate) bridge_kib: f64,
}
