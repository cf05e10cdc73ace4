//! What is never dialled.

use crate::{ANN, Office};

#[test]
fn nothing_but_numbers_reaches_the_trunk() {
    let mut office = Office::new("");
    let phone = office.phone("line", "pattern = _7XXXXXXXXXX\npattern = 112\ncaller_id = 74950000001");
    let numbers = [
        "",
        "7912345678",
        "7912345678A",
        "79123456789@evil.example",
        "79123456789&PJSIP/1001",
        "79123456789/1001",
        "79123456789,30,g",
        "${SHELL(touch /tmp/x)}",
        "79123456789;transport=tcp",
        "79123456789\\r\\nX-Evil: 1",
        "sip:1001",
        "*72",
        "+79123456789",
        "00079123456789",
        "79123456789 1",
        "Local/s@ai-outbound",
    ];
    for number in numbers {
        let answer = office.ask("AIDial", &[("Number", number)]);
        assert_eq!(answer.get("Response"), "Error", "{number}: {answer}");
        assert!(answer.get("Message").starts_with("phone_number: "), "{answer}");
    }
    let others = [
        ("CallerID", "74950000002", "caller_id: allowed are 74950000001"),
        ("CallerID", "1 <sip:evil>", "caller_id: expected 1 to 24 digits"),
        ("Trunk", "PJSIP/1001", "trunk: there is no trunk"),
        ("Profile", "line", "profile: there is no profile"),
        ("Profile", "test,g(x)", "profile: there is no profile"),
        ("Timeout", "0", "timeout_s: expected 1 to 600 s"),
        ("Timeout", "soon", "Timeout: expected whole seconds"),
        ("DetectMachine", "maybe", "DetectMachine: expected yes or no"),
        ("Variables", "a b=1", "variables: 'a b' is no name"),
        ("Variables", "name", "Variables: expected name=value"),
    ];
    for (header, value, words) in others {
        let answer = office.ask("AIDial", &[("Number", ANN), (header, value)]);
        assert_eq!(answer.get("Response"), "Error", "{header}: {answer}");
        assert!(answer.get("Message").starts_with(words), "{answer}");
    }
    assert!(office.stage.cli("ai dial 79123456789@evil").contains("not dialled: phone_number"));
    assert!(phone.invite().is_empty(), "{}", phone.invite());
    assert!(office.stage.cli("ai show calls").contains("0 calls up, 0 remembered"));
}

#[test]
fn without_a_trunk_nothing_is_dialled() {
    let mut office = Office::new("");
    let answer = office.ask("AIDial", &[("Number", ANN)]);
    assert!(answer.get("Message").contains("no section with type = trunk"), "{answer}");
}

#[test]
fn nobody_can_claim_to_be_an_outbound_call() {
    // Whatever variables a caller's channel has: the session is its own, with an id of its own.
    let mut office = Office::with(crate::passive(), "", |rig| {
        rig.append(
            "extensions.conf",
            "exten => 300,1,Set(AISESSION=01900000-0000-7000-8000-000000000000)\n same => n,AI()\n",
        )
    });
    let call = office.stage.call("300");
    office.stage.session();
    let start = office.event("AISessionStart");
    assert!(!start.get("Session").starts_with("01900000"), "{start}");
    call.hang_up();
}
