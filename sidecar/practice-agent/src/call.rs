//! One connection, from the open WebSocket to its end: the engine, the script, and the waiting.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::engine::{Api, Cue, Engine};
use crate::persona::Persona;
use crate::script::{Frame, Mode, Pace, Step, Until};
use crate::session::Shared;
use crate::voice::Voice;
use crate::wire::Wire;
use crate::words::Words;

/// Runs one session on the server's runtime.
pub(crate) struct Call {
    wire: Wire,
    engine: Engine,
    persona: Persona,
    script: VecDeque<Step>,
    /// When the step at the front was first tried.
    step_since: Option<Instant>,
    commands: mpsc::UnboundedReceiver<Step>,
    /// Audio being made, and for which response.
    rendering: Option<(String, JoinHandle<Arc<[u8]>>)>,
    voice: Arc<Voice>,
    shared: Arc<Shared>,
    log: Log,
    /// Client events by type that no wait has consumed.
    events: HashMap<String, usize>,
    /// The same for the caller's turns.
    turns: usize,
    phase: Phase,
}

/// Where a server tells what happens, a line at a time.
pub(crate) type Log = Option<Arc<dyn Fn(&str) + Send + Sync>>;

/// What a connection is given besides its socket.
pub(crate) struct Brief {
    pub(crate) api: Api,
    pub(crate) steps: Vec<Step>,
    pub(crate) turns: Option<u32>,
    pub(crate) pace: Pace,
    pub(crate) voice: Arc<Voice>,
    pub(crate) words: Arc<Words>,
    pub(crate) log: Log,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// A close frame is on its way; the client has until then to answer it.
    Closing(Instant),
    Over,
    /// Over, without a goodbye.
    Aborted,
}

/// What ends a wait.
enum Event {
    Message(Option<Result<Message, Error>>),
    Command(Step),
    Rendered(String, Arc<[u8]>),
    Due,
}

impl Call {
    pub(crate) fn new(wire: Wire, brief: Brief, shared: Arc<Shared>, commands: mpsc::UnboundedReceiver<Step>) -> Self {
        Self {
            wire,
            engine: Engine::new(shared.clone(), brief.words, brief.api, Instant::now()),
            persona: Persona::new(brief.turns, brief.pace),
            script: brief.steps.into(),
            step_since: None,
            commands,
            rendering: None,
            voice: brief.voice,
            shared,
            log: brief.log,
            events: HashMap::new(),
            turns: 0,
            phase: Phase::Open,
        }
    }

    /// Runs until the connection is gone.
    pub(crate) async fn run(mut self) {
        self.say(|| "open".to_owned());
        loop {
            let wake = if self.phase == Phase::Open { self.advance(Instant::now()) } else { None };
            // Advancing may have changed the phase.
            let wake = match self.phase {
                Phase::Open => wake,
                Phase::Closing(until) => Some(until),
                Phase::Over | Phase::Aborted => break,
            };
            match self.next(wake).await {
                Event::Message(Some(Ok(message))) => self.handle_message(message, Instant::now()),
                Event::Message(Some(Err(error))) => self.end(&error.to_string()),
                Event::Message(None) => self.end("connection closed"),
                Event::Command(step) => self.script.push_back(step),
                Event::Rendered(id, audio) => self.engine.handle_rendered(&id, audio, Instant::now()),
                Event::Due if self.phase != Phase::Open => self.end("the client did not answer the close frame"),
                Event::Due => {}
            }
        }
        if self.phase == Phase::Aborted {
            // Without the option the connection still ends, only politely.
            let _ = self.wire.reset();
        }
    }

    /// Does everything that needs no waiting; returns when there is more to do.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        let blocked_until = loop {
            self.engine.poll_reply(now);
            self.converse(now);
            let blocked_until = self.run_script(now);
            if !self.engine.has_cues() {
                break blocked_until;
            }
        };
        if let Some(job) = self.engine.take_rendering() {
            let voice = self.voice.clone();
            let handle = spawn_blocking(move || voice.render(&job.sounds, job.format));
            self.rendering = Some((job.response_id, handle));
        }
        if self.phase == Phase::Open {
            self.wire.queue.append(&mut self.engine.outbox.queue);
            if self.engine.is_fatal() {
                self.close(4000, "");
            }
        }
        [blocked_until, self.engine.reply_due()].into_iter().flatten().min()
    }

    fn converse(&mut self, now: Instant) {
        while let Some(cue) = self.engine.take_cue() {
            if let Cue::Turn(turn) = &cue {
                self.turns += 1;
                self.say(|| format!("the caller spoke for {} ms", turn.speech_ms));
            }
            if self.engine.mode == Mode::Converse {
                self.persona.note(cue);
            }
        }
        if !self.engine.is_replying()
            && let Some(reply) = self.persona.next_reply(&self.engine.settings.tools)
        {
            if let Some(speech) = &reply.speech {
                self.say(|| format!("says: {}", speech.text));
            }
            for call in &reply.tool_calls {
                self.say(|| format!("calls {}({})", call.name, call.arguments));
            }
            self.engine.begin_reply(reply, now);
        }
    }

    /// Waits for whatever comes first.
    async fn next(&mut self, wake: Option<Instant>) -> Event {
        let due = async {
            match wake {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        let rendered = async {
            match &mut self.rendering {
                // A voice that panicked has said nothing.
                Some((id, handle)) => (id.clone(), handle.await.unwrap_or_default()),
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            message = self.wire.next() => Event::Message(message),
            Some(step) = self.commands.recv() => Event::Command(step),
            (id, audio) = rendered => {
                self.rendering = None;
                Event::Rendered(id, audio)
            }
            () = due => Event::Due,
        }
    }

    fn handle_message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Text(text) if self.phase == Phase::Open => {
                if let Some(kind) = self.engine.handle_text(&text, now) {
                    *self.events.entry(kind).or_default() += 1;
                }
            }
            Message::Binary(bytes) if self.phase == Phase::Open => self.engine.handle_binary(&bytes, now),
            Message::Pong(payload) => self.shared.ponged(now, &payload),
            Message::Close(frame) => {
                let (code, reason) = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                self.shared.closed(now, Some(code), &reason);
                self.say(|| format!("closed by the client with {code} {reason}"));
                // The answering frame still has to be written.
                self.phase = Phase::Closing(now + CLOSE_PATIENCE);
            }
            _ => {}
        }
    }

    fn run_script(&mut self, now: Instant) -> Option<Instant> {
        while self.phase == Phase::Open {
            let step = self.script.pop_front()?;
            let since = *self.step_since.get_or_insert(now);
            match self.blocked(&step, since, now) {
                Blocked::No => {
                    self.step_since = None;
                    self.perform(step, now);
                    self.shared.step_performed();
                }
                Blocked::Until(time) => {
                    self.script.push_front(step);
                    return time;
                }
                Blocked::InVain(failure) => {
                    self.say(|| failure.clone());
                    self.shared.script_failed(failure);
                    self.script.clear();
                }
            }
        }
        None
    }

    /// Whether a step has to wait.
    fn blocked(&mut self, step: &Step, since: Instant, now: Instant) -> Blocked {
        match step {
            Step::Reply(_) if !self.engine.is_configured() || self.engine.is_replying() => Blocked::Until(None),
            Step::FinishReply if self.engine.is_replying() => Blocked::Until(None),
            Step::Sleep(time) if now < since + *time => Blocked::Until(Some(since + *time)),
            Step::Wait(until, timeout) => match self.has_come(until) {
                true => Blocked::No,
                false if now < since + *timeout => Blocked::Until(Some(since + *timeout)),
                false => Blocked::InVain(format!("the script waited {timeout:?} in vain for {until:?}")),
            },
            _ => Blocked::No,
        }
    }

    fn has_come(&mut self, until: &Until) -> bool {
        match until {
            Until::Event(kind) => self.events.get_mut(kind).is_some_and(take_one),
            Until::CallerAudio(amount) => self.engine.caller_time() >= *amount,
            Until::TurnEnd => take_one(&mut self.turns),
        }
    }

    fn perform(&mut self, step: Step, now: Instant) {
        match step {
            Step::Reply(reply) => self.engine.begin_reply(reply, now),
            Step::SpeechStarted => self.engine.start_speech(now),
            Step::SpeechStopped => self.engine.stop_speech(now),
            Step::Mode(mode) => {
                self.engine.mode = mode;
                self.engine.detect_speech(mode == Mode::Converse);
            }
            Step::DetectSpeech(detect) => self.engine.detect_speech(detect),
            Step::Send(frame) => self.engine.outbox.queue.push_back(match frame {
                Frame::Text(text) => Message::text(text),
                Frame::Binary(bytes) => Message::binary(bytes),
                Frame::Ping(payload) => Message::Ping(payload.into()),
            }),
            Step::Error { code, message } => self.engine.raise(&code, &message, now),
            Step::Close { code, reason } => {
                self.wire.queue.append(&mut self.engine.outbox.queue);
                self.close(code, &reason);
            }
            Step::Reset => {
                self.shared.closed(now, None, "reset by the script");
                self.phase = Phase::Aborted;
            }
            Step::Stall => {
                self.wire.queue.append(&mut self.engine.outbox.queue);
                self.wire.stall();
            }
            Step::ReadSlowly { bytes_per_s } => self.wire.read_slowly(bytes_per_s),
            Step::FinishReply | Step::Wait(..) | Step::Sleep(_) => {}
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.say(|| format!("closing with {code} {reason}"));
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.wire.queue.push_back(Message::Close(Some(frame)));
        self.phase = Phase::Closing(Instant::now() + CLOSE_PATIENCE);
    }

    fn end(&mut self, reason: &str) {
        self.shared.closed(Instant::now(), None, reason);
        self.say(|| reason.to_owned());
        self.phase = Phase::Over;
    }

    fn say(&self, line: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            log(&format!("session {}: {}", self.shared.number, line()));
        }
    }
}

fn take_one(count: &mut usize) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

/// The answer to whether a step has to wait.
enum Blocked {
    No,
    /// For that time at most, or for something else to happen.
    Until(Option<Instant>),
    /// It has waited long enough.
    InVain(String),
}

/// How long a client may take to answer a close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
