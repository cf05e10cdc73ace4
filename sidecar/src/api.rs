//! The control API: HTTP and a WebSocket with the events.
//!
//! ```text
//!  client ──► accept ──► connection ──► guard: page, rate, token ──► limit: crowd, time ──► handler
//!                                                                        what waits for a call or the disk: threads apart
//! ```
//!
//! All of it runs on one thread of its own (`ai_api`), not on those that hold calls: whatever clients ask for, and how
//! often, a call's task does not wait behind it, and a request does not wait behind a call's.

mod calls;
mod dial;
mod guard;
mod metrics;
mod page;
mod problem;
mod recordings;
mod server;
mod service;
mod ws;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tokio::sync::{Semaphore, watch};
use tower_http::cors::{AllowOrigin, CorsLayer};

use self::guard::Guard;
pub(crate) use self::server::Server;
use crate::Sidecar;
use crate::call_log::{CallLog, Health, Reader};
use crate::feed::Feed;
use crate::settings::{Http, Settings};
use crate::webhooks::Webhooks;

/// The description of all this, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("api/openapi.json");

/// Where the calls are.
const CALLS: &str = "/api/calls";
/// Where the WebSocket is.
const WS: &str = "/ws";
/// Most WebSockets at a time.
const FOLLOWERS_MAX: usize = 100;
/// How long a browser may remember what it is allowed.
const CORS_AGE: Duration = Duration::from_secs(600);

/// What requests are answered from.
pub(crate) struct Desk {
    pub(crate) sidecar: Arc<Sidecar>,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) call_log: Option<Arc<CallLog>>,
    pub(crate) webhooks: Arc<Webhooks>,
    /// No more calls are taken.
    draining: Arc<AtomicBool>,
    /// Where the folder of the recordings is, unless the settings say where by a whole path.
    recordings_home: Arc<Path>,
    guard: Guard,
    followers: Arc<Semaphore>,
    /// Changes, or has no sender any more, when the API is closed.
    ending: watch::Receiver<()>,
}

/// What a desk is made of, whatever the settings of the API are.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) sidecar: Arc<Sidecar>,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) recordings_home: Arc<Path>,
}

impl Desk {
    fn new(parts: Parts, call_log: Option<Arc<CallLog>>, http: &Http, ending: watch::Receiver<()>) -> Self {
        let Parts { sidecar, settings, feed, webhooks, draining, recordings_home } = parts;
        let guard = Guard::new(http, Instant::now());
        let followers = Arc::new(Semaphore::new(FOLLOWERS_MAX));
        Self { sidecar, settings, feed, call_log, webhooks, draining, recordings_home, guard, followers, ending }
    }

    /// False while module or exchange are on their way out.
    fn takes_calls(&self) -> bool {
        !self.draining.load(Ordering::Acquire) && !self.sidecar.exchange().is_shutting_down()
    }

    fn log(&self) -> Option<Arc<Reader>> {
        self.call_log.as_ref().map(|log| log.reader().clone())
    }

    fn log_health(&self) -> Option<&Health> {
        self.call_log.as_ref().map(|log| log.health())
    }

    /// Clients of the WebSocket.
    fn followers(&self) -> usize {
        FOLLOWERS_MAX - self.followers.available_permits()
    }
}

/// All paths. Each is in [`OPENAPI`], too, but for those of the page, which only browsers ask for.
fn router(desk: Arc<Desk>, http: &Http) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(service::metrics))
        .route("/api/openapi.json", get(service::openapi))
        .route("/api/profiles", get(service::profiles))
        .route(CALLS, get(calls::list))
        .route("/api/calls/dial", post(dial::dial))
        .route("/api/calls/{id}", get(calls::one))
        .route("/api/calls/{id}/transcript", get(calls::transcript))
        .route("/api/calls/{id}/recordings", get(recordings::list))
        .route("/api/calls/{id}/recordings/{name}", get(recordings::one))
        .route("/api/calls/{id}/hangup", post(calls::hang_up))
        .route("/api/calls/{id}/say", post(calls::say))
        .route("/api/calls/{id}/context", post(calls::context))
        .route("/api/calls/{id}/hold", post(calls::hold))
        .route("/api/calls/{id}/resume", post(calls::resume))
        .route("/api/calls/{id}/transfer", post(calls::transfer))
        .route(WS, get(ws::open))
        .fallback(problem::no_path)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::from_fn_with_state(desk.clone(), guard::limit))
        .layer(middleware::from_fn_with_state(desk.clone(), guard::check));
    let open = Router::new()
        .route("/health", get(service::health))
        .route("/ready", get(service::ready))
        .method_not_allowed_fallback(problem::no_method);
    guarded
        .merge(open)
        .merge(page::router())
        .layer(DefaultBodyLimit::max(http.body_max))
        .layer(cors(http))
        .with_state(desk)
}

/// Lets the web pages in `http_cors_origin` read the answers. Without any, no page may.
fn cors(http: &Http) -> CorsLayer {
    let origins: Vec<_> = http.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .max_age(CORS_AGE)
}

#[cfg(test)]
mod tests;
