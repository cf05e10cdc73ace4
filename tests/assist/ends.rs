//! How it begins and how it ends; the call goes on in any case.

use std::time::{Duration, Instant};

use rig::{Ami, CallEvent, Ended, PhoneCall};

use crate::common::eventually;
use crate::common::signal::codes;
use crate::common::witness::undisturbed;
use crate::{Desk, LATE, Legs, SOON, Talk, chord, is_loud, to};

/// What the phones may press, the caller or the operator: on the channel of whoever does.
const FEATURES: &str = "[applicationmap]\nstart = *1,self,AIAssist,desk\nstop = *2,self,StopAIAssist\n";
/// Extensions that let them.
const DIALPLAN: &str = "
[default](+)
exten => _3.,1,Set(__DYNAMIC_FEATURES=start#stop)
 same => n,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
exten => 400,1,AIAssist(nobody)
 same => n,Verbose(0,FIRST <${AISTATUS}> <${AIREASON}> <${AISESSION}>)
 same => n,AIAssist(desk,q)
 same => n,Verbose(0,SECOND <${AISTATUS}> <${AIREASON}> <${AISESSION}>)
 same => n,AIAssist(desk,x(name=Ann)l(de))
 same => n,Set(FOUND=${AISESSION})
 same => n,Verbose(0,THIRD <${AISTATUS}> <${AIREASON}> <${LEN(${AISESSION})}>)
 same => n,AIAssist(desk)
 same => n,Verbose(0,FOURTH <${AISTATUS}> <${AIREASON}> $[\"${FOUND}\" = \"${AISESSION}\"])
 same => n,StopAIAssist()
 same => n,StopAIAssist()
 same => n,AIAssist(desk)
 same => n,Verbose(0,FIFTH <${AISTATUS}> <${AIREASON}> $[\"${FOUND}\" = \"${AISESSION}\"])
 same => n,Verbose(0,STATE <${CHANNEL(state)}>)
 same => n,Wait(1)
";

fn sessions(desk: &Desk) -> usize {
    let shown = desk.stage.cli("ai show sessions");
    shown.matches("PJSIP/").count()
}

/// The phones still hear each other, and nobody hears them.
fn assert_goes_on_unheard(talk: &Talk, legs: &Legs) {
    std::thread::sleep(LATE);
    let before = legs.heard();
    let said = [codes(31, 8000), codes(32, 8000)];
    talk.caller.play_bytes(&said[0]);
    talk.operator.play_bytes(&said[1]);
    for call in [&talk.caller, &talk.operator] {
        call.wait_played(SOON).expect("the phone sends");
    }
    std::thread::sleep(LATE);
    for (call, said) in [(&talk.operator, &said[0]), (&talk.caller, &said[1])] {
        assert!(crate::has_heard(call, said), "the call goes on");
    }
    assert_eq!(legs.heard(), before, "nobody listens any more");
}

#[test]
fn the_dialplan_learns_what_came_of_it() {
    let desk = Desk::with(|rig| rig.append("extensions.conf", DIALPLAN));
    let _call = desk.stage.dial("400");
    for (place, said) in [
        ("FIRST", "<NOPROFILE> <there is no profile 'nobody' of type = assist; 'ai show profiles' lists them> <>"),
        ("SECOND", "<ERROR> <unknown option 'q'; known are l o x> <>"),
        ("THIRD", "<> <> <13>"),
        ("FOURTH", "<ERROR> <session "),
        ("FIFTH", "<> <> 0"),
        // Nobody has answered.
        ("STATE", "<Ring>"),
    ] {
        let line = desk.stage.rig.wait_log(&format!(": {place} <"), SOON).expect("the dialplan goes on");
        assert!(line.contains(&format!("{place} {said}")), "{line}");
        if place == "FOURTH" {
            assert!(line.ends_with("hears this channel already; StopAIAssist() ends it> 1"), "{line}");
        }
    }
}

#[test]
fn a_full_house_is_told() {
    let edit = |rig: rig::Builder| rig.edit("ai_bridge.conf", "[general]", "[general]\nmax_sessions = 1");
    let desk = Desk::with(edit);
    let (_talk, _legs) = desk.tapped('5');
    let other = desk.call('5', rig::Codec::Alaw, rig::Codec::Alaw);
    desk.stage.rig.wait_log("ASSIST <LIMIT> <", SOON).expect("it is told");
    other.caller.hang_up();
}

#[test]
fn a_call_that_is_under_way_is_listened_to_and_let_alone_again() {
    undisturbed(|| {
        let desk = Desk::with(|rig| {
            let rig = rig.append("extensions.conf", DIALPLAN).append("features.conf", FEATURES);
            rig.ami(&[("boss", "call,reporting", "")])
        });
        let mut ami = Ami::log_in(&desk.stage.rig, "boss").expect("AMI lets the user in");
        let talk = desk.call('3', rig::Codec::Alaw, rig::Codec::Alaw);
        let press = |call: &PhoneCall, keys: &str| keys.chars().for_each(|key| call.send_digit(key));
        press(&talk.caller, "*1");
        let legs = desk.legs();
        std::thread::sleep(LATE);
        talk.assert_converse(&legs, 30.0, "under way");
        press(&talk.caller, "*2");
        eventually("it has ended", SOON, || sessions(&desk) == 0);
        let end = ami.event("AISessionEnd", SOON).expect("it is told");
        assert_eq!(end.get("Status"), "COMPLETE", "{end}");
        assert_goes_on_unheard(&talk, &legs);
        press(&talk.caller, "*1");
        let legs = desk.legs();
        std::thread::sleep(LATE);
        talk.assert_converse(&legs, 30.0, "once more");
    });
}

#[test]
fn either_side_hangs_up_and_nothing_is_left() {
    for (kind, caller) in [('5', true), ('5', false), ('6', true), ('6', false)] {
        let desk = Desk::new();
        let before = desk.stage.rig.figures().expect("Asterisk runs");
        let (talk, _legs) = desk.tapped(kind);
        let (first, other) = if caller { (&talk.caller, &talk.operator) } else { (&talk.operator, &talk.caller) };
        first.hang_up();
        other.wait_ended(SOON).expect("the call is over");
        desk.stage.assert_nothing_left();
        desk.assert_unloads();
        let after = desk.stage.rig.figures().expect("Asterisk runs");
        assert!(after.descriptors <= before.descriptors, "{before:?} became {after:?}");
    }
}

#[test]
fn a_call_that_is_not_answered_leaves_nothing() {
    let desk = Desk::new();
    let operator = desk.phone(rig::Codec::Alaw).ring().expect("the phone starts");
    let caller = desk.phone(rig::Codec::Alaw).dial(&to('5', &operator)).expect("the phone dials");
    operator.wait_for(CallEvent::Ringing, SOON).expect("it rings");
    eventually("a session waits", SOON, || sessions(&desk) == 1);
    operator.send_early_media();
    for call in [&caller, &operator] {
        call.play(&chord(17).at_rate(8000));
    }
    eventually("the caller hears what comes before the answer", SOON, || is_loud(&caller.heard().pcm()));
    std::thread::sleep(LATE);
    assert!(desk.stage.agent.attempts().is_empty(), "nobody else does");
    caller.hang_up();
    caller.wait_for(CallEvent::Ended(Ended::Cancelled), SOON).expect("it is over");
    desk.stage.assert_nothing_left();
    desk.assert_unloads();
}

#[test]
fn one_that_is_stopped_from_outside_takes_itself_off() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, legs) = desk.tapped('5');
        assert!(desk.unload("").contains("unload"), "it is in use");
        assert_eq!(sessions(&desk), 1, "and goes on");
        desk.stage.cli("ai stop all");
        eventually("it has ended", SOON, || sessions(&desk) == 0);
        assert_goes_on_unheard(&talk, &legs);
        // The hook held the module.
        desk.assert_unloads();
    });
}

#[test]
fn unloading_by_force_ends_it_and_not_the_call() {
    undisturbed(|| {
        let mut desk = Desk::new();
        let (talk, legs) = desk.tapped('5');
        let started = Instant::now();
        desk.unload("-f");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        assert_goes_on_unheard(&talk, &legs);
        talk.caller.hang_up();
        talk.operator.wait_ended(SOON).expect("the call is over");
        desk.stage.cli("module load res_ai_bridge.so");
        assert!(desk.stage.rig.is_running());
        let (talk, legs) = desk.tapped('5');
        talk.assert_converse(&legs, 30.0, "loaded again");
        drop(talk);
        desk.stage.assert_nothing_left();
        desk.assert_unloads();
    });
}

#[test]
fn asterisk_stops_in_the_middle_of_it() {
    let desk = Desk::new();
    let (_talk, _legs) = desk.tapped('5');
    let status = desk.stage.rig.stop().expect("Asterisk ends");
    assert!(status.success(), "{status:?}");
}

#[test]
fn a_panic_ends_only_the_tap() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, _legs) = desk.tapped('5');
        let (other, other_legs) = desk.tapped('5');
        talk.caller.mute(true);
        talk.operator.mute(true);
        std::thread::sleep(LATE);
        other.assert_converse(&other_legs, 30.0, "before");
        desk.stage.cli("ai test panic");
        talk.caller.mute(false);
        talk.operator.mute(false);
        eventually("one of them has ended", SOON, || sessions(&desk) == 1);
        for talk in [&talk, &other] {
            let said = codes(33, 8000);
            talk.caller.play_bytes(&said);
            talk.caller.wait_played(SOON).expect("the phone sends");
            std::thread::sleep(LATE);
            assert!(crate::has_heard(&talk.operator, &said), "the calls go on");
        }
    });
}
