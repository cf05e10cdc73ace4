//! Small conversions on whole pieces of audio.

use ai_media::transcode::Transcoder;
use ai_media::{Encoding, Format, g711};

/// Appends the samples of `bytes` to `samples`; an odd last byte of slin is left out.
pub(crate) fn decode(format: Format, bytes: &[u8], samples: &mut Vec<i16>) {
    match format.encoding {
        Encoding::Alaw => samples.extend(bytes.iter().map(|&code| g711::alaw_decode(code))),
        Encoding::Ulaw => samples.extend(bytes.iter().map(|&code| g711::ulaw_decode(code))),
        Encoding::Slin => samples.extend(bytes.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair))),
    }
}

/// Appends `bytes`, converted, to `out`. Formats between which there is no conversion add nothing.
pub(crate) fn convert(from: Format, to: Format, bytes: &[u8], out: &mut Vec<u8>) {
    if let Ok(mut transcoder) = Transcoder::new(from, to) {
        transcoder.push(bytes, out);
        transcoder.flush(out);
    }
}
