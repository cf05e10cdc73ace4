//! What happens in calls reaches those who asked to be told: over a WebSocket and by signed requests.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket, client};

use super::{Keys, PLAIN, TOKEN, caller_said, stage, the_call};
use crate::common::certificate::{Certificate, DAY};
use crate::common::python::PythonServer;
use crate::common::{SOON, eventually};
use rig::http::Api;

pub(super) type Client = WebSocket<TcpStream>;

/// Opens `/ws`; `headers` are those of the handshake.
pub(super) fn follow(api: &Api, query: &str, headers: &[(&'static str, &str)]) -> Result<Client, tungstenite::Error> {
    let stream = TcpStream::connect(api.address)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut request = format!("ws://{}/ws{query}", api.address).into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    client(request, stream).map(|(client, _)| client).map_err(|problem| match problem {
        tungstenite::HandshakeError::Failure(problem) => problem,
        tungstenite::HandshakeError::Interrupted(_) => panic!("the stream blocks"),
    })
}

pub(super) fn next(client: &mut Client) -> Value {
    loop {
        match client.read().expect("an event comes") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("no event: {other:?}"),
        }
    }
}

/// The events up to the first of `kind`.
fn until(client: &mut Client, kind: &str) -> Vec<Value> {
    let mut events = vec![next(client)];
    while events.last().is_some_and(|event| event["event"] != kind) {
        events.push(next(client));
    }
    events
}

#[test]
fn a_client_follows_a_call_leaves_and_misses_nothing() {
    let (stage, api) = stage(&PLAIN);
    let bearer = format!("Bearer {TOKEN}");
    let mut client = follow(&api, "", &[("Authorization", &bearer)]).expect("it opens");
    let (call, session) = stage.talk("100");
    let events = until(&mut client, "call_status");
    assert_eq!(events[0]["event"], "call_start");
    let id = the_call(&api);
    assert!(events.iter().all(|event| event["session"] == *id), "{events:?}");
    let last = events.last().expect("some")["id"].as_u64().expect("an id");
    drop(client);

    session.perform(caller_said("While you were out"));
    eventually("the words are in the log", SOON, || {
        api.get(&format!("/api/calls/{id}/transcript")).body.contains("While you were out")
    });
    let last_id = last.to_string();
    let mut client = follow(&api, "", &[("Authorization", &bearer), ("Last-Event-ID", &last_id)]).expect("it opens");
    let missed = until(&mut client, "transcript");
    assert_eq!(missed.last().expect("some")["text"], "While you were out");
    call.hang_up();
    let end = until(&mut client, "call_end").pop().expect("the end");
    assert_eq!((&end["status"], &end["session"]), (&"HANGUP".into(), &id.as_str().into()));
}

#[test]
fn browsers_and_others_can_show_the_token_when_they_open_a_websocket() {
    let (_stage, api) = stage(&PLAIN);
    assert!(follow(&api, &format!("?token={TOKEN}"), &[]).is_ok());
    let encoded = base64_simd::URL_SAFE_NO_PAD.encode_to_string(TOKEN);
    let protocols = format!("ai-bridge.events, ai-bridge.token.{encoded}");
    assert!(follow(&api, "", &[("Sec-WebSocket-Protocol", &protocols)]).is_ok());
    for query in ["", "?token=wrong"] {
        let Err(tungstenite::Error::Http(answer)) = follow(&api, query, &[]) else {
            panic!("it must not open: {query}")
        };
        assert_eq!(answer.status(), 401);
    }
    let evil = follow(&api, &format!("?token={TOKEN}"), &[("Origin", "https://evil.example")]);
    assert!(matches!(evil, Err(tungstenite::Error::Http(answer)) if answer.status() == 403));
}

#[test]
fn the_end_of_the_module_closes_the_websocket_with_the_last_event_told() {
    let (stage, api) = stage(&PLAIN);
    let mut client = follow(&api, &format!("?token={TOKEN}"), &[]).expect("it opens");
    let (_call, _session) = stage.talk("100");
    stage.cli("module unload -f res_ai_bridge.so");
    let end = until(&mut client, "call_end").pop().expect("the end");
    // Which of the two, depends on who is quicker: Asterisk, which hangs the channel up, or the module.
    assert!(end["status"] == "STOPPED" || end["status"] == "HANGUP", "{end}");
    match client.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("no goodbye: {other:?}"),
    }
    assert!(api.try_send("GET", "/health", &[], "").is_err(), "nobody listens any more");
}

#[test]
fn webhooks_are_signed_in_order_and_sent_again_until_they_are_taken() {
    const SECRET: &str = "webhook-secret-of-some-length";
    // It answers 503 twice before it takes anything.
    let receiver = PythonServer::start_with("api", "tests/api/receiver.py", &[SECRET, "2"]);
    let other = PythonServer::start_with("api", "tests/api/receiver.py", &["another-secret-of-some-length", "0"]);
    let url = |server: &PythonServer| server.url("/hook").replacen("ws:", "http:", 1);
    let general = format!("webhook = {}\nwebhook_secret = {SECRET}", url(&receiver));
    // This one does not know the secret: to it, every message is forged.
    let profile = format!("webhook = {}\nwebhook_secret = {SECRET}", url(&other));
    let (stage, api) = stage(&Keys { general: &general, profile: &profile });
    let (call, session) = stage.talk("100");
    let words: Vec<_> = (0..20).map(|number| format!("sentence {number}")).collect();
    words.iter().for_each(|text| session.perform(caller_said(text)));
    let said = || api.get("/api/calls?status=talking").status == 200;
    assert!(said());
    std::thread::sleep(Duration::from_millis(500));
    call.hang_up();
    stage.assert_nothing_left();
    let events = || -> Vec<Value> {
        let lines = receiver.lines();
        assert!(lines.iter().all(|line| !line.starts_with("forged")), "{lines:?}");
        lines.iter().filter_map(|line| serde_json::from_str(line.strip_prefix("event ")?).ok()).collect()
    };
    eventually("the end is delivered", 2 * SOON, || events().last().is_some_and(|event| event["event"] == "call_end"));
    let events = events();
    assert_eq!(events[0]["event"], "call_start");
    assert!(events.is_sorted_by_key(|event| event["id"].as_u64()), "in order");
    let told: Vec<_> = events.iter().filter(|event| event["event"] == "transcript").collect();
    let told: Vec<_> = told.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(told, words.iter().map(String::as_str).collect::<Vec<_>>(), "each of them once");
    assert_eq!(receiver.lines().iter().filter(|line| *line == "refused").count(), 2);
    eventually("the other has been told, too", SOON, || !other.lines().is_empty());
    assert!(other.lines().iter().all(|line| line.starts_with("forged")), "{:?}", other.lines());
}

#[test]
fn a_webhook_over_tls_goes_to_whom_the_profile_trusts_and_to_nobody_else() {
    const SECRET: &str = "webhook-secret-of-some-length";
    let (stage, api) = stage(&PLAIN);
    let receiver = |name: &str, authority: &Certificate| {
        let certificate = authority.issue(&[], &[[127, 0, 0, 1].into()], DAY);
        let file = stage.rig.directory().join(format!("run/{name}.pem"));
        std::fs::write(&file, [certificate.pem().into_bytes(), certificate.key_pem()].concat()).expect("written");
        let file = file.to_str().expect("a plain name").to_owned();
        PythonServer::start_with("api", "tests/api/receiver.py", &[SECRET, "0", &file])
    };
    let authority = Certificate::authority("The company");
    let (trusted, stranger) =
        (receiver("trusted", &authority), receiver("stranger", &Certificate::authority("Another")));
    let url = |server: &PythonServer| server.url("/hook").replacen("ws:", "https:", 1);
    let profile = format!(
        "webhook = {}\nwebhook = {}\nwebhook_secret = {SECRET}\ntls_ca_file = ca.pem",
        url(&trusted),
        url(&stranger)
    );
    stage.rig.write_config("ca.pem", &authority.pem()).expect("written");
    let config = super::config(&api, &stage.agent.url(), &Keys { profile: &profile, ..PLAIN });
    stage.rig.write_config("ai_bridge.conf", &config).expect("written");
    stage.cli("module reload res_ai_bridge.so");

    let (call, _session) = stage.talk("100");
    call.hang_up();
    stage.assert_nothing_left();
    let ended = |line: &String| line.starts_with("event ") && line.contains("\"call_end\"");
    eventually("the end is delivered", SOON, || trusted.lines().iter().any(ended));
    let line = stage.rig.wait_log("does not take events", SOON).expect("the log says so");
    assert!(line.contains("certificate") && !line.contains(SECRET), "{line}");
    assert!(stranger.lines().is_empty(), "{:?}", stranger.lines());
}
