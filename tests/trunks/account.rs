//! What trunk.sh makes of an environment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::{Account, PASSWORD, USER};

const WHOLE: [(&str, &str); 3] =
    [("TRUNK_USER", USER), ("TRUNK_PASSWORD", PASSWORD), ("TRUNK_DOMAIN", "sip.example.com")];

/// The account with another value of one variable.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    WHOLE.into_iter().filter(|(other, _)| *other != name).chain([(name, value)]).collect()
}

fn assert_refused(environment: &[(&str, &str)], sentence: &str) {
    let account = Account::new(environment);
    assert!(!account.output.status.success(), "{environment:?} is taken");
    assert!(account.says().contains(sentence), "{environment:?}: {}", account.says());
    assert!(!account.says().contains(PASSWORD), "the password is told");
    assert_eq!(account.file("pjsip_trunk.conf"), None, "{environment:?}");
    assert_eq!(account.file("ai_bridge_trunk.conf"), None, "{environment:?}");
}

#[test]
fn half_an_account_is_refused_with_what_is_missing() {
    for (name, _) in WHOLE {
        assert_refused(&with(name, ""), &format!("{name} is not set"));
    }
    assert_refused(&[("TRUNK_USER", USER)], "TRUNK_PASSWORD is not set, TRUNK_DOMAIN is not set");
}

#[test]
fn what_could_be_more_than_a_value_is_refused() {
    for (name, value, sentence) in [
        ("TRUNK_USER", "me\nendpoint/context = default", "TRUNK_USER: only letters"),
        ("TRUNK_USER", "me;x", "TRUNK_USER: only letters"),
        ("TRUNK_DOMAIN", "sip.example.com\n[7000]", "TRUNK_DOMAIN: only a name"),
        ("TRUNK_DOMAIN", "sip.example.com,10.0.0.1", "TRUNK_DOMAIN: only a name"),
        ("TRUNK_DOMAIN", "sip.example.com\n", "TRUNK_DOMAIN: only a name"),
        ("TRUNK_DOMAIN", "2001:db8::1", "TRUNK_DOMAIN: a name or an IPv4 address"),
        ("TRUNK_PASSWORD", "secret\nendpoint/context = default", "TRUNK_PASSWORD: one line"),
        ("TRUNK_PASSWORD", " secret", "no blank at its beginning"),
        ("TRUNK_CODECS", "ulaw alaw", "TRUNK_CODECS: only names of codecs"),
        ("TRUNK_CONTEXT", "a]", "TRUNK_CONTEXT: only the name"),
        ("TRUNK_CONTEXT", "operater", "no context [operater]"),
        ("TRUNK_PATTERN", "_7X.\ndial = Local/{{number}}@default", "TRUNK_PATTERN: only patterns"),
        ("TRUNK_PATTERN", "${SHELL(true)}", "TRUNK_PATTERN: only patterns"),
        ("TRUNK_MAX_CALLS", "many", "TRUNK_MAX_CALLS: only a whole number"),
        ("TRUNK_CALLS_PER_SECOND", "1;5", "TRUNK_CALLS_PER_SECOND: only a number"),
        ("TRUNK_CALLER_ID", "Ann", "TRUNK_CALLER_ID: only numbers"),
    ] {
        assert_refused(&with(name, value), sentence);
    }
}

#[test]
fn the_account_is_for_asterisk_alone_and_goes_with_the_environment() {
    let mut account = Account::new(&WHOLE);
    for name in ["pjsip_trunk.conf", "ai_bridge_trunk.conf"] {
        let mode = account.path(name).metadata().expect("it is written").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{name}");
    }
    account.write(&with("TRUNK_CODECS", "alaw"));
    let file = account.file("pjsip_trunk.conf").expect("it is written");
    assert!(file.contains("endpoint/allow = alaw\n") && file.contains("endpoint/context = ai-inbound\n"), "{file}");
    account.write(&[]);
    assert!(account.output.status.success() && account.says().is_empty(), "{}", account.says());
    assert_eq!((account.file("pjsip_trunk.conf"), account.file("ai_bridge_trunk.conf")), (None, None));
}

#[test]
fn what_would_be_open_or_without_effect_is_told() {
    const PASSWORDS: &str = "phones with public passwords";
    const NO_LINE: &str = "no line '#tryinclude ai_bridge_trunk.conf'";
    let mut account = Account::new(&WHOLE);
    assert!(account.says().contains(PASSWORDS) && !account.says().contains(NO_LINE), "{}", account.says());
    for (file, from, to) in
        [("pjsip.conf", "pass\n", "word-of-its-own\n"), ("ai_bridge.conf", "#tryinclude ai_bridge_trunk.conf\n", "")]
    {
        let text = fs::read_to_string(account.path(file)).expect("it is there");
        assert!(text.contains(from), "{file}");
        fs::write(account.path(file), text.replace(from, to)).expect("it can be written");
    }
    account.write(&WHOLE);
    assert!(account.output.status.success(), "{}", account.says());
    assert!(!account.says().contains(PASSWORDS) && account.says().contains(NO_LINE), "{}", account.says());
    assert_refused(&[("TRUNK_MAX_CALLS", "3")], "there is no account");
}
