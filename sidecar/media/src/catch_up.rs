//! Catching up: brings audio that comes in real time back to the delay it began with.
//!
//! Each time such audio runs dry or is held, what comes meanwhile is late from then on, and since its sender never pauses
//! for long nothing takes that delay away again. Here it is worked off: some milliseconds are left out where two parts of
//! the wave are most alike, so that voices keep their pitch and no edge is heard, several times a second while it is
//! spoken and in every frame of a pause.
//!
//! An answer that is made faster than it can be heard is another thing: its backlog is not delay, and all of it is played.
//! So is the head start of a sender that keeps one, and what a network that stalls now and then needs: only what was there
//! all through [`WINDOWS`] windows, and was not when the turn began, is worked off. [`Backlog`] says what else is late.

use std::ops::RangeInclusive;

use crate::ring::AgentSink;
use crate::{Format, fade};

/// What becomes of agent audio that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backlog {
    /// The agent speaks in turns: every word is played. Only audio that comes at the pace of time is brought back to its
    /// delay, slowly.
    #[default]
    Played,
    /// The agent's audio is a live stream, as an interpreter's or a broadcast's, that is sent as it is to be heard: what is
    /// more than [`LATE_MS`] late is skipped.
    Skipped,
}

/// What is seen of a stream is summed up in windows of this length. [ms]
pub const WINDOW_MS: u64 = 2000;
/// So many windows decide what is delay.
pub const WINDOWS: usize = 5;
/// A live stream that is later than its target by more than this is not worked off but skipped. [ms]
pub const LATE_MS: u64 = 100;

/// Real time is met to this part, beyond the length of a message.
const PACE_PART: u64 = 50;
/// A message of a live stream is taken to be this long before any was seen, and at most. [ms]
const MESSAGE_MAX_MS: u64 = 1000;
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
    /// Bytes of the target delay, of one frame, and of a window.
    target: usize,
    frame: usize,
    window: u64,
    /// Delay at which the turn began; it shrinks until that is known for sure.
    initial: usize,
    initial_known: bool,
    seen: Window,
    past: [Option<Window>; WINDOWS],
    /// Longest message of the window before. [bytes]
    message: usize,
    arrived: u64,
    /// Late by so many bytes, and whether they are skipped at once.
    surplus: usize,
    skips: bool,
    since_cut: u32,
    late: Late,
    scratch: Vec<u8>,
    wave: Vec<i16>,
}

/// What was seen in a window.
#[derive(Debug, Clone, Copy)]
struct Window {
    played: u64,
    arrived: u64,
    /// Least that had come and was not heard. [bytes]
    lowest: usize,
    /// Most that came between two frames. [bytes]
    longest: usize,
}

impl Window {
    const NEW: Self = Self { played: 0, arrived: 0, lowest: usize::MAX, longest: 0 };
}

/// Frames in a row in which live audio was too late.
#[derive(Debug, Clone, Copy)]
struct Late {
    frames: usize,
    lowest: usize,
}

impl Late {
    const NOT: Self = Self { frames: 0, lowest: usize::MAX };
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
            initial: usize::MAX,
            initial_known: false,
            seen: Window::NEW,
            past: [None; WINDOWS],
            message: format.bytes_in_ms(MESSAGE_MAX_MS),
            arrived: 0,
            surplus: 0,
            skips: false,
            since_cut: 0,
            late: Late::NOT,
            scratch: vec![0; longest],
            wave: vec![0; longest / format.sample_bytes()],
        }
    }

    /// A turn begins, or the old one goes on after a break (`goes_on`): what was seen before says nothing any more, but at
    /// which delay the turn began.
    ///
    /// # Realtime
    /// A few stores.
    pub(crate) fn begin(&mut self, sink: &AgentSink, goes_on: bool) {
        self.initial_known = goes_on;
        if !goes_on {
            self.initial = usize::MAX;
        }
        self.seen = Window::NEW;
        self.past = [None; WINDOWS];
        self.arrived = sink.arrived();
        self.surplus = 0;
        self.skips = false;
        self.late = Late::NOT;
    }

    /// Takes the next frame from `sink`, which holds at least as much, and leaves something out where that is due.
    ///
    /// # Realtime
    /// One copy; while something is to be left out, another and its decoding, and for each cut, several times a second,
    /// some 6000 multiplications. No allocation, no lock.
    pub(crate) fn pop(&mut self, sink: &mut AgentSink, frame: &mut [u8]) {
        self.watch(sink);
        let cut = if self.skips { self.skipped(sink) } else { self.worked_off(sink) };
        if cut == 0 {
            return sink.pop(frame);
        }
        self.surplus -= cut;
        let before = &mut self.scratch[..fade::edge_bytes(self.format)];
        sink.peek(before);
        sink.skip(cut);
        sink.pop(frame);
        fade::across(before, frame, self.format);
    }

    fn watch(&mut self, sink: &AgentSink) {
        let behind = sink.behind();
        // A flush makes what has come less.
        let came = sink.arrived().saturating_sub(self.arrived);
        self.arrived = sink.arrived();
        let seen = &mut self.seen;
        seen.lowest = seen.lowest.min(behind);
        seen.longest = seen.longest.max(came as usize);
        seen.arrived += came;
        seen.played += self.frame as u64;
        if !self.initial_known {
            self.initial = self.initial.min(behind);
        }
        if self.backlog == Backlog::Skipped && !self.skips {
            self.watch_live(behind);
        }
        if self.seen.played >= self.window {
            self.sum_up(sink);
        }
    }

    /// A window is over.
    fn sum_up(&mut self, sink: &AgentSink) {
        self.message = self.seen.longest;
        self.past.rotate_right(1);
        self.past[0] = Some(std::mem::replace(&mut self.seen, Window::NEW));
        if self.past.iter().any(Option::is_none) || self.skips {
            return;
        }
        self.initial_known = true;
        let windows = || self.past.iter().flatten();
        let (arrived, played) = windows().fold((0, 0), |sum, one| (sum.0 + one.arrived, sum.1 + one.played));
        let message = windows().map(|one| one.longest).max().unwrap_or(0) as u64;
        let in_real_time = arrived.abs_diff(played) <= played / PACE_PART + message;
        let lowest = windows().map(|one| one.lowest).min().unwrap_or(0);
        let is_delay = in_real_time && !sink.turn_has_come();
        self.surplus = if is_delay { lowest.saturating_sub(self.target.max(self.initial)) } else { 0 };
        if self.surplus > 0 {
            // What is worked off changes what was seen.
            self.past = [None; WINDOWS];
        }
    }

    /// Live audio is late when it was so for longer than its messages are.
    fn watch_live(&mut self, behind: usize) {
        if behind <= self.target + self.format.bytes_in_ms(LATE_MS) {
            self.late = Late::NOT;
            return;
        }
        self.late = Late { frames: self.late.frames + 1, lowest: self.late.lowest.min(behind) };
        let message = self.message.min(self.format.bytes_in_ms(MESSAGE_MAX_MS));
        if self.late.frames >= message.div_ceil(self.frame) + 2 {
            self.surplus = self.late.lowest - self.target;
            self.skips = true;
            self.late = Late::NOT;
        }
    }

    /// As much of what is skipped as the ring holds. [bytes]
    fn skipped(&mut self, sink: &AgentSink) -> usize {
        let cut = self.surplus.min(sink.ready() - self.frame);
        self.skips = self.surplus > cut;
        if cut < fade::edge_bytes(self.format) { 0 } else { cut }
    }

    /// A piece of the surplus, if this is the time and the place to leave it out. [bytes]
    fn worked_off(&mut self, sink: &mut AgentSink) -> usize {
        self.since_cut = self.since_cut.saturating_add(1);
        let (shortest, longest) = (bytes_in_us(self.format, CUT_US.0), bytes_in_us(self.format, CUT_US.1));
        let most = self.surplus.min(longest);
        if most < shortest || sink.ready() < self.frame + self.scratch.len() {
            return 0;
        }
        sink.peek(&mut self.scratch);
        let size = self.format.sample_bytes();
        for (sample, bytes) in self.wave.iter_mut().zip(self.scratch.chunks_exact(size)) {
            *sample = self.format.linear(bytes);
        }
        let quiet = self.wave.iter().all(|&sample| i32::from(sample).abs() < QUIET);
        if !quiet && self.since_cut < CUT_EVERY {
            return 0;
        }
        self.since_cut = 0;
        if quiet {
            return most;
        }
        let stride = (self.format.rate_hz / 8000).max(1) as usize;
        let edge = fade::edge_bytes(self.format) / size;
        most_alike(&self.wave, edge, shortest / size..=most / size, stride) * size
    }
}

/// The distance within `lags` at which `wave` is most like its own first `length` samples; every `stride`th of both is
/// looked at. (Verhelst and Roelands, "An overlap-add technique based on waveform similarity", ICASSP 1993.)
fn most_alike(wave: &[i16], length: usize, lags: RangeInclusive<usize>, stride: usize) -> usize {
    let likeness = |lag: usize| {
        let (mut product, mut energy) = (0.0f32, 1.0f32);
        for (&one, &other) in wave[..length].iter().zip(&wave[lag..lag + length]).step_by(stride) {
            product += f32::from(one) * f32::from(other);
            energy += f32::from(other) * f32::from(other);
        }
        product / energy.sqrt()
    };
    let longest = *lags.end();
    let likely = lags.step_by(stride).map(|lag| (lag, likeness(lag)));
    likely.max_by(|one, other| one.1.total_cmp(&other.1)).map_or(longest, |best| best.0)
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
            let silent =
                stream.heard[16_000..].chunks(80).filter(|piece| piece.iter().all(|&sample| sample == 0)).count();
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
}
