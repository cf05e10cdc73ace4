//! Keys of the telephone: some end the conversation, all others reach the agent.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{SOON, Stage, extension, signal};
use practice_agent::{Builder, Received, Script, Server, Session, Step};

/// Keys pressed within this of each other belong together.
const PAUSE: Duration = Duration::from_secs(1);

fn passive() -> Builder {
    Server::builder().script(Script::new())
}

#[test]
fn an_end_digit_ends_the_conversation_and_is_named() {
    let stage = Stage::new(passive(), "", &extension("_20X", ",d(0#)"));
    for (extension, keys, ended_by) in [("201", "0", "0"), ("202", "#", "#"), ("203", "19#", "#")] {
        let (call, session) = stage.talk(extension);
        keys.chars().for_each(|key| call.send_digit(key));
        let result = stage.result(extension);
        assert_eq!((result.get("STATUS"), result.get("DIGIT")), ("DTMF", ended_by), "{result:?}");
        assert_eq!(result.get("REASON"), format!("the caller pressed {ended_by}"));
        assert_eq!(result.get("WENT_ON"), "yes");
        session.wait_closed(SOON).expect("the WebSocket closes with the call");
        assert!(told(&session).iter().all(|text| !text.contains(ended_by)), "the agent heard of the end digit");
    }
    stage.assert_nothing_left();
}

#[test]
fn other_digits_reach_the_agent_which_is_asked_to_answer() {
    let stage = Stage::new(passive(), "", &extension("201", ",d(0#)"));
    for extension in ["100", "201"] {
        let (call, session) = stage.talk(extension);
        call.send_digit('5');
        let item = session.wait_event("conversation.item.create", 0, SOON).expect("the agent is told");
        let item = &item.json["item"];
        assert_eq!((&item["type"], &item["role"]), (&"message".into(), &"user".into()), "{item}");
        session.wait_event("response.create", 0, SOON).expect("the agent is asked to answer");
        assert_eq!(order(&session), ["conversation.item.create", "response.create"]);
        assert_eq!(keys(&told(&session)[0]), "5");
        call.hang_up();
        assert_eq!(stage.result(extension).get("STATUS"), "HANGUP");
    }
}

#[test]
fn every_key_is_told_and_those_pressed_quickly_come_together() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = stage.talk("100");
    "0123456789*#ABCD11".chars().for_each(|key| call.send_digit(key));
    call.wait_played(2 * SOON).expect("the keys are pressed");
    let pressed = Instant::now();
    session.wait_event("response.create", 0, SOON).expect("the agent is told");
    let waited = pressed.elapsed();
    assert!(waited > PAUSE / 2 && waited < PAUSE * 3, "told {waited:?} after the last key");

    call.send_digit('4');
    session.wait_event("conversation.item.create", 1, SOON).expect("the agent is told");
    let told: Vec<_> = told(&session).iter().map(|text| keys(text).to_owned()).collect();
    assert_eq!(told, ["0123456789*#ABCD11", "4"]);
}

#[test]
fn digits_pressed_before_the_ai_is_ready_are_not_lost() {
    // The agent reads the settings only after this long, so the session is not ready before.
    let delay = PAUSE * 2;
    let script = Script::new().then(Step::ReadSlowly { bytes_per_s: 1 }).sleep(delay);
    let stage = Stage::new(Server::builder().script(script.then(Step::ReadSlowly { bytes_per_s: 1_000_000 })), "", "");
    let call = stage.call("100");
    let session = stage.session();
    "42".chars().for_each(|key| call.send_digit(key));
    call.wait_played(SOON).expect("the keys are pressed");
    assert!(session.sent().iter().all(|sent| sent.kind != "session.updated"), "too late to be early");
    session.wait_event("response.create", 0, SOON).expect("the agent is told");
    assert_eq!(keys(&told(&session)[0]), "42");
    assert_eq!(told(&session).len(), 1);
}

#[test]
fn while_keys_are_held_the_caller_is_silent_and_time_goes_on() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = stage.talk("100");
    call.play_bytes(&signal::codes(1, 8 * 10_000));
    sleep(Duration::from_millis(500));

    let (start, heard_before) = (Instant::now(), session.caller_audio_time());
    let bytes_before = session.caller_audio().len();
    "12345678".chars().for_each(|key| call.send_digit(key));
    sleep(Duration::from_secs(3));
    let (elapsed, heard) = (start.elapsed(), session.caller_audio_time() - heard_before);
    assert!(heard.abs_diff(elapsed) < Duration::from_millis(200), "{heard:?} of audio in {elapsed:?}");

    let audio = session.caller_audio().split_off(bytes_before);
    let silent_ms = audio.iter().filter(|code| signal::SILENT_CODES.contains(code)).count() / 8;
    // Eight keys of 160 ms, and what the exchange takes to be sure of each one's end.
    assert!((8 * 120..8 * 240).contains(&silent_ms), "{silent_ms} ms of silence in {} ms", audio.len() / 8);
}

/// What the agent was told in writing.
fn told(session: &Session) -> Vec<String> {
    let text = |event: &Received| event.json["item"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    session.events_of("conversation.item.create").iter().map(text).collect()
}

/// The keys in such a text, which ends `: <keys>)`.
fn keys(text: &str) -> &str {
    text.rsplit_once(": ").map_or("", |(_, keys)| keys.trim_end_matches(')'))
}

/// The kinds of the events that came after the settings.
fn order(session: &Session) -> Vec<String> {
    let kinds = session.events().into_iter().map(|event| event.kind);
    kinds.filter(|kind| kind != "session.update").collect()
}
