//! What the caller hears while a tool runs.

use std::fs;
use std::time::Duration;

use practice_agent::{Pace, Script, Session, Speech};
use rig::{Codec, Phone, PhoneCall};
use serde_json::json;

use super::common::signal::{Chord, compare, is_sound, position};
use super::common::{SOON, Stage, eventually, profile, signal};
use super::service::{Service, answer};
use super::{answers, assert_goes_on, hang_up, passive, tools};

/// A call of a µ-law phone whose agent has the tool `slow`, which takes `time`, and with `keys` of the tool and the profile.
fn talk(time: Duration, sound: &Chord, keys: &str, of_profile: &str) -> (Stage, PhoneCall, Session, Service) {
    let service = Service::start(move |_, _| {
        std::thread::sleep(time);
        answer(200, "1")
    });
    let stage = Stage::new(passive(), "", "");
    fs::write(stage.rig.directory().join("etc/wait.sln16"), sound.slin(16_000)).expect("a file can be written");
    let keys =
        format!("action = webhook\nurl = {}\nfiller = {}\n{keys}", service.url("/"), stage.rig.path_inside("etc/wait"));
    let config = profile(&stage.agent.url(), &tools(of_profile, &[("slow", keys)]));
    stage.rig.write_config("ai_bridge.conf", &config).expect("a file can be written");
    stage.cli("module reload res_ai_bridge.so");
    stage.rig.wait_log("new configuration", SOON).expect("it is taken");
    let call = Phone::new(&stage.rig).codec(Codec::Ulaw).dial("100").expect("the phone dials");
    let session = stage.session();
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("the caller is heard");
    (stage, call, session, service)
}

fn is_heard(call: &PhoneCall) -> bool {
    call.heard().audio().any(is_sound)
}

/// True if the phone has heard only silence for the last `ms`.
fn is_silent_for(call: &PhoneCall, ms: usize) -> bool {
    let bytes = call.heard().bytes();
    let tail = &bytes[bytes.len().saturating_sub(8 * ms)..];
    tail.iter().all(|code| signal::SILENT_CODES.contains(code) || *code == 0x7F)
}

#[test]
fn a_slow_tool_is_bridged_by_a_sound_until_the_agents_first_word() {
    let sound = Chord::narrow(1, Duration::from_millis(1500));
    let (stage, call, session, _service) =
        talk(Duration::from_millis(2500), &sound, "filler_after_ms = 300\nfiller_loop = yes", "");
    session.perform(Script::new().call_tool("slow", "{}"));
    eventually("the tool answers", SOON, || answers(&session).len() == 1);
    assert_eq!(answers(&session)[0], json!({"ok": true, "result": 1}));
    let likeness = compare(&call.heard().pcm(), &sound.at_rate(8000), 8000);
    assert!(likeness.snr_db > 25.0, "{likeness:?}");

    let words = signal::codes(9, 8 * 600);
    let before = call.heard().bytes().len();
    session.perform(Script::new().say(Speech::wire("Done", words.clone()).at(Pace::Burst)));
    eventually("the agent is heard", SOON, || position(&call.heard().bytes(), &words[800..]).is_some());
    let at = position(&call.heard().bytes(), &words[800..]).expect("heard") - 800;
    assert!(at < before + 8 * 400, "the first word came {} ms later", (at - before) / 8);
    let heard = call.heard().bytes();
    // Up to the first word it was the sound, and from its fifth millisecond on nothing but the agent.
    assert!(heard[at - 160..at].iter().filter(|code| signal::SILENT_CODES.contains(code)).count() < 80);
    assert_eq!(&heard[at + 40..at + 800], &words[40..800]);
    eventually("it does not come back", Duration::from_millis(1500), || is_silent_for(&call, 300));
    hang_up(&stage, &call);
}

#[test]
fn a_quick_tool_needs_no_filler() {
    let sound = Chord::narrow(2, Duration::from_millis(1500));
    let (stage, call, session, _service) = talk(Duration::from_millis(100), &sound, "filler_after_ms = 800", "");
    session.perform(Script::new().call_tool("slow", "{}"));
    eventually("the tool answers", SOON, || answers(&session).len() == 1);
    std::thread::sleep(Duration::from_millis(1200));
    assert!(!is_heard(&call), "nothing was to be heard");
    hang_up(&stage, &call);
}

#[test]
fn a_caller_who_speaks_silences_the_filler_and_is_heard() {
    let sound = Chord::narrow(3, Duration::from_secs(5));
    let (stage, call, session, _service) =
        talk(Duration::from_secs(4), &sound, "filler_after_ms = 0", "barge_in = local");
    session.perform(Script::new().call_tool("slow", "{}"));
    eventually("the filler is heard", SOON, || is_heard(&call));
    let spoken = rig::speech("Hello? Are you still there? I have one more question for you.", 8000).expect("espeak-ng");
    call.play(&spoken.iter().map(|&sample| sample.saturating_mul(2)).collect::<Vec<_>>());
    eventually("the filler is silent", Duration::from_millis(2500), || is_silent_for(&call, 300));
    assert!(answers(&session).is_empty(), "the tool still runs");
    assert_goes_on(&session);
    eventually("the tool answers", SOON, || answers(&session).len() == 1);
    assert!(is_silent_for(&call, 300), "once interrupted it stays silent");
    hang_up(&stage, &call);
}

#[test]
fn a_caller_may_hang_up_while_a_tool_runs() {
    let sound = Chord::narrow(4, Duration::from_secs(2));
    let (stage, call, session, service) = talk(Duration::from_secs(30), &sound, "filler_after_ms = 0", "");
    session.perform(Script::new().call_tool("slow", "{}"));
    eventually("the service is asked", SOON, || service.requests().len() == 1);
    eventually("the filler is heard", SOON, || is_heard(&call));
    let hung_up = std::time::Instant::now();
    hang_up(&stage, &call);
    assert!(hung_up.elapsed() < Duration::from_secs(5));
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
    assert!(answers(&session).is_empty());
}
