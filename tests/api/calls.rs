//! Calls are listed, looked at and steered.

use rig::Ended;
use serde_json::json;

use super::{Keys, PLAIN, caller_said, calls, stage, the_call};
use crate::common::{SOON, eventually};

#[test]
fn a_call_is_seen_while_it_is_up_and_when_it_is_over() {
    let (stage, api) = stage(&PLAIN);
    assert_eq!(calls(&api, ""), Vec::<serde_json::Value>::new());
    let (call, session) = stage.talk("100");
    let id = the_call(&api);
    let up = api.get(&format!("/api/calls/{id}")).json();
    for (key, value) in [("direction", "inbound"), ("profile", "test"), ("dialect", "openai"), ("caller", "1001")] {
        assert_eq!(up[key], value, "{up}");
    }
    assert_eq!((&up["result"], &up["ended_at"]), (&json!(null), &json!(null)));
    assert!(up["figures"]["connect_ms"].as_f64().is_some_and(|ms| ms < 5000.0), "{up}");
    assert_eq!(calls(&api, "?status=held").len(), 0);
    assert_eq!(calls(&api, "?direction=outbound").len(), 0);
    assert_eq!(calls(&api, "?profile=test&direction=inbound").len(), 1);

    session.perform(caller_said("Is anybody there?"));
    let path = format!("/api/calls/{id}/transcript");
    eventually("the words are in the log", SOON, || api.get(&path).body.contains("Is anybody there?"));
    let transcript = api.get(&path).json();
    assert_eq!(transcript["turns"][0]["speaker"], "caller", "{transcript}");
    let text = api.get(&format!("{path}?format=text"));
    assert!(text.header("content-type").starts_with("text/plain"), "{text:?}");
    assert!(text.body.ends_with("] caller: Is anybody there?\n"), "{text:?}");
    assert_eq!(api.send("GET", &path, &[("Accept", "text/plain")], "").body, text.body);

    call.hang_up();
    stage.assert_nothing_left();
    let ended = || api.get(&format!("/api/calls/{id}")).json();
    eventually("the log has its end", SOON, || ended()["ended_at"].is_string());
    let over = ended();
    assert_eq!((&over["status"], &over["result"]), (&json!("ended"), &json!("HANGUP")), "{over}");
    assert_eq!(over["uniqueid"], up["uniqueid"]);
    assert_eq!(calls(&api, "?status=ended&result=HANGUP").len(), 1);
    assert_eq!(calls(&api, "?result=TRANSFER").len(), 0);
    assert_eq!(calls(&api, "?since=2999-01-01T00:00:00Z").len(), 0);
}

#[test]
fn many_calls_come_in_pages() {
    let (stage, api) = stage(&PLAIN);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let (call, _session) = stage.talk("100");
        ids.push(the_call(&api));
        call.hang_up();
        stage.assert_nothing_left();
    }
    let (_call, _session) = stage.talk("100");
    ids.push(the_call(&api));
    eventually("five are over", SOON, || calls(&api, "?status=ended").len() == 5);
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = api.get(&format!("/api/calls{query}")).json();
        let page_ids = page["calls"].as_array().expect("a list").iter();
        seen.extend(page_ids.map(|call| call["id"].as_str().expect("an id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, ids, "each of them once, newest first");
}

#[test]
fn a_call_is_steered() {
    let (stage, api) = stage(&PLAIN);
    let (_call, session) = stage.talk("100");
    let id = the_call(&api);
    let order = |what: &str, body: &str| api.post(&format!("/api/calls/{id}/{what}"), body);
    assert_eq!(order("say", r#"{"text":"One moment, please"}"#).status, 202);
    let told = |text: &str| session.events().iter().any(|event| event.json.to_string().contains(text));
    eventually("the agent is told to say it", SOON, || told("One moment, please"));
    assert_eq!(order("context", r#"{"text":"The parcel is in Omsk","answer":true}"#).status, 202);
    eventually("the agent is told to know it", SOON, || told("The parcel is in Omsk"));
    let status = || api.get(&format!("/api/calls/{id}")).json()["status"].clone();
    assert_eq!(order("hold", "").status, 202);
    eventually("it is held", SOON, || status() == "held");
    assert_eq!(order("resume", "").status, 202);
    eventually("it talks", SOON, || status() == "talking");
    for (body, problem) in [("{\"text\":\" \"}", "the text is empty"), ("{\"text\":3}", "text"), ("{}", "text")] {
        let answer = order("say", body);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(problem)), "{answer:?}");
    }
    let long = json!({"text": "x".repeat(5000)}).to_string();
    assert!(order("say", &long).json()["detail"].as_str().is_some_and(|detail| detail.contains("5000 bytes")));
    assert_eq!(api.post("/api/calls/nobody/say", r#"{"text":"x"}"#).status, 404);
}

#[test]
fn a_call_that_is_hung_up_does_not_go_on_in_the_dialplan() {
    let (stage, api) = stage(&PLAIN);
    let (call, session) = stage.talk("100");
    let id = the_call(&api);
    assert_eq!(api.post(&format!("/api/calls/{id}/hangup"), "").status, 202);
    let ended = call.wait_ended(SOON).expect("the phone is told");
    assert_eq!(ended, Ended::ByPbx);
    let result = stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("STOPPED", ""), "{result:?}");
    assert!(result.get("REASON").contains("hung up from outside"), "{result:?}");
    session.wait_closed(SOON).expect("the WebSocket closes");
    stage.assert_nothing_left();
    assert_eq!(api.post(&format!("/api/calls/{id}/hangup"), "").status, 404);
}

#[test]
fn a_caller_is_transferred_to_where_the_profile_allows() {
    let keys = Keys { profile: "transfer_context = staff\ntransfer_context = queues", ..PLAIN };
    let (stage, api) = stage(&keys);
    let (_call, _session) = stage.talk("100");
    let path = format!("/api/calls/{}/transfer", the_call(&api));
    for (body, problem) in [
        (r#"{"extension":"300","context":"trunk"}"#, "transfers are allowed to staff, queues"),
        (r#"{"extension":"300@trunk"}"#, "extension"),
        (r#"{"extension":"1,1)&System(id"}"#, "extension"),
    ] {
        let answer = api.post(&path, body);
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.contains(problem), "{answer:?}");
    }
    assert_eq!(api.post(&path, r#"{"extension":"300","context":"queues"}"#).status, 202);
    let result = stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("TRANSFER")), ("TRANSFER", "300@queues"), "{result:?}");
    assert_eq!(result.get("WENT_ON"), "yes", "the dialplan sends the caller there");
}
