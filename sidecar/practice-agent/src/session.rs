//! A test's view of one session: what the client sent, what was sent to it, and the controls.
//!
//! The connection's task writes the record; any thread reads it and can wait for it to change.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ai_media::Format;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::audio::decode;
use crate::script::{Script, Step};

/// One session, from the server's side. Clones are the same session. Every wait blocks the calling thread.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
    control: mpsc::UnboundedSender<Step>,
}

/// The handshake request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Path, without the query.
    pub path: String,
    /// Query, without the `?`; empty if there was none.
    pub query: String,
    /// Headers in their order; names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A client event other than `input_audio_buffer.append`, as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it was read from the socket.
    pub at: Instant,
    /// Its `type`; empty for something that was no event.
    pub kind: String,
    /// The whole event; for something that was not JSON, the text as a string.
    pub json: Value,
}

/// One `input_audio_buffer.append`.
#[derive(Debug, Clone, Copy)]
pub struct Append {
    /// When it was read from the socket.
    pub at: Instant,
    /// Where its audio begins in [`Session::caller_audio`], in bytes.
    pub offset: usize,
    /// Its audio in bytes.
    pub len: usize,
    /// The session's input format at that moment.
    pub format: Format,
}

/// An event handed to the socket.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When it was handed over.
    pub at: Instant,
    /// Its `type`, as spelt on the wire.
    pub kind: &'static str,
    /// Its other fields; of audio deltas only the ids, shared by all deltas of an item.
    pub json: Arc<Value>,
    /// Audio in it, in bytes.
    pub audio_bytes: usize,
}

/// How the connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When this side learnt of it.
    pub at: Instant,
    /// The client's close code; `None` without a close frame, 1005 for a close frame without a code.
    pub code: Option<u16>,
    /// The client's close reason.
    pub reason: String,
}

/// Something did not happen in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{waited_for} did not happen within {timeout:?}; so far: {so_far}")]
pub struct TimedOut {
    /// What was waited for.
    pub waited_for: String,
    /// How long.
    pub timeout: Duration,
    /// What happened instead.
    pub so_far: String,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, control: mpsc::UnboundedSender<Step>) -> Self {
        Self { shared, control }
    }

    /// Has the session do this after what it is still doing.
    pub fn perform(&self, script: impl Into<Script>) {
        let steps = script.into().steps;
        self.shared.record().steps_pending += steps.len();
        for step in steps {
            // A session that has ended performs nothing; the waits report that.
            let _ = self.control.send(step);
        }
    }

    /// Waits until every step has been performed.
    ///
    /// # Errors
    /// When that takes too long, or a step failed: a wait of the script that was in vain.
    pub fn wait_performed(&self, timeout: Duration) -> Result<(), TimedOut> {
        let outcome = self.wait("the end of the script", timeout, |record| match &record.script_failure {
            Some(failure) => Some(Err(failure.clone())),
            None => (record.steps_pending == 0).then_some(Ok(())),
        })?;
        outcome.map_err(|waited_for| TimedOut { waited_for, timeout, so_far: self.shared.record().to_string() })
    }

    /// Number of the session, in order of connection, from 1.
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    /// The handshake request.
    pub fn request(&self) -> &Request {
        &self.shared.request
    }

    /// What the client calls this stream of speech, once it has said so: `client_reference_id` of Soniox' protocol, header
    /// `X-Client-Request-Id` of OpenAI's.
    pub fn reference(&self) -> Option<String> {
        let told = self.shared.record().reference.clone();
        told.or_else(|| self.shared.request.header(REFERENCE_HEADER).map(str::to_owned))
    }

    /// When the WebSocket was open.
    pub fn opened_at(&self) -> Instant {
        self.shared.opened_at
    }

    /// All client events so far, without the audio.
    pub fn events(&self) -> Vec<Received> {
        self.shared.record().events.clone()
    }

    /// The client events of one type so far.
    pub fn events_of(&self, kind: &str) -> Vec<Received> {
        self.shared.record().events.iter().filter(|event| event.kind == kind).cloned().collect()
    }

    /// The `nth` client event of this type, counted from 0.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait_event(&self, kind: &str, nth: usize, timeout: Duration) -> Result<Received, TimedOut> {
        self.wait(&format!("client event {kind} #{nth}"), timeout, |record| {
            record.events.iter().filter(|event| event.kind == kind).nth(nth).cloned()
        })
    }

    /// All events sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.record().sent.clone()
    }

    /// The `nth` event of this type that was sent, counted from 0.
    ///
    /// # Errors
    /// When it is not sent in time.
    pub fn wait_sent(&self, kind: &str, nth: usize, timeout: Duration) -> Result<Sent, TimedOut> {
        self.wait(&format!("server event {kind} #{nth}"), timeout, |record| {
            record.sent.iter().filter(|sent| sent.kind == kind).nth(nth).cloned()
        })
    }

    /// All caller audio so far, as it was on the wire.
    pub fn caller_audio(&self) -> Vec<u8> {
        self.shared.record().audio.clone()
    }

    /// All caller audio so far, as linear samples at the rate of the session's input format.
    pub fn caller_pcm(&self) -> Vec<i16> {
        let record = self.shared.record();
        let mut samples = Vec::new();
        for append in &record.appends {
            decode(append.format, &record.audio[append.offset..append.offset + append.len], &mut samples);
        }
        samples
    }

    /// When each piece of the caller's audio came.
    pub fn appends(&self) -> Vec<Append> {
        self.shared.record().appends.clone()
    }

    /// Caller audio so far.
    pub fn caller_audio_time(&self) -> Duration {
        self.shared.record().audio_time
    }

    /// Waits for this much caller audio since the start of the session.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait_caller_audio(&self, amount: Duration, timeout: Duration) -> Result<(), TimedOut> {
        self.wait(&format!("{amount:?} of caller audio"), timeout, |record| (record.audio_time >= amount).then_some(()))
    }

    /// The pongs so far, with their payloads.
    pub fn pongs(&self) -> Vec<(Instant, Vec<u8>)> {
        self.shared.record().pongs.clone()
    }

    /// How the connection ended, if it has.
    pub fn closed(&self) -> Option<Closed> {
        self.shared.record().closed.clone()
    }

    /// Waits for the end of the connection.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_closed(&self, timeout: Duration) -> Result<Closed, TimedOut> {
        self.wait("the end of the connection", timeout, |record| record.closed.clone())
    }

    fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut find: impl FnMut(&Record) -> Option<T>,
    ) -> Result<T, TimedOut> {
        let deadline = Instant::now() + timeout;
        let mut record = self.shared.record();
        loop {
            if let Some(found) = find(&record) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TimedOut { waited_for: what.to_owned(), timeout, so_far: record.to_string() });
            }
            record = self.shared.changed.wait_timeout(record, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Request {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first query parameter of this name, still percent-encoded.
    pub fn query_parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// What a session keeps of what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Nothing that grows: for servers that run for long.
    Nothing,
    /// Events, times and counts, but not the caller's audio itself.
    Events,
    /// Everything.
    Everything,
}

/// The record and its owner's data, shared between the connection's task and [`Session`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) number: u64,
    pub(crate) request: Request,
    opened_at: Instant,
    keep: Keep,
    record: Mutex<Record>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Record {
    events: Vec<Received>,
    audio: Vec<u8>,
    appends: Vec<Append>,
    audio_time: Duration,
    sent: Vec<Sent>,
    pongs: Vec<(Instant, Vec<u8>)>,
    closed: Option<Closed>,
    reference: Option<String>,
    steps_pending: usize,
    script_failure: Option<String>,
}

impl Shared {
    pub(crate) fn new(number: u64, request: Request, keep: Keep, steps_pending: usize) -> Self {
        let record = Record { steps_pending, ..Record::default() };
        let opened_at = Instant::now();
        Self { number, request, opened_at, keep, record: Mutex::new(record), changed: Condvar::new() }
    }

    pub(crate) fn received(&self, at: Instant, kind: &str, json: Value) {
        if self.keep > Keep::Nothing {
            self.change(|record| record.events.push(Received { at, kind: kind.to_owned(), json }));
        }
    }

    /// `audio_time` is the whole time since the session began.
    pub(crate) fn appended(&self, at: Instant, audio: &[u8], format: Format, audio_time: Duration) {
        self.change(|record| {
            record.audio_time = audio_time;
            if self.keep == Keep::Everything {
                record.appends.push(Append { at, offset: record.audio.len(), len: audio.len(), format });
                record.audio.extend_from_slice(audio);
            }
        });
    }

    pub(crate) fn sent(&self, sent: impl FnOnce() -> Sent) {
        if self.keep > Keep::Nothing {
            self.change(|record| record.sent.push(sent()));
        }
    }

    /// The client calls its stream so.
    pub(crate) fn named(&self, reference: &str) {
        self.change(|record| record.reference = Some(reference.to_owned()));
    }

    pub(crate) fn ponged(&self, at: Instant, payload: &[u8]) {
        if self.keep > Keep::Nothing {
            self.change(|record| record.pongs.push((at, payload.to_vec())));
        }
    }

    /// The first end counts.
    pub(crate) fn closed(&self, at: Instant, code: Option<u16>, reason: &str) {
        self.change(|record| {
            record.closed.get_or_insert_with(|| Closed { at, code, reason: reason.to_owned() });
        });
    }

    pub(crate) fn step_performed(&self) {
        self.change(|record| record.steps_pending = record.steps_pending.saturating_sub(1));
    }

    pub(crate) fn script_failed(&self, failure: String) {
        self.change(|record| record.script_failure = Some(failure));
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record());
        self.changed.notify_all();
    }

    /// A reader that panicked left the record whole: readers do not write.
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<&str> = self.events.iter().map(|event| event.kind.as_str()).collect();
        let audio_ms = self.audio_time.as_millis();
        write!(f, "{audio_ms} ms of caller audio, events {kinds:?}, {} events sent", self.sent.len())?;
        match &self.closed {
            Some(closed) => write!(f, ", closed with {:?}", closed.code),
            None => Ok(()),
        }
    }
}

/// Names a request in the logs of both sides.
pub(crate) const REFERENCE_HEADER: &str = "x-client-request-id";
