//! Transcribers that are dead, stand still or are not there: the call has nothing of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::Codec;

use crate::common::signal::assert_rhythm;
use crate::common::witness::undisturbed;
use crate::{Desk, Talk, ms};

/// So long both phones are listened to.
const WATCHED: Duration = Duration::from_secs(4);

/// Both lines of the call have the rhythm that they have without a tap.
fn assert_in_step(talk: &Talk, from: Instant, what: &str) {
    let lines = [talk.caller.heard(), talk.operator.heard()];
    assert_rhythm(&lines, from, Instant::now(), what);
}

#[test]
fn a_transcriber_that_stands_still_is_no_concern_of_the_call() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, legs) = desk.tapped('5');
        let from = Instant::now();
        desk.stage.agent.freeze(WATCHED);
        assert_in_step(&talk, from, "frozen");
        sleep(ms(1000));
        talk.assert_converse(&legs, 30.0, "back");
    });
}

#[test]
fn a_transcriber_that_nobody_reaches_is_no_concern_of_the_call() {
    undisturbed(|| {
        let desk =
            Desk::with(|rig| rig.edit("ai_bridge.conf", "hint_url = no", "hint_url = no\nurl = ws://127.0.0.1:9"));
        let talk = desk.call('5', Codec::Alaw, Codec::Alaw);
        let from = Instant::now();
        sleep(WATCHED);
        assert_in_step(&talk, from, "nobody there");
        talk.caller.hang_up();
        desk.stage.assert_nothing_left();
        desk.assert_unloads();
    });
}
