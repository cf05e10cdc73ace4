//! Audio codecs of a phone.

use ai_media::g711;
use ezk_g722::libg722::{Bitrate, decoder::Decoder, encoder::Encoder};

/// An audio codec as SIP and RTP know it. A packet carries 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// G.711 A-law, 8 kHz.
    Alaw,
    /// G.711 µ-law, 8 kHz.
    Ulaw,
    /// G.722 at 64 kbit/s, 16 kHz. Lossy and with memory: not sample-exact.
    G722,
    /// Signed linear, 16 kHz (`L16/16000`).
    Slin16,
}

/// One stream in a codec, from its first packet to its last: some codecs remember.
pub(crate) struct Voice {
    pub(crate) codec: Codec,
    g722: Encoder,
}

impl Voice {
    pub(crate) fn new(codec: Codec) -> Self {
        Self { codec, g722: Encoder::new(Bitrate::Mode1_64000, false, false) }
    }

    /// Bytes for the next `samples` of the stream.
    pub(crate) fn encode(&mut self, samples: &[i16]) -> Vec<u8> {
        if self.codec == Codec::G722 { self.g722.encode(samples) } else { self.codec.encode(samples) }
    }
}

impl Codec {
    /// RTP payload type. RFC 3551 table 4; for slin16 the dynamic one Asterisk itself uses.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Ulaw => 0,
            Self::Alaw => 8,
            Self::G722 => 9,
            Self::Slin16 => 118,
        }
    }

    /// `encoding/clock` as in SDP's rtpmap.
    pub fn rtpmap(self) -> &'static str {
        match self {
            Self::Ulaw => "PCMU/8000",
            Self::Alaw => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::Slin16 => "L16/16000",
        }
    }

    /// Samples a second of the audio itself. [Hz]
    pub fn rate_hz(self) -> u32 {
        match self {
            Self::Alaw | Self::Ulaw => 8000,
            Self::G722 | Self::Slin16 => 16000,
        }
    }

    /// RTP timestamp ticks a second. [Hz] G.722 has 8000 by an old mistake (RFC 3551 §4.5.2).
    pub fn clock_hz(self) -> u32 {
        if self == Self::Slin16 { 16000 } else { 8000 }
    }

    /// Samples of `bytes` payload bytes.
    pub fn samples_in(self, bytes: usize) -> usize {
        match self {
            Self::Alaw | Self::Ulaw => bytes,
            Self::G722 => bytes * 2,
            Self::Slin16 => bytes / 2,
        }
    }

    /// Payload bytes of one 20 ms packet.
    pub fn packet_bytes(self) -> usize {
        if self == Self::Slin16 { 640 } else { 160 }
    }

    /// Bytes for `samples`, at [`Self::rate_hz`].
    pub fn encode(self, samples: &[i16]) -> Vec<u8> {
        match self {
            Self::Alaw => samples.iter().map(|&sample| g711::alaw_encode(sample)).collect(),
            Self::Ulaw => samples.iter().map(|&sample| g711::ulaw_encode(sample)).collect(),
            Self::G722 => Encoder::new(Bitrate::Mode1_64000, false, false).encode(samples),
            // RFC 3551 §4.5.11: network byte order.
            Self::Slin16 => samples.iter().flat_map(|sample| sample.to_be_bytes()).collect(),
        }
    }

    /// Samples of `bytes`, at [`Self::rate_hz`].
    pub fn decode(self, bytes: &[u8]) -> Vec<i16> {
        match self {
            Self::Alaw => bytes.iter().map(|&code| g711::alaw_decode(code)).collect(),
            Self::Ulaw => bytes.iter().map(|&code| g711::ulaw_decode(code)).collect(),
            Self::G722 => Decoder::new(Bitrate::Mode1_64000, false, false).decode(bytes),
            Self::Slin16 => bytes.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect(),
        }
    }
}
