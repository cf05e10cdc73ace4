//! `make bench`: `AI()` beside the other ways to carry a call to a realtime voice AI.
//!
//! ```text
//!  callers (here) ─ SIP, RTP ─► Asterisk ─► [ AI() │ bridge process ] ─ WebSocket ─► bench-ai, which notes what it hears
//!                 ◄────────────          ◄─                           ◄────────────  and says
//! ```
//!
//! Every measurement has an Asterisk, a bridge and an AI of its own, all on this machine; only what all calls up cost is
//! counted, not setting them up.

#![forbid(unsafe_code)]

mod ai;
mod callers;
mod load;
mod measure;
mod meter;
mod micro;
mod paths;
mod plan;
mod process;
mod report;
mod sip;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::measure::{Loops, Row, capacity, drift, freeze};
use crate::paths::Path;
use crate::plan::{Clock, Plan, Step};
use crate::report::Report;

/// Measures AI() and its rivals; the quick set takes less than ten minutes.
#[derive(Debug, Parser)]
struct Options {
    /// Every path with up to 200 calls, 20 s each, three times
    #[arg(long)]
    full: bool,
    /// The full set, --capacity, --freeze and --minutes 30, in one report
    #[arg(long)]
    all: bool,
    /// The most calls each path can hold
    #[arg(long)]
    capacity: bool,
    /// An AI that stands still for 2 s
    #[arg(long)]
    freeze: bool,
    /// Endless audio for so long, with clocks that are wrong [min]
    #[arg(long)]
    minutes: Option<f64>,
    /// Paths to measure
    #[arg(long, value_enum, value_delimiter = ',')]
    paths: Vec<Path>,
    /// Numbers of calls, up to 400; with --capacity alone the most to try, with --freeze or --minutes alone how many
    #[arg(long, value_delimiter = ',', value_parser = calls)]
    calls: Vec<usize>,
    /// How long each is measured, once for the echo and once for turns [s]
    #[arg(long)]
    seconds: Option<u64>,
    /// How many times everything is measured
    #[arg(long)]
    repeat: Option<usize>,
    /// How long to wait, all in all, for other programs on this machine to be quiet [s]
    #[arg(long)]
    patience: Option<u64>,
    /// Folder of the report
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only the micro-benchmarks
    #[arg(long)]
    micro: bool,
}

/// What the RTP ports and the callers' numbers suffice for.
fn calls(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(calls @ 1..=400) => Ok(calls),
        _ => Err("allowed: 1 to 400".to_owned()),
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let out = options.out.clone().unwrap_or_else(|| rig::checkout().join("target/bench"));
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    eprintln!("Micro-benchmarks …");
    let micro = micro::run()?;
    if options.micro {
        println!("{}", micro::table(&micro));
        return Ok(());
    }
    let plan = Plan::new(&options);
    let mut report = Report::new(micro, &plan)?;
    let loops = Loops::new()?;
    let mut clock = Clock::start(&plan);
    for &step in &plan.steps {
        clock.begin(step);
        if let Err(error) = take(step, &plan, &mut clock, &loops, &mut report) {
            eprintln!("    failed: {error:#}");
            report.failures.push(format!("{}: {error:#}", step.title()));
        }
        clock.done(step);
        report.write(&out)?;
    }
    println!("{}", report.markdown());
    report::plot(&out)?;
    eprintln!("Written to {}", out.display());
    Ok(())
}

fn take(step: Step, plan: &Plan, clock: &mut Clock, loops: &Loops, report: &mut Report) -> Result<()> {
    match step {
        Step::Row { path, calls } => {
            let measured = clock.quietest(
                step,
                |(row, _): &(Row, _)| row.others_percent,
                || {
                    let measured = measure::measure(path, calls, plan.seconds, loops, true)?;
                    eprintln!("    {}", measured.0.line());
                    Ok(measured)
                },
            )?;
            let ((row, raw), tries) = measured;
            report.rows.push(Row { tries, ..row });
            report.raw.push(raw);
        }
        Step::Capacity { path, most } => {
            clock.wait_for_quiet()?;
            report.capacity.push(capacity::search(path, most, loops, |attempt| eprintln!("    {attempt}"))?);
        }
        Step::Freeze { path, calls, doing } => {
            let (frozen, _) = clock.quietest(
                step,
                |frozen: &freeze::Freeze| frozen.others_percent,
                || freeze::measure(path, calls, doing, loops),
            )?;
            eprintln!("    longest gap {:.0} ms, back {:?} ms after", frozen.spacing.max, frozen.agent.back_ms);
            report.freeze.push(frozen);
        }
        Step::Drift { path, calls, minutes } => {
            clock.wait_for_quiet()?;
            let tell = |left: Duration| eprintln!("    {:.0} min to go", left.as_secs_f64() / 60.0);
            report.drift.push(drift::measure(path, calls, minutes, loops, tell)?);
        }
    }
    Ok(())
}

impl Row {
    /// For the one who waits.
    fn line(&self) -> String {
        format!(
            "Asterisk {:.3}, bridge {:.3} CPU s a call-minute; delay {:.1}/{:.1} ms (p50/p99), to the AI {:.1}/{:.1}; turn \
             starts after {:.1}/{:.1}, stops after {:.1}/{:.1}; spacing p99 {:.1} ms; others {:.0} % of a core",
            self.asterisk_cpu,
            self.bridge_cpu,
            self.delay.p50,
            self.delay.p99,
            self.uplink.p50,
            self.uplink.p99,
            self.turn_start.p50,
            self.turn_start.p99,
            self.barge_in_stop.p50,
            self.barge_in_stop.p99,
            self.spacing.p99,
            self.others_percent
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody runs them for that: they take from minutes to hours. The documents' own test refers to this one.
    #[test]
    fn every_run_that_a_document_names_can_be_had() {
        let docs = std::fs::read_dir(rig::checkout().join("docs")).expect("a folder");
        let documents = docs.map(|entry| entry.expect("an entry").path()).chain([rig::checkout().join("README.md")]);
        let mut named = 0;
        for text in documents.filter_map(|path| std::fs::read_to_string(path).ok()) {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for (begin, quoted, plain) in [("make bench BENCH=", '"', ' '), ("`bench ", '`', '`')] {
                for rest in text.split(begin).skip(1) {
                    let end = if rest.starts_with(quoted) { quoted } else { plain };
                    let arguments = rest.trim_start_matches(quoted).split(end).next().unwrap_or_default();
                    let words = arguments.trim_end_matches('`').split(' ');
                    let options = Options::try_parse_from(["bench"].into_iter().chain(words));
                    let options = options.unwrap_or_else(|problem| panic!("'{begin}{arguments}': {problem}"));
                    assert!(
                        options.micro || !Plan::new(&options).steps.is_empty(),
                        "'{begin}{arguments}' measures nothing"
                    );
                    named += 1;
                }
            }
        }
        assert!(named >= 10, "{named} runs are named");
    }
}
