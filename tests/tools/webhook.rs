//! Tools that ask a web service.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use practice_agent::{Script, Session, Step};
use rig::{Phone, PhoneCall};
use serde_json::{Value, json};

use super::common::certificate::{Certificate, DAY};
use super::common::markdown::{Document, is_same_shape};
use super::common::{SOON, Stage, eventually};
use super::service::{Service, answer, dead_port, pauses};
use super::{assert_goes_on, call, hang_up, passive, refused, texts, tools};

/// A call whose agent has the tools of these sections.
fn talk(sections: &[(&str, String)]) -> (Stage, PhoneCall, Session) {
    let stage = Stage::new(passive(), &tools("", sections), "");
    let (call, session) = stage.talk("100");
    (stage, call, session)
}

fn webhook(url: &str, keys: &str) -> String {
    format!("action = webhook\nurl = {url}\n{}\n{keys}", texts(&["order"]))
}

#[test]
fn a_service_is_asked_and_its_answer_given_to_the_agent() {
    let service = Service::start(|_, _| answer(200, r#"{"state":"sent","days":2}"#));
    let url = service.url("/orders?key=hunter2");
    let keys = webhook(&url, "header = Authorization: Bearer hunter2\nheader = X-Team: support");
    let (stage, phone, session) = talk(&[("order_status", keys)]);
    let declared = session.wait_event("session.update", 0, SOON).expect("the session is set up");
    let declared = declared.json["session"]["tools"].as_array().cloned().unwrap_or_default();
    let declared = declared.iter().find(|tool| tool["name"] == "order_status").expect("it is declared");
    assert_eq!((&declared["description"], &declared["parameters"]["required"]), (&json!("A tool"), &json!(["order"])));

    let given = call(&session, "order_status", &json!({"order": "4711, \"x\"\r\n"}));
    assert_eq!(given, json!({"ok": true, "result": {"state": "sent", "days": 2}}));
    let requests = service.requests();
    assert_eq!(requests.len(), 1);
    let (head, body) = (requests[0].head.to_lowercase(), &requests[0].body);
    assert!(head.starts_with("post /orders?key=hunter2 http/1.1\r\n"), "{head}");
    for line in ["content-type: application/json", "authorization: bearer hunter2", "x-team: support"] {
        assert!(head.contains(line), "{head}");
    }
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["tool"], &body["arguments"]), (&json!("order_status"), &json!({"order": "4711, \"x\"\r\n"})));
    let example = Document::read("docs/tools.md").blocks().into_iter().find(|block| block.language == "json");
    let example = serde_json::from_str(&example.expect("it is shown").text).expect("JSON");
    assert!(is_same_shape(&example, &body), "docs/tools.md shows {example:#}, and it is {body:#}");
    assert!(body["channel"].as_str().is_some_and(|name| name.starts_with("PJSIP/")), "{body}");
    assert!(stage.cli("ai show sessions").contains(body["session"].as_str().expect("an id")), "{body}");
    assert!(body["id"].is_string() && body["caller"]["number"].as_str().is_some_and(|number| !number.is_empty()));
    assert_goes_on(&session);
    hang_up(&stage, &phone);
    assert!(!stage.rig.log().contains("hunter2"), "a secret is in the log");
}

#[test]
fn arguments_that_do_not_fit_the_schema_are_the_agents_to_mend() {
    let service = Service::start(|_, _| answer(200, "{}"));
    let (stage, phone, session) = talk(&[("status", webhook(&service.url("/"), ""))]);
    let wrong = [
        (json!({}), "order"),
        (json!({"order": 4711}), "order: want string"),
        (json!({"order": "1", "more": true}), "more"),
        (json!([1]), "want object"),
        (json!({"order": "x".repeat(17_000)}), "more than 16384 bytes"),
    ];
    for (arguments, words) in wrong {
        let problem = refused(&session, "status", &arguments);
        assert!(problem.contains(words), "{problem}");
    }
    assert!(service.requests().is_empty());
    assert_eq!(call(&session, "status", &json!({"order": "1"})), json!({"ok": true, "result": {}}));
    hang_up(&stage, &phone);
}

#[test]
fn what_a_service_cannot_do_is_told_and_tried_again_only_where_that_is_safe() {
    let shaky = Service::start(|number, _| if number < 2 { answer(503, "hunter2") } else { answer(200, "[1]") });
    let broken = Service::start(|_, _| answer(500, "Traceback: hunter2"));
    let busy = Service::start(|number, _| match number {
        0 => Some("HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned()),
        _ => answer(204, ""),
    });
    let unknown = Service::start(|_, _| answer(404, r#"{"error":"there is no such order"}"#));
    let page = Service::start(|_, _| answer(200, "<html>hunter2</html>"));
    let garbage = Service::start(|_, _| Some("hunter2\r\n\r\n".to_owned()));
    let endless = Service::start(|_, _| answer(200, &format!("\"{}\"", "x".repeat(40_000))));
    let dead = format!("http://127.0.0.1:{}/", dead_port());
    let services = [
        ("shaky", &shaky),
        ("broken", &broken),
        ("busy", &busy),
        ("unknown", &unknown),
        ("page", &page),
        ("garbage", &garbage),
        ("endless", &endless),
    ];
    let mut sections: Vec<_> = services.iter().map(|(name, service)| (*name, webhook(&service.url("/"), ""))).collect();
    sections.push(("dead", webhook(&dead, "retries = 1")));
    let (stage, phone, session) = talk(&sections);
    let order = json!({"order": "1"});
    assert_eq!(call(&session, "shaky", &order), json!({"ok": true, "result": [1]}));
    assert_eq!(shaky.requests().len(), 3);
    let waited = pauses(&shaky.requests());
    assert!(waited[0] >= Duration::from_millis(200) && waited[1] >= Duration::from_millis(400), "{waited:?}");
    assert_eq!(refused(&session, "broken", &order), "the web service answered 500");
    assert_eq!(broken.requests().len(), 3);
    assert_eq!(call(&session, "busy", &order), json!({"ok": true}));
    assert!(pauses(&busy.requests())[0] >= Duration::from_secs(1));
    assert_eq!(refused(&session, "unknown", &order), "the web service answered 404: there is no such order");
    assert_eq!(refused(&session, "page", &order), "the web service's answer is not JSON");
    assert_eq!(refused(&session, "garbage", &order), "the connection to the web service failed");
    assert_eq!(refused(&session, "endless", &order), "the answer is longer than 32768 bytes");
    for service in [&unknown, &page, &garbage, &endless] {
        assert_eq!(service.requests().len(), 1, "what may have been done is not tried again");
    }
    assert_eq!(refused(&session, "dead", &order), "the web service cannot be reached");
    assert_goes_on(&session);
    hang_up(&stage, &phone);
    assert!(!stage.rig.log().contains("hunter2"), "what a service says is not for the log");
}

#[test]
fn a_service_that_says_nothing_is_given_up_and_several_are_asked_at_once() {
    let silent = Service::start(|_, _| None);
    let slow = Service::start(|_, _| {
        std::thread::sleep(Duration::from_millis(700));
        answer(200, "1")
    });
    let (stage, phone, session) =
        talk(&[("silent", webhook(&silent.url("/"), "timeout_ms = 1500")), ("slow", webhook(&slow.url("/"), ""))]);
    let (asked, order) = (Instant::now(), json!({"order": "1"}).to_string());
    let both = practice_agent::Script::new().call_tool("silent", &*order).call_tool("slow", &*order);
    session.perform(both);
    super::eventually("both answer", SOON, || super::answers(&session).len() == 2);
    let took = asked.elapsed();
    let answers = super::answers(&session);
    assert_eq!(answers, [json!({"ok": true, "result": 1}), json!({"ok": false, "error": "not done within 1500 ms"})]);
    assert!((1500..2600).contains(&took.as_millis()), "{took:?}");
    assert_eq!(silent.requests().len(), 1);
    hang_up(&stage, &phone);
}

#[test]
fn a_service_is_trusted_for_its_certificate_or_not_at_all() {
    let authority = Certificate::authority("A trusted authority");
    let address = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let trusted = Service::secure(&authority.issue(&["localhost"], &address, DAY), |_, _| answer(200, "\"yes\""));
    let stranger = Service::secure(&Certificate::self_signed(&["localhost"], &address), |_, _| answer(200, "\"no\""));
    let sections = [
        ("trusted", webhook(&trusted.url("/"), "tls_ca_file = ca.pem")),
        ("stranger", webhook(&stranger.url("/"), "tls_ca_file = ca.pem")),
        ("careless", webhook(&stranger.url("/"), "tls_verify = no")),
    ];
    let stage = Stage::with(
        passive(),
        |rig, url| {
            let keys = tools("", &sections);
            rig.config("ai_bridge.conf", super::common::profile(url, &keys)).config("ca.pem", authority.pem())
        },
        "",
    );
    let phone = Phone::new(&stage.rig).dial("100").expect("the phone dials");
    let session = stage.session();
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("the caller is heard");
    let order = json!({"order": "1"});
    assert_eq!(call(&session, "trusted", &order)["result"], "yes");
    assert_eq!(refused(&session, "stranger", &order), "the web service cannot be reached");
    assert_eq!(call(&session, "careless", &order)["result"], "no");
    stage.rig.wait_log("tool stranger: ", SOON).expect("the log says more");
    hang_up(&stage, &phone);
}

#[test]
fn a_tool_outlives_the_session_that_called_it() {
    let service = Service::start(|_, _| {
        std::thread::sleep(Duration::from_millis(1500));
        answer(200, r#""cancelled""#)
    });
    let (stage, phone, session) = talk(&[("cancel", webhook(&service.url("/"), ""))]);
    session.perform(Script::new().call_tool("cancel", r#"{"order":"4711"}"#));
    eventually("the service is asked", SOON, || service.requests().len() == 1);
    session.perform(Step::Reset);
    let next = stage.session();
    let told = |words: &str| {
        let items = next.events_of("conversation.item.create");
        items
            .iter()
            .any(|event| event.json["item"]["content"][0]["text"].as_str().is_some_and(|text| text.contains(words)))
    };
    eventually("the next session is told that it runs", SOON, || told("It is still at work"));
    assert!(!told("cancelled") && next.events_of("response.create").is_empty(), "there is nothing to say yet");
    eventually("and then of its answer", SOON, || told(r#"{"ok":true,"result":"cancelled"}"#));
    next.wait_event("response.create", 0, SOON).expect("the agent speaks about it");
    assert_eq!(service.requests().len(), 1);
    hang_up(&stage, &phone);
}
