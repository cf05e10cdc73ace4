//! The operator's channel is tapped: option `o`.

use crate::common::witness::undisturbed;
use crate::{Desk, SOON};

#[test]
fn on_the_operators_channel_the_sides_are_the_other_way_round() {
    undisturbed(|| {
        let desk = Desk::new();
        let (talk, legs) = desk.tapped('6');
        talk.assert_converse(&legs, 30.0, "the operator's channel");
        talk.operator.hang_up();
        talk.caller.wait_ended(SOON).expect("the call is over");
        desk.stage.assert_nothing_left();
    });
}
