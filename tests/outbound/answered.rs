//! Somebody answers.

use std::time::{Duration, Instant};

use practice_agent::{Pace, Script, Server, Speech};
use rig::{Ended, PhoneCall};

use crate::common::signal::{codes, is_sound};
use crate::common::{SOON, eventually};
use crate::{ANN, Office, wait_ringing};

fn hear_agent(phone: &PhoneCall) {
    eventually("the agent is heard", SOON, || phone.heard().audio().any(is_sound));
}

#[test]
fn the_ai_is_connected_at_the_answer_and_not_before() {
    let greeting = Script::new().say(Speech::wire("Hello", codes(7, 8000)).at(Pace::Burst));
    let mut office = Office::with(Server::builder().script(greeting), "", |rig| rig);
    let phone = office.phone("line", "caller_id = 74950000001\ncaller_id = 74950000002");
    let id = office.dial(&[("CallerID", "74950000002")]);
    wait_ringing(&phone);
    phone.send_early_media();
    office.assert_states(&["dialing", "ringing", "progress"]);
    std::thread::sleep(Duration::from_millis(1500));
    office.assert_no_ai();
    phone.answer();
    let answered = phone.wait_answered(SOON).expect("the phone answers");
    let session = office.stage.session();
    println!("the AI was connected to {:?} after the answer", answered.elapsed());
    office.assert_states(&["answered", "connecting", "talking"]);
    hear_agent(&phone);
    phone.play(&vec![6000; 8000]);
    session.wait_caller_audio(Duration::from_millis(500), SOON).expect("the called party is heard");

    let invite = phone.invite();
    assert!(invite.starts_with(&format!("INVITE sip:{ANN}@127.0.0.1:")), "{invite}");
    let from = invite.lines().find(|line| line.starts_with("From:")).expect("a caller");
    assert!(from.contains("74950000002"), "{from}");
    let sessions = office.stage.cli("ai show sessions");
    assert!(sessions.contains(&id), "{sessions}");
    let shown = office.stage.cli("core show channels concise");
    assert!(shown.contains(&id), "the channel has the call's id: {shown}");

    phone.hang_up();
    let end = office.assert_over(&id, "HANGUP");
    assert_eq!((end.get("Cause"), end.get("CallerIDNum"), end.get("CalledNum")), ("16", "74950000002", ANN));
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
    let result = office.stage.result("");
    assert_eq!((result.get("STATUS"), result.get("SESSION")), ("HANGUP", id.as_str()));
    let starts = office.ami.rest().iter().filter(|message| message.get("Event") == "AISessionStart").count();
    assert_eq!(starts, 1, "one call_start a call");
}

#[test]
fn a_phone_that_answers_and_is_silent_is_a_call_like_any_other() {
    let mut office = Office::new("idle_timeout_s = 2");
    let phone = office.phone("line", "");
    let id = office.dial(&[]);
    wait_ringing(&phone);
    phone.answer();
    phone.mute(true);
    phone.wait_answered(SOON).expect("the phone answers");
    office.stage.session().wait_caller_audio(Duration::from_secs(1), SOON).expect("the AI hears silence");
    let end = office.assert_over(&id, "IDLE");
    assert!(end.number("DurationMs") >= 2000.0, "{end}");
    assert_eq!(phone.wait_ended(SOON).expect("hung up"), Ended::ByPbx);
}

#[test]
fn an_agent_is_given_the_variables_of_its_call() {
    let keys = "instructions = Call {{name}} about {{thing}}.\nvariable = thing=nothing";
    let mut office = Office::new(keys);
    let phone = office.phone("line", "");
    let id = office.dial(&[("Variables", "name=Ann ${SHELL(id)}) & co^thing=the order")]);
    wait_ringing(&phone);
    phone.answer();
    let session = office.stage.session();
    session.wait_event("session.update", 0, SOON).expect("the agent is set up");
    let told = session.events().iter().map(|event| format!("{event:?}")).collect::<String>();
    assert!(told.contains("Call Ann ${SHELL(id)}) & co about the order."), "{told}");
    office.ask("AIHangup", &[("Session", &id)]);
    office.assert_over(&id, "STOPPED");
    assert_eq!(phone.wait_ended(SOON).expect("hung up"), Ended::ByPbx);
}

#[test]
fn a_conversation_can_be_hung_up_from_outside() {
    let mut office = Office::new("");
    let phone = office.phone("line", "");
    let id = office.dial(&[]);
    wait_ringing(&phone);
    phone.answer();
    let session = office.stage.session();
    while office.state() != "talking" {}
    let begun = Instant::now();
    assert!(office.stage.cli(&format!("ai hangup {id}")).contains("hung up"));
    assert_eq!(phone.wait_ended(SOON).expect("hung up"), Ended::ByPbx);
    println!("hung up within {:?}", begun.elapsed());
    session.wait_closed(SOON).expect("the WebSocket closes");
    office.assert_over(&id, "STOPPED");
}

#[test]
fn an_ai_that_is_away_ends_the_call_with_what_the_dialplan_sees() {
    let mut office = Office::new("connect_timeout_ms = 500");
    let phone = office.phone("line", "");
    office.stage.agent.set_door(practice_agent::Door::Refuse(500));
    let id = office.dial(&[]);
    wait_ringing(&phone);
    phone.answer();
    office.assert_over(&id, "CONNFAIL");
    assert_eq!(phone.wait_ended(SOON).expect("hung up"), Ended::ByPbx);
    assert_eq!(office.stage.result("").get("STATUS"), "CONNFAIL");
}

#[test]
fn a_trunk_of_pjsip_conf_is_dialled_with_its_account() {
    let mut office = Office::new("");
    let phone = rig::Phone::new(&office.stage.rig).ring().expect("the phone starts");
    let host = phone.uri().replace("sip:phone@", "");
    let file = office.stage.rig.directory().join("etc/pjsip.conf");
    let endpoint = format!(
        "\n[exolve]\ntype = endpoint\ncontext = default\naors = exolve\nfrom_user = 883140000000\nfrom_domain = sip.exolve.example\n\
         disallow = all\nallow = alaw,ulaw\ndirect_media = no\n\n[exolve]\ntype = aor\ncontact = sip:{host}\n"
    );
    let text = std::fs::read_to_string(&file).expect("readable") + &endpoint;
    std::fs::write(&file, text).expect("writable");
    office.stage.cli("module reload res_pjsip.so");
    office.add_trunk("exolve", "dial = PJSIP/{{number}}@exolve");
    let answer = office.stage.cli(&format!("ai dial {ANN}"));
    assert!(answer.contains("is being dialled through exolve"), "{answer}");
    wait_ringing(&phone);
    let invite = phone.invite();
    assert!(invite.starts_with(&format!("INVITE sip:{ANN}@{host} ")), "{invite}");
    assert!(invite.contains("<sip:883140000000@sip.exolve.example>"), "{invite}");
    phone.answer();
    office.stage.session().wait_caller_audio(Duration::from_millis(100), SOON).expect("they talk");
    phone.hang_up();
    let id = answer.split(' ').nth(1).expect("the id").to_owned();
    office.assert_over(&id, "HANGUP");
}
