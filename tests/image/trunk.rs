//! A trunk whose account is in the environment.

use rig::CallEvent;
use rig::Codec::Ulaw;
use serde_json::json;

use crate::common::SOON;
use crate::common::provider::{ANN, OWN, PASSWORD, Provider, USER};
use crate::{Container, wait_voice};

const TOKEN: &str = "a-token-of-this-test";

#[test]
#[ignore = "needs a Docker engine: make image-test"]
fn calls_come_and_go_through_a_trunk_of_the_environment() {
    let provider = Provider::start();
    let settings = [
        format!("--env=TRUNK_USER={USER}"),
        format!("--env=TRUNK_PASSWORD={PASSWORD}"),
        format!("--env=TRUNK_DOMAIN={}", provider.domain()),
        "--env=TRUNK_PATTERN=_79XXXXXXXXX".to_owned(),
        "--env=TRUNK_CALLER_ID=74951111111".to_owned(),
        "--env=AI_PROFILE=practice".to_owned(),
        format!("--env=AI_BRIDGE_TOKEN={TOKEN}"),
    ];
    let container = Container::on_host("127.77.0.11", &settings.each_ref().map(String::as_str));
    container.wait_up();
    provider.wait_registered();

    let call = provider.phone().codec(Ulaw).dial(OWN).expect("SIPp runs");
    let answered = call.wait_answered(SOON).unwrap_or_else(|problem| panic!("{problem}: {}", container.log()));
    wait_voice(&call, answered);
    call.hang_up();

    let phone = provider.rings(provider.phone().codec(Ulaw));
    let api = container.api(TOKEN);
    let refused = api.post("/api/calls/dial", &json!({"phone_number": "13105550100"}).to_string());
    assert!(refused.status == 422 && refused.body.contains("_79XXXXXXXXX"), "{refused:?}");
    let dialled = api.post("/api/calls/dial", &json!({"phone_number": ANN}).to_string());
    assert!(dialled.json()["status"] == "dialing", "{dialled:?}");
    phone.wait_for(CallEvent::Ringing, SOON).unwrap_or_else(|problem| panic!("{problem}: {}", container.log()));
    phone.answer();
    let answered = phone.wait_answered(SOON).expect("the phone answers");
    wait_voice(&phone, answered);
    let line = provider.rig.wait_log("CUSTOMER", SOON).expect("a call");
    assert!(line.contains("74951111111"), "{line}");
    phone.hang_up();
    let environment = container.says(&[
        "sh",
        "-c",
        "for one in /proc/[0-9]*; do [ $(cat $one/comm) != asterisk ] || tr '\\0' '\\n' <$one/environ; done",
    ]);
    assert!(environment.contains("TRUNK_USER="), "Asterisk's environment was not read: {environment}");
    assert!(!environment.contains("TRUNK_PASSWORD"), "the password is in Asterisk's environment");
}
