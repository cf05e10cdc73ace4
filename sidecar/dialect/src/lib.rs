//! Dialects: the protocols that voice AI providers speak over a WebSocket, one file each.
//!
//! # The driving contract
//!
//! A [`Dialect`] is a state machine without a socket and without a clock. Whoever owns the connection
//!
//! 1. makes the HTTP request of [`Dialect::request_first`], if there is one, and passes in the answer;
//! 2. opens a WebSocket as [`Dialect::handshake`] says and calls [`Dialect::handle_open`];
//! 3. passes in whatever happens through the `handle_*` methods, and the time when [`Dialect::next_timeout`] is due;
//! 4. after **every** `handle_*` call takes outputs from [`Dialect::poll_output`] until it answers `None`;
//! 5. calls [`Dialect::handle_end`] when the call is over, and sends what comes out of that before it closes.
//!
//! Outputs come in the order in which they must be acted on. No method blocks, and none fails: what a provider
//! sends and nobody understands becomes [`Output::Unrecognised`], what ends the conversation becomes a fatal
//! [`Output::Fault`].
//!
//! # Taking over
//!
//! Where a connection was lost, or its provider will not keep it much longer, a new dialect of the same provider goes on
//! with the call: its [`Session`] is the old one with a `history`, or the latest [`Output::Resumable`] handle, or both. It
//! does not greet. Before [`Output::Ready`] it has told the provider what was said as well as that provider can be told;
//! after it the agent goes on speaking if it owes the caller an answer, and otherwise waits for the caller.
//!
//! # Writing down what people say to each other
//!
//! Where no AI speaks, a [`Transcriber`](transcriber::Transcriber) hears one person and tells the words. It is driven in
//! the same way; its services are in [`TRANSCRIBERS`](transcriber::TRANSCRIBERS).
//!
//! # Adding a provider
//!
//! Write one file with a type that implements [`Dialect`] and a [`Provider`] that tells of it, add one line to
//! [`PROVIDERS`], and one transcript of a conversation to `tests/transcripts/`.

#![forbid(unsafe_code)]

pub mod deepgram;
pub mod elevenlabs;
pub mod gemini;
mod json;
pub mod openai;
mod orders;
mod outbox;
pub mod raw;
mod session;
pub mod soniox;
pub mod transcriber;
pub mod twilio;
mod url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_media::Format;

pub use session::{ApiVersion, AudioChoice, Secret, Session, Tool, Turn, TurnDetection};

/// All dialects.
pub static PROVIDERS: &[Provider] =
    &[openai::PROVIDER, twilio::PROVIDER, raw::PROVIDER, elevenlabs::PROVIDER, gemini::PROVIDER, deepgram::PROVIDER];

/// What is known of a dialect before a conversation in it.
#[derive(Debug, Clone, Copy)]
pub struct Provider {
    /// Its name, as the configuration key `dialect` spells it.
    pub name: &'static str,
    /// The values of `audio` it knows.
    pub audio: &'static [AudioChoice],
    /// The fields of [`Session`] it makes use of, as far as not every dialect does.
    pub settings: &'static [&'static str],
    /// What is wrong with the settings for this dialect, if anything: the field, and what to do about it.
    pub check: fn(&Session) -> Result<(), (&'static str, &'static str)>,
    /// Whether loudness on the line interrupts unless configured otherwise. It should not where an answer that was cut
    /// off here cannot be told from the next one, nor the provider be told of it.
    pub local_barge_in: bool,
    /// Longest session the provider allows, where its documentation names one; `None`: nobody knows of any.
    pub session_max: Option<Duration>,
    create: fn(Session, Format) -> Box<dyn Dialect>,
}

impl Provider {
    /// One conversation with `session`. `phone` is the audio format the phone itself speaks: a dialect that can take it as
    /// it is, does.
    pub fn create(&self, session: Session, phone: Format) -> Box<dyn Dialect> {
        (self.create)(session, phone)
    }
}

/// The dialect called `name`.
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

/// One conversation in one provider's protocol. See the [crate documentation](crate) for how to drive it.
pub trait Dialect: Send {
    /// An HTTP request to make before the WebSocket is opened. Its answer goes to [`Dialect::handle_response`].
    fn request_first(&self) -> Option<HttpRequest> {
        None
    }

    /// The answer to [`Dialect::request_first`]. If it was no use there is a fatal [`Output::Fault`].
    fn handle_response(&mut self, _status: u16, _body: &[u8]) {}

    /// What to ask for when the WebSocket is opened.
    fn handshake(&self) -> Handshake;

    /// Format of the audio passed to [`Dialect::handle_caller_audio`]. Before [`Output::Ready`] only an expectation: some
    /// providers tell what they want when they are asked.
    fn caller_format(&self) -> Format;

    /// Format of the audio in [`Output::AgentAudio`]. Before [`Output::Ready`] only an expectation.
    fn agent_format(&self) -> Format;

    /// True if each key is passed on the moment it is pressed. Otherwise the owner gathers keys pressed in quick succession.
    fn takes_single_digits(&self) -> bool {
        false
    }

    /// True if [`Output::AgentAudioDone`] ends every turn. Otherwise a turn is over when nothing more comes for a while.
    fn tells_turn_end(&self) -> bool {
        true
    }

    /// The WebSocket is open.
    fn handle_open(&mut self, now: Instant);

    /// The provider sent a text or binary message.
    fn handle_message(&mut self, message: Message<'_>);

    /// The caller said this, in [`Dialect::caller_format`]; any length, in order, without gaps.
    /// Only after [`Output::Ready`].
    fn handle_caller_audio(&mut self, audio: &[u8]);

    /// The caller pressed these keys (`0`–`9`, `*`, `#`, `A`–`D`), in order. Only after [`Output::Ready`].
    fn handle_digits(&mut self, digits: &str);

    /// Playout was flushed because the caller interrupted. `heard` lists every agent item that had audio queued or
    /// half played at that moment, oldest first; it is empty when nothing was to be heard. `by` says who noticed: what
    /// the provider did not notice it will not cancel by itself.
    fn handle_interrupted(&mut self, heard: &[Heard], by: Noticed);

    /// The caller has `heard` all agent audio given before [`Output::Mark`] `name`, or will not, as a flush came first.
    fn handle_mark(&mut self, _name: &str, _heard: bool) {}

    /// The tool call `call_id` ended with `result`. `go_on` asks the agent to speak about it.
    fn handle_tool_result(&mut self, call_id: &str, result: &str, go_on: bool);

    /// Has the agent say `text`, word for word, as soon as it can. False: there is no way to ask this provider for that.
    /// Only after [`Output::Ready`].
    fn handle_say(&mut self, _text: &str) -> bool {
        false
    }

    /// Lets the agent know `text`, which nobody has said; `answer`: it is to speak about it now. False: there is no way to
    /// tell this provider. Only after [`Output::Ready`].
    fn handle_context(&mut self, _text: &str, _answer: bool) -> bool {
        false
    }

    /// When [`Dialect::handle_timeout`] wants to be called, if at all.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// It is `now`, and [`Dialect::next_timeout`] is due.
    fn handle_timeout(&mut self, _now: Instant) {}

    /// The call is over. Only [`Output::Send`] is acted on after this.
    fn handle_end(&mut self) {}

    /// Next thing to do, or `None` until the next `handle_*` call.
    fn poll_output(&mut self) -> Option<Output>;
}

/// What to ask for when the WebSocket is opened.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Full URL, `ws://` or `wss://`, with its query.
    pub url: String,
    /// Extra request headers. Values may be secrets.
    pub headers: Vec<(String, Secret)>,
}

/// An HTTP GET request.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Full URL, `http://` or `https://`, with its query.
    pub url: String,
    /// Request headers. Values may be secrets.
    pub headers: Vec<(String, Secret)>,
}

/// A message from the provider.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
}

/// Who noticed that the caller interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// The provider; it has said so with [`Output::CallerSpeechStarted`].
    ByProvider,
    /// This side, by listening to the line.
    ByUs,
}

/// How much of an agent item the caller has heard when playout was flushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The item, as named by [`Output::AgentAudio`].
    pub item: Arc<str>,
    /// Audio of this item that was handed to the phone. [ms]
    pub heard_ms: u64,
    /// Audio of this item that had been received from the provider. [ms]
    pub received_ms: u64,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The person on the phone.
    Caller,
    /// The AI.
    Agent,
}

/// Something the owner of the connection has to do or to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this text frame. Control messages must not be dropped.
    Send(String),
    /// Send this message, which carries caller audio: under back-pressure it may be dropped, oldest first.
    SendAudio {
        /// The message.
        message: Payload,
        /// Audio in it, in [`Dialect::caller_format`]. [bytes]
        audio_bytes: usize,
    },
    /// The session is configured: caller audio may flow.
    Ready,
    /// The agent says this, in [`Dialect::agent_format`].
    AgentAudio {
        /// The item it belongs to; what was heard is counted per item.
        item: Arc<str>,
        /// The audio bytes.
        audio: Vec<u8>,
    },
    /// All audio of the agent's turn has been given: flush resamplers, expect no more until a new turn.
    AgentAudioDone,
    /// Tell [`Dialect::handle_mark`] when the caller has heard all agent audio given so far. A mark is best put where
    /// nothing follows at once: audio is not resampled across it.
    Mark {
        /// Names it; not necessarily unique.
        name: String,
    },
    /// The provider orders that nothing of what the agent still has to say be heard.
    Flush,
    /// The provider heard the caller start to speak: whatever the agent still has to say must not be heard.
    CallerSpeechStarted,
    /// The provider heard the caller stop speaking.
    CallerSpeechStopped {
        /// End of the speech, as time since the first byte of caller audio that was given. [ms] `None` if not told.
        at_ms: Option<u64>,
    },
    /// Somebody said this. What the caller interrupted may be followed by what of it was said.
    Transcript {
        /// Who.
        speaker: Speaker,
        /// The words.
        text: String,
        /// True for the whole utterance, false for the next piece of one that goes on.
        complete: bool,
    },
    /// The agent wants a tool to run; answer with [`Dialect::handle_tool_result`].
    ToolCall {
        /// Names this call in the answer.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// Its arguments, a JSON text that nobody has checked yet.
        arguments: String,
    },
    /// A later session that is given `handle` as its [`Session::resumption`] knows what this one does. The latest counts.
    Resumable {
        /// Means something to the provider alone.
        handle: String,
    },
    /// The provider will end this session, however well it goes, when so much time has passed.
    Expiring {
        /// From now.
        within: Duration,
    },
    /// The provider reported a problem.
    Fault(Fault),
    /// A message nobody here understands; its type, shortened, or what was wrong with it.
    Unrecognised(String),
}

/// The content of a WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// For a text frame.
    Text(String),
    /// For a binary frame.
    Binary(Vec<u8>),
}

/// A problem reported by the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it means for the call.
    pub kind: FaultKind,
    /// A sentence for a person. Contains no secret.
    pub message: String,
}

/// What a [`Fault`] means for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// A request failed; the conversation goes on.
    Transient,
    /// The provider does not accept the account: fatal, and a retry cannot help (operator's to mend).
    Authentication,
    /// The provider ends this session, at its time limit or because it cannot go on with it: fatal, a new connection would
    /// help.
    Expired,
    /// The session cannot go on, for example because its settings were refused: fatal.
    Fatal,
}
