//! Transcribers: the protocols of services that write down what one person says and answer nothing.
//!
//! A [`Transcriber`] is driven as a [`Dialect`](crate::Dialect) is, see the [crate documentation](crate): it is opened, it
//! is told what happens, and after **every** `handle_*` call its outputs are taken. One of them hears one person: a call
//! between two has two.
//!
//! # Times
//!
//! A place in the speech is a count of the audio that was given to [`Transcriber::handle_audio`], in milliseconds from its
//! first sample. Pauses take no place in it, and a new transcriber, after a lost connection, counts from zero: its owner
//! knows when which audio was spoken. Audio that its owner dropped on the way to the wire the service has never counted.

use std::time::{Duration, Instant};

use ai_media::Format;

use crate::{AudioChoice, Fault, Handshake, Message, Payload, Secret, openai, session, soniox};

/// All transcribers.
pub static TRANSCRIBERS: &[TranscriberProvider] = &[soniox::TRANSCRIBER, openai::TRANSCRIBER];

/// The transcriber called `name`.
pub fn transcriber(name: &str) -> Option<&'static TranscriberProvider> {
    TRANSCRIBERS.iter().find(|provider| provider.name == name)
}

/// What is known of a transcriber before anybody has spoken.
#[derive(Debug, Clone, Copy)]
pub struct TranscriberProvider {
    /// Its name, as the configuration key `dialect` spells it.
    pub name: &'static str,
    /// WebSocket URL of its vendor, for profiles that name none.
    pub url: &'static str,
    /// Model for profiles that name none.
    pub model: &'static str,
    /// The values of `audio` it knows.
    pub audio: &'static [AudioChoice],
    /// The fields of [`Listening`] it makes use of, as far as not every transcriber does.
    pub settings: &'static [&'static str],
    /// What is wrong with the settings for this transcriber, if anything: the field, and what to do about it.
    pub check: fn(&Listening) -> Result<(), (&'static str, &'static str)>,
    /// Longest stream the vendor allows, where its documentation names one; `None`: nobody knows of any.
    pub session_max: Option<Duration>,
    pub(crate) create: fn(Listening, Format) -> Box<dyn Transcriber>,
}

impl TranscriberProvider {
    /// One stream with these settings. `phone` is the audio format the phone itself speaks: a transcriber that can take it
    /// as it is, does.
    pub fn create(&self, listening: Listening, phone: Format) -> Box<dyn Transcriber> {
        (self.create)(listening, phone)
    }
}

/// One person's speech on its way to being written down, in one service's protocol.
pub trait Transcriber: Send {
    /// What to ask for when the WebSocket is opened.
    fn handshake(&self) -> Handshake;

    /// Format of the audio passed to [`Transcriber::handle_audio`]. Does not change.
    fn format(&self) -> Format;

    /// The WebSocket is open.
    fn handle_open(&mut self, now: Instant);

    /// The service sent a text or binary message.
    fn handle_message(&mut self, message: Message<'_>);

    /// This was said, in [`Transcriber::format`]; any length, in order, in real time: no service wants a minute at once.
    /// Ends a pause. Only after [`Transcribed::Ready`].
    fn handle_audio(&mut self, audio: &[u8], now: Instant);

    /// No audio comes from now on, nobody knows for how long: what was begun is written down, and the connection is kept.
    /// Only after [`Transcribed::Ready`].
    fn handle_pause(&mut self, now: Instant);

    /// When [`Transcriber::handle_timeout`] wants to be called, if at all.
    fn next_timeout(&self) -> Option<Instant>;

    /// It is `now`, and [`Transcriber::next_timeout`] is due.
    fn handle_timeout(&mut self, now: Instant);

    /// No more audio comes. What was said is still to be told, and after it [`Transcribed::Finished`]; a service may take
    /// seconds for that, or never do it, so the owner has to bound the wait.
    fn handle_end(&mut self, now: Instant);

    /// The connection is gone, or nobody waits any longer: what is certain of an unfinished line is told as a line.
    fn handle_lost(&mut self);

    /// Next thing to do, or `None` until the next `handle_*` call.
    fn poll_output(&mut self) -> Option<Transcribed>;
}

/// Something the owner of a [`Transcriber`]'s connection has to do or to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Transcribed {
    /// Send this text frame, which may be empty. Must not be dropped.
    Send(String),
    /// Send this message, which carries audio: under back-pressure it may be dropped, oldest first.
    SendAudio {
        /// The message.
        message: Payload,
        /// Audio in it, in [`Transcriber::format`]. [bytes]
        audio_bytes: usize,
    },
    /// Audio may flow.
    Ready,
    /// What is being said sounds like this so far. Replaces what was told so before; empty: it was nothing after all.
    Interim {
        /// The words, not more than 64 KiB of them.
        text: String,
        /// Where the speech begins. [ms] `None` if not told.
        start_ms: Option<u64>,
    },
    /// This was said; it will not change. Replaces the latest [`Transcribed::Interim`].
    Line {
        /// The words, never none and not more than 64 KiB of them.
        text: String,
        /// Where the speech begins. [ms] `None` if not told.
        start_ms: Option<u64>,
        /// Where it ends. [ms] `None` if not told.
        end_ms: Option<u64>,
    },
    /// All was told, after [`Transcriber::handle_end`]: the connection can be closed.
    Finished,
    /// The service reported a problem. Any but a transient one ends the stream.
    Fault(Fault),
    /// A message nobody here understands; its type, shortened, or what was wrong with it.
    Unrecognised(String),
}

/// Settings of one stream, in no service's words.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Names the call to a server that wants it named: 32 hexadecimal digits, different for every call.
    pub call_id: String,
    /// Names whom of the call is heard here: `caller` or `operator`.
    pub leg: String,
    /// WebSocket URL of the service, without the query parameters that the transcriber adds.
    pub url: String,
    /// Model name.
    pub model: String,
    /// The account's key; empty sends none.
    pub api_key: Secret,
    /// Language expected to be spoken, ISO 639-1; empty leaves it to the service.
    pub language: String,
    /// Words that are likely to be said and hard to guess: names, products.
    pub terms: Vec<String>,
    /// What the conversation is about, in free text; empty: unknown.
    pub context: String,
    /// What goes over the WebSocket.
    pub audio: AudioChoice,
    /// Silence after which what was said is a line. [ms] `None` leaves it to the service.
    pub endpoint_delay_ms: Option<u32>,
    /// Extra headers of the handshake.
    pub headers: Vec<(String, Secret)>,
    /// Laid over the settings that the transcriber sends, in the service's own words.
    pub provider_settings: serde_json::Map<String, serde_json::Value>,
}

impl Listening {
    /// Names this stream among all others.
    pub(crate) fn reference(&self) -> String {
        format!("{}-{}", self.call_id, self.leg)
    }

    /// The headers of the handshake, with the key as a bearer token unless the operator gave an `Authorization`.
    pub(crate) fn headers_with_bearer(&self) -> Vec<(String, Secret)> {
        match self.api_key.reveal() {
            "" => self.headers.clone(),
            key => session::headers_with(&self.headers, "Authorization", format!("Bearer {key}")),
        }
    }
}

impl Default for Listening {
    /// The configuration's defaults, with neither server nor account.
    fn default() -> Self {
        Self {
            call_id: String::new(),
            leg: String::new(),
            url: String::new(),
            model: String::new(),
            api_key: Secret::default(),
            language: "ru".to_owned(),
            terms: Vec::new(),
            context: String::new(),
            audio: AudioChoice::default(),
            endpoint_delay_ms: None,
            headers: Vec::new(),
            provider_settings: serde_json::Map::new(),
        }
    }
}
