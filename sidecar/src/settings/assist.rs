//! A profile of an assistant: a section with `type = assist`. It listens to two people and suggests to one of them what to
//! say.

use std::time::Duration;

use ai_dialect::Secret;
use ai_dialect::transcriber::{self, Listening, TRANSCRIBERS, TranscriberProvider};
use serde_json::{Map, Value};

use super::keys::{self, Key, at, audio, boolean, json_object, millis, number, pair, seconds, set, text, url, word};
use super::profile::{check_audio, connector, load_instructions};
use super::{Folders, RawSection, SettingsError, Webhooks, service, tool};
use crate::connector::Connector;

/// Where hints come from unless the profile says otherwise.
const HINT_URL: &str = "https://openrouter.ai/api/v1/chat/completions";

/// A profile of an assistant: a section of `ai_bridge.conf` with `type = assist`.
#[derive(Debug, Clone)]
pub struct AssistProfile {
    /// Name of the section.
    pub name: String,
    /// Name of the transcriber, one of [`TRANSCRIBERS`].
    pub dialect: String,
    /// What the transcriber is told, before the call's own options.
    pub listening: Listening,
    /// What is suggested to the operator; `None`: nothing is.
    pub hints: Option<Hints>,
    /// Variables for the instructions.
    pub variables: Vec<(String, String)>,
    /// The transcriber must be ready within this.
    pub connect_timeout: Duration,
    /// A stream that is lost is tried again so often.
    pub reconnect_attempts: u32,
    /// A stream that nothing is said into for so long is closed until it is needed; zero: never.
    pub idle_stream: Duration,
    /// Whom to tell of this profile's calls.
    pub webhooks: Webhooks,
    /// Connects to transcriber and chat service, with the trust this profile gives.
    pub(crate) connector: Connector,
    no_hints: bool,
    draft: Hints,
    instructions_file: String,
    tls_ca_file: String,
    tls_verify: bool,
}

/// How hints are made.
#[derive(Debug, Clone)]
pub struct Hints {
    /// Address of an OpenAI-compatible chat service; may hold a key.
    pub url: Secret,
    /// Its model.
    pub model: String,
    /// The account's key; empty sends none.
    pub api_key: Secret,
    /// The system prompt; `{{name}}` stands for a variable.
    pub instructions: String,
    /// Latest lines of the conversation that it sees.
    pub lines: usize,
    /// It must have answered by then.
    pub timeout: Duration,
    /// Least time from one request to the next.
    pub interval: Duration,
    /// Longest answer. [tokens]
    pub max_tokens: u32,
    /// Most requests in a call.
    pub most: u32,
    /// The answer is taken as it comes, piece by piece.
    pub stream: bool,
    /// Laid over the request, in the service's own words.
    pub settings: Map<String, Value>,
}

/// Keys of a section with `type = assist`.
pub(super) const KEYS: &[Key<AssistProfile>] = &[
    ("type", |_, value| word(value, &[("assist", ())])),
    ("dialect", |profile, value| {
        let known: Vec<_> = TRANSCRIBERS.iter().map(|provider| (provider.name, provider.name)).collect();
        set(&mut profile.dialect, word(value, &known).map(str::to_owned))
    }),
    ("url", |profile, value| set(&mut profile.listening.url, url(value))),
    ("model", |profile, value| text(&mut profile.listening.model, value)),
    ("api_key", |profile, value| set(&mut profile.listening.api_key, Ok(Secret::new(value)))),
    ("language", |profile, value| text(&mut profile.listening.language, value)),
    ("audio", |profile, value| set(&mut profile.listening.audio, audio(value))),
    ("term", |profile, value| {
        profile.listening.terms.push(value.to_owned());
        Ok(())
    }),
    ("context", |profile, value| text(&mut profile.listening.context, value)),
    ("endpoint_delay_ms", |profile, value| {
        set(&mut profile.listening.endpoint_delay_ms, number(value, 100, 10_000).map(Some))
    }),
    ("header", |profile, value| {
        let (name, value) = pair(value, ':')?;
        profile.listening.headers.push((name, Secret::new(value)));
        Ok(())
    }),
    ("variable", |profile, value| {
        profile.variables.push(pair(value, '=')?);
        Ok(())
    }),
    ("provider_settings", |profile, value| set(&mut profile.listening.provider_settings, json_object(value))),
    ("hint_url", |profile, value| {
        profile.no_hints = keys::off(value);
        if profile.no_hints { Ok(()) } else { set(&mut profile.draft.url, tool::url(value)) }
    }),
    ("hint_model", |profile, value| text(&mut profile.draft.model, value)),
    ("hint_api_key", |profile, value| set(&mut profile.draft.api_key, Ok(Secret::new(value)))),
    ("instructions", |profile, value| text(&mut profile.draft.instructions, value)),
    ("instructions_file", |profile, value| text(&mut profile.instructions_file, value)),
    ("hint_lines", |profile, value| set(&mut profile.draft.lines, number(value, 1, 100))),
    ("hint_timeout_ms", |profile, value| set(&mut profile.draft.timeout, millis(value, 500, 60_000))),
    ("hint_interval_ms", |profile, value| set(&mut profile.draft.interval, millis(value, 0, 60_000))),
    ("hint_max_tokens", |profile, value| set(&mut profile.draft.max_tokens, number(value, 50, 8000))),
    ("hints_max", |profile, value| set(&mut profile.draft.most, number(value, 1, 10_000))),
    ("hint_stream", |profile, value| set(&mut profile.draft.stream, boolean(value))),
    ("hint_settings", |profile, value| set(&mut profile.draft.settings, json_object(value))),
    ("connect_timeout_ms", |profile, value| set(&mut profile.connect_timeout, millis(value, 100, 60_000))),
    ("reconnect_attempts", |profile, value| set(&mut profile.reconnect_attempts, number(value, 0, 100))),
    ("idle_stream_s", |profile, value| set(&mut profile.idle_stream, seconds(value, 0, 3600))),
    ("webhook", |profile, value| profile.webhooks.add(value)),
    ("webhook_secret", |profile, value| set(&mut profile.webhooks.secret, service::secret(value))),
    ("tls_ca_file", |profile, value| text(&mut profile.tls_ca_file, value)),
    ("tls_verify", |profile, value| set(&mut profile.tls_verify, boolean(value))),
];

/// True if `section` is an assistant's.
pub(super) fn is_assist(section: &RawSection) -> bool {
    section.entries.iter().any(|entry| entry.key == "type" && entry.value == "assist")
}

impl AssistProfile {
    /// The profile in `section`; what is wrong goes to `errors`.
    pub(super) fn parse(section: &RawSection, folders: &Folders, errors: &mut Vec<SettingsError>) -> Option<Self> {
        let before = errors.len();
        let mut profile = Self::with_defaults(&section.name);
        keys::apply(section, KEYS, &mut profile, errors);
        if let Some(provider) = transcriber::transcriber(&profile.dialect) {
            profile.fill_in_defaults(provider);
            profile.check_keys(provider, section, errors);
        }
        for check in [Self::check, Self::load] {
            if let Err((key, problem)) = check(&mut profile, folders) {
                errors.push(at(section, key, problem));
            }
        }
        profile.hints = (!profile.no_hints).then(|| profile.draft.clone());
        (errors.len() == before).then_some(profile)
    }

    fn with_defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dialect: "soniox".to_owned(),
            listening: Listening::default(),
            hints: None,
            variables: Vec::new(),
            connect_timeout: Duration::from_millis(5000),
            reconnect_attempts: 10,
            idle_stream: Duration::from_secs(60),
            webhooks: Webhooks::default(),
            connector: Connector::default(),
            no_hints: false,
            draft: Hints {
                url: Secret::new(HINT_URL),
                model: String::new(),
                api_key: Secret::default(),
                instructions: String::new(),
                lines: 10,
                timeout: Duration::from_millis(8000),
                interval: Duration::from_millis(1000),
                max_tokens: 300,
                most: 200,
                stream: false,
                settings: Map::new(),
            },
            instructions_file: String::new(),
            tls_ca_file: String::new(),
            tls_verify: true,
        }
    }

    fn fill_in_defaults(&mut self, provider: &TranscriberProvider) {
        let defaults = [(&mut self.listening.url, provider.url), (&mut self.listening.model, provider.model)];
        for (setting, default) in defaults {
            if setting.is_empty() {
                default.clone_into(setting);
            }
        }
    }

    /// Every key that only some transcribers know must be one of this one's.
    fn check_keys(&self, provider: &TranscriberProvider, section: &RawSection, errors: &mut Vec<SettingsError>) {
        for entry in section.entries.iter().filter(|entry| !entry.value.is_empty()) {
            let field = if entry.key == "term" { "terms" } else { entry.key.as_str() };
            let others = TRANSCRIBERS.iter().filter(|other| other.settings.contains(&field));
            let others: Vec<_> = others.map(|other| other.name).collect();
            if !others.is_empty() && !provider.settings.contains(&field) {
                let (key, dialect, others) = (&entry.key, &self.dialect, others.join(", "));
                let problem = format!("{key}: dialect {dialect} has no such key; it is for {others}");
                errors.push(keys::error(entry, &self.name, problem));
            }
        }
    }

    fn check(&mut self, _: &Folders) -> Result<(), (&'static str, String)> {
        self.webhooks.check()?;
        if !self.no_hints && self.draft.model.is_empty() {
            let problem = "hint_model: missing; give a model of the chat service, or hint_url = no for no hints";
            return Err(("hint_model", problem.to_owned()));
        }
        let Some(provider) = transcriber::transcriber(&self.dialect) else { return Ok(()) };
        check_audio(self.listening.audio, &self.dialect, provider.audio)?;
        (provider.check)(&self.listening).map_err(|(key, problem)| (key, format!("{key}: {problem}")))
    }

    fn load(&mut self, folders: &Folders) -> Result<(), (&'static str, String)> {
        load_instructions(&mut self.draft.instructions, &self.instructions_file, folders)?;
        let connector = connector(&self.tls_ca_file, self.tls_verify, &folders.config);
        self.connector = connector.map_err(|problem| ("tls_ca_file", format!("tls_ca_file: {problem}")))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::parse;

    const DESK: &str = "[desk]\ntype = assist\nhint_model = m\n";

    #[test]
    fn an_assistant_needs_no_more_than_a_model_for_its_hints() {
        let agent = "[support]\nurl = ws://h\n";
        let settings = parse(&format!("[general]\ndefault_assist_profile = desk\n{agent}{DESK}")).expect("valid");
        let profile = settings.assist_profile(None).expect("the default");
        assert_eq!((profile.dialect.as_str(), profile.listening.language.as_str()), ("soniox", "ru"));
        assert_eq!(profile.listening.url, "wss://stt-rt.soniox.com/transcribe-websocket");
        assert!(!profile.listening.model.is_empty());
        let hints = profile.hints.as_ref().expect("they are on");
        assert_eq!((hints.lines, hints.most, hints.url.reveal()), (10, 200, HINT_URL));
        assert!(settings.assist_profile(Some("support")).is_none() && settings.profile(Some("desk")).is_none());
        let without = parse("[desk]\ntype = assist\nhint_url = no\n").expect("valid");
        assert!(without.assist_profiles["desk"].hints.is_none());
    }

    #[test]
    fn what_is_wrong_with_an_assistant_is_told_with_its_line() {
        let wrong = [
            ("dialect = openai", "dialect: 'openai' is none of soniox, openai-transcription"),
            ("url = https://h", "url: expected an address like wss://host/path"),
            ("audio = pcm", "audio: 'pcm' is none of auto, ulaw, "),
            ("endpoint_delay_ms = 50", "endpoint_delay_ms: '50' is not a number from 100 to 10000"),
            ("endpoint_delay_ms = 5000", "endpoint_delay_ms: this service allows 500 to 3000"),
            ("header = hunter2", "header: expected 'name: value'"),
            ("provider_settings = hunter2", "provider_settings: expected a JSON object"),
            ("hint_url = ws://hunter2", "hint_url: expected an address like https://host/path"),
            ("hint_lines = 0", "hint_lines: '0' is not a number from 1 to 100"),
            ("hint_timeout_ms = 1", "hint_timeout_ms: '1' is not a number from 500 to 60000"),
            ("hint_interval_ms = -1", "hint_interval_ms: '-1' is not a number from 0 to 60000"),
            ("hint_max_tokens = 9000", "hint_max_tokens: '9000' is not a number from 50 to 8000"),
            ("hints_max = 0", "hints_max: '0' is not a number from 1 to 10000"),
            ("hint_stream = perhaps", "hint_stream: 'perhaps' is neither yes nor no"),
            ("hint_settings = [1]", "hint_settings: expected a JSON object"),
            ("instructions_file = lost.md", "instructions_file: /nonexistent/lost.md: "),
            ("webhook = https://h/", "webhook: needs a webhook_secret"),
            ("tls_ca_file = lost.pem", "tls_ca_file: /nonexistent/lost.pem: "),
            ("voice = cedar", "unknown key 'voice'; known are type, dialect, "),
            ("barge_in = off", "unknown key 'barge_in'"),
        ];
        for (line, problem) in wrong {
            let errors = parse(&format!("{DESK}{line}\n")).expect_err(line);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with("ai_bridge.conf:4: [desk] ") && errors[0].contains(problem), "{errors:?}");
            assert!(!errors[0].contains("hunter2"), "{errors:?}");
        }
        let errors = parse("[desk]\ntype = assist\n").expect_err("no model");
        assert!(errors[0].ends_with("or hint_url = no for no hints"), "{errors:?}");
        let errors =
            parse(&format!("[general]\ndefault_profile = desk\ndefault_assist_profile = p\n[p]\nurl = ws://h\n{DESK}"))
                .expect_err("the wrong way round");
        assert_eq!(
            errors,
            [
                "ai_bridge.conf:2: [general] default_profile: there is no section [desk]; there are p",
                "ai_bridge.conf:3: [general] default_assist_profile: there is no section [p]; there are desk",
            ]
        );
        let errors = parse(&format!("{DESK}{DESK}")).expect_err("twice");
        assert!(errors[0].contains("this section stands twice"), "{errors:?}");
    }

    #[test]
    fn its_secrets_are_in_no_message() {
        let keys =
            "api_key = hunter2\nhint_api_key = hunter2\nheader = X-Key: hunter2\nhint_url = https://h/?key=hunter2\n";
        let settings = parse(&format!("{DESK}{keys}term = ACME\nterm = Tea\n")).expect("valid");
        assert_eq!(settings.assist_profiles["desk"].listening.terms, ["ACME", "Tea"]);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
