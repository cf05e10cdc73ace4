//! Loading, unloading, reloading, and failing: the exchange lives on, and nothing is left behind.

mod common;

use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{SOON, Stage, extension, profile};
use practice_agent::{Script, Server};
use rig::ProcessFigures;

const MODULE: &str = "res_ai_bridge.so";

fn stage(dialplan: &str) -> Stage {
    Stage::new(Server::builder().script(Script::new()), "", dialplan)
}

impl Stage {
    fn load(&self) {
        let said = self.rig.cli(&format!("module load {MODULE}")).expect("Asterisk answers");
        assert!(said.contains("Loaded"), "{said}");
    }

    /// Unloads the module; what Asterisk says when it will not.
    fn unload(&self, force: &str) -> Result<(), String> {
        let said = self.rig.cli(&format!("module unload {force} {MODULE}")).expect("Asterisk answers");
        if said.contains("Unloaded") { Ok(()) } else { Err(said) }
    }

    fn sessions(&self) -> String {
        self.rig.cli("ai show sessions").expect("Asterisk answers")
    }
}

#[test]
fn a_hundred_loads_with_calls_in_between_leave_nothing_behind() {
    let stage = stage("");
    let cycle = |number: u32| {
        if number.is_multiple_of(10) {
            let call = stage.call("100");
            stage.session().wait_caller_audio(Duration::from_millis(200), SOON).expect("audio flows");
            call.hang_up();
            call.wait_ended(SOON).expect("the call ends");
            stage.rig.wait_no_channels(SOON).expect("the channel is gone");
        }
        stage.unload("").expect("no call is up");
        stage.load();
    };
    (0..20).for_each(cycle);
    // The exchange's own helpers for the last call take a moment to go.
    thread::sleep(Duration::from_secs(1));
    let before = stage.rig.figures().expect("Asterisk runs");
    (0..100).for_each(cycle);
    let settled = |after: &ProcessFigures| after.threads <= before.threads && after.descriptors <= before.descriptors;
    let after = (0..50)
        .map(|_| {
            thread::sleep(Duration::from_millis(100));
            stage.rig.figures().expect("Asterisk runs")
        })
        .find(settled);
    println!("before {before:?}, after {after:?}");
    let after = after.unwrap_or_else(|| panic!("{:?} became {:?}", before, stage.rig.figures()));
    // The calls in between make Asterisk and the C library grow a little; a leak of a load would be many times that.
    assert!(grown_kib(&before, &after) < 6144, "memory: {} became {} KiB", before.resident_kib, after.resident_kib);
}

fn grown_kib(before: &ProcessFigures, after: &ProcessFigures) -> i64 {
    after.resident_kib as i64 - before.resident_kib as i64
}

#[test]
fn unload_is_refused_while_a_call_is_up_and_forced_unload_ends_it() {
    let stage = stage("");
    let call = stage.call("100");
    let session = stage.session();
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("audio flows");
    let refused = stage.unload("").expect_err("a call is up");
    assert!(refused.contains("Unable to unload"), "{refused}");
    session
        .wait_caller_audio(session.caller_audio_time() + Duration::from_millis(300), SOON)
        .expect("the call goes on");
    stage.unload("-f").expect("forced");
    // Asterisk itself hangs up every channel that is in an application of the module, at the same time as the module
    // ends its sessions.
    let result = stage.result("100");
    assert!(["HANGUP", "STOPPED"].contains(&result.get("STATUS")), "{result:?}");
    session.wait_closed(SOON).expect("the connection is closed");
    call.wait_ended(SOON).expect("the call ends");
    stage.load();
    assert!(stage.sessions().contains("0 AI sessions"));
}

/// Thread-local destructors of a library that was unmapped would crash the exchange when the thread ends.
#[test]
fn channels_that_ran_the_application_end_after_its_module_is_gone() {
    let dialplan = "exten => 200,1,AI(test,t(0.5))\n same => n,Verbose(0,BACK IN THE DIALPLAN)\n same => n,Wait(60)\n";
    let mut stage = stage(dialplan);
    let call = stage.call("200");
    stage.rig.wait_log("BACK IN THE DIALPLAN", SOON).expect("the conversation times out");
    stage.unload("").expect("the application has returned");
    for command in ["module unload func_rand.so", "module load func_rand.so", "module unload func_rand.so"] {
        stage.rig.cli(command).expect("Asterisk answers");
    }
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");
    stage.rig.wait_no_channels(SOON).expect("the channel's thread ends");
    thread::sleep(Duration::from_millis(200));
    assert!(stage.rig.is_running(), "{}", stage.rig.log());
    stage.load();
    let again = stage.call("100");
    stage.session().wait_caller_audio(Duration::from_millis(100), SOON).expect("audio flows again");
    drop(again);
}

#[test]
fn the_library_stays_mapped_after_unload() {
    let module = std::env::var("RES_AI_BRIDGE_SO").expect("make test names the module");
    let printed = Command::new("readelf").args(["-d", &module]).output().expect("readelf runs").stdout;
    assert!(String::from_utf8_lossy(&printed).contains("NODELETE"));
}

#[test]
fn a_broken_file_keeps_the_old_configuration_and_a_new_one_is_for_new_calls() {
    let stage = stage("");
    let running = stage.call("100");
    let first = stage.session();
    let url = stage.agent.url();
    let reload = |text: &str| {
        stage.rig.write_config("ai_bridge.conf", text).expect("the file is written");
        stage.rig.cli(&format!("module reload {MODULE}")).expect("Asterisk answers");
    };
    reload(&profile(&url, "vad_silence_ms = soon\nvoise = alloy"));
    for problem in [
        "ai_bridge.conf:10: [test] vad_silence_ms: 'soon' is not a number from 0 to 10000",
        "ai_bridge.conf:11: [test] unknown key 'voise'; did you mean 'voice'?",
        "the configuration was not changed",
    ] {
        stage.rig.wait_log(problem, SOON).expect("the log says what is wrong");
    }
    let second_call = stage.call("100");
    assert_eq!(voice(&stage.session()), None);

    reload(&profile(&url, "voice = cedar"));
    let third_call = stage.call("100");
    assert_eq!(voice(&stage.session()).as_deref(), Some("cedar"));
    first
        .wait_caller_audio(first.caller_audio_time() + Duration::from_millis(200), SOON)
        .expect("the first call goes on");
    drop((running, second_call, third_call));
}

/// The voice a session asked for.
fn voice(session: &practice_agent::Session) -> Option<String> {
    let update = session.wait_event("session.update", 0, SOON).expect("the module sets up the session");
    update.json["session"]["audio"]["output"]["voice"].as_str().map(str::to_owned)
}

#[test]
fn a_panic_ends_one_call_and_no_other() {
    let stage = stage(&extension("101", ""));
    let calls = [stage.call("100"), stage.call("101")];
    let sessions = [stage.session(), stage.session()];
    sessions.iter().for_each(|session| {
        session.wait_caller_audio(Duration::from_millis(100), SOON).expect("audio flows");
    });
    let said = stage.rig.cli("ai test panic").expect("Asterisk answers");
    assert!(said.contains("will panic"), "{said}");
    let line = stage.rig.wait_log("RESULT of 10", SOON).expect("one call ends");
    assert!(line.contains("STATUS=<ERROR>") && line.contains("WENT_ON=<yes>"), "{line}");
    assert!(line.contains("ordered by 'ai test panic'"), "the reason is told: {line}");
    thread::sleep(Duration::from_millis(300));
    assert!(stage.sessions().contains("1 AI session\n"), "{}", stage.sessions());
    let survivor = sessions.iter().find(|session| session.closed().is_none()).expect("one goes on");
    survivor.wait_caller_audio(survivor.caller_audio_time() + Duration::from_millis(300), SOON).expect("with audio");
    drop(calls);
}

/// What the whole suite relies on: in the test build an allocation on the frame path does not go unnoticed.
#[test]
fn an_allocation_on_the_frame_path_aborts_the_test_build() {
    let mut stage = stage("");
    let call = stage.call("100");
    stage.session().wait_caller_audio(Duration::from_millis(300), SOON).expect("frames pass without one");
    assert!(stage.rig.is_running());
    stage.rig.cli("ai test allocate").expect("Asterisk answers");
    let gone = (0..50).any(|_| {
        thread::sleep(Duration::from_millis(100));
        !stage.rig.is_running()
    });
    assert!(gone, "the allocator guard does not guard");
    drop(call);
}

#[test]
fn the_exchange_stops_cleanly_in_mid_call() {
    let stage = stage("");
    let calls: Vec<_> = (0..3).map(|_| stage.call("100")).collect();
    let sessions: Vec<_> = calls.iter().map(|_| stage.session()).collect();
    let Stage { rig, agent } = stage;
    let status = rig.stop().expect("Asterisk stops");
    assert!(status.success(), "{status}");
    sessions.iter().for_each(|session| {
        session.wait_closed(SOON).expect("the connections are closed");
    });
    drop((calls, agent));
}
