//! What the project wants to reach, and whether this run did.

use std::fmt::Write as _;

use super::Report;
use crate::measure::Row;
use crate::measure::freeze::Doing;
use crate::paths::Path::{self, A, B, C, Ct, D, E, Floor};

/// Writes the table.
pub(super) fn table(report: &Report, text: &mut String) {
    text.push_str("## Aims\n\n| aim for `AI()` | measured | reached? |\n|---|---|---|\n");
    for Aim { aim, found } in aims(report) {
        let (measured, reached) = match &found {
            Some((measured, true)) => (&measured[..], "yes"),
            Some((measured, false)) => (&measured[..], "**no**"),
            None => ("–", "not in this run"),
        };
        let _ = writeln!(text, "| {aim} | {measured} | {reached} |");
    }
    text.push_str(
        "\nElsewhere: local barge-in, noise and echo in `tests/local_barge_in.rs`, resampling in `ai-media`'s tests.\n\n",
    );
}

struct Aim {
    aim: &'static str,
    found: Option<(String, bool)>,
}

fn aims(report: &Report) -> Vec<Aim> {
    let aim = |aim, found| Aim { aim, found };
    vec![
        aim("CPU beyond `Echo()` at most 0.5 of the Rust bridge's", ratios(report, &[E], 0.5)),
        aim("… and at most 0.2 of the best Python bridge's", ratios(report, &[B, C, Ct, D], 0.2)),
        aim("No thread added to a call", added(report, "threads", 0.05, |row| row.threads)),
        aim("Memory added to a call ≤ 0.25 MiB", added(report, "MiB", 0.25, |row| row.memory_kib / 1024.0)),
        aim("Caller to AI at 100 calls: p50 ≤ 1 ms, p99 ≤ 5 ms", percentiles(report, [1.0, 5.0], |row| row.uplink)),
        aim("Turn start at 100 calls: p50 ≤ 2 ms, p99 ≤ 20 ms", percentiles(report, [2.0, 20.0], |row| row.turn_start)),
        aim("Endless audio: no delay added over time, with any clock", endless(report)),
        aim("Packet spacing at 100 calls: p99 20 ± 2 ms, no gap over 30 ms, none lost", spacing(report)),
        aim("Barge-in: silent ≤ 20 ms after the AI's message, always", barge_in(report)),
        aim("200 calls: no gap over 60 ms, none lost, every burst back", many(report)),
        aim("AI frozen for 2 s: every call back to its delay ≤ 200 ms after", frozen(report)),
        aim("… and no gap over 30 ms meanwhile", gaps_while_frozen(report)),
    ]
}

fn beyond(report: &Report, calls: usize, path: Path) -> f64 {
    let both = |row: &Row| row.asterisk_cpu + row.bridge_cpu;
    report.mean(calls, path, both) - report.mean(calls, Floor, both)
}

/// Of what the cheapest of `rivals` costs that still carries its calls, at each number of calls from 50.
fn ratios(report: &Report, rivals: &[Path], most: f64) -> Option<(String, bool)> {
    let numbers = [50, 100, 200].into_iter().filter_map(|calls| {
        let works = |path: &&Path| report.mean(calls, **path, |row| row.bursts_percent) > 99.0;
        let rival = rivals.iter().filter(works).map(|&path| beyond(report, calls, path)).reduce(f64::min)?;
        let ratio = beyond(report, calls, A) / rival;
        ratio.is_finite().then_some((calls, ratio))
    });
    let numbers: Vec<_> = numbers.collect();
    let text: Vec<_> = numbers.iter().map(|(calls, ratio)| format!("{ratio:.2} at {calls} calls")).collect();
    (!numbers.is_empty()).then(|| (text.join(", "), numbers.iter().all(|&(_, ratio)| ratio <= most)))
}

/// What the largest number of calls holds beyond the floor, for one call: with few calls much of it is chance.
fn added(report: &Report, unit: &str, most: f64, figure: impl Fn(&Row) -> f64 + Copy) -> Option<(String, bool)> {
    let added = |calls: usize| report.mean(calls, A, figure) - report.mean(calls, Floor, figure);
    let calls = [200, 100, 50, 20].into_iter().find(|&calls| added(calls).is_finite())?;
    Some((format!("{:.2} {unit} at {calls} calls", added(calls)), added(calls) <= most))
}

fn percentiles(
    report: &Report,
    most: [f64; 2],
    spread: impl Fn(&Row) -> crate::measure::Spread + Copy,
) -> Option<(String, bool)> {
    let p50 = report.mean(100, A, |row| f64::from(spread(row).p50));
    let p99 = report.mean(100, A, |row| f64::from(spread(row).p99));
    p50.is_finite().then(|| (format!("{p50:.1} and {p99:.1} ms"), p50 <= most[0] && p99 <= most[1]))
}

fn endless(report: &Report) -> Option<(String, bool)> {
    let drift = report.drift.iter().find(|drift| drift.path == A)?;
    let grown = |group: &crate::measure::drift::Group| group.agent.last.p99 - group.agent.first.p99;
    let worst = drift.groups.iter().map(grown).reduce(f32::max)?;
    let first = drift.groups.first()?.agent.first.p50;
    let text =
        format!("{first:.1} ms (p50) at first; p99 of the worst clock {worst:+.1} ms after {} min", drift.minutes);
    Some((text, worst <= 1.0))
}

fn spacing(report: &Report) -> Option<(String, bool)> {
    let rows = some(report.of(100, A))?;
    let p99 = report.mean(100, A, |row| f64::from(row.spacing.p99));
    let gaps: usize = rows.iter().map(|row| row.gaps_over_30_ms).sum();
    let lost: i64 = rows.iter().map(|row| row.packets_lost).sum();
    let text = format!("{p99:.1} ms; {gaps} gaps; {lost} lost");
    Some((text, (p99 - 20.0).abs() <= 2.0 && gaps == 0 && lost == 0))
}

fn barge_in(report: &Report) -> Option<(String, bool)> {
    let rows = some(report.rows.iter().filter(|row| row.path == A && row.barge_in_stop.count > 0).collect())?;
    let most = rows.iter().max_by(|one, other| one.barge_in_stop.max.total_cmp(&other.barge_in_stop.max))?;
    let text = format!("at most {:.1} ms (at {} calls)", most.barge_in_stop.max, most.calls);
    Some((text, most.barge_in_stop.max <= 20.0))
}

fn many(report: &Report) -> Option<(String, bool)> {
    let rows = some(report.of(200, A))?;
    let gaps: usize = rows.iter().map(|row| row.gaps_over_60_ms).sum();
    let lost: i64 = rows.iter().map(|row| row.packets_lost).sum();
    let back = report.mean(200, A, |row| row.bursts_percent);
    let text = format!("{gaps} gaps; {lost} lost; {back:.1} % of bursts back");
    Some((text, gaps == 0 && lost == 0 && back >= 99.95))
}

fn frozen(report: &Report) -> Option<(String, bool)> {
    let freeze = report.freeze.iter().find(|freeze| freeze.path == A && freeze.doing == Doing::Speaking)?;
    let back = [&freeze.agent, &freeze.caller].map(|returned| returned.back_ms);
    let text = back.map(|ms| ms.map_or("never".to_owned(), |ms| format!("{ms:.0} ms"))).join(" to the caller, ")
        + " to the AI";
    Some((text, back.iter().all(|ms| ms.is_some_and(|ms| ms <= 200.0))))
}

fn gaps_while_frozen(report: &Report) -> Option<(String, bool)> {
    let freezes: Vec<_> = report.freeze.iter().filter(|freeze| freeze.path == A).collect();
    let longest = freezes.iter().map(|freeze| freeze.spacing.max).reduce(f32::max)?;
    Some((format!("{longest:.1} ms at most"), longest <= 30.0))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
