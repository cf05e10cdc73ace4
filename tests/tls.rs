//! TLS: a server is trusted for its certificate, its name and its time, or not at all.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::certificate::{Certificate, DAY};
use common::{SOON, Stage, eventually, extension, signal};
use practice_agent::{Builder, Pace, Script, Server, Speech};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn a_trusted_server_is_talked_to_by_name_and_by_address() {
    let authority = Certificate::authority("A trusted authority");
    let server = authority.issue(&["localhost"], &[LOOPBACK], DAY);
    let stage = Stage::with(
        agent(&server),
        |rig, url| {
            let named = url.replace("127.0.0.1", "localhost");
            // Both sides speak at once.
            let keys = format!("{TRUSTING}\nbarge_in = server");
            let profiles = [profile("name", &named, &keys), profile("address", url, &keys)].concat();
            rig.config("ai_bridge.conf", profiles).config("ca.pem", authority.pem())
        },
        &[extension("201", "name"), extension("202", "address")].concat(),
    );
    for extension in ["201", "202"] {
        let (call, session) = stage.talk(extension);
        let (question, answer) = (signal::codes(1, 8 * 1000), signal::codes(2, 8 * 1000));
        call.play_bytes(&question);
        session.perform(Script::new().say(Speech::wire("Hello", answer.clone()).at(Pace::Burst)));
        eventually("the agent is heard", SOON, || contains(&call.heard().bytes(), &answer));
        eventually("the caller is heard", SOON, || contains(&session.caller_audio(), &question));
        call.hang_up();
        let closed = session.wait_closed(SOON).expect("the WebSocket closes with the call");
        assert_eq!(closed.code, Some(1000));
    }
    stage.assert_nothing_left();
}

#[test]
fn a_server_that_cannot_be_trusted_is_not_talked_to() {
    let authority = Certificate::authority("A trusted authority");
    let stranger = Certificate::authority("An unknown authority").issue(&["localhost"], &[LOOPBACK], DAY);
    let servers = [
        ("201", Certificate::self_signed(&["localhost"], &[LOOPBACK]), "self-signed certificate"),
        ("202", stranger, "unable to get local issuer certificate"),
        ("203", authority.issue(&["example.com"], &[], DAY), "IP address mismatch"),
        ("204", authority.issue(&["localhost"], &[LOOPBACK], -DAY), "certificate has expired"),
    ];
    let agents = servers.each_ref().map(|(_, certificate, _)| agent(certificate).start().expect("an agent"));
    let stage = Stage::with(
        plain(),
        |rig, _| {
            let profiles = servers.iter().zip(&agents).map(|((name, ..), agent)| profile(name, &agent.url(), TRUSTING));
            rig.config("ai_bridge.conf", profiles.collect::<String>()).config("ca.pem", authority.pem())
        },
        &extension("_20X", "${EXTEN}"),
    );
    for (name, _, words) in &servers {
        let call = stage.call(name);
        let result = stage.result(name);
        assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("CONNFAIL", "yes"), "{result:?}");
        assert!(result.get("REASON").contains("certificate") && result.get("REASON").contains(words), "{result:?}");
        call.wait_ended(SOON).expect("the dialplan hangs up");
    }
    assert!(agents.iter().all(|agent| agent.sessions().is_empty() && agent.attempts().len() == 1));
    stage.assert_nothing_left();
}

#[test]
fn a_wrong_name_is_refused_though_the_authority_is_trusted() {
    let authority = Certificate::authority("A trusted authority");
    let stage = Stage::with(
        agent(&authority.issue(&["example.com"], &[LOOPBACK], DAY)),
        |rig, url| {
            let named = url.replace("127.0.0.1", "localhost");
            rig.config("ai_bridge.conf", profile("name", &named, TRUSTING)).config("ca.pem", authority.pem())
        },
        &extension("201", "name"),
    );
    let _call = stage.call("201");
    let result = stage.result("201");
    assert_eq!(result.get("STATUS"), "CONNFAIL", "{result:?}");
    assert!(result.get("REASON").to_lowercase().contains("hostname mismatch"), "{result:?}");
}

#[test]
fn without_verification_any_server_will_do() {
    let agent = agent(&Certificate::self_signed(&["example.com"], &[]));
    let unverified =
        |rig: rig::Builder, url: &str| rig.config("ai_bridge.conf", profile("test", url, "tls_verify = no"));
    let stage = Stage::with(agent, unverified, &extension("201", "test"));
    drop(stage.talk("201"));
}

#[test]
fn a_server_that_speaks_tls_when_it_should_not_or_the_other_way_round_is_a_failure_to_connect() {
    let encrypted = agent(&Certificate::self_signed(&[], &[LOOPBACK])).start().expect("an agent");
    let stage = Stage::with(
        plain(),
        |rig, url| {
            let swapped = [(url, "ws", "wss"), (&encrypted.url(), "wss", "ws")];
            let urls = swapped.map(|(url, from, to)| url.replacen(from, to, 1));
            rig.config("ai_bridge.conf", [profile("201", &urls[0], ""), profile("202", &urls[1], "")].concat())
        },
        &extension("_20X", "${EXTEN}"),
    );
    for name in ["201", "202"] {
        let called = Instant::now();
        let _call = stage.call(name);
        let result = stage.result(name);
        assert_eq!(result.get("STATUS"), "CONNFAIL", "{result:?}");
        assert!(called.elapsed() < Duration::from_secs(4), "it took {:?} to see that", called.elapsed());
    }
}

#[test]
fn an_authority_that_cannot_be_read_is_an_error_with_file_and_line() {
    let stage = Stage::new(plain(), "", "");
    let lines = "[lost]\nurl = wss://localhost\n\ntls_ca_file = lost.pem\n[empty]\nurl = wss://localhost\ntls_ca_file = empty.pem\n";
    stage.rig.write_config("empty.pem", "nothing of use\n").expect("a file can be written");
    stage.rig.write_config("ai_bridge.conf", lines).expect("a file can be written");
    stage.cli("module reload res_ai_bridge.so");
    let place = stage.rig.path_inside("etc");
    for problem in [
        format!("ai_bridge.conf:4: [lost] tls_ca_file: {place}/lost.pem: No such file"),
        format!("ai_bridge.conf:7: [empty] tls_ca_file: {place}/empty.pem holds no certificate in PEM form"),
    ] {
        stage.rig.wait_log(&problem, SOON).expect("the mistake is named");
    }
    drop(stage.talk("100"));
}

/// Keys of a profile that trusts `ca.pem`.
const TRUSTING: &str = "tls_ca_file = ca.pem";

fn profile(name: &str, url: &str, keys: &str) -> String {
    format!("[{name}]\nurl = {url}\nmodel = practice\n{keys}\n\n")
}

/// An agent with this certificate, that does nothing by itself.
fn agent(certificate: &Certificate) -> Builder {
    plain().tls(certificate.pem().as_bytes(), &certificate.key_pem()).expect("certificate and key belong together")
}

fn plain() -> Builder {
    Server::builder().script(Script::new())
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}
