//! What can be done with a call that is up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::apart;
use crate::api::Desk;
use crate::api::problem::{Body, Id, Problem};
use crate::control::ControlError;

/// What the agent is to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Say {
    text: String,
}

/// What the agent gets to know.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Context {
    text: String,
    #[serde(default)]
    answer: bool,
}

/// Where the caller is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Transfer {
    extension: String,
    context: Option<String>,
}

/// That it was ordered.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Ordered {
    id: String,
}

type Answer = Result<(StatusCode, Json<Ordered>), Problem>;

/// `POST /api/calls/{id}/say`
pub(in crate::api) async fn say(State(desk): State<Arc<Desk>>, Id(id): Id, Body(say): Body<Say>) -> Answer {
    order(desk, id, move |desk, id| desk.sidecar.say(id, &say.text)).await
}

/// `POST /api/calls/{id}/context`
pub(in crate::api) async fn context(State(desk): State<Arc<Desk>>, Id(id): Id, Body(context): Body<Context>) -> Answer {
    order(desk, id, move |desk, id| desk.sidecar.context(id, &context.text, context.answer)).await
}

/// `POST /api/calls/{id}/transfer`
pub(in crate::api) async fn transfer(State(desk): State<Arc<Desk>>, Id(id): Id, Body(to): Body<Transfer>) -> Answer {
    let settings = desk.settings.load();
    ordered(id, |id| desk.sidecar.transfer(id, &settings, &to.extension, to.context.as_deref()))
}

/// `POST /api/calls/{id}/hangup`
pub(in crate::api) async fn hang_up(State(desk): State<Arc<Desk>>, Id(id): Id) -> Answer {
    order(desk, id, |desk, id| desk.sidecar.hang_up(id)).await
}

/// `POST /api/calls/{id}/hold`
pub(in crate::api) async fn hold(State(desk): State<Arc<Desk>>, Id(id): Id) -> Answer {
    ordered(id, |id| desk.sidecar.hold(id))
}

/// `POST /api/calls/{id}/resume`
pub(in crate::api) async fn resume(State(desk): State<Arc<Desk>>, Id(id): Id) -> Answer {
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
