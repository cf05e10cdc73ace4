//! A client's mistakes show as they would at the vendor.

mod common;

use ai_media::Format;
use common::{Client, SOON, session_update, tone};
use practice_agent::{Api, Pace, Script, Server, Speech};
use serde_json::{Value, json};

fn server() -> Server {
    Server::builder().script(Script::new()).start().expect("loopback has a free port")
}

#[test]
fn malformed_events_are_answered_with_the_vendors_codes() {
    let server = server();
    let mut client = Client::configured(&server, Format::ULAW);
    let update = |session: Value| json!({"type": "session.update", "session": session});
    let input = |input: Value| update(json!({"type": "realtime", "audio": {"input": input}}));
    let cases = [
        (json!({"type": "input_audio_buffer.apend"}), "invalid_value", "type"),
        (json!({"event_id": "x"}), "missing_required_parameter", "type"),
        (update(json!({"instructions": "no type"})), "missing_required_parameter", "session.type"),
        (update(json!({"type": "realtime", "temperature": 0.8})), "unknown_parameter", "session.temperature"),
        (update(json!({"type": "realtime", "voice": "alloy"})), "unknown_parameter", "session.voice"),
        (input(json!({"format": {"type": "audio/opus"}})), "invalid_value", "session.audio.input.format.type"),
        (
            input(json!({"format": {"type": "audio/pcmu", "rate": 8000}})),
            "unknown_parameter",
            "session.audio.input.format.rate",
        ),
        (
            input(json!({"format": {"type": "audio/pcm", "rate": 16000}})),
            "integer_below_min_value",
            "session.audio.input.format.rate",
        ),
        (
            input(json!({"turn_detection": {"type": "server_vad", "threshold": "0.5"}})),
            "invalid_type",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            input(json!({"turn_detection": {"type": "server_vad", "threshold": 3}})),
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            json!({"type": "conversation.item.create", "item": {"type": "message", "role": "assistant",
                "content": [{"type": "input_text", "text": "x"}]}}),
            "invalid_value",
            "item.content[0].type",
        ),
        (json!({"type": "input_audio_buffer.append", "audio": "%%%"}), "invalid_value", "audio"),
        (json!({"type": "input_audio_buffer.append"}), "missing_required_parameter", "audio"),
    ];
    for (mut event, code, param) in cases {
        event["event_id"] = "mine".into();
        if event["type"] == "input_audio_buffer.append" {
            event.as_object_mut().expect("events are objects").remove("event_id");
        }
        let error = client.error_of(event.clone());
        assert_eq!((&error["code"], &error["param"]), (&json!(code), &json!(param)), "{event}");
        assert_eq!(error["event_id"], event["event_id"], "{event}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    client.send_text("{\"type\":");
    assert_eq!(client.wait("error")["error"]["code"], "invalid_json");
    client.send(session_update(Format::ULAW));
    client.wait("session.updated");
}

#[test]
fn half_a_sample_is_not_audio() {
    let server = server();
    let mut client = Client::connect(&server);
    let error = client.error_of(json!({"type": "input_audio_buffer.append", "audio": "AAAA"}));
    assert_eq!(error["code"], "invalid_value");
}

#[test]
fn there_is_nothing_to_cancel_without_a_response() {
    let server = server();
    let mut client = Client::configured(&server, Format::ULAW);
    let error = client.error_of(json!({"type": "response.cancel", "event_id": "c7"}));
    assert_eq!((&error["code"], &error["event_id"]), (&json!("response_cancel_not_active"), &json!("c7")));
}

#[test]
fn one_response_at_a_time_and_cancelling_makes_room() {
    let slow = Speech::wire("One two three", tone(Format::ULAW, 3000)).at(Pace::Times(1.0));
    let script = Script::new().greet(slow.clone(), SOON).greet(slow, SOON);
    let server = Server::builder().script(script).start().expect("loopback has a free port");
    let mut client = Client::configured(&server, Format::ULAW);
    client.send(json!({"type": "response.create"}));
    client.wait("response.output_audio.delta");
    let error = client.error_of(json!({"type": "response.create"}));
    assert_eq!(error["code"], "conversation_already_has_active_response");
    client.send(json!({"type": "response.cancel"}));
    let done = client.wait("response.done");
    assert_eq!(done["response"]["status_details"]["reason"], "client_cancelled");
}

#[test]
fn truncation_is_limited_to_the_audio_that_was_sent() {
    let script = Script::new().say(Speech::wire("Seven hundred", tone(Format::ULAW, 700)).at(Pace::Burst));
    let server = Server::builder().script(script).start().expect("loopback has a free port");
    let mut client = Client::configured(&server, Format::ULAW);
    let done = client.wait("response.done");
    let item = done["response"]["output"][0]["id"].clone();
    let id = item.clone();
    let truncate =
        |ms: u64| json!({"type": "conversation.item.truncate", "item_id": id, "content_index": 0, "audio_end_ms": ms});
    let error = client.error_of(truncate(701));
    assert_eq!(error["message"], "Audio content of 700ms is already shorter than 701ms");
    client.send(truncate(480));
    let truncated = client.wait("conversation.item.truncated");
    assert_eq!((&truncated["item_id"], &truncated["audio_end_ms"]), (&item, &json!(480)));
    let error = client.error_of(truncate(700));
    assert_eq!(error["message"], "Audio content of 480ms is already shorter than 700ms");
    let mut unknown = truncate(1);
    unknown["item_id"] = "item_nobody_made".into();
    assert_eq!(client.error_of(unknown)["code"], "item_truncate_invalid_item_id");
    client.send(json!({"type": "conversation.item.retrieve", "item_id": item}));
    let kept = client.wait("conversation.item.retrieved");
    assert_eq!(kept["item"]["content"][0]["transcript"], Value::Null, "what was not heard is not remembered");
    client.send(json!({"type": "conversation.item.delete", "item_id": item}));
    client.wait("conversation.item.deleted");
    assert_eq!(client.error_of(truncate(1))["code"], "item_truncate_invalid_item_id");
}

#[test]
fn the_vendors_refusal_of_beta_clients_can_be_had() {
    let server = Server::builder().api(Api::Ga).start().expect("loopback has a free port");
    let url = format!("{}?model=practice", server.url());
    let mut client = Client::try_connect(&url, &[("OpenAI-Beta", "realtime=v1")]).expect("the handshake succeeds");
    assert_eq!(client.next()["error"]["code"], "beta_api_shape_disabled");
    assert_eq!(client.close_code(), Some(4000));
    let mut client = Client::connect(&server);
    let flat = json!({"type": "session.update", "session": {"modalities": ["text", "audio"]}});
    assert_eq!(client.error_of(flat)["param"], "session.type");
}

#[test]
fn a_url_without_a_model_is_refused() {
    let server = server();
    let mut client = Client::try_connect(&server.url(), &[]).expect("the handshake succeeds");
    assert_eq!(client.next()["error"]["code"], "missing_model");
    assert_eq!(client.close_code(), Some(4000));
}
