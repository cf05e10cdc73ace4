//! The caller's side: the input buffer, its timeline, and the turns in it.

use std::time::{Duration, Instant};

use ai_media::Format;
use serde_json::{Value, json};

use crate::audio::decode;
use crate::schema::ApiError;
use crate::script::Mode;
use crate::session::REFERENCE_HEADER;
use crate::settings::{Settings, TurnDetection};
use crate::vad::{Transition, Vad};
use crate::words;

use super::{Cue, Engine, Turn};

/// Input buffer and turn detection.
#[derive(Debug)]
pub(super) struct Caller {
    /// Scratch for the bytes of one append.
    pub(super) decoded: Vec<u8>,
    /// Scratch for its samples.
    samples: Vec<i16>,
    format: Format,
    vad: Option<Vad>,
    /// What the detector was made for.
    turn_detection: Option<TurnDetection>,
    /// Turns are found by the detector, not only by script and client.
    detecting: bool,
    prefix_padding: Duration,
    /// All audio since the session began.
    time: Duration,
    /// Audio since the last commit or clear, kept or not.
    uncommitted: Duration,
    /// The end of that audio: whole while the caller speaks, otherwise what a turn about to start needs.
    buffer: Vec<u8>,
    speaking: Option<Speaking>,
    last_turn_ended: Duration,
}

/// A turn in progress.
#[derive(Debug)]
struct Speaking {
    item_id: String,
    /// Where the turn's audio begins on the session's timeline.
    from: Duration,
    /// Where the speech itself begins.
    speech_from: Duration,
}

impl Caller {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut caller = Self {
            decoded: Vec::new(),
            samples: Vec::new(),
            format: settings.caller_format,
            vad: None,
            turn_detection: None,
            detecting: false,
            prefix_padding: Duration::ZERO,
            time: Duration::ZERO,
            uncommitted: Duration::ZERO,
            buffer: Vec::new(),
            speaking: None,
            last_turn_ended: Duration::ZERO,
        };
        caller.configure(settings);
        caller
    }

    /// Takes over a new configuration. A turn in progress survives unless it is about how turns are found.
    pub(super) fn configure(&mut self, settings: &Settings) {
        if (self.format, self.turn_detection) == (settings.caller_format, settings.turn_detection) {
            return;
        }
        self.format = settings.caller_format;
        self.turn_detection = settings.turn_detection;
        self.prefix_padding = settings.turn_detection.map_or(Duration::ZERO, |turns| turns.prefix_padding);
        self.vad = settings.turn_detection.map(|turns| Vad::new(self.format.rate_hz, &turns));
        self.clear();
    }

    /// Forgets what has not been committed.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.uncommitted = Duration::ZERO;
        self.speaking = None;
        if let Some(vad) = &mut self.vad {
            vad.reset();
        }
    }

    /// Counts an append; returns all audio so far.
    pub(super) fn count(&mut self, bytes: usize) -> Duration {
        let more = self.time_of(bytes);
        self.uncommitted += more;
        self.time += more;
        self.time
    }

    fn store(&mut self, audio: &[u8]) {
        let limit = self.format.bytes_in_ms(LONGEST_TURN.as_millis() as u64);
        if self.speaking.is_some() || self.vad.is_none() {
            let room = limit.saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&audio[..audio.len().min(room)]);
            return;
        }
        self.buffer.extend_from_slice(audio);
        let needed = self.bytes_of(self.prefix_padding + ONSET);
        if self.buffer.len() > 2 * needed {
            self.buffer.drain(..self.buffer.len() - needed);
        }
    }

    /// The audio of the turn up to now, without the last `quiet`.
    fn turn_audio(&self, now: Duration, from: Duration, quiet: Duration) -> Vec<u8> {
        let start = self.buffer.len().saturating_sub(self.bytes_of(now.saturating_sub(from)));
        let end = self.buffer.len().saturating_sub(self.bytes_of(quiet.saturating_sub(TAIL)));
        self.buffer[start.min(end)..end].to_vec()
    }

    fn time_of(&self, bytes: usize) -> Duration {
        self.time_of_samples((bytes / self.format.sample_bytes()) as u64)
    }

    fn time_of_samples(&self, samples: u64) -> Duration {
        Duration::from_nanos(samples * 1_000_000_000 / u64::from(self.format.rate_hz))
    }

    fn bytes_of(&self, time: Duration) -> usize {
        self.format.bytes_in_ms(time.as_millis() as u64)
    }
}

impl Engine {
    /// Whether the agent looks for speech in the caller's audio.
    pub(crate) fn detect_speech(&mut self, detect: bool) {
        self.caller.detecting = detect;
    }

    /// All caller audio so far.
    pub(crate) fn caller_time(&self) -> Duration {
        self.caller.time
    }

    /// The caller begins to speak, by order.
    pub(crate) fn start_speech(&mut self, now: Instant) {
        self.speech_started(self.caller.time, now);
    }

    /// The caller has stopped speaking, by order.
    pub(crate) fn stop_speech(&mut self, now: Instant) {
        self.speech_stopped(self.caller.time, Duration::ZERO, now);
    }

    /// Looks for turns in audio that has been counted.
    pub(super) fn listen(&mut self, audio: &[u8], now: Instant) {
        if !self.caller.detecting || self.caller.vad.is_none() {
            if self.mode == Mode::Converse {
                self.caller.store(audio);
            }
            return;
        }
        let mut samples = std::mem::take(&mut self.caller.samples);
        samples.clear();
        decode(self.caller.format, audio, &mut samples);
        let width = self.caller.format.sample_bytes();
        let mut done = 0;
        while done < samples.len() {
            let Some(vad) = &mut self.caller.vad else { break };
            let (used, transition) = vad.advance(&samples[done..]);
            self.caller.store(&audio[done * width..(done + used) * width]);
            done += used;
            let at = self.caller.time - self.caller.time_of_samples((samples.len() - done) as u64);
            match transition {
                Some(Transition::Started { ago_samples }) => {
                    let speech_from = at.saturating_sub(self.caller.time_of_samples(ago_samples));
                    self.speech_started(speech_from, now);
                }
                Some(Transition::Stopped { quiet_samples }) => {
                    self.speech_stopped(at, self.caller.time_of_samples(quiet_samples), now);
                }
                None => {}
            }
        }
        self.caller.samples = samples;
    }

    /// Commits by order of the client.
    pub(super) fn commit_by_client(&mut self, now: Instant) -> Result<(), ApiError> {
        let caller = &mut self.caller;
        if caller.uncommitted < SHORTEST_COMMIT {
            let has_ms = caller.uncommitted.as_secs_f64() * 1000.0;
            let message = format!(
                "Error committing input audio buffer: buffer too small. \
                 Expected at least 100ms of audio, but buffer only has {has_ms:.2}ms of audio."
            );
            return Err(ApiError::new("input_audio_buffer_commit_empty", message));
        }
        let item_id = caller.speaking.take().map(|speaking| speaking.item_id);
        let turn = Turn {
            speech_ms: caller.uncommitted.as_millis() as u64,
            audio: std::mem::take(&mut caller.buffer),
            format: caller.format,
            answer: false,
        };
        let item_id = item_id.unwrap_or_else(|| self.outbox.id("item"));
        self.commit(item_id, turn, now);
        Ok(())
    }

    fn speech_started(&mut self, speech_from: Duration, now: Instant) {
        if self.caller.speaking.is_some() {
            return;
        }
        let item_id = self.outbox.id("item");
        let from = speech_from.saturating_sub(self.caller.prefix_padding).max(self.caller.last_turn_ended);
        let fields = json!({"audio_start_ms": from.as_millis() as u64, "item_id": item_id});
        self.outbox.event("input_audio_buffer.speech_started", fields, now);
        self.caller.speaking = Some(Speaking { item_id, from, speech_from });
        if self.settings.turn_detection.is_some_and(|turns| turns.interrupt_response) {
            self.cancel_reply("turn_detected", now);
        }
    }

    fn speech_stopped(&mut self, at: Duration, quiet: Duration, now: Instant) {
        let Some(speaking) = self.caller.speaking.take() else { return };
        let fields = json!({"audio_end_ms": at.as_millis() as u64, "item_id": speaking.item_id});
        self.outbox.event("input_audio_buffer.speech_stopped", fields, now);
        self.caller.last_turn_ended = at;
        let speech = at.saturating_sub(quiet).saturating_sub(speaking.speech_from);
        let turn = Turn {
            speech_ms: speech.as_millis() as u64,
            audio: self.caller.turn_audio(at, speaking.from, quiet),
            format: self.caller.format,
            answer: self.settings.turn_detection.is_some_and(|turns| turns.create_response)
                && !self.settings.transcription_only,
        };
        self.commit(speaking.item_id, turn, now);
    }

    fn commit(&mut self, item_id: String, turn: Turn, now: Instant) {
        let previous = self.conversation.last_id();
        let fields = json!({"previous_item_id": previous, "item_id": item_id});
        self.outbox.event("input_audio_buffer.committed", fields, now);
        let item = json!({"id": item_id, "object": "realtime.item", "type": "message", "status": "completed",
            "role": "user", "content": [{"type": "input_audio", "transcript": Value::Null}]});
        self.add_item(item, now);
        self.item_done(&item_id, now);
        self.caller.clear();
        if self.settings.transcribe {
            self.transcribe(&item_id, turn.speech_ms, now);
        }
        self.cues.push_back(Cue::Turn(turn));
    }

    /// What somebody wrote down for this stream, or else how much there was of it.
    fn transcribe(&mut self, item_id: &str, speech_ms: u64, now: Instant) {
        let reference = self.shared.request.header(REFERENCE_HEADER).unwrap_or_default();
        let transcript = self.words.next(reference).unwrap_or_else(|| words::unknown(speech_ms));
        for word in transcript.split_inclusive(' ') {
            let fields = json!({"item_id": item_id, "content_index": 0, "delta": word});
            self.outbox.event("conversation.item.input_audio_transcription.delta", fields, now);
        }
        let seconds = speech_ms as f64 / 1000.0;
        let fields = json!({"item_id": item_id, "content_index": 0, "transcript": transcript,
            "usage": {"type": "duration", "seconds": seconds}});
        self.outbox.event("conversation.item.input_audio_transcription.completed", fields, now);
    }
}

/// Audio kept before a turn starts, besides the prefix padding: what the detector needs to make up its mind.
const ONSET: Duration = Duration::from_millis(500);
/// Silence left after the last word when it is played back.
const TAIL: Duration = Duration::from_millis(100);
/// A turn longer than this is heard to its end but kept only to here.
const LONGEST_TURN: Duration = Duration::from_secs(120);
const SHORTEST_COMMIT: Duration = Duration::from_millis(100);
