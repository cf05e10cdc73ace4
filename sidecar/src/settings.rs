//! `ai_bridge.conf`: from lines to settings.
//!
//! The telephone exchange reads the file (templates, includes, variables); this module turns the resulting
//! [`RawSection`]s into [`Settings`], all or nothing. Everything that is wrong is reported at once, each with file,
//! line, key and what is allowed.

mod assist;
mod keys;
mod profile;
mod service;
mod tool;
mod trunk;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use assist::{AssistProfile, Hints};
pub(crate) use profile::fill_in;
pub use profile::{BargeInMode, OnMachine, Profile};
pub use service::{Http, Log, Webhooks};
pub use tool::{Action, Filler, Tool, Webhook};
pub use trunk::{DialTemplate, Trunk};

/// One section as it stands in the file.
#[derive(Debug, Clone, Default)]
pub struct RawSection {
    /// Its name, without brackets.
    pub name: String,
    /// Its lines, in order.
    pub entries: Vec<RawEntry>,
}

/// One `key = value` line.
#[derive(Clone)]
pub struct RawEntry {
    /// The file it stands in.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// The key.
    pub key: String,
    /// The value, variables already expanded; possibly a secret.
    pub value: String,
}

impl fmt::Debug for RawEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.file, self.line, self.key)
    }
}

/// Where file names that are not whole paths start. A single path stands for all of them.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Certificates, instructions and schemas.
    pub config: PathBuf,
    /// Sounds, in the order they are looked for.
    pub sounds: Vec<PathBuf>,
}

impl From<&Path> for Folders {
    fn from(path: &Path) -> Self {
        Self { config: path.to_owned(), sounds: vec![path.to_owned()] }
    }
}

/// The whole configuration. Immutable: a reload makes a new one, running calls keep theirs.
#[derive(Debug, Default)]
pub struct Settings {
    /// Section `[general]`.
    pub general: General,
    /// All sections of agents, by name.
    pub profiles: BTreeMap<String, Arc<Profile>>,
    /// All sections of assistants, by name.
    pub assist_profiles: BTreeMap<String, Arc<AssistProfile>>,
    /// All sections of trunks, in their order: the first that takes a number is asked first.
    pub trunks: Vec<Arc<Trunk>>,
}

/// Section `[general]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct General {
    /// Profile of calls that name none; empty: there is none.
    pub default_profile: String,
    /// Profile of assistants that are called by none; empty: there is none.
    pub default_assist_profile: String,
    /// Sidecar threads; 0: one for every two cores.
    pub workers: usize,
    /// Most sessions at once; 0: no limit.
    pub max_sessions: usize,
    /// The call detail record tells how the conversation went.
    pub cdr_userfield: bool,
    /// The control API.
    pub http: Http,
    /// Whom to tell of all calls.
    pub webhooks: Webhooks,
    /// The call log.
    pub log: Log,
    /// Folder of the calls' recordings, as it stands in the configuration; `None`: none are shown.
    pub recordings: Option<PathBuf>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: [{section}] {problem}")]
pub struct SettingsError {
    /// File and line, or only the file.
    pub place: String,
    /// The section.
    pub section: String,
    /// What is wrong and what is allowed. Never the value of a secret.
    pub problem: String,
}

impl Settings {
    /// Makes settings out of `sections`, with the files they name in `folders`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn parse(sections: &[RawSection], folders: impl Into<Folders>) -> Result<Self, Vec<SettingsError>> {
        let folders = folders.into();
        let mut settings = Self::default();
        let mut errors = Vec::new();
        let (of_tools, others): (Vec<_>, Vec<_>) = sections.iter().partition(|section| tool::is_tool(section));
        // One that is wrong is known all the same: who names it is not wrong, too.
        let mut tools = BTreeMap::new();
        for section in of_tools {
            if tools.contains_key(&section.name) {
                errors.extend(twice(section));
            } else {
                tools.insert(section.name.clone(), Tool::parse(section, &folders, &mut errors));
            }
        }
        for section in others {
            if section.name == "general" {
                keys::apply(section, &keys::general(), &mut settings.general, &mut errors);
                settings.general.check(section, &mut errors);
            } else if settings.has(&section.name) || tools.contains_key(&section.name) {
                errors.extend(twice(section));
            } else if trunk::is_trunk(section) {
                settings.trunks.extend(Trunk::parse(section, &mut errors).map(Arc::new));
            } else if assist::is_assist(section) {
                if let Some(profile) = AssistProfile::parse(section, &folders, &mut errors) {
                    settings.assist_profiles.insert(section.name.clone(), Arc::new(profile));
                }
            } else if let Some(profile) = Profile::parse(section, &tools, &folders, &mut errors) {
                settings.profiles.insert(section.name.clone(), Arc::new(profile));
            }
        }
        let agents: Vec<_> = settings.profiles.keys().map(String::as_str).collect();
        let assistants: Vec<_> = settings.assist_profiles.keys().map(String::as_str).collect();
        let general = &settings.general;
        let defaults = [
            ("default_profile", &general.default_profile, agents, is_profile as fn(&RawSection) -> bool),
            ("default_assist_profile", &general.default_assist_profile, assistants, assist::is_assist),
        ];
        for (key, default, names, is_one) in defaults {
            errors.extend(check_default(sections, key, default, &names, is_one));
        }
        settings.check_fallbacks(sections, &mut errors);
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }

    /// The trunk called `name`.
    pub fn trunk(&self, name: &str) -> Option<&Arc<Trunk>> {
        self.trunks.iter().find(|trunk| trunk.name == name)
    }

    fn has(&self, name: &str) -> bool {
        self.profiles.contains_key(name) || self.assist_profiles.contains_key(name) || self.trunk(name).is_some()
    }

    /// The profile called `name`, or the default one.
    pub fn profile(&self, name: Option<&str>) -> Option<&Arc<Profile>> {
        self.profiles.get(name.unwrap_or(&self.general.default_profile))
    }

    /// The assistant called `name`, or the default one.
    pub fn assist_profile(&self, name: Option<&str>) -> Option<&Arc<AssistProfile>> {
        self.assist_profiles.get(name.unwrap_or(&self.general.default_assist_profile))
    }

    /// `profile`, and after it those that stand in for it, in their order.
    pub fn with_fallbacks(&self, profile: &Arc<Profile>) -> Vec<Arc<Profile>> {
        let mut route = vec![profile.clone()];
        while let Some(next) = route.last().and_then(|last| self.profiles.get(&last.fallback))
            && !route.iter().any(|known| known.name == next.name)
        {
            route.push(next.clone());
        }
        route
    }

    /// Every fallback is a profile, and none comes back to where it began.
    fn check_fallbacks(&self, sections: &[RawSection], errors: &mut Vec<SettingsError>) {
        for section in sections {
            let Some(entry) = section.entries.iter().rfind(|entry| entry.key == "fallback") else { continue };
            let Some(profile) = self.profiles.get(&section.name).filter(|profile| !profile.fallback.is_empty()) else {
                continue;
            };
            let route = self.with_fallbacks(profile);
            let last = &route[route.len() - 1].fallback;
            let stands_in = |section: &RawSection| section.name == profile.fallback && is_profile(section);
            let problem = if !sections.iter().any(stands_in) {
                let others: Vec<_> = self.profiles.keys().filter(|name| **name != section.name).cloned().collect();
                format!("fallback: there is no profile '{}'; there are {}", profile.fallback, others.join(", "))
            } else if *last == profile.name {
                let names: Vec<_> = route.iter().map(|profile| profile.name.as_str()).collect();
                format!("fallback: it comes back to this profile ({}, {last})", names.join(", "))
            } else {
                continue;
            };
            errors.push(keys::error(entry, &section.name, problem));
        }
    }
}

/// True for the section of an agent.
fn is_profile(section: &RawSection) -> bool {
    section.name != "general" && !tool::is_tool(section) && !trunk::is_trunk(section) && !assist::is_assist(section)
}

/// What is wrong with the name that `key` of `[general]` gives: it must be that of a section that `is_one`.
fn check_default(
    sections: &[RawSection],
    key: &str,
    default: &str,
    names: &[&str],
    is_one: fn(&RawSection) -> bool,
) -> Option<SettingsError> {
    if default.is_empty() || sections.iter().any(|section| section.name == default && is_one(section)) {
        return None;
    }
    let general = sections.iter().filter(|section| section.name == "general");
    let entry = general.flat_map(|section| &section.entries).rfind(|entry| entry.key == key)?;
    let problem = format!("{key}: there is no section [{default}]; there are {}", names.join(", "));
    Some(keys::error(entry, "general", problem))
}

fn twice(section: &RawSection) -> Option<SettingsError> {
    let problem = "this section stands twice; '[name](+)' adds to one".to_owned();
    section.entries.first().map(|entry| keys::error(entry, &section.name, problem))
}

#[cfg(test)]
mod sample;
#[cfg(test)]
pub(crate) mod tests;
