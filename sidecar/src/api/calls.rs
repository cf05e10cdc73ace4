//! `/api/calls`: those that are up, those that are over, and what can be done with them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Desk;
use super::problem::{Body, Id, Problem, Query};
use crate::call_log::{LogError, Logged, Reader, Sought, Suggested, Turn, Wanted};
use crate::control::ControlError;
use crate::events::{CallState, Direction, Figures};
use crate::outbound::{self, Cause};
use crate::{SessionInfo, Sidecar, Status};

/// Calls in an answer, unless told otherwise.
const PAGE: usize = 50;
/// Most calls in an answer.
const PAGE_MAX: usize = 200;
/// Longest text to look for. [characters]
const SEARCH_MAX: usize = 200;
/// The state of a call that is over.
const ENDED: &str = CallState::Ended.name();

/// A call as clients see it.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    id: String,
    direction: Cow<'static, str>,
    profile: String,
    dialect: String,
    channel: String,
    uniqueid: String,
    caller: Option<String>,
    callee: Option<String>,
    started_at: String,
    ended_at: Option<String>,
    /// What it is doing: a [`CallState`].
    status: &'static str,
    /// `AISTATUS`.
    result: Option<String>,
    reason: Option<String>,
    duration_ms: u64,
    transfer: Option<String>,
    digit: Option<String>,
    cause: Option<Cause>,
    figures: Option<Box<RawValue>>,
    #[serde(skip)]
    started: SystemTime,
}

impl From<&SessionInfo> for Call {
    fn from(session: &SessionInfo) -> Self {
        Self {
            id: session.id.clone(),
            direction: session.origin.direction.name().into(),
            profile: session.profile.clone(),
            dialect: session.dialect.clone(),
            channel: session.origin.channel.clone(),
            uniqueid: session.origin.uniqueid.clone(),
            caller: session.origin.caller.clone(),
            callee: session.origin.callee.clone(),
            started_at: rfc3339(session.began),
            ended_at: None,
            status: session.condition.state().name(),
            result: None,
            reason: None,
            duration_ms: session.started.elapsed().as_millis() as u64,
            transfer: None,
            digit: None,
            cause: None,
            figures: serde_json::value::to_raw_value(&Figures::from(&session.stats)).ok(),
            started: session.began,
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
            started_at: rfc3339(call.started),
            ended_at: call.ended.map(rfc3339),
            status: ENDED,
            result: call.status,
            reason: call.reason,
            duration_ms: call.duration_ms.unwrap_or(lasted.as_millis() as u64),
            transfer: call.transfer,
            digit: call.digit,
            cause: call.cause,
            figures: call.figures.and_then(|figures| RawValue::from_string(figures).ok()),
            started: call.started,
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
            started_at: rfc3339(call.started),
            ended_at: call.ended.map(rfc3339),
            status: call.state.name(),
            result: call.status.map(|status| status.name().to_owned()),
            reason: None,
            duration_ms: lasted.as_millis() as u64,
            transfer: None,
            digit: None,
            cause: call.cause,
            figures: None,
            started: call.started,
        }
    }
}

impl Call {
    /// An outbound call that is up, with what its session tells if it has one.
    fn with_session(call: outbound::Call, session: Option<Self>) -> Self {
        let call = Self::from(call);
        match session {
            Some(session) => Self { dialect: session.dialect, figures: session.figures, ..call },
            None => call,
        }
    }

    /// Those that are up.
    fn all_up(sidecar: &Sidecar) -> Vec<Self> {
        // First: one that is answered meanwhile has its session below.
        let outbound: Vec<_> = sidecar.outbound().list().into_iter().filter(|call| call.ended.is_none()).collect();
        let mut sessions = HashMap::new();
        sidecar.for_each_session(|session| {
            sessions.insert(session.id.clone(), Self::from(session));
        });
        let mut calls = Vec::with_capacity(sessions.len() + outbound.len());
        for call in outbound {
            let session = sessions.remove(&call.id);
            calls.push(Self::with_session(call, session));
        }
        calls.extend(sessions.into_values());
        calls
    }

    /// What calls are sorted by: newest first.
    fn place(&self) -> (i64, &str) {
        (unix_ms(self.started), &self.id)
    }
}

/// Which calls are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    direction: Option<String>,
    status: Option<String>,
    result: Option<String>,
    profile: Option<String>,
    since: Option<String>,
    search: Option<String>,
    ended: Option<bool>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// A page of calls.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    calls: Vec<Call>,
    /// What to ask for the next page with; `None`: this is the last.
    next_cursor: Option<String>,
    /// Calls that are over are known: a database is set.
    log: bool,
}

/// A filter whose words are known.
struct Search {
    wanted: Wanted,
    /// Only calls in this state; `Some(ENDED)`: only those that are over.
    status: Option<&'static str>,
    /// Only calls that are over; only calls that are up.
    ended: Option<bool>,
}

impl Filter {
    fn check(self) -> Result<Search, Problem> {
        let directions = Direction::ALL.map(Direction::name);
        let states: Vec<_> = CallState::ALL.iter().map(|state| state.name()).collect();
        let results: Vec<_> = Status::ALL.iter().map(|status| status.name()).collect();
        let limit = match self.limit {
            None => PAGE,
            Some(limit) if (1..=PAGE_MAX).contains(&limit) => limit,
            Some(_) => return Err(wrong(format!("limit: expected 1 to {PAGE_MAX}"))),
        };
        if self.search.as_ref().is_some_and(|search| search.chars().count() > SEARCH_MAX) {
            return Err(wrong(format!("search: expected at most {SEARCH_MAX} characters")));
        }
        let wanted = Wanted {
            direction: one_of("direction", self.direction, &directions)?,
            profile: self.profile,
            result: one_of("result", self.result, &results)?.map(str::to_owned),
            since: self.since.map(|since| point_in_time(&since)).transpose()?,
            sought: self.search.as_deref().and_then(Sought::new),
            after: self.cursor.map(|cursor| place(&cursor)).transpose()?,
            limit,
        };
        Ok(Search { wanted, status: one_of("status", self.status, &states)?, ended: self.ended })
    }
}

impl Search {
    /// True if a call that is up is wanted, whatever is said in it.
    fn wants(&self, call: &Call) -> bool {
        let wanted = &self.wanted;
        self.ended != Some(true)
            && wanted.result.is_none()
            && wanted.direction.is_none_or(|direction| direction == call.direction)
            && wanted.profile.as_ref().is_none_or(|profile| *profile == call.profile)
            && wanted.since.is_none_or(|since| call.started >= since)
            && self.status.is_none_or(|status| status == call.status)
            && wanted.after.as_ref().is_none_or(|(at, id)| call.place() < (*at, id))
    }

    /// True if what is looked for, if anything is, is in a number of `call`.
    fn finds_number(&self, call: &Call) -> bool {
        let Some(sought) = &self.wanted.sought else { return true };
        [&call.caller, &call.callee].into_iter().flatten().any(|number| sought.is_in_number(number))
    }

    /// Whether the log is of any use.
    fn looks_into_log(&self) -> bool {
        self.wanted.sought.is_some() || (self.ended != Some(false) && self.status.is_none_or(|status| status == ENDED))
    }

    /// Those of the calls in the log: those that are over, and one more than a page of them if there are; and which of
    /// `up`, as far as the log knows.
    fn logged(&self, log: &Reader, up: &HashSet<String>) -> Result<(Vec<Call>, HashSet<String>), LogError> {
        let calls = log.calls(&Wanted { limit: self.wanted.limit + 1 + up.len(), ..self.wanted.clone() })?;
        let (up, over): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| up.contains(&call.session));
        let wants_over = self.ended != Some(false) && self.status.is_none_or(|status| status == ENDED);
        let over = over.into_iter().filter(|_| wants_over).map(Call::from).collect();
        Ok((over, up.into_iter().map(|call| call.session).collect()))
    }
}

/// `GET /api/calls`
pub(super) async fn list(State(desk): State<Arc<Desk>>, Query(filter): Query<Filter>) -> Result<Json<Page>, Problem> {
    let query = filter.check()?;
    // First: a call that ends meanwhile is among those that are up, and not missing in both.
    let mut calls = Call::all_up(&desk.sidecar);
    let ids: HashSet<_> = calls.iter().map(|call| call.id.clone()).collect();
    calls.retain(|call| query.wants(call));
    let limit = query.wanted.limit;
    let mut found = HashSet::new();
    let log = desk.log();
    let has_log = log.is_some();
    let query = Arc::new(query);
    let mut over = Vec::new();
    if let Some(log) = log.filter(|_| query.looks_into_log()) {
        let query = query.clone();
        (over, found) = read(move || query.logged(&log, &ids)).await?;
    }
    calls.retain(|call| query.finds_number(call) || found.contains(&call.id));
    calls.extend(over);
    calls.sort_by(|one, other| other.place().cmp(&one.place()));
    let more = calls.len() > limit;
    calls.truncate(limit);
    let next_cursor = calls.last().filter(|_| more).map(|last| {
        let (at, id) = last.place();
        format!("{at}.{id}")
    });
    Ok(Json(Page { calls, next_cursor, log: has_log }))
}

/// `GET /api/calls/{id}`
pub(super) async fn one(State(desk): State<Arc<Desk>>, Id(id): Id) -> Result<Json<Call>, Problem> {
    let dialled = desk.sidecar.outbound().get(&id);
    let session = desk.sidecar.look_at(&id, |session| Call::from(session));
    let over = match (dialled, session) {
        (Some(call), session) if call.ended.is_none() => return Ok(Json(Call::with_session(call, session))),
        (None, Some(session)) => return Ok(Json(session)),
        (dialled, _) => dialled,
    };
    let logged = match desk.log() {
        Some(log) => read(move || log.call(&id)).await?,
        None => None,
    };
    // Without a log the last of the outbound calls are known, at least.
    logged.map(Call::from).or(over.map(Call::from)).map(Json).ok_or_else(Problem::no_call)
}

/// How a transcript is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    format: Option<String>,
}

/// A transcript.
#[derive(Debug, Serialize)]
struct Transcript {
    id: String,
    turns: Vec<Said>,
    hints: Vec<Suggestion>,
}

#[derive(Debug, Serialize)]
struct Said {
    id: u64,
    time: String,
    speaker: String,
    text: String,
    start_ms: Option<u64>,
    end_ms: Option<u64>,
}

impl From<Turn> for Said {
    fn from(turn: Turn) -> Self {
        let Turn { id, time, speaker, text, start_ms, end_ms } = turn;
        Self { id, time: rfc3339(time), speaker, text, start_ms, end_ms }
    }
}

#[derive(Debug, Serialize)]
struct Suggestion {
    time: String,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    content: String,
    priority: String,
}

impl From<Suggested> for Suggestion {
    fn from(hint: Suggested) -> Self {
        let Suggested { time, kind, title, content, priority } = hint;
        Self { time: rfc3339(time), kind, title, content, priority }
    }
}

/// `GET /api/calls/{id}/transcript`
pub(super) async fn transcript(
    State(desk): State<Arc<Desk>>,
    Id(id): Id,
    Query(form): Query<Form>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let as_text = match one_of("format", form.format, &["json", "text"])? {
        Some(format) => format == "text",
        None => prefers_text(&headers),
    };
    let log = desk.log().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "there are no transcripts: no database is set in ai_bridge.conf")
    })?;
    let session = id.clone();
    let kept = read(move || log.transcript(&session)).await?.ok_or_else(Problem::no_call)?;
    if as_text {
        let text: String = kept.turns.iter().map(line).collect();
        return Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    let turns = kept.turns.into_iter().map(Said::from).collect();
    let hints = kept.hints.into_iter().map(Suggestion::from).collect();
    Ok(Json(Transcript { id, turns, hints }).into_response())
}

fn line(turn: &Turn) -> String {
    let time = rfc3339(turn.time);
    format!("[{}] {}: {}\n", time.get(..19).unwrap_or(&time).replace('T', " "), turn.speaker, turn.text)
}

/// Whether a client that accepts several forms would rather have text: it names it, and not JSON.
fn prefers_text(headers: &HeaderMap) -> bool {
    let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    accepted.iter().any(|value| value.contains("text/plain")) && !accepted.iter().any(|value| value.contains("json"))
}

/// What the agent is to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Say {
    text: String,
}

/// What the agent gets to know.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    text: String,
    #[serde(default)]
    answer: bool,
}

/// Where the caller is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transfer {
    extension: String,
    context: Option<String>,
}

/// That it was ordered.
#[derive(Debug, Serialize)]
pub(super) struct Ordered {
    id: String,
}

type Answer = Result<(StatusCode, Json<Ordered>), Problem>;

/// `POST /api/calls/{id}/say`
pub(super) async fn say(State(desk): State<Arc<Desk>>, Id(id): Id, Body(say): Body<Say>) -> Answer {
    order(desk, id, move |desk, id| desk.sidecar.say(id, &say.text)).await
}

/// `POST /api/calls/{id}/context`
pub(super) async fn context(State(desk): State<Arc<Desk>>, Id(id): Id, Body(context): Body<Context>) -> Answer {
    order(desk, id, move |desk, id| desk.sidecar.context(id, &context.text, context.answer)).await
}

/// `POST /api/calls/{id}/transfer`
pub(super) async fn transfer(State(desk): State<Arc<Desk>>, Id(id): Id, Body(to): Body<Transfer>) -> Answer {
    let settings = desk.settings.load();
    ordered(id, |id| desk.sidecar.transfer(id, &settings, &to.extension, to.context.as_deref()))
}

/// `POST /api/calls/{id}/hangup`
pub(super) async fn hang_up(State(desk): State<Arc<Desk>>, Id(id): Id) -> Answer {
    order(desk, id, |desk, id| desk.sidecar.hang_up(id)).await
}

/// `POST /api/calls/{id}/hold`
pub(super) async fn hold(State(desk): State<Arc<Desk>>, Id(id): Id) -> Answer {
    ordered(id, |id| desk.sidecar.hold(id))
}

/// `POST /api/calls/{id}/resume`
pub(super) async fn resume(State(desk): State<Arc<Desk>>, Id(id): Id) -> Answer {
    ordered(id, |id| desk.sidecar.resume(id))
}

fn ordered(id: String, order: impl FnOnce(&str) -> Result<(), ControlError>) -> Answer {
    order(&id)?;
    Ok((StatusCode::ACCEPTED, Json(Ordered { id })))
}

/// As [`ordered`], on a thread that may wait for the call's task.
async fn order(
    desk: Arc<Desk>,
    id: String,
    order: impl FnOnce(&Desk, &str) -> Result<(), ControlError> + Send + 'static,
) -> Answer {
    apart(move || ordered(id, |id| order(&desk, id))).await?
}

/// Reads the log, on a thread that may wait for the disk.
async fn read<T: Send + 'static>(read: impl FnOnce() -> Result<T, LogError> + Send + 'static) -> Result<T, Problem> {
    apart(read).await?.map_err(|problem| {
        let detail = format!("the call log cannot be read: {problem}");
        Problem::later(StatusCode::SERVICE_UNAVAILABLE, detail, Duration::from_secs(5))
    })
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an error in the module");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// `text`, if it is one of `words`.
fn one_of(name: &str, text: Option<String>, words: &[&'static str]) -> Result<Option<&'static str>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let known = words.iter().find(|word| **word == text);
    known.map(|word| Some(*word)).ok_or_else(|| wrong(format!("{name}: expected one of {}", words.join(", "))))
}

fn point_in_time(text: &str) -> Result<SystemTime, Problem> {
    let wrong = |_| wrong("since: expected a time like 2026-01-31T12:00:00Z".to_owned());
    OffsetDateTime::parse(text, &Rfc3339).map(SystemTime::from).map_err(wrong)
}

/// The place among the calls that a cursor stands for.
fn place(cursor: &str) -> Result<(i64, String), Problem> {
    let parts = cursor.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    parts.ok_or_else(|| wrong("cursor: expected the next_cursor of the page before".to_owned()))
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
