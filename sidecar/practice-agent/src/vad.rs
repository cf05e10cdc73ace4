//! Finds speech by its loudness alone: enough for clean telephone audio, and the same on every run.
//!
//! Runs on the connection's task, over samples at the session's input rate; time is counted in samples.

use std::time::Duration;

use crate::settings::TurnDetection;

/// An energy detector with the session's threshold and silence.
#[derive(Debug)]
pub(crate) struct Vad {
    frame_samples: usize,
    gate: f64,
    silence_samples: u64,
    /// Sum of squares of the frame being filled, and how many samples it has.
    energy: f64,
    filled: usize,
    state: State,
}

/// A change the caller of [`Vad::advance`] must act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Speech began this many samples ago.
    Started {
        /// Age of the first loud frame, in samples.
        ago_samples: u64,
    },
    /// The caller has been silent for the configured time.
    Stopped {
        /// Age of the last loud frame, in samples.
        quiet_samples: u64,
    },
}

#[derive(Debug, Clone, Copy)]
enum State {
    Quiet {
        /// Loud frames less quiet ones since the first loud one.
        score: u32,
        /// Samples since that first loud frame began.
        since_samples: u64,
    },
    Speaking {
        /// Samples since the last loud frame ended.
        quiet_samples: u64,
    },
}

impl Vad {
    /// A detector for audio at `rate_hz`.
    pub(crate) fn new(rate_hz: u32, settings: &TurnDetection) -> Self {
        let samples = |time: Duration| time.as_millis() as u64 * u64::from(rate_hz) / 1000;
        // A threshold of 0 opens at −50 dBFS, 0.5 at −35, 1 at −20: line noise stays below, speech above.
        let gate_dbfs = -50.0 + 30.0 * settings.threshold;
        Self {
            frame_samples: rate_hz as usize / 100, // 10 ms
            gate: 32768.0 * 10f64.powf(gate_dbfs / 20.0),
            silence_samples: samples(settings.silence),
            energy: 0.0,
            filled: 0,
            state: State::QUIET,
        }
    }

    /// Takes samples up to the next change; returns how many, and the change if there was one.
    pub(crate) fn advance(&mut self, samples: &[i16]) -> (usize, Option<Transition>) {
        let mut used = 0;
        while used < samples.len() {
            let take = (self.frame_samples - self.filled).min(samples.len() - used);
            let chunk = &samples[used..used + take];
            self.energy += chunk.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum::<f64>();
            self.filled += take;
            used += take;
            if self.filled == self.frame_samples
                && let Some(transition) = self.close_frame()
            {
                return (used, Some(transition));
            }
        }
        (used, None)
    }

    /// Forgets a turn in progress.
    pub(crate) fn reset(&mut self) {
        self.state = State::QUIET;
    }

    fn close_frame(&mut self) -> Option<Transition> {
        let loud = (self.energy / self.frame_samples as f64).sqrt() >= self.gate;
        let frame = self.frame_samples as u64;
        self.energy = 0.0;
        self.filled = 0;
        let (state, transition) = match self.state {
            State::Quiet { score, since_samples } => {
                let score = if loud { score + 1 } else { score.saturating_sub(1) };
                let since_samples = if score == 0 { 0 } else { since_samples + frame };
                match score {
                    ONSET_FRAMES => {
                        let started = Transition::Started { ago_samples: since_samples };
                        (State::Speaking { quiet_samples: 0 }, Some(started))
                    }
                    _ => (State::Quiet { score, since_samples }, None),
                }
            }
            State::Speaking { quiet_samples } => {
                let quiet_samples = if loud { 0 } else { quiet_samples + frame };
                match quiet_samples >= self.silence_samples.max(frame) {
                    true => (State::QUIET, Some(Transition::Stopped { quiet_samples })),
                    false => (State::Speaking { quiet_samples }, None),
                }
            }
        };
        self.state = state;
        transition
    }
}

impl State {
    const QUIET: Self = Self::Quiet { score: 0, since_samples: 0 };
}

/// A click lasts a frame or two; a syllable lasts longer than 40 ms.
const ONSET_FRAMES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn detector() -> Vad {
        Vad::new(
            8000,
            &TurnDetection {
                threshold: 0.5,
                prefix_padding: Duration::from_millis(300),
                silence: Duration::from_millis(200),
                create_response: true,
                interrupt_response: true,
            },
        )
    }

    fn tone(ms: usize, amplitude: f64) -> Vec<i16> {
        (0..ms * 8).map(|n| (amplitude * (n as f64 * 0.4).sin()) as i16).collect()
    }

    #[test]
    fn speech_starts_after_four_frames_and_stops_after_the_silence() {
        let mut vad = detector();
        assert_eq!(vad.advance(&tone(100, 10.0)), (800, None));
        assert_eq!(vad.advance(&tone(500, 8000.0)), (320, Some(Transition::Started { ago_samples: 320 })));
        assert_eq!(vad.advance(&tone(460, 8000.0)), (3680, None));
        assert_eq!(vad.advance(&tone(500, 0.0)), (1600, Some(Transition::Stopped { quiet_samples: 1600 })));
    }

    #[test]
    fn a_click_is_not_speech() {
        let mut vad = detector();
        for _ in 0..20 {
            assert_eq!(vad.advance(&tone(20, 8000.0)).1, None);
            assert_eq!(vad.advance(&tone(80, 0.0)).1, None);
        }
    }
}
