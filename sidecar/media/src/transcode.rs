//! From one format to another, chunk by chunk, without a seam.
//!
//! ```text
//!  bytes ─► decode G.711 / slin ─► FFT resampler (20 ms blocks) ─► encode ─► bytes
//! ```
//!
//! Same format in and out: the bytes pass untouched. The resampler is rubato's band-limited FFT resampler; its own
//! delay is trimmed at the start of a run and made up at [`Transcoder::flush`], so a run of n samples becomes
//! exactly n × ratio samples and positions can be mapped across it.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, ResamplerConstructionError};

use crate::{Encoding, Format, g711};

/// Converts a stream of audio bytes between two formats.
pub struct Transcoder {
    from: Format,
    to: Format,
    odd_byte: Option<u8>,
    rate: Option<RateConverter>,
    samples: Vec<i16>,
}

impl Transcoder {
    /// A converter with nothing in it.
    ///
    /// # Errors
    /// When the two rates cannot be converted into each other (a rate of 0).
    pub fn new(from: Format, to: Format) -> Result<Self, ResamplerConstructionError> {
        let rate = (from.rate_hz != to.rate_hz).then(|| RateConverter::new(from.rate_hz, to.rate_hz)).transpose()?;
        Ok(Self { from, to, odd_byte: None, rate, samples: Vec::new() })
    }

    /// Format of what goes in.
    pub fn from(&self) -> Format {
        self.from
    }

    /// Format of what comes out.
    pub fn to(&self) -> Format {
        self.to
    }

    /// Converts the next `audio` of the run and appends what is ready to `out`. A chunk may end anywhere, even
    /// between the two bytes of a sample.
    pub fn push(&mut self, audio: &[u8], out: &mut Vec<u8>) {
        if self.from == self.to {
            out.extend_from_slice(audio);
            return;
        }
        self.samples.clear();
        self.decode(audio);
        match &mut self.rate {
            Some(rate) => rate.push(&self.samples, |sample| encode(self.to.encoding, sample, out)),
            None => self.samples.iter().for_each(|&sample| encode(self.to.encoding, sample, out)),
        }
    }

    /// Ends the run: appends what the resampler still holds, and starts afresh.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.odd_byte = None;
        if let Some(rate) = &mut self.rate {
            rate.flush(|sample| encode(self.to.encoding, sample, out));
        }
    }

    /// Forgets everything held back.
    pub fn reset(&mut self) {
        self.odd_byte = None;
        if let Some(rate) = &mut self.rate {
            rate.reset();
        }
    }

    fn decode(&mut self, audio: &[u8]) {
        match self.from.encoding {
            Encoding::Alaw => self.samples.extend(audio.iter().map(|&code| g711::alaw_decode(code))),
            Encoding::Ulaw => self.samples.extend(audio.iter().map(|&code| g711::ulaw_decode(code))),
            Encoding::Slin => {
                let mut audio = audio;
                if let (Some(low), [high, rest @ ..]) = (self.odd_byte, audio) {
                    self.samples.push(i16::from_le_bytes([low, *high]));
                    self.odd_byte = None;
                    audio = rest;
                }
                let (pairs, odd) = audio.as_chunks();
                self.samples.extend(pairs.iter().map(|&pair| i16::from_le_bytes(pair)));
                self.odd_byte = odd.first().copied().or(self.odd_byte);
            }
        }
    }
}

fn encode(encoding: Encoding, sample: i16, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Slin => out.extend_from_slice(&sample.to_le_bytes()),
        Encoding::Alaw => out.push(g711::alaw_encode(sample)),
        Encoding::Ulaw => out.push(g711::ulaw_encode(sample)),
    }
}

/// One run of samples through rubato, in its fixed blocks.
struct RateConverter {
    fft: Fft<f32>,
    pending: Vec<f32>,
    block: Vec<f32>,
    /// Samples of the resampler's delay still to be left out at the start of the run.
    to_trim: usize,
    taken: u64,
    given: u64,
}

impl RateConverter {
    /// Length of a block. [ms] One phone frame: no waiting for a block to fill, and a filter long enough for an
    /// edge above the telephone band.
    const BLOCK_MS: usize = 20;

    fn new(from_hz: u32, to_hz: u32) -> Result<Self, ResamplerConstructionError> {
        let (from, to) = (from_hz as usize, to_hz as usize);
        let fft = Fft::new(from, to, (from * Self::BLOCK_MS / 1000).max(1), 1, FixedSync::Both)?;
        let (block_in, block_out) = (fft.input_frames_max(), fft.output_frames_max());
        let to_trim = fft.output_delay();
        let pending = Vec::with_capacity(block_in);
        Ok(Self { fft, pending, block: vec![0.0; block_out], to_trim, taken: 0, given: 0 })
    }

    fn push(&mut self, samples: &[i16], mut emit: impl FnMut(i16)) {
        let needed = self.fft.input_frames_max();
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at((needed - self.pending.len()).min(rest.len()));
            self.pending.extend(now.iter().map(|&sample| f32::from(sample)));
            self.taken += now.len() as u64;
            rest = later;
            if self.pending.len() == needed {
                self.convert_block(u64::MAX, &mut emit);
            }
        }
    }

    fn flush(&mut self, mut emit: impl FnMut(i16)) {
        let total = self.taken * self.fft.output_frames_max() as u64 / self.fft.input_frames_max() as u64;
        while self.given < total {
            self.pending.resize(self.fft.input_frames_max(), 0.0);
            self.convert_block(total, &mut emit);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.pending.clear();
        self.to_trim = self.fft.output_delay();
        self.taken = 0;
        self.given = 0;
    }

    /// Converts the full `pending` block; emits at most up to `total` samples of the run.
    fn convert_block(&mut self, total: u64, emit: &mut impl FnMut(i16)) {
        let (frames_in, frames_out) = (self.pending.len(), self.block.len());
        let (Ok(input), Ok(mut output)) = (
            InterleavedSlice::new(&self.pending[..], 1, frames_in),
            InterleavedSlice::new_mut(&mut self.block[..], 1, frames_out),
        ) else {
            unreachable!("both slices are as long as they say");
        };
        if self.fft.process_into_buffer(&input, &mut output, None).is_err() {
            unreachable!("both buffers have the resampler's own block size and channel count");
        }
        self.pending.clear();
        let trimmed = self.to_trim.min(frames_out);
        self.to_trim -= trimmed;
        let room = (total - self.given).min((frames_out - trimmed) as u64) as usize;
        for &sample in &self.block[trimmed..trimmed + room] {
            // `as` saturates: a resampler may overshoot full scale at a transient.
            emit(sample.round() as i16);
        }
        self.given += room as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate_hz: u32, hz: f64, ms: usize) -> Vec<u8> {
        let samples = rate_hz as usize * ms / 1000;
        (0..samples)
            .flat_map(|n| {
                let phase = n as f64 * hz / f64::from(rate_hz) * std::f64::consts::TAU;
                ((phase.sin() * 12000.0).round() as i16).to_le_bytes()
            })
            .collect()
    }

    fn convert(from: Format, to: Format, audio: &[u8], chunk: usize) -> Vec<u8> {
        let mut transcoder = Transcoder::new(from, to).expect("valid rates");
        let mut out = Vec::new();
        audio.chunks(chunk).for_each(|chunk| transcoder.push(chunk, &mut out));
        transcoder.flush(&mut out);
        out
    }

    /// Signal to noise in dB of `audio` against `wanted`, leaving out the edges. Both slin.
    fn snr_db(audio: &[u8], wanted: &[u8]) -> f64 {
        let samples = |bytes: &[u8]| -> Vec<f64> {
            bytes.as_chunks().0.iter().map(|&pair| f64::from(i16::from_le_bytes(pair))).collect()
        };
        let (audio, wanted) = (samples(audio), samples(wanted));
        assert_eq!(audio.len(), wanted.len());
        let edge = wanted.len() / 10;
        let (mut signal, mut noise) = (0.0, 0.0);
        for (a, w) in audio.iter().zip(&wanted).skip(edge).take(wanted.len() - 2 * edge) {
            signal += w * w;
            noise += (a - w) * (a - w);
        }
        10.0 * (signal / noise.max(1e-9)).log10()
    }

    #[test]
    fn equal_formats_pass_every_byte_untouched() {
        let audio: Vec<u8> = (0..=255).collect();
        assert_eq!(convert(Format::ALAW, Format::ALAW, &audio, 7), audio);
    }

    #[test]
    fn a_tone_keeps_its_shape_in_every_rate_and_chunking() {
        for (from, to) in [(8000, 24000), (24000, 8000), (16000, 24000), (24000, 16000), (48000, 24000), (8000, 16000)]
        {
            for chunk in [1, 333, 640, 100_000] {
                let out = convert(Format::slin(from), Format::slin(to), &tone(from, 1000.0, 500), chunk);
                let snr = snr_db(&out, &tone(to, 1000.0, 500));
                assert!(snr > 60.0, "{from} to {to} Hz in chunks of {chunk}: {snr:.1} dB");
            }
        }
    }

    #[test]
    fn what_does_not_fit_into_the_lower_rate_is_filtered_out() {
        let out = convert(Format::slin(24000), Format::slin(8000), &tone(24000, 6000.0, 500), 960);
        let loudest = out.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair).unsigned_abs()).max();
        let in_the_middle = &out[out.len() / 4..out.len() / 2];
        let alias = in_the_middle.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair).unsigned_abs()).max();
        assert!(alias < Some(12), "alias of {alias:?} in a tone of 12000, {loudest:?} at the edges");
    }

    /// Gain of a tone of `hz` on its way from 24 to 8 kHz, measured where it has settled. [dB]
    fn gain_db(hz: f64) -> f64 {
        let power = |audio: &[u8]| {
            let middle = &audio[(audio.len() / 4) & !1..(audio.len() * 3 / 4) & !1];
            middle.as_chunks().0.iter().map(|&pair| f64::from(i16::from_le_bytes(pair)).powi(2)).sum::<f64>()
                / middle.len() as f64
        };
        let tone = tone(24000, hz, 1000);
        let out = convert(Format::slin(24000), Format::slin(8000), &tone, 960);
        10.0 * (power(&out).max(1e-9) / power(&tone)).log10()
    }

    #[test]
    fn the_telephone_band_passes_evenly_and_nothing_above_it_folds_back() {
        for hz in (300..=3400).step_by(100) {
            let gain = gain_db(f64::from(hz));
            assert!(gain.abs() <= 0.5, "{hz} Hz: {gain:.2} dB");
        }
        for hz in (4400..12000).step_by(100) {
            let gain = gain_db(f64::from(hz));
            assert!(gain <= -60.0, "{hz} Hz comes back at {gain:.1} dB");
        }
    }

    #[test]
    fn chunks_of_any_size_give_what_one_piece_gives() {
        let audio = tone(24000, 700.0, 1100);
        for (from, to) in [(24000, 8000), (24000, 16000), (8000, 24000)] {
            let whole = convert(Format::slin(from), Format::slin(to), &audio, usize::MAX);
            for chunk in (1..50).chain([333, 959, 960, 961, 4801, 48_000]) {
                assert_eq!(
                    convert(Format::slin(from), Format::slin(to), &audio, chunk),
                    whole,
                    "chunks of {chunk} bytes"
                );
            }
        }
    }

    #[test]
    fn a_flushed_run_is_exactly_as_long_as_what_went_in() {
        for samples in [1usize, 79, 480, 481, 24_013] {
            let out = convert(Format::slin(24000), Format::slin(8000), &vec![1; samples * 2], 100);
            assert_eq!(out.len() / 2, samples / 3, "{samples} samples");
        }
    }

    #[test]
    fn a_run_after_a_flush_does_not_remember_the_one_before() {
        let mut transcoder = Transcoder::new(Format::slin(24000), Format::slin(8000)).expect("valid rates");
        let mut first = Vec::new();
        transcoder.push(&tone(24000, 700.0, 130), &mut first);
        transcoder.flush(&mut first);
        let mut second = Vec::new();
        transcoder.push(&tone(24000, 700.0, 130), &mut second);
        transcoder.flush(&mut second);
        assert_eq!(first, second);
    }
}
