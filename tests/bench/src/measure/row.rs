//! One path, one number of calls: what it costs, and what caller and AI hear of each other.
//!
//! ```text
//!  calls up ─ 3 s ─► echo: CPU, delay, spacing ─► turns: start and interruption ─► hang up
//! ```

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::window::{Bursts, Notes, Slips, Window, by_line, delays, heard, ms};
use super::{Loops, Moment, RIGHT, SETTLE, Spread, sorted, warm_stage};
use crate::callers::Callers;
use crate::meter::Log;
use crate::paths::Path;

/// A burst that is not back so long after the end of the time that counts is lost.
const GRACE: Duration = Duration::from_millis(400);
/// Before turns count: what was echoed has been heard, and every caller's first turn has begun.
const QUIET: Duration = Duration::from_millis(1000);
/// A turn is interrupted and over after that, and must have begun that long before the end to count.
const TURN_NS: i64 = 1_100_000_000;

/// What was measured. CPU is in seconds for one call of one minute.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) path: Path,
    pub(crate) calls: usize,
    pub(crate) answered: usize,
    /// Calls Asterisk ended before the caller did.
    pub(crate) ended_early: usize,
    /// Calls whose AI never knew whom it listened to: its session was late, or what it heard was broken.
    pub(crate) unknown: usize,
    pub(crate) seconds: f64,
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
    pub(crate) bridge_idle_kib: f64,
    /// For one call, likewise.
    pub(crate) threads: f64,
    pub(crate) descriptors: f64,
    /// From the caller through the echoing AI and back.
    pub(crate) delay: Spread,
    /// From the caller's packet to the AI's message.
    pub(crate) uplink: Spread,
    /// Between two packets the caller gets.
    pub(crate) spacing: Spread,
    pub(crate) gaps_over_30_ms: usize,
    pub(crate) gaps_over_60_ms: usize,
    pub(crate) packets_lost: i64,
    /// Bursts that came back, of all sent. [%]
    pub(crate) bursts_percent: f64,
    /// Packets that came back, of all sent. [%]
    pub(crate) packets_percent: f64,
    /// Loud, and none of the tones.
    pub(crate) garbled: usize,
    /// Frames of 20 ms left out of, and put into, what the caller hears, for one call of one minute.
    pub(crate) left_out: f64,
    pub(crate) put_in: f64,
    /// The same for what the AI hears.
    pub(crate) caller_left_out: f64,
    pub(crate) caller_put_in: f64,
    /// From a turn's first message to its first packet.
    pub(crate) turn_start: Spread,
    /// From the AI's message that the caller speaks to the last loud sample the caller hears.
    pub(crate) barge_in_stop: Spread,
    pub(crate) turns: usize,
    /// Turns of which nothing was heard within a second.
    pub(crate) turns_missed: usize,
    pub(crate) sender_late: Spread,
    /// CPU that none of ours used. [% of one core]
    pub(crate) others_percent: f64,
    /// Times it was measured; the quietest counts.
    pub(crate) tries: usize,
}

/// Every single figure. [ms]
#[derive(Debug, serde::Serialize)]
pub(crate) struct Raw {
    pub(crate) path: Path,
    pub(crate) calls: usize,
    pub(crate) delay: Vec<f32>,
    pub(crate) uplink: Vec<f32>,
    pub(crate) turn_start: Vec<f32>,
    pub(crate) barge_in_stop: Vec<f32>,
}

/// Measures `path` with so many calls, each half for `seconds`.
///
/// # Errors
/// When something does not start or no call comes about.
pub(crate) fn measure(path: Path, calls: usize, seconds: Duration, loops: &Loops, turns: bool) -> Result<(Row, Raw)> {
    let mut stage = warm_stage(path, &loops.sparse)?;
    let idle = Moment::look(&stage)?;
    let callers = Callers::place(calls, path.extension(), stage.rig.sip_addr(), &loops.sparse, RIGHT)?;
    thread::sleep(SETTLE);
    let before = Moment::look(&stage)?;
    let echo = Window::lasting(seconds)?;
    let after = Moment::look(&stage)?;
    let answered = callers.answered();
    thread::sleep(GRACE);
    let with_turns = turns && !path.is_floor();
    let turning = with_turns.then(|| {
        stage.ai.order("turns")?;
        thread::sleep(QUIET);
        Window::lasting(seconds.max(Duration::from_secs(4)))
    });
    let turning = turning.transpose()?;
    let end = Moment::look(&stage)?;
    let notes = by_line(&stage.ai.report()?);
    let logs = callers.finish()?;

    let lasted = ms(echo.to_ns - echo.from_ns) as f64 / 1000.0;
    let call_minutes = answered.max(1) as f64 * lasted / 60.0;
    let each = |figure: f64| figure / answered.max(1) as f64;
    let used = after.since(&before);
    let (held, held_idle) = (after.held(), idle.held());
    let sound = Sound::of(echo, &logs, &notes, loops.sparse.period_samples());
    let spacing = echo.spacing_ms(&logs);
    let longer_than = |ms: f32| spacing.iter().filter(|&&gap| gap > ms).count();
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let packets_sent: usize = logs.iter().map(|log| sent_in(echo, log).count()).sum();
    let packets_back: usize = logs.iter().map(|log| echo.arrivals(log).len()).sum();
    let frames = |samples: u64| samples as f64 / 160.0 / call_minutes;
    let turned = turning.map(|turning| Turns::of(turning, &logs, &notes)).unwrap_or_default();
    let row = Row {
        path,
        calls,
        answered,
        ended_early: logs.iter().filter(|log| log.ended_early).count(),
        unknown: if path.is_floor() { 0 } else { answered.saturating_sub(notes.len()) },
        seconds: lasted,
        asterisk_cpu: used.asterisk / call_minutes,
        bridge_cpu: used.bridge / call_minutes,
        ai_cpu: used.ai / call_minutes,
        callers_cpu: used.callers / call_minutes,
        asterisk_threads_cpu: used
            .asterisk_threads
            .into_iter()
            .map(|(name, used)| (name, used / call_minutes))
            .filter(|(_, used)| *used > 0.0005)
            .collect(),
        wake_ups: each(used.sleeps) / lasted,
        memory_kib: each(held.memory_kib - held_idle.memory_kib),
        bridge_idle_kib: held_idle.bridge_kib,
        threads: each(held.threads - held_idle.threads),
        descriptors: each(held.descriptors - held_idle.descriptors),
        delay: Spread::of(&sound.delay),
        uplink: Spread::of(&sound.uplink),
        spacing: Spread::of(&spacing),
        gaps_over_30_ms: longer_than(30.0),
        gaps_over_60_ms: longer_than(60.0),
        packets_lost: echo.lost(&logs),
        bursts_percent: percent(sound.delay.len(), sound.said),
        packets_percent: percent(packets_back, packets_sent),
        garbled: sound.garbled,
        left_out: frames(sound.agent.left_out),
        put_in: frames(sound.agent.put_in),
        caller_left_out: frames(sound.caller.left_out),
        caller_put_in: frames(sound.caller.put_in),
        turn_start: Spread::of(&turned.start),
        barge_in_stop: Spread::of(&turned.stop),
        turns: turned.count,
        turns_missed: turned.missed,
        sender_late: Spread::of_any(logs.iter().flat_map(|log| sent_in(echo, log)).map(ms)),
        others_percent: (100.0 * used.others / lasted)
            .max(100.0 * end.since(&after).others / end.seconds_since(&after)),
        tries: 1,
    };
    let Turns { start: turn_start, stop: barge_in_stop, .. } = turned;
    Ok((row, Raw { path, calls, delay: sound.delay, uplink: sound.uplink, turn_start, barge_in_stop }))
}

/// How late each packet of the window was sent. [ns]
fn sent_in(window: Window, log: &Log) -> impl Iterator<Item = i64> {
    log.sent.iter().filter(move |(at_ns, _)| window.has(*at_ns)).map(|&(_, late_ns)| late_ns)
}

/// What became of the audio that was echoed.
struct Sound {
    delay: Vec<f32>,
    uplink: Vec<f32>,
    said: usize,
    garbled: usize,
    agent: Slips,
    caller: Slips,
}

impl Sound {
    fn of(window: Window, logs: &[Log], notes: &HashMap<u16, Notes>, period: u64) -> Self {
        let (mut delay, mut uplink) = (Vec::new(), Vec::new());
        let (mut agent, mut caller) = (Slips::default(), Slips::default());
        let until_ns = window.to_ns + GRACE.as_nanos() as i64;
        for log in logs {
            let said: Vec<_> = log.said.iter().copied().filter(|&(_, at_ns)| at_ns < window.to_ns).collect();
            let in_time = |list: Bursts| {
                let list: Vec<_> = list.into_iter().filter(|&(_, at_ns)| at_ns < until_ns).collect();
                delays(&said, &list).into_iter().filter(|delay| window.has(delay.said_ns)).map(|delay| delay.ms())
            };
            delay.extend(in_time(heard(log)));
            let within = log.heard.iter().filter(|burst| window.has(burst.at_ns));
            let positions: Vec<_> = within.filter_map(|burst| Some((burst.tone?, burst.position))).collect();
            agent.add(&positions, period);
            if let Some(notes) = notes.get(&log.line) {
                uplink.extend(in_time(notes.heard.clone()));
                let within = notes.positions.iter().filter(|(.., at_ns)| window.has(*at_ns));
                caller.add(&within.map(|&(tone, position, _)| (tone, position)).collect::<Vec<_>>(), period);
            }
        }
        let bursts = || logs.iter().flat_map(|log| &log.said);
        Self {
            delay: sorted(delay),
            uplink: sorted(uplink),
            said: bursts().filter(|(_, at_ns)| window.has(*at_ns)).count(),
            garbled: logs
                .iter()
                .flat_map(|log| &log.heard)
                .filter(|burst| burst.tone.is_none() && window.has(burst.at_ns))
                .count(),
            agent,
            caller,
        }
    }
}

/// How turns began and were interrupted.
#[derive(Default)]
struct Turns {
    start: Vec<f32>,
    stop: Vec<f32>,
    count: usize,
    missed: usize,
}

impl Turns {
    fn of(window: Window, logs: &[Log], notes: &HashMap<u16, Notes>) -> Self {
        let mut turns = Self::default();
        for log in logs {
            let Some(notes) = notes.get(&log.line) else { continue };
            let counting = notes.turns.iter().filter(|(began, _)| window.has(*began) && began + TURN_NS < window.to_ns);
            for &(began, interrupted) in counting {
                turns.count += 1;
                let mut sounds = log.sounds.iter().filter(|sound| (began..began + TURN_NS).contains(&sound.began_ns));
                let Some(first) = sounds.next() else {
                    turns.missed += 1;
                    continue;
                };
                let last = sounds.next_back().unwrap_or(first);
                turns.start.push(ms(first.began_ns - began));
                turns.stop.push(ms(last.ended_ns - interrupted));
            }
        }
        turns.start.sort_by(f32::total_cmp);
        turns.stop.sort_by(f32::total_cmp);
        turns
    }
}
