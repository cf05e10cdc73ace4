//! When, where and with what it was measured.

use std::fs;
use std::process::Command;

use anyhow::Result;
use rig::Rig;

use crate::plan::{DISTURBED_PERCENT, Plan};

#[derive(serde::Serialize)]
pub(crate) struct Environment {
    date: String,
    machine: String,
    versions: Vec<String>,
    command: String,
    settings: String,
}

impl Environment {
    /// # Errors
    /// When Asterisk does not start.
    pub(crate) fn look(plan: &Plan) -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let asterisk = Rig::builder().without_bridge().start()?.cli("core show version")?;
        let asterisk = asterisk.split(" built by").next().unwrap_or_default().trim().to_owned();
        let python = rig::checkout().join("target/bench/venv/bin/python").display().to_string();
        let packages = include_str!("../../requirements.txt").split_whitespace().collect::<Vec<_>>().join(", ");
        let commit = said("git", &["-C", &rig::checkout().display().to_string(), "describe", "--always", "--dirty"]);
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            machine: machine(),
            versions: vec![
                format!("res_ai_bridge {} ({commit})", env!("CARGO_PKG_VERSION")),
                asterisk,
                said("rustc", &["--version"]),
                format!("{} with {}", said(&python, &["--version"]), packages.replace("==", " ")),
            ],
            command: format!("bench {}", arguments.join(" ")).trim_end().to_owned(),
            settings: format!(
                "Callers speak A-law, 20 ms packets. {} s for the echo, {} s for turns. `AI()` as by default (playout \
                 target 40 ms), but without local barge-in, as both sides speak at once; (a0) with playout target 0. Rows \
                 with a † were disturbed: other programs used more than {DISTURBED_PERCENT} % of a core, after up to three \
                 attempts.",
                plan.seconds.as_secs(),
                plan.seconds.as_secs().max(4)
            ),
        })
    }

    pub(crate) fn markdown(&self) -> String {
        format!(
            "{}, `{}`, on {}. {}.\n\n{}\n\n",
            self.date,
            self.command,
            self.machine,
            self.versions.join("; "),
            self.settings
        )
    }
}

/// What a program prints.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    match String::from_utf8_lossy(&output).trim() {
        "" => "unknown".to_owned(),
        said => said.to_owned(),
    }
}

/// What it ran on, in a few words.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    format!(
        "{cores} × {}, {:.0} GiB, Linux {}",
        model.unwrap_or("CPU").trim(),
        kib.unwrap_or(0.0) / 1048576.0,
        read("/proc/sys/kernel/osrelease").trim()
    )
}
