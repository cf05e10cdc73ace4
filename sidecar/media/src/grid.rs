//! The grid: when the next frame of a line is due.
//!
//! ```text
//!   due        due + 20 ms  due + 40 ms
//!    │            │            │             frames to the phone
//!   ─┼────────────┼────────────┼──► time
//!    ┆ ◄ pulled   ┆            ┆             the caller's packets
//! ```
//!
//! The rhythm comes from the clock that the owner passes in, so the line keeps it through silence suppression, hold and
//! loss. Its phase is pulled towards the caller's packets, slowly: a thread that a packet woke then finds a frame due and
//! need not wake again for it. That is worth half of all wake-ups, and it makes the line run by the phone's clock, so
//! that however far it is off nothing piles up in the phone. A frame may leave [`TOLERANCE`] before its moment and
//! [`PATIENCE`] after it; phones see more than that from any network.
//!
//! After a stall of the thread at most [`MAX_LATE_FRAMES`] are made up for; the rest of the debt is forgotten, since a
//! burst would only become delay in the phone.
//!
//! The first frame of a turn may leave between two moments, and the line is then ahead of the grid by up to one frame.
//! The lead is given back in the next silence, by steps of up to [`LONGEST_STEP`]; while the agent speaks it stays, so that
//! audio that never pauses is heard as early as it began.

use std::time::{Duration, Instant};

/// Time between two frames, and their length.
pub const PTIME: Duration = Duration::from_millis(20);

/// A frame may leave so much before its moment. Sleeps count whole milliseconds, and end early rather than late.
pub const TOLERANCE: Duration = Duration::from_millis(1);

/// A frame waits this long for a packet that comes at about its moment: longer than [`TOLERANCE`], or a sleep that ends
/// early would overtake the packet.
pub const PATIENCE: Duration = Duration::from_millis(2);

/// Longest time between two frames while a lead is given back. Phones expect jitter of this size from any network.
pub const LONGEST_STEP: Duration = Duration::from_millis(28);

/// Frames that may follow each other at once after a stall.
pub const MAX_LATE_FRAMES: u32 = 3;

/// Most that the grid moves at a packet.
const SHIFT_MAX: Duration = Duration::from_micros(500);
/// Part of the distance to a packet by which the grid moves: its jitter is averaged over about as many.
const SHIFT_PART: i64 = 8;

/// The moments of one line. Owned by the channel thread.
#[derive(Debug)]
pub struct Grid {
    next_due: Instant,
    /// How much the line is ahead of the grid.
    lead: Duration,
    /// When the caller's next packet is due.
    packet_due: Option<Instant>,
    /// The grid was pulled since the last frame: packets that come all at once say no more than one.
    pulled: bool,
}

impl Grid {
    /// A grid with its first frame due at `now`.
    pub fn new(now: Instant) -> Self {
        Self { next_due: now, lead: Duration::ZERO, packet_due: None, pulled: false }
    }

    /// Moves the grid: the next frame is due at `now`.
    pub fn start(&mut self, now: Instant) {
        self.next_due = now;
    }

    /// Until when there is nothing to do, unless something comes from outside before.
    pub fn sleep_until(&self) -> Instant {
        let packet_comes = self.packet_due.is_some_and(|packet| distance(packet, self.next_due) <= TOLERANCE);
        if packet_comes { self.next_due + PATIENCE } else { self.next_due }
    }

    /// A packet of the caller came, `length` of audio. It pulls when that is a whole number of frames: others keep no phase.
    /// A lead grows or shrinks by what the grid moves, at most to the whole frame after which it is in step with the
    /// packets again.
    ///
    /// # Realtime
    /// Arithmetic only.
    pub fn caller_packet(&mut self, now: Instant, length: Duration) {
        self.packet_due = Some(now + length);
        if std::mem::replace(&mut self.pulled, true) || !length.as_nanos().is_multiple_of(PTIME.as_nanos()) {
            return;
        }
        let ptime = PTIME.as_nanos() as i64;
        let late = if now >= self.next_due {
            (now - self.next_due).as_nanos() as i64
        } else {
            -((self.next_due - now).as_nanos() as i64)
        };
        let offset = (late + ptime / 2).rem_euclid(ptime) - ptime / 2;
        let most = SHIFT_MAX.as_nanos() as i64;
        let shift = (offset / SHIFT_PART).clamp(-most, most);
        let length = Duration::from_nanos(shift.unsigned_abs());
        if shift < 0 {
            self.next_due -= length;
            self.lead = if self.lead.is_zero() { Duration::ZERO } else { (self.lead + length).min(PTIME) };
        } else {
            self.next_due += length;
            self.lead = self.lead.saturating_sub(length);
        }
    }

    /// True when a frame may leave at `now`.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now + TOLERANCE >= self.next_due
    }

    /// True when a frame may leave at `now` though none is due: the line does not get ahead by more than a frame.
    pub(crate) fn may_lead(&self, now: Instant) -> bool {
        now + PTIME >= self.next_due + self.lead
    }

    /// A frame leaves at `now` though none was due.
    pub(crate) fn leave_early(&mut self, now: Instant) {
        self.lead += self.next_due.saturating_duration_since(now);
        self.next_due = now + PTIME;
    }

    /// A frame leaves that was due. Debts beyond [`MAX_LATE_FRAMES`] are forgotten, whole frames of them, so that the grid
    /// keeps its phase; in silence a lead is given back.
    pub(crate) fn leave(&mut self, now: Instant, silent: bool) {
        self.pulled = false;
        let late = now.saturating_duration_since(self.next_due);
        let owed = (late.as_nanos() / PTIME.as_nanos()) as u32 + 1;
        let back = if silent { self.lead.min(LONGEST_STEP - PTIME) } else { Duration::ZERO };
        self.lead -= back;
        self.next_due += PTIME * (owed.saturating_sub(MAX_LATE_FRAMES) + 1) + back;
    }
}

fn distance(one: Instant, other: Instant) -> Duration {
    one.max(other) - one.min(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A line that lives by its own wake-ups and a caller's packets.
    struct Line {
        grid: Grid,
        start: Instant,
        /// When frames left, and how often the thread woke.
        left: Vec<Duration>,
        wake_ups: u32,
        woken_at: Duration,
        packet: Duration,
    }

    impl Line {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                grid: Grid::new(start + PTIME),
                start,
                left: Vec::new(),
                wake_ups: 0,
                woken_at: Duration::ZERO,
                packet: PTIME,
            }
        }

        /// When the sleep ends: it counts whole milliseconds.
        fn sleeps_until(&self) -> Duration {
            let sleep = self.grid.sleep_until().saturating_duration_since(self.start + self.woken_at);
            self.woken_at + MS * sleep.as_millis() as u32
        }

        fn wake(&mut self, at: Duration) {
            self.wake_ups += 1;
            self.woken_at = at;
            while self.grid.is_due(self.start + at) {
                self.grid.leave(self.start + at, true);
                self.left.push(at);
            }
        }

        /// Sleeps as the media loop does until each packet.
        fn run(&mut self, packets: impl IntoIterator<Item = Duration>) {
            for packet in packets {
                while self.sleeps_until() <= packet {
                    self.wake(self.sleeps_until());
                }
                self.grid.caller_packet(self.start + packet, self.packet);
                self.wake(packet);
            }
        }

        fn steps(&self) -> Vec<Duration> {
            self.left.windows(2).map(|pair| pair[1] - pair[0]).collect()
        }
    }

    #[test]
    fn a_regular_caller_saves_every_second_wake_up_whatever_the_phase_was() {
        for phase in 1..20u32 {
            let mut line = Line::new();
            // Nothing is quite regular: up to 0.4 ms late.
            let packet = |number: u32| MS * phase + PTIME * number + MS * (number * 7 % 5) / 10;
            line.run((0..100).map(packet));
            line.wake_ups = 0;
            line.run((100..200).map(packet));
            assert!((100..=102).contains(&line.wake_ups), "{} wake-ups, phase {phase} ms", line.wake_ups);
            let steps = line.steps();
            assert!(steps.iter().all(|step| (18 * MS..=22 * MS).contains(step)), "phase {phase} ms: {steps:?}");
        }
    }

    #[test]
    fn long_packets_save_what_they_can() {
        for length in [40, 60] {
            let mut line = Line { packet: MS * length, ..Line::new() };
            line.run((0..300).map(|number| 7 * MS + MS * length * number));
            let frames = line.left.len() as u32;
            assert!(line.wake_ups <= frames + 30, "{} wake-ups for {frames} frames of {length} ms", line.wake_ups);
        }
    }

    #[test]
    fn a_lead_is_a_frame_at_most_though_the_phones_clock_is_fast() {
        let start = Instant::now();
        let mut grid = Grid::new(start);
        grid.leave_early(start - 15 * MS);
        let fast = Duration::from_nanos(19_994_000);
        for number in 1..100_000 {
            grid.caller_packet(start + fast * number, PTIME);
            while grid.is_due(start + fast * number) {
                grid.leave(start + fast * number, false);
            }
        }
        assert!(grid.lead <= PTIME, "{:?}", grid.lead);
    }

    #[test]
    fn packets_that_scatter_do_not_scatter_the_line() {
        let mut line = Line::new();
        let scatter = |number: u32| MS * (number * 7 % 16);
        line.run((0..500).map(|number| 3 * MS + PTIME * number + scatter(number)));
        let steps = line.steps();
        assert!(steps.iter().all(|step| (18 * MS..=22 * MS).contains(step)), "{steps:?}");
        assert!((499..=501).contains(&line.left.len()), "{} frames", line.left.len());
    }

    #[test]
    fn the_line_runs_by_the_phones_clock() {
        for fast_ppm in [-300i64, 300] {
            let mut line = Line::new();
            let packet =
                |number: u64| Duration::from_nanos(number * 20_000_000u64.saturating_add_signed(-20 * fast_ppm));
            line.run((0..90_000).map(packet));
            let frames = line.left.len() as i64;
            assert!((frames - 90_000).abs() <= 1, "{frames} frames to 90000 packets, {fast_ppm} ppm");
        }
    }

    #[test]
    fn without_packets_the_clock_decides() {
        let mut line = Line::new();
        line.run((0..50).map(|number| 7 * MS + PTIME * number));
        line.run([Duration::from_secs(20)]);
        assert!((999..=1001).contains(&line.left.len()), "{} frames in 20 s", line.left.len());
        let steps = line.steps();
        assert!(steps.iter().all(|step| (18 * MS..=22 * MS).contains(step)), "{steps:?}");
    }

    #[test]
    fn a_lead_stays_while_the_agent_speaks_and_is_in_step_with_the_packets_soon() {
        for early in 1..20 {
            let start = Instant::now();
            let mut grid = Grid::new(start);
            assert!(grid.may_lead(start - early * MS));
            grid.leave_early(start - early * MS);
            let mut frames = 1;
            for number in 1..100 {
                let packet = start + PTIME * number;
                grid.caller_packet(packet, PTIME);
                while grid.is_due(packet) {
                    grid.leave(packet, false);
                    frames += 1;
                }
            }
            let ahead = (start + PTIME * 100).saturating_duration_since(grid.next_due);
            assert!(ahead <= MS || ahead + MS >= PTIME, "{ahead:?} ahead, {early} ms early");
            assert!((100..=101).contains(&frames), "{frames} frames in 100 ptimes, {early} ms early");
            for number in 100..200 {
                let packet = start + PTIME * number;
                grid.caller_packet(packet, PTIME);
                while grid.is_due(packet) {
                    grid.leave(packet, true);
                    frames += 1;
                }
            }
            assert!((199..=201).contains(&frames) && grid.lead <= MS, "{frames} frames, lead {:?}", grid.lead);
        }
    }
}
