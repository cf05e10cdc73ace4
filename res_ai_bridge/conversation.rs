//! The media loop of one call, on its channel thread.
//!
//! ```text
//!        ┌────────────── wait: frame │ grid │ doorbell ◄────────────────────┐
//!        ▼                                                                  │
//!   commands ─► read a frame ─► tick: caller's gaps, playout ─► ast_write ──┘
//! ```
//!
//! Whatever woke the thread, every turn of the loop does all of it: the clock decides. In a regular call the caller's
//! packet finds the next frame due, so that one wake-up in 20 ms is enough.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ai_media::Format;
use ai_media::barge_in::{Action, BargeIn, Settings};
use ai_media::caller_stream::CallerStream;
use ai_media::playout::{PTIME, Played};
use ai_sidecar::control::Hold;
use ai_sidecar::link::{CallerEvent, ChannelEnd, Command, Doorbell};
use ai_sidecar::{Outcome, Status};

use crate::channel::{BorrowedFormats, Channel, Content, Frame, FrameBuffer, OutFrame, Wake};
use crate::keys::Keys;
use crate::realtime::no_alloc;
use crate::wake;

/// The sidecar reports a failed connect itself; if it has not by this long after the limit, it is stuck.
const SIDECAR_GRACE: Duration = Duration::from_secs(2);

/// What the channel thread itself watches over.
pub(crate) struct Limits {
    /// Digits that end the conversation.
    pub(crate) end_digits: String,
    /// Longest conversation.
    pub(crate) max_duration: Option<Duration>,
    /// The AI must be ready within this.
    pub(crate) connect_timeout: Duration,
    /// Caller audio that is out of order waits this long for what is missing.
    pub(crate) jitter_target: Duration,
    /// Answer the call once the AI is ready.
    pub(crate) answer_when_connected: bool,
    /// Who may interrupt, seen from the line.
    pub(crate) barge_in: Settings,
}

/// One conversation on its channel thread.
pub(crate) struct Conversation<'a> {
    channel: &'a Channel,
    formats: &'a BorrowedFormats<'a>,
    end: &'a mut ChannelEnd,
    limits: Limits,
    started: Instant,
    connected: bool,
    /// Audio flows to the phone. False while the call waits to be answered.
    open: bool,
    /// Who wants the agent to wait.
    hold: Hold,
    caller: CallerStream,
    barge_in: BargeIn,
    keys: Keys,
    buffer: Box<FrameBuffer>,
    frame_bytes: usize,
}

impl<'a> Conversation<'a> {
    /// A conversation on `channel`, which reads and writes `formats`.
    pub(crate) fn new(
        channel: &'a Channel,
        formats: &'a BorrowedFormats<'a>,
        end: &'a mut ChannelEnd,
        limits: Limits,
    ) -> Self {
        let now = Instant::now();
        let format: Format = formats.format();
        let jitter_target = limits.jitter_target;
        Self {
            channel,
            formats,
            end,
            started: now,
            connected: false,
            open: !limits.answer_when_connected,
            hold: Hold::default(),
            barge_in: BargeIn::new(limits.barge_in, format),
            keys: Keys::default(),
            limits,
            caller: CallerStream::new(format, jitter_target, now),
            buffer: FrameBuffer::new(),
            frame_bytes: format.bytes_in_ms(PTIME.as_millis() as u64),
        }
    }

    /// Runs until it is over.
    pub(crate) fn run(&mut self, doorbell: &Doorbell) -> Outcome {
        let outcome = self.talk(doorbell);
        // The phone would be deaf to whatever comes after a key that nobody lets go.
        self.keys.release(self.channel, Instant::now());
        outcome
    }

    fn talk(&mut self, doorbell: &Doorbell) -> Outcome {
        self.end.playout.grid().start(Instant::now() + PTIME);
        loop {
            let sleep = self.end.playout.grid().sleep_until().saturating_duration_since(Instant::now());
            let woken_by = self.channel.wait(sleep, doorbell);
            match woken_by {
                // What is not taken note of now wakes the thread again at once.
                Wake::Doorbell => wake::drain(doorbell),
                Wake::Broken => return Outcome::new(Status::Error, "the channel cannot be waited for"),
                Wake::Frame | Wake::Time => {}
            }
            let now = Instant::now();
            if let Some(outcome) = self.obey().or_else(|| self.over_time(now)) {
                return outcome;
            }
            crate::cli::fail_on_purpose();
            if woken_by == Wake::Frame {
                let Some(frame) = no_alloc(|| self.channel.read()) else { return self.gone() };
                if let Some(digit) = no_alloc(|| self.take(&frame, now)) {
                    return Outcome::digit(digit);
                }
            }
            no_alloc(|| self.tick(now));
        }
    }

    /// Why there is nothing to read any more.
    fn gone(&self) -> Outcome {
        if self.channel.is_redirected() {
            return Outcome::new(Status::Stopped, "the channel was sent elsewhere in the dialplan");
        }
        Outcome::new(Status::Hangup, "the caller hung up")
    }

    /// Does what the sidecar asks for.
    fn obey(&mut self) -> Option<Outcome> {
        while let Some(command) = self.end.told() {
            match command {
                Command::End(outcome) => return Some(outcome),
                Command::Background(sound) => no_alloc(|| self.end.playout.play_under_silence(sound)),
                Command::Connected => {
                    self.connected = true;
                    if !self.open && !self.channel.answer() {
                        return Some(Outcome::new(Status::Hangup, "the caller hung up"));
                    }
                    self.open = true;
                }
            }
        }
        None
    }

    fn over_time(&self, now: Instant) -> Option<Outcome> {
        let lasted = now - self.started;
        if let Some(limit) = self.limits.max_duration.filter(|&limit| lasted >= limit) {
            let reason = format!("the longest allowed time of {} s was over", limit.as_secs_f64());
            return Some(Outcome::new(Status::Timeout, reason));
        }
        let stuck = !self.connected && lasted >= self.limits.connect_timeout + SIDECAR_GRACE;
        stuck.then(|| Outcome::new(Status::ConnFail, "the sidecar did not connect in time"))
    }

    /// Everything time makes due: silence for frames that did not come, and what the caller hears.
    fn tick(&mut self, now: Instant) {
        self.set_hold(Hold { operator: self.end.is_held(), ..self.hold }, now);
        let end = &mut *self.end;
        self.caller.tick(now, |audio| end.hear(audio, now));
        if self.end.playout.apply_flush() {
            self.barge_in.settled();
            self.end.wake();
        }
        if let Some(action) = self.barge_in.tick(now) {
            self.act_on(action, now);
        }
        if !self.open {
            self.end.playout.grid().start(now + PTIME);
        }
        if self.open && self.keys.tick(self.channel, self.end, now) {
            self.pause();
        }
        let bytes = self.frame_bytes;
        while self.open
            && let Some(played) = self.end.playout.poll(now, self.buffer.audio(bytes))
        {
            self.barge_in.played(self.buffer.audio(bytes));
            self.channel.write(&mut OutFrame::voice(&mut self.buffer, bytes, self.formats));
            self.report(played, now);
        }
        self.end.info().stats.underruns.store(self.end.playout.underruns(), Ordering::Relaxed);
        if self.end.playout.wants_more() {
            self.end.wake();
        }
    }

    fn act_on(&mut self, action: Action, now: Instant) {
        let event = match action {
            Action::Hold => CallerEvent::Held(now),
            Action::Resume => CallerEvent::Resumed,
            Action::Interrupt => CallerEvent::Interrupted,
        };
        // What interrupts stays held until the flush that it leads to.
        self.end.playout.hold(action != Action::Resume);
        self.end.tell(event);
    }

    fn report(&self, played: Played, now: Instant) {
        match played {
            Played::Agent { first: true } => self.end.tell(CallerEvent::AgentAudible(now)),
            Played::Silence { first: true } => self.end.tell(CallerEvent::AgentSilent(now)),
            Played::Agent { .. } | Played::Silence { .. } => true,
        };
    }

    /// Takes what the caller sent; answers the digit that ends the conversation.
    fn take(&mut self, frame: &Frame, now: Instant) -> Option<char> {
        if self.channel.has_another_line() {
            self.take_new_source(now);
            self.set_hold(Hold { phone: false, ..self.hold }, now);
        }
        match frame.content(self.formats) {
            // Music for the agent to pass the time with, or nothing that is meant for it.
            Content::Voice(_) if self.hold.any() => {}
            Content::Voice(audio) => {
                let end = &mut *self.end;
                let length = Duration::from_millis(self.formats.format().ms_in_bytes(audio.len() as u64));
                end.playout.grid().caller_packet(now, length);
                let verdict = self.barge_in.caller(audio, end.playout.is_audible(), now);
                let audio = if verdict.mute { self.barge_in.silence(audio.len()) } else { audio };
                self.caller.heard(now, frame.number(), audio, |audio| end.hear(audio, now));
                verdict.action.into_iter().for_each(|action| self.act_on(action, now));
            }
            Content::Digit(digit) if self.limits.end_digits.contains(digit) => return Some(digit),
            Content::Digit(_) if self.hold.operator => {}
            Content::Digit(digit) => {
                self.end.tell(CallerEvent::Digit(digit));
            }
            Content::T38Request => self.channel.refuse_t38(),
            Content::Hold(phone) => self.set_hold(Hold { phone, ..self.hold }, now),
            Content::NewSource => self.take_new_source(now),
            // The caller's stream covers what has no samples.
            Content::Blank | Content::Nothing => {}
        }
        None
    }

    fn take_new_source(&mut self, now: Instant) {
        let end = &mut *self.end;
        self.caller.begin_anew(now, |audio| end.hear(audio, now));
    }

    /// While anybody holds, the agent hears silence, and its words wait: a phone on hold plays music to its user or to us,
    /// and whoever holds from outside wants them not to be heard.
    fn set_hold(&mut self, hold: Hold, now: Instant) {
        if self.hold != hold {
            self.hold = hold;
            self.pause();
            self.end.tell(CallerEvent::OnHold(hold, now));
        }
    }

    /// The agent's words wait for whoever holds, and for a key, which is all that Asterisk sends while it lasts.
    fn pause(&mut self) {
        self.end.playout.pause(self.hold.any() || self.keys.sounding());
    }
}
