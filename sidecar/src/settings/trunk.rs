//! A trunk: the way out for calls that are made to happen.

use std::time::Duration;

use super::keys::{self, Key, at, number, set, whole};
use super::{RawSection, SettingsError};
use crate::outbound::number::{Number, NumberPattern};

/// A trunk. A section of `ai_bridge.conf` with `type = trunk`.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// Name of the section.
    pub name: String,
    /// How it is dialled.
    pub dial: DialTemplate,
    /// The numbers it takes.
    pub patterns: Vec<NumberPattern>,
    /// Most calls at once; 0: no limit.
    pub max_calls: usize,
    /// Most calls a second.
    pub calls_per_second: f64,
    /// The numbers that calls may be made from: the first unless a call asks for another of them. Empty: the trunk's own, or
    /// any that a call asks for.
    pub caller_ids: Vec<Number>,
    /// Where in the dialplan an answered call begins.
    pub context: String,
    /// The extension there; `{{number}}` in it stands for the number dialled.
    pub extension: String,
    /// A call that nobody has answered by then is given up.
    pub timeout: Duration,
}

/// What stands for the number in [`DialTemplate`] and [`Trunk::extension`].
const NUMBER: &str = "{{number}}";

/// A dial string with a place for the number, like `PJSIP/{{number}}@exolve`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DialTemplate {
    technology: String,
    resource: String,
}

impl DialTemplate {
    /// The template in `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("'{text}' is not like PJSIP/{NUMBER}@trunk: a channel technology, /, and {NUMBER} once");
        let (technology, resource) = text.split_once('/').ok_or_else(expected)?;
        let plain =
            !technology.is_empty() && technology.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || resource.matches(NUMBER).count() != 1 {
            return Err(expected());
        }
        // One call is one channel, whose limits were counted.
        if resource.contains('&') {
            return Err(format!("'{text}' dials several at once; a trunk dials one"));
        }
        Ok(Self { technology: technology.to_owned(), resource: resource.to_owned() })
    }

    /// Channel technology, and resource to dial `number` at.
    pub fn fill_in(&self, number: &Number) -> (String, String) {
        (self.technology.clone(), self.resource.replace(NUMBER, number.as_str()))
    }
}

pub(super) const KEYS: &[Key<Trunk>] = &[
    ("type", |_, _| Ok(())),
    ("dial", |trunk, value| set(&mut trunk.dial, DialTemplate::parse(value))),
    ("pattern", |trunk, value| {
        trunk.patterns.push(NumberPattern::parse(value)?);
        Ok(())
    }),
    ("max_calls", |trunk, value| set(&mut trunk.max_calls, number(value, 0, 100_000))),
    ("calls_per_second", |trunk, value| set(&mut trunk.calls_per_second, number(value, 0.01, 1000.0))),
    ("caller_id", |trunk, value| {
        trunk.caller_ids.push(Number::parse(value).map_err(|problem| format!("'{value}': {problem}"))?);
        Ok(())
    }),
    ("context", |trunk, value| set(&mut trunk.context, place(value))),
    ("extension", |trunk, value| {
        place(&value.replace(NUMBER, ""))?;
        set(&mut trunk.extension, Ok(value.to_owned()))
    }),
    ("timeout_s", |trunk, value| set(&mut trunk.timeout, number(value, 1, 600).map(Duration::from_secs))),
];

/// True if `section` is a trunk's.
pub(super) fn is_trunk(section: &RawSection) -> bool {
    section.entries.iter().any(|entry| entry.key == "type" && entry.value == "trunk")
}

impl Trunk {
    /// The trunk in `section`; what is wrong goes to `errors`.
    pub(super) fn parse(section: &RawSection, errors: &mut Vec<SettingsError>) -> Option<Self> {
        let before = errors.len();
        let mut trunk = Self {
            name: section.name.clone(),
            dial: DialTemplate::default(),
            patterns: Vec::new(),
            max_calls: 10,
            calls_per_second: 1.0,
            caller_ids: Vec::new(),
            context: "ai-outbound".to_owned(),
            extension: NUMBER.to_owned(),
            timeout: Duration::from_secs(45),
        };
        keys::apply(section, KEYS, &mut trunk, errors);
        if !section.entries.iter().any(|entry| entry.key == "dial" && !entry.value.is_empty()) {
            let problem = format!("dial: missing; give a dial string like PJSIP/{NUMBER}@{}", section.name);
            errors.push(if section.entries.iter().any(|entry| entry.key == "dial") {
                at(section, "dial", problem)
            } else {
                whole(section, problem)
            });
        }
        if trunk.patterns.is_empty() {
            trunk.patterns.push(NumberPattern::e164());
        }
        (errors.len() == before).then_some(trunk)
    }

    /// True if `number` is one of those this trunk takes.
    pub fn takes(&self, number: &Number) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes(number))
    }

    /// The extension that a call of `number` begins at.
    pub fn extension_for(&self, number: &Number) -> String {
        self.extension.replace(NUMBER, number.as_str())
    }
}

/// The name of a context or an extension.
fn place(value: &str) -> Result<String, String> {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.+#*".contains(&byte));
    if plain && value.len() < 80 { Ok(value.to_owned()) } else { Err(format!("'{value}' is no name of the dialplan")) }
}
