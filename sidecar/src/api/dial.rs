//! `POST /api/calls/dial`: a call is made to happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::calls::rfc3339;
use super::problem::{Body, Problem};
use super::{CALLS, Desk};
use crate::events::{CallState, Direction};
use crate::outbound::{DialError, DialRequest};

/// When to ask again if a call cannot be made at all at present.
const RETRY: Duration = Duration::from_secs(5);

/// Whom to call, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dial {
    phone_number: String,
    profile: Option<String>,
    caller_id: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    detect_machine: bool,
    timeout_s: Option<u64>,
    trunk: Option<String>,
}

impl From<Dial> for DialRequest {
    fn from(dial: Dial) -> Self {
        let Dial { phone_number, profile, caller_id, variables, detect_machine, timeout_s, trunk } = dial;
        let timeout = timeout_s.map(Duration::from_secs);
        Self { phone_number, profile, caller_id, variables, detect_machine, timeout, trunk }
    }
}

/// The call that is on its way.
#[derive(Debug, Serialize)]
pub(super) struct Dialed {
    id: String,
    phone_number: String,
    direction: &'static str,
    status: &'static str,
    started_at: String,
}

impl From<DialError> for Problem {
    fn from(error: DialError) -> Self {
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let after = error.retry_after().or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY));
        let problem = match after {
            Some(after) => Self::later(status, error.to_string(), after),
            None => Self::new(status, error.to_string()),
        };
        problem.in_field(error.field())
    }
}

/// `POST /api/calls/dial`
pub(super) async fn dial(
    State(desk): State<Arc<Desk>>,
    Body(dial): Body<Dial>,
) -> Result<(StatusCode, HeaderMap, Json<Dialed>), Problem> {
    if !desk.takes_calls() {
        return Err(DialError::Draining.into());
    }
    let call = desk.sidecar.outbound().dial(&desk.settings.load(), dial.into())?;
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::try_from(format!("{CALLS}/{}", call.id)).map(|path| (LOCATION, path)));
    let dialed = Dialed {
        direction: Direction::Outbound.name(),
        // Not what it is doing by now: that is told by its events.
        status: CallState::Dialing.name(),
        started_at: rfc3339(call.started),
        id: call.id,
        phone_number: call.phone_number,
    };
    Ok((StatusCode::CREATED, headers, Json(dialed)))
}
