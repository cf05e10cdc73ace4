//! The caller hangs up.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use practice_agent::{Script, Session, Step};
use rig::PhoneCall;

use super::{assert_hung_up, assert_no_more_descriptors, passive, speech};
use crate::common::{SOON, Stage, eventually, extension};

/// Any sound of the agent is louder than this; full scale is 1.
const AUDIBLE: f64 = 0.01;

#[test]
fn before_the_ai_has_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let stage = Stage::new(passive(), "connect_timeout_ms = 60000", &extension("201", &format!(",u(ws://{address}/)")));

    let call = stage.call("201");
    let mut connection = accept(&listener);
    read_until(&mut connection, "\r\n\r\n");
    call.hang_up();

    assert_hung_up(&stage, "201", &call);
    assert_eq!(connection.read(&mut [0; 64]).expect("closed in time"), 0, "the connection outlives the call");
}

#[test]
fn at_any_moment_of_the_conversation() {
    let stage = Stage::new(passive(), "greeting = Hello", &extension("_20X", ""));
    let moments: [(&str, Moment); 4] = [
        ("201", during_the_greeting),
        ("202", in_the_middle_of_an_answer),
        ("203", while_speaking),
        ("204", while_interrupting),
    ];
    let mut descriptors = None;
    for (extension, until) in moments {
        let (call, session) = stage.talk(extension);
        until(&call, &session);
        call.hang_up();
        assert_hung_up(&stage, extension, &call);
        let closed = session.wait_closed(SOON).expect("the WebSocket closes with the call");
        assert_eq!(closed.code, Some(1000), "{extension}: {closed:?}");
        assert_no_more_descriptors(&stage, &mut descriptors);
    }
}

/// Brings a conversation to the moment in which the caller hangs up.
type Moment = fn(&PhoneCall, &Session);

fn during_the_greeting(call: &PhoneCall, session: &Session) {
    session.perform(Script::new().wait_event("response.create", SOON).start_saying(speech(10_000)));
    wait_audible(call);
}

fn in_the_middle_of_an_answer(call: &PhoneCall, session: &Session) {
    let turn = Script::new().then(Step::SpeechStarted).sleep(Duration::from_millis(300)).then(Step::SpeechStopped);
    session.perform(turn.start_saying(speech(10_000)));
    wait_audible(call);
}

fn while_speaking(call: &PhoneCall, session: &Session) {
    call.play(&vec![8000; 8000]);
    session.perform(Step::SpeechStarted);
    session.wait_sent("input_audio_buffer.speech_started", 0, SOON).expect("the agent notices");
}

fn while_interrupting(call: &PhoneCall, session: &Session) {
    session.perform(Script::new().start_saying(speech(10_000)));
    wait_audible(call);
    session.perform(Step::SpeechStarted);
    session.wait_event("conversation.item.truncate", 0, SOON).expect("the interruption takes effect");
}

fn wait_audible(call: &PhoneCall) {
    let start = Instant::now();
    eventually("the agent is heard", SOON, || call.heard().first_sound(start, AUDIBLE).is_some());
}

/// The next connection, whose reads give up after a while.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a socket can be");
    let mut accepted = None;
    eventually("somebody connects", SOON, || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (connection, _) = accepted.expect("just seen");
    connection.set_nonblocking(false).expect("a socket can be");
    connection.set_read_timeout(Some(SOON)).expect("not zero");
    connection
}

fn read_until(connection: &mut TcpStream, end: &str) {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        connection.read_exact(&mut byte).expect("the handshake comes");
        text.extend(byte);
    }
}
