//! A machine answers, or a person.

use std::time::{Duration, Instant};

use rig::{Ended, PhoneCall};

use crate::common::signal::is_sound;
use crate::common::{SOON, eventually};
use crate::{Office, wait_ringing};

/// What a machine says; about six seconds.
const GREETING: &str = "Hello, you have reached the voice mail of Ann Miller. I cannot take your call right now. \
    Please leave a message after the tone.";
/// Long enough for a decision.
const DECISION: Duration = Duration::from_secs(12);

const DETECT: (&str, &str) = ("DetectMachine", "yes");

/// Speech at 8 kHz without the silence around it.
fn speech(text: &str) -> Vec<i16> {
    rig::speech(text, 8000).expect("spoken")
}

/// The tone after which a machine records.
fn beep() -> Vec<i16> {
    (0..4000)
        .map(|sample| (8000.0 * (f64::from(sample) * 1000.0 * std::f64::consts::TAU / 8000.0).sin()) as i16)
        .collect()
}

/// Answers and lets a person or a machine say something after a moment.
fn answer(phone: &PhoneCall, samples: &[i16]) -> Instant {
    wait_ringing(phone);
    phone.play(&[&[0; 2400], samples].concat());
    phone.answer();
    phone.wait_answered(SOON).expect("the phone answers")
}

/// Waits for the word on who has answered, which must be `state`.
fn decision(office: &mut Office, state: &str, answered: Instant) {
    let begun = Instant::now();
    loop {
        let told = office.ami.event("AICallStatus", DECISION).expect("a decision").get("State").to_owned();
        if ["human", "machine", "unsure"].contains(&told.as_str()) {
            assert_eq!(told, state);
            println!("{state} after {:?}", answered.elapsed());
            return;
        }
        assert!(begun.elapsed() < DECISION, "no decision");
    }
}

#[test]
fn a_person_gets_to_talk_to_the_agent() {
    let mut office = Office::new("instructions = You talk to a {{answered_by}}.");
    let phone = office.phone("line", "");
    let id = office.dial(&[DETECT]);
    let answered = answer(&phone, &speech("Hello?"));
    std::thread::sleep(Duration::from_millis(300));
    office.assert_no_ai();
    decision(&mut office, "human", answered);
    let session = office.stage.session();
    session.wait_event("session.update", 0, SOON).expect("the agent is set up");
    let told = session.events().iter().map(|event| format!("{event:?}")).collect::<String>();
    assert!(told.contains("You talk to a human."), "{told}");
    // The line was not dead meanwhile.
    assert!(phone.heard().audio().count() > 50, "{} packets", phone.heard().audio().count());
    phone.hang_up();
    office.assert_over(&id, "HANGUP");
}

#[test]
fn what_a_gateway_sends_before_the_answer_is_no_silence_of_the_person() {
    let mut office = Office::new("");
    let phone = office.phone_that("line", "", rig::Phone::send_before_answer);
    let id = office.dial(&[DETECT]);
    wait_ringing(&phone);
    // More of it than AMD() takes for the silence of a machine.
    std::thread::sleep(Duration::from_secs(4));
    let answered = answer(&phone, &speech("Hello?"));
    decision(&mut office, "human", answered);
    phone.hang_up();
    office.assert_over(&id, "HANGUP");
}

#[test]
fn a_machine_costs_no_conversation() {
    let mut office = Office::new("");
    let phone = office.phone("line", "");
    let id = office.dial(&[DETECT]);
    let answered = answer(&phone, &speech(GREETING));
    decision(&mut office, "machine", answered);
    let end = office.assert_over_without_ai(&id, "MACHINE");
    assert_eq!(phone.wait_ended(SOON).expect("hung up"), Ended::ByPbx);
    let result = office.stage.result("");
    assert_eq!((result.get("STATUS"), result.get("SESSION")), ("MACHINE", id.as_str()), "{end}");
}

#[test]
fn a_machine_gets_the_message_after_its_tone() {
    let mut office = Office::new("");
    let message = speech("This is Bob. Please call me back.");
    rig::write_wav(office.stage.rig.directory().join("run/message.wav"), 8000, &[&message]).expect("written");
    let sound = office.stage.rig.path_inside("run/message");
    office.keys = format!("on_machine = message\nmachine_message = {sound}");
    let phone = office.phone("line", "");
    let id = office.dial(&[DETECT]);
    let greeting = speech(GREETING);
    let machine = [&greeting[..], &[0; 8000 / 2], &beep()].concat();
    let answered = answer(&phone, &machine);
    decision(&mut office, "machine", answered);
    phone.wait_played(Duration::from_secs(20)).expect("the greeting is over");
    let tone_over = Instant::now();
    assert!(!phone.heard().audio().any(is_sound), "the message began during the greeting");
    eventually("the message is heard", SOON, || phone.heard().audio().any(is_sound));
    println!("the message began {:?} after the tone", tone_over.elapsed());
    let end = office.assert_over_without_ai(&id, "MACHINE");
    assert!(end.get("Reason").ends_with("and got the message"), "{end}");
    let heard = phone.heard().audio().filter(|packet| is_sound(packet)).count() as f64 * 0.02;
    let sent = message.len() as f64 / 8000.0;
    assert!(heard > sent * 0.5, "of {sent:.1} s, {heard:.1} s were heard");
}

#[test]
fn an_agent_may_talk_to_a_machine_that_it_knows_is_one() {
    let mut office = Office::new("on_machine = continue\ninstructions = You talk to a {{answered_by}}.");
    let phone = office.phone("line", "");
    let id = office.dial(&[DETECT]);
    let answered = answer(&phone, &speech(GREETING));
    decision(&mut office, "machine", answered);
    let session = office.stage.session();
    session.wait_event("session.update", 0, SOON).expect("the agent is set up");
    let told = session.events().iter().map(|event| format!("{event:?}")).collect::<String>();
    assert!(told.contains("You talk to a machine."), "{told}");
    phone.hang_up();
    office.assert_over(&id, "HANGUP");
}

#[test]
fn who_hangs_up_while_nobody_knows_who_it_is_leaves_nothing_behind() {
    let mut office = Office::new("");
    let phone = office.phone("line", "");
    let id = office.dial(&[DETECT]);
    answer(&phone, &speech(GREETING));
    std::thread::sleep(Duration::from_millis(300));
    phone.hang_up();
    office.assert_over_without_ai(&id, "HANGUP");

    let phone = office.phone("second", "");
    let id = office.dial(&[DETECT, ("Trunk", "second")]);
    answer(&phone, &speech(GREETING));
    office.ask("AIHangup", &[("Session", &id)]);
    assert_eq!(phone.wait_ended(SOON).expect("hung up"), Ended::ByPbx);
    office.assert_over_without_ai(&id, "STOPPED");
}

#[test]
fn without_amd_nobody_is_called_who_would_have_to_be_told_apart() {
    let mut office = Office::with(crate::passive(), "", |rig| rig.edit("modules.conf", "load = app_amd.so\n", ""));
    let phone = office.phone("line", "");
    let answer = office.ask("AIDial", &[("Number", crate::ANN), DETECT]);
    assert!(answer.get("Message").contains("app_amd.so"), "{answer}");
    assert!(phone.invite().is_empty());
}
