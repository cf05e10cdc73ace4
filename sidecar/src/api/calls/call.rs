//! A call as clients see it, whoever knows of it: its session, whoever has dialled it, or the log.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::ENDED;
use crate::Sidecar;
use crate::call_log::Logged;
use crate::events::{Direction, Figures};
use crate::outbound::{self, Cause};
use crate::session::Session;

/// A call as clients see it.
#[derive(Serialize)]
pub(in crate::api) struct Call {
    pub(super) id: String,
    pub(super) direction: Cow<'static, str>,
    pub(super) profile: String,
    dialect: String,
    channel: String,
    uniqueid: String,
    pub(super) caller: Option<String>,
    pub(super) callee: Option<String>,
    #[serde(rename = "started_at", serialize_with = "time")]
    pub(super) started: SystemTime,
    #[serde(rename = "ended_at", serialize_with = "perhaps_time")]
    ended: Option<SystemTime>,
    /// What it is doing: a [`CallState`].
    pub(super) status: &'static str,
    /// `AISTATUS`.
    result: Option<String>,
    reason: Option<String>,
    duration_ms: u64,
    transfer: Option<String>,
    digit: Option<String>,
    cause: Option<Cause>,
    figures: Option<Taken>,
}

/// The figures of a call. Most of what a list costs, so those of a session are looked at no sooner than they are written,
/// and only for calls that are on the page.
enum Taken {
    Up(Arc<Session>),
    /// JSON of the log.
    Over(Box<RawValue>),
}

impl Serialize for Taken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Up(session) => Figures::from(&session.info.stats).serialize(serializer),
            Self::Over(figures) => figures.serialize(serializer),
        }
    }
}

impl From<Arc<Session>> for Call {
    fn from(session: Arc<Session>) -> Self {
        let info = &session.info;
        Self {
            id: info.id.clone(),
            direction: info.origin.direction.name().into(),
            profile: info.profile.clone(),
            dialect: info.dialect.clone(),
            channel: info.origin.channel.clone(),
            uniqueid: info.origin.uniqueid.clone(),
            caller: info.origin.caller.clone(),
            callee: info.origin.callee.clone(),
            started: info.began,
            ended: None,
            status: info.condition.state().name(),
            result: None,
            reason: None,
            duration_ms: info.started.elapsed().as_millis() as u64,
            transfer: None,
            digit: None,
            cause: None,
            figures: Some(Taken::Up(session)),
        }
    }
}

impl From<Logged> for Call {
    fn from(call: Logged) -> Self {
        let lasted = call.ended.and_then(|ended| ended.duration_since(call.started).ok()).unwrap_or_default();
        Self {
            id: call.session,
            direction: call.direction.into(),
            profile: call.profile,
            dialect: call.dialect,
            channel: call.channel,
            uniqueid: call.uniqueid,
            caller: call.caller,
            callee: call.callee,
            started: call.started,
            ended: call.ended,
            status: ENDED,
            result: call.status,
            reason: call.reason,
            duration_ms: call.duration_ms.unwrap_or(lasted.as_millis() as u64),
            transfer: call.transfer,
            digit: call.digit,
            cause: call.cause,
            figures: call.figures.and_then(|figures| RawValue::from_string(figures).ok()).map(Taken::Over),
        }
    }
}

impl From<outbound::Call> for Call {
    fn from(call: outbound::Call) -> Self {
        let until = call.ended.unwrap_or_else(SystemTime::now);
        let lasted = call.answered.and_then(|answered| until.duration_since(answered).ok()).unwrap_or_default();
        Self {
            uniqueid: call.id.clone(),
            id: call.id,
            direction: Direction::Outbound.name().into(),
            profile: call.profile,
            dialect: call.dialect,
            channel: call.channel,
            caller: call.caller_id,
            callee: Some(call.phone_number),
            started: call.started,
            ended: call.ended,
            status: call.state.name(),
            result: call.status.map(|status| status.name().to_owned()),
            reason: None,
            duration_ms: lasted.as_millis() as u64,
            transfer: None,
            digit: None,
            cause: call.cause,
            figures: None,
        }
    }
}

impl Call {
    /// An outbound call that is up, with what its session tells if it has one.
    pub(super) fn with_session(call: outbound::Call, session: Option<Arc<Session>>) -> Self {
        let call = Self::from(call);
        match session {
            Some(session) => Self { dialect: session.info.dialect.clone(), figures: Some(Taken::Up(session)), ..call },
            None => call,
        }
    }

    /// Those that are up.
    pub(super) fn all_up(sidecar: &Sidecar) -> Vec<Self> {
        // First: one that is answered meanwhile has its session below.
        let outbound: Vec<_> = sidecar.outbound().list().into_iter().filter(|call| call.ended.is_none()).collect();
        let sessions = sidecar.all_sessions().into_iter();
        let mut sessions: HashMap<_, _> = sessions.map(|session| (session.info.id.clone(), session)).collect();
        let mut calls = Vec::with_capacity(sessions.len() + outbound.len());
        for call in outbound {
            let session = sessions.remove(&call.id);
            calls.push(Self::with_session(call, session));
        }
        calls.extend(sessions.into_values().map(Self::from));
        calls
    }

    /// What calls are sorted by: newest first.
    pub(super) fn place(&self) -> (i64, &str) {
        (unix_ms(self.started), &self.id)
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn perhaps_time<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}
