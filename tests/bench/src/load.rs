//! What processes cost, from /proc: CPU time to the nanosecond, memory, threads.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use rig::ProcessFigures;

/// One process at one moment.
pub(crate) struct Load {
    /// CPU time of each thread that is there now. [ns]
    threads: BTreeMap<u32, (String, u64)>,
    /// Times its threads went to sleep so far.
    pub(crate) sleeps: u64,
    pub(crate) figures: ProcessFigures,
}

impl Load {
    /// # Errors
    /// When there is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        let mut sleeps = 0;
        for entry in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            // A thread may end while it is looked at.
            let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let slept = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sleeps += slept.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
            let ran_ns = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
            if let (Some(ran_ns), Ok(thread)) = (ran_ns, entry.file_name().to_string_lossy().parse()) {
                threads.insert(thread, (name.trim().to_owned(), ran_ns));
            }
        }
        Ok(Self { threads, sleeps, figures: ProcessFigures::of(pid)? })
    }

    /// CPU time since `before`, by name of thread. [s]
    pub(crate) fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let mut by_name = BTreeMap::new();
        for (thread, (name, ran_ns)) in &self.threads {
            let started_ns = before.threads.get(thread).map_or(0, |(_, ns)| *ns);
            *by_name.entry(name.clone()).or_default() += ran_ns.saturating_sub(started_ns) as f64 / 1e9;
        }
        by_name
    }
}

/// The whole machine's CPU time in use so far. [s]
///
/// # Errors
/// When /proc is not there.
pub(crate) fn machine_busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; 100 ticks a second on every Linux machine
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum::<f64>();
    Ok(busy / 100.0)
}
