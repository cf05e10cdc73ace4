//! Signals that can be recognised after they have gone through a call, and the measures of how they came out.

use std::f64::consts::TAU;
use std::ops::Range;
use std::time::{Duration, Instant};

use rig::{Packet, Recording};

/// Silence of A-law and of µ-law (ITU-T G.711).
pub const SILENT_CODES: [u8; 2] = [0xD5, 0xFF];

/// `count` pseudo-random G.711 codes, another sequence for every `seed`. None of them is silence, so that audio and
/// silence can be told apart code by code.
pub fn codes(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let codes = std::iter::repeat_with(|| (random.next() >> 32) as u8);
    codes.filter(|code| !SILENT_CODES.contains(code)).take(count).collect()
}

/// A sound as broad as speech on a telephone, known at every moment and so at every rate.
pub struct Chord {
    /// Frequency [Hz] and phase [turns].
    tones: Vec<(f64, f64)>,
    length: Duration,
}

/// How a sound came out at the other end.
#[derive(Debug)]
pub struct Likeness {
    /// Where in the recording it begins. [samples]
    pub at: usize,
    /// Signal-to-noise ratio of the whole. [dB]
    pub snr_db: f64,
    /// The same of its worst 20 ms: a click is short.
    pub worst_db: f64,
}

impl Chord {
    /// Amplitude of one tone: all together stay below full scale.
    const AMPLITUDE: f64 = 600.0;
    /// Tones of a chord.
    const TONES: usize = 24;
    /// Its beginning and end are this soft: a jump would have parts above the telephone band. [s]
    const EDGE_S: f64 = 0.002;

    /// Tones between the frequencies of `band` [Hz], other ones for every `seed`.
    pub fn new(seed: u64, band: Range<f64>, length: Duration) -> Self {
        let mut random = Random::new(seed);
        let step = (band.end - band.start) / Self::TONES as f64;
        let tone = |n| (band.start + (n as f64 + random.unit()) * step, random.unit());
        Self { tones: (0..Self::TONES).map(tone).collect(), length }
    }

    /// What a telephone carries: 300 to 3400 Hz.
    pub fn narrow(seed: u64, length: Duration) -> Self {
        Self::new(seed, 300.0..3400.0, length)
    }

    /// What a wideband phone carries: 100 to 7000 Hz.
    pub fn wide(seed: u64, length: Duration) -> Self {
        Self::new(seed, 100.0..7000.0, length)
    }

    /// Its samples at `rate_hz`.
    pub fn at_rate(&self, rate_hz: u32) -> Vec<i16> {
        let length_s = self.length.as_secs_f64();
        let sample = |n: u32| {
            let time_s = f64::from(n) / f64::from(rate_hz);
            let edge = (time_s.min(length_s - time_s) / Self::EDGE_S).clamp(0.0, 1.0);
            let sum: f64 = self.tones.iter().map(|(hz, phase)| ((hz * time_s + phase) * TAU).sin()).sum();
            (sum * edge * Self::AMPLITUDE).round() as i16
        };
        (0..(length_s * f64::from(rate_hz)).round() as u32).map(sample).collect()
    }

    /// The same as bytes of signed linear, little-endian.
    pub fn slin(&self, rate_hz: u32) -> Vec<u8> {
        self.at_rate(rate_hz).iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}

/// Finds `said` in `heard`, both at `rate_hz`, and measures what the way has done to it.
///
/// # Panics
/// When nothing is heard, or it ends before `said` does.
pub fn compare(heard: &[i16], said: &[i16], rate_hz: u32) -> Likeness {
    let loud = |samples: &[i16]| samples.iter().position(|sample| sample.unsigned_abs() > 200);
    let onset = loud(heard).expect("something is heard");
    let guess = onset.saturating_sub(loud(said).expect("something is said"));
    let reach = rate_hz as usize / 100;
    let probe = &said[..said.len().min(rate_hz as usize / 4)];
    let likeness = |at: usize| -> f64 {
        heard[at..].iter().zip(probe).map(|(&heard, &said)| f64::from(heard) * f64::from(said)).sum()
    };
    let places = guess.saturating_sub(reach)..(guess + reach).min(heard.len());
    let at = places.max_by(|&a, &b| likeness(a).total_cmp(&likeness(b))).expect("some place");
    let heard = &heard[at..];
    assert!(heard.len() >= said.len(), "heard only {} of {} samples", heard.len(), said.len());
    let window = rate_hz as usize / 50;
    // The last window is a whole one, too: that is where the last syllable is.
    let starts = (0..said.len().saturating_sub(window)).step_by(window).chain([said.len().saturating_sub(window)]);
    let worst = starts.map(|start| {
        let end = said.len().min(start + window);
        snr_db(&heard[start..end], &said[start..end])
    });
    Likeness { at, worst_db: worst.fold(f64::INFINITY, f64::min), snr_db: snr_db(&heard[..said.len()], said) }
}

/// Filters on the way delay by parts of a sample, too: as many of them are tried.
const PARTS: u32 = 8;

/// Finds in `heard` the sound that has the samples `sound(rate)` at any rate, and measures it. [dB]
///
/// # Panics
/// As [`compare`].
pub fn likest_db(heard: &[i16], sound: &dyn Fn(u32) -> Vec<i16>, rate_hz: u32) -> f64 {
    let finely = sound(rate_hz * PARTS);
    let part = |part: u32| finely[part as usize..].iter().step_by(PARTS as usize).copied().collect::<Vec<_>>();
    (0..PARTS).map(|n| compare(heard, &part(n), rate_hz).snr_db).fold(f64::NEG_INFINITY, f64::max)
}

/// Signal-to-noise ratio of `heard` against `said`, sample by sample. [dB]
pub fn snr_db(heard: &[i16], said: &[i16]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f64>| samples.map(|sample| sample * sample).sum::<f64>();
    let signal = power(&mut said.iter().map(|&said| f64::from(said)));
    let noise = power(&mut heard.iter().zip(said).map(|(&heard, &said)| f64::from(heard) - f64::from(said)));
    10.0 * (signal / noise.max(1e-9)).log10()
}

/// Where `part` lies in `whole`.
pub fn position(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

/// The stretches of G.711 `codes` that are not silence, with their places.
pub fn sounds(codes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut sounds = Vec::new();
    let mut at = 0;
    for sound in codes.split(|code| SILENT_CODES.contains(code)) {
        if !sound.is_empty() {
            sounds.push((at, sound));
        }
        at += sound.len() + 1;
    }
    sounds
}

/// Whether a packet of G.711 carries anything but silence.
pub fn is_sound(packet: &Packet) -> bool {
    packet.payload.iter().any(|code| !SILENT_CODES.contains(code))
}

/// Times between the audio packets that arrived in `from..to`, the shortest first.
pub fn intervals(recording: &Recording, from: Instant, to: Instant) -> Vec<Duration> {
    let at: Vec<_> = recording.audio().map(|packet| packet.at).filter(|at| (from..to).contains(at)).collect();
    let mut intervals: Vec<_> = at.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).collect();
    intervals.sort();
    intervals
}

/// Longest time between the audio packets that arrived in `from..to`.
///
/// # Panics
/// When there are fewer than two.
pub fn longest_interval(recording: &Recording, from: Instant, to: Instant) -> Duration {
    percentile(&intervals(recording, from, to), 1.0)
}

/// That the packets of each of `lines` came in step in `from..to`: every 20 ms, and later than 60 ms after the one before in
/// no more than one of 5000 cases. A thread that waited for something would be late again and again, or on every
/// line; but a machine stands still for a moment now and then.
pub fn assert_rhythm(lines: &[Recording], from: Instant, to: Instant, what: &str) {
    const LATE: Duration = Duration::from_millis(60);
    let mut all: Vec<_> = lines.iter().flat_map(|line| intervals(line, from, to)).collect();
    all.sort();
    let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| percentile(&all, share));
    let late = all.iter().filter(|&&interval| interval > LATE).count();
    let count = all.len();
    println!("{what}: {count} intervals, p50 {p50:?}, p99 {p99:?}, longest {longest:?}, {late} above {LATE:?}");
    assert!(p50.abs_diff(Duration::from_millis(20)) <= Duration::from_millis(1), "{what}: usually {p50:?}");
    assert!(p99 <= LATE * 2 / 3, "{what}: one in a hundred is {p99:?} or more");
    assert!(late <= count / 5000, "{what}: {late} of {count} intervals are longer than {LATE:?}, up to {longest:?}");
    let wanted = lines.len() as f64 * (to - from).as_secs_f64() * 50.0;
    let share = count as f64 / wanted;
    assert!((share - 1.0).abs() <= 0.05, "{what}: {count} intervals, not {wanted}");
}

/// Most audio packets that arrived within any `span`.
pub fn densest(recording: &Recording, span: Duration) -> usize {
    let at: Vec<_> = recording.audio().map(|packet| packet.at).collect();
    let until = |first: usize| at.partition_point(|&other| other < at[first] + span) - first;
    (0..at.len()).map(until).max().unwrap_or(0)
}

/// The value below which `share` of `sorted` lies.
///
/// # Panics
/// When there are none.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// A small generator of our own: the same numbers in every run and with every version of every library.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// xorshift64*, Vigna 2016.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
