use std::time::{Duration, Instant};

use super::*;
use crate::playout::{PTIME, Played, Playout};
use crate::ring::{AgentFeed, agent_ring};

const FORMAT: Format = Format::slin(8000);
const FRAME_BYTES: usize = 320;
const TARGET: Duration = Duration::from_millis(40);
const RING_MS: u64 = 400;

/// A voice-like wave of 125 Hz whose loudness says which second it is of; pauses where `pause` says so.
fn sample(number: u64, pause: fn(u64) -> bool) -> i16 {
    if pause(number) {
        return 0;
    }
    let phase = |hz: f32| (number as f32 * hz / 8000.0 * std::f32::consts::TAU).sin();
    (6000.0 * phase(125.0) + 3000.0 * phase(250.0) + 1500.0 * phase(1250.0)) as i16
}

/// A sender, the ring, and playout, in steps of one frame.
struct Stream {
    feed: AgentFeed,
    playout: Playout,
    waiting: Vec<u8>,
    sent: u64,
    now: Instant,
    heard: Vec<i16>,
    pause: fn(u64) -> bool,
}

impl Stream {
    fn new(backlog: Backlog, pause: fn(u64) -> bool) -> Self {
        let (feed, sink) = agent_ring(FORMAT.bytes_in_ms(RING_MS));
        let now = Instant::now();
        let playout = Playout::new(sink, FORMAT, TARGET, backlog, now);
        Self { feed, playout, waiting: Vec::new(), sent: 0, now, heard: Vec::new(), pause }
    }

    fn send(&mut self, samples: u64) {
        for number in self.sent..self.sent + samples {
            self.waiting.extend(sample(number, self.pause).to_le_bytes());
        }
        self.sent += samples;
    }

    fn pump(&mut self) {
        let pushed = self.feed.push(&self.waiting, 0);
        self.waiting.drain(..pushed);
    }

    fn frame(&mut self) -> Played {
        let mut frame = [0; FRAME_BYTES];
        self.pump();
        let played = self.playout.poll(self.now, &mut frame).expect("a frame is due");
        self.pump();
        self.heard.extend(frame.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair)));
        self.now += PTIME;
        played
    }

    /// `seconds` of audio that comes in real time.
    fn in_real_time(&mut self, seconds: u64) {
        for _ in 0..seconds * 50 {
            self.send(160);
            self.frame();
        }
    }

    /// The sender stalls, and then sends what it owes at once.
    fn stall(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.frame();
        }
        self.send(ms * 8);
    }

    /// How late the next sample to be heard is. [ms]
    fn delay(&self) -> u64 {
        (self.sent * 2 - self.feed.cursor()) / 16
    }

    fn largest_step(&self) -> u16 {
        self.heard.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
    }
}

/// Three seconds of voice, one of pause.
fn with_pauses(number: u64) -> bool {
    number % 32_000 >= 24_000
}

#[test]
fn what_a_stall_has_added_is_worked_off_without_a_click() {
    for pause in [with_pauses, |_| false] {
        let mut stream = Stream::new(Backlog::Played, pause);
        stream.in_real_time(11);
        let before = stream.delay();
        stream.stall(200);
        stream.in_real_time(2);
        assert!(stream.delay() > before + 100, "{} ms", stream.delay());
        stream.in_real_time(14);
        assert!(stream.delay() <= 40, "{} ms at the end, {before} ms before", stream.delay());
        let mut plain = Stream::new(Backlog::Played, |_| false);
        plain.in_real_time(1);
        // The first frame after the stall fades in, which is steeper than the wave itself.
        let steepest = plain.largest_step() + 1500;
        assert!(stream.largest_step() <= steepest, "{} of {steepest}", stream.largest_step());
    }
}

#[test]
fn a_voice_keeps_its_pitch_and_loses_little_at_a_time() {
    let mut stream = Stream::new(Backlog::Played, |_| false);
    stream.in_real_time(11);
    stream.stall(300);
    stream.in_real_time(11);
    let (from, before) = (stream.heard.len(), stream.delay());
    stream.in_real_time(2);
    let worked_off = before - stream.delay();
    assert!((50..=250).contains(&worked_off), "{worked_off} ms in two seconds");
    // The wave repeats every 64 samples, cut or not.
    let piece = &stream.heard[from..];
    let error: f64 = piece.windows(65).map(|run| (f64::from(run[64]) - f64::from(run[0])).powi(2)).sum();
    let energy: f64 = piece.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    let ratio = 10.0 * (energy / error.max(1.0)).log10();
    assert!(ratio > 30.0, "{ratio:.1} dB");
}

#[test]
fn a_pause_is_shortened_faster_than_words() {
    let mut stream = Stream::new(Backlog::Played, |number| number > 11 * 8000);
    stream.in_real_time(11);
    stream.stall(300);
    stream.in_real_time(12);
    assert!(stream.delay() <= 40, "{} ms", stream.delay());
}

#[test]
fn an_answer_with_a_head_start_is_played_to_the_sample() {
    // Sent at once [ms], and then so much in a frame of 20 ms [samples].
    for (head_start, pace) in [(0, 240), (1000, 160), (1000, 168), (3000, 160), (3000, 172), (100, 175)] {
        let mut stream = Stream::new(Backlog::Played, with_pauses);
        stream.send(head_start * 8);
        for _ in 0..30 * 50 {
            stream.send(pace);
            stream.frame();
        }
        stream.feed.end_turn();
        let said: Vec<i16> = (0..stream.sent).map(|number| sample(number, with_pauses)).collect();
        let start = stream.heard.iter().position(|&sample| sample != 0).expect("something was heard") - 1;
        let heard = &stream.heard[start..];
        let wrong = heard.iter().zip(&said).position(|(heard, said)| heard != said);
        assert_eq!(wrong, None, "head start {head_start} ms, {pace} samples a frame");
    }
}

#[test]
fn sentence_after_sentence_in_one_turn_is_played_to_the_sample() {
    let mut stream = Stream::new(Backlog::Played, with_pauses);
    for _ in 0..20 {
        stream.send(16_000);
        (0..100).for_each(|_| _ = stream.frame());
    }
    let said: Vec<i16> = (0..stream.sent).map(|number| sample(number, with_pauses)).collect();
    let start = stream.heard.iter().position(|&sample| sample != 0).expect("something was heard") - 1;
    assert!(stream.heard[start..].iter().zip(&said).all(|(heard, said)| heard == said));
}

#[test]
fn a_network_that_stalls_again_and_again_breaks_few_words() {
    let mut stream = Stream::new(Backlog::Played, |_| false);
    for _ in 0..40 {
        stream.stall(100);
        stream.in_real_time(3);
    }
    assert!(stream.playout.underruns() <= 2, "{} underruns", stream.playout.underruns());
}

#[test]
fn an_answer_after_a_flush_is_not_cut_for_the_one_before() {
    for backlog in [Backlog::Played, Backlog::Skipped] {
        let mut stream = Stream::new(backlog, |_| false);
        stream.in_real_time(12);
        stream.send(80_000);
        (0..3).for_each(|_| _ = stream.frame());
        stream.feed.flush();
        stream.waiting.clear();
        let from = stream.heard.len();
        let next: Vec<i16> = (0..8000).map(|number| sample(number + 13, |_| false)).collect();
        stream.waiting = next.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        stream.playout.apply_flush();
        (0..15).for_each(|_| _ = stream.frame());
        let heard = &stream.heard[from..];
        let start = heard.windows(160).position(|run| run == &next[..160]).expect("the next answer");
        assert_eq!(heard[start..], next[..heard.len() - start], "{backlog:?}");
    }
}

#[test]
fn a_live_stream_is_on_time_soon_after_a_freeze_of_two_seconds() {
    let mut stream = Stream::new(Backlog::Skipped, |_| false);
    stream.in_real_time(3);
    let before = stream.delay();
    // Not a whole number of periods, or what is skipped would leave no edge.
    stream.send(13);
    stream.stall(2000);
    let mut took = 0;
    while stream.delay() > before + 20 {
        stream.send(160);
        stream.frame();
        took += 20;
        assert!(took <= 200, "{} ms late after {took} ms", stream.delay());
    }
    stream.in_real_time(1);
    let mut plain = Stream::new(Backlog::Skipped, |_| false);
    plain.in_real_time(1);
    // The first frame after the freeze fades in, which is steeper than the wave itself.
    let steepest = plain.largest_step() + 1500;
    assert!(stream.largest_step() <= steepest, "{} of {steepest}", stream.largest_step());
}

#[test]
fn messages_of_a_live_stream_are_not_late_whatever_their_length_and_jitter() {
    // Length of a message and how much later than the one before it may come, in frames.
    for (length, jitter) in [(10, 0), (12, 0), (20, 0), (25, 0), (10, 2), (8, 4), (1, 3)] {
        let mut stream = Stream::new(Backlog::Skipped, |_| false);
        let mut due: Vec<u64> = (0..3000 / length).map(|n| n * length + n * 7 % (jitter + 1)).collect();
        due.reverse();
        for frame in 0..3000 {
            while due.last().is_some_and(|&at| at <= frame) {
                stream.send(160 * length);
                due.pop();
            }
            stream.frame();
        }
        let silent = stream.heard[16_000..].chunks(80).filter(|piece| piece.iter().all(|&sample| sample == 0)).count();
        let lost = stream.delay();
        let what = format!("messages of {} ms, {} ms late at most", length * 20, jitter * 20);
        assert!(silent * 10 <= 400, "{what}: {} ms of silence in 58 s", silent * 10);
        assert!(lost <= (length + jitter) * 20 + 140, "{what}: {lost} ms late in the end");
    }
}

#[test]
fn a_senders_fast_clock_does_not_pile_up() {
    let mut stream = Stream::new(Backlog::Played, |_| false);
    let mut owed = 0;
    for _ in 0..50 * 60 * 5 {
        // 1000 ppm fast: five minutes of it are hours of a bad clock.
        owed += 160_160;
        stream.send(owed / 1000);
        owed %= 1000;
        stream.frame();
    }
    assert!(stream.delay() <= 60, "{} ms", stream.delay());
}
