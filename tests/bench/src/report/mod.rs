//! The report: Markdown for people, JSON for everything else, pictures from the JSON.

mod aims;
mod environment;
mod tables;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path as FilePath;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::measure::capacity::Capacity;
use crate::measure::drift::Drift;
use crate::measure::freeze::Freeze;
use crate::measure::{Raw, Row};
use crate::micro::{self, Micro};
use crate::paths::Path;
use crate::plan::Plan;
use environment::Environment;

/// All that was measured.
#[derive(serde::Serialize)]
pub(crate) struct Report {
    environment: Environment,
    pub(crate) rows: Vec<Row>,
    pub(crate) capacity: Vec<Capacity>,
    pub(crate) freeze: Vec<Freeze>,
    pub(crate) drift: Vec<Drift>,
    micro: Vec<Micro>,
    pub(crate) failures: Vec<String>,
    #[serde(skip)]
    pub(crate) raw: Vec<Raw>,
}

impl Report {
    /// An empty one.
    ///
    /// # Errors
    /// When Asterisk does not start.
    pub(crate) fn new(micro: Vec<Micro>, plan: &Plan) -> Result<Self> {
        Ok(Self {
            environment: Environment::look(plan)?,
            rows: Vec::new(),
            capacity: Vec::new(),
            freeze: Vec::new(),
            drift: Vec::new(),
            micro,
            failures: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// Writes `report.md`, `report.json` and, with every single figure, `raw.json` into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(&self, folder: &FilePath) -> Result<()> {
        fs::write(folder.join("report.md"), self.markdown())?;
        fs::write(folder.join("report.json"), serde_json::to_vec(self)?)?;
        fs::write(folder.join("raw.json"), serde_json::to_vec(&self.raw)?)?;
        Ok(())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = self.environment.markdown();
        aims::table(self, &mut text);
        tables::write(self, &mut text);
        text.push_str("## Micro-benchmarks\n\n");
        text.push_str(&micro::table(&self.micro));
        for failure in &self.failures {
            let _ = writeln!(text, "\nNot measured: {failure}");
        }
        text
    }

    fn of(&self, calls: usize, path: Path) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.calls == calls && row.path == path).collect()
    }

    fn groups(&self) -> BTreeMap<(usize, Path), Vec<&Row>> {
        self.rows.iter().map(|row| (row.calls, row.path)).map(|key| (key, self.of(key.0, key.1))).collect()
    }

    /// The mean over all runs; NaN when there was none.
    fn mean(&self, calls: usize, path: Path, figure: impl Fn(&Row) -> f64) -> f64 {
        mean(&self.of(calls, path), figure)
    }
}

/// NaN of nothing.
fn mean(group: &[&Row], figure: impl Fn(&Row) -> f64) -> f64 {
    group.iter().map(|row| figure(row)).sum::<f64>() / group.len() as f64
}

/// Draws `folder`'s report.json, and shows the pictures at the end of its report.md.
///
/// # Errors
/// When the pictures cannot be drawn.
pub(crate) fn plot(folder: &FilePath) -> Result<()> {
    let python = rig::checkout().join("target/bench/venv/bin/python");
    let status = Command::new(python).arg(rig::checkout().join("tests/bench/plots.py")).arg(folder).status();
    let drawn = status.context("no Python; is the set-up done (make bench)?")?.success();
    ensure!(drawn, "the pictures could not be drawn");
    let mut names: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let mut text = fs::read_to_string(folder.join("report.md"))? + "\n## Pictures\n";
    for name in names.iter().filter_map(|name| name.to_str()?.strip_suffix(".svg")) {
        let _ = write!(text, "\n![{name}]({name}.svg)\n");
    }
    fs::write(folder.join("report.md"), text)?;
    Ok(())
}
