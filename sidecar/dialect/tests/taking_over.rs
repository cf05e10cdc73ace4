//! A session that goes on with the conversation of another one: what it tells the provider, and that it does not greet.

mod common;

use ai_dialect::{ApiVersion, Output, PROVIDERS, Session};
use ai_media::Format;
use common::{Talk, history, sent, settings};
use serde_json::{Value, json};

fn successor(name: &str, agent_owes_answer: bool) -> Session {
    Session { history: history(), agent_owes_answer, ..settings(name) }
}

/// What is sent before the dialect is ready, and after it.
fn opening(name: &'static str, session: Session) -> (Vec<Value>, Vec<Value>) {
    let outputs = Talk::new(name, session, Format::ULAW).make_ready();
    let ready = outputs.iter().position(|output| *output == Output::Ready).expect("it is ready");
    (sent(&outputs[..ready]), sent(&outputs[ready + 1..]))
}

/// An order in the caller's place, which says that it is not the caller's.
#[track_caller]
fn assert_aside(text: &Value, words: &str) {
    let text = text.as_str().expect("a text");
    assert!(text.starts_with("(The caller did not say this") && text.contains(words), "{text}");
}

/// What nobody said, where a provider has no other place for it than the caller's.
const TOLD: &str = "(The caller did not say this, the telephone system does: It left on Monday.)";

const GO_ON: &str = "answer what the caller said last, or finish what you were saying";

#[test]
fn nobody_greets_twice() {
    for provider in PROVIDERS {
        let said = |session: Session| {
            let (before, after) = opening(provider.name, session);
            json!([before, after]).to_string()
        };
        let greets = provider.name != "twilio";
        assert_eq!(said(settings(provider.name)).contains("Welcome!"), greets, "{}", provider.name);
        let started = Session { history: history()[1..].to_vec(), ..settings(provider.name) };
        let greeted = Session { greeted: true, ..settings(provider.name) };
        for successor in [started, greeted] {
            assert!(!said(successor).contains("Welcome!"), "{}", provider.name);
        }
    }
}

#[test]
fn who_owes_no_answer_waits_for_the_caller() {
    for provider in PROVIDERS {
        assert_eq!(opening(provider.name, successor(provider.name, false)).1, [] as [Value; 0], "{}", provider.name);
    }
}

#[test]
fn openai_gets_every_item_and_is_asked_to_speak() {
    for (api_version, spoken) in [(ApiVersion::Ga, "output_text"), (ApiVersion::Beta, "text")] {
        let session = Session { api_version, instructions: "Be brief.".into(), ..successor("openai", true) };
        let (before, after) = opening("openai", session);
        let item = |item: Value| json!({"type": "conversation.item.create", "event_id": "history", "item": item});
        let message = |role: &str, kind: &str, text: &str| {
            item(json!({"type": "message", "role": role, "content": [{"type": kind, "text": text}]}))
        };
        assert_eq!(
            before[1..],
            [
                message("assistant", spoken, "Welcome!"),
                message("user", "input_text", "My parcel?"),
                item(
                    json!({"type": "function_call", "call_id": "earlier_2", "name": "lookup", "arguments": "{\"id\":7}"})
                ),
                item(json!({"type": "function_call_output", "call_id": "earlier_2", "output": "{\"ok\":true}"})),
                message("system", "input_text", "It left on Monday."),
                message("assistant", spoken, "It is on its way."),
                message("user", "input_text", "Since when?"),
            ]
        );
        let [go_on] = &after[..] else { panic!("{after:?}") };
        assert_eq!((&go_on["type"], &go_on["event_id"]), (&json!("response.create"), &json!("go_on")));
        let instructions = go_on["response"]["instructions"].as_str().unwrap();
        assert!(instructions.starts_with("Be brief.\n\n") && instructions.contains(GO_ON), "{instructions}");
    }
}

#[test]
fn openai_goes_on_before_it_is_asked_anything_else() {
    let mut talk = Talk::new("openai", successor("openai", true), Format::ULAW);
    talk.make_ready();
    assert_eq!(talk.digits("1").len(), 1, "two answers were asked for at once");
    talk.hear(json!({"type": "response.created", "response": {"id": "r"}}));
    assert_eq!(sent(&talk.hear(json!({"type": "response.done", "response": {"id": "r"}}))).len(), 1);
}

#[test]
fn gemini_gets_the_turns_before_the_conversation_and_then_the_question() {
    let (before, after) = opening("gemini", successor("gemini", true));
    assert_eq!(before[0]["setup"]["historyConfig"], json!({"initialHistoryInClientContent": true}));
    let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    let tool = r#"(You called the tool lookup with {"id":7}; its result was {"ok":true})"#;
    let turns = [
        turn("model", "Welcome!"),
        turn("user", "My parcel?"),
        turn("user", tool),
        turn("user", TOLD),
        turn("model", "It is on its way."),
    ];
    assert_eq!(before[1..], [json!({"clientContent": {"turns": turns, "turnComplete": true}})]);
    assert_eq!(after, [json!({"realtimeInput": {"text": "Since when?"}})]);
    let (before, _) = opening("gemini", successor("gemini", false));
    assert_eq!(before[1]["clientContent"]["turns"][5], turn("user", "Since when?"));
}

#[test]
fn gemini_is_told_nothing_that_it_remembers() {
    let resumed = Session { resumption: "h1".into(), ..successor("gemini", true) };
    let (before, after) = opening("gemini", resumed);
    let [setup] = &before[..] else { panic!("{before:?}") };
    assert_eq!(setup["setup"]["sessionResumption"], json!({"handle": "h1"}));
    assert_eq!(setup["setup"].get("historyConfig"), None);
    assert_eq!(after, [json!({"realtimeInput": {"text": "Since when?"}})]);
    let cut_off = Session { history: history()[..5].to_vec(), resumption: "h1".into(), ..successor("gemini", true) };
    assert_aside(&opening("gemini", cut_off).1[0]["realtimeInput"]["text"], GO_ON);
    let silent = Session { resumption: "h1".into(), ..settings("gemini") };
    assert_eq!(opening("gemini", silent).1, [] as [Value; 0], "the agent greeted in the session that is resumed");
}

#[test]
fn deepgram_gets_the_history_with_the_settings_and_then_the_question() {
    let greeting = json!({"agent": {"greeting": "Welcome!"}}).as_object().cloned().unwrap();
    let session = Session { provider_settings: greeting, ..successor("deepgram", true) };
    let (before, after) = opening("deepgram", session);
    let said = |role: &str, text: &str| json!({"type": "History", "role": role, "content": text});
    let call = json!({"id": "earlier_2", "name": "lookup", "client_side": true, "arguments": "{\"id\":7}",
        "response": "{\"ok\":true}"});
    assert_eq!(
        before[0]["agent"]["context"]["messages"],
        json!([
            said("assistant", "Welcome!"),
            said("user", "My parcel?"),
            {"type": "History", "function_calls": [call]},
            said("user", TOLD),
            said("assistant", "It is on its way."),
        ])
    );
    assert_eq!(before.len(), 1);
    assert_eq!(before[0]["agent"].get("greeting"), None, "from the provider's own settings");
    assert_eq!(after, [json!({"type": "InjectUserMessage", "content": "Since when?"})]);
    let cut_off = Session { history: history()[..5].to_vec(), ..successor("deepgram", true) };
    assert_aside(&opening("deepgram", cut_off).1[0]["content"], GO_ON);
}

#[test]
fn an_agent_set_up_at_deepgram_is_told_the_history() {
    let session = Session { model: String::new(), agent_id: "a1".into(), ..successor("deepgram", false) };
    let (before, after) = opening("deepgram", session);
    assert_eq!((&before[0]["agent"], &before[1]["type"], after.len()), (&json!("a1"), &json!("UpdatePrompt"), 0));
    assert!(before[1]["prompt"].as_str().unwrap().ends_with("You: It is on its way.\nCaller: Since when?"));
}

#[test]
fn elevenlabs_is_told_the_history_and_then_the_question() {
    let (before, after) = opening("elevenlabs", successor("elevenlabs", true));
    assert_eq!(before[0]["conversation_config_override"]["agent"]["first_message"], "");
    let told = "This call goes on after an interruption. What was said and done before:\nYou: Welcome!\nCaller: My parcel?\n\
                (You called the tool lookup with {\"id\":7}; its result was {\"ok\":true})\n(You were told: It left on Monday.)\n\
                You: It is on its way.";
    assert_eq!(before[1..], [json!({"type": "contextual_update", "text": told})]);
    assert_eq!(after, [json!({"type": "user_message", "text": "Since when?"})]);
    let cut_off = Session { history: history()[..5].to_vec(), ..successor("elevenlabs", true) };
    assert_aside(&opening("elevenlabs", cut_off).1[0]["text"], GO_ON);
    let plain = Session { greeting: String::new(), ..successor("elevenlabs", false) };
    let overrides = &opening("elevenlabs", plain).0[0]["conversation_config_override"]["agent"];
    assert_eq!(overrides.get("first_message"), None, "an agent may refuse what the profile does not ask for");
}

#[test]
fn a_bot_gets_the_history_with_start() {
    let (before, after) = opening("raw", successor("raw", true));
    let [start] = &before[..] else { panic!("{before:?}") };
    assert_eq!((&start["call"], after.len()), (&json!("00112233445566778899aabbccddeeff"), 0));
    assert_eq!((&start["resumed"], &start["owes_answer"]), (&json!(true), &json!(true)));
    assert_eq!(
        start["history"],
        json!([
            {"speaker": "agent", "text": "Welcome!"},
            {"speaker": "caller", "text": "My parcel?"},
            {"tool": "lookup", "arguments": "{\"id\":7}", "result": "{\"ok\":true}"},
            {"context": "It left on Monday."},
            {"speaker": "agent", "text": "It is on its way."},
            {"speaker": "caller", "text": "Since when?"},
        ])
    );
    let shown =
        include_str!("../../../docs/raw.md").split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let shown: Value = serde_json::from_str(&shown.expect("an example").replace("…,", "")).expect("JSON");
    let keys = |entry: &Value| entry.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(keys(&shown).iter().all(|key| start.get(key).is_some()), "docs/raw.md shows {shown}");
    let sent: Vec<_> = start["history"].as_array().unwrap().iter().map(keys).collect();
    let shown = shown["history"].as_array().unwrap();
    assert!(shown.iter().all(|entry| sent.contains(&keys(entry))), "docs/raw.md shows {shown:?}");
    // A bot that writes down nothing has no history, and is told all the same.
    let second = Session { earlier_sessions: 1, ..settings("raw") };
    let start = opening("raw", second).0.remove(0);
    assert_eq!((&start["resumed"], &start["history"], start.get("greeting")), (&json!(true), &json!([]), None));
    assert_eq!(opening("raw", settings("raw")).0[0].get("resumed"), None);
}

#[test]
fn a_bot_for_twilio_gets_a_new_stream_of_the_same_call() {
    let starts = [0, 1, 2].map(|earlier_sessions| {
        let session = Session { earlier_sessions, ..settings("twilio") };
        opening("twilio", session).0.remove(1)
    });
    let call = "CA00112233445566778899aabbccddeeff";
    for (start, last) in starts.iter().zip(["eff", "f00", "f01"]) {
        assert_eq!(start["start"]["callSid"], call);
        assert_eq!(start["streamSid"], format!("MZ00112233445566778899aabbccdde{last}"));
        assert_eq!(start["start"]["streamSid"], start["streamSid"]);
    }
}
