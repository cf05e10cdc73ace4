//! The server ends the session, or the connection to it.

use std::time::{Duration, Instant};

use practice_agent::{Api, Script, Step, faults};

use super::{LOSS_ENDS, assert_ended, assert_no_more_descriptors, passive, speech};
use crate::common::{SOON, Stage, extension};

#[test]
fn the_close_code_says_how_it_ended() {
    let stage = Stage::new(passive(), LOSS_ENDS, &extension("_20X", ""));
    let codes = [
        ("201", 1000, "done", "COMPLETE"),
        ("202", 1001, "going away", "LOST"),
        ("203", 1011, "out of order", "LOST"),
        ("204", 1008, "against the rules", "ERROR"),
        ("205", 3000, "who are you?", "AUTHFAIL"),
        // Words from outside stay words.
        ("206", 1011, "${EXTEN} ${SHELL(id)}\r\nWARNING: forged", "LOST"),
    ];
    let mut descriptors = None;
    for (extension, code, words, status) in codes {
        let (call, session) = stage.talk(extension);
        session.perform(Script::new().close(code, words));
        let words = words.replace(char::is_control, " ");
        assert_ended(&stage, extension, &call, status, &format!("with code {code}: {words}"));
        session.wait_closed(SOON).expect("the close is answered");
        assert_no_more_descriptors(&stage, &mut descriptors);
    }
}

#[test]
fn a_connection_reset_in_the_middle_of_an_answer_is_lost() {
    let stage = Stage::new(passive(), LOSS_ENDS, "");
    let (call, session) = stage.talk("100");
    session.perform(Script::new().start_saying(speech(10_000)).sleep(Duration::from_millis(300)).then(Step::Reset));
    assert_ended(&stage, "100", &call, "LOST", "the connection to the AI server was lost");
}

#[test]
fn a_server_that_goes_away_without_a_word_is_lost() {
    let Stage { rig, agent } = Stage::new(passive(), LOSS_ENDS, "");
    let stage = Stage { rig, agent: passive().start().expect("a second agent") };
    let call = stage.call("100");
    let session = agent.next_session(SOON).expect("the module connects");
    session.wait_caller_audio(Duration::from_millis(100), SOON).expect("the caller is heard");
    drop(agent);
    assert_ended(&stage, "100", &call, "LOST", "connection");
}

#[test]
fn an_expired_session_is_lost_and_a_key_refused_late_is_an_authentication_failure() {
    let stage = Stage::new(passive(), LOSS_ENDS, &extension("_20X", ""));
    let (call, session) = stage.talk("201");
    session.perform(faults::session_expired());
    assert_ended(&stage, "201", &call, "LOST", "the session reached the server's time limit");
    session.wait_closed(SOON).expect("the WebSocket closes with the call");

    let (call, session) = stage.talk("202");
    session.perform(Step::Error {
        code: "invalid_api_key".to_owned(),
        message: "Incorrect API key provided: sk-abcd.".to_owned(),
    });
    let result = assert_ended(&stage, "202", &call, "AUTHFAIL", "the API key is not accepted");
    assert!(!result.get("REASON").contains("sk-"), "{result:?}");
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
}

#[test]
fn an_error_that_is_not_fatal_is_only_logged() {
    let stage = Stage::new(passive(), "", "");
    let (call, session) = stage.talk("100");
    session.perform(Step::Error { code: "server_overloaded".to_owned(), message: "Try again.".to_owned() });
    stage.rig.wait_log("the AI server reports: Try again. (server_overloaded)", SOON).expect("it is logged");
    let before = session.caller_audio_time();
    session.wait_caller_audio(before + Duration::from_millis(500), SOON).expect("the conversation goes on");
    session.perform(Script::new().close(1000, ""));
    assert_ended(&stage, "100", &call, "COMPLETE", "code 1000");
}

#[test]
fn settings_that_the_server_refuses_are_a_failure_to_connect() {
    let no_model = "[general]\ndefault_profile = test\n[test]\nurl = ";
    let stage = Stage::with(
        passive(),
        |rig, url| rig.config("ai_bridge.conf", format!("{no_model}{url}\n")),
        &extension("201", ",m(practice)"),
    );
    let call = stage.call("100");
    assert_ended(&stage, "100", &call, "CONNFAIL", "You must provide a model parameter.");
    stage.session().wait_closed(SOON).expect("the WebSocket closes with the call");

    let (call, _session) = stage.talk("201");
    call.hang_up();
    call.wait_ended(SOON).expect("with a model, the same profile works");
}

#[test]
fn a_server_of_the_older_interface_needs_the_older_settings() {
    let beta = passive().api(Api::Beta);
    let stage = Stage::with(
        beta,
        |rig, url| {
            let both = format!("url = {url}\nmodel = practice\n");
            rig.config("ai_bridge.conf", format!("[beta]\n{both}api_version = beta\n[ga]\n{both}api_version = ga\n"))
        },
        &[extension("201", "beta"), extension("202", "ga")].concat(),
    );
    let (call, session) = stage.talk("201");
    assert_eq!(session.request().header("openai-beta"), Some("realtime=v1"));
    session.perform(Script::new().say(speech(500)));
    let start = Instant::now();
    crate::common::eventually("the agent is heard", SOON, || call.heard().first_sound(start, 0.01).is_some());
    call.hang_up();
    call.wait_ended(SOON).expect("the call ends");

    let call = stage.call("202");
    assert_ended(&stage, "202", &call, "CONNFAIL", "the server refused the session settings");
}

#[test]
fn a_server_without_the_older_interface_says_which_setting_to_change() {
    let stage = Stage::new(passive().api(Api::Ga), "api_version = beta", "");
    let call = stage.call("100");
    assert_ended(&stage, "100", &call, "CONNFAIL", "set api_version = ga");
}
