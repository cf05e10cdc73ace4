//! Scripted sessions: what tests of a client are made of.

mod common;

use std::time::{Duration, Instant};

use ai_media::Format;
use common::{Client, PCM24, SOON, agent_audio, kinds, tone};
use practice_agent::{Script, Server, Sound, Speech, Step};
use serde_json::json;

const ULAW: Format = Format::ULAW;

fn scripted(script: Script) -> Server {
    Server::builder().script(script).start().expect("loopback has a free port")
}

#[test]
fn scripted_speech_arrives_byte_for_byte() {
    for format in [PCM24, Format::ULAW, Format::ALAW] {
        let audio = tone(format, 1230);
        let server = scripted(Script::new().greet(Speech::wire("Exactly this", audio.clone()).in_chunks_of(70), SOON));
        let mut client = Client::configured(&server, format);
        client.send(json!({"type": "response.create"}));
        assert_eq!(agent_audio(&client.until("response.done")), audio);
    }
}

#[test]
fn recorded_speech_is_converted_into_the_sessions_format() {
    let sound = Sound::Recorded(ULAW, tone(ULAW, 500).into());
    let server = scripted(Script::new().say(Speech::of("Converted", vec![sound])));
    let mut client = Client::configured(&server, PCM24);
    assert_eq!(agent_audio(&client.until("response.done")).len(), PCM24.bytes_in_ms(500));
}

#[test]
fn an_echo_returns_every_append_as_it_came() {
    let server = scripted(Script::echo());
    let mut client = Client::configured(&server, ULAW);
    let audio = tone(ULAW, 400);
    client.speak(ULAW, &audio);
    let mut events = Vec::new();
    while agent_audio(&events).len() < audio.len() {
        events.push(client.next());
    }
    assert_eq!(agent_audio(&events), audio);
    assert_eq!(kinds(&events).last(), Some(&"response.output_audio.delta"));
    let delta = events.last().expect("there was audio");
    let id = delta["item_id"].clone();
    let truncate =
        |ms: u64| json!({"type": "conversation.item.truncate", "item_id": id, "content_index": 0, "audio_end_ms": ms});
    assert_eq!(client.error_of(truncate(401))["message"], "Audio content of 400ms is already shorter than 401ms");
    client.send(truncate(400));
    client.wait("conversation.item.truncated");
}

#[test]
fn an_echo_between_two_formats_is_refused() {
    let server = scripted(Script::echo());
    let mut client = Client::connect(&server);
    client.send(json!({"type": "session.update", "session": {"type": "realtime",
        "audio": {"input": {"format": {"type": "audio/pcmu"}}}}}));
    client.speak(ULAW, &tone(ULAW, 20));
    assert_eq!(client.wait("error")["error"]["code"], "echo_needs_one_format");
}

#[test]
fn the_record_has_what_the_client_sent_and_when() {
    let server = scripted(Script::new());
    let before = Instant::now();
    let mut client = Client::configured(&server, ULAW);
    let audio = tone(ULAW, 200);
    client.speak(ULAW, &audio);
    client.send(json!({"type": "response.cancel"}));
    let session = server.next_session(SOON).expect("there is a client");
    session.wait_event("response.cancel", 0, SOON).expect("it was sent");
    session.wait_caller_audio(Duration::from_millis(200), SOON).expect("it was sent");

    assert_eq!(session.request().path, "/v1/realtime");
    assert_eq!(session.request().query_parameter("model"), Some("practice"));
    assert!(session.request().header("Sec-WebSocket-Key").is_some());
    assert_eq!(session.caller_audio(), audio);
    assert_eq!(session.caller_pcm().len(), 1600);
    let appends = session.appends();
    assert_eq!((appends.len(), appends[9].offset, appends[9].len), (10, 9 * 160, 160));
    assert!(appends.windows(2).all(|pair| pair[0].at <= pair[1].at) && appends[0].at > before);
    let events: Vec<String> = session.events().into_iter().map(|event| event.kind).collect();
    assert_eq!(events, ["session.update", "response.cancel"]);
    assert_eq!(session.wait_sent("session.updated", 0, SOON).expect("it was sent").audio_bytes, 0);
    drop(client);
    assert_eq!(session.wait_closed(SOON).expect("the client is gone").code, None);
}

#[test]
fn a_session_can_be_driven_by_hand() {
    let server = scripted(Script::new());
    let mut client = Client::configured(&server, ULAW);
    let session = server.next_session(SOON).expect("there is a client");
    session.perform(Script::new().start_saying(Speech::wire("A long story", tone(ULAW, 5000))));
    client.wait("response.output_audio.delta");
    session.perform(Step::SpeechStarted);
    client.wait("input_audio_buffer.speech_started");
    assert_eq!(client.wait("response.done")["response"]["status_details"]["reason"], "turn_detected");
    session.perform(Script::from(Step::SpeechStopped).call_tool("transfer", r#"{"to":"200"}"#));
    client.wait("input_audio_buffer.committed");
    let call = client.wait("response.function_call_arguments.done");
    assert_eq!((&call["name"], &call["arguments"]), (&json!("transfer"), &json!(r#"{"to":"200"}"#)));
    session.wait_performed(SOON).expect("all steps can be performed");
}

#[test]
fn a_step_can_wait_for_caller_audio() {
    let script = Script::new().wait_caller_audio(Duration::from_millis(100), SOON).then(Step::SpeechStarted);
    let server = scripted(script);
    let mut client = Client::configured(&server, ULAW);
    client.speak(ULAW, &tone(ULAW, 80));
    client.send(json!({"type": "input_audio_buffer.clear"}));
    assert_eq!(client.next()["type"], "input_audio_buffer.cleared");
    client.speak(ULAW, &tone(ULAW, 20));
    assert_eq!(client.next()["type"], "input_audio_buffer.speech_started");
}

#[test]
fn a_wait_in_vain_is_reported() {
    let server = scripted(Script::new().wait_event("response.create", Duration::from_millis(50)));
    let _client = Client::configured(&server, ULAW);
    let session = server.next_session(SOON).expect("there is a client");
    let failure = session.wait_performed(SOON).expect_err("nobody sent it");
    assert!(failure.to_string().contains("response.create"), "{failure}");
    assert!(session.wait_event("response.create", 0, Duration::from_millis(1)).is_err());
}

#[test]
fn sessions_can_have_scripts_of_their_own() {
    let server = Server::builder()
        .scripts(|number| Script::new().close(4000 + u16::try_from(number).unwrap_or_default(), "by number"))
        .start()
        .expect("loopback has a free port");
    assert_eq!(Client::connect(&server).close_code(), Some(4001));
    assert_eq!(Client::connect(&server).close_code(), Some(4002));
}

#[test]
fn steps_behind_a_reply_follow_its_end() {
    let script = Script::new().say(Speech::wire("First", tone(ULAW, 400))).then(Step::SpeechStarted);
    let server = scripted(script);
    let mut client = Client::configured(&server, ULAW);
    let order = client.until("input_audio_buffer.speech_started");
    assert!(order.iter().any(|event| event["type"] == "response.done"));
}
