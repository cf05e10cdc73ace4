//! One connection to the practice server for Soniox, from the open WebSocket to its end: the stream, the script, the waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use super::Stream;
use crate::call::Log;
use crate::script::{Frame, Step, Until};
use crate::session::Shared;
use crate::wire::Wire;

/// Runs one stream on the server's runtime.
pub(crate) struct Task {
    wire: Wire,
    stream: Stream,
    script: VecDeque<Step>,
    /// When the step at the front was first tried.
    step_since: Option<Instant>,
    commands: mpsc::UnboundedReceiver<Step>,
    shared: Arc<Shared>,
    log: Log,
    /// Client messages by kind that no wait has consumed.
    events: HashMap<&'static str, usize>,
    /// Nothing is read and nothing written any more.
    stalled: bool,
    /// A close frame is on its way; the client has until then to answer it.
    closing: Option<Instant>,
}

/// What becomes of a step.
enum Tried {
    Done,
    /// To be tried again then, or when something has come.
    Later(Option<Instant>),
    Failed(String),
    /// The connection is gone.
    Reset,
}

impl Task {
    pub(crate) fn new(
        wire: Wire,
        stream: Stream,
        script: Vec<Step>,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedReceiver<Step>,
        log: Log,
    ) -> Self {
        Self {
            wire,
            stream,
            script: script.into(),
            step_since: None,
            commands,
            shared,
            log,
            events: HashMap::new(),
            stalled: false,
            closing: None,
        }
    }

    /// Runs until the connection is gone.
    pub(crate) async fn run(mut self) {
        self.say("open");
        loop {
            let Ok(wake) = self.advance(Instant::now()) else {
                self.shared.closed(Instant::now(), None, "reset by the script");
                // Without the option the connection still ends, only politely.
                let _ = self.wire.reset();
                return;
            };
            tokio::select! {
                biased;
                message = self.wire.next() => match message {
                    Some(Ok(message)) => self.handle_message(message, Instant::now()),
                    Some(Err(Error::ConnectionClosed)) | None => return self.end("connection closed"),
                    Some(Err(error)) => return self.end(&error.to_string()),
                },
                Some(step) = self.commands.recv() => self.script.push_back(step),
                () = tokio::time::sleep_until(wake.into()) => {
                    if self.closing.is_some_and(|until| Instant::now() >= until) {
                        return self.end("the client did not answer the close frame");
                    }
                }
            }
        }
    }

    /// Does everything that needs no waiting; returns when there is more to do. An error: the connection is to be reset.
    fn advance(&mut self, now: Instant) -> Result<Instant, ()> {
        if let Some(until) = self.closing {
            return Ok(until);
        }
        let step_due = self.run_script(now)?;
        if now >= self.stream.idle_at() && !self.stalled {
            self.stream.handle_idle(now);
        }
        self.wire.queue.append(&mut self.stream.queue);
        if self.stream.is_over() {
            return Ok(self.close(1000, "", now));
        }
        let idle_at = if self.stalled { now + LONG } else { self.stream.idle_at() };
        Ok(step_due.unwrap_or(idle_at).min(idle_at))
    }

    fn handle_message(&mut self, message: Message, now: Instant) {
        let kind = match message {
            Message::Close(frame) => {
                let (code, reason) = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                self.shared.closed(now, Some(code), &reason);
                self.closing = Some(now + CLOSE_PATIENCE);
                return;
            }
            Message::Text(text) if self.closing.is_none() => self.stream.handle_text(&text, now),
            Message::Binary(bytes) if self.closing.is_none() => self.stream.handle_binary(&bytes, now),
            _ => return,
        };
        *self.events.entry(kind).or_default() += 1;
    }

    fn run_script(&mut self, now: Instant) -> Result<Option<Instant>, ()> {
        while let Some(step) = self.script.front().cloned() {
            let since = *self.step_since.get_or_insert(now);
            match self.attempt(step, since, now) {
                Tried::Later(due) => return Ok(due),
                Tried::Reset => return Err(()),
                Tried::Done => {
                    self.script.pop_front();
                    self.shared.step_performed();
                }
                Tried::Failed(why) => {
                    self.say(&why);
                    self.shared.script_failed(why);
                    self.script.clear();
                }
            }
            self.step_since = None;
            if self.closing.is_some() {
                break;
            }
        }
        Ok(None)
    }

    fn attempt(&mut self, step: Step, since: Instant, now: Instant) -> Tried {
        match step {
            Step::Sleep(time) if now < since + time => return Tried::Later(Some(since + time)),
            Step::Wait(until, timeout) if !self.has_come(&until) => {
                return match now < since + timeout {
                    true => Tried::Later(Some(since + timeout)),
                    false => Tried::Failed(format!("the script waited {timeout:?} in vain for {until:?}")),
                };
            }
            Step::Sleep(_) | Step::Wait(..) | Step::Mode(_) | Step::DetectSpeech(_) => {}
            Step::Send(frame) => self.stream.queue.push_back(match frame {
                Frame::Text(text) => Message::text(text),
                Frame::Binary(bytes) => Message::binary(bytes),
                Frame::Ping(payload) => Message::Ping(payload.into()),
            }),
            Step::Error { code, message } => match code.parse() {
                Ok(code) => self.stream.raise(code, &message, now),
                Err(_) => return Tried::Failed(format!("an error of this service has a number, not {code:?}")),
            },
            Step::Close { code, reason } => {
                self.wire.queue.append(&mut self.stream.queue);
                self.close(code, &reason, now);
            }
            Step::Reset => return Tried::Reset,
            Step::Stall => {
                self.wire.queue.append(&mut self.stream.queue);
                self.wire.stall();
                self.stalled = true;
            }
            Step::ReadSlowly { bytes_per_s } => self.wire.read_slowly(bytes_per_s),
            Step::Reply(_) | Step::FinishReply | Step::SpeechStarted | Step::SpeechStopped => {
                return Tried::Failed(format!("a stream that only listens cannot do {step:?}"));
            }
        }
        Tried::Done
    }

    fn has_come(&mut self, until: &Until) -> bool {
        match until {
            Until::Event(kind) => match self.events.get_mut(kind.as_str()) {
                Some(count @ 1..) => {
                    *count -= 1;
                    true
                }
                _ => false,
            },
            Until::CallerAudio(amount) => self.stream.time() >= *amount,
            Until::TurnEnd => false,
        }
    }

    /// Returns how long to wait for the client's half of it.
    fn close(&mut self, code: u16, reason: &str, now: Instant) -> Instant {
        self.say(&format!("closing with {code} {reason}"));
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.wire.queue.push_back(Message::Close(Some(frame)));
        *self.closing.insert(now + CLOSE_PATIENCE)
    }

    fn end(&self, reason: &str) {
        self.shared.closed(Instant::now(), None, reason);
        self.say(reason);
    }

    fn say(&self, line: &str) {
        if let Some(log) = &self.log {
            log(&format!("stream {}: {line}", self.shared.number));
        }
    }
}

/// How long a client may take to answer a close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Nothing is due.
const LONG: Duration = Duration::from_secs(3600);
