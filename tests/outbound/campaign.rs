//! Many calls at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use practice_agent::{Keep, Script, Server};
use rig::Crowd;

use crate::Office;
use crate::common::eventually;

/// Calls that are wanted.
const CALLS: usize = 50;
/// Those that the trunk takes a second.
const PER_SECOND: usize = 10;
/// Long enough for all of them on a busy machine.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn fifty_calls_go_out_at_the_trunks_pace_and_all_of_them_talk() {
    let agent = Server::builder().script(Script::new()).keep(Keep::Nothing);
    let mut office = Office::with(agent, "", |rig| rig);
    let crowd = Crowd::start(&office.stage.rig).expect("SIPp starts");
    let dial = format!("dial = PJSIP/1001/sip:{{{{number}}}}@{}", crowd.address());
    office.add_trunk("crowd", &format!("{dial}\nmax_calls = {CALLS}\ncalls_per_second = {PER_SECOND}"));
    let begun = Instant::now();
    let (mut ids, mut refused) = (BTreeSet::new(), 0);
    while ids.len() < CALLS {
        let number = format!("7912345{:04}", ids.len());
        let answer = office.ask("AIDial", &[("Number", &number)]);
        if answer.get("Response") == "Success" {
            ids.insert(answer.get("Session").to_owned());
            let allowed = PER_SECOND + (begun.elapsed().as_secs_f64() * PER_SECOND as f64) as usize + 1;
            assert!(ids.len() <= allowed, "{} calls after {:?}", ids.len(), begun.elapsed());
        } else {
            assert!(answer.get("Message").contains("takes 10 calls a second; try again in 0."), "{answer}");
            refused += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    println!("{CALLS} calls dialled in {:?}, {refused} refused for their pace", begun.elapsed());
    assert!(refused > 0 && begun.elapsed() >= Duration::from_secs(4));
    let full = office.ask("AIDial", &[("Number", "79123450099")]);
    assert!(full.get("Message").contains("has 50 calls, and its max_calls allows no more; try again in"), "{full}");

    eventually("all of them talk", LONG, || office.stage.cli("ai show sessions").contains("\n50 AI sessions"));
    let sessions = office.stage.cli("ai show sessions");
    assert!(ids.iter().all(|id| sessions.contains(id)), "{sessions}");
    println!("all talk {:?} after the first was dialled", begun.elapsed());
    let stopped = Instant::now();
    assert!(office.stage.cli("ai hangup all").contains("50 calls hung up"));
    office.stage.rig.wait_no_channels(LONG).expect("no channel is left");
    println!("all hung up within {:?}", stopped.elapsed());
    eventually("no call is up", LONG, || office.stage.cli("ai show calls").contains("\n0 calls up, 50 remembered"));
    let mut ended = BTreeSet::new();
    while ended.len() < CALLS {
        ended.insert(office.event("AISessionEnd").get("Session").to_owned());
    }
    assert_eq!(ended, ids, "every call is told to have ended");
}

#[test]
fn a_profile_has_its_own_limit() {
    let mut office = Office::new("max_calls = 1");
    let (first, second) = (office.phone("one", ""), office.phone("two", ""));
    let id = office.dial(&[("Trunk", "one")]);
    crate::wait_ringing(&first);
    let full = office.ask("AIDial", &[("Number", crate::ANN), ("Trunk", "two")]);
    assert!(full.get("Message").starts_with("profile test has 1 calls"), "{full}");
    first.refuse(486);
    office.assert_over(&id, "BUSY");
    let id = office.dial(&[("Trunk", "two")]);
    crate::wait_ringing(&second);
    office.ask("AIHangup", &[("Session", &id)]);
    office.assert_over(&id, "STOPPED");
}

#[test]
fn a_trunk_that_is_full_leaves_the_call_to_the_next() {
    let mut office = Office::new("");
    let (first, second) = (office.phone("one", "max_calls = 1"), office.phone("two", ""));
    office.dial(&[]);
    crate::wait_ringing(&first);
    let answer = office.ask("AIDial", &[("Number", crate::ANN)]);
    assert_eq!((answer.get("Response"), answer.get("Trunk")), ("Success", "two"), "{answer}");
    crate::wait_ringing(&second);
    assert!(office.stage.cli("ai hangup all").contains("2 calls hung up"));
    office.stage.assert_nothing_left();
}
