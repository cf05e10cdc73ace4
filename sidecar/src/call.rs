//! The task of one call: stands between the channel thread, the dialect and the WebSocket.

mod agent;
mod opening;
mod timing;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ai_dialect::{Dialect, Fault, FaultKind, Message, Noticed, Output, Speaker};
use ai_media::Format;
use ai_media::ring::AgentFeed;
use ai_media::transcode::Transcoder;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite;
use tracing::{debug, info, warn};

use self::opening::{connect, fatal};
use self::timing::Timing;
use crate::agent_line::AgentLine;
use crate::link::{CallerEvent, Command, TaskEnd};
use crate::outcome::one_line;
use crate::runtime::transcoder;
use crate::settings::{BargeInMode, Profile};
use crate::stats::{millis, record};
use crate::transport::Transport;
use crate::{Outcome, Status, TRANSCRIPT, tools};

/// Most caller audio given to the dialect in one piece. [ms]
const CALLER_CHUNK_MS: u64 = 100;
/// Most keys that go to the agent together.
const DIGITS_MAX: usize = 64;
/// A server's errors beyond so many in a call are not logged.
const COMPLAINTS_MAX: u32 = 20;

/// One call on the sidecar.
pub(crate) struct Call {
    end: TaskEnd,
    profile: Arc<Profile>,
    dialect: Box<dyn Dialect>,
    caller: Transcoder,
    line: AgentLine,
    timing: Timing,
    ready: bool,
    digits: String,
    /// Who noticed the interruption that the last flush is about.
    noticed: Noticed,
    /// The provider's voice detection interrupts the agent.
    server_interrupts: bool,
    complaints: u32,
    unrecognised: u32,
    /// Caller audio given to the dialect. [bytes]
    given: u64,
    /// How the call ends once the agent has finished its sentence.
    ending: Option<Outcome>,
    from_channel: Vec<u8>,
    to_dialect: Vec<u8>,
}

impl Call {
    /// A call whose channel end is waiting and reads and writes `channel`.
    pub(crate) fn new(
        end: TaskEnd,
        profile: Arc<Profile>,
        dialect: Box<dyn Dialect>,
        channel: Format,
        feed: AgentFeed,
        barge_in: BargeInMode,
    ) -> Self {
        let caller = transcoder(channel, dialect.caller_format());
        let agent = transcoder(dialect.agent_format(), channel);
        let timing = Timing::new(&profile, end.shared().info.started.into());
        let line = AgentLine::new(feed, agent, profile.playout_max);
        Self {
            end,
            profile,
            dialect,
            caller,
            line,
            timing,
            ready: false,
            digits: String::new(),
            noticed: Noticed::ByProvider,
            server_interrupts: barge_in.by_server(),
            complaints: 0,
            unrecognised: 0,
            given: 0,
            ending: None,
            from_channel: Vec::new(),
            to_dialect: Vec::new(),
        }
    }

    /// Holds the conversation and tells the channel thread how it ended. `over` is called as soon as it is.
    pub(crate) async fn run(mut self, over: impl FnOnce()) {
        let connecting = timeout_at(self.timing.ready_by(), connect(&mut *self.dialect, &self.profile.connector));
        let connected = tokio::select! {
            biased;
            () = self.end.gone() => return over(),
            connected = connecting => connected.unwrap_or_else(|_| Err(self.not_ready())),
        };
        let outcome = match connected {
            Err(outcome) => {
                self.end.command(Command::End(outcome));
                return over();
            }
            Ok(mut transport) => {
                let outcome = self.converse(&mut transport).await;
                (outcome, transport)
            }
        };
        let (outcome, transport) = outcome;
        self.end.command(Command::End(outcome));
        over();
        self.dialect.handle_end();
        let last = std::iter::from_fn(|| self.dialect.poll_output()).filter_map(|output| match output {
            Output::Send(text) => Some(text),
            _ => None,
        });
        transport.close(last.collect()).await;
    }

    async fn converse(&mut self, transport: &mut Transport) -> Outcome {
        let timer = sleep_until(self.timing.ready_by());
        tokio::pin!(timer);
        self.dialect.handle_open(Instant::now().into());
        loop {
            let now = Instant::now();
            if let Err(outcome) = self.drive(transport, now) {
                return outcome;
            }
            let wake_at = self.timing.next(transport.next_timeout());
            let wake_at = self.dialect.next_timeout().map_or(wake_at, |due| wake_at.min(due.into()));
            if now >= wake_at {
                // Not left to the timer: it is asked last, and a server that never stops sending would hold it off.
                if let Err(outcome) = self.handle_timeout(transport, now) {
                    return outcome;
                }
                continue;
            }
            if timer.deadline() != wake_at {
                timer.as_mut().reset(wake_at);
            }
            tokio::select! {
                biased;
                () = self.end.woken() => {}
                // What comes after an interruption may be the next answer: the dialect must first have learnt what
                // was heard of this one, or it would cut off that one.
                message = transport.next(), if !self.line.is_flushing() => match message {
                    Ok(message) => self.handle_message(&message),
                    Err(outcome) => return self.last_words(outcome).await,
                },
                () = &mut timer => {}
            }
        }
    }

    fn handle_message(&mut self, message: &tungstenite::Message) {
        match message {
            tungstenite::Message::Text(text) => self.dialect.handle_message(Message::Text(text)),
            tungstenite::Message::Binary(bytes) => self.dialect.handle_message(Message::Binary(bytes)),
            _ => {}
        }
    }

    /// The connection ended with `outcome`. An end that had been agreed on before counts more, and what the agent said
    /// before it left in good order is still heard.
    async fn last_words(&mut self, outcome: Outcome) -> Outcome {
        let outcome = match self.ending.take() {
            Some(agreed) => agreed,
            None if !self.ready && outcome.status != Status::AuthFail => {
                return Outcome { status: Status::ConnFail, ..outcome };
            }
            None => outcome,
        };
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

    fn handle_timeout(&mut self, transport: &mut Transport, now: Instant) -> Result<(), Outcome> {
        transport.handle_timeout(now)?;
        if !self.ready && now >= self.timing.ready_by() {
            return Err(self.not_ready());
        }
        if self.dialect.next_timeout().is_some_and(|due| now >= due.into()) {
            self.dialect.handle_timeout(now.into());
        }
        if self.timing.turn_over(now, self.line.waiting_ms()) {
            self.line.end_turn();
        }
        if self.timing.digits_due(now) {
            let digits = std::mem::take(&mut self.digits);
            debug!("AI {}: digits {digits} go to the agent", self.id());
            self.dialect.handle_digits(&digits);
        }
        if self.timing.idle_due(now) {
            let reason = format!("nobody said a word for {} s", self.timing.idle_after().as_secs_f64());
            return Err(Outcome::new(Status::Idle, reason));
        }
        match self.timing.ending_due(now).then(|| self.ending.take()).flatten() {
            Some(outcome) => Err(outcome),
            None => Ok(()),
        }
    }

    fn not_ready(&self) -> Outcome {
        let limit = self.profile.connect_timeout.as_millis();
        Outcome::new(Status::ConnFail, format!("the AI was not ready within {limit} ms"))
    }

    /// Moves everything that can move now.
    fn drive(&mut self, transport: &mut Transport, now: Instant) -> Result<(), Outcome> {
        if self.end.is_gone() {
            return Err(Outcome::new(Status::Hangup, "the caller hung up"));
        }
        while let Some(event) = self.end.next_event() {
            self.handle_event(event, now);
        }
        self.settle_flush();
        self.act(transport, now)?;
        if let Some(uplink) = transport.uplink() {
            record(&mut self.end.shared().info.stats.latencies().uplink, uplink);
        }
        if self.ready {
            if let Some(heard_at) = self.end.heard_at() {
                transport.track(heard_at.into());
            }
            self.give_caller_audio(now);
            self.act(transport, now)?;
        } else {
            self.end.keep_caller_audio();
        }
        if self.line.pump() && !self.timing.agent_audible() {
            // A turn may start between two frames; playout does not look by itself before the next one.
            self.end.ring();
        }
        while let Some((name, heard)) = self.line.settled_mark() {
            self.dialect.handle_mark(&name, heard);
            self.act(transport, now)?;
        }
        self.timing.mark(now, self.line.next_mark_ms());
        let stats = &self.end.shared().info.stats;
        let dropped = self.caller.from().ms_in_bytes(self.end.caller.dropped());
        stats.dropped_ms.store(dropped + transport.audio_dropped_ms(), Ordering::Relaxed);
        stats.turns.store(self.line.turns(), Ordering::Relaxed);
        if self.line.drained() && !self.timing.agent_audible() {
            return self.ending.take().map_or(Ok(()), Err);
        }
        Ok(())
    }

    fn handle_event(&mut self, event: CallerEvent, now: Instant) {
        let stats = &self.end.shared().info.stats;
        match event {
            CallerEvent::Digit(digit) if self.ready && self.dialect.takes_single_digits() => {
                self.timing.word(now);
                self.dialect.handle_digits(digit.encode_utf8(&mut [0; 4]));
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
            CallerEvent::OnHold(on_hold, at) => {
                self.timing.on_hold(on_hold, at.into());
                info!(
                    "AI {}: {}",
                    self.id(),
                    if on_hold { "on hold: the agent waits" } else { "taken back from hold" }
                );
            }
            CallerEvent::Held(at) => self.timing.held(at.into()),
            CallerEvent::Resumed => {
                stats.taken_back.fetch_add(1, Ordering::Relaxed);
                info!("AI {}: not confirmed within {:?}: the agent goes on", self.id(), self.profile.local_vad.confirm);
            }
            CallerEvent::Interrupted => {
                info!("AI {}: barge-in, heard on the line", self.id());
                self.timing.word(now);
                self.interrupt(true, Noticed::ByUs);
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
            if !self.to_dialect.is_empty() {
                self.dialect.handle_caller_audio(&self.to_dialect);
            }
            self.given += self.to_dialect.len() as u64;
            self.timing.caller_stream(self.caller.to().ms_in_bytes(self.given), now);
        }
    }

    /// Acts on everything the dialect wants done.
    fn act(&mut self, transport: &mut Transport, now: Instant) -> Result<(), Outcome> {
        while let Some(output) = self.dialect.poll_output() {
            match output {
                Output::Send(text) => transport.send(text),
                Output::SendAudio { message, audio_bytes } => {
                    transport.send_audio(message, self.caller.to().ms_in_bytes(audio_bytes as u64));
                }
                Output::Ready => self.handle_ready(now),
                Output::AgentAudio { item, audio } => self.handle_agent_audio(&item, &audio, now),
                Output::AgentAudioDone => self.line.end_turn(),
                Output::Mark { name } => self.handle_mark(name),
                Output::Flush => self.handle_flush(now),
                Output::CallerSpeechStarted => self.handle_speech_started(now),
                Output::CallerSpeechStopped { at_ms } => self.timing.speech_stopped(now, at_ms),
                Output::Transcript { speaker, text, complete } => self.handle_transcript(speaker, &text, complete, now),
                Output::ToolCall { call_id, name, arguments } => {
                    self.handle_tool_call(&call_id, &name, &arguments, now)
                }
                Output::Resumable { .. } | Output::Expiring { .. } => {}
                Output::Fault(fault) => self.handle_fault(&fault)?,
                Output::Unrecognised(what) => self.handle_unrecognised(&what),
            }
        }
        Ok(())
    }

    fn handle_ready(&mut self, now: Instant) {
        self.ready = true;
        self.settle_formats();
        let took = self.timing.ready(now);
        self.end.shared().info.stats.connect.set(took);
        info!(
            "AI {}: connected to {} in {}, {} on the line, {} to the AI",
            self.id(),
            self.profile.name,
            millis(took),
            self.caller.from(),
            self.caller.to()
        );
        self.end.command(Command::Connected);
    }

    fn handle_transcript(&mut self, speaker: Speaker, text: &str, complete: bool, now: Instant) {
        self.timing.word(now);
        if complete {
            let who = match speaker {
                Speaker::Caller => "caller",
                Speaker::Agent => "agent",
            };
            info!(target: TRANSCRIPT, "AI {}: {who}: {}", self.id(), one_line(text));
        }
    }

    fn handle_tool_call(&mut self, call_id: &str, name: &str, arguments: &str, now: Instant) {
        match tools::decide(&self.profile, name, arguments) {
            Ok(outcome) => {
                info!("AI {}: {}", self.id(), outcome.reason);
                self.dialect.handle_tool_result(call_id, r#"{"ok":true}"#, false);
                self.timing.ending(now);
                self.ending = Some(outcome);
            }
            Err(problem) => {
                if self.may_complain() {
                    warn!("AI {}: the agent's call of tool '{}' was refused: {problem}", self.id(), one_line(name));
                }
                let result = serde_json::json!({"ok": false, "error": problem}).to_string();
                self.dialect.handle_tool_result(call_id, &result, true);
            }
        }
    }

    fn handle_fault(&mut self, fault: &Fault) -> Result<(), Outcome> {
        if fault.kind != FaultKind::Transient {
            return Err(fatal(fault, self.ready));
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
