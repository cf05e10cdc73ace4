//! The voice: `espeak-ng` when the machine has it, otherwise a melody with one note a word.
//!
//! Rendering blocks (it runs another program), so it is called on a thread for blocking work only.

use std::collections::HashMap;
use std::f64::consts::TAU;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use ai_media::Format;

use crate::audio::convert;
use crate::script::Sound;

/// Reads sentences aloud and remembers them.
#[derive(Debug)]
pub(crate) struct Voice {
    /// A voice name of espeak-ng.
    name: String,
    /// By sentence, in the format the voice makes.
    spoken: Mutex<HashMap<String, Utterance>>,
}

#[derive(Debug, Clone)]
struct Utterance {
    format: Format,
    audio: Arc<[u8]>,
}

impl Voice {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), spoken: Mutex::default() }
    }

    /// All `sounds` one after the other, in `format`.
    pub(crate) fn render(&self, sounds: &[Sound], format: Format) -> Arc<[u8]> {
        let mut wire = Vec::new();
        for sound in sounds {
            match sound {
                Sound::Wire(bytes) => wire.extend_from_slice(bytes),
                Sound::Recorded(from, bytes) => convert(*from, format, bytes, &mut wire),
                Sound::Spoken(text) => {
                    let utterance = self.speak(text);
                    convert(utterance.format, format, &utterance.audio, &mut wire);
                }
            }
        }
        wire.into()
    }

    fn speak(&self, text: &str) -> Utterance {
        if let Some(known) = self.spoken.lock().unwrap_or_else(PoisonError::into_inner).get(text) {
            return known.clone();
        }
        let utterance = espeak(&self.name, text).unwrap_or_else(|_| melody(text));
        let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        if spoken.len() >= REMEMBERED {
            spoken.clear();
        }
        spoken.insert(text.to_owned(), utterance.clone());
        utterance
    }
}

fn espeak(voice: &str, text: &str) -> io::Result<Utterance> {
    let mut child = Command::new("espeak-ng")
        .args(["-v", voice, "--stdin", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // Dropping the pipe after writing is the end of the text; a sentence fits the pipe, so this cannot block.
    let text: String = text.chars().take(LONGEST_TEXT).collect();
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    written?;
    wav(&output.stdout).ok_or_else(|| io::Error::other("espeak-ng made no 16-bit mono WAV"))
}

/// The audio of a WAV file (RIFF; 16-bit mono PCM). Lengths in a piped header are placeholders, so the data chunk
/// ends where the file ends.
fn wav(file: &[u8]) -> Option<Utterance> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let mut rate_hz = None;
    let mut at = 12; // "RIFF", length, "WAVE"
    loop {
        let body = at + 8; // chunk name, length
        match file.get(at..at + 4)? {
            b"fmt " => {
                let mono_pcm16 = u16_at(body)? == 1 && u16_at(body + 2)? == 1 && u16_at(body + 14)? == 16;
                rate_hz = mono_pcm16.then_some(u32_at(body + 4)?);
            }
            b"data" => {
                let audio = file.get(body..)?;
                return (!audio.is_empty())
                    .then_some(Utterance { format: Format::slin(rate_hz?), audio: audio.into() });
            }
            _ => {}
        }
        at = body + u32_at(at + 4)? as usize;
    }
}

/// One note for each word, on a pentatonic scale: different sentences are different tunes, the same sentence always
/// the same tune.
fn melody(text: &str) -> Utterance {
    const RATE_HZ: u32 = 24_000;
    const SCALE: [f64; 8] = [261.6, 293.7, 329.6, 392.0, 440.0, 523.3, 587.3, 659.3];
    let mut audio = Vec::new();
    for word in text.split_whitespace().take(LONGEST_TUNE) {
        let hash = word.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let frequency = SCALE[hash % SCALE.len()];
        let samples = RATE_HZ as usize * (140 + 20 * word.len().min(8)) / 1000; // 160 to 300 ms
        for n in 0..samples {
            let fade = (n.min(samples - n) as f64 / 480.0).min(1.0); // 20 ms at both ends: no clicks
            let sample = 8000.0 * fade * (TAU * frequency * n as f64 / f64::from(RATE_HZ)).sin();
            audio.extend_from_slice(&(sample as i16).to_le_bytes());
        }
    }
    Utterance { format: Format::slin(RATE_HZ), audio: audio.into() }
}

/// Sentences kept. At three seconds each this is about 30 MB at most.
const REMEMBERED: usize = 256;
/// Longest text read aloud, in characters. Well below the 64 KiB of a pipe.
const LONGEST_TEXT: usize = 2000;
/// Longest melody, in notes.
const LONGEST_TUNE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_wav_is_read_to_its_end() {
        let mut file = b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(22050u32.to_le_bytes());
        file.extend(44100u32.to_le_bytes());
        file.extend(b"\x02\0\x10\0data\xff\xff\xff\x7f\x01\x02\x03\x04");
        let utterance = wav(&file).unwrap();
        assert_eq!((utterance.format, &utterance.audio[..]), (Format::slin(22050), &[1, 2, 3, 4][..]));
        assert!(wav(&file[..44]).is_none());
        assert!(wav(b"RIFF").is_none());
    }

    #[test]
    fn without_a_speech_program_every_sentence_has_its_tune() {
        let (one, other) = (melody("Hello there"), melody("Goodbye now"));
        assert_ne!(one.audio, other.audio);
        assert_eq!(one.audio, melody("Hello there").audio);
        assert!(one.audio.len() > 24_000 * 2 / 4);
    }

    #[test]
    fn speech_comes_in_the_format_asked_for() {
        let voice = Voice::new("en");
        let sounds = [Sound::Spoken("one two three".to_owned())];
        let ms = |format: Format| format.ms_in_bytes(voice.render(&sounds, format).len() as u64);
        let (pcm, alaw) = (ms(Format::slin(24_000)), ms(Format::ALAW));
        assert!(pcm > 400 && pcm.abs_diff(alaw) <= 1, "{pcm} ms and {alaw} ms");
    }
}
