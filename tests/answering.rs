//! When the phone is answered: before the AI is asked, once it is ready (`e`), or not at all (`n`).

mod common;

use std::time::{Duration, Instant};

use common::{SOON, Stage, eventually, extension, signal};
use practice_agent::{Builder, Door, Pace, Script, Server, Speech, Step};
use rig::{CallEvent, Ended, PhoneCall};

const EARLY: &str = ",e";
const UNANSWERED: &str = ",n";

fn passive() -> Builder {
    Server::builder().script(Script::new())
}

#[test]
fn with_e_the_phone_is_answered_once_the_ai_is_ready() {
    // The agent reads the settings only after this long, so the session is not ready before.
    let delay = Duration::from_secs(1);
    let script = Script::new().then(Step::ReadSlowly { bytes_per_s: 1 }).sleep(delay);
    let agent = Server::builder().script(script.then(Step::ReadSlowly { bytes_per_s: 1_000_000 }));
    let stage = Stage::new(agent, "", &extension("201", EARLY));

    let call = stage.dial("201");
    let session = stage.session();
    assert!(!happened(&call, CallEvent::Answered), "answered before the AI was connected");
    let answered = call.wait_answered(SOON).expect("the phone is answered");
    let ready = session.wait_sent("session.updated", 0, SOON).expect("the session is set up").at;
    assert!(answered > ready, "answered {:?} before the AI was ready", ready - answered);
    assert!(answered - ready < Duration::from_secs(1), "answered {:?} after the AI was ready", answered - ready);
    assert!(call.heard().audio().all(|packet| packet.at > ready), "audio before the answer");
    assert_both_heard(&call, &session);
}

#[test]
fn with_e_a_call_that_cannot_be_connected_stays_unanswered() {
    let keys = "connect_timeout_ms = 1000";
    let stage = Stage::new(passive(), keys, &[extension("201", EARLY), extension("202", EARLY)].concat());
    for (number, door, words) in [("201", Door::Refuse(500), "500"), ("202", Door::Silent, "within 1000 ms")] {
        stage.agent.set_door(door);
        let call = stage.dial(number);
        let ended = call.wait_ended(SOON).expect("the dialplan hangs up");
        assert!(matches!(ended, Ended::Refused(_)), "{ended:?}");
        assert!(!happened(&call, CallEvent::Answered));
        let result = stage.result(number);
        assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("CONNFAIL", "yes"), "{result:?}");
        assert_eq!(result.get("STATE"), "Ring", "{result:?}");
        assert!(result.get("REASON").contains(words), "{result:?}");
    }
    stage.assert_nothing_left();
}

#[test]
fn with_e_a_caller_may_hang_up_while_the_ai_is_not_ready() {
    let stalled = Server::builder().script(Script::from(Step::Stall));
    let stage = Stage::new(stalled, "connect_timeout_ms = 60000", &extension("201", EARLY));
    let call = stage.dial("201");
    stage.session();
    call.hang_up();
    assert_eq!(call.wait_ended(SOON).expect("the phone has hung up"), Ended::Cancelled);
    let result = stage.result("201");
    assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("HANGUP", ""), "{result:?}");
    stage.assert_nothing_left();
}

#[test]
fn with_e_an_answered_call_is_a_call_like_any_other() {
    let stage = Stage::new(passive(), "", &answered_first("201", EARLY));
    let (call, session) = stage.talk("201");
    assert_both_heard(&call, &session);
}

#[test]
fn with_n_the_conversation_is_held_before_the_answer() {
    let stage = Stage::new(passive(), "", &[extension("201", UNANSWERED), extension("202", UNANSWERED)].concat());
    for (number, caller_hangs_up) in [("201", true), ("202", false)] {
        let call = stage.dial(number);
        call.wait_for(CallEvent::EarlyMedia, SOON).expect("there is audio before the answer");
        let session = stage.session();
        assert_both_heard(&call, &session);
        assert!(!happened(&call, CallEvent::Answered));
        if caller_hangs_up {
            call.hang_up();
            assert_eq!(call.wait_ended(SOON).expect("the phone has hung up"), Ended::Cancelled);
            assert_eq!(stage.result(number).get("STATUS"), "HANGUP");
        } else {
            session.perform(Script::new().close(1000, ""));
            let result = stage.result(number);
            assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("COMPLETE", "yes"), "{result:?}");
            assert_eq!(result.get("STATE"), "Ring", "{result:?}");
            assert!(matches!(call.wait_ended(SOON).expect("the dialplan hangs up"), Ended::Refused(_)));
        }
        session.wait_closed(SOON).expect("the WebSocket closes with the call");
        stage.assert_nothing_left();
    }
}

#[test]
fn with_n_an_answered_call_is_a_call_like_any_other() {
    let stage = Stage::new(passive(), "", &answered_first("201", UNANSWERED));
    let (call, session) = stage.talk("201");
    assert_both_heard(&call, &session);
    assert!(!happened(&call, CallEvent::EarlyMedia));
}

/// An extension that answers before it runs `AI()`.
fn answered_first(number: &str, arguments: &str) -> String {
    extension(number, arguments).replace("same => n,AI(", "same => n,Answer()\n same => n,AI(")
}

fn happened(call: &PhoneCall, what: CallEvent) -> bool {
    call.events().iter().any(|event| event.what == what)
}

/// Expects caller and agent to hear each other.
#[track_caller]
fn assert_both_heard(call: &PhoneCall, session: &practice_agent::Session) {
    let (question, answer) = (signal::codes(1, 8 * 500), signal::codes(2, 8 * 500));
    let start = Instant::now();
    call.play_bytes(&question);
    session.perform(Script::new().say(Speech::wire("Hello", answer.clone()).at(Pace::Burst)));
    let contains = |whole: &[u8], part: &[u8]| whole.windows(part.len()).any(|window| window == part);
    eventually("the agent is heard", SOON, || contains(&call.heard().bytes(), &answer));
    eventually("the caller is heard", SOON, || contains(&session.caller_audio(), &question));
    println!("heard each other after {:?}", start.elapsed());
}
