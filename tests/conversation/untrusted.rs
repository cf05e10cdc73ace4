//! A vendor that is out of its mind, in every dialect: the call goes on, or ends in good order, and nothing secret is told.

use std::time::Instant;

use practice_agent::{Script, Server};
use serde_json::{Value, json};

use super::vendor::{Vendor, Words};
use super::{DEEPGRAM, Dialect, ELEVENLABS, GEMINI, KEY, OPENAI, RAW, TWILIO, Talk};
use crate::common::{SOON, Stage, extension};

/// Far more than any vendor sends.
const HUGE: usize = 50 << 20;

/// What no dialect knows, and what each could take for something it knows.
fn nonsense(dialect: &Dialect) -> Vec<String> {
    let deep = |text: &str| {
        format!("{text}{}1{}{}", "[".repeat(100_000), "]".repeat(100_000), "}".repeat(text.matches('{').count()))
    };
    let everywhere =
        ["this is not JSON", "\u{0}", "null", "42", "[]", "{}", r#"{"type":7,"event":7}"#, "{\"type\":\"", "[["];
    let mut all: Vec<String> = everywhere.map(str::to_owned).into();
    // Whoever repeats a secret must not get it into the log.
    all.push(json!({"type": KEY, "event": KEY, "unheard_of": {"of": KEY}}).to_string());
    all.push(deep(r#"{"type":"#));
    let own: &[&str] = match dialect.name {
        "openai" => &[
            r#"{"type":"response.output_audio.delta","item_id":"i","response_id":"r","delta":"%%%"}"#,
            r#"{"type":"response.output_audio.delta","item_id":{},"delta":7}"#,
            r#"{"type":"conversation.item.truncated","audio_end_ms":1e999}"#,
            r#"{"type":"response.done","response":[]}"#,
        ],
        "twilio" => &[
            r#"{"event":"media","media":{"payload":"%%%"}}"#,
            r#"{"event":"media","media":"loud"}"#,
            r#"{"event":"mark","mark":{"name":{}}}"#,
            r#"{"event":"start","start":{}}"#,
        ],
        "raw" => &[
            r#"{"type":"mark","name":7}"#,
            r#"{"type":"transfer","extension":["1","2"]}"#,
            r#"{"type":"transcript","speaker":"nobody","text":null}"#,
            r#"{"type":"start"}"#,
        ],
        "elevenlabs" => &[
            r#"{"type":"audio","audio_event":{"audio_base_64":"%%%","event_id":1}}"#,
            r#"{"type":"audio","audio_event":{"audio_base_64":7,"event_id":{}}}"#,
            r#"{"type":"audio","audio_event":null}"#,
            r#"{"type":"client_tool_call","client_tool_call":"hangup"}"#,
            r#"{"type":"ping"}"#,
        ],
        "gemini" => &[
            r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"%%%"}}]}}}"#,
            r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/opus","data":"AAAA"}}]}}}"#,
            r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=16000","data":"AAAA"}}]}}}"#,
            r#"{"serverContent":7}"#,
            r#"{"toolCall":{"functionCalls":[7,{"name":"hangup"}]}}"#,
            r#"{"sessionResumptionUpdate":{"newHandle":7}}"#,
        ],
        _ => &[
            r#"{"type":"ConversationText","role":"system","content":"x"}"#,
            r#"{"type":"FunctionCallRequest","functions":[7,{"id":{},"name":"hangup"}]}"#,
            r#"{"type":"FunctionCallRequest","functions":"hangup"}"#,
            r#"{"type":"AgentAudioDone","x":[]}"#,
        ],
    };
    all.extend(own.iter().map(|text| (*text).to_owned()));
    all
}

/// The two still hear each other, as well as ever.
fn assert_conversing(talk: &Talk, vendor: &dyn Vendor) {
    let words = Words::new(4, 800, "Where were we?");
    let began = Instant::now();
    vendor.say(&words);
    talk.assert_heard(began, &words);
    talk.speak(vendor, "You were about to tell me when you are open");
    talk.listen(vendor);
}

#[track_caller]
fn withstands(dialect: &'static Dialect) {
    let talk = Talk::begin(dialect);
    let first = talk.session(1);
    first.opened();
    talk.greet(&*first);
    for text in nonsense(dialect) {
        first.send(&text);
    }
    assert_conversing(&talk, &*first);
    // Only a session can be given up that sends what nobody can take in; the conversation goes on in another one.
    first.send_huge(HUGE);
    first.ended();
    let second = talk.session(2);
    second.opened();
    assert_conversing(&talk, &*second);
    let result = talk.part(&*second);
    assert!(["TRANSFER", "COMPLETE"].contains(&result.get("STATUS")), "{result:?}");
    let log = talk.stage.rig.log();
    assert!(!log.contains(KEY), "the log has a secret");
    assert!(log.contains("more than 16 MiB"), "the log says why the session was lost");
}

#[test]
fn openai() {
    withstands(&OPENAI);
}

#[test]
fn twilio() {
    withstands(&TWILIO);
}

#[test]
fn raw() {
    withstands(&RAW);
}

#[test]
fn elevenlabs() {
    withstands(&ELEVENLABS);
}

#[test]
fn gemini() {
    withstands(&GEMINI);
}

#[test]
fn deepgram() {
    withstands(&DEEPGRAM);
}

/// The answer to a function call with `arguments` that came as they are here.
fn deepgram_answers(vendor: &dyn Vendor, id: &str, name: &str, arguments: &str) -> Value {
    let call = json!({"id": id, "name": name, "arguments": arguments, "client_side": true});
    vendor.send(&json!({"type": "FunctionCallRequest", "functions": [call]}).to_string());
    let mut answer = None;
    crate::common::eventually("the call is answered", SOON, || {
        let told = vendor.told();
        let mut messages = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        answer = messages.find(|message| message["id"] == id);
        answer.is_some()
    });
    let content = answer.expect("it has come")["content"].as_str().unwrap_or_default().to_owned();
    serde_json::from_str(&content).expect("JSON")
}

#[test]
fn arguments_of_tools_that_are_no_json_or_lead_elsewhere_are_answered_with_an_error() {
    let talk = Talk::begin(&DEEPGRAM);
    let vendor = talk.session(1);
    talk.greet(&*vendor);
    let long = format!(r#"{{"extension":"{}"}}"#, "1".repeat(20_000));
    let refused = [
        ("transfer", "{", "not JSON"),
        ("transfer", r#"{"extension":"200","context":"trunk"}"#, "transfers are allowed to staff"),
        ("transfer", r#"{"extension":"1,1)&System(id"}"#, "expected digits or letters"),
        ("transfer", &long, "bytes"),
        ("launch", "{}", "no such tool"),
    ];
    for (number, (name, arguments, problem)) in refused.into_iter().enumerate() {
        let answer = deepgram_answers(&*vendor, &format!("c{number}"), name, arguments);
        assert_eq!(answer["ok"], false, "{answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(problem)), "{problem}: {answer}");
    }
    super::assert_transferred(&talk.part(&*vendor));
}

#[test]
fn an_agent_that_is_set_to_an_unknown_format_ends_the_call_instead_of_making_noise() {
    let talk = Talk::begin(&ELEVENLABS);
    let vendor = talk.session(1);
    talk.greet(&*vendor);
    let event = json!({"conversation_id": "c", "agent_output_audio_format": "opus_48000"});
    let kind = "conversation_initiation_metadata";
    vendor.send(&json!({"type": kind, "conversation_initiation_metadata_event": event}).to_string());
    let result = talk.stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("WENT_ON")), ("ERROR", "yes"), "{result:?}");
    assert!(result.get("REASON").contains("opus_48000"), "{result:?}");
    talk.stage.assert_nothing_left();
}

/// A single byte of linear audio, and what comes after it is not shifted by it.
#[test]
fn half_a_sample_does_not_make_noise_of_what_follows() {
    let talk = Talk::begin(&GEMINI);
    let vendor = talk.session(1);
    talk.greet(&*vendor);
    let part = json!({"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AA=="}});
    vendor.send(&json!({"serverContent": {"modelTurn": {"parts": [part]}}}).to_string());
    vendor.send(&json!({"serverContent": {"turnComplete": true}}).to_string());
    assert_conversing(&talk, &*vendor);
    super::assert_transferred(&talk.part(&*vendor));
}

#[test]
fn lines_that_options_bring_along_forge_no_header() {
    const EVIL: &str = "evil\r\nX-Evil: 1";
    let options = [
        ("200", "test,H(X-Team: ${ENV(EVIL)})"),
        ("201", "test,m(${ENV(EVIL)})"),
        ("202", "test,u(${ENV(SERVER)}?${ENV(EVIL)})"),
        ("203", "test,x(name=${ENV(EVIL)})v(${ENV(EVIL)})p(I am {{name}})"),
    ];
    let dialplan: String = options.iter().map(|(number, arguments)| extension(number, arguments)).collect();
    let prepare = |rig: rig::Builder, url: &str| {
        rig.config("ai_bridge.conf", crate::common::profile(url, "api_key = sk-test-0123456789"))
            .env("EVIL", EVIL)
            .env("SERVER", url)
    };
    let stage = Stage::with(Server::builder().script(Script::new()), prepare, &dialplan);
    for (number, arguments) in options {
        let call = stage.dial(number);
        let session = stage.agent.next_session(std::time::Duration::from_secs(2)).ok();
        if let Some(session) = &session {
            assert_eq!(session.request().header("x-evil"), None, "{arguments}");
            session.wait_event("session.update", 0, SOON).expect("the session is set up");
            call.hang_up();
        }
        let result = stage.result(number);
        println!("{arguments}: {} {}", result.get("STATUS"), result.get("REASON"));
        // What no request can hold is not sent at all.
        assert_eq!(result.get("STATUS"), if session.is_some() { "HANGUP" } else { "CONNFAIL" }, "{result:?}");
        // The reason is one line, or there would be nothing behind it.
        assert_eq!(result.get("WENT_ON"), if session.is_some() { "" } else { "yes" }, "{result:?}");
        call.wait_ended(SOON).expect("the call ends");
    }
    let log = stage.rig.log();
    assert!(!log.contains(KEY));
    stage.assert_nothing_left();
}
