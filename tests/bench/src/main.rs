//! `make bench`: `AI()` beside the other ways to carry a call to a realtime voice AI.
//!
//! ```text
//!  callers (here) ─ SIP, RTP ─► Asterisk ─► [ AI() │ bridge process ] ─ WebSocket ─► practice agent, echoing
//!                 ◄────────────          ◄─                           ◄────────────
//! ```
//!
//! Every measurement has an Asterisk, a bridge and an AI of its own, all on this machine; only what all calls up cost is
//! counted, not setting them up.

#![forbid(unsafe_code)]

mod audio;
mod callers;
mod load;
mod measure;
mod micro;
mod paths;
mod report;
mod sip;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;

use crate::measure::{Measurement, measure};
use crate::paths::Path;
use crate::report::Report;

/// Measures AI() and its rivals; the quick set takes less than ten minutes.
#[derive(Parser)]
struct Options {
    /// The full set: every path, up to 200 calls, 30 s each, three times
    #[arg(long)]
    full: bool,
    /// Paths to measure
    #[arg(long, value_enum, value_delimiter = ',')]
    paths: Vec<Path>,
    /// Numbers of calls
    #[arg(long, value_delimiter = ',')]
    calls: Vec<usize>,
    /// How long each is measured [s]
    #[arg(long)]
    seconds: Option<u64>,
    /// How many times everything is measured
    #[arg(long)]
    repeat: Option<usize>,
    /// How long to wait, all in all, for other programs on this machine to be quiet [s]
    #[arg(long, default_value_t = 90)]
    patience: u64,
    /// Folder of the report
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only the micro-benchmarks
    #[arg(long)]
    micro: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let out = options.out.clone().unwrap_or_else(|| rig::checkout().join("target/bench"));
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    eprintln!("Micro-benchmarks …");
    let mut report = Report::new(micro::run()?);
    if options.micro {
        println!("{}", micro::table(&report.micro));
        return Ok(());
    }
    let plan = plan(&options);
    let seconds = Duration::from_secs(options.seconds.unwrap_or(if options.full { 30 } else { 8 }));
    let audio = Arc::new(audio::caller_loop()?);
    let start = Instant::now();
    let mut patience = Duration::from_secs(options.patience);
    for (done, &(path, calls)) in plan.iter().enumerate() {
        let spent = start.elapsed().as_secs();
        eprintln!("[{}/{}, {}:{:02}] {}, {calls} calls", done + 1, plan.len(), spent / 60, spent % 60, path.title());
        patience = patience.saturating_sub(wait_for_quiet(patience)?);
        match measure(path, calls, seconds, &audio) {
            Ok(measurement) => {
                eprintln!("    {}", measurement.line());
                report.add(measurement);
            }
            Err(error) => {
                eprintln!("    failed: {error:#}");
                report.failures.push(format!("{}, {calls} calls: {error:#}", path.title()));
            }
        }
        report.write(&out)?;
    }
    println!("{}", report.markdown());
    eprintln!("Written to {}", out.display());
    Ok(())
}

/// Waits until other programs leave the machine alone, at most `patience`. Answers how long that took.
fn wait_for_quiet(patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    while start.elapsed() < patience {
        let before = load::machine_busy()?;
        thread::sleep(QUIET_FOR);
        if load::machine_busy()? - before < QUIET_MAX * QUIET_FOR.as_secs_f64() {
            break;
        }
    }
    Ok(start.elapsed().saturating_sub(QUIET_FOR))
}

/// Other programs are quiet when they have used no more than this of one core
const QUIET_MAX: f64 = 0.25;
/// for as long as this.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// What is measured, in order: what is compared runs close together.
fn plan(options: &Options) -> Vec<(Path, usize)> {
    use Path::{A, A0, B, C, Ct, D, E, Floor};
    let given = |paths: &[Path]| if options.paths.is_empty() { paths.to_vec() } else { options.paths.clone() };
    let calls = match (&options.calls[..], options.full) {
        ([], true) => vec![1, 20, 50, 100, 200],
        ([], false) => vec![1, 20, 50, 100],
        (calls, _) => calls.to_vec(),
    };
    let mut plan = Vec::new();
    for _ in 0..options.repeat.unwrap_or(if options.full { 3 } else { 1 }) {
        for &calls in &calls {
            let paths = match (options.full, calls) {
                (false, 1) => given(&[Floor, A, A0, E, C, D, B]),
                // Plain Python is past its end there: that takes time and shows nothing new.
                (false, 100..) => given(&[Floor, A, E, Ct]),
                (false, 50..) => given(&[Floor, A, E, Ct, C, D, B]),
                (false, _) => given(&[Floor, A, E, C, D, B]),
                (true, _) => given(&[Floor, A, A0, E, Ct, C, D, B]),
            };
            plan.extend(paths.into_iter().map(|path| (path, calls)));
        }
    }
    plan
}

impl Measurement {
    /// For the one who waits.
    fn line(&self) -> String {
        format!(
            "Asterisk {:.3}, bridge {:.3} CPU s a call-minute; delay {:.1}/{:.1} ms (p50/p99); spacing p99 {:.1} ms; \
             others {:.0} % of a core",
            self.asterisk_cpu, self.bridge_cpu, self.delay.p50, self.delay.p99, self.spacing.p99, self.others_percent
        )
    }
}
