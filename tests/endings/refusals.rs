//! The AI cannot be reached, or does not let anybody in.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use practice_agent::{Door, Script, Server, Step};

use super::{assert_ended, passive};
use crate::common::{Stage, extension};

#[test]
fn an_http_status_in_place_of_a_websocket() {
    let stage = Stage::new(passive(), "", &extension("_20X", ""));
    let refusals =
        [("201", 401, "AUTHFAIL"), ("202", 403, "AUTHFAIL"), ("203", 404, "CONNFAIL"), ("204", 500, "CONNFAIL")];
    for (extension, http, status) in refusals {
        stage.agent.set_door(Door::Refuse(http));
        let mut call = stage.call(extension);
        assert_ended(&stage, extension, &mut call, status, &format!("the AI server answered {http}"));
    }
    assert_eq!(stage.agent.attempts().len(), refusals.len(), "nobody who is refused asks again");
    stage.agent.set_door(Door::Open);
    drop(stage.talk("205"));
}

#[test]
fn a_wrong_key() {
    let stage = Stage::new(passive().api_key("right"), "api_key = wrong", "");
    let mut call = stage.call("100");
    assert_ended(&stage, "100", &mut call, "AUTHFAIL", "401");
}

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let stage = Stage::new(passive(), "", &extension("201", &format!(",u(ws://{address}/)")));
    let mut call = stage.call("201");
    assert_ended(&stage, "201", &mut call, "CONNFAIL", &format!("cannot reach {address}: Connection refused"));
}

#[test]
fn no_answer_within_the_time_allowed() {
    let silent = passive().door(Door::Silent);
    assert_given_up(Stage::new(silent, "connect_timeout_ms = 1500", ""));
}

#[test]
fn a_websocket_without_a_session_within_the_time_allowed() {
    let stalled = Server::builder().script(Script::from(Step::Stall));
    assert_given_up(Stage::new(stalled, "connect_timeout_ms = 1500", ""));
}

/// Expects a call that is given up after 1.5 s, whatever it was that took so long.
#[track_caller]
fn assert_given_up(stage: Stage) {
    let mut call = stage.call("100");
    let answered = Instant::now();
    assert_ended(&stage, "100", &mut call, "CONNFAIL", "the AI was not ready within 1500 ms");
    let took = answered.elapsed();
    assert!((Duration::from_millis(1400)..Duration::from_secs(3)).contains(&took), "given up after {took:?}");
    assert!(!stage.agent.attempts().is_empty());
}
