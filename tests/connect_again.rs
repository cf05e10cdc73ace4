//! Connecting where a call has connected before: TLS resumes what was agreed on then, for the same trust only.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::certificate::{Certificate, DAY};
use common::{SOON, Stage, eventually, extension};
use openssl::ssl::SslVersion;
use practice_agent::{Builder, Script, Server};
use rig::PhoneCall;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// From one end of the slow line to the other.
const ONE_WAY: Duration = Duration::from_millis(50);
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Keys of a profile that trusts `ca.pem`.
const TRUSTING: &str = "tls_ca_file = ca.pem";

#[test]
fn a_later_call_resumes_the_tls_session_of_an_earlier_one() {
    for (version, name, saved) in [(SslVersion::TLS1_2, "1.2", ROUND_TRIP), (SslVersion::TLS1_3, "1.3", Duration::ZERO)]
    {
        let authority = Certificate::authority("A trusted authority");
        let server = agent(&authority.issue(&[], &[LOOPBACK], DAY)).tls_version(version).expect("OpenSSL knows it");
        let stage = Stage::with(
            server,
            |rig, url| {
                let url = slow(url);
                rig.config("ai_bridge.conf", profile("test", &url, TRUSTING)).config("ca.pem", authority.pem())
            },
            &extension("201", "test"),
        );
        // More calls than sessions are kept.
        let times: Vec<_> = (0..12).map(|_| connect_time(&stage, "201")).collect();
        let resumed: Vec<_> = stage.agent.attempts().iter().map(|attempt| attempt.resumed).collect();
        println!("TLS {name}, round trip 100 ms: connected after {times:?}, resumed {resumed:?}");
        assert!(!resumed[0] && resumed[1..].iter().all(|resumed| *resumed), "{resumed:?}");
        let mut later = times[1..].to_vec();
        later.sort();
        let median = later[later.len() / 2];
        assert!(median + saved < times[0] + ROUND_TRIP / 4, "TLS {name}: {times:?}");
        stage.assert_nothing_left();
    }
}

#[test]
fn who_verifies_nothing_opens_no_door_for_who_does() {
    let stage = Stage::with(
        agent(&Certificate::self_signed(&[], &[LOOPBACK])),
        |rig, url| {
            let profiles = [profile("201", url, "tls_verify = no"), profile("202", url, "")].concat();
            rig.config("ai_bridge.conf", profiles)
        },
        &extension("_20X", "${EXTEN}"),
    );
    hold(&stage, "201");
    hold(&stage, "201");
    assert!(stage.agent.attempts()[1].resumed, "there is a session to be had");
    assert_refused(&stage, "202");
}

#[test]
fn a_reload_forgets_what_was_trusted() {
    let authority = Certificate::authority("A trusted authority");
    let stage = Stage::with(
        agent(&authority.issue(&[], &[LOOPBACK], DAY)),
        |rig, url| rig.config("ai_bridge.conf", profile("test", url, TRUSTING)).config("ca.pem", authority.pem()),
        &extension("_20X", "test"),
    );
    hold(&stage, "201");
    hold(&stage, "201");
    assert!(stage.agent.attempts()[1].resumed, "there is a session to be had");
    let other = Certificate::authority("Another authority");
    stage.rig.write_config("ca.pem", &other.pem()).expect("a file can be written");
    stage.cli("module reload res_ai_bridge.so");
    assert_refused(&stage, "202");
}

#[test]
fn a_server_that_has_forgotten_its_sessions_is_talked_to_all_the_same() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let certificate = Certificate::self_signed(&[], &[LOOPBACK]);
        let again = |bind: &str| agent(&certificate).tls_version(version).expect("OpenSSL knows it").bind(bind);
        let mut stage = Stage::with(
            again("127.0.0.1:0"),
            |rig, url| rig.config("ai_bridge.conf", profile("201", url, "tls_verify = no")),
            &extension("201", "${EXTEN}"),
        );
        hold(&stage, "201");
        restart(&mut stage.agent, again);
        for _ in 0..12 {
            hold(&stage, "201");
        }
        let resumed: Vec<_> = stage.agent.attempts().iter().map(|attempt| attempt.resumed).collect();
        assert!(!resumed[0] && resumed[11], "{resumed:?}");
    }
}

fn profile(name: &str, url: &str, keys: &str) -> String {
    format!("[{name}]\nurl = {url}\nmodel = practice\n{keys}\n\n")
}

/// An agent with this certificate, that does nothing by itself.
fn agent(certificate: &Certificate) -> Builder {
    let agent = Server::builder().script(Script::new());
    agent.tls(certificate.pem().as_bytes(), &certificate.key_pem()).expect("certificate and key belong together")
}

/// Puts another server in the place of `server`.
fn restart(server: &mut Server, make: impl Fn(&str) -> Builder) {
    let address = server.address().to_string();
    *server = Server::builder().start().expect("an agent");
    eventually("the port is free again", SOON, || make(&address).start().map(|new| *server = new).is_ok());
}

/// A call of `extension` from beginning to end.
fn hold(stage: &Stage, extension: &str) {
    let (call, session) = stage.talk(extension);
    hang_up(&call, &session);
}

fn hang_up(call: &PhoneCall, session: &practice_agent::Session) {
    call.hang_up();
    session.wait_closed(SOON).expect("the WebSocket closes with the call");
    call.wait_ended(SOON).expect("the call ends");
    // The last that a server says in closing is read before the session may be used.
    thread::sleep(Duration::from_millis(100));
}

/// How long a call of `extension` took to connect to the AI, by its own account.
fn connect_time(stage: &Stage, extension: &str) -> Duration {
    let (call, session) = stage.talk(extension);
    let sessions = stage.cli("ai show sessions");
    let id = sessions.lines().nth(1).and_then(|line| line.split_whitespace().next()).expect("a session is up");
    let shown = stage.cli(&format!("ai show session {id}"));
    let line = shown.lines().find(|line| line.trim_start().starts_with("Connect")).expect("its figures are shown");
    let ms = line.split(|letter: char| !letter.is_ascii_digit()).find(|part| !part.is_empty());
    hang_up(&call, &session);
    thread::sleep(4 * ONE_WAY);
    Duration::from_millis(ms.and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("no time in {line:?}")))
}

fn assert_refused(stage: &Stage, extension: &str) {
    let before = stage.agent.sessions().len();
    let _call = stage.call(extension);
    let result = stage.result(extension);
    assert_eq!(result.get("STATUS"), "CONNFAIL", "{result:?}");
    assert!(result.get("REASON").contains("certificate verify failed"), "{result:?}");
    assert_eq!(stage.agent.sessions().len(), before);
}

/// A line to the server of `url` on which everything takes [`ONE_WAY`], and the URL of its near end.
fn slow(url: &str) -> String {
    let far: SocketAddr = url.split('/').nth(2).and_then(|far| far.parse().ok()).expect("an address with a port");
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let near = listener.local_addr().expect("bound");
    thread::spawn(move || {
        while let Ok((caller, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(far) else { return };
            let copies = (caller.try_clone().expect("a descriptor"), server.try_clone().expect("a descriptor"));
            delay(caller, server);
            delay(copies.1, copies.0);
        }
    });
    url.replace(&far.to_string(), &near.to_string())
}

/// Passes on what comes `from`, each byte [`ONE_WAY`] later.
fn delay(mut from: TcpStream, mut to: TcpStream) {
    let _ = to.set_nodelay(true);
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut chunk = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            let _ = sender.send((Instant::now() + ONE_WAY, chunk[..count].to_vec()));
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let _ = to.write_all(&bytes);
        }
        thread::sleep(ONE_WAY);
        let _ = to.shutdown(Shutdown::Write);
    });
}
