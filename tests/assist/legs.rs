//! Each leg by itself, and the call as it was.

use rig::Codec;

use crate::common::signal::{codes, likest_db};
use crate::common::witness::undisturbed;
use crate::{Desk, LATE, SOON, chord, has_heard, to};

#[test]
fn each_side_is_heard_by_a_transcriber_of_its_own() {
    for (caller, operator, least_db) in [
        (Codec::Alaw, Codec::Alaw, 30.0),
        (Codec::Ulaw, Codec::Alaw, 30.0),
        (Codec::Slin16, Codec::Alaw, 30.0),
        (Codec::G722, Codec::G722, 15.0),
    ] {
        undisturbed(|| {
            let desk = Desk::new();
            let talk = desk.call('5', caller, operator);
            talk.assert_converse(&desk.legs(), least_db, &format!("{caller:?} and {operator:?}"));
        });
    }
}

#[test]
fn a_recording_beside_it_is_right_as_well() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, legs) = desk.tapped('7');
        talk.assert_converse(&legs, 30.0, "recorded");
        let name = to('7', &talk.operator);
        talk.caller.hang_up();
        desk.stage.assert_nothing_left();
        for (leg, said) in [("-caller", chord(11)), ("-operator", chord(12))] {
            let (samples, rate_hz) = desk.recording(&format!("{name}{leg}"));
            // Behind what was said to see whether the line is through.
            let db = likest_db(&samples[rate_hz as usize * 4 / 5..], &|rate| said.at_rate(rate), rate_hz);
            println!("recorded{leg}: SNR {db:.1} dB");
            assert!(db >= 30.0, "{leg}: {db:.1} dB");
        }
    });
}

#[test]
fn the_phones_get_the_very_codes_that_the_other_sends() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, _legs) = desk.tapped('5');
        let said = [codes(21, 8000), codes(22, 8000)];
        talk.caller.play_bytes(&said[0]);
        talk.operator.play_bytes(&said[1]);
        talk.caller.wait_played(SOON).expect("the phone sends");
        talk.operator.wait_played(SOON).expect("the phone sends");
        std::thread::sleep(LATE);
        for (call, said) in [(&talk.operator, &said[0]), (&talk.caller, &said[1])] {
            assert!(has_heard(call, said), "untouched");
        }
    });
}
