//! A phone puts the call on hold and takes it back: the agent waits, and neither side loses a word.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{codes, is_sound, sounds};
use common::witness::undisturbed;
use common::{SOON, Stage, eventually};
use practice_agent::{Script, Server, Session, Speech};
use rig::{Codec, Direction, PhoneCall};

/// How exactly the caller's stream keeps to time.
const PACE: Duration = Duration::from_millis(100);
/// What the agent says of a turn may be on its way when the phone stops listening.
const ON_ITS_WAY: Duration = Duration::from_millis(60);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stage(keys: &str) -> Stage {
    Stage::new(Server::builder().script(Script::new()), keys, "")
}

/// What is not silence in `codes`.
fn spoken(codes: &[u8]) -> Vec<u8> {
    sounds(codes).iter().flat_map(|(_, sound)| *sound).copied().collect()
}

fn say(call: &PhoneCall, said: &[u8]) {
    call.play_bytes(said);
    call.wait_played(SOON).expect("the phone sends");
    sleep(ms(300));
}

fn hold(call: &PhoneCall, direction: Direction) {
    call.renegotiate(Codec::Alaw, direction, SOON).expect("Asterisk agrees");
}

#[test]
fn the_agent_waits_for_a_caller_who_holds_and_goes_on_where_it_stopped() {
    for direction in [Direction::SendOnly, Direction::Inactive] {
        undisturbed(|| {
            let stage = stage("");
            let (call, session) = stage.talk("100");
            let said = codes(1, 24_000);
            session.perform(Script::new().start_saying(Speech::wire("a long story", said.clone())));
            eventually("the caller hears the agent", SOON, || call.heard().audio().any(is_sound));
            sleep(ms(700));
            hold(&call, direction);
            sleep(ON_ITS_WAY);
            let before = spoken(&call.heard().bytes()).len();
            sleep(ms(1500));
            let during = spoken(&call.heard().bytes()).len() - before;
            hold(&call, Direction::Both);
            sleep(ms(3500));
            let heard = spoken(&call.heard().bytes());
            println!("{direction:?}: {before} codes before, {during} during, {} of {} in all", heard.len(), said.len());
            assert!((2400..16_000).contains(&before), "{direction:?}: held in the middle: {before} codes");
            assert_eq!(during, 0, "{direction:?}: nothing is said to nobody");
            assert_heard_with_soft_edges(&heard, &said);
        });
    }
}

/// Where the agent stopped it fades out, and where it went on it faded in: a frame or so at the seam differs.
fn assert_heard_with_soft_edges(heard: &[u8], said: &[u8]) {
    let from_start = heard.iter().zip(said).take_while(|(heard, said)| heard == said).count();
    let from_end = heard.iter().rev().zip(said.iter().rev()).take_while(|(heard, said)| heard == said).count();
    println!("{from_start} codes from the start, {from_end} to the end");
    assert!(from_start + from_end + 160 >= said.len(), "{from_start} and {from_end} of {} codes", said.len());
}

#[test]
fn the_ai_hears_what_was_said_before_and_after_the_hold_and_not_its_music() {
    for (direction, music) in [(Direction::SendOnly, true), (Direction::Inactive, false)] {
        undisturbed(|| {
            let stage = stage("");
            let (call, session) = stage.talk("100");
            let (before, after) = (codes(27, 4000), codes(28, 4000));
            say(&call, &before);
            hold(&call, direction);
            call.mute(!music);
            call.play_bytes(&codes(29, if music { 16_000 } else { 0 }));
            let (held, audio) = (Instant::now(), session.caller_audio_time());
            sleep(ms(2200));
            let (time, audio) = (held.elapsed(), session.caller_audio_time() - audio);
            println!("{direction:?}: {audio:?} of audio in {time:?}");
            assert!(audio.abs_diff(time) <= PACE, "{direction:?}: {audio:?} of audio in {time:?}");
            call.mute(false);
            hold(&call, Direction::Both);
            say(&call, &after);
            assert!(spoken(&session.caller_audio()) == [before, after].concat(), "{direction:?}: before and after");
        });
    }
}

#[test]
fn nobody_is_idle_on_hold() {
    let stage = stage("idle_timeout_s = 2");
    let (call, _session): (_, Session) = stage.talk("100");
    hold(&call, Direction::Inactive);
    call.mute(true);
    sleep(ms(3500));
    assert_eq!(stage.cli("ai show sessions").matches("PJSIP/").count(), 1, "the call goes on");
    hold(&call, Direction::Both);
    let back = Instant::now();
    call.wait_ended(SOON).expect("the call ends");
    assert!(back.elapsed() >= ms(1900), "idle {:?} after the hold", back.elapsed());
    assert_eq!(stage.result("100").get("STATUS"), "IDLE");
}
