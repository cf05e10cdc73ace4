//! The practice servers that write down what they hear: Soniox' protocol, and OpenAI's transcription sessions.

mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use ai_media::Format;
use common::{Client, SOON, note, silence, tone};
use practice_agent::{Door, Script, Server, Step, faults};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{self, Message};

const KEY: (&str, &str) = ("authorization", "Bearer sk-1");

fn server() -> Server {
    Server::builder().words(two_lines).start().expect("a port is free")
}

/// What the caller says, and nobody else.
fn two_lines(name: &str) -> Vec<String> {
    let lines: &[&str] = if name.ends_with("-caller") {
        &["Сколько стоит перегородка?", "Дорого."]
    } else {
        &[]
    };
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn config() -> Value {
    json!({"model": "stt-rt-v5", "audio_format": "alaw", "sample_rate": 8000, "num_channels": 1,
        "language_hints": ["ru"], "enable_endpoint_detection": true, "client_reference_id": "1-caller"})
}

/// A client of Soniox' protocol that has not sent its config.
fn connect(server: &Server) -> Client {
    Client::try_connect(&server.soniox_url(), &[KEY]).expect("the handshake succeeds")
}

fn configured(server: &Server, config: Value) -> Client {
    let mut client = connect(server);
    client.send(config);
    client
}

fn say(client: &mut Client, ms: u64) {
    speak(client, &tone(Format::ALAW, ms));
    speak(client, &silence(Format::ALAW, 700));
}

fn speak(client: &mut Client, audio: &[u8]) {
    for piece in audio.chunks(Format::ALAW.bytes_in_ms(20)) {
        client.socket.send(Message::binary(piece.to_vec())).expect("the server takes it");
    }
}

/// The next message; `None` when the server closes.
fn next(client: &mut Client) -> Option<Value> {
    loop {
        match client.socket.read().expect("the server sends something") {
            Message::Text(text) => {
                note("soniox", &text);
                return Some(serde_json::from_str(&text).expect("messages are JSON"));
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// All final tokens up to the next mark, and all guesses.
fn line(client: &mut Client) -> (Vec<Value>, Vec<String>) {
    let (mut fixed, mut guesses) = (Vec::new(), Vec::new());
    loop {
        let message = next(client).expect("tokens");
        let mut guess = String::new();
        for token in message["tokens"].as_array().expect("tokens") {
            let text = token["text"].as_str().expect("a text");
            match (token["is_final"].as_bool(), text) {
                (Some(true), "<end>" | "<fin>") => return (fixed, guesses),
                (Some(true), _) => fixed.push(token.clone()),
                _ => guess.push_str(text),
            }
        }
        guesses.push(guess);
    }
}

fn text(tokens: &[Value]) -> String {
    tokens.iter().map(|token| token["text"].as_str().expect("a text")).collect()
}

/// The error that the server ends the stream with: code and type.
fn refusal(client: &mut Client) -> (u64, String) {
    loop {
        let message = next(client).expect("an error before the end");
        if let Some(code) = message["error_code"].as_u64() {
            assert!(next(client).is_none(), "the connection is closed");
            return (code, message["error_type"].as_str().expect("a type").to_owned());
        }
    }
}

#[test]
fn speech_becomes_the_words_that_were_written_down_with_its_times() {
    let server = server();
    let mut client = configured(&server, config());
    speak(&mut client, &silence(Format::ALAW, 500));
    say(&mut client, 2000);
    let (tokens, guesses) = line(&mut client);
    assert_eq!(text(&tokens), "Сколько стоит перегородка?");
    assert!(guesses.iter().any(|guess| guess == "Сколько стоит"), "{guesses:?}");
    let (first, last) = (&tokens[0], &tokens[tokens.len() - 1]);
    let near = |value: &Value, ms: u64| value.as_u64().is_some_and(|at| at.abs_diff(ms) <= 30);
    assert!(near(&first["start_ms"], 500) && near(&last["end_ms"], 2500), "{first} {last}");
    // Speech that nobody has written down is told by its length.
    say(&mut client, 400);
    assert_eq!(text(&line(&mut client).0), "Дорого.");
    say(&mut client, 1000);
    assert_eq!(text(&line(&mut client).0), "(1.0 s of speech)");
}

#[test]
fn a_test_finds_the_stream_by_its_name_and_hears_what_it_was_sent() {
    let server = server();
    let mut audio = tone(Format::ALAW, 300);
    audio[7] = 1;
    let mut other = configured(
        &server,
        json!({"model": "m", "audio_format": "mulaw", "sample_rate": 8000,
        "num_channels": 1, "client_reference_id": "1-operator"}),
    );
    let mut client = configured(&server, config());
    speak(&mut client, &audio);
    let stream = server.stream("-caller", SOON).expect("the stream");
    stream.wait_caller_audio(Duration::from_millis(300), SOON).expect("the audio");
    assert_eq!((stream.caller_audio(), stream.reference().as_deref()), (audio, Some("1-caller")));
    assert!(server.stream("-operator", SOON).expect("the other").caller_audio().is_empty());
    assert_eq!(stream.wait_event("config", 0, SOON).expect("it came").json, config());
    assert!(server.stream("-nobody", Duration::ZERO).is_err());
    speak(&mut other, &[tone(Format::ULAW, 200), silence(Format::ULAW, 700)].concat());
    let speech = server.stream("-operator", SOON).expect("the other");
    speech.wait_sent("tokens", 1, SOON).expect("words without endpoints");
    assert!(speech.sent().iter().all(|sent| !sent.json.to_string().contains("<end>")));
}

#[test]
fn a_stream_of_the_same_name_goes_on_with_the_next_line() {
    let server = server();
    let mut client = configured(&server, config());
    say(&mut client, 300);
    line(&mut client);
    drop(client);
    let mut client = configured(&server, config());
    say(&mut client, 300);
    assert_eq!(text(&line(&mut client).0), "Дорого.");
    assert_eq!(server.streams("-caller").len(), 2);
}

#[test]
fn finalize_ends_a_line_at_once_and_the_empty_message_the_stream() {
    let server = server();
    let mut client = configured(&server, config());
    speak(&mut client, &tone(Format::ALAW, 600));
    client.send(json!({"type": "finalize"}));
    assert_eq!(text(&line(&mut client).0), "Сколько стоит перегородка?");
    client.send(json!({"type": "keepalive"}));
    speak(&mut client, &tone(Format::ALAW, 600));
    client.send_text("");
    let mut said = String::new();
    loop {
        let message = next(&mut client).expect("the end is told");
        let tokens = message["tokens"].as_array().expect("tokens").clone();
        said.push_str(&text(&tokens.into_iter().filter(|token| token["is_final"] == true).collect::<Vec<_>>()));
        if message["finished"] == true {
            break;
        }
    }
    assert_eq!(said, "Дорого.");
    assert_eq!(next(&mut client), None);
    let stream = server.stream("-caller", SOON).expect("the stream");
    let kinds: Vec<_> = stream.events().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["config", "finalize", "keepalive", "end"]);
}

#[test]
fn who_has_no_key_is_let_in_and_told() {
    let server = Server::builder().api_key("sk-1").start().expect("a port is free");
    let with = |headers: &[(&'static str, &str)], config: Value| {
        let mut client = Client::try_connect(&server.soniox_url(), headers).expect("the handshake succeeds");
        client.send(config);
        client
    };
    let mut with_key = config();
    with_key["api_key"] = json!("sk-1");
    let unknown = (401, "unauthenticated".to_owned());
    assert_eq!(refusal(&mut with(&[], config())), unknown);
    assert_eq!(refusal(&mut with(&[("authorization", "Bearer sk-2")], config())), unknown);
    assert_eq!(refusal(&mut with(&[], with_key.clone())), unknown, "no longer there");
    assert_eq!(refusal(&mut with(&[KEY], with_key)).0, 400, "nor twice");
    // Without headers, as a browser has to.
    let mut client = with(&[("sec-websocket-protocol", "soniox-api-key, sk-1")], config());
    say(&mut client, 300);
    line(&mut client);
}

#[test]
fn a_config_that_is_not_right_is_refused() {
    let server = server();
    let without = |field: &str| {
        let mut config = config();
        config.as_object_mut().expect("an object").remove(field);
        config
    };
    let with = |field: &str, value: Value| {
        let mut config = config();
        config[field] = value;
        config
    };
    for wrong in [
        json!({"type": "keepalive"}),
        without("model"),
        without("audio_format"),
        without("sample_rate"),
        without("num_channels"),
        with("audio_format", json!("opus")),
        with("max_endpoint_delay_ms", json!(100)),
        with("endpoint_sensitivity", json!(2)),
        with("language_hints", json!("ru")),
        with("sample_rat", json!(8000)),
    ] {
        assert_eq!(refusal(&mut configured(&server, wrong.clone())), (400, "invalid_request".to_owned()), "{wrong}");
    }
    let mut client = connect(&server);
    speak(&mut client, &[0xd5; 160]);
    assert_eq!(refusal(&mut client).0, 400, "audio before the config");
    let mut client = configured(&server, with("audio_format", json!("pcm_s16le")));
    client.socket.send(Message::binary(vec![0; 3])).expect("the server takes it");
    assert_eq!(refusal(&mut client).0, 400, "half a sample");
    let mut client = configured(&server, config());
    client.send(json!({"type": "sing"}));
    assert_eq!(refusal(&mut client).0, 400);
}

#[test]
fn a_client_that_is_silent_for_too_long_is_sent_away() {
    let server = Server::builder().patience(Duration::from_millis(600)).start().expect("a port is free");
    let mut client = configured(&server, config());
    let since = Instant::now();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(250));
        client.send(json!({"type": "keepalive"}));
    }
    assert_eq!(refusal(&mut client), (408, "request_timeout".to_owned()));
    assert!(since.elapsed() > Duration::from_millis(1500));
}

#[test]
fn faults_come_when_they_are_ordered() {
    let server = server();
    for (code, kind) in [(503, "service_unavailable"), (429, "limit_exceeded"), (402, "balance_exhausted")] {
        let mut client = configured(&server, config());
        let stream = server.next_session(SOON).expect("a session");
        stream.perform(faults::soniox_error(code, "Please restart the request."));
        assert_eq!(refusal(&mut client), (code.into(), kind.to_owned()));
    }
    let mut client = configured(&server, config());
    server.next_session(SOON).expect("a session").perform(Script::new().close(1011, "out of order"));
    assert_eq!(client.close_code(), Some(1011));
    let mut client = configured(&server, config());
    server.next_session(SOON).expect("a session").perform(Step::Reset);
    let problem = client.socket.read().expect_err("no goodbye");
    assert!(matches!(&problem, tungstenite::Error::Io(io) if io.kind() == ErrorKind::ConnectionReset), "{problem}");
    let mut client = configured(&server, config());
    let stalled = server.next_session(SOON).expect("a session");
    stalled.perform(Step::Stall);
    stalled.wait_performed(SOON).expect("it stalls");
    client.send_text("");
    let MaybeTlsStream::Plain(tcp) = client.socket.get_ref() else { panic!("no TLS here") };
    tcp.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert!(matches!(client.socket.read(), Err(tungstenite::Error::Io(_))), "nothing comes");
    server.set_door(Door::Refuse(503));
    assert!(Client::try_connect(&server.soniox_url(), &[KEY]).is_err());
}

/// A client of a transcription session, by the header that names its stream.
fn transcribing(server: &Server) -> Client {
    let url = format!("{}?intent=transcription", server.url());
    let mut client =
        Client::try_connect(&url, &[KEY, ("x-client-request-id", "1-caller")]).expect("the handshake succeeds");
    let session = client.wait("session.created")["session"].take();
    assert_eq!(
        (&session["type"], &session["object"]),
        (&json!("transcription"), &json!("realtime.transcription_session"))
    );
    client
}

fn update() -> Value {
    json!({"type": "session.update", "session": {"type": "transcription", "audio": {"input": {
        "format": {"type": "audio/pcma"}, "transcription": {"model": "gpt-transcribe", "language": "ru"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}}}})
}

#[test]
fn a_transcription_session_writes_down_and_never_answers() {
    let server = server();
    let mut client = transcribing(&server);
    client.send(update());
    client.wait("session.updated");
    let completed = "conversation.item.input_audio_transcription.completed";
    for words in ["Сколько стоит перегородка?", "Дорого.", "(0.5 s of speech)"] {
        client.speak(Format::ALAW, &tone(Format::ALAW, 500));
        client.speak(Format::ALAW, &silence(Format::ALAW, 400));
        let events = client.until(completed);
        assert_eq!(events[events.len() - 1]["transcript"], words);
        let deltas = events.iter().filter_map(|event| event["delta"].as_str());
        assert_eq!(deltas.collect::<String>(), words);
    }
    let session = server.stream("-caller", SOON).expect("the stream");
    session.wait_caller_audio(Duration::from_millis(2700), SOON).expect("all of it");
    assert!(session.sent().iter().all(|sent| !sent.kind.starts_with("response")));
}

#[test]
fn a_transcription_session_is_no_conversation_nor_the_other_way_round() {
    let server = server();
    let mut client = transcribing(&server);
    let error = client.error_of(json!({"type": "session.update", "session": {"type": "realtime"}}));
    assert_eq!((&error["code"], &error["param"]), (&json!("invalid_parameter"), &json!("session.type")));
    let mut client = Client::connect(&server);
    assert_eq!(client.error_of(update())["param"], "session.type");
    let url = format!("{}?intent=transcription&model=gpt-transcribe", server.url());
    let mut client = Client::try_connect(&url, &[]).expect("the handshake succeeds");
    assert_eq!(client.wait("error")["error"]["code"], "invalid_model");
    assert_eq!(client.close_code(), Some(4000));
}
