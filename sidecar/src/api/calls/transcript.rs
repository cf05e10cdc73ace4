//! What was said in a call, and what was suggested.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::{one_of, read, rfc3339};
use crate::api::Desk;
use crate::api::problem::{Id, Problem, Query};
use crate::call_log::{Suggested, Turn};

/// How a transcript is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Form {
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
pub(in crate::api) async fn transcript(
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
