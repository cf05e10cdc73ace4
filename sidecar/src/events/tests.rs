use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::publisher::CAPACITY;
use super::*;
use crate::Status;
use crate::outbound::Cause;
use crate::stats::{CallStats, record};

fn origin() -> Origin {
    Origin {
        direction: Direction::Inbound,
        channel: "PJSIP/1001-00000001".to_owned(),
        uniqueid: "1795305600.1".to_owned(),
        caller: Some("1001".to_owned()),
        callee: None,
    }
}

fn publish(events: &Events, what: What) {
    events.publish("6920b1c0.0001", "support", &origin(), || what);
}

fn said(text: &str, complete: bool) -> What {
    What::said(Speaker::Caller, text, complete)
}

fn hint(kind: HintKind, priority: Priority) -> What {
    let hint = Hint { kind, title: "Price".to_owned(), content: "Offer a refund".to_owned(), priority };
    What::Suggestion { hint, latency_ms: 820 }
}

/// Every kind of event, with as much in it as there can be and with as little.
fn every_kind() -> Vec<What> {
    let stats = CallStats::default();
    let little = Figures::from(&stats);
    stats.connect.set(Duration::from_micros(1234));
    record(&mut stats.latencies().response, Duration::from_millis(700));
    record(&mut stats.latencies().transcription, Duration::from_millis(300));
    record(&mut stats.latencies().hint, Duration::from_millis(900));
    let end = CallEnd {
        status: Status::Complete,
        reason: "the agent hung up".to_owned(),
        duration_ms: 61_000,
        transfer: None,
        digit: None,
        cause: None,
        figures: little,
    };
    let states = ["connecting", "talking", "reconnecting", "on_hold", "held"];
    let all = [CallState::Connecting, CallState::Talking, CallState::Reconnecting, CallState::OnHold, CallState::Held];
    assert_eq!(all.map(CallState::name), states);
    let mut kinds = vec![
        What::CallStart { dialect: "openai".to_owned() },
        said("Guten Tag", true),
        said("Guten", false),
        What::Transcript {
            speaker: Speaker::Operator,
            text: String::new(),
            complete: true,
            start_ms: Some(1200),
            end_ms: Some(3400),
        },
        What::Interim { speaker: Speaker::Caller, text: "Good m".to_owned() },
        What::Interim { speaker: Speaker::Operator, text: String::new() },
        What::BargeIn { noticed_by: NoticedBy::Line, heard_ms: Some(420), received_ms: Some(3000) },
        What::BargeIn { noticed_by: NoticedBy::Provider, heard_ms: None, received_ms: None },
        What::ToolCall {
            call_id: "call_1".to_owned(),
            tool: "hangup".to_owned(),
            arguments: "{}".to_owned(),
            error: None,
        },
        What::ToolCall {
            call_id: String::new(),
            tool: "x".to_owned(),
            arguments: "not json".to_owned(),
            error: Some("there is no such tool".to_owned()),
        },
        What::CallEnd(Box::new(end.clone())),
        What::CallEnd(Box::new(CallEnd {
            transfer: Some("200@queues".to_owned()),
            digit: Some('#'),
            cause: Some(Cause { q850: 17, sip: Some(486) }),
            figures: Figures::from(&stats),
            ..end
        })),
    ];
    kinds.extend(all.map(|state| What::CallStatus { state }));
    kinds.extend(HintKind::ALL.map(|kind| hint(kind, Priority::Medium)));
    kinds.extend(Priority::ALL.map(|priority| hint(HintKind::Other, priority)));
    kinds
}

#[test]
fn every_event_is_as_the_schema_says_and_the_schema_has_no_other() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("events.json", schema.clone()).expect("it has a name");
    let form = compiler.compile("events.json", &mut schemas).expect("the schema is one");
    let is_valid = |json: &Value| schemas.validate(json, form).is_ok();
    let events = Events::default();
    let mut subscription = events.subscribe();
    let mut kinds = BTreeSet::new();
    for what in every_kind() {
        publish(&events, what);
        let Some(Notice::Event(event)) = subscription.wait() else { panic!("an event was published") };
        let json = serde_json::to_value(&*event).expect("it becomes JSON");
        if let Err(problem) = schemas.validate(&json, form) {
            panic!("{problem}: {json}");
        }
        kinds.insert(json["event"].as_str().expect("a kind").to_owned());
        for field in ["id", "time", "session", "channel"] {
            let mut less = json.clone();
            less.as_object_mut().expect("an object").remove(field);
            assert!(!is_valid(&less), "without {field}");
        }
        let mut more = json.clone();
        more["surprise"] = json!(1);
        assert!(!is_valid(&more), "with a field that nobody knows");
    }
    let known = schema["oneOf"].as_array().expect("a list").iter();
    let known: BTreeSet<_> =
        known.map(|kind| kind["$ref"].as_str().expect("a reference").replace("#/$defs/", "")).collect();
    assert_eq!(kinds, known);
}

#[test]
fn the_time_is_utc_with_milliseconds() {
    let time = UNIX_EPOCH + Duration::from_micros(1_795_305_600_123_999);
    let event =
        Event { id: 1, time, session: String::new(), profile: String::new(), origin: origin(), what: said("", true) };
    assert_eq!(serde_json::to_value(&event).expect("JSON")["time"], "2026-11-22T00:00:00.123Z");
}

#[test]
fn nothing_is_made_for_nobody() {
    let events = Events::default();
    events.publish("s", "p", &origin(), || panic!("nobody wants this"));
    drop(events.subscribe());
    events.publish("s", "p", &origin(), || panic!("nobody wants this any more"));
    let mut subscription = events.subscribe();
    publish(&events, said("now", true));
    assert!(matches!(subscription.wait(), Some(Notice::Event(_))));
}

#[test]
fn ids_grow_for_every_reader_however_many_calls_publish() {
    let events = Events::default();
    let (mut first, mut second) = (events.subscribe(), events.subscribe());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| publish(&events, said("word", true))));
        }
    });
    events.close();
    let ids = |subscription: &mut Subscription| {
        let ids: Vec<_> = std::iter::from_fn(|| subscription.wait())
            .map(|notice| match notice {
                Notice::Event(event) => event.id,
                Notice::Missed(missed) => panic!("{missed} missed"),
            })
            .collect();
        assert!(ids.is_sorted_by(|before, after| before < after));
        ids
    };
    let seen = ids(&mut first);
    assert_eq!(seen.len(), 800);
    assert_eq!(seen, ids(&mut second));
    assert!(seen[799] < 1 << 53, "JavaScript's integers");
}

#[test]
fn who_does_not_read_misses_the_oldest_and_learns_how_many() {
    let events = Events::default();
    let mut slow = events.subscribe();
    for number in 0..CAPACITY + 10 {
        publish(&events, said(&number.to_string(), true));
    }
    assert_eq!(slow.wait(), Some(Notice::Missed(10)));
    let Some(Notice::Event(event)) = slow.wait() else { panic!("the rest is there") };
    assert_eq!(event.what, said("10", true));
}

#[test]
fn pieces_go_only_to_those_who_want_them() {
    let events = Events::default();
    let (mut all, mut whole) = (events.subscribe(), events.subscribe_to_whole());
    publish(&events, said("Guten", false));
    publish(&events, said("Guten Tag", true));
    publish(&events, What::Interim { speaker: Speaker::Caller, text: "I w".to_owned() });
    events.close();
    let read = |subscription: &mut Subscription| std::iter::from_fn(|| subscription.wait()).count();
    assert_eq!((read(&mut all), read(&mut whole)), (3, 1));
    assert_eq!(events.subscribe().wait(), None, "nothing comes after the end");
}

#[test]
fn an_endless_text_is_cut() {
    let events = Events::default();
    let mut subscription = events.subscribe();
    publish(&events, said(&"ä".repeat(TEXT_MAX + 1), true));
    let Some(Notice::Event(event)) = subscription.wait() else { panic!("it was published") };
    assert_eq!(event.what, said(&"ä".repeat(TEXT_MAX), true));
}
