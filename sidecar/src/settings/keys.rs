//! Keys and their values: one table a section kind, one function a kind of value.

use std::time::Duration;

use ai_dialect::AudioChoice;

use super::{General, RawEntry, RawSection, SettingsError, service};

/// A key: its name and what sets it. The setter answers what is wrong, in words that follow "key = value: ".
pub(super) type Key<T> = (&'static str, fn(&mut T, &str) -> Result<(), String>);

/// Keys of `[general]` about calls.
const CALLS: &[Key<General>] = &[
    ("default_profile", |general, value| set(&mut general.default_profile, Ok(value.to_owned()))),
    ("default_assist_profile", |general, value| set(&mut general.default_assist_profile, Ok(value.to_owned()))),
    ("workers", |general, value| set(&mut general.workers, number(value, 0, 64))),
    ("cdr_userfield", |general, value| set(&mut general.cdr_userfield, boolean(value))),
    ("max_sessions", |general, value| set(&mut general.max_sessions, number(value, 0, 100_000))),
];

/// Keys of `[general]`.
pub(super) fn general() -> Vec<Key<General>> {
    [CALLS, service::KEYS].concat()
}

/// Applies every line of `section` to `target` by the table `keys`. An empty value leaves the default.
pub(super) fn apply<T>(section: &RawSection, keys: &[Key<T>], target: &mut T, errors: &mut Vec<SettingsError>) {
    for entry in &section.entries {
        let problem = match keys.iter().find(|(name, _)| *name == entry.key) {
            None => Some(unknown(&entry.key, keys)),
            Some(_) if entry.value.is_empty() => None,
            Some((name, set)) => set(target, &entry.value).err().map(|problem| format!("{name}: {problem}")),
        };
        errors.extend(problem.map(|problem| error(entry, &section.name, problem)));
    }
}

/// An error at the line of `entry`.
pub(super) fn error(entry: &RawEntry, section: &str, problem: String) -> SettingsError {
    SettingsError { place: format!("{}:{}", entry.file, entry.line), section: section.to_owned(), problem }
}

fn unknown<T>(key: &str, keys: &[Key<T>]) -> String {
    let nearest = keys.iter().map(|(name, _)| (strsim::damerau_levenshtein(key, name), *name)).min();
    match nearest {
        Some((distance, name)) if distance <= 3 => format!("unknown key '{key}'; did you mean '{name}'?"),
        _ => {
            let known: Vec<_> = keys.iter().map(|(name, _)| *name).collect();
            format!("unknown key '{key}'; known are {}", known.join(", "))
        }
    }
}

/// Stores a parsed value.
pub(super) fn set<T>(target: &mut T, value: Result<T, String>) -> Result<(), String> {
    *target = value?;
    Ok(())
}

/// A whole number from `least` to `most`.
pub(super) fn number<T: Copy + std::str::FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    let parsed = text.parse().ok().filter(|value| (least..=most).contains(value));
    parsed.ok_or_else(|| format!("'{text}' is not a number from {least} to {most}"))
}

/// Asterisk's words for yes and no.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" | "y" | "t" => Ok(true),
        "no" | "false" | "off" | "0" | "n" | "f" => Ok(false),
        _ => Err(format!("'{text}' is neither yes nor no")),
    }
}

/// True for Asterisk's words for no.
pub(super) fn off(text: &str) -> bool {
    boolean(text) == Ok(false)
}

/// One word of a list.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("'{text}' is none of {}", allowed.join(", "))
    })
}

/// `name<separator>value`. The value is not repeated in the error: it may be a secret.
pub(super) fn pair(text: &str, separator: char) -> Result<(String, String), String> {
    let split = text.split_once(separator).map(|(name, value)| (name.trim(), value.trim()));
    match split {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("expected 'name{separator} value'")),
    }
}

/// An error at the line of `key`, or of the section as a whole where the key is not set.
pub(super) fn at(section: &RawSection, key: &str, problem: String) -> SettingsError {
    match section.entries.iter().rfind(|entry| entry.key == key) {
        Some(entry) => error(entry, &section.name, problem),
        None => whole(section, problem),
    }
}

/// True if `section` sets `key`.
pub(super) fn has(section: &RawSection, key: &str) -> bool {
    section.entries.iter().any(|entry| entry.key == key && !entry.value.is_empty())
}

/// An error of `section` as a whole, at its first line.
pub(super) fn whole(section: &RawSection, problem: String) -> SettingsError {
    let place = match section.entries.first() {
        Some(entry) => format!("{}:{}", entry.file, entry.line),
        None => "ai_bridge.conf".to_owned(),
    };
    SettingsError { place, section: section.name.clone(), problem }
}

/// What goes over the WebSocket.
pub(super) fn audio(value: &str) -> Result<AudioChoice, String> {
    const ALL: &[AudioChoice] = &[
        AudioChoice::Auto,
        AudioChoice::Ulaw,
        AudioChoice::Alaw,
        AudioChoice::Pcm8,
        AudioChoice::Pcm16,
        AudioChoice::Pcm24,
    ];
    let words: Vec<_> = ALL.iter().map(|choice| (choice.name(), *choice)).collect();
    word(value, &words)
}

/// Stores a text as it stands.
pub(super) fn text(target: &mut String, value: &str) -> Result<(), String> {
    set(target, Ok(value.to_owned()))
}

/// A WebSocket's address.
pub(super) fn url(value: &str) -> Result<String, String> {
    let valid = (value.starts_with("ws://") || value.starts_with("wss://"))
        && value.parse::<tokio_tungstenite::tungstenite::http::Uri>().is_ok_and(|uri| uri.host().is_some());
    // The URL itself may hold a key: it is not repeated.
    if valid {
        Ok(value.to_owned())
    } else {
        Err("expected an address like wss://host/path or ws://host:port".to_owned())
    }
}

/// The name of a channel variable, not of a function: that could reach anything.
pub(super) fn variable_name(value: &str) -> Result<String, String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if value.chars().all(allowed) && !value.starts_with(|character: char| character.is_ascii_digit()) {
        Ok(value.to_owned())
    } else {
        Err(format!("'{value}' is not the name of a channel variable: letters, digits and _"))
    }
}

/// An object in JSON. Not repeated in the error: there may be a secret in it.
pub(super) fn json_object(value: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    serde_json::from_str(value).map_err(|error| {
        format!("expected a JSON object like {{\"a\": {{\"b\": 1}}}}; it is wrong at column {}", error.column())
    })
}

/// Milliseconds from `least` to `most`.
pub(super) fn millis(value: &str, least: u64, most: u64) -> Result<Duration, String> {
    number(value, least, most).map(Duration::from_millis)
}

/// Seconds from `least` to `most`.
pub(super) fn seconds(value: &str, least: u64, most: u64) -> Result<Duration, String> {
    number(value, least, most).map(Duration::from_secs)
}
