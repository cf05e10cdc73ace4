//! What a conversation needs to know before it starts, in no provider's words.

use std::fmt;

use ai_media::{Encoding, Format};

use crate::Speaker;

/// Settings of one conversation: the profile with the call's own overrides applied.
#[derive(Debug, Clone)]
pub struct Session {
    /// Names this call to a server that wants it named: 32 hexadecimal digits, different for every call.
    pub call_id: String,
    /// WebSocket URL of the provider, without the query parameters that the dialect adds.
    pub url: String,
    /// Model name; empty leaves the choice to the server.
    pub model: String,
    /// The account's key; empty sends none.
    pub api_key: Secret,
    /// Agent that was set up at the provider, where the provider has such; empty: none.
    pub agent_id: String,
    /// Account that calls appear to come from, for servers that ask; empty: none.
    pub account_sid: String,
    /// Company whose model thinks, where the provider offers several; empty leaves the choice to it.
    pub think_provider: String,
    /// Which shapes to speak to the server.
    pub api_version: ApiVersion,
    /// Voice name; empty leaves the provider's default.
    pub voice: String,
    /// Language the caller is expected to speak, ISO 639-1; empty leaves it to the provider.
    pub language: String,
    /// Standing orders for the agent, variables already filled in.
    pub instructions: String,
    /// The agent speaks first with this greeting or instruction; empty: the caller speaks first.
    pub greeting: String,
    /// What goes over the WebSocket.
    pub audio: AudioChoice,
    /// Model that transcribes the caller; empty: no transcript of the caller.
    pub transcription_model: String,
    /// Who decides that the caller has finished.
    pub turn_detection: TurnDetection,
    /// Loudness over which the server takes sound for speech, 0.0 to 1.0.
    pub vad_threshold: f64,
    /// Audio before the detected start that belongs to the speech. [ms]
    pub vad_prefix_padding_ms: u32,
    /// Silence that ends the caller's turn. [ms]
    pub vad_silence_ms: u32,
    /// The server answers by itself when the caller's turn ends.
    pub create_response: bool,
    /// The server cancels its answer by itself when the caller speaks into it.
    pub interrupt_response: bool,
    /// Extra headers of the handshake.
    pub headers: Vec<(String, Secret)>,
    /// Variables of the call, for servers that take them. Of several with one name the last counts.
    pub variables: Vec<(String, String)>,
    /// Laid over the settings that the dialect sends, in the provider's own words.
    pub provider_settings: serde_json::Map<String, serde_json::Value>,
    /// Tools the agent may call.
    pub tools: Vec<Tool>,
    /// What was said before, oldest first, when this session takes over from another one in mid-call: the agent goes on
    /// from there and does not greet. Empty: a new conversation.
    pub history: Vec<Turn>,
    /// With a history: the caller waits for the agent, which is to go on speaking as soon as it can.
    pub agent_owes_answer: bool,
    /// Sessions of this call before this one.
    pub earlier_sessions: u32,
    /// The agent has greeted the caller in one of them, though nobody may have written it down.
    pub greeted: bool,
    /// What [`Output::Resumable`](crate::Output::Resumable) of the session before has given; empty: nothing.
    pub resumption: String,
}

/// A piece of a conversation that another session had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Somebody said this. Of what the agent said, as much as was meant to be heard.
    Said {
        /// Who.
        speaker: Speaker,
        /// The words.
        text: String,
    },
    /// The agent was told this, by [`Dialect::handle_context`](crate::Dialect::handle_context); nobody said it.
    Told {
        /// The words.
        text: String,
    },
    /// The agent called a tool.
    ToolRan {
        /// The tool.
        name: String,
        /// What it was called with, a JSON text as the agent wrote it.
        arguments: String,
        /// What the agent was answered.
        result: String,
    },
}

impl Session {
    /// True if the agent was in this conversation before: it must not greet.
    pub(crate) fn takes_over(&self) -> bool {
        self.greeted || !self.history.is_empty() || !self.resumption.is_empty()
    }

    /// The history, and apart from it the caller's last words if they still are to be answered: a provider that answers
    /// whatever is said to it is told them last.
    pub(crate) fn history_and_question(&self) -> (&[Turn], Option<&str>) {
        match self.history.split_last() {
            Some((Turn::Said { speaker: Speaker::Caller, text }, before)) if self.agent_owes_answer => {
                (before, Some(text))
            }
            _ => (&self.history, None),
        }
    }

    /// The variables as a JSON object.
    pub(crate) fn variables(&self) -> serde_json::Value {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The headers of the handshake, with `name` = `value` unless the operator gave one of that name.
    pub(crate) fn headers_with(&self, name: &str, value: String) -> Vec<(String, Secret)> {
        headers_with(&self.headers, name, value)
    }
}

impl Default for Session {
    /// The configuration's defaults, with neither server nor account.
    fn default() -> Self {
        Self {
            call_id: String::new(),
            url: String::new(),
            model: String::new(),
            api_key: Secret::default(),
            agent_id: String::new(),
            account_sid: String::new(),
            think_provider: String::new(),
            api_version: ApiVersion::default(),
            voice: String::new(),
            language: String::new(),
            instructions: String::new(),
            greeting: String::new(),
            audio: AudioChoice::default(),
            transcription_model: String::new(),
            turn_detection: TurnDetection::default(),
            vad_threshold: 0.3,
            vad_prefix_padding_ms: 300,
            vad_silence_ms: 200,
            create_response: true,
            interrupt_response: true,
            headers: Vec::new(),
            variables: Vec::new(),
            provider_settings: serde_json::Map::new(),
            tools: Vec::new(),
            history: Vec::new(),
            agent_owes_answer: false,
            earlier_sessions: 0,
            greeted: false,
            resumption: String::new(),
        }
    }
}

/// `headers` with `name` = `value`, unless there is one of that name.
pub(crate) fn headers_with(headers: &[(String, Secret)], name: &str, value: String) -> Vec<(String, Secret)> {
    let mut headers = headers.to_vec();
    if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
        headers.push((name.to_owned(), Secret::new(value)));
    }
    headers
}

/// A function the agent may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name, `[A-Za-z0-9_-]`, at most 64 characters.
    pub name: String,
    /// What it does, for the agent.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: serde_json::Value,
}

/// Which generation of a provider's interface a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiVersion {
    /// The current one.
    #[default]
    Ga,
    /// The older shapes of compatible servers.
    Beta,
}

/// Who decides that the caller has finished speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TurnDetection {
    /// The server, by silence.
    #[default]
    ServerVad,
    /// The server, by meaning.
    SemanticVad,
    /// Nobody: the agent speaks only when told to.
    None,
}

/// What goes over the WebSocket (configuration key `audio`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AudioChoice {
    /// What costs the least and loses nothing.
    #[default]
    Auto,
    /// G.711 µ-law.
    Ulaw,
    /// G.711 A-law.
    Alaw,
    /// Signed linear, 8 kHz.
    Pcm8,
    /// Signed linear, 16 kHz.
    Pcm16,
    /// Signed linear, 24 kHz.
    Pcm24,
}

impl AudioChoice {
    /// The configuration's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ulaw => "ulaw",
            Self::Alaw => "alaw",
            Self::Pcm8 => "pcm8",
            Self::Pcm16 => "pcm16",
            Self::Pcm24 => "pcm24",
        }
    }

    /// The format it stands for; `None` for [`AudioChoice::Auto`], which depends on the phone.
    pub const fn format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::Ulaw => Some(Format::ULAW),
            Self::Alaw => Some(Format::ALAW),
            Self::Pcm8 => Some(Format::slin(8000)),
            Self::Pcm16 => Some(Format::slin(16000)),
            Self::Pcm24 => Some(Format::slin(24000)),
        }
    }
}

impl AudioChoice {
    /// The format it stands for, for a provider that takes all: [`AudioChoice::Auto`] is what loses nothing that this phone
    /// has to say.
    pub(crate) fn for_phone(self, phone: Format) -> Format {
        self.format().unwrap_or_else(|| match phone.encoding {
            Encoding::Alaw | Encoding::Ulaw => phone,
            Encoding::Slin if phone.rate_hz <= 8000 => Format::slin(8000),
            Encoding::Slin if phone.rate_hz <= 16_000 => Format::slin(16_000),
            Encoding::Slin => Format::slin(24_000),
        })
    }
}

/// A text that must not be printed: `Debug` shows only whether there is one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the wire and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` without this secret, should somebody have repeated it there.
    pub fn hidden_in(&self, text: String) -> String {
        // `Bearer <secret>`: the last word is what counts. Very short ones are no secrets, and would tear holes in words.
        match self.0.rsplit(' ').next() {
            Some(secret) if secret.len() >= MIN_SECRET_BYTES => text.replace(secret, "(hidden)"),
            _ => text,
        }
    }

    /// True if there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { "(hidden)" })
    }
}

/// Shorter header values are words like `yes` or `v1`.
const MIN_SECRET_BYTES: usize = 6;
