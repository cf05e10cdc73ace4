//! With a phone that people use, driven over its control port.

use std::time::Duration;

use practice_agent::{Pace, Script, Server, Speech};
use rig::Baresip;

use crate::common::SOON;
use crate::common::signal::codes;
use crate::{ANN, Office};

/// Longer than either call: a softphone whose file is over hangs up.
const TALK_S: usize = 60;

#[test]
fn a_softphone_is_called_and_calls() {
    let greeting = || Script::new().say(Speech::wire("Hello", codes(7, 8000)).at(Pace::Burst));
    let mut office = Office::with(Server::builder().script(greeting()), "", |rig| rig);
    let mut phone =
        Baresip::start(&office.stage.rig, "1001", "1001pass", ANN, &vec![5000; TALK_S * 8000]).expect("it runs");
    office.add_trunk("soft", &format!("dial = PJSIP/1001/sip:{{{{number}}}}@{}", phone.address()));

    let id = office.dial(&[]);
    let incoming = phone.event("CALL_INCOMING", SOON).expect("it rings");
    assert_eq!(incoming["direction"], "incoming", "{incoming}");
    office.assert_states(&["dialing", "ringing"]);
    std::thread::sleep(Duration::from_millis(300));
    office.assert_no_ai();
    phone.command("accept", "").expect("it answers");
    phone.event("CALL_ESTABLISHED", SOON).expect("they talk");
    let session = office.stage.session();
    session.wait_caller_audio(Duration::from_secs(1), SOON).expect("it is heard");
    office.assert_states(&["answered", "connecting", "talking"]);
    phone.command("hangup", "").expect("it hangs up");
    phone.event("CALL_CLOSED", SOON).expect("it is over");
    office.assert_over(&id, "HANGUP");

    let asterisk = office.stage.rig.sip_addr();
    // The account that was called last is the one that would dial.
    phone.command("uafind", &format!("sip:1001@{asterisk}")).expect("it has two accounts");
    phone.command("dial", &format!("sip:100@{asterisk}")).expect("it dials");
    phone.event("CALL_ESTABLISHED", SOON).expect("it is answered");
    let session = office.stage.session();
    session.wait_caller_audio(Duration::from_secs(1), SOON).expect("it is heard");
    let start = office.event("AISessionStart");
    let start = if start.get("Session") == id { office.event("AISessionStart") } else { start };
    assert_eq!((start.get("CallerIDNum"), start.get("CalledNum")), ("1001", ""), "{start}");
    phone.command("hangup", "").expect("it hangs up");
    office.assert_over(start.get("Session"), "HANGUP");
}
