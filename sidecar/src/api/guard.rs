//! Who may come in, and how many at a time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ai_dialect::Secret;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::Desk;
use super::problem::Problem;
use super::ws::SUBPROTOCOL_TOKEN;
use crate::settings::Http;

/// Watches the door: token, web pages, rate, crowd and time.
pub(super) struct Guard {
    http: Http,
    room: Semaphore,
    rate: Mutex<Bucket>,
}

impl Guard {
    pub(super) fn new(http: &Http, now: Instant) -> Self {
        Self {
            room: Semaphore::new(http.requests_max),
            rate: Mutex::new(Bucket::new(http.rate_max, now)),
            http: http.clone(),
        }
    }

    /// True if `request` shows the token, or none is asked for.
    fn knows_token(&self, request: &Request) -> bool {
        let token = &self.http.token;
        token.is_empty() || offered(request).is_some_and(|offered| is_equal(token, &offered))
    }

    /// Web pages of others send their browsers here, too, and without a token nothing else would stop them.
    fn check_page(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST).unwrap_or_default();
        if self.http.token.is_empty() && !is_own_name(host) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "without an http_token, requests must be to an IP address or to localhost",
            ));
        }
        match headers.get(ORIGIN) {
            None => Ok(()),
            Some(_) if self.is_allowed_page(text(ORIGIN).unwrap_or_default(), host) => Ok(()),
            Some(_) => {
                Err(Problem::new(StatusCode::FORBIDDEN, "web pages of this origin are not among http_cors_origin"))
            }
        }
    }

    fn is_allowed_page(&self, origin: &str, host: &str) -> bool {
        let own = origin.split_once("://").is_some_and(|(_, page)| !page.is_empty() && page.eq_ignore_ascii_case(host));
        own || self.http.cors_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    fn check_rate(&self, now: Instant) -> Result<(), Problem> {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.take(now).map_err(|wait| {
            Problem::later(StatusCode::TOO_MANY_REQUESTS, "more requests came than http_rate_max allows", wait)
        })
    }
}

/// Lets a request in, or answers why not.
pub(super) async fn check(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let guard = &desk.guard;
    let allowed = guard.check_page(request.headers()).and_then(|()| guard.check_rate(Instant::now())).and_then(|()| {
        let known = guard.knows_token(&request);
        known.then_some(()).ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "the http_token is missing or wrong"))
    });
    match allowed {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Sees to it that no request takes too long, and that not too many run.
pub(super) async fn limit(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let guard = &desk.guard;
    let busy = |detail| Problem::later(StatusCode::SERVICE_UNAVAILABLE, detail, Duration::from_secs(1)).into_response();
    let Ok(_place) = guard.room.try_acquire() else { return busy("http_requests_max are being answered already") };
    match tokio::time::timeout(guard.http.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => busy("the request took longer than http_timeout_s"),
    }
}

/// The token in `request`: in the header that is for it, or where browsers can put it when they open a WebSocket.
fn offered(request: &Request) -> Option<Vec<u8>> {
    let headers = request.headers();
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes().to_vec());
    }
    if request.uri().path() != super::WS {
        return None;
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let in_protocol = protocols
        .flat_map(|list| list.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(SUBPROTOCOL_TOKEN))
        .and_then(|encoded| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(encoded).ok());
    in_protocol.or_else(|| {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri()).ok()?.0;
        query.into_iter().find(|(name, _)| name == "token").map(|(_, token)| token.into_bytes())
    })
}

/// Compares in a time that tells nothing of the token but its length.
fn is_equal(token: &Secret, offered: &[u8]) -> bool {
    token.reveal().as_bytes().ct_eq(offered).into()
}

/// True for a `Host` that no foreign name server has a say in.
fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// Requests that may still come: refilled all the time, a second's worth at most.
struct Bucket {
    /// [1/s]; 0: no limit.
    rate: u32,
    level: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: u32, now: Instant) -> Self {
        Self { rate, level: rate.into(), filled: now }
    }

    /// Takes one, or answers how long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let rate = f64::from(self.rate);
        if self.rate == 0 {
            return Ok(());
        }
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.level = (self.level + since * rate).min(rate);
        if self.level < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.level) / rate));
        }
        self.level -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_rate_is_kept_and_its_rest_can_be_saved_for_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!((0..20).filter(|_| bucket.take(start).is_ok()).count(), 10);
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        assert!(bucket.take(start + Duration::from_millis(100)).is_ok());
        let later = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.take(later).is_ok()).count(), 10);
        let mut unlimited = Bucket::new(0, start);
        assert!((0..1000).all(|_| unlimited.take(start).is_ok()));
    }

    #[test]
    fn only_names_that_nobody_else_resolves_are_our_own() {
        for own in ["127.0.0.1", "127.0.0.1:9000", "[::1]:9000", "[::1]", "localhost:9000", "LOCALHOST", "192.0.2.1:80"]
        {
            assert!(is_own_name(own), "{own}");
        }
        for foreign in ["", "evil.example:9000", "127.0.0.1.evil.example", "localhost.evil.example", ":9000"] {
            assert!(!is_own_name(foreign), "{foreign}");
        }
    }

    fn guard(token: &str, origins: &[&str]) -> Guard {
        let cors_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        Guard::new(&Http { token: Secret::new(token), cors_origins, ..Http::default() }, Instant::now())
    }

    fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("valid")
    }

    #[test]
    fn the_token_is_taken_where_clients_can_put_it() {
        let guard = guard("0123456789abcdef", &[]);
        let knows = |path: &str, headers: &[(&str, &str)]| guard.knows_token(&request(path, headers));
        assert!(knows("/api/calls", &[("Authorization", "Bearer 0123456789abcdef")]));
        assert!(knows("/api/calls", &[("Authorization", "bearer 0123456789abcdef")]));
        assert!(knows("/ws?after=1&token=0123456789abcdef", &[]));
        let in_protocol = [("Sec-WebSocket-Protocol", "ai-bridge.events, ai-bridge.token.MDEyMzQ1Njc4OWFiY2RlZg")];
        assert!(knows("/ws", &in_protocol));
        assert!(!knows("/api/calls", &in_protocol));
        assert!(!knows("/api/calls?token=0123456789abcdef", &[]));
        assert!(!knows("/api/calls", &[]));
        for wrong in ["Bearer 0123456789abcdeg", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "0123456789abcdef"]
        {
            assert!(!knows("/api/calls", &[("Authorization", wrong)]), "{wrong}");
        }
        assert!(self::guard("", &[]).knows_token(&request("/api/calls", &[])));
    }

    #[test]
    fn a_web_page_of_others_is_kept_out() {
        let check = |token, headers: &[(&str, &str)]| {
            let guard = guard(token, &["https://desk.example.com"]);
            guard.check_page(request("/", headers).headers()).is_ok()
        };
        let host = ("Host", "127.0.0.1:9000");
        assert!(check("", &[host]));
        assert!(check("", &[host, ("Origin", "https://desk.example.com")]));
        assert!(check("", &[host, ("Origin", "http://127.0.0.1:9000")]), "its own page");
        assert!(!check("", &[host, ("Origin", "https://evil.example")]));
        assert!(!check("", &[host, ("Origin", "null")]));
        assert!(!check("", &[("Host", "evil.example:9000")]), "a name that was made to point here");
        assert!(check("0123456789abcdef", &[("Host", "pbx.example.com")]));
        assert!(!check("0123456789abcdef", &[("Host", "pbx.example.com"), ("Origin", "https://evil.example")]));
    }
}
