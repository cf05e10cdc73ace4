//! Operators come and go; the caller stays, and is heard.

use std::thread::sleep;

use rig::http::{Api, free_port};
use rig::{Codec, PhoneCall};

use crate::common::signal::likest_db;
use crate::common::witness::undisturbed;
use crate::{Desk, LATE, Legs, SOON, Talk, chord, is_loud, ms, to};

/// Another operator, reached by way of a waiting room.
const CONSULTED: &str = "
[default](+)
exten => _4.,1,Answer()
 same => n,Wait(2)
 same => n,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
";

/// `operator` hands the caller of `talk` over to another phone, by `transfer`; both are heard afterwards, by the same two.
fn handed_over(desk: &Desk, talk: Talk, legs: &Legs, transfer: impl FnOnce(&PhoneCall, &str, &PhoneCall)) {
    talk.assert_converse(legs, 30.0, "before");
    let other = desk.phone(Codec::Ulaw).listen().expect("the phone listens");
    transfer(&talk.operator, &to('8', &other), &other);
    talk.operator.wait_ended(SOON).expect("the first operator is out of it");
    let talk = Talk { caller: talk.caller, operator: other };
    talk.wait_connected();
    talk.assert_converse(legs, 30.0, "after");
    talk.caller.hang_up();
    talk.operator.wait_ended(SOON).expect("the call is over");
    desk.stage.assert_nothing_left();
}

#[test]
fn the_next_operator_is_heard_after_an_unannounced_transfer() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, legs) = desk.tapped('5');
        desk.stage.cli("core set debug 9");
        handed_over(&desk, talk, &legs, |operator, extension, _| {
            operator.transfer(extension, SOON).expect("Asterisk agrees");
        });
    });
}

/// The phones' packets have numbers: those of the next operator begin below where those of the first have ended.
#[test]
fn a_recording_goes_on_with_the_next_operator() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, _legs) = desk.tapped('7');
        sleep(ms(2000));
        let recording = to('7', &talk.operator);
        let other = desk.phone(Codec::Ulaw).listen().expect("the phone listens");
        talk.operator.transfer(&to('8', &other), SOON).expect("Asterisk agrees");
        talk.operator.wait_ended(SOON).expect("the first operator is out of it");
        let talk = Talk { caller: talk.caller, operator: other };
        talk.wait_connected();
        talk.operator.play(&chord(16).at_rate(8000));
        talk.operator.wait_played(SOON).expect("the phone sends");
        sleep(LATE);
        talk.caller.hang_up();
        desk.stage.assert_nothing_left();
        let (samples, rate_hz) = desk.recording(&format!("{recording}-operator"));
        let from = samples.len() - rate_hz as usize * 5 / 2;
        let db = likest_db(&samples[from..], &|rate| chord(16).at_rate(rate), rate_hz);
        println!("the next operator in the recording: {db:.1} dB");
        assert!(db >= 30.0, "{db:.1} dB");
    });
}

#[test]
fn the_next_operator_is_heard_after_an_announced_transfer() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, legs) = desk.tapped('5');
        handed_over(&desk, talk, &legs, |operator, extension, other| {
            let consultation = desk.phone(Codec::Alaw).dial(extension).expect("the phone dials");
            consultation.wait_answered(SOON).expect("the other operator answers");
            other.wait_answered(SOON).expect("the other operator answers");
            let before = legs.heard();
            consultation.play(&chord(14).at_rate(8000));
            consultation.wait_played(SOON).expect("the phone sends");
            sleep(LATE);
            let [_, during] = legs.heard();
            assert!(!is_loud(&legs.operator.pcm()[before[1]..during]), "the consultation is not the caller's call");
            operator.join(&consultation, SOON).expect("Asterisk agrees");
        });
    });
}

/// Two channels become one: what was on the caller's is on that of the consultation then.
#[test]
fn the_caller_is_joined_with_a_consultation_that_is_in_no_bridge() {
    undisturbed(|| {
        let api = Api { address: ([127, 0, 0, 1], free_port()).into(), token: String::new() };
        let desk = Desk::with(|rig| {
            let bind = format!("[general]\nhttp_bind = {}", api.address);
            rig.append("extensions.conf", CONSULTED).edit("ai_bridge.conf", "[general]", &bind)
        });
        api.wait(SOON).expect("the API answers");
        let (talk, legs) = desk.tapped('5');
        let other = desk.phone(Codec::Ulaw).listen().expect("the phone listens");
        let consultation = desk.phone(Codec::Alaw).dial(&to('4', &other)).expect("the phone dials");
        consultation.wait_answered(SOON).expect("the dialplan answers");
        talk.operator.join(&consultation, SOON).expect("Asterisk agrees");
        talk.operator.wait_ended(SOON).expect("the first operator is out of it");
        let talk = Talk { caller: talk.caller, operator: other };
        talk.wait_connected();
        talk.assert_converse(&legs, 30.0, "joined");
        // Whoever hangs it up from outside finds the channel that is tapped now.
        let begun = desk.stage.rig.wait_log(": ASSIST <> <> <", SOON).expect("it has begun");
        let (_, session) = begun.trim_end_matches('>').rsplit_once('<').expect("an id");
        assert_eq!(api.post(&format!("/api/calls/{session}/hangup"), "").status, 202);
        for call in [&talk.caller, &talk.operator] {
            call.wait_ended(SOON).expect("the call is over");
        }
        desk.stage.assert_nothing_left();
        desk.assert_unloads();
    });
}
