//! Catching up: brings audio that comes in real time back to its target delay.
//!
//! Each time such audio runs dry or is held, what comes meanwhile is late from then on, and since its sender never pauses
//! for long nothing takes that delay away again. Here it is worked off: some milliseconds are left out where two parts of
//! the wave are most alike, so that voices keep their pitch and no edge is heard, several times a second while it is
//! spoken and in every frame of a pause.
//!
//! An answer that is made faster than it can be heard is another thing: its backlog is not delay, and all of it is played.
//! [`Backlog`] says which it is to be.

use crate::ring::AgentSink;
use crate::{Format, fade};

/// What becomes of agent audio that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backlog {
    /// The agent speaks in turns: every word is played. Only audio that has come at the pace of time for
    /// [`WINDOW_MS`] is brought back to its delay.
    #[default]
    Played,
    /// The agent's audio is a live stream, as an interpreter's or a broadcast's: what is more than [`LATE_MS`] late is
    /// skipped.
    Skipped,
}

/// Delay that is there all through this long is worked off. [ms]
pub const WINDOW_MS: u64 = 2000;
/// A live stream that is later than its target by more than this is not worked off but skipped. [ms]
pub const LATE_MS: u64 = 100;

/// Live audio is late when it was so in all of this many frames: one message may hold as much.
const LATE_FRAMES: u32 = 5;
/// Arrivals may differ from the pace of time by this part of a window: messages are not small.
const PACE_PART: u64 = 12;
/// Frames between two cuts while somebody speaks.
const CUT_EVERY: u32 = 5;
/// Shortest and longest cut: the pitch of voices, 400 to 80 Hz. [µs]
const CUT_US: (u64, u64) = (2500, 12_500);
/// Nothing to hear below this: -46 dB of full scale.
const QUIET: i32 = 32768 / 200;

/// How one call catches up. Owned by the channel thread.
pub(crate) struct CatchUp {
    format: Format,
    backlog: Backlog,
    /// Bytes of the target delay, of one frame, and of the window.
    target: usize,
    frame: usize,
    window: u64,
    seen: Seen,
    /// Late by so many bytes.
    surplus: usize,
    since_cut: u32,
    /// Live audio is being skipped, and more of it waits.
    chasing: bool,
    /// Frames in a row in which live audio was too late.
    late: u32,
    scratch: Vec<u8>,
    wave: Vec<i16>,
}

/// What was seen in the present window.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    played: u64,
    arrived_before: u64,
    lowest: usize,
}

impl CatchUp {
    /// For audio in `format` that is to be played `target` bytes after it came, in frames of `frame` bytes.
    pub(crate) fn new(format: Format, backlog: Backlog, target: usize, frame: usize) -> Self {
        let longest = bytes_in_us(format, CUT_US.1) + fade::edge_bytes(format);
        Self {
            format,
            backlog,
            target: target.max(frame),
            frame,
            window: format.bytes_in_ms(WINDOW_MS) as u64,
            seen: Seen::default(),
            surplus: 0,
            since_cut: 0,
            chasing: false,
            late: 0,
            scratch: vec![0; longest],
            wave: vec![0; longest / format.sample_bytes()],
        }
    }

    /// The agent begins to speak, or goes on after a break: what was seen before says nothing any more.
    ///
    /// # Realtime
    /// A few stores.
    pub(crate) fn begin(&mut self, sink: &AgentSink) {
        self.surplus = 0;
        self.late = 0;
        self.watch_anew(sink);
    }

    fn watch_anew(&mut self, sink: &AgentSink) {
        self.seen = Seen { played: 0, arrived_before: sink.arrived(), lowest: usize::MAX };
    }

    /// Takes the next frame from `sink`, which holds at least as much, and leaves something out where that is due.
    ///
    /// # Realtime
    /// Three copies; for a cut, several times a second at most, some 10 000 multiplications. No allocation, no lock.
    pub(crate) fn pop(&mut self, sink: &mut AgentSink, frame: &mut [u8]) {
        self.watch(sink);
        let cut = self.skipped(sink).or_else(|| self.worked_off(sink)).unwrap_or(0);
        if cut == 0 {
            return sink.pop(frame);
        }
        let before = &mut self.scratch[..fade::edge_bytes(self.format)];
        sink.peek(before);
        sink.skip(cut);
        sink.pop(frame);
        fade::across(before, frame, self.format);
    }

    fn watch(&mut self, sink: &AgentSink) {
        let behind = sink.behind();
        self.seen.lowest = self.seen.lowest.min(behind);
        self.seen.played += self.frame as u64;
        if self.seen.played >= self.window {
            let arrived = sink.arrived() - self.seen.arrived_before;
            let in_real_time = arrived.abs_diff(self.window) <= self.window / PACE_PART;
            let is_delay = in_real_time || self.backlog == Backlog::Skipped;
            self.surplus = if is_delay { self.seen.lowest.saturating_sub(self.target) } else { 0 };
            self.watch_anew(sink);
        }
        let late = self.target + self.format.bytes_in_ms(LATE_MS);
        self.late = if behind > late { self.late + 1 } else { 0 };
    }

    /// What of a live stream is too late to be heard. [bytes]
    fn skipped(&mut self, sink: &AgentSink) -> Option<usize> {
        if self.backlog == Backlog::Played {
            return None;
        }
        self.chasing = sink.backlog() || self.late >= LATE_FRAMES || (self.chasing && sink.behind() > self.target);
        let cut = sink.ready().saturating_sub(self.target.max(self.frame));
        if !self.chasing || cut < fade::edge_bytes(self.format) {
            return None;
        }
        self.late = 0;
        self.surplus = 0;
        Some(cut)
    }

    /// A piece of the surplus, if this is the time and the place to leave it out. [bytes]
    fn worked_off(&mut self, sink: &mut AgentSink) -> Option<usize> {
        self.since_cut = self.since_cut.saturating_add(1);
        let (shortest, longest) = (bytes_in_us(self.format, CUT_US.0), bytes_in_us(self.format, CUT_US.1));
        let most = self.surplus.min(longest);
        if most < shortest || sink.ready() < self.frame + longest + fade::edge_bytes(self.format) {
            return None;
        }
        sink.peek(&mut self.scratch);
        let size = self.format.sample_bytes();
        for (sample, bytes) in self.wave.iter_mut().zip(self.scratch.chunks_exact(size)) {
            *sample = self.format.linear(bytes);
        }
        let quiet = self.wave.iter().all(|&sample| i32::from(sample).abs() < QUIET);
        let cut = if quiet {
            most
        } else if self.since_cut >= CUT_EVERY {
            let edge = fade::edge_bytes(self.format) / size;
            most_alike(&self.wave, edge, shortest / size..=most / size) * size
        } else {
            return None;
        };
        self.since_cut = 0;
        self.surplus -= cut;
        Some(cut)
    }
}

/// The distance within `lags` at which `wave` is most like its own first `length` samples. (Verhelst and Roelands, "An
/// overlap-add technique based on waveform similarity", ICASSP 1993.)
fn most_alike(wave: &[i16], length: usize, lags: std::ops::RangeInclusive<usize>) -> usize {
    let start = &wave[..length];
    let likeness = |lag: usize| {
        let other = &wave[lag..lag + length];
        let (mut product, mut energy) = (0.0f32, 1.0f32);
        for (&one, &other) in start.iter().zip(other) {
            product += f32::from(one) * f32::from(other);
            energy += f32::from(other) * f32::from(other);
        }
        product / energy.sqrt()
    };
    let longest = *lags.end();
    lags.map(|lag| (lag, likeness(lag))).max_by(|one, other| one.1.total_cmp(&other.1)).map_or(longest, |best| best.0)
}

/// Bytes of `us` microseconds, a whole number of samples.
fn bytes_in_us(format: Format, us: u64) -> usize {
    (u64::from(format.rate_hz) * us / 1_000_000) as usize * format.sample_bytes()
}

#[cfg(test)]
mod tests {
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
            let pushed = self.feed.push(&self.waiting);
            self.waiting.drain(..pushed);
            self.feed.announce(self.waiting.len());
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
            stream.in_real_time(3);
            let before = stream.delay();
            stream.stall(200);
            stream.in_real_time(2);
            assert!(stream.delay() > before + 100, "{} ms", stream.delay());
            stream.in_real_time(10);
            assert!(stream.delay() <= 40, "{} ms after 10 s, {before} ms before", stream.delay());
            let mut plain = Stream::new(Backlog::Played, |_| false);
            plain.in_real_time(1);
            // The first frame after the stall fades in, which is steeper than the wave itself.
            let steepest = plain.largest_step() + 1500;
            assert!(stream.largest_step() <= steepest, "{} of {steepest}", stream.largest_step());
        }
    }

    #[test]
    fn pitch_stays_when_something_is_left_out() {
        let mut stream = Stream::new(Backlog::Played, |_| false);
        stream.in_real_time(3);
        stream.stall(300);
        stream.in_real_time(3);
        let left_out_at = stream.heard.len();
        stream.in_real_time(3);
        // The wave repeats every 64 samples, cut or not: where it does not, it is within 5 ms of a seam.
        let piece = &stream.heard[left_out_at..];
        let error: f64 = piece.windows(65).map(|run| (f64::from(run[64]) - f64::from(run[0])).powi(2)).sum();
        let energy: f64 = piece.iter().map(|&sample| f64::from(sample).powi(2)).sum();
        let ratio = 10.0 * (energy / error.max(1.0)).log10();
        assert!(ratio > 30.0, "{ratio:.1} dB");
    }

    #[test]
    fn an_answer_that_is_made_faster_than_it_is_heard_is_played_to_the_sample() {
        let mut stream = Stream::new(Backlog::Played, with_pauses);
        for _ in 0..5 * 50 {
            stream.send(240);
            stream.frame();
        }
        for _ in 0..150 {
            stream.frame();
        }
        let said: Vec<i16> = (0..stream.sent).map(|number| sample(number, with_pauses)).collect();
        let start = stream.heard.iter().position(|&sample| sample != 0).expect("something was heard") - 1;
        let heard = &stream.heard[start..];
        let length = said.len().min(heard.len());
        assert!(length > 6 * 8000 && heard[..length] == said[..length], "{length} samples");
    }

    #[test]
    fn a_live_stream_is_on_time_soon_after_a_freeze_of_two_seconds() {
        let mut stream = Stream::new(Backlog::Skipped, with_pauses);
        stream.in_real_time(3);
        let before = stream.delay();
        stream.stall(2000);
        let mut took = 0;
        while stream.delay() > before + 20 {
            stream.send(160);
            stream.frame();
            took += 20;
            assert!(took <= 200, "{} ms late after {took} ms", stream.delay());
        }
    }

    #[test]
    fn large_messages_of_a_live_stream_are_not_late() {
        let mut stream = Stream::new(Backlog::Skipped, |_| false);
        for frame in 0..500 {
            if frame % 10 == 0 {
                stream.send(1600);
            }
            stream.frame();
        }
        assert!(stream.delay() <= 240, "{} ms", stream.delay());
        let silent = stream.heard[8000..].chunks(80).filter(|piece| piece.iter().all(|&sample| sample == 0)).count();
        assert_eq!(silent, 0, "the stream broke off");
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
        assert!(stream.delay() <= 50, "{} ms", stream.delay());
    }
}
