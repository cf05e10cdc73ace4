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
mod tests;
