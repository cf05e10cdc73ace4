//! Behaviour of the dialect `twilio`: what stands in Twilio's documentation, message by message.

mod common;

use ai_dialect::{Noticed, Output, Payload, Secret, Session};
use ai_media::Format;
use common::{Talk, audio_sent, sent, unrecognised};
use serde_json::{Value, json};

const STREAM: &str = "MZ00112233445566778899aabbccddeeff";
const CALL: &str = "CA00112233445566778899aabbccddeeff";
const ACCOUNT: &str = "ACffffffffffffffffffffffffffffffff";

fn session() -> Session {
    Session {
        url: "wss://bot.example/media".into(),
        call_id: "00112233445566778899aabbccddeeff".into(),
        account_sid: ACCOUNT.into(),
        variables: vec![("token".into(), "x".into())],
        ..Session::default()
    }
}

fn opened() -> Talk {
    let mut talk = Talk::new("twilio", session(), Format::ALAW);
    talk.open();
    talk
}

fn media(payload: &str) -> Value {
    json!({"event": "media", "streamSid": STREAM, "media": {"payload": payload}})
}

#[test]
fn the_handshake_is_signed_with_the_token_if_there_is_one() {
    let headers = |session: Session| {
        let handshake = Talk::new("twilio", session, Format::ULAW).dialect.handshake();
        handshake.headers.into_iter().map(|(name, value)| (name, value.reveal().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(headers(session()), []);
    let signed = Session { api_key: Secret::new("12345"), ..session() };
    assert_eq!(headers(signed), [("X-Twilio-Signature".into(), "/5mvxNeOJlhlHoGo6j8L/oRVdXY=".into())]);
}

#[test]
fn a_stream_begins_with_connected_and_start() {
    let outputs = Talk::new("twilio", session(), Format::ALAW).open();
    let (ready, messages) = outputs.split_last().unwrap();
    assert_eq!(*ready, Output::Ready);
    assert_eq!(
        sent(messages),
        [
            json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
            json!({
                "event": "start",
                "sequenceNumber": "1",
                "start": {
                    "accountSid": ACCOUNT,
                    "streamSid": STREAM,
                    "callSid": CALL,
                    "tracks": ["inbound"],
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": {"token": "x"},
                },
                "streamSid": STREAM,
            }),
        ]
    );
}

#[test]
fn the_caller_is_sent_as_mu_law_with_numbers_as_texts() {
    let mut talk = opened();
    assert_eq!((talk.dialect.caller_format(), talk.dialect.agent_format()), (Format::ULAW, Format::ULAW));
    let expected = [
        r#"{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"0","payload":"AAEC"},"streamSid":"MZ00112233445566778899aabbccddeeff"}"#,
        r#"{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"2","timestamp":"0","payload":""#,
        r#"{"event":"media","sequenceNumber":"4","media":{"track":"inbound","chunk":"3","timestamp":"20","payload":"/w=="},"streamSid":"MZ00112233445566778899aabbccddeeff"}"#,
    ];
    for (audio, expected) in [&[0, 1, 2][..], &[0xff; 157], &[0xff]].into_iter().zip(expected) {
        let outputs = talk.say(audio);
        let (Payload::Text(text), bytes) = audio_sent(&outputs) else { panic!("not text: {outputs:?}") };
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(bytes, audio.len());
    }
    assert_eq!(talk.say(&[]), []);
}

#[test]
fn every_key_is_told_at_once_and_for_itself() {
    let mut talk = opened();
    assert!(talk.dialect.takes_single_digits());
    let dtmf = |sequence: &str, digit: &str| {
        json!({"event": "dtmf", "streamSid": STREAM, "sequenceNumber": sequence,
            "dtmf": {"track": "inbound_track", "digit": digit}})
    };
    assert_eq!(talk.digits("1#"), [dtmf("2", "1"), dtmf("3", "#")]);
}

#[test]
fn the_bots_audio_is_the_agents() {
    let mut talk = opened();
    assert!(!talk.dialect.tells_turn_end());
    let expected = Output::AgentAudio { item: "stream".into(), audio: vec![0, 1, 2] };
    assert_eq!(talk.hear(media("AAEC")), [expected]);
    assert_eq!(talk.hear(media("")), []);
    assert_eq!(unrecognised(&talk.hear(media("!!!!"))), "media that is not base64");
}

#[test]
fn a_mark_comes_back_whether_it_was_heard_or_cleared() {
    let mut talk = opened();
    let mark = json!({"event": "mark", "streamSid": STREAM, "mark": {"name": "r1"}});
    assert_eq!(talk.hear(mark), [Output::Mark { name: "r1".into() }]);
    assert_eq!(talk.hear(json!({"event": "clear", "streamSid": STREAM})), [Output::Flush]);
    assert_eq!(talk.interrupt(&[("stream", 20, 400)], Noticed::ByProvider), [] as [Value; 0]);
    for (sequence, heard) in [("2", true), ("3", false)] {
        let back = json!({"event": "mark", "sequenceNumber": sequence, "streamSid": STREAM, "mark": {"name": "r1"}});
        assert_eq!(talk.mark("r1", heard), [back]);
    }
}

#[test]
fn a_stream_ends_with_stop() {
    let mut talk = opened();
    talk.say(&[0; 160]);
    assert_eq!(
        talk.end(),
        [json!({"event": "stop", "sequenceNumber": "3", "stop": {"accountSid": ACCOUNT, "callSid": CALL},
            "streamSid": STREAM})]
    );
}

#[test]
fn a_call_from_no_account_still_names_one() {
    let mut talk = Talk::new("twilio", Session { account_sid: String::new(), ..session() }, Format::ULAW);
    let outputs = talk.open();
    let start = &sent(&outputs[..2])[1];
    assert_eq!(start["start"]["accountSid"], format!("AC{}", "0".repeat(32)));
}

#[test]
fn what_is_no_message_of_twilios_is_not_recognised() {
    let mut talk = opened();
    assert_eq!(unrecognised(&talk.hear(json!({}))), "a message without an event");
    assert_eq!(unrecognised(&talk.hear(json!({"event": "stop"}))), "stop");
    assert_eq!(unrecognised(&talk.hear_binary(&[1, 2])), "binary message of 2 bytes");
    let endless = json!({"event": "mark", "mark": {"name": "m".repeat(1000)}});
    assert_eq!(talk.hear(endless), [Output::Mark { name: String::new() }], "a name that long is not kept");
}
