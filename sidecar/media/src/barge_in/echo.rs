//! The agent's own voice coming back from the line: how much of it, and how late.
//!
//! Every frame the phone is given leaves its loudness here, and every frame the caller sends is compared with the last
//! half second of it. Loudness that rises and falls with the agent's, always the same time later, is an echo, and the
//! regression of one on the other says how loud it is. A voice cannot be told from its own echo by its sound; it can be by
//! this.
//!
//! Loudness is compared as power, frame by frame: a codec or a loudspeaker distorts samples, but not that.

/// Times between a frame and its echo that are told apart, in frames of 20 ms: up to 500 ms.
const LAGS: usize = 26;
/// How much of what was learnt is left after a frame: half is forgotten in 0.7 s.
const MEMORY: f32 = 0.98;
/// Frames of the agent's voice it takes to know how loud an echo can be: 1 s.
const LEARNT: u32 = 50;
/// An echo that must be expected before the line is known: −3 dB of the loudest agent frame of the last half second.
const UNKNOWN_LOSS: f32 = 0.71;
/// Correlation of the caller's loudness with the agent's that an echo has.
const LIKE: f32 = 0.8;
/// So many changes of the agent's loudness in a row that came back, always the same time later, make it certain: about 0.8 s
/// of speech. Two people who talk at once are alike for a syllable, not for a sentence; two steady tones never change.
const STEADY: u32 = 20;
/// An echo has no more than this of the agent's power, −1 dB.
const MOST: f32 = 0.8;
/// A change of power, 3 dB.
const CHANGE: f32 = 2.0;
/// Correlation below which it has none.
const UNLIKE: f32 = 0.5;
/// After so many frames without the likeness the echo is gone: 3 s of the agent's voice.
const FORGOTTEN: u32 = 150;
/// A frame may be louder than its echo was expected to be by this, 6 dB.
const MARGIN: f32 = 2.0;
/// Where no echo stands out: how fast what is usual on the line is followed, up (1.2 dB a frame) and down (0.3 dB). It comes
/// to rest where a fifth of the frames is louder.
const USUAL_UP: f32 = 1.148;
const USUAL_DOWN: f32 = 0.966;
/// Power of an agent frame that leaves no echo worth learning, −50 dB of full scale.
const SILENT: f32 = 1e-5;

/// What is known of the echo of one line. Owned by the channel thread.
#[derive(Debug)]
pub struct EchoPath {
    /// Power of the frames the phone was given, the newest first.
    agent: [f32; LAGS + 1],
    lags: [Lag; LAGS],
    /// Power of the caller's frame before.
    before: f32,
    caller: Moments,
    /// How loud the caller usually is, as part of the agent's loudest, without what counted as speech.
    usual: f32,
    /// Frames learnt from.
    learnt: u32,
    path: Path,
}

/// The way of an echo, as far as it is certain.
#[derive(Debug, Default)]
struct Path {
    lag: usize,
    /// Power of the echo as part of the agent's.
    gain: f32,
    /// Changes in a row at this lag.
    steady: u32,
    /// Frames in a row without the likeness.
    unlike: u32,
    recognised: bool,
}

/// Sums that fade: of a power, of its square, and of the weights.
#[derive(Debug, Default, Clone, Copy)]
struct Moments {
    weight: f32,
    sum: f32,
    squares: f32,
}

/// The agent's power so many frames ago, and its product with the caller's now.
#[derive(Debug, Default, Clone, Copy)]
struct Lag {
    agent: Moments,
    products: f32,
}

/// A lag at which the caller follows the agent.
struct Likeness {
    lag: usize,
    /// Power of the echo as part of the agent's.
    gain: f32,
    /// From −1 to 1.
    correlation: f32,
}

impl Default for EchoPath {
    fn default() -> Self {
        Self {
            agent: [0.0; LAGS + 1],
            lags: [Lag::default(); LAGS],
            before: 0.0,
            caller: Moments::default(),
            usual: UNKNOWN_LOSS,
            learnt: 0,
            path: Path::default(),
        }
    }
}

impl EchoPath {
    /// The phone was given a frame of this loudness (root mean square); silence is one, too.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn played(&mut self, level: f32) {
        self.agent.rotate_right(1);
        self.agent[0] = level * level;
    }

    /// Learns from a frame of the caller of this loudness. `speech`: it counted as the caller's own.
    ///
    /// # Realtime
    /// Arithmetic only, a few operations for each of 26 lags.
    pub fn learn(&mut self, level: f32, speech: bool) {
        let loudest = self.loudest();
        if loudest < SILENT {
            return;
        }
        // Means of two frames: an echo falls between two frames of the agent.
        let power = (level * level + std::mem::replace(&mut self.before, level * level)) / 2.0;
        for (lag, agent) in self.lags.iter_mut().zip(self.agent.windows(2)) {
            let agent = (agent[0] + agent[1]) / 2.0;
            lag.agent.take(agent);
            lag.products = lag.products * MEMORY + agent * power;
        }
        self.caller.take(power);
        if !speech {
            let louder = level > loudest.sqrt() * self.usual;
            self.usual = (self.usual * if louder { USUAL_UP } else { USUAL_DOWN }).clamp(1e-4, UNKNOWN_LOSS);
        }
        self.learnt = self.learnt.saturating_add(1);
        let likeness = self.likeness();
        let [now, before] = [self.agent[likeness.lag], self.agent[likeness.lag + 1]];
        let changed = now.max(before) > SILENT && (now > before * CHANGE || before > now * CHANGE);
        self.path.follow(likeness, changed);
    }

    /// The loudest an echo can be now. What is louder is not the agent's voice.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn limit(&self) -> f32 {
        let loudest = self.loudest().sqrt();
        if self.learnt < LEARNT {
            return loudest * UNKNOWN_LOSS;
        }
        if let Some(expected) = self.expected() {
            return expected * MARGIN;
        }
        loudest * (self.usual * MARGIN).min(UNKNOWN_LOSS)
    }

    /// How loud the echo is expected to be now, where there is one.
    pub fn expected(&self) -> Option<f32> {
        let Path { lag, gain, recognised, .. } = self.path;
        recognised.then(|| {
            // The network may have moved it by a frame.
            let around = &self.agent[lag.saturating_sub(1)..(lag + 3).min(LAGS)];
            (around.iter().copied().fold(0.0, f32::max) * gain).sqrt()
        })
    }

    /// The lag at which the caller is most like the agent.
    fn likeness(&self) -> Likeness {
        let mut best = Likeness { lag: 0, gain: 0.0, correlation: 0.0 };
        let caller = self.caller.spread();
        for (lag, sums) in self.lags.iter().enumerate() {
            let covariance = sums.products - sums.agent.sum * self.caller.sum / self.caller.weight;
            let agent = sums.agent.spread().max(f32::MIN_POSITIVE);
            let correlation = covariance / (agent * caller).sqrt().max(f32::MIN_POSITIVE);
            if correlation > best.correlation {
                best = Likeness { lag, gain: covariance / agent, correlation };
            }
        }
        best
    }

    fn loudest(&self) -> f32 {
        self.agent.iter().copied().fold(0.0, f32::max)
    }
}

impl Path {
    fn follow(&mut self, now: Likeness, changed: bool) {
        self.unlike = if now.correlation < UNLIKE { self.unlike + 1 } else { 0 };
        self.recognised &= self.unlike < FORGOTTEN;
        // What comes back as loud as it left is somebody else.
        if now.correlation < UNLIKE || now.gain > MOST {
            self.steady = 0;
        }
        if now.correlation < LIKE || now.gain > MOST {
            return;
        }
        self.steady = if now.lag.abs_diff(self.lag) <= 1 { self.steady + u32::from(changed) } else { 0 };
        self.lag = now.lag;
        self.gain = now.gain;
        self.recognised |= self.steady >= STEADY;
    }
}

impl Moments {
    fn take(&mut self, power: f32) {
        self.weight = self.weight * MEMORY + 1.0;
        self.sum = self.sum * MEMORY + power;
        self.squares = self.squares * MEMORY + power * power;
    }

    /// Sum of squared distances from the mean.
    fn spread(&self) -> f32 {
        (self.squares - self.sum * self.sum / self.weight).max(0.0)
    }
}
