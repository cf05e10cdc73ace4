//! Every way in which the server can be made to misbehave.

mod common;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use ai_media::Format;
use common::{Client, PCM24, SOON, agent_audio, tone};
use openssl::ssl::{SslConnector, SslMethod};
use practice_agent::{Door, Frame, Pace, Script, Server, Speech, Step, faults};
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

const ULAW: Format = Format::ULAW;

fn scripted(script: Script) -> Server {
    Server::builder().script(script).start().expect("loopback has a free port")
}

#[test]
fn handshakes_are_refused_with_the_status_asked_for() {
    let server = scripted(Script::new());
    let url = server.url();
    for status in [401, 404, 500] {
        server.set_door(Door::Refuse(status));
        match Client::try_connect(&url, &[]) {
            Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), status),
            other => panic!("{:?} instead of a refusal", other.map(|_| "a session")),
        }
    }
    server.set_door(Door::Open);
    Client::connect(&server).wait("session.created");
    assert_eq!((server.attempts().len(), server.sessions().len()), (4, 1));
    assert_eq!(server.attempts()[0].request.as_ref().map(|request| request.path.as_str()), Some("/v1/realtime"));
}

#[test]
fn a_wrong_key_is_unauthorized() {
    let server = Server::builder().api_key("sk-right").start().expect("loopback has a free port");
    let url = format!("{}?model=practice", server.url());
    let with = |key: &str| Client::try_connect(&url, &[("Authorization", key)]);
    assert!(matches!(with("Bearer sk-wrong"), Err(Error::Http(response)) if response.status() == 401));
    assert!(with("Bearer sk-right").is_ok());
}

#[test]
fn a_silent_door_never_answers_the_handshake() {
    let server = Server::builder().door(Door::Silent).start().expect("loopback has a free port");
    let mut tcp = TcpStream::connect(server.address()).expect("TCP connects");
    tcp.set_read_timeout(Some(Duration::from_millis(200))).expect("the socket is open");
    let error = tcp.read(&mut [0]).expect_err("nothing comes");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(server.attempts().len(), 1);
}

#[test]
fn a_stall_leaves_the_connection_open_and_dead() {
    let server = scripted(faults::stall_after(Duration::from_millis(100), SOON));
    let mut client = Client::configured(&server, ULAW);
    client.speak(ULAW, &tone(ULAW, 100));
    let session = server.next_session(SOON).expect("there is a client");
    session.wait_performed(SOON).expect("the audio came");
    client.send(json!({"type": "input_audio_buffer.clear"}));
    client.socket.send(Message::Ping(vec![1].into())).expect("the socket is open");
    if let tokio_tungstenite::tungstenite::stream::MaybeTlsStream::Plain(tcp) = client.socket.get_ref() {
        tcp.set_read_timeout(Some(Duration::from_millis(200))).expect("the socket is open");
    }
    assert!(matches!(client.socket.read(), Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock));
}

#[test]
fn garbage_is_sent_as_it_is_and_the_session_goes_on() {
    let server = scripted(faults::garbage());
    let mut client = Client::connect(&server);
    let (mut broken, mut binary) = (0, 0);
    while binary == 0 {
        match client.socket.read().expect("the connection stays") {
            Message::Text(text) => broken += usize::from(serde_json::from_str::<serde_json::Value>(&text).is_err()),
            Message::Binary(_) => binary += 1,
            _ => {}
        }
    }
    assert!(broken >= 4, "not JSON, empty, NaN, too deep");
    client.send(json!({"type": "input_audio_buffer.clear"}));
    client.wait("input_audio_buffer.cleared");
}

#[test]
fn a_close_comes_in_the_middle_of_a_turn() {
    let script = Script::new()
        .start_saying(Speech::wire("Never finished", tone(ULAW, 5000)))
        .sleep(Duration::from_millis(50))
        .close(1011, "out of order");
    let server = scripted(script);
    let mut client = Client::configured(&server, ULAW);
    client.wait("response.output_audio.delta");
    assert_eq!(client.close_code(), Some(1011));
    let session = server.next_session(SOON).expect("there was a client");
    assert_eq!(session.wait_closed(SOON).expect("it was closed").code, Some(1011), "the client's answer");
    assert!(session.sent().iter().all(|sent| sent.kind != "response.done"));
}

#[test]
fn a_reset_comes_without_a_close_frame() {
    let script = Script::new().start_saying(Speech::wire("Cut", tone(ULAW, 5000))).sleep(Duration::from_millis(50));
    let server = scripted(script.then(Step::Reset));
    let mut client = Client::configured(&server, ULAW);
    client.wait("response.output_audio.delta");
    let end = loop {
        match client.socket.read() {
            Ok(message) => assert!(!message.is_close()),
            Err(error) => break error,
        }
    };
    let reset = matches!(&end, Error::Io(error) if error.kind() == ErrorKind::ConnectionReset);
    assert!(reset || matches!(end, Error::Protocol(_)), "{end}");
}

#[test]
fn an_expired_session_says_so_and_closes() {
    let server = scripted(faults::session_expired());
    let mut client = Client::connect(&server);
    assert_eq!(client.wait("error")["error"]["code"], "session_expired");
    assert_eq!(client.close_code(), Some(1001));
}

#[test]
fn a_huge_message_is_sent_whole() {
    let server = scripted(faults::huge_message(5 << 20));
    let mut client = Client::connect(&server);
    client.wait("session.created");
    assert_eq!(client.next()["padding"].as_str().map(str::len), Some((5 << 20) - 40));
}

#[test]
fn ten_minutes_of_audio_come_in_one_burst() {
    let audio = tone(PCM24, 600_000);
    let server = scripted(faults::audio_burst(audio.clone()));
    let mut client = Client::configured(&server, PCM24);
    let begun = Instant::now();
    assert!(agent_audio(&client.until("response.done")) == audio);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn pings_are_sent_and_pongs_recorded() {
    let server = scripted(faults::ping_flood(100).then(Step::Send(Frame::Text("{}".to_owned()))));
    let mut client = Client::connect(&server);
    client.wait("session.created");
    client.next();
    client.send(json!({"type": "input_audio_buffer.clear"}));
    client.wait("input_audio_buffer.cleared");
    let session = server.next_session(SOON).expect("there is a client");
    let pongs = session.pongs();
    assert!(pongs.iter().any(|(_, payload)| *payload == 99u32.to_be_bytes()), "{} pongs", pongs.len());
}

#[test]
fn a_slow_reader_is_felt_by_the_client() {
    let script = Script::from(Step::ReadSlowly { bytes_per_s: 1000 });
    let server = Server::builder().script(script).receive_buffer(4096).start().expect("loopback has a free port");
    let mut client = Client::configured(&server, PCM24);
    let session = server.next_session(SOON).expect("there is a client");
    session.wait_performed(SOON).expect("there is nothing to wait for");
    client.speak(PCM24, &tone(PCM24, 1000));
    std::thread::sleep(Duration::from_millis(500));
    assert!(session.caller_audio_time() < Duration::from_millis(200), "{:?}", session.caller_audio_time());
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_server_from_listening() {
    let speech = Speech::wire("To nobody", tone(PCM24, 120_000)).at(Pace::Burst);
    let server = scripted(Script::new().say(speech));
    let mut client = Client::configured(&server, PCM24);
    let session = server.next_session(SOON).expect("there is a client");
    client.speak(PCM24, &tone(PCM24, 1000));
    session.wait_caller_audio(Duration::from_secs(1), SOON).expect("the server listens");
}

#[test]
fn tls_is_spoken_with_the_certificate_given() {
    let folder = std::env::temp_dir().join(format!("practice-agent-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=practice", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .args([&key, std::path::Path::new("-out"), &certificate])
        .output();
    assert!(made.is_ok_and(|output| output.status.success()), "this test needs the openssl program");
    let read = |path| std::fs::read(path).expect("it was just written");
    let builder = Server::builder().tls(&read(&certificate), &read(&key)).expect("they belong together");
    let server = builder.start().expect("loopback has a free port");
    assert!(server.url().starts_with("wss://127.0.0.1:"));

    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("TLS is available");
    connector.set_ca_file(&certificate).expect("it is a certificate");
    std::fs::remove_dir_all(&folder).expect("it is ours");
    let tcp = TcpStream::connect(server.address()).expect("TCP connects");
    let tls = connector.build().connect("127.0.0.1", tcp).expect("the certificate is trusted");
    let url = format!("{}?model=practice", server.url());
    let (mut socket, _) = tokio_tungstenite::tungstenite::client(url, tls).expect("the handshake succeeds");
    assert!(socket.read().expect("the server speaks first").to_string().contains("session.created"));
}
