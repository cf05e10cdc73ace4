//! The tables.

use std::fmt::Write as _;

use super::{Report, mean};
use crate::measure::Row;
use crate::measure::drift::Course;
use crate::measure::freeze::{Doing, Return};
use crate::paths::Path;
use crate::plan::DISTURBED_PERCENT;

/// All but the aims and the micro-benchmarks.
pub(super) fn write(report: &Report, text: &mut String) {
    if !report.rows.is_empty() {
        cost(report, text);
        delay(report, text);
        turns(report, text);
    }
    capacity(report, text);
    freeze(report, text);
    drift(report, text);
}

fn head(text: &mut String, about: &str, columns: &[&str]) {
    let _ = writeln!(text, "{about}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Path and number of calls, with a mark when other programs disturbed one of the runs.
fn title(calls: usize, path: Path, group: &[&Row]) -> [String; 2] {
    let disturbed = group.iter().any(|row| row.others_percent > DISTURBED_PERCENT);
    [calls.to_string(), format!("{}{}", path.title(), if disturbed { " †" } else { "" })]
}

fn cost(report: &Report, text: &mut String) {
    head(
        text,
        "## Cost\n\nCPU in seconds for a call of one minute; of several runs the mean (lowest–highest). Memory, wake-ups, \
         threads and descriptors are Asterisk's and the bridge's together, for one call.",
        &[
            "calls",
            "path",
            "Asterisk",
            "bridge",
            "both",
            "beyond the floor",
            "wake-ups [1/s]",
            "memory [MiB]",
            "threads",
            "descriptors",
            "others [% of a core]",
        ],
    );
    for ((calls, path), group) in report.groups() {
        let both = |row: &Row| row.asterisk_cpu + row.bridge_cpu;
        let floor = report.mean(calls, Path::Floor, |row| row.asterisk_cpu);
        let bridge = mean(&group, |row| row.bridge_cpu) > 0.0;
        let mut cells = title(calls, path, &group).to_vec();
        cells.extend([
            range(&group, |row| row.asterisk_cpu, 3),
            if bridge { range(&group, |row| row.bridge_cpu, 3) } else { "–".into() },
            range(&group, both, 3),
            if path.is_floor() || floor.is_nan() { "–".into() } else { range(&group, |row| both(row) - floor, 3) },
            range(&group, |row| row.wake_ups, 0),
            range(&group, |row| row.memory_kib / 1024.0, 2),
            range(&group, |row| row.threads, 1),
            range(&group, |row| row.descriptors, 1),
            range(&group, |row| row.others_percent, 0),
        ]);
        line(text, &cells);
    }
}

fn delay(report: &Report, text: &mut String) {
    head(
        text,
        "\n## What the caller hears\n\nDelay of a burst from the caller through the echoing AI and back, and time between \
         two packets, both in ms; of several runs the mean. Left out and put in: frames of 20 ms missing from the echo, or \
         too many in it (a gap filled with silence or stretched sound), for one call of one minute.",
        &[
            "calls",
            "path",
            "delay p50",
            "p95",
            "p99",
            "max",
            "spacing p50",
            "p99",
            "max",
            "gaps > 30 ms",
            "> 60 ms",
            "lost",
            "bursts back [%]",
            "garbled",
            "left out",
            "put in",
        ],
    );
    for ((calls, path), group) in report.groups() {
        let ms = |figure: fn(&Row) -> f32| format!("{:.1}", mean(&group, |row| f64::from(figure(row))));
        let count = |figure: fn(&Row) -> f64| group.iter().map(|row| figure(row)).sum::<f64>().to_string();
        let mut cells = title(calls, path, &group).to_vec();
        cells.extend([
            ms(|row| row.delay.p50),
            ms(|row| row.delay.p95),
            ms(|row| row.delay.p99),
            ms(|row| row.delay.max),
            ms(|row| row.spacing.p50),
            ms(|row| row.spacing.p99),
            ms(|row| row.spacing.max),
            count(|row| row.gaps_over_30_ms as f64),
            count(|row| row.gaps_over_60_ms as f64),
            count(|row| row.packets_lost as f64),
            format!("{:.1}", mean(&group, |row| row.bursts_percent)),
            count(|row| row.garbled as f64),
            format!("{:.1}", mean(&group, |row| row.left_out)),
            format!("{:.1}", mean(&group, |row| row.put_in)),
        ]);
        line(text, &cells);
    }
}

fn turns(report: &Report, text: &mut String) {
    head(
        text,
        "\n## What the AI hears, and turns\n\nTo the AI: from the caller's packet that begins with a burst to the AI's \
         message with it. Turn start: from the AI's first message after silence (200 ms of audio, the rest of 3 s at once \
         behind it) to the packet that begins with it. Barge-in stop: from the AI's message that the caller speaks, 500 ms \
         later, to the last loud sample the caller hears. All in ms; of several runs the mean.",
        &[
            "calls",
            "path",
            "to the AI p50",
            "p95",
            "p99",
            "max",
            "left out",
            "put in",
            "turn start p50",
            "p99",
            "max",
            "barge-in stop p50",
            "p99",
            "max",
            "turns",
            "missed",
            "unknown calls",
        ],
    );
    for ((calls, path), group) in report.groups().into_iter().filter(|((_, path), _)| !path.is_floor()) {
        let ms = |figure: fn(&Row) -> f32| format!("{:.1}", mean(&group, |row| f64::from(figure(row))));
        let count = |figure: fn(&Row) -> usize| group.iter().map(|row| figure(row)).sum::<usize>().to_string();
        let mut cells = title(calls, path, &group).to_vec();
        cells.extend([
            ms(|row| row.uplink.p50),
            ms(|row| row.uplink.p95),
            ms(|row| row.uplink.p99),
            ms(|row| row.uplink.max),
            format!("{:.1}", mean(&group, |row| row.caller_left_out)),
            format!("{:.1}", mean(&group, |row| row.caller_put_in)),
            ms(|row| row.turn_start.p50),
            ms(|row| row.turn_start.p99),
            ms(|row| row.turn_start.max),
            ms(|row| row.barge_in_stop.p50),
            ms(|row| row.barge_in_stop.p99),
            ms(|row| row.barge_in_stop.max),
            count(|row| row.turns),
            count(|row| row.turns_missed),
            count(|row| row.unknown),
        ]);
        line(text, &cells);
    }
    text.push('\n');
}

fn capacity(report: &Report, text: &mut String) {
    if report.capacity.is_empty() {
        return;
    }
    head(
        text,
        "## The most calls\n\nHeld for 10 s: every call answered, no packet lost, no gap over 60 ms, every burst back.",
        &["path", "held", "not held"],
    );
    for found in &report.capacity {
        let failed = found.failed.map_or("never".into(), |calls| calls.to_string());
        line(text, &[found.path().title().into(), found.held.to_string(), failed]);
    }
    text.push('\n');
}

fn freeze(report: &Report, text: &mut String) {
    if report.freeze.is_empty() {
        return;
    }
    head(
        text,
        "## An AI that stands still for 2 s\n\nSpeaking: it speaks at its own pace and goes on where it was. Echoing: on its \
         return it sends 2 s of audio at once. Back: from its return until no call is later any more than the 99th \
         percentile before + 10 ms; each is looked at every 160 ms. The delay is from AI to caller (speaking) or there and \
         back (echoing). All in ms.",
        &[
            "path",
            "calls",
            "the AI was",
            "spacing meanwhile p50",
            "p99",
            "max",
            "delay before p50",
            "p99",
            "delay back after",
            "delay at the end p50",
            "max",
            "to the AI before p99",
            "back after",
            "at the end max",
            "others [% of a core]",
        ],
    );
    for freeze in &report.freeze {
        let back = |returned: &Return| match returned.back_ms {
            Some(ms) => format!("{ms:.0}"),
            None => format!("never ({} of {} calls)", returned.calls_back, freeze.answered),
        };
        line(
            text,
            &[
                freeze.path.title().into(),
                freeze.calls.to_string(),
                if freeze.doing == Doing::Speaking { "speaking".into() } else { "echoing".into() },
                one(freeze.spacing.p50),
                one(freeze.spacing.p99),
                one(freeze.spacing.max),
                one(freeze.agent.normal.p50),
                one(freeze.agent.normal.p99),
                back(&freeze.agent),
                one(freeze.agent.at_end.p50),
                one(freeze.agent.at_end.max),
                one(freeze.caller.normal.p99),
                back(&freeze.caller),
                one(freeze.caller.at_end.max),
                format!("{:.0}", freeze.others_percent),
            ],
        );
    }
    text.push('\n');
}

fn drift(report: &Report, text: &mut String) {
    for drift in &report.drift {
        head(
            text,
            &format!(
                "## Endless audio for {} min\n\n{}, {} calls ({} answered): packets {:.1} ms apart (p99), {:.1} at most, {} \
                 gaps over 30 ms, {} lost; memory {:.1} MiB at the beginning, {:.1} at the end; others {:.0} % of a core. \
                 Delays in ms, in the first and the last tenth of the time.",
                drift.minutes,
                drift.path.title(),
                drift.calls,
                drift.answered,
                drift.spacing.p99,
                drift.spacing.max,
                drift.gaps_over_30_ms,
                drift.packets_lost,
                drift.memory_kib[0] / 1024.0,
                drift.memory_kib[1] / 1024.0,
                drift.others_percent,
            ),
            &[
                "clock",
                "calls",
                "AI to caller, first p50",
                "max",
                "last p50",
                "max",
                "bursts heard [%]",
                "caller to AI, first p50",
                "max",
                "last p50",
                "max",
                "bursts heard [%]",
            ],
        );
        for group in &drift.groups {
            let course = |course: &Course| {
                let (first, last) = (course.first, course.last);
                let [a, b, c, d] = [first.p50, first.max, last.p50, last.max].map(one);
                [a, b, c, d, format!("{:.1}", course.bursts_percent)]
            };
            let clock = match (group.phone_ppm, group.ai_ppm) {
                (0.0, 0.0) => "all right".to_owned(),
                (phone, 0.0) => format!("phone {phone:+.0} ppm"),
                (_, ai) => format!("AI {ai:+.0} ppm"),
            };
            let mut cells = vec![clock, group.calls.to_string()];
            cells.extend(course(&group.agent).into_iter().chain(course(&group.caller)));
            line(text, &cells);
        }
        text.push('\n');
    }
}

fn one(ms: f32) -> String {
    format!("{ms:.1}")
}

fn range(group: &[&Row], figure: impl Fn(&Row) -> f64, decimals: usize) -> String {
    let figures: Vec<f64> = group.iter().map(|row| figure(row)).collect();
    let mean = mean(group, &figure);
    if figures.len() < 2 || decimals < 2 {
        return format!("{mean:.decimals$}");
    }
    let lowest = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{mean:.decimals$} ({lowest:.decimals$}–{highest:.decimals$})")
}
