//! Phones that encrypt: SIP over TLS and SRTP, switched on with the one line of `pjsip.conf`.

mod common;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use common::signal::{Chord, likest_db};
use common::{SOON, Stage};
use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use practice_agent::{Script, Server, Speech};
use rig::{Baresip, Ended, Phone, Rig};

/// G.711 alone leaves 37 dB of a signal.
const AUDIBLE_DB: f64 = 25.0;
/// Longer than a call of these tests: a softphone whose file is over hangs up.
const TALK_S: usize = 30;

/// An exchange whose phones have to encrypt.
struct Encrypted {
    stage: Stage,
    /// Where it takes TLS.
    server: SocketAddr,
    /// What phones are given to believe.
    certificate: String,
}

/// Certificate and key, by the command of docs/trunks.md.
fn certificate_and_key() -> [String; 2] {
    let page = fs::read_to_string(rig::checkout().join("docs/trunks.md")).expect("it is there");
    let (_, rest) = page.split_once("\nopenssl req ").expect("the command is there");
    let (command, _) = rest.split_once("\n```").expect("it ends");
    let folder =
        rig::checkout().join(format!("target/tmp/encrypted-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir_all(&folder).expect("target can be written");
    let command = format!("umask 077; cd '{}'; openssl req {command}", folder.display());
    let command = command.replace("/etc/asterisk/", "").replace("DNS:pbx.example.com", "IP:127.0.0.1");
    let made = Command::new("sh").args(["-ec", &command]).output().expect("a shell");
    assert!(made.status.success(), "{command}: {}", String::from_utf8_lossy(&made.stderr));
    let made = ["tls.crt", "tls.key"].map(|name| fs::read_to_string(folder.join(name)).expect("it is made"));
    let _ = fs::remove_dir_all(&folder);
    made
}

impl Encrypted {
    fn new() -> Self {
        let [certificate, key] = certificate_and_key();
        let agent = Server::builder().script(Script::new()).start().expect("the practice agent starts");
        let rig = Rig::builder()
            .edit("ai_bridge.conf", "127.0.0.1:9797", &agent.address().to_string())
            .edit("pjsip.conf", ";#include pjsip_tls.conf", "#include pjsip_tls.conf")
            .config("tls.crt", certificate.as_str())
            .config("tls.key", key)
            .start()
            .expect("Asterisk starts");
        let server = (Ipv4Addr::LOCALHOST, rig.ports().sips()).into();
        Self { stage: Stage { rig, agent }, server, certificate }
    }

    fn phone(&self, password: &str, says: &[i16]) -> Baresip {
        let directory = self.stage.rig.directory().join("run/baresip");
        Baresip::encrypted(directory, "1001", password, self.server, says).expect("it runs")
    }
}

#[test]
fn a_phone_registers_over_tls_and_talks_to_the_ai_over_srtp() {
    let encrypted = Encrypted::new();
    let stage = &encrypted.stage;
    let [said, answered] = [1, 2].map(|seed| Chord::narrow(seed, Duration::from_millis(1500)));
    let silence = vec![0; TALK_S * 8000];
    let mut phone = encrypted.phone("1001pass", &[&silence[..8000], &said.at_rate(8000), &silence].concat());
    phone.event("REGISTER_OK", SOON).expect("it registers");
    let contact = stage.cli("pjsip show aor 1001");
    assert!(contact.to_lowercase().contains("transport=tls"), "{contact}");

    phone.command("dial", &format!("sip:7000@{}", encrypted.server)).expect("it dials");
    phone.event("CALL_ESTABLISHED", SOON).expect("it is answered");
    let session = stage.session();
    session.wait_caller_audio(Duration::from_secs(4), SOON).expect("the caller is heard");
    let answer = answered.at_rate(8000);
    let wire = rig::Codec::Alaw.encode(&answer);
    session.perform(Script::new().say(Speech::wire("an answer", wire)));
    session.wait_performed(SOON).expect("the agent has said it");
    std::thread::sleep(Duration::from_secs(3));
    phone.command("hangup", "").expect("it hangs up");
    phone.event("CALL_CLOSED", SOON).expect("it is over");
    stage.assert_nothing_left();

    assert!(phone.console().contains("SRTP is Enabled"), "{}", phone.console());
    for (who, heard, sound) in
        [("the AI", session.caller_pcm(), &said), ("the phone", phone.heard().expect("a recording"), &answered)]
    {
        let likeness = likest_db(&heard, &|rate| sound.at_rate(rate), 8000);
        println!("{who} hears: {likeness:.1} dB");
        assert!(likeness > AUDIBLE_DB, "{who}: {likeness} dB");
    }
}

#[test]
fn a_phone_that_does_not_encrypt_is_refused() {
    let encrypted = Encrypted::new();
    let call = Phone::new(&encrypted.stage.rig).dial("7000").expect("the phone dials");
    assert_eq!(call.wait_ended(SOON).expect("it is refused"), Ended::Refused(488));
    assert!(encrypted.stage.agent.attempts().is_empty(), "the AI was connected to");
    encrypted.stage.assert_nothing_left();
}

#[test]
fn tls_does_not_do_without_a_password() {
    let encrypted = Encrypted::new();
    let mut phone = encrypted.phone("wrong", &[0; 8000]);
    phone.event("REGISTER_FAIL", SOON).expect("it is refused");
    assert!(!encrypted.stage.cli("pjsip show aor 1001").contains("transport=tls"));
}

/// Whether a client gets in that speaks only this version of TLS and believes `certificate` alone.
fn speaks(server: SocketAddr, certificate: &str, version: SslVersion) -> bool {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL works");
    let mut believed = X509StoreBuilder::new().expect("OpenSSL works");
    believed.add_cert(X509::from_pem(certificate.as_bytes()).expect("a certificate")).expect("it can be added");
    connector.set_cert_store(believed.build());
    // The client's own policy would refuse the old ones.
    connector.set_security_level(0);
    connector.set_min_proto_version(Some(version)).expect("a version");
    connector.set_max_proto_version(Some(version)).expect("a version");
    let stream = TcpStream::connect(server).expect("it listens");
    connector.build().connect("127.0.0.1", stream).is_ok_and(|mut stream| stream.write_all(b"\r\n\r\n").is_ok())
}

#[test]
fn only_versions_of_tls_that_are_safe_are_spoken_with_the_certificate_of_the_documentation() {
    let encrypted = Encrypted::new();
    let [other, _] = certificate_and_key();
    let versions = [SslVersion::TLS1, SslVersion::TLS1_1, SslVersion::TLS1_2, SslVersion::TLS1_3];
    let spoken = |certificate: &str| versions.map(|version| speaks(encrypted.server, certificate, version));
    assert_eq!(spoken(&encrypted.certificate), [false, false, true, true]);
    assert_eq!(spoken(&other), [false; 4], "any certificate is believed");
}
