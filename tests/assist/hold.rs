//! Somebody waits: music is not transcribed, and afterwards everything goes on, in another codec if need be.

use std::thread::sleep;

use rig::{Codec, Direction};

use crate::common::eventually;
use crate::common::witness::undisturbed;
use crate::{Desk, LATE, SOON, chord, is_loud, ms};

/// Has Asterisk play music to those who are on hold.
fn load_music(desk: &Desk) {
    let rig = &desk.stage.rig;
    let sound: String =
        std::iter::repeat_n("UUUUUUUU\u{16}\u{16}\u{16}\u{16}\u{16}\u{16}\u{16}\u{16}", 10_000).collect();
    rig.write_config("music.ulaw", &sound).expect("the music is written");
    let class = format!("[default]\nmode = playlist\nentry = {}\n", rig.path_inside("etc/music"));
    rig.write_config("musiconhold.conf", &class).expect("the configuration is written");
    desk.stage.cli("module load res_musiconhold.so");
}

#[test]
fn nothing_is_transcribed_on_hold_and_everything_after_it() {
    undisturbed(|| {
        let desk = Desk::new();
        load_music(&desk);
        let (talk, legs) = desk.tapped('5');
        talk.operator.renegotiate(Codec::Alaw, Direction::SendOnly, SOON).expect("Asterisk agrees");
        talk.operator.mute(true);
        let before = talk.caller.heard().pcm().len();
        eventually("the music plays", SOON, || {
            let loud = talk.caller.heard().pcm()[before..].iter().filter(|sample| sample.unsigned_abs() > 1000).count();
            loud > 8000
        });
        sleep(LATE);
        let [caller, operator] = legs.heard();
        talk.caller.play(&chord(13).at_rate(8000));
        talk.caller.wait_played(SOON).expect("the phone sends");
        sleep(LATE);
        assert!(!is_loud(&legs.operator.pcm()[operator..]), "nobody hears the music");
        assert!(!is_loud(&legs.caller.pcm()[caller..]), "nobody hears what the caller says to somebody else");

        talk.operator.mute(false);
        talk.operator.renegotiate(Codec::Alaw, Direction::Both, SOON).expect("Asterisk agrees");
        sleep(LATE);
        talk.assert_converse(&legs, 30.0, "after the hold");
    });
}

#[test]
fn another_codec_in_mid_call_is_heard_as_well() {
    for (caller, operator, least_db) in
        [(Codec::Ulaw, Codec::Alaw, 30.0), (Codec::Alaw, Codec::Ulaw, 30.0), (Codec::G722, Codec::Alaw, 15.0)]
    {
        undisturbed(|| {
            let desk = Desk::new();
            let (talk, legs) = desk.tapped('5');
            talk.assert_converse(&legs, 30.0, "before");
            for (call, codec) in [(&talk.caller, caller), (&talk.operator, operator)] {
                if call.heard().codec != codec {
                    call.renegotiate(codec, Direction::Both, SOON).expect("Asterisk agrees");
                }
            }
            sleep(ms(500));
            talk.assert_converse(&legs, least_db, &format!("{caller:?} and {operator:?} after A-law"));
        });
    }
}
