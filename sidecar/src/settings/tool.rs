//! A tool of the operator's own: a section with `type = tool`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ai_dialect::Secret;
use serde_json::{Map, Value, json};

use super::keys::{self, Key, at, boolean, has, json_object, millis, number, pair, set, text, word};
use super::profile::{connector, read_text};
use super::{Folders, RawSection, SettingsError};
use crate::connector::Connector;
use crate::sound::Sound;
use crate::tools;
use crate::tools::Schema;

/// A tool that agents may call, in a section of `ai_bridge.conf` with `type = tool`.
#[derive(Debug)]
pub struct Tool {
    /// Its name: that of the section.
    pub name: String,
    /// What it does, for the agent.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
    pub(crate) schema: Schema,
    /// What it is.
    pub action: Action,
    /// It must have answered by then.
    pub timeout: Duration,
    /// What the caller hears meanwhile.
    pub filler: Filler,
}

/// What a tool does.
#[derive(Debug)]
pub enum Action {
    /// Asks a web service.
    Webhook(Webhook),
    /// Runs a routine of the dialplan.
    Dialplan {
        /// `context,extension,priority`.
        routine: String,
        /// The properties whose values become `ARG1`, `ARG2` and so on.
        arguments: Vec<String>,
    },
}

/// A web service.
pub struct Webhook {
    /// Address, `http://` or `https://`; may hold a key.
    pub url: Secret,
    /// Extra headers.
    pub headers: Vec<(String, Secret)>,
    /// Further attempts where the first cannot have done anything, or the service asks for one.
    pub retries: u32,
    /// The TLS client, with the trust this tool gives.
    pub(crate) connector: Connector,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook with {} headers and {} retries", self.headers.len(), self.retries)
    }
}

/// What the caller hears while a tool runs and nobody speaks.
#[derive(Debug, Default)]
pub struct Filler {
    /// A sound.
    pub sound: Option<Sound>,
    /// Again and again.
    pub looped: bool,
    /// A sentence the agent says; empty: none.
    pub say: String,
    /// Not before the tool has run so long.
    pub after: Duration,
}

/// The lines of a section.
pub(super) struct Draft {
    action: Option<Kind>,
    description: String,
    parameters: Option<Map<String, Value>>,
    parameters_file: String,
    timeout: Duration,
    url: Secret,
    headers: Vec<(String, Secret)>,
    retries: u32,
    tls_ca_file: String,
    tls_verify: bool,
    routine: String,
    arguments: Vec<String>,
    filler: String,
    filler_say: String,
    filler_after: Duration,
    filler_loop: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Webhook,
    Dialplan,
}

impl Kind {
    const WORDS: &[(&str, Self)] = &[("webhook", Self::Webhook), ("dialplan", Self::Dialplan)];

    /// Keys that are for it alone.
    const fn own_keys(self) -> &'static [&'static str] {
        match self {
            Self::Webhook => &["url", "header", "retries", "tls_ca_file", "tls_verify"],
            Self::Dialplan => &["routine", "argument"],
        }
    }
}

pub(super) const KEYS: &[Key<Draft>] = &[
    ("type", |_, value| word(value, &[("tool", ())])),
    ("action", |draft, value| set(&mut draft.action, word(value, Kind::WORDS).map(Some))),
    ("description", |draft, value| text(&mut draft.description, value)),
    ("parameters", |draft, value| set(&mut draft.parameters, json_object(value).map(Some))),
    ("parameters_file", |draft, value| text(&mut draft.parameters_file, value)),
    ("timeout_ms", |draft, value| set(&mut draft.timeout, millis(value, 100, 600_000))),
    ("url", |draft, value| set(&mut draft.url, url(value))),
    ("header", |draft, value| {
        let (name, value) = pair(value, ':')?;
        draft.headers.push((name, Secret::new(value)));
        Ok(())
    }),
    ("retries", |draft, value| set(&mut draft.retries, number(value, 0, 10))),
    ("tls_ca_file", |draft, value| text(&mut draft.tls_ca_file, value)),
    ("tls_verify", |draft, value| set(&mut draft.tls_verify, boolean(value))),
    ("routine", |draft, value| set(&mut draft.routine, routine(value))),
    ("argument", |draft, value| {
        draft.arguments.push(value.to_owned());
        Ok(())
    }),
    ("filler", |draft, value| text(&mut draft.filler, value)),
    ("filler_loop", |draft, value| set(&mut draft.filler_loop, boolean(value))),
    ("filler_say", |draft, value| text(&mut draft.filler_say, value)),
    ("filler_after_ms", |draft, value| set(&mut draft.filler_after, millis(value, 0, 60_000))),
];

/// True if `section` is that of a tool.
pub(super) fn is_tool(section: &RawSection) -> bool {
    section.entries.iter().rfind(|entry| entry.key == "type").is_some_and(|entry| entry.value == "tool")
}

impl Tool {
    /// The tool in `section`; what is wrong goes to `errors`.
    pub(super) fn parse(section: &RawSection, folders: &Folders, errors: &mut Vec<SettingsError>) -> Option<Arc<Self>> {
        let before = errors.len();
        let mut draft = Draft::with_defaults();
        keys::apply(section, KEYS, &mut draft, errors);
        draft.check_keys(section, errors);
        if errors.len() > before {
            return None;
        }
        let made = draft.make(&section.name, folders);
        made.map_err(|(key, problem)| errors.push(at(section, key, problem))).ok().map(Arc::new)
    }
}

impl Draft {
    fn with_defaults() -> Self {
        Self {
            action: None,
            description: String::new(),
            parameters: None,
            parameters_file: String::new(),
            timeout: Duration::from_secs(10),
            url: Secret::default(),
            headers: Vec::new(),
            retries: 2,
            tls_ca_file: String::new(),
            tls_verify: true,
            routine: String::new(),
            arguments: Vec::new(),
            filler: String::new(),
            filler_say: String::new(),
            filler_after: Duration::from_secs(1),
            filler_loop: false,
        }
    }

    /// A key of the other action is a mistake.
    fn check_keys(&self, section: &RawSection, errors: &mut Vec<SettingsError>) {
        for (name, other) in Kind::WORDS.iter().filter(|(_, other)| self.action.is_some_and(|own| own != *other)) {
            for entry in section.entries.iter().filter(|entry| other.own_keys().contains(&entry.key.as_str())) {
                if has(section, &entry.key) {
                    let problem = format!("{}: this is for action = {name}", entry.key);
                    errors.push(keys::error(entry, &section.name, problem));
                }
            }
        }
    }

    fn make(mut self, name: &str, folders: &Folders) -> Result<Tool, (&'static str, String)> {
        check_name(name).map_err(|problem| ("type", problem))?;
        if self.description.is_empty() {
            return Err(("description", "description: missing; tell the agent what the tool does".to_owned()));
        }
        let parameters = self.parameters(folders)?;
        let schema = Schema::compile(&parameters)
            .map_err(|problem| (self.parameters_key(), format!("{}: {problem}", self.parameters_key())))?;
        let filler = Filler {
            sound: match self.filler.as_str() {
                "" => None,
                name => Some(
                    Sound::load(name, &folders.sounds).map_err(|problem| ("filler", format!("filler: {problem}")))?,
                ),
            },
            looped: self.filler_loop,
            say: std::mem::take(&mut self.filler_say),
            after: self.filler_after,
        };
        let (description, timeout) = (std::mem::take(&mut self.description), self.timeout);
        let action = self.action(&parameters, folders)?;
        Ok(Tool { name: name.to_owned(), description, parameters, schema, action, timeout, filler })
    }

    fn parameters_key(&self) -> &'static str {
        if self.parameters_file.is_empty() { "parameters" } else { "parameters_file" }
    }

    fn parameters(&mut self, folders: &Folders) -> Result<Value, (&'static str, String)> {
        let key = "parameters_file";
        let object = match (self.parameters.take(), self.parameters_file.as_str()) {
            (None, "") => return Ok(json!({"type": "object", "properties": {}, "additionalProperties": false})),
            (Some(object), "") => object,
            (Some(_), _) => return Err((key, format!("{key}: there is 'parameters' too; give one of the two"))),
            (None, file) => {
                let path = folders.config.join(file);
                let text = read_text(&path).map_err(|problem| (key, format!("{key}: {problem}")))?;
                json_object(&text).map_err(|problem| (key, format!("{key}: {}: {problem}", path.display())))?
            }
        };
        if object.get("type") != Some(&json!("object")) {
            let key = self.parameters_key();
            return Err((key, format!("{key}: expected a JSON Schema with \"type\": \"object\"")));
        }
        Ok(Value::Object(object))
    }

    fn action(self, parameters: &Value, folders: &Folders) -> Result<Action, (&'static str, String)> {
        match self.action {
            None => Err(("action", "action: missing; allowed are webhook, dialplan".to_owned())),
            Some(Kind::Webhook) if self.url.is_empty() => {
                Err(("url", "url: missing; give the service's http:// or https:// address".to_owned()))
            }
            Some(Kind::Webhook) => {
                let connector = connector(&self.tls_ca_file, self.tls_verify, &folders.config)
                    .map_err(|problem| ("tls_ca_file", format!("tls_ca_file: {problem}")))?;
                Ok(Action::Webhook(Webhook { url: self.url, headers: self.headers, retries: self.retries, connector }))
            }
            Some(Kind::Dialplan) if self.routine.is_empty() => {
                Err(("routine", "routine: missing; give context,extension,priority".to_owned()))
            }
            Some(Kind::Dialplan) => {
                let known = |name: &&String| parameters["properties"].get(name.as_str()).is_some();
                if let Some(unknown) = self.arguments.iter().find(|name| !known(name)) {
                    return Err(("argument", format!("argument: the parameters have no property '{unknown}'")));
                }
                Ok(Action::Dialplan { routine: self.routine, arguments: self.arguments })
            }
        }
    }
}

/// Providers allow `[A-Za-z0-9_-]{1,64}`.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err("the name of a tool is at most 64 of A-Z, a-z, 0-9, _ and -".to_owned());
    }
    if tools::BUILT_IN.contains(&name) {
        return Err(format!("'{name}' is built in; give the tool another name"));
    }
    Ok(())
}

/// An address of a web service. Not repeated in the error: there may be a key in it.
pub(super) fn url(value: &str) -> Result<Secret, String> {
    let valid = (value.starts_with("http://") || value.starts_with("https://"))
        && value.parse::<hyper::Uri>().is_ok_and(|uri| uri.host().is_some());
    if valid { Ok(Secret::new(value)) } else { Err("expected an address like https://host/path".to_owned()) }
}

/// `context,extension,priority`, and nothing Asterisk would read as more.
fn routine(value: &str) -> Result<String, String> {
    let parts: Vec<_> = value.split(',').map(str::trim).collect();
    let plain = |part: &&str| !part.is_empty() && !part.contains(['(', ')', '$', '{', '}']);
    if parts.len() == 3 && parts.iter().all(plain) {
        Ok(parts.join(","))
    } else {
        Err("expected context,extension,priority, for example ai-tools,order,1".to_owned())
    }
}
