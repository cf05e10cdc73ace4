//! The task of one call: stands between the channel thread, the dialect and the WebSocket.

mod acting;
mod agent;
mod control;
mod memory;
mod opening;
mod sessions;
mod timing;

use std::sync::atomic::Ordering;
use std::time::Duration;

use ai_dialect::{Dialect, Fault, FaultKind, Noticed, Output, Speaker};
use ai_media::Format;
use ai_media::ring::AgentFeed;
use ai_media::transcode::Transcoder;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tracing::{debug, info, warn};

use self::acting::Acting;
use self::control::Told;
use self::memory::Memory;
use self::opening::{Connection, Opening};
use self::timing::Timing;
use crate::agent_line::AgentLine;
use crate::events::What;
use crate::exchange::Exchange;
use crate::link::{CallerEvent, Command, TaskEnd};
use crate::outcome::one_line;
use crate::recovery::{Recovery, RollOver};
use crate::route::Route;
use crate::runtime::transcoder;
use crate::stats::{millis, record};
use crate::transport::fatal;
use crate::{Outcome, Status, TRANSCRIPT, events};

/// Most caller audio given to the dialect in one piece. [ms]
const CALLER_CHUNK_MS: u64 = 100;
/// Most keys that go to the agent together.
const DIGITS_MAX: usize = 64;
/// A server's errors beyond so many in a call are not logged.
const COMPLAINTS_MAX: u32 = 20;
/// Longer than any call.
const NEVER: Duration = Duration::from_secs(86_400);

/// One call on the sidecar.
pub(crate) struct Call {
    end: TaskEnd,
    route: Route,
    /// The session with the AI, while there is one that is ready.
    connection: Option<Connection>,
    /// The session that is being opened: the first one, one in place of a lost one, or one that will follow.
    opening: Option<Opening>,
    recovery: Recovery,
    roll_over: RollOver,
    /// When the session was begun to be opened that will follow this one.
    successor_of: Instant,
    memory: Memory,
    caller: Transcoder,
    line: AgentLine,
    timing: Timing,
    acting: Acting,
    digits: String,
    /// Who noticed the interruption that the last flush is about.
    noticed: Noticed,
    complaints: u32,
    unrecognised: u32,
    /// Caller audio given to the dialect. [bytes]
    given: u64,
    /// How the call ends once the agent has finished its sentence.
    ending: Option<Outcome>,
    told: Told,
    from_channel: Vec<u8>,
    to_dialect: Vec<u8>,
}

impl Call {
    /// A call over `route`, which begins with a session of `dialect`. Its channel end reads and writes `channel`.
    pub(crate) fn new(
        end: TaskEnd,
        route: Route,
        dialect: Box<dyn Dialect>,
        channel: Format,
        feed: AgentFeed,
        exchange: &'static dyn Exchange,
    ) -> Self {
        let caller = transcoder(channel, dialect.caller_format());
        let agent = transcoder(dialect.agent_format(), channel);
        let timing = Timing::new(route.profile(), end.shared().info.started.into());
        let line = AgentLine::new(feed, agent, route.profile().playout_max);
        Self {
            end,
            opening: Some(sessions::open(&route, dialect)),
            route,
            connection: None,
            recovery: Recovery::default(),
            roll_over: RollOver::default(),
            successor_of: Instant::now(),
            memory: Memory::default(),
            caller,
            line,
            timing,
            acting: Acting::new(exchange),
            digits: String::new(),
            noticed: Noticed::ByProvider,
            complaints: 0,
            unrecognised: 0,
            given: 0,
            ending: None,
            told: Told::default(),
            from_channel: Vec::new(),
            to_dialect: Vec::new(),
        }
    }

    /// Holds the conversation and tells the channel thread how it ended. `over` is called as soon as it is.
    pub(crate) async fn run(mut self, over: impl FnOnce()) {
        let outcome = self.converse().await;
        self.end.command(Command::End(outcome));
        over();
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    async fn converse(&mut self) -> Outcome {
        let timer = sleep_until(Instant::now());
        self.acting.wait(Instant::now());
        tokio::pin!(timer);
        loop {
            let now = Instant::now();
            if let Err(outcome) = self.drive(now) {
                match self.recover(outcome, now) {
                    Some(outcome) => return self.last_words(outcome).await,
                    None => continue,
                }
            }
            let wake_at = self.wake_at(now);
            if now >= wake_at {
                // Not left to the timer: it is asked last, and a server that never stops sending would hold it off.
                if let Err(outcome) = self.handle_timeout(now)
                    && let Some(outcome) = self.recover(outcome, now)
                {
                    return self.last_words(outcome).await;
                }
                continue;
            }
            if timer.deadline() != wake_at {
                timer.as_mut().reset(wake_at);
            }
            let happened = tokio::select! {
                biased;
                () = self.end.woken() => Ok(()),
                opened = sessions::opened(&mut self.opening) => self.handle_opened(opened, Instant::now()),
                // What comes after an interruption may be the next answer: the dialect must first have learnt what
                // was heard of this one, or it would cut off that one.
                message = sessions::next_message(&mut self.connection), if !self.line.is_flushing() => {
                    message.map(|message| self.handle_message(&message))
                }
                (ran, answer) = self.acting.next(), if !self.line.is_flushing() => {
                    self.handle_tool_answer(ran, answer, Instant::now());
                    Ok(())
                }
                () = &mut timer => Ok(()),
            };
            if let Err(outcome) = happened
                && let Some(outcome) = self.recover(outcome, Instant::now())
            {
                return self.last_words(outcome).await;
            }
        }
    }

    /// When there is something to do though nothing happens.
    fn wake_at(&self, now: Instant) -> Instant {
        let connection = self.connection.as_ref().map(Connection::next_timeout);
        let all = [connection, self.timing.next(), self.roll_over.next(), self.acting.next_timeout()];
        all.into_iter().flatten().min().unwrap_or(now + NEVER)
    }

    fn handle_message(&mut self, message: &Message) {
        if let Some(connection) = &mut self.connection {
            connection.handle_message(message);
        }
    }

    /// The conversation ends with `outcome`. What the agent said before it left in good order is still heard.
    async fn last_words(&mut self, outcome: Outcome) -> Outcome {
        if matches!(outcome.status, Status::Complete | Status::Transfer) {
            let _ = timeout_at(Instant::now() + timing::ENDING_MAX, self.drain()).await;
        }
        outcome
    }

    /// Waits until the caller has heard everything, or is gone.
    async fn drain(&mut self) {
        self.line.end_turn();
        loop {
            let now = Instant::now();
            while let Some(event) = self.end.next_event() {
                self.handle_event(event, now);
            }
            self.line.pump();
            if self.end.is_gone() || (self.line.drained() && !self.timing.agent_audible()) {
                return;
            }
            self.end.woken().await;
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Outcome> {
        if let Some(connection) = &mut self.connection {
            connection.handle_timeout(now)?;
        }
        if self.timing.retry_due(now) {
            self.open_session();
        }
        if self.roll_over.look(now) {
            self.prepare_successor(now);
        }
        if self.timing.turn_over(now, self.line.waiting_ms()) {
            self.end_turn();
        }
        if self.timing.digits_due(now) {
            let digits = std::mem::take(&mut self.digits);
            debug!("AI {}: digits {digits} go to the agent", self.id());
            self.give_digits(&digits);
        }
        self.fill_wait(now);
        if self.timing.idle_due(now) {
            let reason = format!("nobody said a word for {} s", self.timing.idle_after().as_secs_f64());
            return Err(Outcome::new(Status::Idle, reason));
        }
        match self.timing.ending_due(now).then(|| self.ending.take()).flatten() {
            Some(outcome) => Err(outcome),
            None => Ok(()),
        }
    }

    /// Moves everything that can move now.
    fn drive(&mut self, now: Instant) -> Result<(), Outcome> {
        if self.end.is_gone() {
            return Err(Outcome::new(Status::Hangup, "the caller hung up"));
        }
        while let Some(event) = self.end.next_event() {
            self.handle_event(event, now);
        }
        self.settle_flush();
        self.obey(now);
        self.act(now)?;
        if let Some(connection) = &mut self.connection {
            if let Some(uplink) = connection.transport.uplink() {
                record(&mut self.end.shared().info.stats.latencies().uplink, uplink);
            }
            if let Some(heard_at) = self.end.heard_at() {
                connection.transport.track(heard_at.into());
            }
            self.give_caller_audio(now);
            self.act(now)?;
        } else {
            self.end.keep_caller_audio();
            // What waits for a session says nothing about how long a frame takes.
            self.end.heard_at();
        }
        if self.line.pump() && !self.timing.agent_audible() {
            // A turn may start between two frames; playout does not look by itself before the next one.
            self.end.ring();
        }
        while let Some((name, heard)) = self.line.settled_mark() {
            if let Some(connection) = &mut self.connection {
                connection.dialect.handle_mark(&name, heard);
            }
            self.act(now)?;
        }
        self.timing.mark(now, self.line.next_mark_ms());
        self.count();
        if self.line.drained() && !self.timing.agent_audible() {
            return self.ending.take().map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Brings the figures up to date that are counted elsewhere.
    fn count(&mut self) {
        let stats = &self.end.shared().info.stats;
        let unsent = self.connection.as_ref().map_or(0, |connection| connection.transport.audio_dropped_ms());
        let dropped = self.caller.from().ms_in_bytes(self.end.caller.dropped()) + self.timing.unsent_before() + unsent;
        stats.dropped_ms.store(dropped, Ordering::Relaxed);
        stats.turns.store(self.line.turns(), Ordering::Relaxed);
    }

    fn handle_event(&mut self, event: CallerEvent, now: Instant) {
        let stats = &self.end.shared().info.stats;
        match event {
            CallerEvent::Digit(digit) if self.takes_single_digits() => {
                self.timing.word(now);
                self.give_digits(digit.encode_utf8(&mut [0; 4]));
            }
            CallerEvent::Digit(digit) if self.digits.len() < DIGITS_MAX => {
                self.digits.push(digit);
                self.timing.digit(now);
            }
            CallerEvent::Digit(_) => {}
            CallerEvent::AgentAudible(at) => {
                let figures = self.timing.audible(at.into());
                if let Some(first) = figures.first_audio {
                    stats.first_audio.set(first);
                    info!("AI {}: first audio {} after connect", self.id(), millis(first));
                }
                if let Some(start) = figures.turn_start {
                    record(&mut stats.latencies().turn_start, start);
                }
                if let Some(response) = figures.response {
                    stats.response.set(response);
                    record(&mut stats.latencies().response, response);
                    info!("AI {}: agent answers {} after the caller's last word", self.id(), millis(response));
                }
            }
            CallerEvent::OnHold(hold, at) => self.handle_hold(hold, at.into()),
            CallerEvent::Held(at) => self.timing.held(at.into()),
            CallerEvent::Resumed => {
                stats.taken_back.fetch_add(1, Ordering::Relaxed);
                let confirm = self.route.profile().local_vad.confirm;
                info!("AI {}: not confirmed within {confirm:?}: the agent goes on", self.id());
            }
            CallerEvent::Interrupted => {
                info!("AI {}: barge-in, heard on the line", self.id());
                self.timing.word(now);
                // The caller may as well have spoken into a sound that is not the agent's.
                let audible = self.timing.agent_audible() || !self.line.drained();
                self.interrupt(audible, Noticed::ByUs);
            }
            CallerEvent::AgentSilent(at) => {
                if let Some(stop) = self.timing.silent(at.into()) {
                    stats.barge_in_stop.set(stop);
                    record(&mut stats.latencies().barge_in_stop, stop);
                    info!("AI {}: line silent {} after the barge-in", self.id(), millis(stop));
                }
            }
        }
    }

    fn give_caller_audio(&mut self, now: Instant) {
        let chunk = self.caller.from().bytes_in_ms(CALLER_CHUNK_MS);
        while self.end.caller.waiting() > 0 {
            self.from_channel.clear();
            self.to_dialect.clear();
            self.end.caller.take(chunk, &mut self.from_channel);
            self.caller.push(&self.from_channel, &mut self.to_dialect);
            if let (Some(connection), false) = (&mut self.connection, self.to_dialect.is_empty()) {
                connection.dialect.handle_caller_audio(&self.to_dialect);
            }
            self.given += self.to_dialect.len() as u64;
            self.timing.caller_stream(self.caller.to().ms_in_bytes(self.given), now);
        }
    }

    fn takes_single_digits(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.dialect.takes_single_digits())
    }

    fn give_digits(&mut self, digits: &str) {
        if let Some(connection) = &mut self.connection {
            if !connection.dialect.takes_single_digits() {
                self.memory.told(&format!("The caller pressed these keys: {digits}"), true);
            }
            connection.dialect.handle_digits(digits);
        }
    }

    /// Acts on everything the dialect wants done.
    fn act(&mut self, now: Instant) -> Result<(), Outcome> {
        while let Some(connection) = &mut self.connection
            && let Some(output) = connection.poll_output()
        {
            match output {
                Output::Send(text) => connection.transport.send(text),
                Output::SendAudio { message, audio_bytes } => {
                    connection.transport.send_audio(message, self.caller.to().ms_in_bytes(audio_bytes as u64));
                }
                // Opening a session waits for it.
                Output::Ready => {}
                Output::AgentAudio { item, audio } => self.handle_agent_audio(&item, &audio, now),
                Output::AgentAudioDone => self.end_turn(),
                Output::Mark { name } => self.handle_mark(name),
                Output::Flush => self.handle_flush(now),
                Output::CallerSpeechStarted => self.handle_speech_started(now),
                Output::CallerSpeechStopped { at_ms } => {
                    self.memory.caller_done();
                    self.timing.speech_stopped(now, at_ms);
                }
                Output::Transcript { speaker, text, complete } => self.handle_transcript(speaker, &text, complete, now),
                Output::ToolCall { call_id, name, arguments } => {
                    self.handle_tool_call(&call_id, &name, &arguments, now)
                }
                Output::Resumable { handle } => self.memory.resumable(handle),
                Output::Expiring { within } => self.roll_over.expiring(now, within),
                Output::Fault(fault) => self.handle_fault(&fault)?,
                Output::Unrecognised(what) => self.handle_unrecognised(&what),
            }
        }
        Ok(())
    }

    fn handle_transcript(&mut self, speaker: Speaker, text: &str, complete: bool, now: Instant) {
        self.timing.word(now);
        self.memory.said(speaker, text, complete);
        self.publish(|| What::said(speaker.into(), text, complete));
        if complete {
            let who = events::Speaker::from(speaker).name();
            info!(target: TRANSCRIPT, "AI {}: {who}: {}", self.id(), one_line(text));
        }
    }

    fn handle_fault(&mut self, fault: &Fault) -> Result<(), Outcome> {
        if fault.kind != FaultKind::Transient {
            return Err(fatal(fault, true));
        }
        if self.may_complain() {
            warn!("AI {}: the AI server reports: {}", self.id(), one_line(&fault.message));
        }
        Ok(())
    }

    fn handle_unrecognised(&mut self, what: &str) {
        self.unrecognised += 1;
        if self.unrecognised <= COMPLAINTS_MAX {
            debug!("AI {}: message ignored: {}", self.id(), one_line(what));
        }
    }

    /// True while a server that keeps sending nonsense has not filled its share of the log.
    fn may_complain(&mut self) -> bool {
        self.complaints += 1;
        if self.complaints == COMPLAINTS_MAX {
            warn!("AI {}: the AI server's further errors are not logged", self.id());
        }
        self.complaints < COMPLAINTS_MAX
    }

    fn id(&self) -> &str {
        &self.end.shared().info.id
    }
}
