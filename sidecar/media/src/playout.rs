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
mod tests;
