//! What a phone heard, packet by packet.

use std::time::{Duration, Instant};

use crate::Codec;

/// Longest silence that is filled with zeros. [s] A longer jump of the RTP timestamp is a new start, not a gap.
const LONGEST_GAP_S: u32 = 60;

/// One RTP packet as it arrived.
#[derive(Debug, Clone)]
pub struct Packet {
    /// When it arrived.
    pub at: Instant,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp, in ticks of [`Codec::clock_hz`].
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// RTP payload type.
    pub payload_type: u8,
    /// Source of the stream.
    pub ssrc: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A stretch without audio.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// Arrival of the packet before it.
    pub from: Instant,
    /// Arrival of the packet after it.
    pub to: Instant,
}

impl Gap {
    /// Time between the two packets; 20 ms when nothing is missing.
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// Everything a phone has heard so far, in order of arrival.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Codec of the call.
    pub codec: Codec,
    /// All RTP packets, digits included.
    pub packets: Vec<Packet>,
}

impl Recording {
    /// The packets that carry audio.
    pub fn audio(&self) -> impl DoubleEndedIterator<Item = &Packet> {
        self.packets.iter().filter(|packet| packet.payload_type == self.codec.payload_type())
    }

    /// All audio as the caller hears it: samples at the place their RTP timestamp gives them, zeros between.
    pub fn pcm(&self) -> Vec<i16> {
        let placed = self.placed();
        // One run, since a codec with memory must not be started anew for every packet.
        let decoded = self.codec.decode(&payload_bytes(&placed));
        let mut rest = decoded.as_slice();
        let mut samples = Vec::new();
        for (place, packet) in placed {
            let (now, later) = rest.split_at(self.codec.samples_in(packet.payload.len()));
            samples.resize(place as usize, 0);
            samples.extend(now);
            rest = later;
        }
        samples
    }

    /// All payload bytes, one packet after the other, in order of sequence number.
    pub fn bytes(&self) -> Vec<u8> {
        payload_bytes(&self.placed())
    }

    /// Audio that arrived in `from..to`, packets put together without gaps.
    pub fn between(&self, from: Instant, to: Instant) -> Vec<i16> {
        let bytes: Vec<u8> = self.within(from, to).flat_map(|packet| packet.payload.iter().copied()).collect();
        self.codec.decode(&bytes)
    }

    /// Level of the audio that arrived in `from..to`: root mean square, 1.0 = full scale; 0 when nothing arrived.
    pub fn level_between(&self, from: Instant, to: Instant) -> f64 {
        level(&self.between(from, to))
    }

    /// Arrival of the first packet at or after `from` that is louder than `threshold` (1.0 = full scale).
    pub fn first_sound(&self, from: Instant, threshold: f64) -> Option<Instant> {
        self.audio().find(|packet| packet.at >= from && self.is_louder(packet, threshold)).map(|packet| packet.at)
    }

    /// Arrival of the last packet before `to` that is louder than `threshold` (1.0 = full scale).
    pub fn last_sound(&self, to: Instant, threshold: f64) -> Option<Instant> {
        self.audio().rev().find(|packet| packet.at < to && self.is_louder(packet, threshold)).map(|packet| packet.at)
    }

    /// Pauses between audio packets longer than `threshold`.
    pub fn gaps(&self, threshold: Duration) -> Vec<Gap> {
        self.pauses().filter(|gap| gap.length() > threshold).collect()
    }

    /// Longest time between two audio packets; zero when there are fewer than two.
    pub fn max_gap(&self) -> Duration {
        self.pauses().map(|gap| gap.length()).max().unwrap_or_default()
    }

    /// Sequence numbers that never arrived.
    pub fn lost(&self) -> usize {
        let steps = self.packets.windows(2).filter(|pair| pair[0].ssrc == pair[1].ssrc);
        let missing = |pair: &[Packet]| pair[1].sequence.wrapping_sub(pair[0].sequence).cast_signed() - 1;
        steps.map(|pair| usize::try_from(missing(pair)).unwrap_or(0)).sum()
    }

    /// Digits received as RFC 4733 events.
    pub fn digits(&self) -> String {
        let events = self.packets.iter().filter(|packet| packet.payload_type == crate::rtp::EVENT_PAYLOAD_TYPE);
        let mut starts: Vec<_> = events.map(|packet| (packet.ssrc, packet.timestamp, packet.payload[0])).collect();
        starts.dedup();
        starts.iter().filter_map(|(_, _, code)| crate::rtp::DIGITS.chars().nth(usize::from(*code))).collect()
    }

    fn within(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Packet> {
        self.audio().filter(move |packet| packet.at >= from && packet.at < to)
    }

    fn is_louder(&self, packet: &Packet, threshold: f64) -> bool {
        level(&self.codec.decode(&packet.payload)) > threshold
    }

    fn pauses(&self) -> impl Iterator<Item = Gap> {
        self.audio().zip(self.audio().skip(1)).map(|(before, after)| Gap { from: before.at, to: after.at })
    }

    /// Audio packets with their first sample's place in the whole, in that order. A new source, or a jump that no
    /// silence explains, goes on where the audio before it ended.
    fn placed(&self) -> Vec<(u64, &Packet)> {
        let samples_per_tick = u64::from(self.codec.rate_hz() / self.codec.clock_hz());
        let mut placed: Vec<(u64, &Packet)> = Vec::new();
        let mut end = 0;
        let mut origin: Option<(u32, u32, u64)> = None; // source, timestamp and place the stream started with
        for packet in self.audio() {
            let place = origin.filter(|(ssrc, ..)| *ssrc == packet.ssrc).and_then(|(_, timestamp, start)| {
                let ticks = packet.timestamp.wrapping_sub(timestamp).cast_signed();
                let place = start + u64::try_from(ticks).ok()? * samples_per_tick;
                (place <= end + u64::from(LONGEST_GAP_S * self.codec.rate_hz())).then_some(place)
            });
            let place = place.unwrap_or_else(|| {
                origin = Some((packet.ssrc, packet.timestamp, end));
                end
            });
            end = end.max(place + self.codec.samples_in(packet.payload.len()) as u64);
            placed.push((place, packet));
        }
        placed.sort_by_key(|(place, _)| *place);
        placed
    }
}

fn payload_bytes(placed: &[(u64, &Packet)]) -> Vec<u8> {
    placed.iter().flat_map(|(_, packet)| packet.payload.iter().copied()).collect()
}

/// Root mean square of `samples`, 1.0 = full scale.
fn level(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|&sample| (f64::from(sample) / 32768.0).powi(2)).sum();
    (power / samples.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(timestamp: u32, ssrc: u32, payload: &[u8]) -> Packet {
        let at = Instant::now();
        Packet { at, sequence: 0, timestamp, marker: false, payload_type: 118, ssrc, payload: payload.to_vec() }
    }

    #[test]
    fn audio_lies_where_its_timestamp_says() {
        let packets = vec![
            packet(u32::MAX - 1, 1, &[0, 1, 0, 2]),
            packet(2, 1, &[0, 5, 0, 6]),
            packet(0, 1, &[0, 3]),
            packet(77, 2, &[0, 7]),
            packet(77 + 3, 2, &[0, 8]),
        ];
        let recording = Recording { codec: Codec::Slin16, packets };
        assert_eq!(recording.pcm(), [1, 2, 3, 0, 5, 6, 7, 0, 0, 8]);
        assert_eq!(recording.bytes(), [0, 1, 0, 2, 0, 3, 0, 5, 0, 6, 0, 7, 0, 8]);
    }
}
