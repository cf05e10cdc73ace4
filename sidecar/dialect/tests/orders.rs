//! What somebody else than the caller wants the agent to say or to know.

mod common;

use ai_dialect::{Output, Session, Speaker};
use ai_media::Format;
use common::{Talk, sent, settings};
use serde_json::{Value, json};

const TEXT: &str = "We close in five minutes.";

fn ready(name: &'static str) -> Talk {
    let mut talk = Talk::new(name, Session { greeting: String::new(), ..settings(name) }, Format::ULAW);
    talk.make_ready();
    talk
}

/// The two things one may want, context without and with an answer: whether it is possible, and what is sent.
type Told = (bool, Vec<Value>);

fn all(name: &'static str) -> [Told; 3] {
    [ready(name).say_text(TEXT), ready(name).context(TEXT, false), ready(name).context(TEXT, true)]
}

fn ordered(text: &Value) -> bool {
    let order = "Say the text below to the caller now, exactly as it stands, in its own language, and nothing else.";
    text.as_str().is_some_and(|said| said.contains(order) && said.contains(&format!("\n\nText: {TEXT}")))
}

fn is_aside(text: &Value) -> bool {
    text.as_str().is_some_and(|text| text.starts_with("(The caller did not say this"))
}

#[test]
fn openai_takes_orders_as_such() {
    let [(can_say, said), (can_tell, told), (can_ask, asked)] = all("openai");
    assert!(can_say && can_tell && can_ask);
    let [say] = &said[..] else { panic!("{said:?}") };
    assert_eq!((&say["type"], &say["response"]["tool_choice"]), (&json!("response.create"), &json!("none")));
    assert!(ordered(&say["response"]["instructions"]), "{say}");
    let item = json!({"type": "message", "role": "system", "content": [{"type": "input_text", "text": TEXT}]});
    let context = json!({"type": "conversation.item.create", "event_id": "context", "item": item});
    assert_eq!(told, asked[..1]);
    assert_eq!(asked, [context, json!({"type": "response.create", "event_id": "respond"})]);
}

fn event(kind: &str) -> Value {
    json!({"type": kind, "response": {"id": "r", "status": "completed"}})
}

/// The instructions of the one message in `outputs`.
#[track_caller]
fn said(outputs: &[Output]) -> String {
    let sent = sent(outputs);
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent[0]["response"]["instructions"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn openai_says_one_text_after_another_and_none_into_an_answer() {
    let mut talk = ready("openai");
    talk.hear(event("response.created"));
    for text in ["one", "two"] {
        assert_eq!(talk.say_text(text), (true, vec![]));
    }
    assert_eq!(talk.context(TEXT, true).1.len(), 1);
    for text in ["one", "two"] {
        assert!(said(&talk.hear(event("response.done"))).ends_with(text));
        assert_eq!(talk.say_text("").1, [] as [Value; 0], "one answer at a time");
        talk.hear(event("response.created"));
    }
    assert!(said(&talk.hear(event("response.done"))).ends_with("Text: "));
    talk.hear(event("response.created"));
    assert!(said(&talk.hear(event("response.done"))).ends_with("Text: "));
    talk.hear(event("response.created"));
    assert_eq!(said(&talk.hear(event("response.done"))), "", "the answer about what it was told comes last");
}

#[test]
fn openai_answers_the_caller_before_it_says_a_text() {
    let mut talk = ready("openai");
    talk.hear(json!({"type": "input_audio_buffer.speech_started"}));
    assert_eq!(talk.say_text(TEXT), (true, vec![]), "into the caller's words");
    assert_eq!(talk.hear(json!({"type": "input_audio_buffer.speech_stopped"})).len(), 1, "the server answers now");
    talk.hear(event("response.created"));
    assert!(said(&talk.hear(event("response.done"))).ends_with(TEXT));
}

#[test]
fn a_text_that_met_a_busy_server_is_said_later() {
    let busy =
        json!({"type": "error", "error": {"code": "conversation_already_has_active_response", "event_id": "say"}});
    let mut talk = ready("openai");
    assert_eq!(talk.say_text(TEXT).1.len(), 1);
    assert_eq!(talk.hear(busy), []);
    assert!(said(&talk.hear(event("response.done"))).ends_with(TEXT));
}

#[test]
fn texts_without_end_are_refused() {
    let mut talk = ready("openai");
    talk.hear(event("response.created"));
    assert_eq!((0..1000).filter(|_| talk.say_text(TEXT).0).count(), 32);
}

#[test]
fn gemini_takes_an_order_in_words_and_nothing_that_it_should_not_answer() {
    let [(can_say, said), (can_tell, told), (can_ask, asked)] = all("gemini");
    assert_eq!((can_say, can_tell, can_ask), (true, false, true));
    let text = |sent: &[Value]| sent[0]["realtimeInput"]["text"].clone();
    assert!(is_aside(&text(&said)) && ordered(&text(&said)), "{said:?}");
    assert!(told.is_empty());
    assert!(is_aside(&text(&asked)) && asked.len() == 1, "{asked:?}");
}

#[test]
fn deepgram_speaks_a_text_itself_and_adds_to_the_prompt() {
    let [(can_say, said), (can_tell, told), (can_ask, asked)] = all("deepgram");
    assert!(can_say && can_tell && can_ask);
    assert_eq!(said, [json!({"type": "InjectAgentMessage", "message": TEXT, "behavior": "queue"})]);
    let prompt = json!({"type": "UpdatePrompt", "prompt": TEXT});
    assert_eq!(told, asked[..1]);
    assert_eq!(asked[0], prompt);
    assert!(asked[1]["type"] == "InjectUserMessage" && is_aside(&asked[1]["content"]), "{asked:?}");
}

#[test]
fn what_we_said_for_the_caller_is_not_written_down_as_the_callers() {
    let mut talk = ready("deepgram");
    let asked = talk.context(TEXT, true).1.remove(1);
    let echo = json!({"type": "ConversationText", "role": "user", "content": asked["content"]});
    assert_eq!(talk.hear(echo.clone()), []);
    let text = asked["content"].as_str().unwrap().to_owned();
    let spoken = Output::Transcript { speaker: Speaker::Caller, text, complete: true };
    assert_eq!(talk.hear(echo), [spoken], "once");
}

#[test]
fn elevenlabs_is_told_beside_the_conversation() {
    let [(can_say, said), (can_tell, told), (can_ask, asked)] = all("elevenlabs");
    assert!(can_say && can_tell && can_ask);
    let context = json!({"type": "contextual_update", "text": TEXT});
    assert_eq!(told, asked[..1]);
    assert_eq!(asked[0], context);
    assert!(said[0]["type"] == "contextual_update" && ordered(&said[0]["text"]), "{said:?}");
    for sent in [said, asked] {
        assert!(sent[1]["type"] == "user_message" && is_aside(&sent[1]["text"]), "{sent:?}");
    }
}

#[test]
fn a_bot_is_told_and_twilios_cannot_be() {
    let [said, told, asked] = all("raw");
    assert_eq!(said, (true, vec![json!({"type": "say", "text": TEXT})]));
    assert_eq!(told, (true, vec![json!({"type": "context", "text": TEXT, "answer": false})]));
    assert_eq!(asked, (true, vec![json!({"type": "context", "text": TEXT, "answer": true})]));
    assert_eq!(all("twilio"), [(false, vec![]), (false, vec![]), (false, vec![])]);
}
