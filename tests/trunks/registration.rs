//! Registering with the provider, or not.

use std::net::UdpSocket;
use std::time::Duration;

use crate::common::{SOON, eventually};
use crate::{
    Account, PASSWORD, Provider, USER, complaints, connected, exchange, exchange_with, own_address, run_script,
};

#[test]
fn with_an_account_it_registers_by_password() {
    let (_provider, stage) = connected();
    eventually("the exchange knows", SOON, || stage.cli("pjsip show registrations").contains(" Registered"));
    assert_eq!(complaints(&stage.rig), Vec::<String>::new());
    assert!(!stage.rig.log().contains(PASSWORD), "the password is in the log");
}

#[test]
fn without_an_account_there_is_no_trunk_and_nobody_complains() {
    let stage = exchange(&Account::new(&[]));
    for command in ["pjsip show endpoint trunk", "pjsip show auth trunk-oauth", "pjsip show aor trunk"] {
        let answer = stage.cli(command);
        assert!(answer.contains("Unable to find object trunk"), "{command}: {answer}");
    }
    let registrations = stage.cli("pjsip show registrations");
    assert!(registrations.contains("No objects found"), "{registrations}");
    let answer = stage.cli("ai dial 79123456789");
    assert!(answer.contains("trunk"), "{answer}");
    assert_eq!(complaints(&stage.rig), Vec::<String>::new());
}

#[test]
fn it_may_use_the_codecs_of_the_environment_and_no_others() {
    let account = [("TRUNK_USER", USER), ("TRUNK_PASSWORD", PASSWORD), ("TRUNK_DOMAIN", "127.0.0.9")];
    let stage = exchange(&Account::new(&[&account[..], &[("TRUNK_CODECS", "g722,alaw")]].concat()));
    let shown = stage.cli("pjsip show endpoint trunk");
    let codecs = shown.lines().find_map(|line| line.trim().strip_prefix("allow ")).unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(codecs.trim_matches([' ', ':']), "(g722|alaw)");
}

#[test]
fn an_account_is_taken_over_and_taken_out_while_it_runs() {
    let provider = Provider::start();
    let stage = exchange(&Account::new(&[]));
    let folder = stage.rig.directory().join("etc");
    let domain = provider.domain();
    let account = [("TRUNK_USER", USER), ("TRUNK_PASSWORD", PASSWORD), ("TRUNK_DOMAIN", domain.as_str())];
    assert!(run_script(&folder, &account).status.success());
    stage.cli("module reload");
    provider.wait_registered();
    eventually("the AI has the trunk", SOON, || stage.cli("ai dial 123").contains("takes only"));
    assert!(run_script(&folder, &[]).status.success());
    stage.cli("module reload");
    eventually("the trunk is gone", SOON, || stage.cli("pjsip show registrations").contains("No objects found"));
}

#[test]
fn a_wrong_password_is_told_by_the_command_of_the_documentation() {
    let provider = Provider::start();
    let domain = provider.domain();
    let account = [("TRUNK_USER", USER), ("TRUNK_PASSWORD", "wrong"), ("TRUNK_DOMAIN", domain.as_str())];
    let stage = exchange(&Account::new(&account));
    eventually("it is rejected", SOON, || stage.cli("pjsip show registrations").contains(" Rejected"));
    let contacts = provider.rig.cli("pjsip show contacts").expect("Asterisk answers");
    assert!(!contacts.contains(USER), "{contacts}");
}

#[test]
fn a_provider_that_is_away_for_long_is_asked_again_and_again() {
    let provider = UdpSocket::bind((own_address(), 5070)).expect("a port is free");
    provider.set_read_timeout(Some(Duration::from_secs(20))).expect("it can be set");
    let domain = provider.local_addr().expect("it is bound").to_string();
    let account = [("TRUNK_USER", USER), ("TRUNK_PASSWORD", PASSWORD), ("TRUNK_DOMAIN", domain.as_str())];
    let account = Account::new(&account);
    let often = |rig: rig::Builder| {
        rig.edit("pjsip_wizard.conf", "registration/retry_interval = 60", "registration/retry_interval = 1")
    };
    let _stage = exchange_with(&account, often);
    // Asterisk of its own accord gives up after ten.
    let mut attempts = 0;
    while attempts < 13 {
        let mut buffer = [0; 4096];
        let (length, from) = provider.recv_from(&mut buffer).expect("it is still asked");
        let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        let kept = |line: &&str| kept.iter().any(|name| line.starts_with(name));
        let headers: Vec<_> = request.lines().filter(kept).collect();
        let answer =
            format!("SIP/2.0 503 Service Unavailable\r\n{}\r\nContent-Length: 0\r\n\r\n", headers.join("\r\n"));
        provider.send_to(answer.as_bytes(), from).expect("it leaves");
        attempts += u32::from(request.starts_with("REGISTER "));
    }
}
