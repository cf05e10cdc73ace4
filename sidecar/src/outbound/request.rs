//! What is asked for, and whether it can be done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::DialError;
use super::number::Number;
use crate::settings::{Profile, Settings, Trunk};

/// Names of the fields, as in JSON.
pub(super) const NUMBER: &str = "phone_number";
pub(super) const PROFILE: &str = "profile";
pub(super) const TRUNK: &str = "trunk";
pub(super) const CALLER_ID: &str = "caller_id";
pub(super) const VARIABLES: &str = "variables";
pub(super) const TIMEOUT: &str = "timeout_s";

/// Most variables of a call,
const VARIABLES_MAX: usize = 32;
/// the longest name of one, [bytes]
const NAME_MAX: usize = 64;
/// and the longest value. [bytes]
const VALUE_MAX: usize = 2048;
/// Longest time to wait for an answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// A call that somebody wants. Nothing in it is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DialRequest {
    /// Who is to be called.
    pub phone_number: String,
    /// Section of `ai_bridge.conf`; `None`: the default profile.
    pub profile: Option<String>,
    /// The number to call from; `None`: the trunk's first.
    pub caller_id: Option<String>,
    /// Variables for the agent, which fill `{{name}}` in instructions and greeting.
    pub variables: BTreeMap<String, String>,
    /// The agent talks to people only, or as the profile's `on_machine` says.
    pub detect_machine: bool,
    /// Give up after that long without an answer; `None`: as the trunk says.
    pub timeout: Option<Duration>,
    /// The trunk to go through; `None`: the first that takes the number and has a place.
    pub trunk: Option<String>,
}

/// The same, found to be possible.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) number: Number,
    pub(super) profile: Arc<Profile>,
    /// All that take number and caller id; at least one.
    pub(super) trunks: Vec<&'a Arc<Trunk>>,
    pub(super) caller_id: Option<Number>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) detect_machine: bool,
    pub(super) timeout: Option<Duration>,
}

impl DialRequest {
    pub(super) fn check(self, settings: &Settings) -> Result<Checked<'_>, DialError> {
        let number = Number::parse(&self.phone_number).map_err(DialError::NotANumber)?;
        let named = self.profile.as_deref().filter(|name| !name.is_empty());
        let profile = settings.profile(named).cloned();
        let profile = profile.ok_or_else(|| DialError::UnknownProfile(named.unwrap_or_default().to_owned()))?;
        let caller_id = self.caller_id.as_deref().filter(|text| !text.is_empty());
        let caller_id = caller_id.map(Number::parse).transpose().map_err(DialError::BadCallerId)?;
        let trunks =
            trunks(settings, self.trunk.as_deref().filter(|name| !name.is_empty()), &number, caller_id.as_ref())?;
        if self.timeout.is_some_and(|timeout| timeout.as_secs() < 1 || timeout > TIMEOUT_MAX) {
            return Err(DialError::BadTimeout(TIMEOUT_MAX));
        }
        let variables = variables(self.variables)?;
        let (detect_machine, timeout) = (self.detect_machine, self.timeout);
        Ok(Checked { number, profile, trunks, caller_id, variables, detect_machine, timeout })
    }
}

/// The trunks, or the one called `name`, that `number` may go through as a call from `caller_id`.
fn trunks<'a>(
    settings: &'a Settings,
    name: Option<&str>,
    number: &Number,
    caller_id: Option<&Number>,
) -> Result<Vec<&'a Arc<Trunk>>, DialError> {
    let asked: Vec<_> = match name {
        Some(name) => vec![settings.trunk(name).ok_or_else(|| DialError::UnknownTrunk(name.to_owned()))?],
        None => settings.trunks.iter().collect(),
    };
    if asked.is_empty() {
        return Err(DialError::NoTrunk);
    }
    let takers: Vec<_> = asked.iter().copied().filter(|trunk| trunk.takes(number)).collect();
    if takers.is_empty() {
        return Err(DialError::NumberNotAllowed {
            trunks: asked.iter().map(|trunk| trunk.name.clone()).collect(),
            patterns: asked.iter().flat_map(|trunk| &trunk.patterns).map(ToString::to_string).collect(),
        });
    }
    let Some(caller_id) = caller_id else { return Ok(takers) };
    let may_show = |trunk: &Trunk| trunk.caller_ids.is_empty() || trunk.caller_ids.contains(caller_id);
    let (allowed, others): (Vec<_>, Vec<_>) = takers.into_iter().partition(|trunk| may_show(trunk));
    if allowed.is_empty() {
        let ids = others.iter().flat_map(|trunk| &trunk.caller_ids).map(ToString::to_string);
        return Err(DialError::CallerIdNotAllowed(ids.collect()));
    }
    Ok(allowed)
}

/// Variables that an agent can be given. They are data from here to the provider: no dialplan sees them.
fn variables(given: BTreeMap<String, String>) -> Result<Vec<(String, String)>, DialError> {
    let bad = |problem: String| Err(DialError::BadVariable(problem));
    if given.len() > VARIABLES_MAX {
        return bad(format!("{} are too many; {VARIABLES_MAX} are allowed", given.len()));
    }
    for (name, value) in &given {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
            let name: String = name.escape_default().take(NAME_MAX).collect();
            return bad(format!("'{name}' is no name; expected up to {NAME_MAX} letters, digits, _ and -"));
        }
        if value.len() > VALUE_MAX {
            return bad(format!("{name} has {} bytes; {VALUE_MAX} are allowed", value.len()));
        }
        if value.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\t')) {
            return bad(format!("{name} has a control character in it"));
        }
    }
    Ok(given.into_iter().collect())
}
