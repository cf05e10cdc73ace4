//! Playout: decides, every 20 ms, what the caller hears.
//!
//! ```text
//!            ready: 2 frames, or all there will be
//!   ┌────────┐ ───────────────────────────────────► ┌──────────┐
//!   │ silent │     first frame at once, even early  │ speaking │
//!   └────────┘ ◄─────────────────────────────────── └──────────┘
//!            turn complete │ ran dry (fades) │ flush (fades)
//! ```
//!
//! While silent it lets a [`Sound`] be heard, if it was given one.
//!
//! [`Grid`] says when: its moments come from the clock that the owner passes in and, gently, from the caller's packets.
//! The first frame of a turn need not wait for it when only silence is due.

use std::time::{Duration, Instant};

use crate::background::{Background, Sound};
pub use crate::catch_up::Backlog;
use crate::catch_up::CatchUp;
use crate::grid::Grid;
pub use crate::grid::PTIME;
use crate::ring::AgentSink;
use crate::{Format, fade};

/// Below this much audio in the ring the sidecar is asked for more. [ms]
pub const LOW_WATER_MS: u64 = 200;

/// The background waits for so many silent frames where the agent's turn goes on: a gap in the network is no wait.
const GAP_FRAMES: u32 = 50; // 1 s

/// What is in the frame that [`Playout::poll`] filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    /// The agent's voice.
    Agent {
        /// This frame breaks a silence.
        first: bool,
    },
    /// Silence, or what is heard under it.
    Silence {
        /// This frame follows the agent's voice.
        first: bool,
    },
}

/// The pacing state machine of one call. Owned by the channel thread.
pub struct Playout {
    sink: AgentSink,
    format: Format,
    preroll_bytes: usize,
    preroll: Duration,
    grid: Grid,
    catch_up: CatchUp,
    speaking: bool,
    waiting_since: Option<Instant>,
    /// The turn goes on after a break: its next frame fades in.
    resumes: bool,
    held: bool,
    /// The phone does not listen: it has put the call on hold.
    paused: bool,
    last_sample: i16,
    background: Background,
    /// Silent frames since the agent's voice.
    quiet: u32,
    underruns: u64,
}

impl Playout {
    /// Playout of `sink`, which holds audio in `format`, with its first frame due at `now`.
    ///
    /// `preroll` is how much of a turn must have arrived before it starts to be heard, unless the turn is shorter, and
    /// the delay that audio is brought back to when it is late, as `backlog` says.
    pub fn new(sink: AgentSink, format: Format, preroll: Duration, backlog: Backlog, now: Instant) -> Self {
        let preroll_bytes = format.bytes_in_ms(preroll.as_millis() as u64);
        let frame_bytes = format.bytes_in_ms(PTIME.as_millis() as u64);
        Self {
            sink,
            format,
            preroll_bytes,
            preroll,
            grid: Grid::new(now),
            catch_up: CatchUp::new(format, backlog, preroll_bytes, frame_bytes),
            speaking: false,
            waiting_since: None,
            resumes: false,
            held: false,
            paused: false,
            last_sample: 0,
            background: Background::default(),
            quiet: GAP_FRAMES,
            underruns: 0,
        }
    }

    /// Bytes of one frame.
    pub fn frame_bytes(&self) -> usize {
        self.format.bytes_in_ms(PTIME.as_millis() as u64)
    }

    /// The moments at which frames are due.
    pub fn grid(&mut self) -> &mut Grid {
        &mut self.grid
    }

    /// Times the agent's audio ran dry in the middle of a turn.
    pub fn underruns(&self) -> u64 {
        self.underruns
    }

    /// Holds the agent's voice, or lets it go on where it stopped. A flush lets go, too.
    ///
    /// # Realtime
    /// Two stores.
    pub fn hold(&mut self, held: bool) {
        self.resumes |= held && self.speaking;
        self.held = held;
    }

    /// Keeps the agent's voice for a phone that does not listen, or lets it go on where it stopped. A flush changes nothing
    /// about that.
    ///
    /// # Realtime
    /// Two stores.
    pub fn pause(&mut self, paused: bool) {
        self.resumes |= paused && self.speaking;
        self.paused = paused;
    }

    /// Lets `sound` be heard, from its beginning, while the agent is silent; `None`: nothing. A flush silences it for good.
    ///
    /// # Realtime
    /// Two stores; what played before is dropped, which frees nothing while its maker holds it, too.
    pub fn play_under_silence(&mut self, sound: Option<Sound>) {
        self.background.play(sound);
    }

    /// True while anything at all is on the line: the agent's voice, or the sound under its silence.
    pub fn is_audible(&self) -> bool {
        self.speaking || self.background.is_sounding()
    }

    /// True while the agent's voice is on the line.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// True when the sidecar should be woken to push more.
    pub fn wants_more(&self) -> bool {
        self.sink.backlog() && self.sink.ready() < self.format.bytes_in_ms(LOW_WATER_MS)
    }

    /// Acts on a flush, if there was one since the last call, and says whether. Call before [`Playout::poll`].
    ///
    /// # Realtime
    /// Wait-free; no allocation, no lock.
    pub fn apply_flush(&mut self) -> bool {
        let flushed = self.sink.apply_flush();
        if flushed {
            self.catch_up.begin(&self.sink, false);
            self.background.stop();
        }
        self.resumes &= !flushed;
        self.held &= !flushed;
        flushed
    }

    /// If a frame is due at `now`, fills `frame` ([`Playout::frame_bytes`] long) and says what it is. Call again
    /// until `None`.
    ///
    /// # Realtime
    /// Wait-free; one copy or two, and what `catch_up` costs while it leaves something out. No allocation, no lock, no log.
    pub fn poll(&mut self, now: Instant, frame: &mut [u8]) -> Option<Played> {
        let ready = self.sink.ready();
        let spoke = self.speaking;
        let may_speak = !self.held && !self.paused;
        if self.grid.is_due(now) {
            self.speaking = may_speak && if spoke { self.goes_on(ready) } else { self.starts(ready, now) };
            self.grid.leave(now, !self.speaking);
        } else {
            let early = !spoke && may_speak && self.grid.may_lead(now) && self.starts(ready, now);
            if !early {
                return None;
            }
            self.speaking = true;
            self.grid.leave_early(now);
        }
        Some(if self.speaking { self.speak(frame, ready, !spoke) } else { self.stay_silent(frame, spoke) })
    }

    fn speak(&mut self, frame: &mut [u8], ready: usize, first: bool) -> Played {
        if first {
            self.catch_up.begin(&self.sink, self.resumes);
        }
        if ready >= frame.len() {
            self.catch_up.pop(&mut self.sink, frame);
        } else {
            let (audio, padding) = frame.split_at_mut(ready);
            self.sink.pop(audio);
            padding.fill(self.format.silence_byte());
        }
        let resumes = std::mem::take(&mut self.resumes);
        if self.background.is_sounding() {
            self.background.give_way(frame, self.format);
        } else if resumes {
            fade::into(frame, self.format);
        }
        self.quiet = 0;
        self.last_sample = self.format.linear(&frame[frame.len() - self.format.sample_bytes()..]);
        Played::Agent { first }
    }

    fn stay_silent(&mut self, frame: &mut [u8], first: bool) -> Played {
        frame.fill(self.format.silence_byte());
        let before = std::mem::take(&mut self.last_sample);
        self.quiet = self.quiet.saturating_add(1);
        // The agent's voice fades first.
        let wait = if self.resumes { GAP_FRAMES } else { 1 };
        let may_sound = self.quiet > wait && !self.held && !self.paused;
        if may_sound && self.background.fill(frame, self.format) {
            self.last_sample = self.format.linear(&frame[frame.len() - self.format.sample_bytes()..]);
        } else {
            self.background.rest();
            if before != 0 {
                fade::out_of(before, frame, self.format);
            }
        }
        Played::Silence { first }
    }

    /// Whether a turn that is being heard has another frame. Counts an underrun when it should have and has not.
    fn goes_on(&mut self, ready: usize) -> bool {
        if ready >= self.frame_bytes() {
            return true;
        }
        if !self.sink.turn_complete() {
            self.underruns += 1;
            self.resumes = true;
            return false;
        }
        if ready == 0 {
            // It ended as its maker meant it to: there is no edge to soften.
            self.last_sample = 0;
        }
        ready > 0
    }

    /// Whether the silence ends: enough has come, all there will be has come, or it has waited long enough.
    fn starts(&mut self, ready: usize, now: Instant) -> bool {
        if ready == 0 {
            self.waiting_since = None;
            return false;
        }
        let waiting_since = *self.waiting_since.get_or_insert(now);
        let start = ready >= self.preroll_bytes.max(self.frame_bytes())
            || self.sink.turn_complete()
            || now - waiting_since >= 2 * self.preroll.max(PTIME);
        if start {
            self.waiting_since = None;
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{AgentFeed, agent_ring};

    const FRAME: usize = 160;

    struct Line {
        feed: AgentFeed,
        playout: Playout,
        start: Instant,
    }

    impl Line {
        fn new() -> Self {
            let (feed, sink) = agent_ring(3200);
            let start = Instant::now();
            Self {
                feed,
                playout: Playout::new(sink, Format::ALAW, Duration::from_millis(40), Backlog::Played, start),
                start,
            }
        }

        fn at(&mut self, ms: u64) -> Vec<(Played, Vec<u8>)> {
            let now = self.start + Duration::from_millis(ms);
            let mut frame = [0; FRAME];
            self.playout.apply_flush();
            std::iter::from_fn(|| self.playout.poll(now, &mut frame).map(|played| (played, frame.to_vec()))).collect()
        }

        fn one(&mut self, ms: u64) -> Played {
            let frames = self.at(ms);
            assert_eq!(frames.len(), 1, "frames at {ms} ms");
            frames[0].0
        }
    }

    #[test]
    fn silence_leaves_every_twenty_milliseconds() {
        let mut line = Line::new();
        let frames: Vec<_> = (0..199).flat_map(|ms| line.at(ms)).collect();
        assert_eq!(frames.len(), 10);
        assert!(frames.iter().all(|(_, frame)| frame.iter().all(|&code| code == 0xD5)));
    }

    #[test]
    fn a_turn_starts_after_its_preroll_and_ends_padded() {
        let mut line = Line::new();
        line.feed.push(&[1; FRAME], 0);
        assert_eq!(line.one(0), Played::Silence { first: false });
        line.feed.push(&[1; FRAME], 0);
        assert_eq!(line.one(20), Played::Agent { first: true });
        line.feed.push(&[1; 10], 0);
        line.feed.end_turn();
        assert_eq!(line.one(40), Played::Agent { first: false });
        let last = line.at(60);
        assert_eq!(last[0].0, Played::Agent { first: false });
        assert_eq!(&last[0].1[8..12], [1, 1, 0xD5, 0xD5]);
        let after = line.at(80);
        assert_eq!(after[0].0, Played::Silence { first: true });
        assert_eq!(after[0].1, [0xD5; FRAME], "the end of a turn is not touched");
        assert_eq!(line.playout.underruns(), 0);
    }

    #[test]
    fn a_turn_starts_between_two_frames_and_the_lead_is_given_back_in_silence() {
        let mut line = Line::new();
        assert_eq!(line.one(0), Played::Silence { first: false });
        line.feed.push(&[1; 3 * FRAME], 0);
        line.feed.end_turn();
        assert_eq!(line.one(7), Played::Agent { first: true });
        let mut left = Vec::new();
        for ms in 8..400 {
            left.extend(line.at(ms).iter().map(|_| ms));
        }
        let steps: Vec<_> = std::iter::once(&7).chain(&left).zip(&left).map(|(before, after)| after - before).collect();
        assert!(steps.iter().all(|&step| (19..=29).contains(&step)), "{steps:?}");
        // Looked at every millisecond, a frame leaves one before its moment.
        assert_eq!(left.iter().filter(|&&ms| ms > 300).map(|ms| (ms + 1) % 20).collect::<Vec<_>>(), [0; 5]);
    }

    #[test]
    fn turns_that_start_early_again_and_again_never_lead_by_more_than_a_frame() {
        let mut line = Line::new();
        let mut left = 0;
        for ms in 0..2000u64 {
            if ms % 41 == 0 {
                line.feed.push(&[1; FRAME], 0);
                line.feed.end_turn();
            }
            left += line.at(ms).len();
            assert!(left as u64 <= (ms + 1) / 20 + 2, "{left} frames after {ms} ms");
        }
    }

    #[test]
    fn running_dry_in_a_word_has_soft_edges_and_the_turn_itself_none() {
        let format = Format::slin(8000);
        let (mut feed, sink) = agent_ring(6400);
        let start = Instant::now();
        let mut playout = Playout::new(sink, format, Duration::from_millis(20), Backlog::Played, start);
        let loud: Vec<u8> = 12000i16.to_le_bytes().repeat(160);
        let mut frame = [0; 320];
        let mut heard = Vec::new();
        feed.push(&loud, 0);
        for tick in 0..4 {
            if tick == 3 {
                feed.push(&loud, 0);
                feed.end_turn();
            }
            playout.poll(start + PTIME * tick, &mut frame);
            heard.extend(frame.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair)));
        }
        let steps: Vec<_> = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        assert_eq!(heard[0], 12000, "the turn starts as it was made");
        assert!(steps.iter().all(|&step| step <= 600), "largest step {:?}", steps.iter().max());
        assert_eq!(playout.underruns(), 1);
    }

    #[test]
    fn a_held_turn_goes_on_where_it_stopped_and_nothing_is_lost() {
        let mut line = Line::new();
        for number in 1..=5 {
            line.feed.push(&[number; FRAME], 0);
        }
        line.feed.end_turn();
        let code = |frames: Vec<(Played, Vec<u8>)>| (frames[0].0, frames[0].1[FRAME - 1]);
        assert_eq!(code(line.at(0)), (Played::Agent { first: true }, 1));
        assert_eq!(code(line.at(20)), (Played::Agent { first: false }, 2));
        line.playout.hold(true);
        assert_eq!(code(line.at(40)), (Played::Silence { first: true }, 0xD5));
        assert_eq!(code(line.at(60)), (Played::Silence { first: false }, 0xD5));
        line.playout.hold(false);
        assert_eq!(code(line.at(80)), (Played::Agent { first: true }, 3));
        assert_eq!(code(line.at(100)), (Played::Agent { first: false }, 4));
        assert_eq!(line.playout.underruns(), 0);
        line.playout.hold(true);
        line.feed.flush();
        line.feed.push(&[9; FRAME], 0);
        line.feed.end_turn();
        assert_eq!(
            code(line.at(120)),
            (Played::Agent { first: false }, 9),
            "what was held is gone, and the hold with it"
        );
    }

    #[test]
    fn a_paused_line_keeps_what_the_agent_says_and_a_flush_does_not_end_the_pause() {
        let mut line = Line::new();
        line.feed.push(&[1; 2 * FRAME], 0);
        line.feed.end_turn();
        line.playout.pause(true);
        assert_eq!(line.one(0), Played::Silence { first: false });
        line.feed.flush();
        line.feed.push(&[2; FRAME], 0);
        line.feed.end_turn();
        assert_eq!(line.one(20), Played::Silence { first: false });
        line.playout.hold(true);
        line.playout.hold(false);
        assert_eq!(line.one(40), Played::Silence { first: false }, "whoever else lets go");
        line.playout.pause(false);
        let heard = line.at(60);
        assert_eq!((heard[0].0, heard[0].1[FRAME - 1]), (Played::Agent { first: true }, 2));
        assert_eq!(line.playout.underruns(), 0);
    }

    #[test]
    fn turn_after_turn_starts_at_once_though_the_grid_follows_the_callers_packets() {
        let ms = Duration::from_millis(1);
        let mut line = Line::new();
        let mut frame = [0; FRAME];
        let mut started = Vec::new();
        for now in 0..60_000u32 {
            let at = line.start + ms * now / 10;
            // A turn of half a second every second, at another place between two packets each time.
            if now % 10_000 == 5000 + (now / 10_000) * 37 {
                line.feed.push(&[1; 20 * FRAME], 0);
                line.feed.end_turn();
                started.push((now, None));
            }
            let packet = now % 200 == 0;
            if packet {
                line.playout.grid().caller_packet(at, PTIME);
            }
            let woken =
                packet || at >= line.playout.grid().sleep_until() || started.last().is_some_and(|&(at, _)| at == now);
            while woken && let Some(played) = line.playout.poll(at, &mut frame) {
                if let (Played::Agent { first: true }, Some((_, start))) = (played, started.last_mut()) {
                    *start = Some(now);
                }
            }
        }
        let delays: Vec<_> = started.iter().map(|&(sent, heard)| heard.expect("it is heard") - sent).collect();
        assert_eq!(delays, [0; 6], "[0.1 ms]");
    }

    #[test]
    fn a_turn_shorter_than_the_preroll_is_heard() {
        let mut line = Line::new();
        line.feed.push(&[1; 50], 0);
        line.feed.end_turn();
        assert_eq!(line.one(0), Played::Agent { first: true });
    }

    #[test]
    fn audio_without_an_end_is_not_held_back_for_ever() {
        let mut line = Line::new();
        line.feed.push(&[1; FRAME], 0);
        let heard = (0..10).find(|tick| line.one(tick * 20) == Played::Agent { first: true });
        assert_eq!(heard, Some(4));
    }

    #[test]
    fn running_dry_in_a_turn_is_counted_once_and_needs_a_new_preroll() {
        let mut line = Line::new();
        line.feed.push(&[1; 2 * FRAME], 0);
        assert_eq!(line.one(0), Played::Agent { first: true });
        assert_eq!(line.one(20), Played::Agent { first: false });
        assert_eq!(line.one(40), Played::Silence { first: true });
        line.feed.push(&[1; FRAME], 0);
        assert_eq!(line.one(60), Played::Silence { first: false });
        line.feed.push(&[1; FRAME], 0);
        assert_eq!(line.one(80), Played::Agent { first: true });
        assert_eq!(line.playout.underruns(), 1);
    }

    #[test]
    fn a_stall_of_the_thread_is_made_up_for_by_three_frames_at_most() {
        let mut line = Line::new();
        assert_eq!(line.at(0).len(), 1);
        assert_eq!(line.at(1009).len(), 3);
        assert_eq!(line.at(1018).len(), 0);
        assert_eq!(line.at(1020).len(), 1);
    }

    #[test]
    fn a_flush_silences_the_next_frame_and_the_next_turn_is_heard() {
        let mut line = Line::new();
        line.feed.push(&[1; 10 * FRAME], 0);
        assert_eq!(line.one(0), Played::Agent { first: true });
        line.feed.flush();
        assert_eq!(line.one(20), Played::Silence { first: true });
        assert_eq!(line.feed.cut(), Some(FRAME as u64));
        line.feed.push(&[2; 2 * FRAME], 0);
        let next = line.at(40);
        assert_eq!((next[0].0, next[0].1[0]), (Played::Agent { first: true }, 2));
        assert_eq!(line.playout.underruns(), 0);
    }
}
