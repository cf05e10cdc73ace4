//! The stream of one of the two to a transcriber: opened, given audio, and told from.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use ai_dialect::transcriber::{Transcribed, Transcriber};
use ai_dialect::{Fault, FaultKind, Message};
use ai_media::Format;
use ai_media::transcode::Transcoder;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use super::intake::Chunk;
use crate::connector::Connector;
use crate::runtime::transcoder;
use crate::transport::{Transport, fatal, not_opened};
use crate::{Outcome, Status};

/// More audio than this does not wait in the socket's queue but with us, where it is known what is dropped. [ms]
const QUEUED_MAX_MS: u64 = 500;
/// Audio that is further from its place than this is in another run. [ms]
const SAME_RUN_MS: u64 = 40;
/// Audio that is heard once more by the next stream, when this one is lost before it has written that down.
const RETOLD: Duration = Duration::from_secs(4);
/// Runs that are remembered: what was said long ago has been told long ago.
const RUNS_MAX: usize = 256;

/// A stream that is being opened. Dropping it gives up.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Box<Stream>, Outcome>> + Send>>;

/// An open stream.
pub(super) struct Stream {
    transcriber: Box<dyn Transcriber>,
    transport: Transport,
    transcoder: Transcoder,
    places: Places,
    /// Audio given to the transcriber. [bytes]
    given: u64,
    /// The latest audio that was given and is in no line, with its time in the call. [ms]
    unwritten: VecDeque<(u64, Chunk)>,
    paused: bool,
    ended: bool,
    early: VecDeque<Transcribed>,
    linear: Vec<u8>,
    wire: Vec<u8>,
}

/// What a transcriber understood.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// So far.
    Interim(String),
    /// For good, with its times since the session began. [ms]
    Line { text: String, start_ms: Option<u64>, end_ms: Option<u64> },
    /// All there was.
    Finished,
    /// Something went wrong that does not end the stream.
    Complaint(String),
    /// A message that nobody understands.
    Unrecognised(String),
}

/// Opens the stream of `transcriber` and sees to it until audio may flow.
///
/// # Errors
/// Why not; after `limit` in any case.
pub(super) fn open(transcriber: Box<dyn Transcriber>, rate_hz: u32, connector: Connector, limit: Duration) -> Opening {
    Box::pin(async move {
        let opened = timeout(limit, async {
            let transport = Transport::connect(&transcriber.handshake(), &connector).await?;
            let transcoder = transcoder(Format::slin(rate_hz), transcriber.format());
            let mut stream = Box::new(Stream {
                transcriber,
                transport,
                transcoder,
                places: Places::default(),
                given: 0,
                unwritten: VecDeque::new(),
                paused: true,
                ended: false,
                early: VecDeque::new(),
                linear: Vec::new(),
                wire: Vec::new(),
            });
            stream.transcriber.handle_open(Instant::now().into());
            stream.make_ready().await.map(|()| stream)
        });
        let reason = || format!("the transcriber was not ready within {} ms", limit.as_millis());
        opened.await.unwrap_or_else(|_| Err(Outcome::new(Status::ConnFail, reason())))
    })
}

impl Stream {
    /// True if it takes audio now.
    pub(super) fn has_room(&self) -> bool {
        self.transport.audio_queued_ms() < QUEUED_MAX_MS
    }

    /// True once it was told that nothing more comes.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Gives it `chunk`, which began `call_ms` after the session.
    pub(super) fn give(&mut self, chunk: Chunk, call_ms: u64, now: Instant) {
        let rate = Format::slin(chunk.rate_hz);
        if self.transcoder.from() != rate {
            self.flush(now);
            self.transcoder = transcoder(rate, self.transcriber.format());
        }
        self.places.give(self.given_ms(), call_ms);
        self.linear.clear();
        self.linear.extend(chunk.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        self.transcoder.push(&self.linear, &mut self.wire);
        self.pass_on(now);
        self.paused = false;
        self.unwritten.push_back((call_ms, chunk));
        while self.unwritten.iter().map(|(_, chunk)| chunk.duration()).sum::<Duration>() > RETOLD {
            self.unwritten.pop_front();
        }
    }

    /// Nobody speaks for some time.
    pub(super) fn pause(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.paused, true) {
            self.flush(now);
            self.transcriber.handle_pause(now.into());
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.ended, true) {
            self.flush(now);
            self.transcriber.handle_end(now.into());
        }
    }

    /// Sends what is to be sent and waits for the next message. Safe to drop and call again.
    ///
    /// # Errors
    /// How the stream ended.
    pub(super) async fn next(&mut self) -> Result<tungstenite::Message, Outcome> {
        self.transport.next().await
    }

    /// Passes on what the service sent.
    pub(super) fn handle_message(&mut self, message: &tungstenite::Message) {
        match message {
            tungstenite::Message::Text(text) => self.transcriber.handle_message(Message::Text(text)),
            tungstenite::Message::Binary(bytes) => self.transcriber.handle_message(Message::Binary(bytes)),
            _ => {}
        }
    }

    /// Does what time makes due.
    ///
    /// # Errors
    /// When the service has been silent for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Outcome> {
        self.transport.handle_timeout(now)?;
        if self.transcriber.next_timeout().is_some_and(|due| now >= due.into()) {
            self.transcriber.handle_timeout(now.into());
        }
        Ok(())
    }

    /// What was understood next.
    ///
    /// # Errors
    /// How the stream ended.
    pub(super) fn said(&mut self) -> Result<Option<Said>, Outcome> {
        while let Some(output) = self.early.pop_front().or_else(|| self.transcriber.poll_output()) {
            match output {
                Transcribed::Send(text) => self.transport.send(text),
                Transcribed::SendAudio { message, audio_bytes } => {
                    let audio_ms = self.transcriber.format().ms_in_bytes(audio_bytes as u64);
                    self.transport.send_audio(message, audio_ms);
                }
                Transcribed::Ready => {}
                Transcribed::Interim { text, .. } => return Ok(Some(Said::Interim(text))),
                Transcribed::Line { text, start_ms, end_ms } => {
                    let start_ms = start_ms.map(|start_ms| self.places.of_start(start_ms));
                    let end_ms = end_ms.map(|end_ms| self.places.of_end(end_ms.min(self.given_ms())));
                    self.unwritten.retain(|(call_ms, _)| end_ms.is_some_and(|end_ms| *call_ms > end_ms));
                    return Ok(Some(Said::Line { text, start_ms, end_ms }));
                }
                Transcribed::Finished => return Ok(Some(Said::Finished)),
                Transcribed::Fault(Fault { kind: FaultKind::Transient, message, .. }) => {
                    return Ok(Some(Said::Complaint(message)));
                }
                Transcribed::Fault(fault) => return Err(fatal(&fault, true)),
                Transcribed::Unrecognised(what) => return Ok(Some(Said::Unrecognised(what))),
            }
        }
        Ok(None)
    }

    /// What was given to it last, and is in no line.
    pub(super) fn take_unwritten(&mut self) -> impl DoubleEndedIterator<Item = Chunk> {
        std::mem::take(&mut self.unwritten).into_iter().map(|(_, chunk)| chunk)
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        if !self.ended {
            self.transcriber.handle_end(Instant::now().into());
        }
        let last = std::iter::from_fn(|| self.transcriber.poll_output()).filter_map(|output| match output {
            Transcribed::Send(text) => Some(text),
            _ => None,
        });
        self.transport.close(last.collect()).await;
    }

    /// Sees to the stream until the transcriber says that it is ready.
    async fn make_ready(&mut self) -> Result<(), Outcome> {
        loop {
            while let Some(output) = self.transcriber.poll_output() {
                match output {
                    Transcribed::Ready => return Ok(()),
                    Transcribed::Send(text) => self.transport.send(text),
                    Transcribed::Fault(fault) if fault.kind != FaultKind::Transient => {
                        return Err(fatal(&fault, false));
                    }
                    other => self.early.push_back(other),
                }
            }
            let transport = self.transport.next_timeout();
            let due = self.transcriber.next_timeout().map_or(transport, |due| transport.min(due.into()));
            if Instant::now() >= due {
                self.handle_timeout(Instant::now())?;
                continue;
            }
            tokio::select! {
                message = self.transport.next() => self.handle_message(&message.map_err(not_opened)?),
                () = sleep_until(due) => {}
            }
        }
    }

    /// What the resampler holds goes, too: the last syllable.
    fn flush(&mut self, now: Instant) {
        self.transcoder.flush(&mut self.wire);
        self.pass_on(now);
    }

    fn pass_on(&mut self, now: Instant) {
        if !self.wire.is_empty() {
            self.transcriber.handle_audio(&self.wire, now.into());
            self.given += self.wire.len() as u64;
            self.wire.clear();
        }
    }

    fn given_ms(&self) -> u64 {
        self.transcriber.format().ms_in_bytes(self.given)
    }
}

/// Where in the call the audio of a stream was spoken.
#[derive(Debug, Default)]
struct Places {
    /// The beginnings of runs: in the stream, and in the call. [ms]
    runs: VecDeque<(u64, u64)>,
}

impl Places {
    /// At `stream_ms` of the stream goes on what was spoken at `call_ms` of the call.
    fn give(&mut self, stream_ms: u64, call_ms: u64) {
        let expected = self.runs.back().map(|&(stream, call)| call + stream_ms.saturating_sub(stream));
        if expected.is_none_or(|expected| expected.abs_diff(call_ms) > SAME_RUN_MS) {
            self.runs.push_back((stream_ms, call_ms));
            if self.runs.len() > RUNS_MAX {
                self.runs.pop_front();
            }
        }
    }

    /// The time in the call of something that begins at `stream_ms`.
    fn of_start(&self, stream_ms: u64) -> u64 {
        self.find(|begins| begins <= stream_ms, stream_ms)
    }

    /// The time in the call of something that ends at `stream_ms`: what ends with a run is not in the next.
    fn of_end(&self, stream_ms: u64) -> u64 {
        self.find(|begins| begins < stream_ms, stream_ms)
    }

    fn find(&self, is_before: impl Fn(u64) -> bool, stream_ms: u64) -> u64 {
        let run = self.runs.iter().rev().find(|(stream, _)| is_before(*stream)).or(self.runs.front());
        run.map_or(0, |&(stream, call)| call + stream_ms.saturating_sub(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_stream_is_one_in_the_call() {
        let mut places = Places::default();
        assert_eq!(places.of_start(5), 0);
        for (stream, call) in [(0, 4000), (100, 4100), (200, 4215), (300, 9000), (400, 9100)] {
            places.give(stream, call);
        }
        assert_eq!(places.runs.len(), 2, "a little jitter makes no run");
        assert_eq!([0, 250, 299].map(|ms| places.of_start(ms)), [4000, 4250, 4299]);
        assert_eq!([300, 450].map(|ms| places.of_start(ms)), [9000, 9150]);
        assert_eq!([300, 301].map(|ms| places.of_end(ms)), [4300, 9001], "what ends with a run is not in the next");
        for run in 1..2 * RUNS_MAX as u64 {
            places.give(400 + run, run * 100_000);
        }
        assert_eq!(places.runs.len(), RUNS_MAX);
    }
}
