//! The practice agent as a bot for other protocols than OpenAI's.

mod common;

use common::{Client, SOON};
use practice_agent::{Api, Script, Server, Speech, Step};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

fn bot(api: Api) -> (Server, Client) {
    let server = Server::builder().api(api).script(Script::new()).start().expect("a port is free");
    let client = Client::try_connect(&server.url(), &[]).expect("the handshake succeeds without a model");
    (server, client)
}

/// The next text message.
fn next_text(client: &mut Client) -> Value {
    match client.socket.read().expect("the server sends something") {
        Message::Text(text) => serde_json::from_str(&text).expect("messages are JSON"),
        other => panic!("{other:?} is no text"),
    }
}

#[test]
fn a_bot_for_twilio_says_media_and_a_mark_and_clears_when_the_caller_speaks() {
    let (server, mut client) = bot(Api::Twilio);
    let session = server.next_session(SOON).expect("a session");
    client.send(json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
    client.send(json!({"event": "start", "sequenceNumber": "1", "start": {"streamSid": "MZ1"}, "streamSid": "MZ1"}));
    client.send(json!({"event": "media", "streamSid": "MZ1", "media": {"payload": "AAEC"}}));
    client.send(json!({"event": "mark", "streamSid": "MZ1", "mark": {"name": "m"}}));
    session.wait_event("mark", 0, SOON).expect("it is recorded");
    assert_eq!(session.caller_audio(), [0, 1, 2]);
    session.perform(Script::new().say(Speech::wire("hi", vec![1; 160])).then(Step::SpeechStarted));
    let media = next_text(&mut client);
    assert_eq!((&media["event"], &media["streamSid"]), (&"media".into(), &"MZ1".into()));
    assert_eq!(media["media"]["payload"].as_str().map(str::len), Some(216), "160 bytes in base64");
    assert_eq!(next_text(&mut client)["event"], "mark");
    assert_eq!(next_text(&mut client), json!({"event": "clear", "streamSid": "MZ1"}));
}

#[test]
fn a_bot_for_raw_speaks_binary_and_hangs_up() {
    let (server, mut client) = bot(Api::Raw);
    let session = server.next_session(SOON).expect("a session");
    client.send(json!({"type": "start", "encoding": "alaw", "rate": 8000}));
    client.socket.send(Message::binary(vec![1, 2, 3])).expect("the server takes it");
    client.send(json!({"type": "digit", "digit": "5"}));
    session.wait_event("digit", 0, SOON).expect("it is recorded");
    assert_eq!(session.caller_audio(), [1, 2, 3]);
    session.perform(Script::new().say(Speech::wire("hi", vec![7; 160])).call_tool("hangup", "{}"));
    assert_eq!(client.socket.read().expect("audio"), Message::binary(vec![7; 160]));
    assert_eq!(next_text(&mut client)["type"], "mark");
    assert_eq!(next_text(&mut client), json!({"type": "transcript", "speaker": "agent", "text": "hi"}));
    assert_eq!(next_text(&mut client), json!({"type": "hangup"}));
}
