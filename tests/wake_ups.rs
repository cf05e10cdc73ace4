//! A call costs the exchange one wake-up for every packet of the caller, as `Echo()` does, though the agent speaks too.

mod common;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use common::signal::{codes, is_sound};
use common::{SOON, Stage};
use practice_agent::{Script, Server};
use rig::PhoneCall;

const CALLS: usize = 10;
/// Counted over this long, after the phones and the line have found their rhythm.
const COUNTED: Duration = Duration::from_secs(4);
/// A phone on a busy machine sends packets at uneven times, and the line keeps its own then.
const MOST: f64 = 1.35;

/// How often the threads that run calls have gone to sleep so far: they have the program's name.
fn sleeps(stage: &Stage) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", stage.rig.pid())).expect("Asterisk runs");
    let sleeps = tasks.flatten().filter_map(|task| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        field("Name:").filter(|&name| name == "asterisk")?;
        field("voluntary_ctxt_switches:")?.parse::<u64>().ok()
    });
    sleeps.sum()
}

/// Wake-ups of one call of `extension` in a second.
fn wake_ups(stage: &Stage, extension: &str) -> f64 {
    let calls: Vec<PhoneCall> = (0..CALLS).map(|_| stage.call(extension)).collect();
    for (number, call) in calls.iter().enumerate() {
        call.play_bytes(&codes(number as u64, 30 * 8000));
    }
    sleep(Duration::from_secs(2));
    let before = sleeps(stage);
    sleep(COUNTED);
    let woken = (sleeps(stage) - before) as f64 / COUNTED.as_secs_f64() / CALLS as f64;
    for call in &calls {
        let sounds = call.heard().audio().rev().take(100).filter(|packet| is_sound(packet)).count();
        assert!(sounds >= 90, "the phone hears itself: {sounds} of 100 packets");
    }
    calls.iter().for_each(PhoneCall::hang_up);
    stage.rig.wait_no_channels(SOON).expect("the line is free");
    woken
}

#[test]
fn the_agents_voice_needs_no_wake_up_of_its_own() {
    let echo = "exten => 200,1,Answer()\n same => n,Echo()\n";
    let stage = Stage::new(Server::builder().script(Script::echo()), "", echo);
    let floor = wake_ups(&stage, "200");
    let ours = wake_ups(&stage, "100");
    println!("wake-ups of a call in a second: Echo() {floor:.1}, AI() {ours:.1}");
    assert!(floor >= 45.0, "Echo() wakes for every packet: {floor:.1}");
    assert!(ours <= floor * MOST, "AI() {ours:.1}, Echo() {floor:.1}");
}
