//! Tools that act on the call's own channel.

use std::time::{Duration, Instant};

use practice_agent::{Pace, Script, Speech};
use rig::Recording;
use serde_json::json;

use super::common::{SOON, Stage, eventually, extension, signal};
use super::{assert_goes_on, call, hang_up, passive, refused};

/// A key that a phone received as an RFC 4733 event.
#[derive(Debug)]
struct Key {
    code: u8,
    began: Instant,
    ended: Instant,
    /// Its length as the last packet tells it. [ms] Asterisk counts 20 ms for each packet it sends, and it sends two at once
    /// for the beginning.
    told_ms: u32,
}

fn keys(heard: &Recording) -> Vec<Key> {
    let mut keys: Vec<(u32, Key)> = Vec::new();
    for packet in heard.packets.iter().filter(|packet| packet.payload.len() == 4) {
        let [code, _, high, low] = packet.payload[..] else { continue };
        let told_ms = u32::from(u16::from_be_bytes([high, low])) / 8;
        match keys.last_mut().filter(|(timestamp, _)| *timestamp == packet.timestamp) {
            Some((_, key)) => (key.ended, key.told_ms) = (packet.at, told_ms),
            None => keys.push((packet.timestamp, Key { code, began: packet.at, ended: packet.at, told_ms })),
        }
    }
    keys.into_iter().map(|(_, key)| key).collect()
}

#[test]
fn keys_reach_the_phone_as_events_and_no_word_of_the_agent_is_lost() {
    let stage = Stage::new(passive(), "tool = send_dtmf", "");
    let (phone, session) = stage.talk("100");
    let words = signal::codes(5, 8 * 3000);
    session.perform(Script::new().say(Speech::wire("Words", words.clone()).at(Pace::Burst)));
    eventually("the agent is heard", SOON, || phone.heard().audio().any(signal::is_sound));
    let before = session.caller_audio_time();
    let answer = call(&session, "send_dtmf", &json!({"digits": "17w*#"}));
    assert_eq!(answer, json!({"ok": true}));
    let caller = session.caller_audio_time() - before;
    // Four keys and a pause.
    assert!((1000..1900).contains(&caller.as_millis()), "the caller was heard for {caller:?}");
    eventually("the agent has said all", SOON, || {
        phone.heard().bytes().windows(160).any(|window| window == &words[words.len() - 160..])
    });
    let heard = phone.heard();
    let keys = keys(&heard);
    assert_eq!(heard.digits(), "17*#");
    assert_eq!(keys.iter().map(|key| key.code).collect::<Vec<_>>(), [1, 7, 10, 11]);
    let down = |key: &Key| (key.ended - key.began).as_millis();
    assert!(keys.iter().all(|key| (75..=130).contains(&down(key)) && (100..=200).contains(&key.told_ms)), "{keys:?}");
    let pauses: Vec<_> = keys.windows(2).map(|pair| (pair[1].began - pair[0].ended).as_millis()).collect();
    assert!((75..=135).contains(&pauses[0]) && (570..=650).contains(&pauses[1]), "{pauses:?}");
    // Each key has two soft edges of 5 ms beside it.
    let said = heard.bytes().iter().filter(|code| !signal::SILENT_CODES.contains(code)).count();
    assert!(said.abs_diff(words.len()) <= 4 * 80, "{said} of {} codes", words.len());
    let own: usize = words.chunks(40).filter(|piece| signal::position(&heard.bytes(), piece).is_some()).count();
    assert!(own + 2 * 4 + 4 >= words.len() / 40, "{own} of {} pieces", words.len() / 40);
    hang_up(&stage, &phone);
}

#[test]
fn a_key_that_is_none_is_refused_and_without_the_tool_all_are() {
    let stage = Stage::new(passive(), "tool = send_dtmf", "");
    let (phone, session) = stage.talk("100");
    for digits in [json!("12x"), json!(""), json!("1".repeat(33)), json!(5), json!(null)] {
        let problem = refused(&session, "send_dtmf", &json!({"digits": digits}));
        assert!(problem.contains("1 to 32 of 0-9, *, #, A-D"), "{problem}");
    }
    assert!(phone.heard().digits().is_empty());
    assert_eq!(refused(&session, "set_variable", &json!({"name": "X", "value": "1"})), "there is no such tool");
    // A caller who hangs up while keys are waiting.
    session.perform(Script::new().call_tool("send_dtmf", r#"{"digits":"1234567890wwwwwwwwww"}"#));
    eventually("keys come", SOON, || phone.heard().digits().starts_with("12"));
    hang_up(&stage, &phone);
}

#[test]
fn a_variable_on_the_list_is_set_as_it_is_and_another_is_not() {
    let dialplan = extension("201", "").replace("Set(WENT_ON=yes)", "Verbose(0,NOTED <${NOTE}> <${OTHER}>)");
    let stage = Stage::new(passive(), "settable_variable = NOTE\nsettable_variable = MOOD", &dialplan);
    let (phone, session) = stage.talk("201");
    let set = |name: &str, value: &str| json!({"name": name, "value": value});
    let text = "a,b \"c\" ${SHELL(id)} $[1+1] \\ )&x";
    assert_eq!(call(&session, "set_variable", &set("NOTE", text)), json!({"ok": true}));
    for name in ["OTHER", "NOTE ", "note", "SHELL(id)", "CALLERID(num)", ""] {
        let problem = refused(&session, "set_variable", &set(name, "x"));
        assert_eq!(problem, "name: allowed are NOTE, MOOD");
    }
    let problem = refused(&session, "set_variable", &set("NOTE", &"x".repeat(1025)));
    assert_eq!(problem, "value: expected a text of at most 1024 bytes");
    assert_goes_on(&session);
    session.perform(Script::new().call_tool("hangup", "{}"));
    stage.rig.wait_log(&format!("NOTED <{text}> <>"), SOON).expect("the dialplan reads it");
    phone.wait_ended(SOON).expect("the call ends");
    std::thread::sleep(Duration::from_millis(50));
    stage.assert_nothing_left();
}
