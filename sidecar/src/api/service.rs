//! How the module itself is, and what it is set to.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Desk, OPENAPI};

/// `GET /health`: the API answers.
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /ready`: calls are taken.
pub(super) async fn ready(State(desk): State<Arc<Desk>>) -> Result<Json<Value>, Problem> {
    if !desk.takes_calls() {
        let detail = "Asterisk is ending, or the module being unloaded: no more calls are taken";
        return Err(Problem::later(StatusCode::SERVICE_UNAVAILABLE, detail, Duration::from_secs(5)));
    }
    Ok(Json(json!({"status": "ready"})))
}

/// `GET /metrics`
pub(super) async fn metrics(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], super::metrics::text(&desk))
}

/// `GET /api/openapi.json`
pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

/// A profile, without anything that may be secret.
#[derive(Debug, Serialize)]
struct Profile {
    name: String,
    default: bool,
    dialect: String,
    model: String,
    voice: String,
    language: String,
    transfer_contexts: Vec<String>,
    sessions: usize,
}

/// `GET /api/profiles`
pub(super) async fn profiles(State(desk): State<Arc<Desk>>) -> Json<Value> {
    let settings = desk.settings.load();
    let mut up = Vec::new();
    desk.sidecar.for_each_session(|session| up.push(session.profile.clone()));
    let profiles: Vec<_> = settings
        .profiles
        .values()
        .map(|profile| Profile {
            name: profile.name.clone(),
            default: profile.name == settings.general.default_profile,
            dialect: profile.dialect.clone(),
            model: profile.session.model.clone(),
            voice: profile.session.voice.clone(),
            language: profile.session.language.clone(),
            transfer_contexts: profile.transfer_contexts.clone(),
            sessions: up.iter().filter(|name| **name == profile.name).count(),
        })
        .collect();
    let trunks: Vec<_> = settings.trunks.iter().map(|trunk| json!({"name": trunk.name})).collect();
    Json(json!({"profiles": profiles, "trunks": trunks}))
}
