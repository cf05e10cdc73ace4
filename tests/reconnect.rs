//! A call outlives its sessions with the AI: a lost one is made up for, one that would end is followed in time by another,
//! and another profile takes over when there is none.

mod common;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{Chord, assert_rhythm, codes, compare, is_sound, position};
use common::witness::undisturbed;
use common::{SOON, Stage, eventually, extension};
use practice_agent::{Builder, Door, Pace, Script, Server, Session, Speech, Step};
use rig::{Codec, Phone, PhoneCall};

const CODES_IN_MS: usize = 8;

/// An agent that does nothing by itself.
fn passive() -> Builder {
    Server::builder().script(Script::new())
}

/// A µ-law call whose codes pass untouched, and its first session.
fn talk(stage: &Stage, extension: &str) -> (PhoneCall, Session) {
    let call = Phone::new(&stage.rig).codec(Codec::Ulaw).dial(extension).expect("the phone dials");
    call.wait_answered(SOON).expect("the call is answered");
    let session = stage.session();
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("the caller is heard");
    (call, session)
}

/// That `session` talks to the phone, and that the agent can end the call.
fn assert_in_charge(stage: &Stage, extension: &str, call: &PhoneCall, session: &Session) {
    let said = codes(9, 400 * CODES_IN_MS);
    session.perform(Script::new().say(Speech::wire("Here I am", said.clone()).at(Pace::Burst)));
    eventually("the new session is heard", SOON, || position(&call.heard().bytes(), &said).is_some());
    session.perform(Script::new().call_tool("hangup", "{}"));
    assert_eq!(stage.result(extension).get("STATUS"), "COMPLETE");
    stage.assert_nothing_left();
}

#[test]
fn a_session_lost_in_mid_sentence_is_made_up_for_and_the_line_never_stops() {
    undisturbed(|| {
        let stage = Stage::new(passive(), "audio = ulaw", "");
        let (call, session) = talk(&stage, "100");
        let caller = codes(1, 4000 * CODES_IN_MS);
        call.play_bytes(&caller);
        let said = codes(2, 1500 * CODES_IN_MS);
        let from = Instant::now();
        let speech = Speech::wire("A sentence that is never finished", said.clone()).at(Pace::Times(5.0));
        session.perform(Script::new().start_saying(speech).sleep(Duration::from_millis(250)).then(Step::Reset));
        let next = stage.session();
        let back = Instant::now();
        next.wait_caller_audio(Duration::from_millis(3000), SOON).expect("the caller is heard again");
        let line = stage.rig.wait_log("connected to test again after", SOON).expect("it says so");
        println!("{line}");
        let (_, gap) = line.split_once("again after ").expect("it says how long that took");
        let gap_ms: f64 = gap.split_once(" ms").expect("in milliseconds").0.parse().expect("a number");
        assert!(gap_ms < 500.0, "{gap_ms} ms without a session");
        assert_rhythm(&[call.heard()], from, back + Duration::from_secs(1), "while the session is lost");
        // What had come of the sentence is heard to its end.
        let heard = call.heard().bytes();
        assert!(position(&heard, &said[..1000 * CODES_IN_MS]).is_some(), "the beginning of the sentence is heard");
        // What the caller said while there was no session is not lost: only what was on its way to the first one.
        let [first, second] = [session.caller_audio(), next.caller_audio()];
        let begin = position(&caller, &second[..160]).expect("the new session hears the caller");
        let told = (0..first.len()).rev().step_by(160).find_map(|at| position(&caller, first.get(at - 160..at)?));
        let missing_ms = (begin - told.expect("the first heard the caller").min(begin)) / CODES_IN_MS;
        println!("{missing_ms} ms of the caller were heard by neither session");
        assert!(missing_ms < 150, "{missing_ms} ms");
        let table = stage.cli(&format!("ai show session {}", stage_session(&stage)));
        assert!(table.contains("Reconnects     1\n"), "{table}");
        assert_in_charge(&stage, "100", &call, &next);
    });
}

/// The id of the only session.
fn stage_session(stage: &Stage) -> String {
    let table = stage.cli("ai show sessions");
    table.lines().nth(1).and_then(|line| line.split_whitespace().next()).expect("there is a session").to_owned()
}

#[test]
fn attempts_come_after_longer_and_longer_pauses_and_then_the_call_is_lost() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = talk(&stage, "100");
    stage.agent.set_door(Door::Refuse(503));
    let lost = Instant::now();
    session.perform(Step::Reset);
    let result = stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("LOST", "yes"), "{result:?}");
    assert!(result.get("REASON").contains("could not be reconnected (3 attempts)"), "{result:?}");
    let attempts: Vec<_> = stage.agent.attempts().iter().skip(1).map(|attempt| attempt.at - lost).collect();
    println!("attempts after {attempts:?}");
    let [first, second, third] = attempts[..] else { panic!("{attempts:?}") };
    let ms = |range: std::ops::Range<u64>| Duration::from_millis(range.start)..Duration::from_millis(range.end);
    assert!(ms(0..300).contains(&first) && ms(250..700).contains(&(second - first)));
    assert!(ms(500..1300).contains(&(third - second)));
    call.wait_ended(SOON).expect("the dialplan hangs up");
    stage.assert_nothing_left();
}

#[test]
fn an_account_that_is_not_accepted_any_more_is_not_tried_again() {
    let stage = Stage::new(passive(), "", "");
    let (_call, session) = talk(&stage, "100");
    stage.agent.set_door(Door::Refuse(401));
    session.perform(Step::Reset);
    let result = stage.result("100");
    assert_eq!(result.get("STATUS"), "AUTHFAIL", "{result:?}");
    assert_eq!(stage.agent.attempts().len(), 2);
    stage.assert_nothing_left();
}

#[test]
fn a_caller_who_hangs_up_while_there_is_no_session_leaves_nothing_behind() {
    let stage = Stage::new(passive(), "reconnect_attempts = 50", "");
    let (call, session) = talk(&stage, "100");
    stage.agent.set_door(Door::Silent);
    session.perform(Step::Reset);
    eventually("it is tried again", SOON, || stage.agent.attempts().len() > 1);
    call.hang_up();
    assert_eq!(stage.result("100").get("STATUS"), "HANGUP");
    stage.assert_nothing_left();
}

#[test]
fn a_fallback_takes_over_at_the_beginning_and_after_a_loss() {
    let refusing = Server::builder().script(Script::new()).door(Door::Refuse(500)).start().expect("an agent");
    let first = Server::builder().script(Script::new()).start().expect("an agent");
    let config = |builder: rig::Builder, url: &str| {
        let profile = |name: &str, url: &str, keys: &str| {
            format!(
                "[{name}]\ntype = agent\ndialect = openai\nurl = {url}\nmodel = practice\nbarge_in = server\n{keys}\n"
            )
        };
        let config = [
            profile("down", &refusing.url(), "fallback = spare"),
            profile("first", &first.url(), "fallback = spare\nreconnect_attempts = 1"),
            profile("spare", url, "audio = ulaw"),
        ];
        builder.config("ai_bridge.conf", config.join("\n"))
    };
    let dialplan = extension("201", "down,m(one)H(X-Key: secret)") + &extension("202", "first");
    let stage = Stage::with(passive(), config, &dialplan);
    let (call, session) = talk(&stage, "201");
    assert_eq!(refusing.attempts().len(), 1);
    assert_eq!(
        (session.request().header("X-Key"), session.request().query_parameter("model")),
        (None, Some("practice"))
    );
    assert_in_charge(&stage, "201", &call, &session);

    let call = Phone::new(&stage.rig).codec(Codec::Ulaw).dial("202").expect("the phone dials");
    call.wait_answered(SOON).expect("the call is answered");
    let session = first.next_session(SOON).expect("the first profile's server");
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("the caller is heard");
    first.set_door(Door::Refuse(503));
    session.perform(Step::Reset);
    let session = stage.session();
    assert_eq!(first.attempts().len(), 2, "it was tried once more");
    assert_in_charge(&stage, "202", &call, &session);
}

#[test]
fn a_fallback_is_waited_for_after_a_server_that_never_answers() {
    let silent = Server::builder().script(Script::new()).door(Door::Silent).start().expect("an agent");
    let config = |builder: rig::Builder, url: &str| {
        let profile = |name: &str, url: &str, keys: &str| {
            format!("[{name}]\ntype = agent\ndialect = openai\nurl = {url}\nmodel = practice\n{keys}\n")
        };
        let silent =
            |name, next| profile(name, &silent.url(), &format!("connect_timeout_ms = 1500\nfallback = {next}"));
        let config = [silent("one", "two"), silent("two", "spare"), profile("spare", url, "audio = ulaw")];
        builder.config("ai_bridge.conf", config.join("\n"))
    };
    // Longer than the first profile's time and what the channel allows a sidecar that is stuck.
    let stage = Stage::with(passive(), config, &extension("201", "one,b(server)"));
    let (call, session) = talk(&stage, "201");
    assert_eq!(silent.attempts().len(), 2);
    assert_in_charge(&stage, "201", &call, &session);
}

#[test]
fn a_sound_bridges_the_wait_for_a_session() {
    let sound = Chord::narrow(6, Duration::from_secs(1));
    let stage = Stage::new(passive(), "", "");
    fs::write(stage.rig.directory().join("etc/wait.sln16"), sound.slin(16_000)).expect("a file can be written");
    let keys = format!("waiting_sound = {}\nreconnect_attempts = 50", stage.rig.path_inside("etc/wait"));
    let config = common::profile(&stage.agent.url(), &keys);
    stage.rig.write_config("ai_bridge.conf", &config).expect("a file can be written");
    stage.cli("module reload res_ai_bridge.so");
    stage.rig.wait_log("new configuration", SOON).expect("it is taken");
    let (call, session) = talk(&stage, "100");
    sleep(Duration::from_millis(1500));
    assert!(!call.heard().audio().any(is_sound), "nobody waits for a session that is there");
    stage.agent.set_door(Door::Refuse(503));
    session.perform(Step::Reset);
    let lost = Instant::now();
    eventually("the sound is heard", SOON, || call.heard().audio().any(is_sound));
    let begun = call.heard().audio().find(|packet| is_sound(packet)).expect("it is heard").at - lost;
    assert!((900..1300).contains(&begun.as_millis()), "after {begun:?}");
    sleep(Duration::from_millis(2200));
    // Twice in a row; µ-law itself leaves about 38 dB.
    let twice = [sound.at_rate(8000), sound.at_rate(8000)].concat();
    let likeness = compare(&call.heard().pcm(), &twice[..15_800], 8000);
    println!("the sound on the line: SNR {:.1} dB", likeness.snr_db);
    assert!(likeness.snr_db > 20.0, "{likeness:?}");
    stage.agent.set_door(Door::Open);
    let next = stage.session();
    next.wait_caller_audio(Duration::from_millis(100), SOON).expect("the caller is heard");
    sleep(Duration::from_millis(600));
    let last = call.heard().audio().rev().find(|packet| is_sound(packet)).expect("it was heard").at;
    assert!(last.elapsed() > Duration::from_millis(300), "it ends when there is a session");
    assert_in_charge(&stage, "100", &call, &next);
}

#[test]
fn a_session_is_followed_by_another_in_a_pause_before_it_ends() {
    undisturbed(|| {
        // A pause is looked for in the last second of ten.
        let stage = Stage::new(passive(), "audio = ulaw\nsession_max_s = 10", "");
        let (call, session) = talk(&stage, "100");
        let caller = codes(3, 14_000 * CODES_IN_MS);
        call.play_bytes(&caller);
        let from = Instant::now();
        let said = codes(4, 1100 * CODES_IN_MS);
        sleep(Duration::from_millis(7400));
        session.perform(Script::new().say(Speech::wire("Until the pause", said.clone()).at(Pace::Burst)));
        let next = stage.session();
        let changed = session.opened_at().elapsed();
        println!("followed after {changed:?}");
        assert!((8900..10_000).contains(&changed.as_millis()), "{changed:?}");
        let closed = session.wait_closed(SOON).expect("the first one is closed");
        assert_eq!(closed.code, Some(1000), "in good order");
        let last = |call: &PhoneCall| call.heard().audio().rev().find(|packet| is_sound(packet)).expect("a voice").at;
        assert!(next.opened_at() > last(&call), "while nobody speaks");
        assert!(position(&call.heard().bytes(), &said).is_some(), "and nothing was cut off");
        next.wait_caller_audio(Duration::from_secs(2), SOON).expect("the caller is heard");
        assert_rhythm(&[call.heard()], from, Instant::now(), "while sessions change");
        // Not a code of the caller is lost, nor heard twice.
        let heard = [session.caller_audio(), next.caller_audio()].concat();
        let begin = position(&heard, &caller[..160]).expect("the caller is heard");
        let length = (heard.len() - begin).min(caller.len());
        assert!(heard[begin..begin + length] == caller[..length], "the caller's stream goes on without a seam");
        assert_in_charge(&stage, "100", &call, &next);
    });
}

#[test]
fn a_session_that_has_no_pause_is_followed_all_the_same() {
    let stage = Stage::new(passive(), "audio = ulaw\nsession_max_s = 8", "");
    let (call, session) = talk(&stage, "100");
    let long = codes(5, 12_000 * CODES_IN_MS);
    session.perform(Script::new().say(Speech::wire("On and on", long).at(Pace::Burst)));
    let next = stage.session();
    let changed = session.opened_at().elapsed();
    assert!((7500..8100).contains(&changed.as_millis()), "{changed:?}");
    session.wait_closed(SOON).expect("the first one is closed");
    call.hang_up();
    next.wait_closed(SOON).expect("the second one is closed");
    stage.assert_nothing_left();
}
