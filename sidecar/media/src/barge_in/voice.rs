//! Voice or noise: a small recurrent network says for every 16 ms how much it sounds like a person.
//!
//! ```text
//!  frame ─► linear, 16 kHz ─► windows of 256 ─► earshot ─► score from 0 to 1
//! ```
//!
//! The network (crate `earshot`) was trained on 16 kHz. Narrowband audio reaches it by linear interpolation, not by a
//! band-limited filter: the mirror image above 4 kHz that this leaves makes speech *more* and noise *less* likely in its
//! eyes, as `docs/barge-in.md` shows.

use earshot::Detector;

use crate::Format;

/// The rate of the network. [Hz]
const RATE_HZ: u32 = 16_000;
/// Samples it looks at a time.
const WINDOW: usize = 256;

/// The detector of one call. Owned by the channel thread.
pub struct Voice {
    detector: Box<Detector>,
    format: Format,
    window: [f32; WINDOW],
    filled: usize,
    last: f32,
    /// Place of the next sample at the network's rate, between `last` and the sample after it. [1/rate_hz of a sample]
    phase: u32,
    score: f32,
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("score", &self.score).finish_non_exhaustive()
    }
}

impl Voice {
    /// A detector for audio of this format.
    pub fn new(format: Format) -> Self {
        Self {
            detector: Detector::default_boxed(),
            format,
            window: [0.0; WINDOW],
            filled: 0,
            last: 0.0,
            phase: 0,
            score: 0.0,
        }
    }

    /// How much the newest of `audio` sounds like a person, from 0 to 1.
    ///
    /// # Realtime
    /// About 10 µs a 20 ms frame. No allocation, no lock.
    pub fn score(&mut self, audio: &[u8]) -> f32 {
        for bytes in audio.chunks_exact(self.format.sample_bytes()) {
            let next = f32::from(self.format.linear(bytes)) / 32768.0;
            self.phase += RATE_HZ;
            while self.phase >= self.format.rate_hz {
                self.phase -= self.format.rate_hz;
                // From the older sample (0) to the newer one (1).
                let place = 1.0 - self.phase as f32 / RATE_HZ as f32;
                self.take(self.last + (next - self.last) * place.clamp(0.0, 1.0));
            }
            self.last = next;
        }
        self.score
    }

    fn take(&mut self, sample: f32) {
        self.window[self.filled] = sample;
        self.filled += 1;
        if self.filled == WINDOW {
            self.filled = 0;
            self.score = self.detector.predict_f32(&self.window);
        }
    }
}
