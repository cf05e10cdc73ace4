//! `ai_bridge.conf`: everything Asterisk's own files can do, and a clear word on every mistake.

mod common;

use std::fs;

use common::{SOON, Stage, extension, profile};
use practice_agent::{Builder, Script, Server};

fn passive() -> Builder {
    Server::builder().script(Script::new())
}

/// An Asterisk with these configuration files.
fn stage(files: &[(&str, &str)]) -> Stage {
    let prepare = |mut rig: rig::Builder, url: &str| {
        for (file, text) in files {
            rig = rig.config(file, text.replace("AGENT", url));
        }
        rig.env("PRACTICE_MODEL", "from-the-environment")
    };
    Stage::with(passive(), prepare, &extension("_20X", "${EXTEN}"))
}

fn is_loaded(stage: &Stage) -> bool {
    let line = stage.cli("module show like res_ai_bridge");
    line.contains(" Running ") && !line.contains("Not Running")
}

#[test]
fn with_mistakes_the_module_does_not_load_and_names_each_of_them() {
    let text = "[general]\nworkers = many\ndefault_profile = sales\nmax_session = 3\n\n[test]\ntype = human\n\
                url = https://localhost\nvad_treshold = 0.5\nvad_silence_ms = 1e9\naudio = mp3\nfrobnicate = 1\n\
                connect_timeout_ms = 0\n#include ai_more.conf\n";
    let more = "; a comment\n[other]\ninterrupt_response = perhaps\n";
    let stage = stage(&[("ai_bridge.conf", text), ("ai_more.conf", more)]);
    assert!(!is_loaded(&stage));
    for problem in [
        "ai_bridge.conf:2: [general] workers: 'many' is not a number from 0 to 64",
        "ai_bridge.conf:3: [general] default_profile: there is no section [sales]; there are ",
        "ai_bridge.conf:4: [general] unknown key 'max_session'; did you mean 'max_sessions'?",
        "ai_bridge.conf:7: [test] type: 'human' is none of agent",
        "ai_bridge.conf:8: [test] url: expected an address like wss://host/path or ws://host:port",
        "ai_bridge.conf:9: [test] unknown key 'vad_treshold'; did you mean 'vad_threshold'?",
        "ai_bridge.conf:10: [test] vad_silence_ms: '1e9' is not a number from 0 to 10000",
        "ai_bridge.conf:11: [test] audio: 'mp3' is none of auto, ulaw, alaw, pcm8, pcm16, pcm24",
        "ai_bridge.conf:12: [test] unknown key 'frobnicate'; known are type, dialect, url",
        "ai_bridge.conf:13: [test] connect_timeout_ms: '0' is not a number from 100 to 60000",
        "ai_more.conf:3: [other] interrupt_response: 'perhaps' is neither yes nor no",
        "[other] url: missing; give the provider's ws:// or wss:// address",
    ] {
        let line = stage.rig.wait_log(problem, SOON).expect("the mistake is named");
        assert!(line.contains("ERROR"), "{line}");
    }
}

#[test]
fn once_mended_the_module_loads() {
    let broken = stage(&[("ai_bridge.conf", "[test]\nurl = localhost\n")]);
    assert!(!is_loaded(&broken));
    broken.rig.write_config("ai_bridge.conf", &profile(&broken.agent.url(), "")).expect("a file can be written");
    broken.cli("module load res_ai_bridge.so");
    assert!(is_loaded(&broken));
    drop(broken.talk("100"));
}

#[test]
fn without_a_file_the_module_says_where_it_belongs() {
    let stage = stage(&[("ai_bridge.conf", "")]);
    stage.cli("module unload res_ai_bridge.so");
    std::fs::remove_file(stage.rig.directory().join("etc/ai_bridge.conf")).expect("the file is there");
    stage.cli("module load res_ai_bridge.so");
    assert!(!is_loaded(&stage));
    let place = stage.rig.path_inside("etc/ai_bridge.conf");
    stage.rig.wait_log(&format!("{place} cannot be read"), SOON).expect("the file is named");
}

#[test]
fn an_empty_file_loads_and_calls_hear_that_there_is_no_profile() {
    let stage = stage(&[("ai_bridge.conf", "")]);
    assert!(is_loaded(&stage));
    let call = stage.dial("100");
    let result = stage.result("100");
    assert_eq!(result.get("STATUS"), "NOPROFILE", "{result:?}");
    assert_eq!(result.get("REASON"), "no profile was named and there is no default_profile");
    call.wait_ended(SOON).expect("the dialplan hangs up");
}

#[test]
fn values_may_use_the_environment_and_other_functions() {
    let text = "[general]\ndefault_profile = ${ENV(NOT_SET)}\n[201]\nurl = AGENT\n\
                model = ${ENV(PRACTICE_MODEL)}-${MATH(2+3,int)}\nvoice = ${ENV(NOT_SET)}\n";
    let stage = stage(&[("ai_bridge.conf", text)]);
    let (_call, session) = stage.talk("201");
    assert_eq!(session.request().query_parameter("model"), Some("from-the-environment-5"));
    let update = session.wait_event("session.update", 0, SOON).expect("the session is set up");
    assert_eq!(update.json["session"]["audio"]["output"].get("voice"), None, "an empty value means the default");
}

#[test]
fn templates_and_included_files_work_as_in_any_file_of_asterisk() {
    let text = "[general]\ndefault_profile = 202\n#include ai_agents.conf\n";
    let agents = "[base](!)\nurl = AGENT\nmodel = common\nvoice = alloy\n[201](base)\n[202](base)\nmodel = own\n\
                  [201](+)\nvoice = marin\n";
    let stage = stage(&[("ai_bridge.conf", text), ("ai_agents.conf", agents)]);
    for (extension, model, voice) in [("201", "common", "marin"), ("202", "own", "alloy"), ("100", "own", "alloy")] {
        let (_call, session) = stage.talk(extension);
        assert_eq!(session.request().query_parameter("model"), Some(model));
        let update = session.wait_event("session.update", 0, SOON).expect("the session is set up");
        assert_eq!(update.json["session"]["audio"]["output"]["voice"], voice);
    }
    let table = stage.cli("ai show profiles");
    assert!(!table.contains("base") && table.contains("2 profiles"), "a template is no profile: {table}");
}

#[test]
fn a_mistake_in_a_template_is_reported_where_it_stands() {
    let text = "#include ai_agents.conf\n[201](base)\nurl = ws://localhost\n";
    let stage = stage(&[("ai_bridge.conf", text), ("ai_agents.conf", "\n[base](!)\ncreate_response = maybe\n")]);
    assert!(!is_loaded(&stage));
    let problem = "ai_agents.conf:3: [201] create_response: 'maybe' is neither yes nor no";
    stage.rig.wait_log(problem, SOON).expect("the mistake is named");
}

#[test]
fn every_file_that_is_shipped_says_first_what_it_is_for() {
    let mut files = 0;
    for file in fs::read_dir(rig::checkout().join("asterisk-conf")).expect("it is there").flatten() {
        let text = fs::read_to_string(file.path()).expect("a text");
        let name = file.file_name().to_string_lossy().into_owned();
        // What the agent is told is for the agent's eyes alone.
        let first = match name.rsplit('.').next() {
            Some("md") => continue,
            Some("sh") => text.lines().nth(1).unwrap_or_default().strip_prefix("# "),
            _ => text.lines().next().unwrap_or_default().strip_prefix("; "),
        };
        assert!(first.is_some_and(|first| first.split(' ').count() > 5), "{name}: {first:?}");
        files += 1;
    }
    assert!(files > 20, "{files} files");
}
