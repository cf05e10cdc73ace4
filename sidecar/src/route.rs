//! Where a call's sessions with the AI are held: the profile, and those that stand in for it.

use std::sync::Arc;
use std::time::Duration;

use ai_dialect::{Dialect, Provider, Session, Turn};
use ai_media::Format;

use crate::options::CallOptions;
use crate::settings::{BargeInMode, Profile};

/// The profiles of one call, with what every session of it is told.
pub(crate) struct Route {
    /// The one in use first.
    profiles: Vec<Arc<Profile>>,
    provider: &'static Provider,
    options: CallOptions,
    phone: Format,
    call_id: String,
}

/// What a session knows that takes over from another one.
#[derive(Debug, Default, Clone)]
pub(crate) struct Legacy {
    /// What was said.
    pub(crate) history: Vec<Turn>,
    /// The caller waits for the agent.
    pub(crate) agent_owes_answer: bool,
    /// What the provider calls it by.
    pub(crate) resumption: String,
    /// The agent has been heard: it does not greet.
    pub(crate) greeted: bool,
    /// So many sessions of this call were ready before.
    pub(crate) earlier_sessions: u32,
}

impl Route {
    /// A route over `profiles` for a phone that speaks `phone`; `None` without a profile, or if its dialect is unknown.
    pub(crate) fn new(
        profiles: Vec<Arc<Profile>>,
        options: CallOptions,
        phone: Format,
        call_id: String,
    ) -> Option<Self> {
        let provider = ai_dialect::provider(&profiles.first()?.dialect)?;
        Some(Self { profiles, provider, options, phone, call_id })
    }

    /// The profile in use.
    pub(crate) fn profile(&self) -> &Arc<Profile> {
        &self.profiles[0]
    }

    /// Every profile has failed to connect by then.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.profiles.iter().map(|profile| profile.connect_timeout).sum()
    }

    /// Its provider.
    pub(crate) fn provider(&self) -> &'static Provider {
        self.provider
    }

    /// A new session with the profile in use.
    pub(crate) fn dialect(&self, legacy: Legacy) -> Box<dyn Dialect> {
        let session = Session {
            call_id: self.call_id.clone(),
            history: legacy.history,
            agent_owes_answer: legacy.agent_owes_answer,
            resumption: legacy.resumption,
            greeted: legacy.greeted,
            earlier_sessions: legacy.earlier_sessions,
            ..self.profile().session(&self.options)
        };
        self.provider.create(session, self.phone)
    }

    /// Who may interrupt the agent.
    pub(crate) fn barge_in(&self) -> BargeInMode {
        self.options.barge_in.unwrap_or(self.profile().barge_in)
    }

    /// True if another profile can stand in for this one.
    pub(crate) fn has_fallback(&self) -> bool {
        self.profiles.len() > 1
    }

    /// Goes on with the next profile, if there is one.
    pub(crate) fn fall_back(&mut self) -> bool {
        let next = self.profiles.get(1).and_then(|next| ai_dialect::provider(&next.dialect));
        if let Some(provider) = next {
            self.profiles.remove(0);
            self.provider = provider;
            self.options = self.options.for_fallback();
        }
        next.is_some()
    }
}
