//! WAV files: 16-bit PCM only.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Writes `channels` side by side (two of them: left, right), the shorter ones padded with silence.
///
/// # Errors
/// When the file cannot be written.
pub fn write_wav(path: impl AsRef<Path>, rate_hz: u32, channels: &[&[i16]]) -> Result<()> {
    let frames = channels.iter().map(|channel| channel.len()).max().unwrap_or(0);
    let frame_bytes = channels.len() as u16 * 2;
    let data_bytes = frames as u32 * u32::from(frame_bytes);

    let mut file = Vec::with_capacity(44 + data_bytes as usize);
    file.extend(b"RIFF");
    file.extend((36 + data_bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes()); // length of this chunk
    file.extend(1u16.to_le_bytes()); // PCM
    file.extend((channels.len() as u16).to_le_bytes());
    file.extend(rate_hz.to_le_bytes());
    file.extend((rate_hz * u32::from(frame_bytes)).to_le_bytes());
    file.extend(frame_bytes.to_le_bytes());
    file.extend(16u16.to_le_bytes()); // bits a sample
    file.extend(b"data");
    file.extend(data_bytes.to_le_bytes());
    for frame in 0..frames {
        for channel in channels {
            file.extend(channel.get(frame).copied().unwrap_or(0).to_le_bytes());
        }
    }
    fs::write(&path, file).with_context(|| format!("cannot write {}", path.as_ref().display()))
}

/// Samples and rate [Hz] of a mono WAV file.
///
/// # Errors
/// When `file` is not mono 16-bit PCM.
pub fn read_wav(file: &[u8]) -> Result<(Vec<i16>, u32)> {
    let number = |at: usize| u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
    ensure!(file.len() >= 44 && &file[..4] == b"RIFF" && &file[8..16] == b"WAVEfmt ", "not a WAV file");
    ensure!(number(20) == 0x1_0001 && file[34] == 16, "not mono 16-bit PCM");
    let mut at = 20 + number(16) as usize;
    while at + 8 <= file.len() && &file[at..at + 4] != b"data" {
        at = at.saturating_add(8 + number(at + 4) as usize);
    }
    // A program that writes to a pipe does not know the length yet: the data then goes to the end of the file.
    let data = file.get(at + 8..).context("a WAV file without data")?;
    let data = &data[..data.len().min(number(at + 4) as usize)];
    Ok((data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(), number(24)))
}
