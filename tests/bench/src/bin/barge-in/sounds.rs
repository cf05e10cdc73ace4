//! What is heard on telephone lines: people, and everything that is nobody. 8 kHz, full scale is 1, the same in every run.

use std::f32::consts::{PI, TAU};
use std::process::Command;

use ai_media::Format;
use ai_media::transcode::Transcoder;
use anyhow::{Context, Result, ensure};

/// Samples of 20 ms.
pub(crate) const FRAME: usize = 160;
/// Samples of a second.
pub(crate) const SECOND: usize = 8000;

/// What callers say who interrupt: voice of espeak-ng, words.
const CALLERS: [(&str, &str); 8] = [
    ("en-us", "Wait, I have a question about my order from last week."),
    ("en-gb+f2", "No, that is not what I meant, please listen to me."),
    ("en-us+m3", "Stop. Can I talk to a person, please?"),
    ("ru", "Подождите, пожалуйста, у меня другой вопрос."),
    ("ru+f3", "Нет, это не то, что я хотела узнать."),
    ("de+f4", "Moment bitte, das habe ich nicht verstanden."),
    ("fr+m4", "Attendez, je voudrais parler à quelqu'un."),
    ("es+f1", "Espere un momento, tengo otra pregunta."),
];
/// What agents say.
const AGENTS: [(&str, &str); 2] = [
    (
        "en-us+f5",
        "Thank you for calling. Our office is open from Monday to Friday, between nine in the morning and six in the evening. \
         If you would like to make an appointment, please tell me which day suits you best, and I will look for a free hour. \
         You can also leave your name and your telephone number, and somebody will call you back before the end of the day.",
    ),
    (
        "ru+m2",
        "Спасибо за звонок. Наш офис работает с понедельника по пятницу, с девяти утра до шести вечера. Если вы хотите \
         записаться на приём, назовите, пожалуйста, удобный для вас день, и я поищу свободное время.",
    ),
];

/// A small generator: xorshift64*, Vigna 2016.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// From −3 to 3, most of them small.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.unit()).sum::<f32>() - 3.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f32) as usize
    }
}

/// The factor of so many decibels.
pub(crate) fn gain(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// Root mean square.
pub(crate) fn level(sound: &[f32]) -> f32 {
    (sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len().max(1) as f32).sqrt()
}

/// `sound` this loud where it is not a pause. [dBFS]
pub(crate) fn at_level(sound: &[f32], dbfs: f32) -> Vec<f32> {
    let powers: Vec<f32> = sound.chunks(FRAME).map(|frame| level(frame).powi(2)).collect();
    let least = powers.iter().copied().fold(0.0, f32::max) / 1000.0;
    let loud: Vec<f32> = powers.into_iter().filter(|&power| power > least).collect();
    let active = (loud.iter().sum::<f32>() / loud.len().max(1) as f32).sqrt();
    let factor = gain(dbfs) / active.max(1e-6);
    sound.iter().map(|sample| (sample * factor).clamp(-1.0, 0.9999)).collect()
}

/// G.711 A-law of `sound`.
pub(crate) fn alaw(sound: &[f32]) -> Vec<u8> {
    sound.iter().map(|sample| ai_media::g711::alaw_encode((sample * 32768.0) as i16)).collect()
}

/// Callers who interrupt.
pub(crate) fn callers() -> Result<Vec<Vec<f32>>> {
    CALLERS.iter().map(|(voice, words)| spoken(voice, words)).collect()
}

/// A minute of an agent at −20 dBFS.
pub(crate) fn agent() -> Result<Vec<f32>> {
    let mut said = Vec::new();
    for (voice, words) in AGENTS {
        said.extend(at_level(&spoken(voice, words)?, -20.0));
        said.extend([0.0; 3000]);
    }
    Ok(said)
}

fn spoken(voice: &str, words: &str) -> Result<Vec<f32>> {
    let output = Command::new("espeak-ng").args(["-v", voice, "-s", "165", "--stdout", "--", words]).output();
    let output = output.context("espeak-ng is not installed: run `make setup`")?;
    ensure!(output.status.success(), "espeak-ng: {}", String::from_utf8_lossy(&output.stderr));
    let (samples, rate_hz) = rig::read_wav(&output.stdout)?;
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut narrow = Vec::new();
    let mut transcoder = Transcoder::new(Format::slin(rate_hz), Format::slin(8000))?;
    transcoder.push(&bytes, &mut narrow);
    transcoder.flush(&mut narrow);
    let (samples, _) = narrow.as_chunks();
    let samples: Vec<f32> = samples.iter().map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32768.0).collect();
    let audible = samples.iter().map(|sample| sample.abs()).fold(0.0, f32::max) / 50.0;
    let first = samples.iter().position(|sample| sample.abs() > audible).unwrap_or(0);
    Ok(samples[first..].to_vec())
}

/// What a line carries when nobody speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noise {
    White,
    Pink,
    Babble,
    Typing,
    Knocks,
    Car,
    Music,
    Digits,
    Breath,
}

impl Noise {
    /// So many seconds of it, this loud.
    pub(crate) fn make(self, seconds: usize, dbfs: f32) -> Result<Vec<f32>> {
        let mut random = Random::new(7);
        let mut sound = vec![0.0; seconds * SECOND];
        match self {
            Self::White => sound.iter_mut().for_each(|sample| *sample = random.normal()),
            Self::Pink => pink(&mut sound, &mut random),
            Self::Babble => babble(&mut sound, &mut random)?,
            Self::Typing => typing(&mut sound, &mut random),
            Self::Knocks => knocks(&mut sound, &mut random),
            Self::Car => car(&mut sound, &mut random),
            Self::Music => music(&mut sound, &mut random),
            Self::Digits => digits(&mut sound, &mut random),
            Self::Breath => breath(&mut sound, &mut random),
        }
        Ok(at_level(&sound, dbfs))
    }
}

/// Adds `count` samples of `wave` from `at` on.
fn add(sound: &mut [f32], at: usize, count: usize, mut wave: impl FnMut(usize) -> f32) {
    sound.iter_mut().skip(at).take(count).enumerate().for_each(|(n, sample)| *sample += wave(n));
}

/// A sine of this frequency [Hz] at sample `n`.
fn sine(hz: f32, n: usize) -> f32 {
    (TAU * hz * n as f32 / SECOND as f32).sin()
}

/// White noise through three poles (P. Kellet's economy method).
fn pink(sound: &mut [f32], random: &mut Random) {
    let mut poles = [0.0; 3];
    for sample in sound {
        let white = random.normal();
        for (pole, (keep, take)) in poles.iter_mut().zip([(0.997_65, 0.099_05), (0.963, 0.296_5), (0.57, 1.052_7)]) {
            *pole = keep * *pole + take * white;
        }
        *sample = poles.iter().sum::<f32>() + 0.1848 * white;
    }
}

/// Seven people at once.
fn babble(sound: &mut [f32], random: &mut Random) -> Result<()> {
    let people = callers()?;
    for person in 0..7 {
        let mut at = random.below(SECOND);
        while at < sound.len() {
            let words = at_level(&people[random.below(people.len())], -20.0 - 6.0 * (person % 3) as f32);
            add(sound, at, words.len(), |n| words[n]);
            at += words.len() + random.below(3000);
        }
    }
    Ok(())
}

/// Keys, now and then a pause.
fn typing(sound: &mut [f32], random: &mut Random) {
    let mut at = 0;
    while at < sound.len() {
        let loud = 0.5 + random.unit();
        let length = 80 + random.below(240);
        add(sound, at, length, |n| loud * random.normal() * (-(n as f32) / 60.0).exp());
        at += 800 + random.below(2400) + if random.unit() < 0.05 { 2 * SECOND } else { 0 };
    }
}

/// Somebody at the door: two to four knocks.
fn knocks(sound: &mut [f32], random: &mut Random) {
    let mut at = 4000;
    while at < sound.len() {
        for _ in 0..2 + random.below(3) {
            let (hz, loud) = (120.0 + 200.0 * random.unit(), 0.5 + 0.5 * random.unit());
            add(sound, at, 800, |n| loud * (sine(hz, n) + 0.3 * random.normal()) * (-(n as f32) / 200.0).exp());
            at += 1600 + random.below(1200);
        }
        at += SECOND + random.below(30_000);
    }
}

/// Rolling noise that swells, and an engine.
fn car(sound: &mut [f32], random: &mut Random) {
    let mut low = [0.0; 2];
    for (n, sample) in sound.iter_mut().enumerate() {
        low[0] += 0.06 * (random.normal() - low[0]);
        low[1] += 0.06 * (low[0] - low[1]);
        *sample = 4.0 * low[1] * (1.0 + 0.3 * sine(0.11, n)) + 0.15 * sine(85.0, n);
    }
}

/// Chords of plucked strings.
fn music(sound: &mut [f32], random: &mut Random) {
    const NOTES: [f32; 7] = [262.0, 330.0, 392.0, 523.0, 440.0, 349.0, 294.0];
    let mut at = 0;
    while at < sound.len() {
        let length = 1600 + 800 * random.below(4);
        for _ in 0..3 {
            let hz = NOTES[random.below(7)] * [0.5, 1.0, 2.0][random.below(3)];
            let tone = |n| sine(hz, n) + 0.5 * sine(2.0 * hz, n) + 0.25 * sine(3.0 * hz, n);
            add(sound, at, length, |n| (n as f32 / 160.0).min(1.0) * (-(n as f32) / 3000.0).exp() * tone(n));
        }
        at += length;
    }
}

/// Keys pressed on a phone that sends them as tones.
fn digits(sound: &mut [f32], random: &mut Random) {
    let mut at = 3000;
    while at < sound.len() {
        let low = [697.0, 770.0, 852.0, 941.0][random.below(4)];
        let high = [1209.0, 1336.0, 1477.0][random.below(3)];
        add(sound, at, 1200, |n| sine(low, n) + sine(high, n));
        at += 2000 + random.below(12_000);
    }
}

/// Breath into the microphone.
fn breath(sound: &mut [f32], random: &mut Random) {
    let mut at = 2000;
    while at < sound.len() {
        let length = 4000 + random.below(4000);
        let mut low = 0.0;
        add(sound, at, length, |n| {
            low += 0.5 * (random.normal() - low);
            low * (PI * n as f32 / length as f32).sin().powi(2)
        });
        at += length + 12_000 + random.below(12_000);
    }
}
