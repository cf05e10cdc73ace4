//! Puts the caller's frames into the order in which they were sent.
//!
//! Nothing waits here while nothing is missing. When a frame is missing, those after it wait for it, but not longer than
//! the patience; then it is lost, and if it comes later still it is thrown away, for silence has stood in.

use std::time::{Duration, Instant};

/// Frames that can wait. A power of two, so that numbers wrap with the RTP sequence.
const SLOTS: u16 = 8;
/// A frame that is older than the next by more than this begins another stream.
const OLDEST: i16 = -64;
/// More than this many numbers left out is another stream, too.
const MOST_LOST: i16 = 64;
/// After so many old frames in a row the numbers mean nothing on this channel.
const PATIENCE_WITH_NUMBERS: u8 = 16;

/// What waits for its turn. Owned by the channel thread.
pub struct Order {
    patience: Duration,
    /// Number of the frame that is due; none: any.
    next: Option<u16>,
    held: Box<[Held]>,
    old_in_a_row: u8,
}

struct Held {
    since: Option<Instant>,
    audio: Vec<u8>,
}

impl Order {
    /// An order that waits for a missing frame as long as `patience`, of frames no longer than `largest` bytes.
    pub fn new(patience: Duration, largest: usize) -> Self {
        let held = (0..SLOTS).map(|_| Held { since: None, audio: Vec::with_capacity(largest) });
        Self { patience, next: None, held: held.collect(), old_in_a_row: 0 }
    }

    /// A frame with this number came. `flows`: what is missing may still come. Gives what is due to `out`, in order, each
    /// with how many before it are lost; answers whether the frame has to wait.
    ///
    /// # Realtime
    /// At most one copy. No allocation, no lock.
    pub fn arrive(
        &mut self,
        now: Instant,
        number: Option<u16>,
        audio: &[u8],
        flows: bool,
        out: &mut impl FnMut(&[u8], u32),
    ) -> bool {
        let trusted = number.filter(|_| self.old_in_a_row < PATIENCE_WITH_NUMBERS);
        let distance = match (trusted, self.next) {
            (Some(number), Some(next)) => number.wrapping_sub(next).cast_signed(),
            _ => 0,
        };
        match distance {
            OLDEST..=-1 => {
                self.old_in_a_row += 1;
                return false;
            }
            1.. if distance < SLOTS.cast_signed() && flows && self.hold(now, trusted, audio) => return true,
            _ => {}
        }
        let mut lost = u32::try_from(distance).ok().filter(|_| distance < MOST_LOST).unwrap_or(0);
        if distance != 0 || trusted.is_none() {
            let before = self.next;
            self.give_up_all(out);
            if let (Some(before), Some(next)) = (before, self.next) {
                lost = lost.saturating_sub(u32::from(next.wrapping_sub(before)));
            }
        }
        if number.is_some() && trusted.is_some() {
            self.old_in_a_row = 0;
        }
        out(audio, lost);
        self.next = trusted.map(|number| number.wrapping_add(1));
        self.follow(out);
        false
    }

    /// What comes next is another stream: its numbers say nothing about those before. Gives `out` what still waits.
    ///
    /// # Realtime
    /// No allocation, no lock.
    pub fn begin_anew(&mut self, out: &mut impl FnMut(&[u8], u32)) {
        self.give_up_all(out);
        self.next = None;
        self.old_in_a_row = 0;
    }

    /// Gives up what was waited for too long. Call at every tick.
    ///
    /// # Realtime
    /// No allocation, no lock.
    pub fn tick(&mut self, now: Instant, out: &mut impl FnMut(&[u8], u32)) {
        let patience = self.patience;
        let too_long = |held: &Held| held.since.is_some_and(|since| now >= since + patience);
        while self.held.iter().any(too_long) {
            self.give_up(out);
        }
    }

    /// Keeps the frame; false if there is no room for one so large.
    fn hold(&mut self, now: Instant, number: Option<u16>, audio: &[u8]) -> bool {
        let Some(held) = number.map(|number| &mut self.held[usize::from(number % SLOTS)]) else { return false };
        if audio.len() > held.audio.capacity() || self.patience.is_zero() {
            return false;
        }
        held.audio.clear();
        held.audio.extend_from_slice(audio);
        held.since.get_or_insert(now);
        true
    }

    /// Goes on with the first frame that waits; false if none does.
    fn give_up(&mut self, out: &mut impl FnMut(&[u8], u32)) -> bool {
        let Some(next) = self.next else { return false };
        let waits = |lost: &u16| self.held[usize::from(next.wrapping_add(*lost) % SLOTS)].since.is_some();
        let Some(lost) = (0..SLOTS).find(waits) else { return false };
        self.release(next.wrapping_add(lost), lost, out);
        self.follow(out);
        true
    }

    fn give_up_all(&mut self, out: &mut impl FnMut(&[u8], u32)) {
        while self.give_up(out) {}
    }

    /// Gives out the frames that wait for nothing any more.
    fn follow(&mut self, out: &mut impl FnMut(&[u8], u32)) {
        while let Some(next) = self.next
            && self.held[usize::from(next % SLOTS)].since.is_some()
        {
            self.release(next, 0, out);
        }
    }

    fn release(&mut self, number: u16, lost: u16, out: &mut impl FnMut(&[u8], u32)) {
        let held = &mut self.held[usize::from(number % SLOTS)];
        held.since = None;
        out(&held.audio, u32::from(lost));
        self.next = Some(number.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that carry nothing but a letter, and what comes out: `.` is a lost one.
    struct Frames {
        start: Instant,
        order: Order,
        out: String,
    }

    impl Frames {
        fn new() -> Self {
            Self { start: Instant::now(), order: Order::new(Duration::from_millis(40), 4), out: String::new() }
        }

        fn come(&mut self, ms: u64, number: Option<u16>, letter: u8, flows: bool) -> bool {
            let out = &mut self.out;
            let now = self.start + Duration::from_millis(ms);
            self.order.arrive(now, number, &[letter], flows, &mut |audio, lost| note(out, audio, lost))
        }

        fn tick(&mut self, ms: u64) {
            let out = &mut self.out;
            self.order.tick(self.start + Duration::from_millis(ms), &mut |audio, lost| note(out, audio, lost));
        }

        fn all(&mut self, numbers: &[u16]) -> String {
            for &number in numbers {
                self.come(0, Some(number), b'a' + (number % 26) as u8, true);
            }
            std::mem::take(&mut self.out)
        }
    }

    fn note(out: &mut String, audio: &[u8], lost: u32) {
        out.extend((0..lost).map(|_| '.'));
        out.push(char::from(audio[0]));
    }

    #[test]
    fn frames_leave_in_the_order_of_their_numbers() {
        assert_eq!(Frames::new().all(&[0, 1, 3, 2, 4, 7, 6, 5, 8]), "abcdefghi");
        assert_eq!(Frames::new().all(&[65_534, 0, 65_535, 1]), "opab", "numbers begin again after 65535");
    }

    #[test]
    fn a_missing_frame_is_waited_for_but_not_for_long() {
        let mut frames = Frames::new();
        assert_eq!(frames.all(&[0, 2, 3, 5]), "a");
        frames.tick(39);
        assert_eq!(frames.out, "");
        frames.tick(40);
        assert_eq!(frames.out, ".cd.f");
        frames.out.clear();
        assert_eq!(frames.all(&[1, 4, 6]), "g", "what was lost comes too late");
    }

    #[test]
    fn doubles_are_heard_once() {
        assert_eq!(Frames::new().all(&[0, 0, 1, 3, 3, 2, 2, 4]), "abcde");
    }

    #[test]
    fn nothing_waits_after_a_pause_or_without_patience() {
        let mut frames = Frames::new();
        frames.all(&[0]);
        assert!(!frames.come(500, Some(12), b'x', false));
        assert_eq!(frames.out, "...........x");
        let mut frames = Frames::new();
        frames.order.patience = Duration::ZERO;
        assert_eq!(frames.all(&[0, 2, 3]), "a.cd");
    }

    #[test]
    fn a_jump_begins_anew() {
        assert_eq!(Frames::new().all(&[0, 1, 3, 500, 501]), "ab.dgh");
        assert_eq!(Frames::new().all(&[500, 501, 3, 4]), "ghde");
    }

    #[test]
    fn another_stream_may_have_numbers_that_were_used_just_before() {
        let mut frames = Frames::new();
        frames.all(&[40, 41, 43]);
        let out = &mut frames.out;
        frames.order.begin_anew(&mut |audio, lost| note(out, audio, lost));
        assert_eq!(frames.all(&[30, 31, 32]), ".refg");
    }

    #[test]
    fn frames_without_numbers_pass_and_numbers_that_stand_still_are_not_believed() {
        let mut frames = Frames::new();
        frames.all(&[0, 2]);
        frames.come(0, None, b'x', true);
        assert_eq!(frames.out, ".cx");
        let mut frames = Frames::new();
        let heard = frames.all(&[7; 100]);
        assert!(heard.len() > 80, "{heard}");
    }
}
