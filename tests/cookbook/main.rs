//! Every recipe of docs/cookbook.md does what it says, as it stands there.

#[path = "../common/mod.rs"]
mod common;

mod kitchen;

use std::process::Command;
use std::time::Duration;

use common::signal::is_sound;
use common::{SOON, eventually};
use kitchen::{Kitchen, Recipe};
use practice_agent::{Door, Script, Server, Session};
use rig::{CallEvent, Codec, Phone, PhoneCall, speech};

/// What the agent was set up with, as one text.
fn settings(session: &Session) -> String {
    let update = session.wait_event("session.update", 0, SOON).expect("the agent is set up");
    update.json["session"].to_string()
}

/// What a line for a shell has Asterisk's command line do.
fn of_asterisk(line: &str) -> &str {
    line.strip_prefix("asterisk -rx '").and_then(|rest| rest.strip_suffix('\'')).expect("a command of Asterisk")
}

#[track_caller]
fn rings(phone: &PhoneCall) {
    phone.wait_for(CallEvent::Ringing, SOON).expect("the person's phone rings");
}

/// Both hear what the other says.
#[track_caller]
fn talk_to_each_other(one: &PhoneCall, other: &PhoneCall) {
    one.wait_answered(SOON).expect("answered");
    other.answer();
    other.wait_answered(SOON).expect("answered");
    one.play(&[6000; 8000]);
    eventually("the person hears the caller", SOON, || other.heard().audio().any(is_sound));
}

#[test]
fn receptionist_with_transfer() {
    let kitchen = Kitchen::of(&Recipe::called("Receptionist with transfer"));
    let (call, session) = kitchen.talk("7101");
    assert!(settings(&session).contains("You are the receptionist"), "{}", settings(&session));
    // A place that the profile does not name is refused, and the call goes on.
    session.perform(Script::new().call_tool("transfer", r#"{"extension":"7110","context":"default"}"#));
    session.wait_event("conversation.item.create", 0, SOON).expect("it is told");
    session.perform(Script::new().call_tool("transfer", r#"{"extension":"200","context":"staff"}"#));
    rings(&kitchen.person);
    talk_to_each_other(&call, &kitchen.person);
}

#[test]
fn after_hours() {
    let recipe = Recipe::called("After hours");
    // A day that never comes.
    let kitchen = Kitchen::of(&recipe.with("9:00-18:00,mon-fri,*,*", "*,*,31,feb"));
    let (call, session) = kitchen.talk("7102");
    let told = settings(&session);
    assert!(told.contains("Take a message: name, number, matter."), "{told}");
    assert!(kitchen.person.invite().is_empty(), "nobody is in the office");
    let message = r#"Ann: "call 200, please"; $[1], ${EXTEN}"#;
    let arguments = serde_json::json!({"name": "MESSAGE", "value": message}).to_string();
    session.perform(Script::new().call_tool("set_variable", arguments));
    session.wait_event("conversation.item.create", 0, SOON).expect("it is noted");
    call.hang_up();
    let order = of_asterisk(recipe.command());
    eventually("the message is kept, every letter of it", SOON, || kitchen.cli(order).contains(message));

    let kitchen = Kitchen::of(&recipe.with("9:00-18:00,mon-fri,*,*", "*,*,*,*"));
    let call = kitchen.dial("7102");
    rings(&kitchen.person);
    assert!(kitchen.agent().attempts().is_empty(), "the day needs no AI");
    kitchen.person.refuse(486);
    let session = kitchen.session();
    assert!(settings(&session).contains("Take a message"));
    call.hang_up();
}

#[test]
fn a_reminder_by_phone() {
    let port = rig::http::free_port();
    let recipe = Recipe::called("A reminder by phone").with("127.0.0.1:9000", &format!("127.0.0.1:{port}"));
    let kitchen = Kitchen::of(&recipe);
    let ordered = Command::new("sh").arg("-c").arg(recipe.command()).env("AI_BRIDGE_TOKEN", kitchen::TOKEN).output();
    let answer = String::from_utf8(ordered.expect("curl runs").stdout).expect("text");
    assert!(answer.contains(r#""status":"dialing""#), "{answer}");
    rings(&kitchen.person);
    kitchen.person.answer();
    kitchen.person.wait_answered(SOON).expect("answered");
    kitchen.person.play(&[&[0; 2400][..], &speech("Hello?", 8000).expect("spoken")].concat());
    let told = settings(&kitchen.session());
    assert!(told.contains("You call Ann to remind them of the appointment at ten."), "{told}");
}

#[test]
fn a_queue_when_the_ai_is_not_to_be_had() {
    let kitchen = Kitchen::of(&Recipe::called("A queue when the AI is not to be had"));
    kitchen.agent().set_door(Door::Refuse(503));
    let call = kitchen.dial("7104");
    rings(&kitchen.person);
    talk_to_each_other(&call, &kitchen.person);
}

#[test]
fn a_key_leads_to_a_person() {
    let kitchen = Kitchen::of(&Recipe::called("A key leads to a person"));
    let (call, session) = kitchen.talk("7105");
    call.send_digit('0');
    session.wait_closed(SOON).expect("the conversation is over");
    rings(&kitchen.person);
    talk_to_each_other(&call, &kitchen.person);
}

#[test]
fn wideband() {
    let kitchen = Kitchen::of(&Recipe::called("Wideband"));
    for (codec, format) in
        [(Codec::G722, r#""rate":24000,"type":"audio/pcm""#), (Codec::Alaw, r#""type":"audio/pcma""#)]
    {
        let call = Phone::new(kitchen.rig()).codec(codec).dial("7106").expect("the phone dials");
        let told = settings(&kitchen.session());
        assert!(told.contains(format), "{codec:?}: {told}");
        call.hang_up();
    }
}

#[test]
fn instructions_for_this_one_call() {
    let recipe = Recipe::called("Instructions for this one call");
    let kitchen = Kitchen::of(&recipe);
    let order = of_asterisk(recipe.command());
    kitchen.cli(order);
    let told = settings(&kitchen.talk("7107").1);
    assert!(told.contains("What we know: Customer since 2019. Waits for a refund."), "{told}");
}

#[test]
fn a_bot_of_your_own() {
    let recipe = Recipe::called("A bot of your own");
    let command = recipe.command();
    assert!(command.ends_with("python examples/raw_bot.py 8765"), "{command}");
    let bot = common::python::PythonServer::start("examples/raw_bot.py", &[]);
    let kitchen = Kitchen::of(&recipe.with("ws://127.0.0.1:8765", &bot.url("")));
    let call = kitchen.dial("7108");
    call.wait_answered(SOON).expect("answered");
    call.play(&speech("Is there an echo?", 8000).expect("spoken"));
    call.wait_played(SOON).expect("spoken");
    call.send_digit('#');
    eventually("the bot says it back", SOON, || call.heard().audio().any(is_sound));
}

#[test]
fn recording_with_consent() {
    let kitchen = Kitchen::of(&Recipe::called("Recording with consent"));
    for (key, recorded) in [('1', true), ('2', false)] {
        let call = kitchen.dial("7109");
        call.wait_answered(SOON).expect("answered");
        eventually("the caller is asked", SOON, || call.heard().audio().any(is_sound));
        call.send_digit(key);
        let session = kitchen.session();
        session.wait_caller_audio(Duration::from_millis(500), SOON).expect("the caller is heard");
        call.hang_up();
        kitchen.rig().wait_no_channels(SOON).expect("the call is over");
        let folder = kitchen.rig().directory().join("spool/monitor");
        let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
        if recorded {
            eventually("there is a recording", SOON, || files() == 1);
        } else {
            assert_eq!(files(), 1, "who does not consent is not recorded");
        }
    }
}

#[test]
fn limits_on_spending() {
    let kitchen = Kitchen::of(&Recipe::called("Limits on spending"));
    let (first, _session) = kitchen.talk("7110");
    let second = kitchen.dial("7110");
    let ended = second.wait_ended(SOON).expect("it is refused");
    assert_eq!(ended, rig::Ended::Refused(486));
    assert_eq!(kitchen.agent().attempts().len(), 1, "it costs nothing");
    first.hang_up();
    kitchen.rig().wait_no_channels(SOON).expect("the call is over");
    kitchen.talk("7110");
}

#[test]
fn several_languages() {
    let kitchen = Kitchen::of(&Recipe::called("Several languages"));
    for (key, code, language) in [('2', "ru", "Russian"), ('1', "en", "English")] {
        let call = kitchen.dial("7111");
        call.wait_answered(SOON).expect("answered");
        eventually("the caller is asked", SOON, || call.heard().audio().any(is_sound));
        call.send_digit(key);
        let told = settings(&kitchen.session());
        assert!(told.contains(&format!("Speak {language}, whatever")), "{told}");
        assert!(told.contains(&format!(r#""language":"{code}""#)), "{told}");
        call.hang_up();
    }
}

#[test]
fn help_for_the_operator() {
    let kitchen = Kitchen::of(&Recipe::called("Help for the operator"));
    let call = kitchen.dial("7112");
    rings(&kitchen.person);
    kitchen.person.answer();
    call.wait_answered(SOON).expect("answered");
    call.play(&speech("How much is it, and when will it come?", 8000).expect("spoken"));
    for leg in ["-caller", "-operator"] {
        let stream = kitchen.agent().stream(leg, SOON).expect("it is listened to");
        assert_eq!(stream.events_of("config")[0].json["language_hints"][0], "en", "{leg}");
    }
    let asked = kitchen.agent().wait_chat(0, 2 * SOON).expect("a hint is asked for");
    let request = asked.asked().body.to_string();
    assert!(request.contains("sells air conditioners") && request.contains("openai/gpt-5-mini"), "{request}");
}

#[test]
fn no_recipe_is_without_its_test() {
    let tests = include_str!("main.rs");
    for title in kitchen::titles() {
        assert!(tests.contains(&format!("Recipe::called(\"{title}\")")), "nobody tries '{title}'");
    }
    // And none is tried without the command that belongs to it.
    assert_eq!(tests.matches(concat!("recipe", ".command()")).count(), kitchen::commands());
}

/// An agent that does nothing by itself.
fn passive() -> practice_agent::Builder {
    Server::builder().script(Script::new()).api_key(kitchen::KEY)
}
