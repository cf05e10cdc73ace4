//! `/api/calls`: those that are up, those that are over, and what can be done with them.

mod call;
mod orders;
mod transcript;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::call::Call;
pub(super) use self::orders::{context, hang_up, hold, resume, say, transfer};
pub(super) use self::transcript::transcript;
use super::Desk;
use super::problem::{Id, Problem, Query};
use crate::Status;
use crate::call_log::{LogError, Reader, Sought, Wanted};
use crate::events::{CallState, Direction};

/// Calls in an answer, unless told otherwise.
const PAGE: usize = 50;
/// Most calls in an answer.
const PAGE_MAX: usize = 200;
/// Longest text to look for. [characters]
const SEARCH_MAX: usize = 200;
/// The state of a call that is over.
const ENDED: &str = CallState::Ended.name();

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
#[derive(Serialize)]
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
    let session = desk.sidecar.find_session(&id).map(|listed| listed.session().clone());
    let over = match (dialled, session) {
        (Some(call), session) if call.ended.is_none() => return Ok(Json(Call::with_session(call, session))),
        (None, Some(session)) => return Ok(Json(session.into())),
        (dialled, _) => dialled,
    };
    let logged = match desk.log() {
        Some(log) => read(move || log.call(&id)).await?,
        None => None,
    };
    // Without a log the last of the outbound calls are known, at least.
    logged.map(Call::from).or(over.map(Call::from)).map(Json).ok_or_else(Problem::no_call)
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
