//! `cargo run --release -p bench --bin barge-in`: how well local barge-in tells a caller from noise and from the agent's echo. Calls in virtual time,
//! with spoken sentences and noises that are made here: the same figures in every run. docs/barge-in.md has them.

#![forbid(unsafe_code)]

mod line;
mod sounds;

use std::time::Instant;

use ai_media::Format;
use ai_media::barge_in::{Action, Detection, EchoGuard, LocalVad, Voice};
use anyhow::Result;

use crate::line::{Echo, Outcome, local, run};
use crate::sounds::{FRAME, Noise, SECOND, agent, alaw, at_level, callers};

/// Noises and how loud they are. [dBFS]
const NOISES: [(Noise, f32); 14] = [
    (Noise::White, -40.0),
    (Noise::White, -24.0),
    (Noise::Pink, -30.0),
    (Noise::Pink, -24.0),
    (Noise::Car, -24.0),
    (Noise::Typing, -24.0),
    (Noise::Typing, -16.0),
    (Noise::Knocks, -18.0),
    (Noise::Breath, -30.0),
    (Noise::Digits, -14.0),
    (Noise::Babble, -40.0),
    (Noise::Babble, -30.0),
    (Noise::Music, -34.0),
    (Noise::Music, -24.0),
];
const DELAYS_MS: [usize; 5] = [50, 120, 200, 300, 400];
const LOSSES_DB: [f32; 4] = [6.0, 12.0, 20.0, 30.0];
/// How loud callers are. [dBFS]
const LEVELS: [f32; 5] = [-12.0, -18.0, -24.0, -30.0, -36.0];
const RULES: [(&str, Detection); 2] = [("level", Detection::Level), ("voice", Detection::Voice)];

fn main() -> Result<()> {
    let agent = agent()?;
    scores()?;
    noise(&agent)?;
    echo(&agent);
    speech(&agent)?;
    server(&agent)
}

/// What the detector itself makes of single frames.
fn scores() -> Result<()> {
    println!("frames that score 0.5 and 0.7, of those within 20 dB of the loudest:");
    let mut all = vec![("speech -24".to_owned(), callers()?.iter().flat_map(|words| at_level(words, -24.0)).collect())];
    for (noise, dbfs) in NOISES {
        all.push((format!("{noise:?} {dbfs}"), noise.make(60, dbfs)?));
    }
    let (mut frames, start) = (0, Instant::now());
    for (what, sound) in all {
        let mut voice = Voice::new(Format::ALAW);
        let levels: Vec<f32> = sound.chunks_exact(FRAME).map(sounds::level).collect();
        let scores: Vec<f32> = sound.chunks_exact(FRAME).map(|frame| voice.score(&alaw(frame))).collect();
        let least = levels.iter().copied().fold(0.0, f32::max) / 10.0;
        let loud: Vec<f32> =
            scores.iter().zip(&levels).filter(|(_, level)| **level > least).map(|(score, _)| *score).collect();
        let share = |least: f32| 100 * loud.iter().filter(|&&score| score >= least).count() / loud.len().max(1);
        println!("  {what:14} {:3} % {:3} %", share(0.5), share(0.7));
        frames += scores.len() as u32;
    }
    println!("  {:?} a frame", start.elapsed() / frames);
    Ok(())
}

/// Ten minutes of each noise while the agent speaks.
fn noise(agent: &[f32]) -> Result<()> {
    println!("holds a minute, words lost (false interruptions) in ten minutes of noise:");
    for (noise, dbfs) in NOISES {
        let sound = noise.make(600, dbfs)?;
        print!("  {:14}", format!("{noise:?} {dbfs}"));
        for (name, rule) in RULES {
            let done = run(local(rule), EchoGuard::Off, agent, &sound, None);
            let holds = done.count(Action::Hold) as f32 / 10.0;
            print!("  {name} {holds:4.1} {:3}", done.count(Action::Interrupt));
        }
        println!();
    }
    Ok(())
}

/// A minute of each echo.
fn echo(agent: &[f32]) {
    println!("holds, words lost in one minute of each echo ({DELAYS_MS:?} ms):");
    for (name, rule) in RULES {
        for loss_db in LOSSES_DB {
            print!("  {name} -{loss_db} dB:");
            for delay_ms in DELAYS_MS {
                let done = run(local(rule), EchoGuard::Off, agent, &quiet(60), Some(Echo { delay_ms, loss_db }));
                print!("  {} {}", done.count(Action::Hold), done.count(Action::Interrupt));
            }
            println!();
        }
    }
}

/// Callers who interrupt.
fn speech(agent: &[f32]) -> Result<()> {
    println!("callers at {LEVELS:?} dBFS: held within 0.6 s, interrupted within 1.5 s [%], held after p50, p95 [ms]");
    let ways = [
        ("no echo", None),
        ("echo -20 dB 200 ms", Some(Echo { delay_ms: 200, loss_db: 20.0 })),
        ("echo -12 dB 200 ms", Some(Echo { delay_ms: 200, loss_db: 12.0 })),
        ("echo -6 dB 120 ms", Some(Echo { delay_ms: 120, loss_db: 6.0 })),
    ];
    for (name, rule) in RULES {
        for (way, echo) in ways {
            print!("  {name}, {way:18}");
            for dbfs in LEVELS {
                let told = Told::of(local(rule), agent, echo, dbfs)?;
                print!("  {:3} {:3} {:3},{:3}", told.held, told.interrupted, told.after(0.5), told.after(0.95));
            }
            println!();
        }
    }
    Ok(())
}

/// What the provider makes of the echo.
fn server(agent: &[f32]) -> Result<()> {
    println!("times in one minute that the server takes each echo for the caller ({DELAYS_MS:?} ms):");
    for (name, guard) in EchoGuard::WORDS {
        for loss_db in LOSSES_DB {
            print!("  {name:6} -{loss_db} dB:");
            for delay_ms in DELAYS_MS {
                let done = run(None, *guard, agent, &quiet(60), Some(Echo { delay_ms, loss_db }));
                print!("  {}", done.server.len());
            }
            println!();
        }
        let mut muted = 0;
        for (number, words) in callers()?.iter().enumerate() {
            let caller = call(&at_level(words, -24.0), number);
            muted += run(None, *guard, &agent[number * 20 * FRAME..], &caller, None).muted;
        }
        println!("  {name:6} frames muted in {} calls without echo: {muted}", callers()?.len());
    }
    Ok(())
}

/// A line on which nobody speaks, at −60 dBFS.
fn quiet(seconds: usize) -> Vec<f32> {
    let mut random = sounds::Random::new(3);
    (0..seconds * SECOND).map(|_| random.normal() / 1000.0).collect()
}

/// Eight seconds in which the caller begins to say `words` after about five.
fn call(words: &[f32], number: usize) -> Vec<f32> {
    let mut line = quiet(8);
    line.iter_mut().skip(begins(number)).zip(words).for_each(|(sample, word)| *sample += word);
    line
}

/// Not always at the same place of a frame. [samples]
fn begins(number: usize) -> usize {
    5 * SECOND + 37 * number
}

/// How callers fared.
struct Told {
    /// [%]
    held: usize,
    /// [%]
    interrupted: usize,
    /// From the first loud sample on. [ms]
    latencies: Vec<usize>,
}

impl Told {
    fn of(local: Option<LocalVad>, agent: &[f32], echo: Option<Echo>, dbfs: f32) -> Result<Self> {
        let callers = callers()?;
        let (mut latencies, mut interrupted) = (Vec::new(), 0);
        for (number, words) in callers.iter().enumerate() {
            let words = at_level(words, dbfs);
            // A tenth of the loudest sample is loud.
            let loud = words.iter().map(|sample| sample.abs()).fold(0.0, f32::max) / 10.0;
            let first = words.iter().position(|sample| sample.abs() > loud).unwrap_or(0);
            let spoke = (begins(number) + first) / 8;
            let agent = &agent[number * 20 * FRAME..];
            let Outcome { actions, .. } = run(local, EchoGuard::Off, agent, &call(&words, number), echo);
            let within = |wanted: Action, ms: usize| {
                let times = actions.iter().filter(|(_, action)| *action == wanted).map(|(at, _)| *at);
                times.filter_map(|at| at.checked_sub(spoke)).find(|&after| after <= ms)
            };
            latencies.extend(within(Action::Hold, 600));
            interrupted += usize::from(within(Action::Interrupt, 1500).is_some());
        }
        latencies.sort_unstable();
        let percent = |count: usize| 100 * count / callers.len();
        Ok(Self { held: percent(latencies.len()), interrupted: percent(interrupted), latencies })
    }

    fn after(&self, share: f32) -> usize {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f32 * share).round() as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_minutes_of_noise_and_echo_cost_no_word() {
        let agent = agent().expect("espeak-ng speaks");
        let lost = |sound: &[f32], echo| {
            run(local(Detection::Voice), EchoGuard::Auto, &agent, sound, echo).count(Action::Interrupt)
        };
        // Not people and music as loud as a caller: those are voices to any detector.
        let voices = [(Noise::Babble, -30.0), (Noise::Music, -34.0), (Noise::Music, -24.0)];
        for (noise, dbfs) in NOISES.into_iter().filter(|noise| !voices.contains(noise)) {
            let sound = noise.make(30, dbfs).expect("espeak-ng speaks");
            assert_eq!(lost(&sound, None), 0, "{noise:?} at {dbfs} dBFS");
        }
        for echo in LOSSES_DB.into_iter().flat_map(|loss_db| DELAYS_MS.map(|delay_ms| Echo { delay_ms, loss_db })) {
            assert_eq!(lost(&quiet(15), Some(echo)), 0, "{echo:?}");
        }
    }

    #[test]
    fn callers_hold_the_agent_at_once_also_through_its_echo() {
        let agent = agent().expect("espeak-ng speaks");
        for echo in [None, Some(Echo { delay_ms: 200, loss_db: 12.0 })] {
            for dbfs in [-12.0, -18.0, -24.0] {
                let told = Told::of(local(Detection::Voice), &agent, echo, dbfs).expect("espeak-ng speaks");
                assert!(told.held >= 85 && told.interrupted >= 50, "{dbfs} dBFS: {}, {}", told.held, told.interrupted);
                assert!(told.after(0.5) <= 80, "{dbfs} dBFS: {} ms", told.after(0.5));
            }
        }
    }

    #[test]
    fn the_server_hears_no_echo_but_hears_the_caller() {
        let agent = agent().expect("espeak-ng speaks");
        for (loss_db, delay_ms) in [(6.0, 50), (12.0, 400), (20.0, 200)] {
            let echo = Some(Echo { delay_ms, loss_db });
            let heard = |guard| run(None, guard, &agent, &quiet(30), echo).server.len();
            assert_eq!(heard(EchoGuard::Always), 0, "{echo:?}");
            assert!(heard(EchoGuard::Auto) <= 4, "{echo:?}");
            assert!(heard(EchoGuard::Off) >= 8, "{echo:?}");
            for (number, words) in callers().expect("espeak-ng speaks").iter().enumerate() {
                let caller = call(&at_level(words, -18.0), number);
                let done = run(None, EchoGuard::Auto, &agent, &caller, echo);
                assert!(done.server.iter().any(|at| (5000..5800).contains(at)), "{echo:?}, caller {number}");
            }
        }
    }
}
