//! The AI calls somebody through the trunk.

use std::time::Duration;

use practice_agent::{Script, Speech};
use rig::{CallEvent, Codec, PhoneCall};

use crate::common::signal::{codes, position};
use crate::common::{SOON, Stage, eventually};
use crate::{ANN, USER, complaints, connected, connected_to};

/// What a machine says; about six seconds.
const GREETING: &str = "Hello, you have reached the voice mail of Ann Miller. I cannot take your call right now. \
    Please leave a message after the tone.";
/// Longer than AMD() takes.
const DECISION: Duration = Duration::from_secs(12);

/// Dials, and waits until the phone at the other end rings.
fn dial(stage: &Stage, arguments: &str, phone: &PhoneCall) {
    let answer = stage.cli(&format!("ai dial {ANN} {arguments}"));
    let ringing = phone.wait_for(CallEvent::Ringing, SOON);
    ringing.unwrap_or_else(|problem| panic!("{problem}: {answer}{}", stage.rig.log()));
}

/// Answers, and says `text` after a moment.
fn answer(phone: &PhoneCall, text: &str) {
    phone.play(&[&[0; 2400], &rig::speech(text, 8000).expect("spoken")[..]].concat());
    phone.answer();
    phone.wait_answered(SOON).expect("the phone answers");
}

#[test]
fn the_provider_wants_the_password_and_the_ai_talks_to_whoever_answers() {
    let (provider, stage) = connected();
    provider.rig.cli("pjsip set logger on").expect("Asterisk answers");
    let phone = provider.phone().codec(Codec::Ulaw);
    let phone = provider.rings(phone);
    dial(&stage, "", &phone);
    assert!(stage.agent.attempts().is_empty(), "the AI was connected to before the answer");
    phone.answer();
    phone.wait_answered(SOON).expect("the phone answers");
    let session = stage.session();
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("audio flows");
    let said = codes(3, 8000);
    session.perform(Script::new().say(Speech::wire("hello", said.clone())));
    let heard = || phone.heard().audio().flat_map(|packet| packet.payload.clone()).collect::<Vec<_>>();
    eventually("every sample is heard", SOON, || position(&heard(), &said).is_some());
    phone.hang_up();
    stage.assert_nothing_left();
    let log = provider.rig.log();
    assert!(log.contains(&format!("CUSTOMER {USER} <> calls {ANN}")), "{log}");
    let refused = log.find("SIP/2.0 401 Unauthorized").expect("the provider asks for the password");
    let invited = log.rfind(&format!("INVITE sip:{ANN}@")).expect("there was a call");
    let proof = log[invited..].find(&format!("Authorization: Digest username=\"{USER}\"")).map(|at| invited + at);
    assert!(proof.is_some_and(|proof| refused < proof), "the call had no password");
    assert_eq!(complaints(&stage.rig), Vec::<String>::new());
}

#[test]
fn the_number_to_call_from_is_told() {
    let (provider, stage) = connected_to(&[("TRUNK_CALLER_ID", "74951111111,74952222222")]);
    let phone = provider.ringing_phone();
    dial(&stage, "", &phone);
    let line = provider.rig.wait_log("CUSTOMER", SOON).expect("a call");
    assert!(line.contains("CUSTOMER 74951111111 <") || line.contains("<sip:74951111111@"), "{line}");
    phone.refuse(486);
    stage.assert_nothing_left();
}

#[test]
fn the_limits_of_the_environment_are_kept() {
    let limits =
        [("TRUNK_MAX_CALLS", "1"), ("TRUNK_CALLS_PER_SECOND", "50"), ("TRUNK_PATTERN", "_79XXXXXXXXX,_375XXXXXXXXX")];
    let (provider, stage) = connected_to(&limits);
    let refused = stage.cli("ai dial 13105550100");
    assert!(refused.contains("trunk takes only _79XXXXXXXXX, _375XXXXXXXXX"), "{refused}");
    let phone = provider.ringing_phone();
    dial(&stage, "", &phone);
    let refused = stage.cli("ai dial 375291234567");
    assert!(refused.contains("trunk trunk has 1 calls, and its max_calls allows no more"), "{refused}");
    phone.refuse(486);
    stage.assert_nothing_left();
}

#[test]
fn a_person_gets_to_talk_to_the_ai_and_a_machine_does_not() {
    let (provider, stage) = connected();
    let phone = provider.ringing_phone();
    dial(&stage, "practice detect", &phone);
    answer(&phone, "Hello?");
    let session =
        stage.agent.next_session(DECISION).unwrap_or_else(|_| panic!("no AI: {}", stage.cli("ai show calls")));
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("audio flows");
    phone.hang_up();
    stage.assert_nothing_left();

    let connections = stage.agent.attempts().len();
    let phone = provider.ringing_phone();
    dial(&stage, "practice detect", &phone);
    answer(&phone, GREETING);
    phone.wait_ended(DECISION).expect("the machine is hung up on");
    stage.assert_nothing_left();
    assert!(stage.cli("ai show calls").contains("MACHINE"), "{}", stage.cli("ai show calls"));
    assert_eq!(stage.agent.attempts().len(), connections, "the AI was connected to for a machine");
}
