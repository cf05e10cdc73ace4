//! A server out of order: what it sends or does not send must not harm the call.

use std::time::{Duration, Instant};

use practice_agent::{Frame, Pace, Script, Session, Speech, Step, faults};
use rig::PhoneCall;

use super::{LOSS_ENDS, assert_ended, passive, speech};
use crate::common::{SOON, Stage, eventually, signal};

/// Longer than any queue of audio on the way.
const A_WHILE: Duration = Duration::from_secs(3);

#[test]
fn garbage_does_not_end_the_conversation() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = stage.talk("100");
    session.perform(faults::garbage());
    for event in ["session.updated", "response.done", "error", "response.function_call_arguments.done"] {
        let deep = ["{\"a\":".repeat(5_000), "1".to_owned(), "}".repeat(5_000)].concat();
        let text =
            format!(r#"{{"type":"{event}","session":{deep},"response":{deep},"error":{deep},"arguments":{deep}}}"#);
        session.perform(Step::Send(Frame::Text(text)));
    }
    session.wait_performed(SOON).expect("all is sent");
    assert_conversing(&call, &session);
    session.perform(Script::new().close(1000, ""));
    assert_ended(&stage, "100", &call, "COMPLETE", "code 1000");
}

#[test]
fn a_message_of_any_allowed_size_is_taken_and_a_larger_one_ends_the_call() {
    let stage = Stage::new(passive(), LOSS_ENDS, "");
    let (call, session) = stage.talk("100");
    session.perform(faults::huge_message(14 << 20));
    assert_conversing(&call, &session);
    session.perform(faults::huge_message(17 << 20));
    assert_ended(&stage, "100", &call, "LOST", "the AI server sent a message of more than 16 MiB");
}

#[test]
fn ten_minutes_of_audio_at_once_are_cut_and_the_call_goes_on() {
    let stage = Stage::new(passive(), "playout_max_s = 2", "");
    let (call, session) = stage.talk("100");
    for chunk_ms in [100, u32::MAX] {
        let start = Instant::now();
        let story = Speech::wire("A long story.", signal::codes(1, 600 * 8000)).at(Pace::Burst);
        session.perform(Script::new().say(story.in_chunks_of(chunk_ms)));
        session.wait_performed(SOON).expect("all is sent");
        std::thread::sleep(A_WHILE);
        let spoken = spoken_since(&call, start);
        assert!((1900..2600).contains(&spoken), "in pieces of {chunk_ms} ms: {spoken} ms of the story were heard");
    }
    let warnings = stage.rig.log().matches("more than 2 s of agent audio queued").count();
    assert_eq!(warnings, 2, "one for each story");
    assert_conversing(&call, &session);
    session.perform(Script::new().close(1000, ""));
    assert_ended(&stage, "100", &call, "COMPLETE", "code 1000");
}

#[test]
fn a_server_that_reads_too_slowly_costs_audio_and_nothing_else() {
    let agent = passive().receive_buffer(4096);
    let stage = Stage::new(agent, "audio = pcm24", "");
    let (call, session) = stage.talk("100");
    // Pings keep the connection alive: their answers come late, but the server is not silent.
    session.perform(Step::ReadSlowly { bytes_per_s: 1000 });
    let start = Instant::now();
    eventually("audio is dropped", 3 * SOON, || {
        session.perform(Step::Send(Frame::Ping(Vec::new())));
        dropped_ms(&stage) > 1000
    });
    println!("dropped {} ms after {:?}", dropped_ms(&stage), start.elapsed());
    let heard = call.heard();
    let since: Vec<_> = heard.audio().filter(|packet| packet.at >= start).collect();
    let expected = start.elapsed().as_millis() as usize / 20;
    assert!(since.len().abs_diff(expected) <= 10, "{} packets in the time of {expected}", since.len());
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");
    assert_eq!(stage.result("100").get("STATUS"), "HANGUP");
    stage.assert_nothing_left();
}

#[test]
fn a_flood_of_pings_is_answered_and_does_not_disturb() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = stage.talk("100");
    session.perform(faults::ping_flood(10_000));
    let last = 9_999u32.to_be_bytes();
    eventually("the last ping is answered", SOON, || {
        session.pongs().last().is_some_and(|(_, payload)| payload[..] == last)
    });
    assert_conversing(&call, &session);
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");
    stage.assert_nothing_left();
}

#[test]
fn a_server_that_falls_silent_is_given_up_after_a_while() {
    let stage = Stage::new(passive(), LOSS_ENDS, "");
    let (call, session) = stage.talk("100");
    session.perform(Step::Stall);
    let stalled = Instant::now();
    stage.rig.wait_log("RESULT of 100:", Duration::from_secs(25)).expect("the call ends");
    let took = stalled.elapsed();
    assert!((14..22).contains(&took.as_secs()), "given up after {took:?}");
    assert_ended(&stage, "100", &call, "LOST", "the AI server has been silent for 15 s");
}

/// Caller audio of the one session that never reached the AI. [ms]
fn dropped_ms(stage: &Stage) -> u64 {
    let table = stage.cli("ai show sessions");
    let line = table.lines().nth(1).unwrap_or_default();
    let figure = line.trim_end().trim_end_matches("ms").split_whitespace().last();
    figure.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("no session in {table}"))
}

/// Expects that the two still hear each other.
#[track_caller]
fn assert_conversing(call: &PhoneCall, session: &Session) {
    let start = Instant::now();
    session.perform(Script::new().say(speech(200)));
    session.wait_performed(SOON).expect("the agent speaks");
    eventually("the agent is heard", SOON, || spoken_since(call, start) >= 200);
    let heard = session.caller_audio_time();
    session.wait_caller_audio(heard + Duration::from_millis(500), SOON).expect("the caller is heard");
}

/// How much of the agent's voice came since `start`. [ms]
fn spoken_since(call: &PhoneCall, start: Instant) -> usize {
    let heard = call.heard();
    let codes = heard.audio().filter(|packet| packet.at >= start).flat_map(|packet| &packet.payload);
    codes.filter(|code| !signal::SILENT_CODES.contains(code)).count() / 8
}
