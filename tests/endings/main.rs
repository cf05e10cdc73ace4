//! Every way a conversation can end: what the dialplan learns of it, that it goes on, and that nothing stays behind.

#[path = "../common/mod.rs"]
mod common;

mod caller;
mod faults;
mod operator;
mod refusals;
mod server;
mod tools;

use common::{Result, SOON, Stage, eventually};
use practice_agent::{Builder, Pace, Script, Server, Speech};
use rig::PhoneCall;

/// For a profile: a lost session is the end, at once.
const LOSS_ENDS: &str = "reconnect_attempts = 0";

/// Something said for `ms`, no sample of it silent, sent faster than anybody listens.
fn speech(ms: usize) -> Speech {
    Speech::wire("Something", common::signal::codes(7, ms * 8)).at(Pace::Burst)
}

/// An agent that does nothing by itself.
fn passive() -> Builder {
    Server::builder().script(Script::new())
}

/// Expects `call` of `extension` to end by itself with `status` and a reason that has `words` in it; the dialplan has
/// gone on, and nothing is left.
#[track_caller]
fn assert_ended(stage: &Stage, extension: &str, call: &PhoneCall, status: &str, words: &str) -> Result {
    let result = stage.result(extension);
    assert_eq!(result.get("STATUS"), status, "{result:?}");
    assert!(result.get("REASON").contains(words), "{result:?}");
    assert_eq!(result.get("WENT_ON"), "yes", "{result:?}");
    call.wait_ended(SOON).expect("the dialplan hangs up");
    stage.assert_nothing_left();
    result
}

/// Expects `call` of `extension`, which the caller has hung up, to be over without trace.
#[track_caller]
fn assert_hung_up(stage: &Stage, extension: &str, call: &PhoneCall) {
    let result = stage.result(extension);
    assert_eq!(result.get("STATUS"), "HANGUP", "{result:?}");
    assert_eq!(result.get("REASON"), "the caller hung up", "{result:?}");
    assert_eq!(result.get("WENT_ON"), "", "a dialplan went on without a caller: {result:?}");
    call.wait_ended(SOON).expect("the phone has hung up");
    stage.assert_nothing_left();
}

/// Expects Asterisk to have no more files and sockets open than after the first of several calls.
#[track_caller]
fn assert_no_more_descriptors(stage: &Stage, after_first: &mut Option<usize>) {
    let now = || stage.rig.figures().expect("Asterisk runs").descriptors;
    let allowed = *after_first.get_or_insert_with(now);
    eventually("no call leaves a file or socket open", SOON, || now() <= allowed);
}
