//! Nobody answers, in every way there is.

use std::time::{Duration, Instant};

use rig::{CallEvent, Ended};

use crate::common::eventually;
use crate::{ANN, Office, wait_ringing};

#[test]
fn a_refusal_is_told_with_its_causes() {
    let mut office = Office::new("");
    let refusals = [
        (486, "BUSY", "17"),
        (603, "DECLINED", "21"),
        (503, "CONGESTION", "34"),
        (404, "UNALLOCATED", "1"),
        (480, "NOANSWER", "19"),
    ];
    for (sip, status, q850) in refusals {
        let phone = office.phone(&format!("trunk{sip}"), "");
        let id = office.dial(&[("Trunk", &format!("trunk{sip}"))]);
        wait_ringing(&phone);
        office.assert_states(&["dialing", "ringing"]);
        phone.refuse(sip);
        assert_eq!(phone.wait_ended(crate::SOON).expect("it is over"), Ended::Refused(sip));
        let end = office.assert_over_without_ai(&id, status);
        assert_eq!((end.get("Cause"), end.get("SIPStatus")), (q850, sip.to_string().as_str()), "{end}");
        assert_eq!((end.get("CalledNum"), end.get("Uniqueid")), (ANN, id.as_str()), "{end}");
        let calls = office.stage.cli("ai show calls");
        let shown = calls.lines().find(|line| line.starts_with(&id)).expect("the call is remembered").to_owned();
        assert!(shown.contains("ended") && shown.contains(status) && shown.contains(&format!("SIP {sip}")), "{shown}");
    }
}

#[test]
fn a_phone_that_rings_too_long_is_given_up() {
    let mut office = Office::new("");
    let phone = office.phone("line", "timeout_s = 2");
    let begun = Instant::now();
    let id = office.dial(&[]);
    wait_ringing(&phone);
    assert_eq!(phone.wait_ended(crate::SOON).expect("it is over"), Ended::Cancelled);
    assert!((2..4).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let end = office.assert_over_without_ai(&id, "NOANSWER");
    assert_eq!(end.get("Cause"), "19");

    let phone = office.phone("patient", "timeout_s = 60");
    let begun = Instant::now();
    let id = office.dial(&[("Trunk", "patient"), ("Timeout", "1")]);
    assert_eq!(phone.wait_ended(crate::SOON).expect("it is over"), Ended::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    office.assert_over_without_ai(&id, "NOANSWER");
}

#[test]
fn nobody_listens_to_an_announcement_at_the_ais_cost() {
    let mut office = Office::new("");
    let phone = office.phone("line", "");
    let id = office.dial(&[]);
    wait_ringing(&phone);
    phone.send_early_media();
    phone.play(&rig::speech("The number you have dialled is not in service. Please hang up.", 8000).expect("spoken"));
    office.assert_states(&["dialing", "ringing", "progress"]);
    phone.wait_played(crate::SOON).expect("the announcement is over");
    phone.refuse(404);
    office.assert_over_without_ai(&id, "UNALLOCATED");
}

#[test]
fn a_call_can_be_hung_up_in_every_state_and_leaves_nothing() {
    let mut office = Office::new("");
    let mut after_first = None;
    for round in 0..4 {
        hang_up_in(&mut office, "ringing", round);
        hang_up_in(&mut office, "progress", round);
        // At once, whatever that meets.
        let name = format!("soon{round}");
        let phone = office.phone(&name, "");
        let id = office.dial(&[("Trunk", &name)]);
        office.ask("AIHangup", &[("Session", &id)]);
        office.assert_over_without_ai(&id, "STOPPED");
        drop(phone);
        let figures = || office.stage.rig.figures().expect("Asterisk runs");
        let first = *after_first.get_or_insert_with(figures);
        eventually("no call leaves a file, a socket or a thread", crate::SOON, || {
            let now = figures();
            now.descriptors <= first.descriptors && now.threads <= first.threads
        });
    }
}

/// Dials a phone and hangs up when the call is in `state`.
fn hang_up_in(office: &mut Office, state: &str, round: u32) {
    let name = format!("{state}{round}");
    let phone = office.phone(&name, "");
    let id = office.dial(&[("Trunk", &name)]);
    wait_ringing(&phone);
    if state == "progress" {
        phone.send_early_media();
        phone.wait_for(CallEvent::EarlyMedia, crate::SOON).expect("there is audio");
    }
    while office.state() != state {}
    let answer = office.ask("AIHangup", &[("Session", &id)]);
    assert_eq!(answer.get("Response"), "Success", "{answer}");
    assert_eq!(phone.wait_ended(crate::SOON).expect("it is over"), Ended::Cancelled);
    office.assert_over_without_ai(&id, "STOPPED");
    let again = office.ask("AIHangup", &[("Session", &id)]);
    assert_eq!(again.get("Response"), "Error", "{again}");
}

#[test]
fn unloading_ends_calls_that_ring() {
    let mut office = Office::new("");
    let phone = office.phone("line", "");
    office.dial(&[]);
    wait_ringing(&phone);
    let refused = office.stage.cli("module unload res_ai_bridge.so");
    assert!(refused.contains("Unable") || refused.contains("in use"), "{refused}");
    office.stage.cli("module unload -f res_ai_bridge.so");
    assert_eq!(phone.wait_ended(crate::SOON).expect("it is over"), Ended::Cancelled);
    office.stage.rig.wait_no_channels(crate::SOON).expect("no channel is left");
    office.stage.cli("module load res_ai_bridge.so");
    assert!(office.stage.cli("ai show calls").contains("0 calls up"));
}

#[test]
fn a_trunk_that_is_not_there_or_a_dialplan_that_lacks_the_place_is_a_failure() {
    let mut office = Office::new("");
    office.add_trunk("nowhere", "dial = PJSIP/{{number}}@nowhere");
    let id = office.dial(&[("Trunk", "nowhere")]);
    office.assert_over_without_ai(&id, "FAILED");
    office.add_trunk("lost", "dial = PJSIP/1001/sip:{{number}}@127.0.0.1:9\ncontext = nothing-here");
    let id = office.dial(&[("Trunk", "lost")]);
    office.assert_over_without_ai(&id, "FAILED");
    office.stage.rig.wait_log("there is no extension 79123456789 in context nothing-here", crate::SOON).expect("said");
}
