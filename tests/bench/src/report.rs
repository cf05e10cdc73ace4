//! The report: Markdown for people, JSON for everything else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path as FilePath;

use anyhow::Result;

use crate::measure::Measurement;
use crate::micro::{self, Micro};
use crate::paths::Path;

/// All that was measured.
#[derive(serde::Serialize)]
pub(crate) struct Report {
    machine: String,
    command: String,
    pub(crate) micro: Vec<Micro>,
    measurements: Vec<Measurement>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(micro: Vec<Micro>) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            machine: machine(),
            command: format!("bench {}", arguments.join(" ")).trim_end().to_owned(),
            micro,
            measurements: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, measurement: Measurement) {
        self.measurements.push(measurement);
    }

    /// Writes `report.md` and `report.json` into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(&self, folder: &FilePath) -> Result<()> {
        fs::write(folder.join("report.md"), self.markdown())?;
        fs::write(folder.join("report.json"), serde_json::to_vec(self)?)?;
        Ok(())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}; `{}`\n\n", self.machine, self.command);
        self.cost(&mut text);
        self.sound(&mut text);
        text.push_str("Micro-benchmarks:\n\n");
        text.push_str(&micro::table(&self.micro));
        for failure in &self.failures {
            let _ = writeln!(text, "\nNot measured: {failure}");
        }
        text
    }

    fn cost(&self, text: &mut String) {
        text.push_str(
            "Cost. CPU in seconds for a call of one minute; of several runs the mean (lowest–highest). Memory, wake-ups, \
             threads and descriptors are for one call; wake-ups and memory are Asterisk's and the bridge's, the others \
             Asterisk's.\n\n\
             | calls | path | Asterisk | bridge | both | beyond the floor | wake-ups [1/s] | memory [MiB] | threads | descriptors | \
             other programs [% of a core] |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for ((calls, path), group) in self.groups() {
            let both = |m: &&Measurement| m.asterisk_cpu + m.bridge_cpu;
            let floor = mean(self.of(calls, Path::Floor), |m| m.asterisk_cpu);
            let beyond = range(&group, |m| both(&m) - floor, 3);
            let _ = writeln!(
                text,
                "| {calls} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                path.title(),
                range(&group, |m| m.asterisk_cpu, 3),
                if mean(group.clone(), |m| m.bridge_cpu) > 0.0 {
                    range(&group, |m| m.bridge_cpu, 3)
                } else {
                    "–".into()
                },
                range(&group, |m| both(&m), 3),
                if path == Path::Floor || floor.is_nan() { "–".into() } else { beyond },
                range(&group, |m| m.wake_ups, 0),
                range(&group, |m| m.memory_kib / 1024.0, 2),
                range(&group, |m| m.asterisk_threads, 1),
                range(&group, |m| m.asterisk_descriptors, 1),
                range(&group, |m| m.others_percent, 0),
            );
        }
    }

    fn sound(&self, text: &mut String) {
        text.push_str(
            "\nWhat the caller hears. Delay of a burst from the caller through the echoing AI and back, and time between \
             two packets, both in ms; of several runs the mean.\n\n\
             | calls | path | delay p50 | p95 | p99 | max | spacing p50 | p99 | max | gaps > 30 ms | > 60 ms | lost | \
             packets back [%] | bursts back [%] | garbled |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for ((calls, path), group) in self.groups() {
            let ms = |figure: fn(&Measurement) -> f32| format!("{:.1}", mean(group.clone(), |m| f64::from(figure(m))));
            let count = |figure: fn(&Measurement) -> f64| group.iter().map(|m| figure(m)).sum::<f64>();
            let _ = writeln!(
                text,
                "| {calls} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {:.1} | {} |",
                path.title(),
                ms(|m| m.delay.p50),
                ms(|m| m.delay.p95),
                ms(|m| m.delay.p99),
                ms(|m| m.delay.max),
                ms(|m| m.spacing.p50),
                ms(|m| m.spacing.p99),
                ms(|m| m.spacing.max),
                count(|m| m.gaps_over_30_ms as f64),
                count(|m| m.gaps_over_60_ms as f64),
                count(|m| m.seen.packets_lost as f64),
                mean(group.clone(), |m| m.packets_percent),
                mean(group.clone(), |m| m.bursts_percent),
                count(|m| m.seen.garbled as f64),
            );
        }
        text.push('\n');
    }

    fn of(&self, calls: usize, path: Path) -> Vec<&Measurement> {
        self.measurements.iter().filter(|m| m.calls == calls && m.path == path).collect()
    }

    fn groups(&self) -> BTreeMap<(usize, Path), Vec<&Measurement>> {
        self.measurements.iter().map(|m| (m.calls, m.path)).map(|key| (key, self.of(key.0, key.1))).collect()
    }
}

/// NaN of nothing.
fn mean(group: Vec<&Measurement>, figure: impl Fn(&Measurement) -> f64) -> f64 {
    group.iter().map(|m| figure(m)).sum::<f64>() / group.len() as f64
}

fn range(group: &[&Measurement], figure: impl Fn(&Measurement) -> f64, decimals: usize) -> String {
    let figures: Vec<f64> = group.iter().map(|m| figure(m)).collect();
    let mean = figures.iter().sum::<f64>() / figures.len() as f64;
    if figures.len() < 2 || decimals < 2 {
        return format!("{mean:.decimals$}");
    }
    let lowest = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{mean:.decimals$} ({lowest:.decimals$}–{highest:.decimals$})")
}

/// What it ran on, in a few words.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} × {}, Linux {}", cores, model.unwrap_or("CPU").trim(), read("/proc/sys/kernel/osrelease").trim())
}
