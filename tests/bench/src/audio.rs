//! What callers say: speech with a loud tone in every second, and the ear that finds the tones again.
//!
//! ```text
//!  second k of 8:   │ speech at −16 dBFS, 600 ms │ quiet, 240 ms │ tone k, 60 ms │ quiet, 100 ms │
//! ```
//!
//! Each of the eight tones has a frequency of its own, so a burst that comes back late is not taken for
//! another one before 8 s have passed.

use ai_media::g711;
use anyhow::{Result, ensure};

/// Bytes (A-law samples) of a packet: 8000 Hz × 20 ms.
pub(crate) const PACKET_BYTES: usize = 160;
/// Packets of the whole loop: 8 s.
pub(crate) const LOOP_PACKETS: usize = 400;
/// Packets from one burst to the next.
const PERIOD_PACKETS: usize = 50;
/// The packet of each period that begins with the burst.
const BURST_PACKET: usize = 42;
/// Frequencies of the bursts. [Hz]
pub(crate) const TONES_HZ: [u32; 8] = [500, 700, 900, 1100, 1300, 1600, 1900, 2300];
const BURST_SAMPLES: usize = 480; // 8000 Hz × 60 ms
const SPEECH_SAMPLES: usize = 4800; // 8000 Hz × 600 ms
/// Peak of speech: 32767 × 10^(−16/20).
const SPEECH_PEAK: f64 = 5193.0;
/// Peak of a burst: 80 % of full scale.
const BURST_PEAK: f64 = 26214.0;
/// Louder than any speech of the loop, far below a burst.
const THRESHOLD: u16 = 11500;
/// Quiet, or speech, that must come before a burst. [samples]
const BEFORE: u32 = 800;
/// Samples looked at to tell which burst it is: 30 ms.
const LISTEN: u32 = 240;
/// Sign changes of a tone of 1 Hz in as many samples: 2 × 30 ms.
const CHANGES_PER_HZ: f64 = 0.06;
/// Sign changes a tone may differ from what it should have.
const CHANGES_OFF: f64 = 5.0;

/// The loop all callers play, A-law.
pub(crate) fn caller_loop() -> Result<Vec<u8>> {
    let words = "Hello, I would like to ask about my order from last Tuesday. It has not arrived yet, and the tracking \
                 page says nothing at all. Could you please check the number seven four nine two for me?";
    let speech = rig::speech(words, 8000)?;
    ensure!(speech.len() >= TONES_HZ.len() * SPEECH_SAMPLES, "the caller's sentence is too short");
    let loudest = speech.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(1).max(1);
    let gain = SPEECH_PEAK / f64::from(loudest);

    let mut samples = vec![0.0; LOOP_PACKETS * PACKET_BYTES];
    for (period, (&tone_hz, words)) in TONES_HZ.iter().zip(speech.chunks(SPEECH_SAMPLES)).enumerate() {
        let start = period * PERIOD_PACKETS * PACKET_BYTES;
        for (sample, &word) in samples[start..].iter_mut().zip(words) {
            *sample = f64::from(word) * gain;
        }
        let burst = &mut samples[start + BURST_PACKET * PACKET_BYTES..][..BURST_SAMPLES];
        for (at, sample) in burst.iter_mut().enumerate() {
            let phase = std::f64::consts::TAU * f64::from(tone_hz) * at as f64 / 8000.0;
            *sample = (phase + 0.5).sin() * BURST_PEAK;
        }
    }
    Ok(samples.iter().map(|&sample| g711::alaw_encode(sample as i16)).collect())
}

/// Which burst begins with packet `index` of the loop.
pub(crate) fn burst_at(index: usize) -> Option<usize> {
    (index % PERIOD_PACKETS == BURST_PACKET).then_some(index / PERIOD_PACKETS)
}

/// Finds bursts in what one caller hears.
#[derive(Default)]
pub(crate) struct Ear {
    since_loud: u32,
    began_at: Option<i64>,
    listened: u32,
    changes: u32,
    positive: bool,
}

/// What an [`Ear`] heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Heard {
    /// Burst `tone`, whose first sample came at `at_ns`.
    Burst {
        /// Index into [`TONES_HZ`].
        tone: usize,
        /// [ns]
        at_ns: i64,
    },
    /// Something loud that is none of the tones.
    Garbled,
}

impl Ear {
    /// Listens to a packet that arrived at `at_ns`.
    pub(crate) fn listen(&mut self, alaw: &[u8], at_ns: i64, mut heard: impl FnMut(Heard)) {
        for (index, &code) in alaw.iter().enumerate() {
            let sample = g711::alaw_decode(code);
            let loud = sample.unsigned_abs() > THRESHOLD;
            if let Some(began_at) = self.began_at {
                self.changes += u32::from((sample >= 0) != self.positive);
                self.positive = sample >= 0;
                self.listened += 1;
                if self.listened == LISTEN {
                    self.began_at = None;
                    heard(recognise(self.changes, began_at));
                }
            } else if loud && self.since_loud >= BEFORE {
                // The packet begins to be heard when it comes; its samples follow 125 µs after each other.
                *self = Self { positive: sample >= 0, ..Self::default() };
                self.began_at = Some(at_ns + index as i64 * 125_000);
            }
            self.since_loud = if loud { 0 } else { self.since_loud.saturating_add(1) };
        }
    }
}

fn recognise(changes: u32, at_ns: i64) -> Heard {
    let off = |tone: usize| (f64::from(TONES_HZ[tone]) * CHANGES_PER_HZ - f64::from(changes)).abs();
    match (0..TONES_HZ.len()).min_by(|&a, &b| off(a).total_cmp(&off(b))) {
        Some(tone) if off(tone) <= CHANGES_OFF => Heard::Burst { tone, at_ns },
        _ => Heard::Garbled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_burst_of_the_loop_is_found_where_it_is() {
        let audio = caller_loop().expect("espeak-ng is installed");
        let mut ear = Ear::default();
        let mut found = Vec::new();
        for (index, packet) in audio.chunks(PACKET_BYTES).enumerate() {
            let at_ns = index as i64 * 20_000_000;
            ear.listen(packet, at_ns, |heard| found.push(heard));
        }
        let expected = (0..8).map(|tone| {
            let packet = (0..LOOP_PACKETS).find(|&index| burst_at(index) == Some(tone)).unwrap();
            Heard::Burst { tone, at_ns: packet as i64 * 20_000_000 }
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
