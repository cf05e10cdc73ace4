//! Spoken sentences for the caller.

use std::process::Command;

use ai_media::Format;
use ai_media::transcode::Transcoder;
use anyhow::{Context, Result, ensure};

use crate::read_wav;

/// `text` spoken by espeak-ng, in samples at `rate_hz`.
///
/// # Errors
/// When espeak-ng is not installed or does not understand.
pub fn speech(text: &str, rate_hz: u32) -> Result<Vec<i16>> {
    speech_of("en", text, rate_hz)
}

/// `text` spoken by a voice of espeak-ng, `ru+f3` for example.
///
/// # Errors
/// As [`speech`].
pub fn speech_of(voice: &str, text: &str, rate_hz: u32) -> Result<Vec<i16>> {
    let spoken = Command::new("espeak-ng").args(["-v", voice, "--stdout", "--", text]).output();
    let spoken = spoken.context("espeak-ng is not installed: run `make setup`")?;
    ensure!(spoken.status.success(), "espeak-ng: {}", String::from_utf8_lossy(&spoken.stderr));
    let (samples, spoken_hz) = read_wav(&spoken.stdout)?;

    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut resampled = Vec::new();
    let mut transcoder = Transcoder::new(Format::slin(spoken_hz), Format::slin(rate_hz))?;
    transcoder.push(&bytes, &mut resampled);
    transcoder.flush(&mut resampled);
    Ok(resampled.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}
