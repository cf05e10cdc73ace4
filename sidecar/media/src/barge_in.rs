//! Local barge-in: notices on the line itself that the caller speaks into the agent's sentence, and takes it back when it
//! was only noise.
//!
//! ```text
//!            speech for `frames` frames while the agent speaks
//!   ┌──────┐ ─────────────────────────────────────────► ┌──────┐ ── goes on, or the server says so ──► interrupted
//!   │ idle │                                            │ held │
//!   └──────┘ ◄───────────────────────────────────────── └──────┘
//!            not confirmed in time: resumes where it stopped
//! ```
//!
//! Holding is free of consequences, so it happens at once; interrupting is not, so it waits for a second opinion.
//!
//! A frame is speech when it is louder than the echo that the agent's voice can have left by now ([`EchoPath`]), louder
//! than the line is when nobody speaks, and, unless loudness is to decide alone, sounds like a person ([`Voice`]).
//! `docs/barge-in.md` has the measurements behind this.

mod echo;
#[cfg(test)]
mod tests;
mod voice;

use std::time::{Duration, Instant};

pub use self::echo::EchoPath;
pub use self::voice::Voice;
use crate::Format;

/// Longest frame that can be muted. [ms]
const LONGEST_MS: u64 = 60;
/// With [`Detection::Voice`]: what is quieter than this is nobody on this phone, −34 dB of full scale.
const VOICE_LEAST: f32 = 0.02;
/// With [`Detection::Voice`]: speech is this much louder than the line without it, 10 dB.
const VOICE_OVER_NOISE: f32 = 3.0;
/// A score of [`Voice`] that is enough to hold the agent.
const LIKELY: f32 = 0.5;
/// A score of [`Voice`] that is enough to interrupt it.
const SURE: f32 = 0.7;

/// After an interruption that was taken back, so many frames of sure speech in a row are another before there was silence:
/// 200 ms are no key and no knock.
const INSISTS: u32 = 10;
/// Speech that interrupts is still heard so shortly before the decision.
const LASTING: Duration = Duration::from_millis(160);

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

/// Who may interrupt the agent, seen from the line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How the caller's speech is noticed on the line itself; `None`: it is not.
    pub local: Option<LocalVad>,
    /// What becomes of the agent's echo before the AI hears it.
    pub echo_guard: EchoGuard,
}

/// Settings of local barge-in, as the configuration names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalVad {
    /// How speech is told from noise.
    pub detection: Detection,
    /// With [`Detection::Level`], a frame louder than this counts as speech. [of full scale, root mean square]
    pub rms: f32,
    /// So many frames of speech in a row are a beginning.
    pub frames: u32,
    /// So much silence is an end; before it nothing new begins.
    pub silence: Duration,
    /// An interruption that is not confirmed by then was noise.
    pub confirm: Duration,
}

/// How the caller's speech is told from noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// By its sound.
    Voice,
    /// By its loudness alone.
    Level,
}

impl Detection {
    /// The configuration's words.
    pub const WORDS: &[(&str, Self)] = &[("voice", Self::Voice), ("level", Self::Level)];
}

/// When the AI gets silence in the place of the agent's echo, which its own voice detection could take for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoGuard {
    /// Never: every byte of the caller passes.
    Off,
    /// Once an echo was recognised, and as long as there is one.
    Auto,
    /// Whatever could be one while the agent speaks, from its first word on, on every line.
    Always,
}

impl EchoGuard {
    /// The configuration's words.
    pub const WORDS: &[(&str, Self)] = &[("off", Self::Off), ("auto", Self::Auto), ("always", Self::Always)];
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

/// What there is to do about a frame of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Something changes for the agent's voice.
    pub action: Option<Action>,
    /// The frame is the agent's echo, and the AI is to get silence in its place.
    pub mute: bool,
}

/// Listens to both sides of one call. Owned by the channel thread.
#[derive(Debug)]
pub struct BargeIn {
    format: Format,
    echo: EchoPath,
    echo_guard: EchoGuard,
    local: Option<Local>,
    silence: Box<[u8]>,
}

impl BargeIn {
    /// A listener for frames of `format`.
    pub fn new(settings: Settings, format: Format) -> Self {
        let Settings { local, echo_guard } = settings;
        let silence = vec![format.silence_byte(); format.bytes_in_ms(LONGEST_MS)].into();
        let local = local.map(|vad| Local::new(vad, format));
        Self { format, echo: EchoPath::default(), echo_guard, local, silence }
    }

    /// The phone was given this frame, of the agent's voice or of silence.
    ///
    /// # Realtime
    /// One pass over the samples. No allocation, no lock.
    pub fn played(&mut self, audio: &[u8]) {
        if !self.is_idle() {
            self.echo.played(level(audio, self.format));
        }
    }

    /// The caller sent this frame while the agent's voice was on the line, or not.
    ///
    /// # Realtime
    /// About 10 µs while the agent speaks, 1 µs otherwise. No allocation, no lock.
    pub fn caller(&mut self, audio: &[u8], agent_speaks: bool, now: Instant) -> Verdict {
        if self.is_idle() {
            return Verdict { action: None, mute: false };
        }
        let level = level(audio, self.format);
        let limit = self.echo.limit();
        let mute = level <= limit && self.is_guarded() && audio.len() <= self.silence.len();
        let (mut learns, mut speech, mut action) = (true, level > limit, None);
        if let Some(local) = &mut self.local {
            learns = local.held.is_none();
            speech &= level > local.least();
            action = local.hear(audio, level, speech, agent_speaks, now);
        }
        if learns {
            self.echo.learn(level, speech);
        }
        Verdict { action, mute }
    }

    /// What the AI gets in the place of a frame that is muted, `bytes` long as that was.
    pub fn silence(&self, bytes: usize) -> &[u8] {
        &self.silence[..bytes]
    }

    /// Time has come to `now`: decides about playback that is held. Call at every tick.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn tick(&mut self, now: Instant) -> Option<Action> {
        self.local.as_mut()?.decide(now)
    }

    /// Playback was flushed: there is nothing to decide any more.
    pub fn settled(&mut self) {
        if let Some(local) = &mut self.local {
            local.held = None;
        }
    }

    fn is_idle(&self) -> bool {
        self.local.is_none() && self.echo_guard == EchoGuard::Off
    }

    fn is_guarded(&self) -> bool {
        match self.echo_guard {
            EchoGuard::Off => false,
            EchoGuard::Auto => self.echo.expected().is_some(),
            EchoGuard::Always => true,
        }
    }
}

/// The state machine in the picture above.
#[derive(Debug)]
struct Local {
    vad: LocalVad,
    voice: Option<Voice>,
    noise: NoiseFloor,
    /// Frames of likely speech in a row.
    run: u32,
    /// Frames of sure speech in a row.
    sure_run: u32,
    last_speech: Option<Instant>,
    held: Option<Held>,
    /// What began is not over: nothing new begins.
    busy: bool,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    frames: u32,
    /// How many of them were speech.
    speech: u32,
    last_speech: Option<Instant>,
}

impl Local {
    fn new(vad: LocalVad, format: Format) -> Self {
        let voice = (vad.detection == Detection::Voice).then(|| Voice::new(format));
        let noise = NoiseFloor::default();
        Self { vad, voice, noise, run: 0, sure_run: 0, last_speech: None, held: None, busy: false }
    }

    /// What is quieter is not speech.
    fn least(&self) -> f32 {
        match self.vad.detection {
            Detection::Level => self.vad.rms,
            Detection::Voice => VOICE_LEAST.max(self.noise.level * VOICE_OVER_NOISE),
        }
    }

    fn hear(&mut self, audio: &[u8], level: f32, loud: bool, agent_speaks: bool, now: Instant) -> Option<Action> {
        self.noise.hear(level);
        // Nobody asks for the score while the agent is silent.
        let score = match &mut self.voice {
            Some(voice) if agent_speaks || self.held.is_some() => voice.score(audio),
            _ => 1.0,
        };
        let (likely, sure) = (loud && score >= LIKELY, loud && score >= SURE);
        self.run = if likely { self.run + 1 } else { 0 };
        self.sure_run = if sure { self.sure_run + 1 } else { 0 };
        if likely {
            self.last_speech = Some(now);
        } else if self.last_speech.is_none_or(|last| now - last >= self.vad.silence) {
            self.busy = false;
        }
        if let Some(held) = &mut self.held {
            held.frames += 1;
            held.speech += u32::from(sure);
            held.last_speech = if sure { Some(now) } else { held.last_speech };
            return None;
        }
        let begins = if self.busy { self.sure_run >= INSISTS } else { self.run >= self.vad.frames };
        (begins && agent_speaks).then(|| {
            self.busy = true;
            self.held = Some(Held { since: now, frames: 0, speech: 0, last_speech: None });
            Action::Hold
        })
    }

    fn decide(&mut self, now: Instant) -> Option<Action> {
        let held = self.held.take_if(|held| now - held.since >= self.vad.confirm)?;
        // Speech has pauses; whoever filled two fifths of the time with it means it. An echo that nobody knew of yet does
        // not outlast the voice it is of.
        let lasts = held.last_speech.is_some_and(|last| now - last <= LASTING);
        let goes_on = lasts && held.speech * 5 >= held.frames * 2;
        Some(if goes_on { Action::Interrupt } else { Action::Resume })
    }
}

/// How loud the line is when nobody speaks: falls at once with what is quieter, and rises slowly.
#[derive(Debug)]
struct NoiseFloor {
    level: f32,
}

impl Default for NoiseFloor {
    fn default() -> Self {
        Self { level: Self::LEAST }
    }
}

impl NoiseFloor {
    /// −60 dB of full scale: a good line.
    const LEAST: f32 = 0.001;
    /// A frame: 9 dB a second.
    const RISE: f32 = 1.02;

    fn hear(&mut self, level: f32) {
        self.level = level.clamp(Self::LEAST, self.level * Self::RISE);
    }
}
