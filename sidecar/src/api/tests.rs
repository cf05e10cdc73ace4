use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};
use tower::ServiceExt as _;

use super::*;
use crate::assist::{AssistOptions, AssistPlan};
use crate::events::{Direction, Origin, Speaker, What};
use crate::exchange::Nowhere;
use crate::outbound::tests::NoDialler;
use crate::{SidecarConfig, events};

/// A sidecar without calls, and a desk in front of it.
struct Office {
    parts: Parts,
    http: Http,
}

/// Away from the test's own runtime, which may not end another.
impl Drop for Office {
    fn drop(&mut self) {
        let sidecar = self.parts.sidecar.clone();
        let ending = std::thread::spawn(move || sidecar.shut_down(Duration::from_secs(1)));
        ending.join().expect("no panic");
    }
}

impl Office {
    fn new() -> Self {
        let config = SidecarConfig {
            workers: 1,
            on_thread_start: || {},
            on_thread_stop: || {},
            exchange: &Nowhere,
            dialler: &NoDialler,
        };
        let sidecar = Arc::new(Sidecar::start(config).expect("threads start"));
        let parts = Parts {
            feed: Arc::new(Feed::new(sidecar.events().last_id())),
            sidecar,
            settings: Arc::default(),
            webhooks: Arc::default(),
            draining: Arc::default(),
            recordings_home: std::env::temp_dir().into(),
        };
        Self { parts, http: Http { rate_max: 0, ..Http::default() } }
    }

    fn router(&self) -> Router {
        let (_over, ending) = watch::channel(());
        router(Arc::new(Desk::new(self.parts.clone(), None, &self.http, ending)), &self.http)
    }

    async fn ask(&self, request: Request<Body>) -> Response {
        match self.router().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Listens on loopback.
    async fn open(&self) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let http = Http { bind: Some(address), ..self.http.clone() };
        let server = Server::start(self.parts.clone(), None, &http).expect("the port is free again");
        std::mem::forget(server);
        address
    }

    fn say(&self, session: &str, text: &str, complete: bool) {
        let origin = origin(Direction::Inbound);
        let what = || What::said(Speaker::Caller, text, complete);
        self.parts.sidecar.events().publish(session, "p", &origin, what);
    }
}

fn origin(direction: Direction) -> Origin {
    let (channel, uniqueid) = ("PJSIP/1-1".to_owned(), "1.1".to_owned());
    Origin { direction, channel, uniqueid, caller: None, callee: None }
}

async fn body(response: Response) -> Value {
    let bytes = response.into_body().collect().await.expect("it comes").to_bytes();
    serde_json::from_slice(&bytes).expect("it is JSON")
}

fn request(method: &str, path: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("Host", "localhost");
    request.body(Body::empty()).expect("valid")
}

#[tokio::test]
async fn the_description_has_every_path_and_method_and_no_other() {
    let office = Office::new();
    let description: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
    let paths = description["paths"].as_object().expect("there are paths");
    for (path, operations) in paths {
        let real = path.replace("{id}", "nobody").replace("{name}", "mixed");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let described = operations.get(method.to_ascii_lowercase()).is_some();
            let response = office.ask(request(method, &real)).await;
            let known = response.status() != axum::http::StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(known, described, "{method} {path}");
            if let (false, Some(allow)) = (known, response.headers().get("allow")) {
                let allowed: BTreeSet<_> =
                    allow.to_str().expect("text").split(',').map(str::to_ascii_lowercase).collect();
                assert!(operations.as_object().is_some_and(|known| known.keys().all(|name| allowed.contains(name))));
            }
        }
    }
    // The router does not tell its paths: they are counted where they are written.
    let written = include_str!("../api.rs").matches(".route(").count();
    assert_eq!(paths.len(), written, "every path is described");
}

#[tokio::test]
async fn the_states_and_ends_of_calls_are_described() {
    let description: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
    let call = &description["components"]["schemas"]["Call"]["properties"];
    let words = |list: &Value| -> BTreeSet<String> {
        list["enum"].as_array().expect("words").iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let states = events::CallState::ALL.iter().map(|state| state.name());
    assert_eq!(words(&call["status"]), states.map(str::to_owned).collect());
    assert_eq!(words(&call["result"]), crate::Status::ALL.iter().map(|status| status.name().to_owned()).collect());
    assert_eq!(words(&call["direction"]), Direction::ALL.map(|direction| direction.name().to_owned()).into());
}

#[tokio::test]
async fn a_module_that_is_being_unloaded_is_healthy_and_not_ready() {
    let office = Office::new();
    assert_eq!(office.ask(request("GET", "/ready")).await.status(), 200);
    office.parts.draining.store(true, Ordering::Release);
    let response = office.ask(request("GET", "/ready")).await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().ok()), (503, Some("5")));
    assert_eq!(office.ask(request("GET", "/health")).await.status(), 200);
}

#[tokio::test]
async fn a_call_that_an_assistant_listens_to_is_listed_and_has_no_agent() {
    let office = Office::new();
    let sidecar = &office.parts.sidecar;
    let settings = crate::settings::tests::parse("[desk]\ntype = assist\nhint_url = no\n").expect("valid");
    let profile = settings.assist_profile(Some("desk")).expect("it is there");
    let plan = AssistPlan::new(profile, &AssistOptions::default()).expect("its dialect is known");
    let end = sidecar.begin_assist(sidecar.seat(0).expect("no limit"), plan, origin(Direction::Assist));
    let path = format!("/api/calls/{}", end.info().id);
    let call = loop {
        let response = office.ask(request("GET", &path)).await;
        if response.status() == 200 {
            break body(response).await;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&call["direction"], &call["status"]), (&"assist".into(), &"ringing".into()));
    assert_eq!((&call["dialect"], &call["figures"]["hint"]), (&"soniox".into(), &Value::Null));
    let order = |what: &str, json: &'static str| {
        let request = Request::builder().method("POST").uri(format!("{path}/{what}")).header("Host", "localhost");
        request.header("Content-Type", "application/json").body(Body::from(json)).expect("valid")
    };
    let text = r#"{"text":"Hello"}"#;
    for (what, json) in
        [("say", text), ("context", text), ("hold", ""), ("resume", ""), ("transfer", r#"{"extension":"200"}"#)]
    {
        let response = office.ask(order(what, json)).await;
        assert_eq!(response.status(), 409, "{what}");
        let problem = body(response).await;
        assert_eq!(problem["detail"], "no agent talks in this session: an assistant listens to it", "{what}");
    }
    let response = office.ask(order("hangup", "")).await;
    assert_eq!(response.status(), 409, "there is no exchange here that could");
    assert!(!end.is_stopped(), "so it goes on");
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_a_problem_that_names_those_it_does() {
    let response = Office::new().ask(request("PUT", "/api/calls/x/say")).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.expect("it ends").to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("\"status\":405"));
}

type Client = WebSocketStream<TcpStream>;

async fn follow(address: std::net::SocketAddr, query: &str) -> Client {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    follow_on(stream, query).await
}

async fn follow_on(stream: TcpStream, query: &str) -> Client {
    let address = stream.peer_addr().expect("it is connected");
    let request = format!("ws://{address}/ws{query}").into_client_request().expect("valid");
    client_async(request, stream).await.expect("it opens").0
}

async fn next(client: &mut Client) -> Value {
    loop {
        match client.next().await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("no event: {other:?}"),
        }
    }
}

/// An office whose feed takes what is said.
async fn feeding() -> (Office, std::net::SocketAddr) {
    let office = Office::new();
    let (feed, all) = (office.parts.feed.clone(), office.parts.sidecar.events().subscribe());
    tokio::spawn(async move { feed.take_all(all).await });
    let address = office.open().await;
    (office, address)
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let (office, address) = feeding().await;
    let mut first = follow(address, "").await;
    // The first thing that a client may miss is what happens before it is known.
    tokio::time::sleep(Duration::from_millis(100)).await;
    office.say("a", "one", true);
    let one = next(&mut first).await;
    assert_eq!(one["text"], "one");
    drop(first);
    office.say("a", "tw", false);
    office.say("b", "other", true);
    office.say("a", "two", true);
    let after = one["id"].as_u64().expect("an id");
    let mut again = follow(address, &format!("?after={after}&session=a&pieces=false")).await;
    assert_eq!(next(&mut again).await["text"], "two");
    office.say("a", "three", true);
    assert_eq!(next(&mut again).await["text"], "three");
    let mut late = follow(address, "?after=1").await;
    let missed = next(&mut late).await;
    assert_eq!((&missed["event"], &missed["next"]), (&"missed".into(), &one["id"]), "{missed}");
    assert_eq!(next(&mut late).await["text"], "one");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_and_holds_nobody_up() {
    let (office, address) = feeding().await;
    let mut quick = follow(address, "").await;
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    // As little room as there can be: that it does not read is noticed soon.
    socket2::SockRef::from(&stream).set_recv_buffer_size(4096).expect("it can be set");
    let mut slow = follow_on(stream, "").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let text = "x".repeat(7000);
    let mut longest = Duration::ZERO;
    // More than all buffers on the way of a client that does not read.
    for number in 0..2000 {
        let said = Instant::now();
        office.say("a", &format!("{number} {text}"), true);
        longest = longest.max(said.elapsed());
        let got = next(&mut quick).await;
        assert!(got["text"].as_str().is_some_and(|text| text.starts_with(&format!("{number} "))));
    }
    assert!(longest < Duration::from_millis(100), "whoever tells waits {longest:?}");
    socket2::SockRef::from(slow.get_ref()).set_recv_buffer_size(1 << 20).expect("it can be set");
    let mut read = 0;
    let end = loop {
        match slow.next().await {
            Some(Ok(Message::Text(_))) => read += 1,
            Some(Ok(Message::Close(frame))) => break frame,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end.map(|frame| u16::from(frame.code)), Some(1013));
    assert!(read < 2000, "{read} events were read");
}

#[tokio::test]
async fn alerts_dashboard_and_manual_look_at_figures_that_there_are() {
    let response = Office::new().ask(request("GET", "/metrics")).await;
    let page = response.into_body().collect().await.expect("a page").to_bytes();
    let page = String::from_utf8(page.to_vec()).expect("text");
    let kinds: BTreeMap<_, _> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut named = 0;
    for text in
        [include_str!("../../../docs/monitoring/alerts.yml"), include_str!("../../../docs/monitoring/dashboard.json")]
    {
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        // The name of the group has no more to it.
        for name in words.filter(|word| word.starts_with("ai_bridge_")) {
            // Only there once a call log is configured.
            let of_log = name.starts_with("ai_bridge_call_log_");
            let known = match name.strip_suffix("_bucket") {
                Some(histogram) => kinds.get(histogram) == Some(&"histogram"),
                None => kinds.contains_key(name) || of_log,
            };
            assert!(known, "there is no {name}");
            named += 1;
        }
    }
    assert!(named > 25, "{named}");
    for row in include_str!("../../../docs/operations.md").lines().filter(|line| line.starts_with("| `")) {
        for name in
            row.split('`').skip(1).step_by(2).filter(|name| name.ends_with("_total") || name.ends_with("_seconds"))
        {
            assert!(kinds.contains_key(format!("ai_bridge_{name}").as_str()), "there is no {name}");
        }
    }
}
