//! Local barge-in: notices on the line itself that the caller speaks into the agent's sentence, and takes it back when it
//! was only noise.
//!
//! ```text
//!            loud for `frames` frames while the agent speaks
//!   ┌──────┐ ─────────────────────────────────────────► ┌──────┐ ── goes on, or the server says so ──► interrupted
//!   │ idle │                                            │ held │
//!   └──────┘ ◄───────────────────────────────────────── └──────┘
//!            not confirmed in time: resumes where it stopped
//! ```
//!
//! Holding is free of consequences, so it happens at once; interrupting is not, so it waits for a second opinion.
//!
//! # Echo
//!
//! Some of the agent's own voice comes back from many lines. While the agent speaks, and for [`ECHO_MEMORY`] after, a
//! frame counts as loud only when it is louder than [`ECHO_LOSS`] of the loudest agent frame in that time: an echo loses at
//! least that much on its way, a person who speaks up does not.

use std::time::{Duration, Instant};

use crate::Format;

/// The longest way of an echo: out through the phone and back.
pub const ECHO_MEMORY: Duration = Duration::from_millis(500);
/// An echo comes back with no more than this part of its loudness, −3 dB.
pub const ECHO_LOSS: f32 = 0.71;

/// Loudness of `audio` as root mean square: 0.0 is silence, 1.0 a square wave at full scale.
///
/// # Realtime
/// One pass over the samples. No allocation, no lock.
pub fn level(audio: &[u8], format: Format) -> f32 {
    let samples = audio.chunks_exact(format.sample_bytes());
    let count = samples.len().max(1) as f32;
    let energy: f32 = samples.map(|bytes| (f32::from(format.linear(bytes)) / 32768.0).powi(2)).sum();
    (energy / count).sqrt()
}

/// Settings of local barge-in, as the configuration names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalVad {
    /// A frame louder than this counts as speech. [of full scale, root mean square]
    pub rms: f32,
    /// So many loud frames in a row are a beginning.
    pub frames: u32,
    /// So much silence is an end; before it nothing new begins.
    pub silence: Duration,
    /// An interruption that is not confirmed by then was noise.
    pub confirm: Duration,
}

/// What to do about what was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Hold playback.
    Hold,
    /// Play on where it stopped.
    Resume,
    /// The caller really speaks: the rest of what the agent says will not be heard.
    Interrupt,
}

/// The state machine of one call. Owned by the channel thread.
#[derive(Debug)]
pub struct BargeIn {
    vad: LocalVad,
    /// Loud frames in a row.
    run: u32,
    last_loud: Option<Instant>,
    held: Option<Held>,
    /// What began is not over: nothing new begins.
    busy: bool,
    echo: EchoMemory,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    frames: u32,
    loud: u32,
}

impl BargeIn {
    /// A machine at rest.
    pub fn new(vad: LocalVad) -> Self {
        Self { vad, run: 0, last_loud: None, held: None, busy: false, echo: EchoMemory::default() }
    }

    /// The phone was given an agent frame of this loudness.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn agent(&mut self, level: f32, now: Instant) {
        self.echo.remember(level, now);
    }

    /// The caller sent a frame of this loudness while the agent's voice was on the line, or not.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn caller(&mut self, level: f32, agent_speaks: bool, now: Instant) -> Option<Action> {
        let loud = level > self.vad.rms.max(self.echo.loudest(now) * ECHO_LOSS);
        self.run = if loud { self.run + 1 } else { 0 };
        if loud {
            self.last_loud = Some(now);
        } else if self.last_loud.is_none_or(|last| now - last >= self.vad.silence) {
            self.busy = false;
        }
        if let Some(held) = &mut self.held {
            held.frames += 1;
            held.loud += u32::from(loud);
            return None;
        }
        let begins = agent_speaks && !self.busy && self.run >= self.vad.frames;
        begins.then(|| {
            self.busy = true;
            self.held = Some(Held { since: now, frames: 0, loud: 0 });
            Action::Hold
        })
    }

    /// Time has come to `now`: decides about playback that is held. Call at every tick.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn tick(&mut self, now: Instant) -> Option<Action> {
        let held = self.held.take_if(|held| now - held.since >= self.vad.confirm)?;
        // Speech has pauses; whoever filled half of the time with it means it.
        let goes_on = held.loud > 0 && held.loud * 2 >= held.frames;
        Some(if goes_on { Action::Interrupt } else { Action::Resume })
    }

    /// Playback was flushed: there is nothing to decide any more.
    pub fn settled(&mut self) {
        self.held = None;
    }
}

/// The loudest agent frame of the last [`ECHO_MEMORY`], in a few coarse slots.
#[derive(Debug, Default)]
struct EchoMemory {
    slots: [Option<(Instant, f32)>; Self::SLOTS],
    newest: usize,
}

impl EchoMemory {
    const SLOTS: usize = 10;
    const SLOT: Duration = Duration::from_millis(50);

    fn remember(&mut self, level: f32, now: Instant) {
        match &mut self.slots[self.newest] {
            Some((since, loudest)) if now - *since < Self::SLOT => *loudest = loudest.max(level),
            _ => {
                self.newest = (self.newest + 1) % Self::SLOTS;
                self.slots[self.newest] = Some((now, level));
            }
        }
    }

    fn loudest(&self, now: Instant) -> f32 {
        let recent = |(since, level): &(Instant, f32)| if now - *since <= ECHO_MEMORY { *level } else { 0.0 };
        self.slots.iter().flatten().map(recent).fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAD: LocalVad =
        LocalVad { rms: 0.08, frames: 2, silence: Duration::from_millis(550), confirm: Duration::from_millis(400) };

    /// Runs frames of 20 ms: the agent's and the caller's loudness at that time. Answers actions with their times.
    fn run(ms: u64, agent: impl Fn(u64) -> f32, caller: impl Fn(u64) -> f32) -> Vec<(u64, Action)> {
        let start = Instant::now();
        let mut machine = BargeIn::new(VAD);
        let mut actions = Vec::new();
        for at in (0..ms).step_by(20) {
            let now = start + Duration::from_millis(at);
            let agent = agent(at);
            machine.agent(agent, now);
            actions.extend(machine.caller(caller(at), agent > 0.0, now).map(|action| (at, action)));
            actions.extend(machine.tick(now).map(|action| (at, action)));
        }
        actions
    }

    #[test]
    fn speech_holds_within_two_frames_and_interrupts_when_it_goes_on() {
        let actions = run(2000, |_| 0.05, |at| if at >= 1000 { 0.2 } else { 0.0 });
        assert_eq!(actions, [(1020, Action::Hold), (1420, Action::Interrupt)]);
    }

    #[test]
    fn a_knock_holds_and_then_the_agent_goes_on() {
        let actions = run(3000, |_| 0.05, |at| if (1000..1080).contains(&at) { 0.3 } else { 0.0 });
        assert_eq!(actions, [(1020, Action::Hold), (1420, Action::Resume)]);
    }

    #[test]
    fn typing_holds_once_and_not_at_every_key() {
        let actions = run(6000, |_| 0.05, |at| if at >= 1000 && at % 300 < 60 { 0.3 } else { 0.0 });
        let holds = actions.iter().filter(|(_, action)| *action == Action::Hold).count();
        assert_eq!((holds, actions.contains(&(1420, Action::Interrupt))), (1, false), "{actions:?}");
    }

    #[test]
    fn a_single_loud_frame_and_a_quiet_voice_do_nothing() {
        assert_eq!(run(2000, |_| 0.05, |at| if at == 1000 { 0.9 } else { 0.07 }), []);
    }

    #[test]
    fn speech_while_the_agent_is_silent_is_no_interruption() {
        assert_eq!(run(2000, |_| 0.0, |_| 0.3), []);
    }

    #[test]
    fn the_agents_own_echo_does_not_interrupt_it() {
        let voice = |at: u64| 0.05 + 0.25 * ((at / 20 * 7919 % 100) as f32 / 100.0);
        for loss_db in [6.0f32, 12.0, 20.0, 30.0] {
            for delay in [60, 200, 400] {
                let gain = 10f32.powf(-loss_db / 20.0);
                let echo = |at: u64| if at >= delay { voice(at - delay) * gain } else { 0.0 };
                assert_eq!(run(10_000, voice, echo), [], "echo at -{loss_db} dB after {delay} ms");
            }
        }
    }

    #[test]
    fn a_caller_who_speaks_up_interrupts_through_the_echo() {
        let caller = |at: u64| if at >= 1000 { 0.35 } else { 0.1 };
        assert_eq!(run(2000, |_| 0.3, caller), [(1020, Action::Hold), (1420, Action::Interrupt)]);
    }

    #[test]
    fn loudness_is_that_of_the_samples_whatever_the_law() {
        for format in [Format::ALAW, Format::ULAW, Format::slin(8000)] {
            let mut audio = vec![0; format.bytes_in_ms(20)];
            for (number, bytes) in audio.chunks_exact_mut(format.sample_bytes()).enumerate() {
                format.store(if number % 2 == 0 { 16384 } else { -16384 }, bytes);
            }
            assert!((level(&audio, format) - 0.5).abs() < 0.02, "{format}");
            assert!(level(&[format.silence_byte(); 160], format) < 0.001);
        }
    }
}
