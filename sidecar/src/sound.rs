//! Sound files, read when the configuration is: nothing in a call waits for a disk.
//!
//! Names are what `Playback()` takes: a file in the sounds folder, without its extension, or a whole path.

mod wav;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ai_media::Format;

use crate::runtime::transcoder;

/// Largest sound file. [bytes] Two minutes of what Asterisk's own sounds are, 8 kHz linear, and some more.
const FILE_MAX: u64 = 4 << 20;
/// Both ends of a sound are made this soft, so that it can begin, end and begin again without a click. [ms]
const EDGE_MS: u64 = 5;

/// The extensions of sound files and what is in them, as Asterisk has them (`main/file.c`, `formats/`).
const EXTENSIONS: &[(&str, Kind)] = &[
    ("wav", Kind::Wav),
    ("sln", Kind::Raw(Format::slin(8000))),
    ("sln16", Kind::Raw(Format::slin(16_000))),
    ("sln24", Kind::Raw(Format::slin(24_000))),
    ("sln48", Kind::Raw(Format::slin(48_000))),
    ("ulaw", Kind::Raw(Format::ULAW)),
    ("alaw", Kind::Raw(Format::ALAW)),
];

#[derive(Clone, Copy)]
enum Kind {
    Wav,
    Raw(Format),
}

/// A sound file in memory.
pub struct Sound {
    format: Format,
    audio: Vec<u8>,
    /// The same in every format that was asked for.
    converted: Mutex<HashMap<Format, Arc<[u8]>>>,
}

impl fmt::Debug for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sound of {} ms, {}", self.format.ms_in_bytes(self.audio.len() as u64), self.format)
    }
}

impl Sound {
    /// Reads the sound `name`; a relative one is looked for in `folders`, in their order.
    ///
    /// # Errors
    /// What is wrong and what is allowed.
    pub(crate) fn load(name: &str, folders: &[PathBuf]) -> Result<Self, String> {
        let (path, kind) = find(name, folders)?;
        let failed = |problem: &dyn fmt::Display| format!("{}: {problem}", path.display());
        let size = fs::metadata(&path).map_err(|error| failed(&error))?.len();
        if size > FILE_MAX {
            return Err(failed(&format!("{size} bytes; at most {FILE_MAX} are allowed")));
        }
        let file = fs::read(&path).map_err(|error| failed(&error))?;
        let (format, audio) = match kind {
            Kind::Wav => wav::parse(&file).map_err(|problem| failed(&problem))?,
            Kind::Raw(format) => (format, file),
        };
        if audio.len() < format.bytes_in_ms(2 * EDGE_MS) {
            return Err(failed(&"there is no audio in it"));
        }
        Ok(Self { format, audio, converted: Mutex::default() })
    }

    /// The sound in `format`, with soft ends. Converted once: later answers are the same memory.
    ///
    /// Where the rates differ that takes about a millisecond for a second of sound.
    pub(crate) fn in_format(&self, format: Format) -> Arc<[u8]> {
        let mut converted = self.converted.lock().unwrap_or_else(PoisonError::into_inner);
        converted.entry(format).or_insert_with(|| self.convert(format).into()).clone()
    }

    fn convert(&self, format: Format) -> Vec<u8> {
        let mut audio = Vec::new();
        let mut transcoder = transcoder(self.format, format);
        transcoder.push(&self.audio, &mut audio);
        transcoder.flush(&mut audio);
        audio.truncate(audio.len() / format.sample_bytes() * format.sample_bytes());
        soften(&mut audio, format);
        audio
    }
}

/// Raises the sound from zero and lowers it to zero.
fn soften(audio: &mut [u8], format: Format) {
    let width = format.sample_bytes();
    let count = audio.len() / width;
    let edge = (format.bytes_in_ms(EDGE_MS) / width).min(count);
    for n in 0..edge {
        let gain = (n as f32 + 0.5) / edge as f32;
        for at in [n, count - 1 - n] {
            let sample = &mut audio[at * width..(at + 1) * width];
            let softer = (f32::from(format.linear(sample)) * gain) as i16;
            format.store(softer, sample);
        }
    }
}

/// The file that `name` means.
fn find(name: &str, folders: &[PathBuf]) -> Result<(PathBuf, Kind), String> {
    let bases: Vec<PathBuf> = if Path::new(name).is_absolute() {
        vec![name.into()]
    } else {
        folders.iter().map(|folder| folder.join(name)).collect()
    };
    for base in &bases {
        for (extension, kind) in EXTENSIONS {
            let named = base.extension().is_some_and(|named| named == *extension);
            let path = if named { base.clone() } else { PathBuf::from(format!("{}.{extension}", base.display())) };
            if path.is_file() {
                return Ok((path, *kind));
            }
        }
    }
    let extensions: Vec<_> = EXTENSIONS.iter().map(|(extension, _)| *extension).collect();
    let places: Vec<_> = bases.iter().map(|base| base.display().to_string()).collect();
    Err(format!("there is no sound {} with one of the extensions {}", places.join(" or "), extensions.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ai_sound_{}_{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    #[test]
    fn a_sound_is_found_as_playback_finds_it() {
        let root = folder("found");
        let spoken = root.join("de");
        fs::create_dir_all(&spoken).expect("a folder");
        fs::write(root.join("wait.sln"), [1; 1600]).expect("written");
        fs::write(spoken.join("wait.alaw"), [0x55; 1600]).expect("written");
        let folders = [spoken, root.clone()];
        assert_eq!(Sound::load("wait", &folders).expect("found").format, Format::ALAW, "the language comes first");
        assert_eq!(Sound::load("wait.sln", &folders).expect("found").format, Format::slin(8000));
        let absolute = root.join("wait").display().to_string();
        assert_eq!(Sound::load(&absolute, &[]).expect("found").format, Format::slin(8000));
        let problem = Sound::load("lost", &folders).expect_err("there is none");
        assert!(
            problem.contains("lost") && problem.ends_with("wav, sln, sln16, sln24, sln48, ulaw, alaw"),
            "{problem}"
        );
        fs::write(root.join("short.ulaw"), [0; 10]).expect("written");
        assert!(Sound::load("short", &folders).expect_err("nothing in it").ends_with("there is no audio in it"));
        fs::write(root.join("long.ulaw"), vec![0; FILE_MAX as usize + 1]).expect("written");
        assert!(Sound::load("long", &folders).expect_err("too long").ends_with("at most 4194304 are allowed"));
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn it_is_given_in_any_format_with_soft_ends_and_converted_once() {
        let audio = 8000i16.to_le_bytes().repeat(16_000);
        let sound = Sound { format: Format::slin(16_000), audio, converted: Mutex::default() };
        for format in [Format::ALAW, Format::ULAW, Format::slin(8000), Format::slin(24_000)] {
            let audio = sound.in_format(format);
            assert_eq!(format.ms_in_bytes(audio.len() as u64), 1000, "{format}");
            let level = |at: usize| format.linear(&audio[at..at + format.sample_bytes()]);
            assert!(level(0).abs() < 300 && level(audio.len() - format.sample_bytes()).abs() < 300, "{format}");
            assert!((7500..8500).contains(&level(audio.len() / 2)), "{format}");
            assert!(Arc::ptr_eq(&audio, &sound.in_format(format)));
        }
    }
}
