//! A call in virtual time: the agent speaks until it is held, and the line returns its voice.
//!
//! ```text
//!  agent ─► phone ─► echo: later, quieter, smeared ─┐
//!    ▲                                  caller ─────┴─► A-law ─► BargeIn ─► the server's voice detection
//!    └── hold, resume ◄──────────────────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

use ai_media::Format;
use ai_media::barge_in::{Action, BargeIn, Detection, EchoGuard, LocalVad, Settings};

use crate::sounds::{FRAME, Random, alaw, gain, level};

/// An echo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Echo {
    pub(crate) delay_ms: usize,
    /// How much quieter it is, about. [dB]
    pub(crate) loss_db: f32,
}

/// What happened.
pub(crate) struct Outcome {
    /// What was decided, and when. [ms]
    pub(crate) actions: Vec<(usize, Action)>,
    /// When the server's voice detection would have begun to hear the caller. [ms]
    pub(crate) server: Vec<usize>,
    /// Frames that were muted.
    pub(crate) muted: usize,
}

impl Outcome {
    pub(crate) fn count(&self, action: Action) -> usize {
        self.actions.iter().filter(|(_, done)| *done == action).count()
    }
}

/// The defaults, but for how speech is told from noise.
pub(crate) fn local(detection: Detection) -> Option<LocalVad> {
    let (silence, confirm) = (Duration::from_millis(550), Duration::from_millis(400));
    Some(LocalVad { detection, rms: 0.08, frames: 2, silence, confirm })
}

/// Runs a call: `caller` is what the caller's own side of the line carries.
pub(crate) fn run(
    local: Option<LocalVad>,
    echo_guard: EchoGuard,
    agent: &[f32],
    caller: &[f32],
    echo: Option<Echo>,
) -> Outcome {
    let start = Instant::now();
    let mut machine = BargeIn::new(Settings { local, echo_guard }, Format::ALAW);
    let mut server = Server::default();
    let mut said = agent.iter().cycle();
    let mut outcome = Outcome { actions: Vec::new(), server: Vec::new(), muted: 0 };
    // What the phone has played, one frame ahead.
    let mut played = vec![0.0; caller.len() + 2 * FRAME];
    let room = handset();
    let mut held = false;
    for (number, own) in caller.chunks_exact(FRAME).enumerate() {
        let at = number * FRAME;
        let now = start + Duration::from_millis(20 * number as u64);
        let heard: Vec<f32> =
            own.iter().enumerate().map(|(n, own)| own + returned(&played, at + n, echo, &room)).collect();
        let heard = alaw(&heard);
        let verdict = machine.caller(&heard, !held, now);
        for action in verdict.action.into_iter().chain(machine.tick(now)) {
            // Nobody flushes here: after an interruption the agent goes on with its next sentence.
            held = action == Action::Hold;
            outcome.actions.push((20 * number + 20, action));
        }
        outcome.muted += usize::from(verdict.mute);
        let passed = if verdict.mute { machine.silence(heard.len()) } else { &heard[..] };
        outcome.server.extend(server.hears(passed).then_some(20 * number + 20));
        let frame: Vec<f32> =
            (0..FRAME).map(|_| if held { 0.0 } else { said.next().copied().unwrap_or(0.0) }).collect();
        machine.played(&alaw(&frame));
        played[at + FRAME..at + 2 * FRAME].copy_from_slice(&frame);
    }
    outcome
}

fn returned(played: &[f32], at: usize, echo: Option<Echo>, room: &[f32]) -> f32 {
    let Some(Echo { delay_ms, loss_db }) = echo else { return 0.0 };
    let Some(from) = at.checked_sub(delay_ms * 8) else { return 0.0 };
    let sum: f32 = room.iter().zip(played[..=from].iter().rev()).map(|(tap, sample)| tap * sample).sum();
    sum * gain(-loss_db)
}

/// 20 ms of the way from a loudspeaker to its microphone, which makes noise neither louder nor quieter.
fn handset() -> Vec<f32> {
    let mut random = Random::new(9);
    let taps: Vec<f32> =
        (0..160).map(|n| if n == 0 { 0.8 } else { 0.35 * random.normal() * (-(n as f32) / 40.0).exp() }).collect();
    let energy = taps.iter().map(|tap| tap * tap).sum::<f32>().sqrt();
    taps.into_iter().map(|tap| tap / energy).collect()
}

/// A provider's voice detection at its plainest: 40 ms above −41 dBFS, as the practice agent has it with vad_threshold 0.3.
#[derive(Default)]
struct Server {
    score: u32,
    speaking: bool,
    quiet: u32,
}

impl Server {
    /// True when the caller begins to speak.
    fn hears(&mut self, frame: &[u8]) -> bool {
        let mut begins = false;
        for half in frame.chunks(80) {
            let samples: Vec<f32> =
                half.iter().map(|&code| f32::from(ai_media::g711::alaw_decode(code)) / 32768.0).collect();
            let loud = level(&samples) >= gain(-41.0);
            self.quiet = if loud { 0 } else { self.quiet + 1 };
            self.speaking &= self.quiet < 20;
            self.score = if loud { self.score + 1 } else { self.score.saturating_sub(1) };
            if !self.speaking && self.score >= 4 {
                (self.speaking, begins) = (true, true);
            }
            self.score = if self.speaking { 0 } else { self.score };
        }
        begins
    }
}
