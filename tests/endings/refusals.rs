//! The AI cannot be reached, or does not let anybody in.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use practice_agent::{Door, Script, Server, Step};

use super::{assert_ended, assert_no_more_descriptors, passive};
use crate::common::{Stage, extension};

#[test]
fn an_http_status_in_place_of_a_websocket() {
    let stage = Stage::new(passive(), "", &extension("_20X", ""));
    let refusals =
        [("201", 401, "AUTHFAIL"), ("202", 403, "AUTHFAIL"), ("203", 404, "CONNFAIL"), ("204", 500, "CONNFAIL")];
    let mut descriptors = None;
    for (extension, http, status) in refusals {
        stage.agent.set_door(Door::Refuse(http));
        let call = stage.call(extension);
        assert_ended(&stage, extension, &call, status, &format!("the AI server answered {http}"));
        assert_no_more_descriptors(&stage, &mut descriptors);
    }
    assert_eq!(stage.agent.attempts().len(), refusals.len(), "nobody who is refused asks again");
    stage.agent.set_door(Door::Open);
    drop(stage.talk("205"));
}

#[test]
fn a_wrong_key() {
    let stage = Stage::new(passive().api_key("right"), "api_key = wrong", "");
    let call = stage.call("100");
    assert_ended(&stage, "100", &call, "AUTHFAIL", "401");
}

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let stage = Stage::new(passive(), "", &extension("201", &format!(",u(ws://{address}/)")));
    let call = stage.call("201");
    assert_ended(&stage, "201", &call, "CONNFAIL", &format!("cannot reach {address}: Connection refused"));
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

#[test]
fn a_websocket_that_is_closed_before_there_is_a_session() {
    let codes = [(1000, "CONNFAIL"), (1011, "CONNFAIL"), (3000, "AUTHFAIL")];
    let close = move |session: u64| Script::new().close(codes[session as usize - 1].0, "no session for you");
    let stage = Stage::new(Server::builder().scripts(close), "", &extension("_20X", ""));
    for (number, (code, status)) in codes.into_iter().enumerate() {
        let extension = format!("20{number}");
        let call = stage.call(&extension);
        assert_ended(&stage, &extension, &call, status, &format!("with code {code}: no session for you"));
    }
}

/// Expects a call that is given up after 1.5 s, whatever it was that took so long.
#[track_caller]
fn assert_given_up(stage: Stage) {
    let call = stage.call("100");
    let answered = Instant::now();
    assert_ended(&stage, "100", &call, "CONNFAIL", "the AI was not ready within 1500 ms");
    let took = answered.elapsed();
    assert!((Duration::from_millis(1400)..Duration::from_secs(3)).contains(&took), "given up after {took:?}");
    assert!(!stage.agent.attempts().is_empty());
}
