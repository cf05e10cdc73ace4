//! `/api/calls/{id}/recordings`: what `MixMonitor()` has written of a call.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tower_http::services::ServeFile;

use super::problem::{Id, Problem};
use super::{CALLS, Desk};

/// Longest id of a call that a file can be named by. [characters]
const ID_MAX: usize = 100;

/// What is recorded of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Both.
    Mixed,
    Caller,
    Operator,
}

impl Side {
    const ALL: [Self; 3] = [Self::Mixed, Self::Caller, Self::Operator];

    const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Caller => "caller",
            Self::Operator => "operator",
        }
    }

    /// Name of the file with this side of the call `id`.
    fn file(self, id: &str) -> String {
        match self {
            Self::Mixed => format!("{id}.wav"),
            side => format!("{id}-{}.wav", side.name()),
        }
    }
}

/// The recordings of a call.
#[derive(Debug, Serialize)]
pub(super) struct Recordings {
    id: String,
    recordings: Vec<Recording>,
}

#[derive(Debug, Serialize)]
struct Recording {
    name: &'static str,
    bytes: u64,
    url: String,
}

/// `GET /api/calls/{id}/recordings`
pub(super) async fn list(State(desk): State<Arc<Desk>>, Id(id): Id) -> Result<Json<Recordings>, Problem> {
    let folder = folder(&desk)?;
    let mut recordings = Vec::new();
    for side in Side::ALL.into_iter().filter(|_| can_name_a_file(&id)) {
        match tokio::fs::metadata(folder.join(side.file(&id))).await {
            Ok(file) if file.is_file() => recordings.push(Recording {
                name: side.name(),
                bytes: file.len(),
                url: format!("{CALLS}/{id}/recordings/{}", side.name()),
            }),
            _ => {}
        }
    }
    Ok(Json(Recordings { id, recordings }))
}

/// `GET /api/calls/{id}/recordings/{name}`, whole or in part.
pub(super) async fn one(State(desk): State<Arc<Desk>>, which: Which, request: Request) -> Result<Response, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "there is no such recording");
    let file = which.file().ok_or_else(missing)?;
    let file = folder(&desk)?.join(file);
    let wav = "audio/wav".parse().map_err(|_| missing())?;
    let answer =
        ServeFile::new_with_mime(&file, &wav).try_call(request).await.map_err(|problem| match problem.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => missing(),
            other => Problem::later(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the recording cannot be read: {other}"),
                Duration::from_secs(5),
            ),
        })?;
    let mut answer = match answer.status() {
        StatusCode::NOT_FOUND | StatusCode::TEMPORARY_REDIRECT => return Err(missing()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let size = answer.headers().get(CONTENT_RANGE).cloned();
            let detail = "Range: the recording has no such part";
            let mut refusal = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail).into_response();
            refusal.headers_mut().extend(size.map(|size| (CONTENT_RANGE, size)));
            return Ok(refusal);
        }
        _ => answer.map(Body::new),
    };
    answer.headers_mut().extend([
        // What was said stays out of caches that others may read.
        (CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    ]);
    Ok(answer)
}

/// Which recording a path names.
pub(super) struct Which {
    id: String,
    name: String,
}

impl Which {
    /// Name of its file; `None`: there can be none.
    fn file(&self) -> Option<String> {
        let side = Side::ALL.into_iter().find(|side| side.name() == self.name)?;
        can_name_a_file(&self.id).then(|| side.file(&self.id))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Which {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (id, name) = axum::extract::Path::from_request_parts(parts, state).await?.0;
        Ok(Self { id, name })
    }
}

/// Where the recordings are.
fn folder(desk: &Desk) -> Result<PathBuf, Problem> {
    let settings = desk.settings.load();
    let folder: Option<&Path> = settings.general.recordings.as_deref();
    folder.map(|folder| desk.recordings_home.join(folder)).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "there are no recordings: their folder is not set in ai_bridge.conf")
    })
}

/// True if a file named by `id` is one in the folder, and nowhere else.
fn can_name_a_file(id: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=ID_MAX).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_leads_out_of_the_folder() {
        let file = |id: &str, name: &str| Which { id: id.to_owned(), name: name.to_owned() }.file();
        assert_eq!(file("0199-a", "mixed").as_deref(), Some("0199-a.wav"));
        assert_eq!(file("0199-a", "operator").as_deref(), Some("0199-a-operator.wav"));
        for id in ["", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", ".hidden", "a b", "ä", &"x".repeat(101)] {
            assert_eq!(file(id, "mixed"), None, "{id:?}");
        }
        for name in ["", "agent", "Mixed", "../mixed", "mixed.wav"] {
            assert_eq!(file("a", name), None, "{name}");
        }
    }
}
