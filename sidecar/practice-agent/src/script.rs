//! What an agent does in a session, step by step.
//!
//! The protocol itself (session, validation, truncation, cancelling, errors) is always alive underneath; a script
//! says what the agent adds to it, and where it misbehaves. The same steps, given to
//! [`Session::perform`](crate::Session::perform), drive a session by hand.

use std::sync::Arc;
use std::time::Duration;

use ai_media::Format;

/// A list of steps, performed in order.
///
/// ```
/// # use std::time::Duration;
/// # use practice_agent::{Script, Speech};
/// let tone = vec![0xD5; 8000]; // one second of A-law silence
/// let script = Script::new()
///     .wait_event("response.create", Duration::from_secs(5))
///     .say(Speech::wire("Hello", tone.clone()))
///     .start_saying(Speech::wire("This will be cut off", tone))
///     .sleep(Duration::from_millis(200))
///     .close(1011, "out of order");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(crate) steps: Vec<Step>,
}

/// One thing to do. A step that has to wait holds up those behind it.
#[derive(Debug, Clone)]
pub enum Step {
    /// Starts a response, after the client's first `session.update` (which fixes the format) and after the response
    /// before it has ended. Does not wait for its end.
    Reply(Reply),
    /// Waits until no response is being generated.
    FinishReply,
    /// Tells the client that the caller has begun to speak, whatever the audio says. Cancels the response in
    /// progress if the session has `interrupt_response`.
    SpeechStarted,
    /// Ends what [`Step::SpeechStarted`] began and commits the turn.
    SpeechStopped,
    /// What the agent does of its own accord from here on.
    Mode(Mode),
    /// Whether the agent looks for the caller's speech itself, as [`Mode::Converse`] always does.
    DetectSpeech(bool),
    /// Waits for something from the client; the script fails if it does not come in time.
    Wait(Until, Duration),
    /// Waits.
    Sleep(Duration),
    /// Sends a frame as it is: for everything a real server never sends.
    Send(Frame),
    /// Sends an `error` event. Errors alone do not end a session; see [`crate::faults::session_expired`].
    Error {
        /// `error.code`.
        code: String,
        /// `error.message`.
        message: String,
    },
    /// Closes the WebSocket with this code and reason, then waits for the client's half of the handshake.
    Close {
        /// RFC 6455 close code.
        code: u16,
        /// Up to 123 bytes of text.
        reason: String,
    },
    /// Aborts the TCP connection (RST), without a close frame.
    Reset,
    /// From here on reads nothing and writes nothing, and keeps the connection.
    Stall,
    /// From here on reads no more than this many bytes a second.
    ReadSlowly {
        /// At least 1.
        bytes_per_s: u32,
    },
}

/// What the agent does of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing: only the script speaks.
    #[default]
    Silent,
    /// Finds the caller's turns and answers them aloud, as the program does.
    Converse,
    /// Sends every `input_audio_buffer.append` straight back as an audio delta with the same base64. Both formats of
    /// the session must be the same. The first append opens the response, which then never ends by itself.
    Echo,
}

/// What a [`Step::Wait`] waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// A client event of this type that no earlier wait has consumed; it may have come already.
    Event(String),
    /// This much caller audio since the start of the session.
    CallerAudio(Duration),
    /// The end of a caller's turn that no earlier wait has consumed (needs [`Step::DetectSpeech`] or a client that
    /// commits).
    TurnEnd,
}

/// A frame to be sent as it is.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A ping with up to 125 bytes; the answers are in [`Session::pongs`](crate::Session::pongs).
    Ping(Vec<u8>),
}

/// One response: something said, then function calls.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The message item, if there is one.
    pub speech: Option<Speech>,
    /// One `function_call` item each.
    pub tool_calls: Vec<ToolCall>,
}

/// Something said aloud.
#[derive(Debug, Clone)]
pub struct Speech {
    /// The transcript.
    pub text: String,
    /// The audio, one piece after the other.
    pub sounds: Vec<Sound>,
    /// How fast the audio is sent.
    pub pace: Pace,
    /// Audio in one delta, in ms.
    pub chunk_ms: u32,
}

/// A piece of audio.
#[derive(Debug, Clone)]
pub enum Sound {
    /// Sent byte for byte: the caller of this library knows the session's output format.
    Wire(Arc<[u8]>),
    /// Converted into the session's output format.
    Recorded(Format, Arc<[u8]>),
    /// Read aloud by the built-in voice.
    Spoken(String),
}

/// How fast audio is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// This many times faster than it is played. Realtime services generate several times faster than real time.
    Times(f64),
    /// All at once.
    Burst,
}

/// A function call by the model.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Its arguments, a JSON object as text.
    pub arguments: String,
}

impl Script {
    /// Nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// A conversation, as the program holds it.
    pub fn converse() -> Self {
        Self::new().then(Step::Mode(Mode::Converse))
    }

    /// An echo of every append.
    pub fn echo() -> Self {
        Self::new().then(Step::Mode(Mode::Echo))
    }

    /// Adds a step.
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Adds all steps of another script.
    pub fn then_all(mut self, script: impl Into<Script>) -> Self {
        self.steps.extend(script.into().steps);
        self
    }

    /// Adds a step `times` times.
    pub fn repeat(mut self, times: usize, step: Step) -> Self {
        self.steps.extend(std::iter::repeat_n(step, times));
        self
    }

    /// Waits for the client's `response.create`, then says this to the end.
    pub fn greet(self, speech: Speech, timeout: Duration) -> Self {
        self.wait_event("response.create", timeout).say(speech)
    }

    /// Says this to the end (or until interrupted).
    pub fn say(self, speech: Speech) -> Self {
        self.start_saying(speech).then(Step::FinishReply)
    }

    /// Begins to say this; the next step follows at once.
    pub fn start_saying(self, speech: Speech) -> Self {
        self.then(Step::Reply(Reply { speech: Some(speech), tool_calls: Vec::new() }))
    }

    /// Calls a function; `arguments` is JSON text.
    pub fn call_tool(self, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let call = ToolCall { name: name.into(), arguments: arguments.into() };
        self.then(Step::Reply(Reply { speech: None, tool_calls: vec![call] })).then(Step::FinishReply)
    }

    /// Waits for a client event of this type.
    pub fn wait_event(self, kind: impl Into<String>, timeout: Duration) -> Self {
        self.then(Step::Wait(Until::Event(kind.into()), timeout))
    }

    /// Waits until this much caller audio has come.
    pub fn wait_caller_audio(self, amount: Duration, timeout: Duration) -> Self {
        self.then(Step::Wait(Until::CallerAudio(amount), timeout))
    }

    /// Waits.
    pub fn sleep(self, time: Duration) -> Self {
        self.then(Step::Sleep(time))
    }

    /// Closes the WebSocket.
    pub fn close(self, code: u16, reason: impl Into<String>) -> Self {
        self.then(Step::Close { code, reason: reason.into() })
    }
}

impl From<Step> for Script {
    fn from(step: Step) -> Self {
        Self { steps: vec![step] }
    }
}

impl From<Vec<Step>> for Script {
    fn from(steps: Vec<Step>) -> Self {
        Self { steps }
    }
}

impl Speech {
    /// `text`, read aloud by the built-in voice.
    pub fn spoken(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::of(text.clone(), vec![Sound::Spoken(text)])
    }

    /// `audio` sent byte for byte, in the session's output format.
    pub fn wire(text: impl Into<String>, audio: impl Into<Arc<[u8]>>) -> Self {
        Self::of(text, vec![Sound::Wire(audio.into())])
    }

    /// These sounds with this transcript, at the usual pace.
    pub fn of(text: impl Into<String>, sounds: Vec<Sound>) -> Self {
        Self { text: text.into(), sounds, pace: Pace::Times(4.0), chunk_ms: 100 }
    }

    /// The same speech at another pace.
    pub fn at(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same speech with another chunk length. `u32::MAX`: all in one delta.
    pub fn in_chunks_of(self, chunk_ms: u32) -> Self {
        Self { chunk_ms, ..self }
    }
}
