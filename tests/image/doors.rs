//! Who gets in, and where.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use rig::http::Api;
use rig::{Baresip, Ended};

use crate::common::certificate::Certificate;
use crate::common::{SOON, eventually};
use crate::{Container, directory, docker, wait_voice};

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn a_phone_that_others_could_reach_has_a_password_that_nobody_knows() {
    let container = Container::on_host("127.77.0.2", &[]);
    container.wait_up();
    let call = container.phone("1001pass").dial("7000").expect("SIPp runs");
    assert!(call.wait_answered(SOON).is_err(), "the password of the documentation opens the door");
    let known = container.says(&["grep", "-E", "^password = [0-9]+pass$", "/run/asterisk/etc/pjsip.conf"]);
    assert_eq!(known, "", "a phone has a password of the documentation");
    let password = container.says(&["cat", "/var/lib/asterisk/sip-password"]);
    let call = container.phone(&password).dial("7000").expect("SIPp runs");
    call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(!container.log().contains(&password), "the password is in the log");

    let token = container.says(&["cat", "/var/lib/asterisk/api-token"]);
    assert_eq!(container.api("").get("/api/calls").status, 401);
    assert_eq!(container.api(&token).get("/api/calls").status, 200);
    assert!(!container.log().contains(&token), "the token is in the log");
    drop(call);

    docker(&["restart", &container.name]);
    container.wait_up();
    assert_eq!(container.says(&["cat", "/var/lib/asterisk/sip-password"]), password, "a restart makes a new password");
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn on_the_hosts_network_it_listens_where_it_is_told_to() {
    let container = Container::on_host("127.77.0.7", &["--env=SIP_ADDRESS=127.77.0.7", "--env=AI_PROFILE=practice"]);
    container.wait_up();
    let call = container.phone("1001pass").dial("7000").expect("SIPp runs");
    let answered = call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}"));
    wait_voice(&call, answered);
    assert!(UdpSocket::bind("127.0.0.1:5060").is_ok(), "SIP is open on another address, too");
    assert!(TcpListener::bind("127.0.0.1:9000").is_ok(), "the control API is open on another address, too");
    assert_eq!(container.says(&["healthcheck.sh"]), "");
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn with_a_certificate_phones_have_to_encrypt() {
    let certificate = Certificate::self_signed(&["pbx.example.com"], &[]);
    let mounts =
        [("tls.crt", certificate.pem().into_bytes()), ("tls.key", certificate.key_pem())].map(|(name, text)| {
            let file = directory().join(name);
            fs::write(&file, text).expect("target can be written");
            // As openssl leaves it, for the user of the container.
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is there");
            chown(&file, Some(5060), None).expect("the tests run as root");
            format!("--volume={}:/etc/asterisk/{name}:ro", file.display())
        });
    let [certificate, key] = mounts.each_ref().map(String::as_str);
    let container = Container::on_host(
        "127.77.0.9",
        &["--env=SIP_TLS=yes", "--env=SIP_PASSWORD=encrypted", "--env=AI_PROFILE=practice", certificate, key],
    );
    container.wait_up();
    let server: SocketAddr = "127.77.0.9:5061".parse().expect("an address");
    let mut phone = Baresip::encrypted(directory().join("baresip"), "1001", "encrypted", server, &[0; 20 * 8000])
        .expect("baresip runs");
    phone.event("REGISTER_OK", SOON).unwrap_or_else(|problem| panic!("{problem}: {}", container.log()));
    phone.command("dial", &format!("sip:7000@{server}")).expect("it dials");
    phone.event("CALL_ESTABLISHED", SOON).expect("it is answered");
    std::thread::sleep(Duration::from_secs(3));
    phone.command("hangup", "").expect("it hangs up");
    phone.event("CALL_CLOSED", SOON).expect("it is over");
    assert!(phone.console().contains("SRTP is Enabled"), "{}", phone.console());
    let heard = phone.heard().expect("a recording");
    let loudest = heard.iter().map(|sample| sample.unsigned_abs()).max();
    assert!(loudest > Some(1000), "the agent is not heard: {loudest:?}");

    let plain = container.phone("encrypted").dial("7000").expect("SIPp runs");
    assert_eq!(plain.wait_ended(SOON).expect("it is refused"), Ended::Refused(488));
}

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn asterisks_rest_interface_is_there_for_whoever_asked_for_it() {
    const PASSWORD: &str = "it;is-secret";
    let container = Container::on_host(
        "127.77.0.10",
        &["--env=AI_PROFILE=practice", "--env=ARI_BIND=127.77.0.10:8088", &format!("--env=ARI_PASSWORD={PASSWORD}")],
    );
    container.wait_up();
    let ari = Api { address: "127.77.0.10:8088".parse().expect("an address"), token: String::new() };
    assert_eq!(ari.get("/ari/asterisk/info").status, 401);
    assert_eq!(ari.get("/ari/asterisk/info?api_key=ari:wrong").status, 401);
    let ask = || ari.get("/ari/asterisk/info?api_key=ari:it%3Bis-secret");
    eventually("Asterisk has booted", SOON, || ask().status != 503);
    let answer = ask();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.json()["system"]["version"].as_str().is_some_and(|version| version.starts_with("22.")),
        "{answer:?}"
    );
    // What programs use ARI for: calls in their hands, and what happens to them.
    let modules = container.cli("module show like stasis");
    assert!(modules.contains("app_stasis.so"), "{modules}");
    assert!(!container.log().contains(PASSWORD), "the password is in the log");
    assert!(!container.log().contains("ERROR"), "{}", container.log());
}
