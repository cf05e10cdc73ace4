//! What the environment and a configuration of one's own say.

use std::fs;
use std::process::Command;

use practice_agent::Server;

use crate::common::SOON;
use crate::{Container, directory, docker, run, wait_voice};

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn an_account_in_a_file_is_used_and_nowhere_to_be_read() {
    const KEY: &str = "sk-image-test-0123456789";
    let agent = Server::builder().api_key(KEY).start().expect("the agent listens");
    let file = directory().join("openai-key");
    fs::write(&file, format!("{KEY}\n")).expect("target can be written");
    let (mount, url) = (format!("{}:/run/secrets/openai:ro", file.display()), format!("AI_URL={}", agent.url()));
    let container = Container::on_host(
        "127.77.0.3",
        &[
            "--volume",
            &mount,
            "--env=OPENAI_API_KEY_FILE=/run/secrets/openai",
            "--env=SIP_PASSWORD=it;is-secret",
            "--env",
            &url,
            "--env=AI_VAD_THRESHOLD=0.65",
            "--env=AI_LANGUAGE=de",
            "--env=AI_GREETING=Say hello; be brief.",
            "--env=AI_INSTRUCTIONS=You are polite; always.\nYou are brief.",
        ],
    );
    container.wait_up();
    let call = container.phone("it;is-secret").dial("7000").expect("SIPp runs");
    let answered = call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    wait_voice(&call, answered);

    let session = agent.next_session(SOON).expect("the container calls the agent of this test");
    assert_eq!(session.request().query_parameter("model"), Some("gpt-realtime-2.1"));
    let update = session.wait_event("session.update", 0, SOON).expect("settings").json.to_string();
    for setting in ["0.65", "alloy", r#""language":"de""#, "gpt-transcribe", r"polite; always.\nYou are brief."] {
        assert!(update.contains(setting), "no {setting} in {update}");
    }
    for (place, text) in [
        ("docker inspect", container.inspect("{{json .}}")),
        ("the log", container.log()),
        ("the configuration", container.says(&["grep", "-r", "sk-image", "/run/asterisk"])),
    ] {
        assert!(!text.contains(KEY), "the key is in {place}");
    }
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn accounts_of_elevenlabs_and_of_a_trunk_are_taken_from_the_environment() {
    let container = Container::on_host(
        "127.77.0.4",
        &[
            "--env=ELEVENLABS_AGENT_ID=agent_1",
            "--env=ELEVENLABS_API_KEY=key",
            "--env=TRUNK_USER=79991234567",
            "--env=TRUNK_PASSWORD=secret",
            "--env=TRUNK_DOMAIN=127.0.0.9",
            "--env=SONIOX_API_KEY=key",
            "--env=OPENROUTER_API_KEY=key",
            "--env=TZ=Asia/Tokyo",
        ],
    );
    container.wait_up();
    let profiles = container.cli("ai show profiles");
    let chosen = profiles.lines().find(|line| line.contains("elevenlabs")).unwrap_or_else(|| panic!("{profiles}"));
    assert!(chosen.contains("wss://api.elevenlabs.io"), "{profiles}");
    assert!(container.log().contains("talk to the profile [elevenlabs]"));
    let assistant = profiles.lines().find(|line| line.contains("desk")).unwrap_or_else(|| panic!("{profiles}"));
    assert!(assistant.contains("wss://stt-rt.soniox.com"), "{profiles}");
    assert_eq!(container.says(&["date", "+%z"]), "+0900");
    let registrations = container.cli("pjsip show registrations");
    assert!(registrations.contains("trunk-reg-0/sip:127.0.0.9"), "{registrations}");
    let trunk = container.cli("pjsip show endpoint trunk");
    assert!(trunk.lines().any(|line| line.contains(" context ") && line.ends_with(" ai-inbound")), "{trunk}");
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn what_a_configuration_of_ones_own_says_remains() {
    let own = directory().join("own");
    let _ = fs::remove_dir_all(&own);
    run(Command::new("cp").arg("-r").arg(rig::checkout().join("asterisk-conf")).arg(&own));
    for (file, shipped, changed) in [
        (
            "ai_bridge.conf",
            "default_profile = practice",
            "default_profile = receptionist\nhttp_token = a-token-of-my-own",
        ),
        ("ai_bridge.conf", "[practice]", "[receptionist]"),
        ("pjsip.conf", "password = 1001pass", "password = nobody-knows"),
    ] {
        let text = fs::read_to_string(own.join(file)).expect("it was copied");
        assert!(text.contains(shipped), "{file} has no line {shipped}");
        fs::write(own.join(file), text.replace(shipped, changed)).expect("target can be written");
    }
    let mount = format!("{}:/etc/asterisk:ro", own.display());
    let container = Container::on_host("127.77.0.8", &["--volume", &mount, "--env=OPENAI_API_KEY=sk-0"]);
    container.wait_up();
    assert!(container.log().contains("talk to the profile [receptionist]"));
    assert_eq!(container.api("a-token-of-my-own").get("/api/calls").status, 200);
    let call = container.phone("nobody-knows").dial("7000").expect("SIPp runs");
    call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn a_setting_that_is_wrong_ends_the_container_with_a_sentence() {
    for (setting, sentence) in [
        ("AI_VAD_THRESHOLD=loud", "vad_threshold"),
        ("AI_NO_SUCH_KEY=1", "no_such_key"),
        ("AI_PROFILE=nobody", "no section [nobody]"),
        ("OPENAI_API_KEY_FILE=/run/secrets/none", "is no file that user 5060 can read"),
        ("TRUNK_USER=me", "TRUNK_DOMAIN is not"),
    ] {
        let container = Container::on_host("127.77.0.5", &["--env", setting]);
        let code = docker(&["wait", &container.name]);
        assert_ne!(code, "0", "{setting}: {}", container.log());
        assert!(container.log().contains(sentence), "{setting}: {}", container.log());
    }
}
