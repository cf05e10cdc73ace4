//! The meter on one caller's line: when packets came, and what was in them.

use ai_media::g711;
use bench_common::audio::{self, Burst, Ear};

use crate::measure::Bursts;

/// A pause of this length ends a sound. [ns]
const PAUSE_NS: i64 = 60_000_000;
/// 8 kHz. [ns]
const SAMPLE_NS: i64 = 125_000;

/// Everything that happened on one caller's line. Times are the real-time clock's, in ns.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) line: u16,
    pub(crate) answered: bool,
    /// Asterisk ended the call before the caller did.
    pub(crate) ended_early: bool,
    /// When the caller sent each packet, and how late. [ns]
    pub(crate) sent: Vec<(i64, i64)>,
    /// Bursts the caller sent.
    pub(crate) said: Bursts,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) heard: Vec<Burst>,
    pub(crate) sounds: Vec<Sound>,
}

/// One packet from Asterisk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at_ns: i64,
    /// RTP sequence number, without its wrap-arounds.
    pub(crate) sequence: i64,
}

/// Something loud, as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sound {
    /// Arrival of the first packet it is in.
    pub(crate) began_ns: i64,
    /// End of its last sample.
    pub(crate) ended_ns: i64,
}

/// Fills the receiving half of a [`Log`].
#[derive(Default)]
pub(crate) struct Meter {
    ear: Ear,
    highest: Option<i64>,
    pub(crate) log: Log,
}

impl Meter {
    /// An RTP packet arrived.
    pub(crate) fn handle(&mut self, packet: &[u8], at_ns: i64) {
        if packet.len() < 12 || packet[1] & 0x7F != 8 {
            return;
        }
        let sequence = self.unwrapped(i64::from(u16::from_be_bytes([packet[2], packet[3]])));
        self.log.arrivals.push(Arrival { at_ns, sequence });
        let samples = || packet[12..].iter().map(|&code| g711::alaw_decode(code));
        for (index, _) in samples().enumerate().filter(|&(_, sample)| audio::is_loud(sample)) {
            self.loud(at_ns, at_ns + (index as i64 + 1) * SAMPLE_NS);
        }
        let heard = &mut self.log.heard;
        self.ear.listen(samples(), at_ns, SAMPLE_NS, |burst| heard.push(burst));
    }

    fn loud(&mut self, packet_ns: i64, until_ns: i64) {
        match self.log.sounds.last_mut() {
            Some(sound) if until_ns - sound.ended_ns < PAUSE_NS => sound.ended_ns = until_ns,
            _ => self.log.sounds.push(Sound { began_ns: packet_ns, ended_ns: until_ns }),
        }
    }

    fn unwrapped(&mut self, sequence: i64) -> i64 {
        let highest = self.highest.unwrap_or(sequence);
        // The 16-bit number is the one nearest to the highest so far.
        let step = (sequence - highest).rem_euclid(65536);
        let unwrapped = highest + if step > 32768 { step - 65536 } else { step };
        self.highest = Some(highest.max(unwrapped));
        unwrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, loud: bool) -> Vec<u8> {
        let mut packet = vec![0x80, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet.extend(vec![g711::alaw_encode(if loud { 20000 } else { 0 }); 160]);
        packet
    }

    #[test]
    fn sequence_numbers_go_on_past_their_end_and_back_for_a_late_packet() {
        let mut meter = Meter::default();
        for (sequence, at_ns) in [(65535, 0), (1, 20), (0, 40), (2, 60)] {
            meter.handle(&packet(sequence, false), at_ns);
        }
        let seen: Vec<_> = meter.log.arrivals.iter().map(|arrival| arrival.sequence).collect();
        assert_eq!(seen, [65535, 65537, 65536, 65538]);
    }

    #[test]
    fn a_sound_ends_after_a_pause() {
        let mut meter = Meter::default();
        for (number, loud) in [true, true, false, false, true, false].into_iter().enumerate() {
            meter.handle(&packet(number as u16, loud), number as i64 * 20_000_000);
        }
        // Two packets of silence are no pause yet, four are.
        meter.handle(&packet(9, true), 180_000_000);
        let sound =
            |began_ms: i64, ended_ms: i64| Sound { began_ns: began_ms * 1_000_000, ended_ns: ended_ms * 1_000_000 };
        assert_eq!(meter.log.sounds, [sound(0, 100), sound(180, 200)]);
    }
}
