//! What callers and agent say: speech with short loud tones, and the ear that finds the tones again.
//!
//! ```text
//!  sparse, every 500 ms:  │ speech at −16 dBFS, 300 ms │ quiet, 100 ms │ tone, 60 ms │ quiet, 40 ms │
//!  dense, every 160 ms:   │ quiet, 80 ms │ tone, 60 ms │ quiet, 20 ms │
//! ```
//!
//! Each of 32 tones in turn has a frequency of its own: one that comes back late is not taken for another before 16 s
//! (dense: 5 s) have passed. A caller first tells its number in three tones, so that the AI knows whom it listens to.

use ai_media::g711;
use anyhow::Result;

/// Bytes (A-law samples) of a packet: 8000 Hz × 20 ms.
pub const PACKET_BYTES: usize = 160;
/// Tones there are.
pub const TONES: usize = 32;
/// Packets before a caller's loop begins: 2.4 s, the last of them its number.
pub const LEAD_PACKETS: usize = 120;
/// Packets of the lead that begin with a tone of the number. Until then every path has a session to hear it.
const NUMBER_PACKETS: [usize; 3] = [90, 100, 110];
/// From one tone of the number to the next. [samples]
const NUMBER_STEP: u64 = 1600; // 10 packets of 160
/// Packets that callers are apart in their loops: no two of 400 begin a burst at the same time.
const APART_PACKETS: usize = 37;
const BURST_PACKETS: usize = 3;
const SPEECH_SAMPLES: usize = 2400; // 8000 Hz × 300 ms
/// Peak of speech: 32767 × 10^(−16/20).
const SPEECH_PEAK: f64 = 5193.0;
/// Peak of a burst: 80 % of full scale.
const BURST_PEAK: f64 = 26214.0;
/// Louder than any speech of the loop, far below a burst.
const THRESHOLD: u16 = 11500;
/// Quiet, or speech, that must come before a burst: 60 ms. [samples]
const BEFORE: u32 = 480;
/// Samples looked at to tell which burst it is: 30 ms.
const LISTEN: u32 = 240;
/// A tone is recognised when it is no farther away than this. They are 60 Hz apart.
const OFF_HZ: f64 = 25.0;

fn tone_hz(tone: usize) -> f64 {
    400.0 + 60.0 * tone as f64
}

/// True for a sample that belongs to a burst or to a turn of the agent, and to nothing else.
pub fn is_loud(sample: i16) -> bool {
    sample.unsigned_abs() > THRESHOLD
}

/// So many samples of a loud tone.
pub fn tone(hz: f64, rate_hz: u32, samples: usize) -> impl Iterator<Item = i16> {
    let step = std::f64::consts::TAU * hz / f64::from(rate_hz);
    // It begins with a loud sample.
    (0..samples).map(move |at| ((step * at as f64 + 0.5).sin() * BURST_PEAK) as i16)
}

/// Audio that is said over and over, A-law.
pub struct Loop {
    alaw: Vec<u8>,
    bursts: Vec<Vec<u8>>,
    period_packets: usize,
    burst_packet: usize,
}

impl Loop {
    /// Speech with a burst every 500 ms.
    ///
    /// # Errors
    /// When there is no speech program.
    pub fn sparse() -> Result<Self> {
        let words = "Hello, I would like to ask about my order from last Tuesday. It has not arrived yet, and the \
                     tracking page says nothing at all. Could you please check the number seven four nine two for me?";
        let mut speech = rig::speech(words, 8000)?;
        let loudest = speech.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(1).max(1);
        for sample in &mut speech {
            *sample = (f64::from(*sample) * SPEECH_PEAK / f64::from(loudest)) as i16;
        }
        Ok(Self::new(25, 20, &speech))
    }

    /// A burst every 160 ms.
    pub fn dense() -> Self {
        Self::new(8, 4, &[])
    }

    fn new(period_packets: usize, burst_packet: usize, speech: &[i16]) -> Self {
        let encode = |samples: &mut dyn Iterator<Item = i16>| samples.map(g711::alaw_encode).collect::<Vec<u8>>();
        let bursts: Vec<_> =
            (0..TONES).map(|index| encode(&mut tone(tone_hz(index), 8000, BURST_PACKETS * PACKET_BYTES))).collect();
        let mut alaw = vec![g711::alaw_encode(0); TONES * period_packets * PACKET_BYTES];
        let mut words = speech.chunks_exact(SPEECH_SAMPLES).cycle();
        for (period, burst) in alaw.chunks_exact_mut(period_packets * PACKET_BYTES).zip(&bursts) {
            if let Some(words) = words.next() {
                period[..SPEECH_SAMPLES].copy_from_slice(&encode(&mut words.iter().copied()));
            }
            period[burst_packet * PACKET_BYTES..][..burst.len()].copy_from_slice(burst);
        }
        Self { alaw, bursts, period_packets, burst_packet }
    }

    /// The whole loop.
    pub fn alaw(&self) -> &[u8] {
        &self.alaw
    }

    /// Samples from one burst to the next.
    pub fn period_samples(&self) -> u64 {
        (self.period_packets * PACKET_BYTES) as u64
    }

    /// Packets of the whole loop.
    pub fn packets(&self) -> usize {
        TONES * self.period_packets
    }

    /// Where in the loop `line` begins.
    pub fn start_of(&self, line: u16) -> usize {
        usize::from(line) * APART_PACKETS % self.packets()
    }

    /// The tone that begins with this packet of the loop.
    pub fn burst_at(&self, place: usize) -> Option<u8> {
        let place = place % self.packets();
        (place % self.period_packets == self.burst_packet).then_some((place / self.period_packets) as u8)
    }

    /// What caller `line` says in its packet `place`, and the tone that begins with it.
    pub fn caller_packet(&self, line: u16, place: usize) -> (&[u8], Option<u8>) {
        let Some(place) = place.checked_sub(LEAD_PACKETS) else { return (self.lead_packet(line, place), None) };
        let place = (place + self.start_of(line)) % self.packets();
        (&self.alaw[place * PACKET_BYTES..][..PACKET_BYTES], self.burst_at(place))
    }

    fn lead_packet(&self, line: u16, place: usize) -> &[u8] {
        let spoken = NUMBER_PACKETS.iter().zip(number_tones(line)).find_map(|(&start, tone)| {
            let part = place.checked_sub(start).filter(|&part| part < BURST_PACKETS)?;
            Some(&self.bursts[tone][part * PACKET_BYTES..][..PACKET_BYTES])
        });
        // Every loop begins or ends with a packet of silence.
        spoken.unwrap_or(&self.alaw[self.alaw.len() - PACKET_BYTES..])
    }
}

/// A number of up to 1023 in three tones, the last of which is a check.
fn number_tones(line: u16) -> [usize; 3] {
    let (high, low) = (usize::from(line) / TONES % TONES, usize::from(line) % TONES);
    [high, low, (3 * high + 5 * low + 7) % TONES]
}

/// Finds out which caller it is.
#[derive(Default)]
pub struct Number {
    last: [Option<(usize, u64)>; 2],
}

impl Number {
    /// The caller's number, when `burst` is the last of the three tones.
    pub fn listen(&mut self, burst: Burst) -> Option<u16> {
        let now = burst.tone.map(|tone| (usize::from(tone), burst.position));
        let [first, second] = self.last;
        self.last = [second, now];
        let ((high, at), (low, then), (check, now)) = (first?, second?, now?);
        let apart = |from: u64, to: u64| to.abs_diff(from).abs_diff(NUMBER_STEP) < 80;
        let line = (high * TONES + low) as u16;
        (apart(at, then) && apart(then, now) && number_tones(line)[2] == check).then_some(line)
    }
}

/// Finds bursts in what one end hears.
#[derive(Default)]
pub struct Ear {
    position: u64,
    since_loud: u32,
    begun: Option<Begun>,
}

/// A burst that is being listened to.
struct Begun {
    at_ns: i64,
    position: u64,
    listened: u32,
    last: i16,
    /// Between samples, counted from the first.
    first_change: Option<f64>,
    last_change: f64,
    changes: u32,
}

/// What an [`Ear`] heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// `None`: something loud that is none of the tones.
    pub tone: Option<u8>,
    /// When its first sample came. [ns]
    pub at_ns: i64,
    /// Samples that came before it.
    pub position: u64,
}

impl Ear {
    /// Listens to 8 kHz samples; the first came at `at_ns`, the others `sample_ns` after each other.
    pub fn listen(
        &mut self,
        samples: impl Iterator<Item = i16>,
        at_ns: i64,
        sample_ns: i64,
        mut heard: impl FnMut(Burst),
    ) {
        for (index, sample) in samples.enumerate() {
            let loud = is_loud(sample);
            if let Some(begun) = &mut self.begun {
                begun.listen(sample);
                if begun.listened == LISTEN {
                    heard(begun.recognise());
                    self.begun = None;
                }
            } else if loud && self.since_loud >= BEFORE {
                self.begun = Some(Begun::new(at_ns + index as i64 * sample_ns, self.position, sample));
            }
            self.since_loud = if loud { 0 } else { self.since_loud.saturating_add(1) };
            self.position += 1;
        }
    }
}

impl Begun {
    fn new(at_ns: i64, position: u64, sample: i16) -> Self {
        Self { at_ns, position, listened: 0, last: sample, first_change: None, last_change: 0.0, changes: 0 }
    }

    fn listen(&mut self, sample: i16) {
        if (sample >= 0) != (self.last >= 0) {
            let (before, after) = (f64::from(self.last), f64::from(sample));
            self.last_change = f64::from(self.listened) + before / (before - after);
            self.first_change.get_or_insert(self.last_change);
            self.changes += 1;
        }
        self.last = sample;
        self.listened += 1;
    }

    fn recognise(&self) -> Burst {
        // Two changes of sign a period.
        let lasted = self.last_change - self.first_change.unwrap_or(0.0);
        let hz = 8000.0 * f64::from(self.changes.saturating_sub(1)) / 2.0 / lasted.max(1.0);
        let tone = (0..TONES).find(|&tone| (tone_hz(tone) - hz).abs() <= OFF_HZ).map(|tone| tone as u8);
        Burst { tone, at_ns: self.at_ns, position: self.position }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(ear: &mut Ear, alaw: &[u8], packet: usize) -> Vec<Burst> {
        let mut found = Vec::new();
        let at_ns = packet as i64 * 20_000_000;
        ear.listen(alaw.iter().map(|&code| g711::alaw_decode(code)), at_ns, 125_000, |burst| found.push(burst));
        found
    }

    #[test]
    fn every_burst_of_a_loop_is_found_where_it_is() {
        for audio in [Loop::sparse().expect("espeak-ng is installed"), Loop::dense()] {
            let mut ear = Ear::default();
            let packets = audio.alaw().chunks(PACKET_BYTES).enumerate();
            let found: Vec<_> = packets.flat_map(|(at, packet)| hear(&mut ear, packet, at)).collect();
            let begins = |packet: usize| {
                let tone = audio.burst_at(packet)?;
                let position = (packet * PACKET_BYTES) as u64;
                Some(Burst { tone: Some(tone), at_ns: packet as i64 * 20_000_000, position })
            };
            assert_eq!(found, (0..audio.packets()).filter_map(begins).collect::<Vec<_>>());
            assert_eq!(found.len(), TONES);
        }
    }

    #[test]
    fn a_caller_is_known_by_its_first_words_only() {
        let audio = Loop::dense();
        for line in [0, 1, 31, 32, 199, 1023] {
            let (mut ear, mut number, mut known) = (Ear::default(), Number::default(), Vec::new());
            for place in 0..LEAD_PACKETS + audio.packets() {
                for burst in hear(&mut ear, audio.caller_packet(line, place).0, place) {
                    known.extend(number.listen(burst));
                }
            }
            assert_eq!(known, [line]);
        }
    }
}
