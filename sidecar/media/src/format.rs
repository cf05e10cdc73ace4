//! What a run of audio bytes means: encoding and sample rate.

use std::fmt;

use crate::g711;

/// How one sample is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Signed linear, 16 bits, little-endian ("slin").
    Slin,
    /// ITU-T G.711 A-law, 8 bits.
    Alaw,
    /// ITU-T G.711 µ-law, 8 bits.
    Ulaw,
}

/// Encoding and sample rate of mono audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// How one sample is stored.
    pub encoding: Encoding,
    /// Samples a second. [Hz]
    pub rate_hz: u32,
}

impl Format {
    /// G.711 A-law at its only rate.
    pub const ALAW: Self = Self { encoding: Encoding::Alaw, rate_hz: 8000 };
    /// G.711 µ-law at its only rate.
    pub const ULAW: Self = Self { encoding: Encoding::Ulaw, rate_hz: 8000 };

    /// Signed linear at `rate_hz`.
    pub const fn slin(rate_hz: u32) -> Self {
        Self { encoding: Encoding::Slin, rate_hz }
    }

    /// Bytes of one sample.
    pub const fn sample_bytes(self) -> usize {
        match self.encoding {
            Encoding::Slin => 2,
            Encoding::Alaw | Encoding::Ulaw => 1,
        }
    }

    /// Bytes of `ms` milliseconds, a whole number of samples.
    pub const fn bytes_in_ms(self, ms: u64) -> usize {
        (self.rate_hz as u64 * ms / 1000) as usize * self.sample_bytes()
    }

    /// Whole milliseconds that `bytes` bytes last, rounded down.
    pub const fn ms_in_bytes(self, bytes: u64) -> u64 {
        bytes * 1000 / (self.rate_hz as u64 * self.sample_bytes() as u64)
    }

    /// Linear value of the sample stored in `bytes`, which must be [`Format::sample_bytes`] long.
    pub fn linear(self, bytes: &[u8]) -> i16 {
        match (self.encoding, bytes) {
            (Encoding::Slin, &[low, high, ..]) => i16::from_le_bytes([low, high]),
            (Encoding::Alaw, &[code, ..]) => g711::alaw_decode(code),
            (Encoding::Ulaw, &[code, ..]) => g711::ulaw_decode(code),
            _ => 0,
        }
    }

    /// Stores `sample` into `bytes`, which must be [`Format::sample_bytes`] long.
    pub fn store(self, sample: i16, bytes: &mut [u8]) {
        match self.encoding {
            Encoding::Slin => bytes.copy_from_slice(&sample.to_le_bytes()),
            Encoding::Alaw => bytes[0] = g711::alaw_encode(sample),
            Encoding::Ulaw => bytes[0] = g711::ulaw_encode(sample),
        }
    }

    /// The byte that, repeated, is silence in this encoding: 0 for slin, `0xD5` A-law, `0xFF` µ-law (ITU-T G.711).
    pub const fn silence_byte(self) -> u8 {
        match self.encoding {
            Encoding::Slin => 0,
            Encoding::Alaw => 0xD5,
            Encoding::Ulaw => 0xFF,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.encoding {
            Encoding::Slin => write!(f, "slin {} Hz", self.rate_hz),
            Encoding::Alaw => write!(f, "alaw"),
            Encoding::Ulaw => write!(f, "ulaw"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_milliseconds_have_the_sizes_every_peer_expects() {
        assert_eq!(Format::ALAW.bytes_in_ms(20), 160);
        assert_eq!(Format::slin(8000).bytes_in_ms(20), 320);
        assert_eq!(Format::slin(24000).bytes_in_ms(20), 960);
        assert_eq!(Format::slin(24000).ms_in_bytes(960), 20);
    }
}
