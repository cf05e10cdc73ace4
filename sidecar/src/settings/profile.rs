//! A profile: how conversations of one kind are held.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ai_dialect::{ApiVersion, AudioChoice, Provider, Secret, Session, TurnDetection};
use ai_media::barge_in::{Detection, EchoGuard, LocalVad};
use ai_media::playout::Backlog;
use openssl::x509::X509;

use super::keys::{
    self, Key, at, audio, boolean, has, json_object, millis, number, pair, seconds, set, text, url, variable_name, word,
};
use super::{Folders, RawSection, SettingsError, Tool, Webhooks, service};
use crate::connector::Connector;
use crate::options::CallOptions;
use crate::sound::Sound;
use crate::tools;

/// A profile: how conversations of one kind are held. A section of `ai_bridge.conf` other than `[general]`.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Name of the section.
    pub name: String,
    /// Name of the dialect, one of [`ai_dialect::PROVIDERS`].
    pub dialect: String,
    /// What the provider is told, before the call's own options.
    pub session: Session,
    /// Who may interrupt the agent.
    pub barge_in: BargeInMode,
    /// How the caller's speech is noticed on the line itself.
    pub local_vad: LocalVad,
    /// What becomes of the agent's echo before the provider hears it.
    pub echo_guard: EchoGuard,
    /// Caller audio that is out of order waits this long for what is missing.
    pub jitter_target: Duration,
    /// Agent audio that must have arrived before a turn starts to be heard.
    pub playout_target: Duration,
    /// What becomes of agent audio that is late.
    pub playout_backlog: Backlog,
    /// More queued agent audio than this ends the turn.
    pub playout_max: Duration,
    /// The AI must be ready within this.
    pub connect_timeout: Duration,
    /// A connection that is lost in mid-call is tried again so often.
    pub reconnect_attempts: u32,
    /// What a caller hears while there is no session.
    pub waiting_sound: Option<Arc<Sound>>,
    /// A session that has lasted so long is followed by another before the provider ends it; zero: the provider's own limit.
    pub session_max: Duration,
    /// Profile to hold the conversation with when this one cannot; empty: none.
    pub fallback: String,
    /// Longest conversation; zero: no limit.
    pub max_duration: Duration,
    /// End after that long without a word; zero: never.
    pub idle_timeout: Duration,
    /// Variables for the agent.
    pub variables: Vec<(String, String)>,
    /// Contexts the agent may transfer to; empty: it may not.
    pub transfer_contexts: Vec<String>,
    /// Tools of the operator's own that the agent may call.
    pub tools: Vec<Arc<Tool>>,
    /// The agent may send keys to the phone.
    pub send_dtmf: bool,
    /// Channel variables the agent may set; empty: none.
    pub settable_variables: Vec<String>,
    /// Most calls at once that were made to happen; 0: no limit.
    pub max_calls: usize,
    /// What becomes of an answering machine.
    pub on_machine: OnMachine,
    /// The sound that an answering machine gets.
    pub machine_message: String,
    /// How Asterisk's `AMD()` tells people from machines.
    pub amd_arguments: String,
    /// Whom to tell of this profile's calls.
    pub webhooks: Webhooks,
    /// Connects to the provider, with the trust this profile gives.
    pub(crate) connector: Connector,
    tls_ca_file: String,
    tls_verify: bool,
    instructions_file: String,
    waiting_sound_name: String,
}

/// Who may interrupt the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BargeInMode {
    /// The provider, by its voice detection.
    Server,
    /// This side, by what it hears on the line.
    Local,
    /// Either; this side holds at once and waits for the other.
    Both,
    /// Nobody.
    Off,
}

impl BargeInMode {
    /// The configuration's words.
    pub const WORDS: &[(&str, Self)] =
        &[("server", Self::Server), ("local", Self::Local), ("both", Self::Both), ("off", Self::Off)];

    /// True if the provider's voice detection interrupts.
    pub const fn by_server(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }

    /// True if this side interrupts by what it hears on the line.
    pub const fn on_the_line(self) -> bool {
        matches!(self, Self::Local | Self::Both)
    }
}

/// What becomes of an answering machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMachine {
    /// The conversation does not begin.
    #[default]
    Hangup,
    /// It gets [`Profile::machine_message`] after its greeting.
    Message,
    /// The agent talks to it.
    Continue,
}

impl OnMachine {
    /// The configuration's words.
    pub const WORDS: &[(&str, Self)] =
        &[("hangup", Self::Hangup), ("message", Self::Message), ("continue", Self::Continue)];
}

/// What tells people from machines best, by measurement (`docs/outbound.md`).
const AMD_ARGUMENTS: &str = "2500,2000,600,6000,100,50,9,256,5000";
/// Numbers that `AMD()` takes; the argument after them is a sound.
const AMD_ARGUMENTS_MAX: usize = 9;

/// Longest text of instructions. [bytes]
const INSTRUCTIONS_MAX: u64 = 256 * 1024;

pub(super) const KEYS: &[Key<Profile>] = &[
    ("type", |_, value| word(value, &[("agent", ()), ("assist", ()), ("tool", ()), ("trunk", ())])),
    ("dialect", |profile, value| {
        let known: Vec<_> = ai_dialect::PROVIDERS.iter().map(|provider| (provider.name, provider.name)).collect();
        set(&mut profile.dialect, word(value, &known).map(str::to_owned))
    }),
    ("url", |profile, value| set(&mut profile.session.url, url(value))),
    ("model", |profile, value| text(&mut profile.session.model, value)),
    ("api_key", |profile, value| set(&mut profile.session.api_key, Ok(Secret::new(value)))),
    ("agent_id", |profile, value| text(&mut profile.session.agent_id, value)),
    ("account_sid", |profile, value| text(&mut profile.session.account_sid, value)),
    ("think_provider", |profile, value| text(&mut profile.session.think_provider, value)),
    ("provider_settings", |profile, value| set(&mut profile.session.provider_settings, json_object(value))),
    ("api_version", |profile, value| {
        set(&mut profile.session.api_version, word(value, &[("ga", ApiVersion::Ga), ("beta", ApiVersion::Beta)]))
    }),
    ("voice", |profile, value| text(&mut profile.session.voice, value)),
    ("language", |profile, value| text(&mut profile.session.language, value)),
    ("instructions", |profile, value| text(&mut profile.session.instructions, value)),
    ("instructions_file", |profile, value| text(&mut profile.instructions_file, value)),
    ("greeting", |profile, value| text(&mut profile.session.greeting, value)),
    ("audio", |profile, value| set(&mut profile.session.audio, audio(value))),
    ("transcription_model", |profile, value| text(&mut profile.session.transcription_model, value)),
    ("turn_detection", |profile, value| {
        let words = [
            ("server_vad", TurnDetection::ServerVad),
            ("semantic_vad", TurnDetection::SemanticVad),
            ("none", TurnDetection::None),
        ];
        set(&mut profile.session.turn_detection, word(value, &words))
    }),
    ("vad_threshold", |profile, value| set(&mut profile.session.vad_threshold, number(value, 0.0, 1.0))),
    ("vad_prefix_padding_ms", |profile, value| {
        set(&mut profile.session.vad_prefix_padding_ms, number(value, 0, 10_000))
    }),
    ("vad_silence_ms", |profile, value| set(&mut profile.session.vad_silence_ms, number(value, 0, 10_000))),
    ("create_response", |profile, value| set(&mut profile.session.create_response, boolean(value))),
    ("interrupt_response", |profile, value| set(&mut profile.session.interrupt_response, boolean(value))),
    ("barge_in", |profile, value| set(&mut profile.barge_in, word(value, BargeInMode::WORDS))),
    ("local_vad", |profile, value| set(&mut profile.local_vad.detection, word(value, Detection::WORDS))),
    ("local_vad_rms", |profile, value| set(&mut profile.local_vad.rms, number(value, 0.0, 1.0))),
    ("local_vad_frames", |profile, value| set(&mut profile.local_vad.frames, number(value, 1, 50))),
    ("local_vad_silence_ms", |profile, value| set(&mut profile.local_vad.silence, millis(value, 0, 10_000))),
    ("barge_in_confirm_ms", |profile, value| set(&mut profile.local_vad.confirm, millis(value, 20, 5000))),
    ("echo_guard", |profile, value| set(&mut profile.echo_guard, word(value, EchoGuard::WORDS))),
    ("jitter_target_ms", |profile, value| set(&mut profile.jitter_target, millis(value, 0, 100))),
    ("playout_target_ms", |profile, value| set(&mut profile.playout_target, millis(value, 0, 400))),
    ("playout_backlog", |profile, value| {
        let words = [("play", Backlog::Played), ("skip", Backlog::Skipped)];
        set(&mut profile.playout_backlog, word(value, &words))
    }),
    ("playout_max_s", |profile, value| set(&mut profile.playout_max, seconds(value, 1, 3600))),
    ("connect_timeout_ms", |profile, value| set(&mut profile.connect_timeout, millis(value, 100, 60_000))),
    ("reconnect_attempts", |profile, value| set(&mut profile.reconnect_attempts, number(value, 0, 100))),
    ("waiting_sound", |profile, value| text(&mut profile.waiting_sound_name, value)),
    ("session_max_s", |profile, value| set(&mut profile.session_max, seconds(value, 0, 86_400))),
    ("fallback", |profile, value| text(&mut profile.fallback, value)),
    ("max_duration_s", |profile, value| set(&mut profile.max_duration, seconds(value, 0, 86_400))),
    ("idle_timeout_s", |profile, value| set(&mut profile.idle_timeout, seconds(value, 0, 86_400))),
    ("header", |profile, value| {
        let (name, value) = pair(value, ':')?;
        profile.session.headers.push((name, Secret::new(value)));
        Ok(())
    }),
    ("variable", |profile, value| {
        profile.variables.push(pair(value, '=')?);
        Ok(())
    }),
    ("transfer_context", |profile, value| {
        profile.transfer_contexts.push(value.to_owned());
        Ok(())
    }),
    // Looked up when all sections are read.
    ("tool", |_, _| Ok(())),
    ("settable_variable", |profile, value| {
        profile.settable_variables.push(variable_name(value)?);
        Ok(())
    }),
    ("max_calls", |profile, value| set(&mut profile.max_calls, number(value, 0, 100_000))),
    ("on_machine", |profile, value| set(&mut profile.on_machine, word(value, OnMachine::WORDS))),
    ("machine_message", |profile, value| text(&mut profile.machine_message, value)),
    ("amd_arguments", |profile, value| set(&mut profile.amd_arguments, amd_arguments(value))),
    ("webhook", |profile, value| profile.webhooks.add(value)),
    ("webhook_secret", |profile, value| set(&mut profile.webhooks.secret, service::secret(value))),
    ("tls_ca_file", |profile, value| text(&mut profile.tls_ca_file, value)),
    ("tls_verify", |profile, value| set(&mut profile.tls_verify, boolean(value))),
];

impl Profile {
    /// The profile in `section`; what is wrong goes to `errors`.
    pub(super) fn parse(
        section: &RawSection,
        tools: &BTreeMap<String, Option<Arc<Tool>>>,
        folders: &Folders,
        errors: &mut Vec<SettingsError>,
    ) -> Option<Self> {
        let before = errors.len();
        let mut profile = Self::with_defaults(&section.name);
        keys::apply(section, KEYS, &mut profile, errors);
        if let Some(provider) = ai_dialect::provider(&profile.dialect) {
            profile.check_keys(provider, section, errors);
            for check in [Self::check_required, Self::check_audio] {
                if let Err((key, problem)) = check(&profile, provider) {
                    errors.push(at(section, key, problem));
                }
            }
            if !provider.local_barge_in && !has(section, "barge_in") {
                profile.barge_in = BargeInMode::Server;
            }
        }
        if profile.on_machine == OnMachine::Message && profile.machine_message.is_empty() {
            let problem = "on_machine: message needs a machine_message, the name of a sound".to_owned();
            errors.push(at(section, "on_machine", problem));
        }
        if let Err((key, problem)) = profile.webhooks.check() {
            errors.push(at(section, key, problem));
        }
        for load in [Self::load_instructions, Self::load_waiting_sound, Self::load_tls] {
            if let Err((key, problem)) = load(&mut profile, folders) {
                errors.push(at(section, key, problem));
            }
        }
        profile.find_tools(tools, section, errors);
        (errors.len() == before).then_some(profile)
    }

    fn with_defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dialect: "openai".to_owned(),
            session: Session::default(),
            barge_in: BargeInMode::Both,
            local_vad: LocalVad {
                detection: Detection::Voice,
                rms: 0.08,
                frames: 2,
                silence: Duration::from_millis(550),
                confirm: Duration::from_millis(400),
            },
            echo_guard: EchoGuard::Auto,
            jitter_target: Duration::from_millis(40),
            playout_target: Duration::from_millis(40),
            playout_backlog: Backlog::default(),
            playout_max: Duration::from_secs(120),
            connect_timeout: Duration::from_millis(5000),
            reconnect_attempts: 3,
            waiting_sound: None,
            waiting_sound_name: String::new(),
            session_max: Duration::ZERO,
            fallback: String::new(),
            max_duration: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            variables: Vec::new(),
            transfer_contexts: Vec::new(),
            tools: Vec::new(),
            send_dtmf: false,
            settable_variables: Vec::new(),
            max_calls: 0,
            on_machine: OnMachine::default(),
            machine_message: String::new(),
            amd_arguments: AMD_ARGUMENTS.to_owned(),
            webhooks: Webhooks::default(),
            connector: Connector::default(),
            tls_ca_file: String::new(),
            tls_verify: true,
            instructions_file: String::new(),
        }
    }

    /// What the provider is told in a call with `options`. The profile's key, headers, variables and settings in the
    /// provider's words, any of which may be secret, go to the profile's own server only: a dialplan may take the address, or what it believes to be a name, from somebody else.
    pub fn session(&self, options: &CallOptions) -> Session {
        let mut session = self.session.clone();
        let overrides = [
            (&mut session.url, &options.url),
            (&mut session.model, &options.model),
            (&mut session.voice, &options.voice),
            (&mut session.language, &options.language),
            (&mut session.instructions, &options.instructions),
            (&mut session.greeting, &options.greeting),
        ];
        for (setting, value) in overrides {
            if let Some(value) = value {
                setting.clone_from(value);
            }
        }
        let own_server = origin(&session.url) == origin(&self.session.url);
        if !own_server {
            session.api_key = Secret::default();
            session.headers.clear();
            session.provider_settings.clear();
        }
        let overridden = |name: &str| options.headers.iter().any(|(extra, _)| extra.eq_ignore_ascii_case(name));
        session.headers.retain(|(name, _)| !overridden(name));
        let extra = options.headers.iter().map(|(name, value)| (name.clone(), Secret::new(value)));
        session.headers.extend(extra);
        let variables: Vec<_> = self.variables.iter().chain(&options.variables).cloned().collect();
        session.instructions = fill_in(&session.instructions, &variables);
        session.greeting = fill_in(&session.greeting, &variables);
        session.variables = if own_server { variables } else { options.variables.clone() };
        session.tools = tools::declared(self);
        session.interrupt_response &= options.barge_in.unwrap_or(self.barge_in).by_server();
        session
    }

    /// Every key that only some dialects know must be one of this dialect's.
    fn check_keys(&self, provider: &Provider, section: &RawSection, errors: &mut Vec<SettingsError>) {
        let knows = |provider: &Provider, key: &str| provider.settings.contains(&key);
        for entry in section.entries.iter().filter(|entry| !entry.value.is_empty()) {
            let key = if entry.key == "instructions_file" { "instructions" } else { entry.key.as_str() };
            let for_others: Vec<_> =
                ai_dialect::PROVIDERS.iter().filter(|other| knows(other, key)).map(|other| other.name).collect();
            if !for_others.is_empty() && !knows(provider, key) {
                let (key, dialect, others) = (&entry.key, &self.dialect, for_others.join(", "));
                let problem = format!("{key}: dialect {dialect} has no such key; it is for {others}");
                errors.push(keys::error(entry, &self.name, problem));
            }
        }
    }

    /// Every tool that is named must be there.
    fn find_tools(
        &mut self,
        tools: &BTreeMap<String, Option<Arc<Tool>>>,
        section: &RawSection,
        errors: &mut Vec<SettingsError>,
    ) {
        for entry in section.entries.iter().filter(|entry| entry.key == "tool" && !entry.value.is_empty()) {
            match tools.get(&entry.value) {
                _ if entry.value == tools::SEND_DTMF => self.send_dtmf = true,
                Some(Some(tool)) if !self.tools.iter().any(|known| known.name == tool.name) => {
                    self.tools.push(tool.clone());
                }
                Some(_) => {}
                None => {
                    let known: Vec<_> = tools.keys().map(String::as_str).chain([tools::SEND_DTMF]).collect();
                    let problem = format!("tool: there is no tool '{}'; there are {}", entry.value, known.join(", "));
                    errors.push(keys::error(entry, &self.name, problem));
                }
            }
        }
    }

    fn check_required(&self, provider: &Provider) -> Result<(), (&'static str, String)> {
        if self.session.url.is_empty() {
            return Err(("url", "url: missing; give the provider's ws:// or wss:// address".to_owned()));
        }
        (provider.check)(&self.session).map_err(|(key, problem)| (key, format!("{key}: {problem}")))
    }

    fn check_audio(&self, provider: &Provider) -> Result<(), (&'static str, String)> {
        check_audio(self.session.audio, &self.dialect, provider.audio)
    }

    fn load_instructions(&mut self, folders: &Folders) -> Result<(), (&'static str, String)> {
        load_instructions(&mut self.session.instructions, &self.instructions_file, folders)
    }

    fn load_waiting_sound(&mut self, folders: &Folders) -> Result<(), (&'static str, String)> {
        let key = "waiting_sound";
        if !self.waiting_sound_name.is_empty() {
            let sound = Sound::load(&self.waiting_sound_name, &folders.sounds);
            self.waiting_sound = Some(Arc::new(sound.map_err(|problem| (key, format!("{key}: {problem}")))?));
        }
        Ok(())
    }

    fn load_tls(&mut self, folders: &Folders) -> Result<(), (&'static str, String)> {
        let connector = connector(&self.tls_ca_file, self.tls_verify, &folders.config);
        self.connector = connector.map_err(|problem| ("tls_ca_file", format!("tls_ca_file: {problem}")))?;
        Ok(())
    }
}

/// Fills `instructions` from `file`, if one is named.
pub(super) fn load_instructions(
    instructions: &mut String,
    file: &str,
    folders: &Folders,
) -> Result<(), (&'static str, String)> {
    if file.is_empty() {
        return Ok(());
    }
    let key = "instructions_file";
    if !instructions.is_empty() {
        return Err((key, format!("{key}: there is 'instructions' too; give one of the two")));
    }
    *instructions = read_text(&folders.config.join(file)).map_err(|problem| (key, format!("{key}: {problem}")))?;
    Ok(())
}

/// A connector that trusts the certificates in `ca_file`, unless that is empty, in addition to the system's.
pub(super) fn connector(ca_file: &str, verify: bool, config_dir: &Path) -> Result<Connector, String> {
    let mut authorities = Vec::new();
    if !ca_file.is_empty() {
        let path = config_dir.join(ca_file);
        let pem = read_text(&path)?;
        authorities = X509::stack_from_pem(pem.as_bytes())
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| format!("{} holds no certificate in PEM form", path.display()))?;
    }
    Connector::with_tls(authorities, verify).map_err(|error| format!("the TLS library refuses it: {error}"))
}

pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    if size > INSTRUCTIONS_MAX {
        return Err(format!("{} has {size} bytes; at most {INSTRUCTIONS_MAX} are allowed", path.display()));
    }
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Replaces every `{{name}}` by the last variable of that name; an unknown one becomes empty.
pub(crate) fn fill_in(text: &str, variables: &[(String, String)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else { break };
        filled.push_str(before);
        let value = variables.iter().rfind(|(known, _)| known == name.trim());
        filled.push_str(value.map_or("", |(_, value)| value));
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

/// Scheme, host and port of `url`, as the comparison of servers needs them.
fn origin(url: &str) -> String {
    let end = url.find("://").map_or(0, |at| at + 3);
    let authority = url[end..].split(['/', '?', '#']).next().unwrap_or_default();
    format!("{}{authority}", &url[..end]).to_ascii_lowercase()
}

/// The value of `audio` must be one that the dialect has.
pub(super) fn check_audio(
    audio: AudioChoice,
    dialect: &str,
    known: &[AudioChoice],
) -> Result<(), (&'static str, String)> {
    if known.contains(&audio) {
        return Ok(());
    }
    let allowed: Vec<_> = known.iter().map(|choice| choice.name()).collect();
    let problem = format!("audio: dialect {dialect} has no '{}'; it has {}", audio.name(), allowed.join(", "));
    Err(("audio", problem))
}

/// Milliseconds and counts, with commas between; what is left out is as `amd.conf` says.
fn amd_arguments(value: &str) -> Result<String, String> {
    let numbers = value.split(',').all(|number| number.is_empty() || number.parse::<u16>().is_ok());
    if numbers && value.split(',').count() <= AMD_ARGUMENTS_MAX {
        Ok(value.to_owned())
    } else {
        Err(format!("'{value}' is not a list of at most {AMD_ARGUMENTS_MAX} numbers with commas between"))
    }
}
