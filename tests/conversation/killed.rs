//! The connection to the vendor is cut at every point of the conversation, in every dialect.

use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use practice_agent::{Script, Server};
use serde_json::json;

use super::vendor::{Vendor, Words};
use super::{DEEPGRAM, Dialect, ELEVENLABS, GEMINI, GOOD_MORNING, GREETING, KEY, OPENAI, RAW, TWILIO, Talk, Who};
use crate::common::python::PythonServer;
use crate::common::signal::longest_interval;
use crate::common::witness::undisturbed;
use crate::common::{SOON, Stage, eventually, extension};

/// Until another session is open. The first attempt comes within 100 ms, at random.
const GAP: Duration = Duration::from_millis(500);
/// The line has a packet every 20 ms, whatever becomes of the session; but a machine stands still for a moment now and then.
const LONGEST_INTERVAL: Duration = Duration::from_millis(200);

/// Where the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Point {
    MidAudio,
    DuringATool,
    WhileTheCallerSpeaks,
}

fn recovers(dialect: &'static Dialect, point: Point) {
    undisturbed(|| recovers_at(dialect, point));
}

fn recovers_at(dialect: &'static Dialect, point: Point) {
    let talk = Talk::begin(dialect);
    let first = talk.session(1);
    talk.greet(&*first);
    let killed = match point {
        Point::MidAudio => cut_mid_audio(&talk, &*first),
        Point::DuringATool => {
            first.call("transfer", &json!({"extension": "300", "context": "trunk"}));
            first.kill();
            Instant::now()
        }
        Point::WhileTheCallerSpeaks => {
            talk.speak(&*first, "Good morning, when are you open, and where do I find you on a Saturday?");
            first.kill();
            Instant::now()
        }
    };
    let second = talk.session(2);
    let gap = second.opened().saturating_duration_since(killed);
    println!("{} {point:?}: another session after {gap:?}", dialect.name);
    assert!(gap < GAP, "another session only after {gap:?}");
    if point == Point::WhileTheCallerSpeaks {
        // The rest of what the caller said reaches the new session.
        second.caller_begins(killed);
    } else {
        talk.speak(&*second, "Are you still there?");
    }
    talk.listen(&*second);
    assert_told(dialect, &*second);
    let result = talk.part(&*second);
    if dialect.name == "twilio" {
        assert_eq!(result.get("STATUS"), "COMPLETE", "{result:?}");
    } else {
        super::assert_transferred(&result);
    }
    let longest = longest_interval(&talk.call.heard(), killed - Duration::from_millis(100), second.opened() + GAP);
    assert!(longest < LONGEST_INTERVAL, "the line stood still for {longest:?}");
}

/// In the middle of a sentence, of which all that came before is heard.
fn cut_mid_audio(talk: &Talk, vendor: &dyn Vendor) -> Instant {
    let answer = Words::new(2, 2500, "We are open from eight to five.");
    let began = Instant::now();
    vendor.say(&answer);
    eventually("the answer is heard", SOON, || talk.first_sound(began).is_some());
    sleep(Duration::from_millis(600));
    vendor.kill();
    let killed = Instant::now();
    // Sent ten times faster than it is heard, all of it had come.
    talk.assert_heard(began, &answer);
    let silent_from = talk.last_sound();
    assert!(silent_from > killed, "it was heard on after the connection was lost");
    killed
}

/// That the new session knows of the conversation before it, as far as the vendor can be told, and is not asked to greet.
fn assert_told(dialect: &Dialect, vendor: &dyn Vendor) {
    if dialect.name == "twilio" {
        return;
    }
    eventually("it is told of the conversation", SOON, || vendor.told().contains(GOOD_MORNING));
    assert!(!vendor.told().contains(GREETING), "it is asked to greet again: {}", vendor.told());
}

/// Gemini remembers the conversation itself, and gives it a name.
#[test]
fn gemini_is_given_the_handle_of_the_session_that_was_lost_or_will_end() {
    for ends in [json!({"do": "reset"}), json!({"do": "send", "text": r#"{"goAway":{"timeLeft":"2s"}}"#})] {
        let talk = Talk::begin(&GEMINI);
        let first = talk.session(1);
        talk.greet(&*first);
        let house = talk.stand_in.as_ref().expect("it is a stand-in");
        house.order(&json!({"do": "resumable", "handle": "handle-of-the-first"}));
        house.order(&ends);
        let second = talk.session(2);
        second.opened();
        first.ended();
        let setup: serde_json::Value =
            house.wait_event("told", 0, SOON, |event| event.json["session"] == 2).json["message"]["setup"].clone();
        assert_eq!(setup["sessionResumption"]["handle"], "handle-of-the-first", "{setup}");
        talk.speak(&*second, "Are you still there?");
        talk.listen(&*second);
        assert!(!second.told().contains(GREETING), "it is asked to greet again: {}", second.told());
        super::assert_transferred(&talk.part(&*second));
    }
}

macro_rules! every_point {
    ($($name:ident: $dialect:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn mid_audio() {
                recovers(&$dialect, Point::MidAudio);
            }

            #[test]
            fn during_a_tool() {
                recovers(&$dialect, Point::DuringATool);
            }

            #[test]
            fn while_the_caller_speaks() {
                recovers(&$dialect, Point::WhileTheCallerSpeaks);
            }
        }
    )*};
}

every_point! {
    openai: OPENAI;
    raw: RAW;
    elevenlabs: ELEVENLABS;
    gemini: GEMINI;
    deepgram: DEEPGRAM;
}

/// A bot for Twilio knows no tools.
mod twilio {
    use super::*;

    #[test]
    fn mid_audio() {
        recovers(&TWILIO, Point::MidAudio);
    }

    #[test]
    fn while_the_caller_speaks() {
        recovers(&TWILIO, Point::WhileTheCallerSpeaks);
    }
}

const ALL: [&Dialect; 6] = [&OPENAI, &TWILIO, &RAW, &ELEVENLABS, &GEMINI, &DEEPGRAM];

#[test]
fn before_it_is_open_every_dialect_ends_the_call_with_connfail() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
    let house = |opens: &str| {
        let house = PythonServer::start("tests/wire/vendors.py", &[]);
        house.order(&json!({"do": "door", "opens": opens, "times": 1000}));
        house
    };
    let (drops, broken) = (house("drop"), house("500"));
    let addresses = [("refused", format!("ws://{nobody}")), ("dropped", drops.url("")), ("broken", broken.url(""))];
    let mut config = String::from("[general]\ndefault_profile = openai\n\n");
    let (mut dialplan, mut extensions) = (String::new(), Vec::new());
    for dialect in ALL {
        for (how, address) in &addresses {
            let path = if let Who::StandIn(path, _) = dialect.who { path } else { "/" };
            let name = format!("{}-{how}", dialect.name);
            let profile = dialect.profile(&format!("{address}{path}"));
            config += &profile.replacen(&format!("[{}]", dialect.name), &format!("[{name}]"), 1);
            let number = format!("{}", 200 + extensions.len());
            dialplan += &extension(&number, &name);
            extensions.push((number, name));
        }
    }
    config = config.replace("default_profile = openai", "default_profile = openai-refused");
    let agent = Server::builder().script(Script::new());
    let stage = Stage::with(agent, |rig, _| rig.config("ai_bridge.conf", config), &dialplan);
    for (number, name) in extensions {
        let call = stage.dial(&number);
        let result = stage.result(&number);
        println!("{name}: {}", result.get("REASON"));
        assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("CONNFAIL", "yes"), "{name}: {result:?}");
        assert!(!result.get("REASON").contains(KEY), "{result:?}");
        call.wait_ended(SOON).expect("the dialplan hangs up");
    }
    assert!(!stage.rig.log().contains(KEY), "the log has no secret");
    stage.assert_nothing_left();
}

#[test]
fn before_it_is_ready_openai_ends_the_call_with_connfail() {
    let agent = Server::builder().script(practice_agent::Step::Reset.into());
    let config = |rig: rig::Builder, url: &str| {
        rig.config("ai_bridge.conf", format!("[general]\ndefault_profile = openai\n\n{}", OPENAI.profile(url)))
    };
    let stage = Stage::with(agent, config, "");
    let call = stage.dial("100");
    let result = stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("CONNFAIL", "yes"), "{result:?}");
    call.wait_ended(SOON).expect("the dialplan hangs up");
    stage.assert_nothing_left();
}

#[test]
fn a_vendor_that_is_out_of_order_for_a_moment_is_tried_again() {
    for (dialect, opens) in [(&ELEVENLABS, "500"), (&GEMINI, "drop"), (&DEEPGRAM, "500")] {
        let talk = Talk::begin(dialect);
        let first = talk.session(1);
        talk.greet(&*first);
        let house = talk.stand_in.as_ref().expect("it is a stand-in");
        house.order(&json!({"do": "door", "opens": opens, "times": 1}));
        let killed = Instant::now();
        first.kill();
        let second = talk.session(2);
        let gap = second.opened().saturating_duration_since(killed);
        println!("{} {opens}: another session after {gap:?}", dialect.name);
        // The second attempt comes 250 to 500 ms after the first.
        assert!(gap < 2 * GAP, "another session only after {gap:?}");
        assert_eq!(house.events("door").len(), 1, "the first attempt was in vain");
        talk.speak(&*second, "Are you still there?");
        talk.listen(&*second);
        super::assert_transferred(&talk.part(&*second));
    }
}

#[test]
fn before_it_is_ready_every_vendor_that_says_so_ends_the_call_with_connfail() {
    for dialect in [&ELEVENLABS, &GEMINI, &DEEPGRAM] {
        let Who::StandIn(path, _) = dialect.who else { unreachable!("they all are") };
        let house = PythonServer::start("tests/wire/vendors.py", &[]);
        house.order(&json!({"do": "door", "opens": "silent", "times": 1}));
        let config = format!("[general]\ndefault_profile = {}\n\n{}", dialect.name, dialect.profile(&house.url(path)));
        let agent = Server::builder().script(Script::new());
        let stage = Stage::with(agent, |rig, _| rig.config("ai_bridge.conf", config), "");
        let call = stage.dial("100");
        house.wait_event("opened", 0, SOON, |_| true);
        house.order(&json!({"do": "reset"}));
        let result = stage.result("100");
        println!("{}: {}", dialect.name, result.get("REASON"));
        assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("CONNFAIL", "yes"), "{result:?}");
        call.wait_ended(SOON).expect("the dialplan hangs up");
        stage.assert_nothing_left();
    }
}
