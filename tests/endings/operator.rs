//! The end comes from outside: from the dialplan's limits, from the command line, or before there is a beginning.

use std::time::{Duration, Instant};

use practice_agent::{Door, Pace, Script, Server, Speech, Step};
use rig::Ended;

use super::{assert_ended, passive};
use crate::common::{Result, SOON, Stage, eventually, extension, profile, signal};

#[test]
fn the_longest_allowed_time() {
    let stage = Stage::new(passive(), "max_duration_s = 1", &extension("201", ",t(2)"));
    for (extension, seconds) in [("100", 1), ("201", 2)] {
        let (call, session) = stage.talk(extension);
        let answered = call.wait_answered(SOON).expect("answered");
        let result = assert_ended(&stage, extension, &call, "TIMEOUT", &format!("time of {seconds} s was over"));
        assert_lasted(answered.elapsed(), Duration::from_secs(seconds));
        assert_eq!(result.number("DURATION"), seconds as f64);
        session.wait_closed(SOON).expect("the WebSocket closes with the call");
    }
}

#[test]
fn a_while_without_a_word_and_not_while_somebody_speaks() {
    let stage = Stage::new(passive(), "idle_timeout_s = 1", &extension("201", ",i(2)"));

    let (call, session) = stage.talk("201");
    let answered = call.wait_answered(SOON).expect("answered");
    let result = assert_ended(&stage, "201", &call, "IDLE", "nobody said a word for 2 s");
    assert_lasted(answered.elapsed(), Duration::from_secs(2));
    assert_eq!(result.number("DURATION"), 2.0);
    session.wait_closed(SOON).expect("the WebSocket closes with the call");

    // Speech without words, and both speakers take longer than the limit.
    let (call, session) = stage.talk("100");
    let speaks = Duration::from_millis(2500);
    let start = Instant::now();
    let story = Speech::wire("", signal::codes(1, 8 * 2500)).at(Pace::Burst);
    session.perform(Script::new().then(Step::SpeechStarted).sleep(speaks).then(Step::SpeechStopped).say(story));
    stage.rig.wait_log("RESULT of 100:", 2 * SOON).expect("the call ends");
    assert_ended(&stage, "100", &call, "IDLE", "nobody said a word for 1 s");
    assert_lasted(start.elapsed(), speaks * 2 + Duration::from_secs(1));
}

#[test]
fn the_command_line_stops_one_session_or_all() {
    let stage = Stage::new(passive(), "", &extension("_20X", ""));
    let (first, session) = stage.talk("201");
    let (second, _) = stage.talk("202");
    let (third, _) = stage.talk("203");
    let sessions = stage.cli("ai show sessions");
    let id = sessions.lines().nth(1).and_then(|line| line.split_whitespace().next()).expect("three sessions");

    assert!(stage.cli("ai stop nonsense").contains("there is no session nonsense"));
    assert!(stage.cli(&format!("ai stop {id}")).contains(&format!("session {id} stopped")));
    let result = stage.result("201");
    assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("STOPPED", "yes"), "{result:?}");
    assert_eq!(result.get("SESSION"), id);
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
    first.wait_ended(SOON).expect("the dialplan hangs up");
    assert!(stage.cli("ai show sessions").contains("2 AI sessions"), "the others go on");

    assert!(stage.cli("ai stop all").contains("2 sessions stopped"));
    assert_ended(&stage, "202", &second, "STOPPED", "stopped from outside");
    assert_ended(&stage, "203", &third, "STOPPED", "stopped from outside");
}

#[test]
fn the_command_line_stops_a_call_that_is_still_connecting() {
    let stage = Stage::new(passive().door(Door::Silent), "connect_timeout_ms = 60000", "");
    let call = stage.call("100");
    eventually("the AI is called", SOON, || !stage.agent.attempts().is_empty());
    assert!(stage.cli("ai stop all").contains("1 sessions stopped"));
    assert_ended(&stage, "100", &call, "STOPPED", "stopped from outside");
}

#[test]
fn a_redirected_caller_is_let_go_at_once() {
    let elsewhere = "exten => 300,1,Verbose(0,ARRIVED with ${AISTATUS}: ${AIREASON})\n same => n,Wait(60)\n";
    let stage = Stage::new(passive(), "", elsewhere);
    let (call, session) = stage.talk("100");
    let channel = stage.cli("core show channels concise");
    let channel = channel.split('!').next().expect("one channel");
    // Gives the command line what AMI calls Redirect.
    stage.cli("module load res_clioriginate.so");
    let redirected = Instant::now();
    stage.cli(&format!("channel redirect {channel} default,300,1"));
    let arrived = stage.rig.wait_log("app_verbose.c: ARRIVED", SOON).expect("the other extension runs");
    assert!(redirected.elapsed() < Duration::from_secs(2), "after {:?}", redirected.elapsed());
    assert!(arrived.contains("ARRIVED with STOPPED: the channel was sent elsewhere"), "{arrived}");
    session.wait_closed(SOON).expect("the WebSocket closes");
    assert!(stage.cli("ai show sessions").contains("0 AI sessions"));
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");
}

#[test]
fn one_session_more_than_allowed() {
    let stage = Stage::with(
        passive(),
        |rig, url| rig.config("ai_bridge.conf", format!("{}\n[general](+)\nmax_sessions = 1\n", profile(url, ""))),
        &extension("_20X", ""),
    );
    let (first, session) = stage.talk("201");
    let second = stage.dial("202");
    let result = stage.result("202");
    assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("LIMIT", "yes"), "{result:?}");
    assert!(result.get("REASON").contains("max_sessions"), "{result:?}");
    assert_eq!(result.get("STATE"), "Ring", "a call that cannot begin is not answered: {result:?}");
    second.wait_ended(SOON).expect("the dialplan hangs up");
    let before = session.caller_audio_time();
    session.wait_caller_audio(before + Duration::from_millis(300), SOON).expect("the first call goes on");
    first.hang_up();
    first.wait_ended(SOON).expect("the call ends");
    stage.assert_nothing_left();

    assert_eq!(stage.agent.sessions().len(), 1, "the second call reached the AI");
    drop(stage.talk("203"));
}

#[test]
fn what_cannot_begin_says_why_and_does_not_answer_the_phone() {
    let bad = [
        ("201", "nobody", "NOPROFILE", "there is no profile 'nobody'"),
        ("202", ",z", "ERROR", "unknown option 'z'; known are a b d e g H i l m n p t u v x"),
        ("203", ",t(soon)", "ERROR", "option 't(soon)': expected seconds, more than 0"),
        ("204", ",g(Hello", "ERROR", "option 'g' has no closing parenthesis"),
        ("205", ",ne", "ERROR", "exclude each other"),
        ("206", ",u(http://localhost)", "ERROR", "a URL that starts with ws:// or wss://"),
        ("207", ",d(12x)", "ERROR", "digits out of 0-9 * # A-D"),
    ];
    let dialplan: String = bad.iter().map(|(number, arguments, ..)| extension(number, arguments)).collect();
    let stage = Stage::new(passive(), "", &dialplan);
    for (number, _, status, words) in bad {
        let call = stage.dial(number);
        let ended = call.wait_ended(SOON).expect("the dialplan hangs up");
        assert!(matches!(ended, Ended::Refused(_)), "{number} was answered: {ended:?}");
        let result: Result = stage.result(number);
        assert_eq!((result.get("STATUS"), result.get("WENT_ON")), (status, "yes"), "{result:?}");
        assert!(result.get("REASON").contains(words), "{result:?}");
        assert_eq!(result.get("SESSION"), "", "{result:?}");
    }
    assert!(stage.agent.attempts().is_empty());
    stage.assert_nothing_left();
}

/// Expects a time of `wanted`, or as little more as a busy machine takes.
#[track_caller]
fn assert_lasted(lasted: Duration, wanted: Duration) {
    let most = wanted + Duration::from_millis(1500);
    assert!(lasted >= wanted && lasted < most, "{lasted:?} in the place of {wanted:?}");
}

#[test]
fn a_session_shows_how_long_things_took() {
    let agent = Server::builder().script(Script::new().say(Speech::wire("Hello", signal::codes(1, 4000))));
    let stage = Stage::new(agent, "", "");
    let (call, session) = stage.talk("100");
    session.wait_caller_audio(Duration::from_secs(1), SOON).expect("audio flows");
    let list = stage.cli("ai show sessions");
    let id = list.lines().nth(1).and_then(|line| line.split_whitespace().next()).expect("one session");
    let shown = stage.cli(&format!("ai show session {id}"));
    let value = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {shown}"));
        line[name.len()..].trim().to_owned()
    };
    assert_eq!(value("Turns"), "1");
    let times = |name: &str| -> u32 {
        let counted = value(name).split_once('(').map(|(_, count)| count.replace(" times)", ""));
        counted.and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    assert!(times("Phone to AI") >= 40, "{shown}");
    assert_eq!(times("AI to phone"), 1, "{shown}");
    assert_eq!((times("Response"), times("Barge-in stop")), (0, 0), "{shown}");
    assert!(stage.cli("ai show session nobody").contains("there is no session nobody"));
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");
    stage.assert_nothing_left();
}
