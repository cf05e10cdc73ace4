//! The provider passes on a call.

use std::fs;
use std::time::Duration;

use practice_agent::{Script, Speech};
use rig::{Codec, Phone};

use crate::common::signal::{Chord, codes, likest_db, position};
use crate::common::{SOON, Stage, eventually};
use crate::{OWN, complaints, connected, connected_to};

/// One second of G.711.
const SECOND: usize = 8000;

#[test]
fn whatever_number_was_called_the_ai_answers_and_both_hear_each_other() {
    let (provider, stage) = connected();
    let plainly = format!("dialplan set global EXCHANGE sip:{OWN}@{}", stage.rig.sip_addr());
    provider.rig.cli(&plainly).expect("Asterisk answers");
    // By the account, by a number of the customer's, and so that nothing but the address tells whose call it is.
    for number in [OWN.to_owned(), format!("1{OWN}"), format!("2{OWN}")] {
        let call = provider.phone().codec(Codec::Ulaw).dial(&number).expect("the phone dials");
        call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}: {}", stage.rig.log()));
        let session = stage.session();
        let (said, answered) = (codes(1, SECOND), codes(2, SECOND));
        session.wait_caller_audio(Duration::from_millis(100), SOON).expect("audio flows");
        call.play_bytes(&said);
        eventually("the AI hears every sample", SOON, || position(&session.caller_audio(), &said).is_some());
        session.perform(Script::new().say(Speech::wire("an answer", answered.clone())));
        let heard = || call.heard().audio().flat_map(|packet| packet.payload.clone()).collect::<Vec<_>>();
        eventually("the caller hears every sample", SOON, || position(&heard(), &answered).is_some());
        call.hang_up();
        stage.assert_nothing_left();
    }
    assert_eq!(complaints(&stage.rig), Vec::<String>::new());
}

/// A phone that is registered as the operator's.
fn operator(stage: &Stage) -> rig::PhoneCall {
    let phone = Phone::new(&stage.rig).codec(Codec::Ulaw).ring().expect("the phone starts");
    let file = stage.rig.directory().join("etc/pjsip.conf");
    let text = fs::read_to_string(file).expect("it is there");
    let contact = format!("[1001](contacts)\ncontact = {}\n", phone.uri());
    stage.rig.write_config("pjsip.conf", &text.replace("[1001](contacts)\n", &contact)).expect("it can be written");
    stage.cli("module reload res_pjsip.so");
    eventually("the operator's phone is known", SOON, || stage.cli("pjsip show aor 1001").contains("sip:phone@"));
    phone
}

#[test]
fn with_one_setting_a_person_answers_is_recorded_and_gets_hints() {
    let (provider, stage) = connected_to(&[("TRUNK_CONTEXT", "operator")]);
    let operator = operator(&stage);
    let call = provider.phone().codec(Codec::Ulaw).dial(OWN).expect("the phone dials");
    operator.wait_for(rig::CallEvent::Ringing, SOON).unwrap_or_else(|problem| panic!("{problem}: {}", stage.rig.log()));
    operator.answer();
    call.wait_answered(SOON).expect("the operator answers");
    let streams = ["caller", "operator"].map(|leg| stage.agent.stream(leg, SOON).expect("both legs are listened to"));
    let chords = [1, 2].map(|seed| Chord::narrow(seed, Duration::from_millis(1500)));
    call.play(&chords[0].at_rate(8000));
    operator.play(&chords[1].at_rate(8000));
    for phone in [&call, &operator] {
        phone.wait_played(SOON).expect("it is said");
    }
    std::thread::sleep(Duration::from_secs(1));
    eventually("a hint was asked for", SOON, || !stage.agent.chats().is_empty());
    call.hang_up();
    stage.assert_nothing_left();

    let folder = stage.rig.directory().join("spool/monitor");
    let names: Vec<_> =
        fs::read_dir(&folder).expect("there are recordings").flatten().map(|file| file.path()).collect();
    let recording = |end: &str| {
        let path =
            names.iter().find(|path| path.to_string_lossy().ends_with(end)).unwrap_or_else(|| panic!("{names:?}"));
        rig::read_wav(&fs::read(path).expect("it is there")).expect("it is a recording").0
    };
    for (chord, leg, stream) in [(&chords[0], "caller", &streams[0]), (&chords[1], "operator", &streams[1])] {
        let likeness = likest_db(&recording(&format!("-{leg}.wav")), &|rate| chord.at_rate(rate), 8000);
        println!("the recording of the {leg}: {likeness:.1} dB");
        assert!(likeness > 25.0, "{leg}: {likeness} dB");
        assert!(stream.caller_audio_time() > Duration::from_secs(2), "the {leg} is not transcribed");
    }
    let whole = names
        .iter()
        .filter(|path| !path.to_string_lossy().contains("-caller") && !path.to_string_lossy().contains("-operator"));
    let whole: Vec<_> = whole.collect();
    assert_eq!(whole.len(), 1, "{names:?}");
    let (samples, _) = rig::read_wav(&fs::read(whole[0]).expect("it is there")).expect("a recording");
    assert!(samples.iter().any(|sample| sample.unsigned_abs() > 2000), "the whole is silent");
}
