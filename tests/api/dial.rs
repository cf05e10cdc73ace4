//! Calls are made to happen, followed and ended over HTTP.

use rig::{Ended, Phone, PhoneCall};
use serde_json::{Value, json};

use super::events::{Client, follow, next};
use super::{Keys, PLAIN, TOKEN, caller_said, calls, stage};
use crate::common::{SOON, Stage, eventually};
use rig::http::{Answer, Api};

/// The number that is called.
const ANN: &str = "79123456789";

/// A phone that rings when it is dialled through the trunk `line`, which takes one call at a time.
fn phone(stage: &Stage) -> PhoneCall {
    let phone = Phone::new(&stage.rig).ring().expect("the phone starts");
    let uri = phone.uri().replace("sip:phone@", "sip:{{number}}@");
    let file = stage.rig.directory().join("etc/ai_bridge.conf");
    let config = std::fs::read_to_string(file).expect("readable");
    let config = config.split("\n[line]").next().expect("a first part").to_owned();
    let trunk = format!(
        "\n[line]\ntype = trunk\ndial = PJSIP/1001/{uri}\npattern = _7XXXXXXXXXX\nmax_calls = 1\ncalls_per_second = 100\n"
    );
    stage.rig.write_config("ai_bridge.conf", &(config + &trunk)).expect("it can be written");
    stage.cli("module reload res_ai_bridge.so");
    phone
}

fn dial(api: &Api, body: &Value) -> Answer {
    api.post("/api/calls/dial", &body.to_string())
}

/// The call that [`ANN`] gets.
fn dialled(api: &Api) -> String {
    let answer = dial(api, &json!({"phone_number": ANN}));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn follow_all(api: &Api) -> Client {
    follow(api, "", &[("Authorization", &format!("Bearer {TOKEN}"))]).expect("it opens")
}

/// Fails unless the next states that are told of the call `id` are these.
#[track_caller]
fn assert_states(client: &mut Client, id: &str, states: &[&str]) {
    let mut told = Vec::new();
    while told.len() < states.len() {
        let event = next(client);
        assert_eq!((&event["session"], &event["callee"]), (&json!(id), &json!(ANN)), "{event}");
        if event["event"] == "call_status" {
            told.push(event["state"].as_str().expect("a word").to_owned());
        }
    }
    assert_eq!(told, states);
}

/// The end of the call as it is told.
fn end(client: &mut Client) -> Value {
    loop {
        let event = next(client);
        if event["event"] == "call_end" {
            return event;
        }
    }
}

#[test]
fn a_call_is_dialled_followed_and_hung_up() {
    let (stage, api) = stage(&Keys { profile: "instructions = Call {{name}}.", ..PLAIN });
    let phone = phone(&stage);
    let mut events = follow_all(&api);
    let answer = dial(&api, &json!({"phone_number": ANN, "caller_id": "74950000001", "variables": {"name": "Ann"}}));
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = answer.json();
    let id = made["id"].as_str().expect("an id");
    assert_eq!(answer.header("location"), format!("/api/calls/{id}"));
    for (key, value) in [("phone_number", ANN), ("direction", "outbound"), ("status", "dialing")] {
        assert_eq!(made[key], value, "{made}");
    }
    assert_states(&mut events, id, &["dialing", "ringing"]);
    let ringing = api.get(answer.header("location")).json();
    for (key, value) in [("id", id), ("status", "ringing"), ("callee", ANN), ("caller", "74950000001")] {
        assert_eq!(ringing[key], value, "{ringing}");
    }
    assert_eq!(ringing["started_at"], made["started_at"]);
    assert_eq!(calls(&api, "?status=ringing&direction=outbound&profile=test").len(), 1);

    phone.answer();
    let session = stage.session();
    assert_states(&mut events, id, &["answered", "connecting", "talking"]);
    let update = session.wait_event("session.update", 0, SOON).expect("the agent is set up");
    assert!(update.json.to_string().contains("Call Ann."), "{update:?}");
    let listed = calls(&api, "");
    assert_eq!(listed.len(), 1, "one call, however many know of it: {listed:?}");
    assert_eq!((&listed[0]["id"], &listed[0]["status"]), (&json!(id), &json!("talking")), "{listed:?}");
    assert_eq!(listed[0]["started_at"], made["started_at"]);
    assert!(listed[0]["figures"]["connect_ms"].is_number(), "{listed:?}");
    session.perform(caller_said("Who is there?"));
    let path = format!("/api/calls/{id}/transcript");
    eventually("the words are in the log", SOON, || api.get(&path).body.contains("Who is there?"));

    let hangup = format!("/api/calls/{id}/hangup");
    assert_eq!(api.post(&hangup, "").status, 202);
    assert_eq!(phone.wait_ended(SOON).expect("the phone is told"), Ended::ByPbx);
    assert_eq!(end(&mut events)["status"], "STOPPED");
    stage.assert_nothing_left();
    let over = || api.get(&format!("/api/calls/{id}")).json();
    eventually("the log has its end", SOON, || over()["result"] == "STOPPED" && over()["reason"].is_string());
    let over = over();
    assert_eq!((&over["status"], &over["callee"], &over["uniqueid"]), (&json!("ended"), &json!(ANN), &json!(id)));
    assert!(over["cause"]["q850"].is_number() && over["channel"] != "", "{over}");
    assert_eq!(calls(&api, "?direction=outbound&result=STOPPED").len(), 1);
    assert_eq!(api.post(&hangup, "").status, 404);
}

#[test]
fn a_call_that_rings_is_hung_up_and_its_place_is_free_again() {
    let (stage, api) = stage(&PLAIN);
    let ringing = phone(&stage);
    let mut events = follow_all(&api);
    let id = dialled(&api);
    assert_states(&mut events, &id, &["dialing", "ringing"]);
    let full = dial(&api, &json!({"phone_number": ANN}));
    assert_eq!((full.status, full.header("retry-after")), (429, "5"), "{full:?}");
    assert!(full.body.contains("trunk line has 1 calls"), "{full:?}");
    assert_eq!(api.post(&format!("/api/calls/{id}/hangup"), "").status, 202);
    assert_eq!(ringing.wait_ended(SOON).expect("the phone is told"), Ended::Cancelled);
    assert_eq!(end(&mut events)["status"], "STOPPED");
    stage.assert_nothing_left();
    assert!(stage.agent.attempts().is_empty(), "the AI was connected to");

    let busy = phone(&stage);
    let id = dialled(&api);
    assert_states(&mut events, &id, &["dialing", "ringing"]);
    busy.refuse(486);
    let told = end(&mut events);
    let cause = json!({"q850": 17, "sip": 486});
    assert_eq!((&told["status"], &told["cause"]), (&json!("BUSY"), &cause), "{told}");
    let logged = || api.get(&format!("/api/calls/{id}")).json();
    eventually("the log has its end", SOON, || logged()["reason"].is_string());
    assert_eq!((&logged()["result"], &logged()["cause"]), (&json!("BUSY"), &cause), "{}", logged());
    assert_eq!(calls(&api, "?result=BUSY").len(), 1);
}

#[test]
fn what_cannot_be_dialled_is_said_with_the_field() {
    let (stage, api) = stage(&PLAIN);
    let none = dial(&api, &json!({"phone_number": ANN}));
    assert_eq!((none.status, none.header("retry-after")), (503, "5"), "there is no trunk: {none:?}");
    let phone = phone(&stage);
    for (field, value) in [
        ("phone_number", json!("7912&PJSIP/1001")),
        ("phone_number", json!("112")),
        ("profile", json!("nobody")),
        ("trunk", json!("PJSIP/1001")),
        ("caller_id", json!("1 <sip:evil>")),
        ("timeout_s", json!(0)),
        ("variables", json!({"a b": "1"})),
    ] {
        let mut body = json!({"phone_number": ANN});
        body[field] = value;
        let answer = dial(&api, &body);
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!((&problem["field"], &problem["status"]), (&json!(field), &json!(422)), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with(field)), "{problem}");
    }
    for body in ["{}", r#"{"phone_number":"79123456789","context":"x"}"#, r#"{"phone_number":79123456789}"#] {
        assert_eq!(api.post("/api/calls/dial", body).status, 422, "{body}");
    }
    assert_eq!(calls(&api, ""), Vec::<Value>::new());
    assert!(phone.invite().is_empty(), "{}", phone.invite());
}
