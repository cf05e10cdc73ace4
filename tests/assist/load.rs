//! Many calls at once: what a tap costs, and that nobody hears it.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::{Crowd, PhoneCall};

use crate::common::signal::{assert_rhythm, codes};
use crate::common::witness::undisturbed;
use crate::{Desk, SOON};

const CALLS: usize = 50;
/// So long they are measured.
const MEASURED: Duration = Duration::from_secs(10);
/// Most that a tapped call may cost beyond a plain one, both legs written to transcribers. [ms of a core in a second]
const MOST_MS: f64 = 6.0;

/// Processor time of Asterisk so far.
fn spent(desk: &Desk) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", desk.stage.rig.pid())).expect("Asterisk runs");
    // proc(5): behind the name, which may hold anything, utime and stime are the 12th and 13th field. [1/100 s]
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = |field| fields.split_whitespace().nth(field).and_then(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(10 * (ticks(11).expect("utime") + ticks(12).expect("stime")))
}

/// Processor time that one of many calls by the extensions of `kind` costs in a second. [ms]
fn cost_ms(desk: &Desk, kind: char, crowd: &Crowd, what: &str) -> f64 {
    let extension = format!("{kind}{}", crowd.address().port());
    let calls: Vec<PhoneCall> = (0..CALLS).map(|_| desk.stage.dial(&extension)).collect();
    for (seed, call) in (0..).zip(&calls) {
        call.wait_answered(2 * SOON).expect("the call is answered");
        call.play_bytes(&codes(seed, 20 * 8000));
    }
    sleep(Duration::from_secs(2));
    let (from, before) = (Instant::now(), spent(desk));
    sleep(MEASURED);
    let (to, after) = (Instant::now(), spent(desk));
    let cost = (after - before).as_secs_f64() * 1000.0 / (to - from).as_secs_f64() / CALLS as f64;
    let lines: Vec<_> = calls.iter().map(PhoneCall::heard).collect();
    calls.iter().for_each(PhoneCall::hang_up);
    desk.stage.assert_nothing_left();
    assert_rhythm(&lines, from, to, what);
    cost
}

#[test]
fn fifty_tapped_calls_cost_little_more_than_fifty_plain_ones() {
    undisturbed(|| {
        let desk = Desk::new();
        let crowd = Crowd::start(&desk.stage.rig).expect("SIPp starts");
        let plain = cost_ms(&desk, '8', &crowd, "plain");
        let tapped = cost_ms(&desk, '5', &crowd, "tapped");
        println!("a call costs {plain:.2} ms of a core in a second, tapped {tapped:.2} ms: {:.2} more", tapped - plain);
        assert!(tapped - plain <= MOST_MS, "{:.2} ms more", tapped - plain);
    });
}
