//! ElevenLabs, Gemini Live and Deepgram, as their documentation has them, hold real calls: signed in, heard, interrupted,
//! and hung up by a tool.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::python::PythonServer;
use common::signal::{Chord, codes, compare, is_sound, sounds};
use common::{SOON, Stage, eventually};
use practice_agent::{Script, Server};
use rig::{Codec, Phone, PhoneCall};
use serde_json::{Value, json};

/// What the stand-ins want to be shown.
const KEY: &str = "sk-test-0123456789";
/// A cut may have a soft edge of this many codes.
const FADE_CODES: usize = 40;

/// A call of a µ-law phone that was interrupted by a key after about a second, and hung up by the agent.
struct Talked {
    call: PhoneCall,
    vendor: PythonServer,
}

/// Holds the call with the vendor at `path`, whose agent would say all of `speech`.
fn talk(name: &str, path: &str, keys: &str, speech: &[u8]) -> Talked {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.speech"));
    fs::write(&file, speech).expect("the target folder can be written");
    let vendor = PythonServer::start("tests/wire/vendors.py", &[]);
    let config = format!(
        "[general]\ndefault_profile = test\n\n[test]\ntype = agent\ndialect = {name}\nurl = {}\napi_key = {KEY}\n\
         barge_in = server\n{keys}\n",
        vendor.url(path)
    );
    let stage = Stage::with(Server::builder().script(Script::new()), |rig, _| rig.config("ai_bridge.conf", config), "");
    let call = Phone::new(&stage.rig).codec(Codec::Ulaw).dial("100").expect("the phone dials");
    call.wait_answered(SOON).expect("the call is answered");
    vendor.wait_event("ready", 0, SOON, |_| true);
    vendor.order(&json!({"do": "say", "file": file, "text": "All of it."}));
    eventually("the agent is heard", SOON, || call.heard().audio().any(is_sound));
    call.send_digit('5');
    assert_eq!(vendor.wait_event("keys", 0, SOON, |_| true).json["keys"], "5");
    vendor.order(&json!({"do": "interrupt"}));
    vendor.order(&json!({"do": "call", "id": "t1", "tool": "hangup", "arguments": {}}));
    let result = stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("REASON")), ("COMPLETE", "the agent hung up"), "{result:?}");
    assert_eq!(result.number("BARGEINS"), 1.0);
    stage.assert_nothing_left();
    vendor.wait_event("closed", 0, SOON, |_| true);
    Talked { call, vendor }
}

impl Talked {
    /// The `nth` message the vendor received, audio apart.
    fn told(&self, nth: usize) -> Value {
        self.vendor.wait_event("told", nth, SOON, |_| true).json["message"].clone()
    }

    /// That only the beginning of `said` was heard: it was interrupted after about a second.
    fn assert_heard_beginning(&self, said: &[u8]) {
        let recording = self.call.heard().bytes();
        let heard = sounds(&recording);
        assert_eq!(heard.len(), 1, "stretches of the agent's audio");
        let same = heard[0].1.iter().zip(said).take_while(|(heard, said)| heard == said).count();
        assert!(heard[0].1.len() - same <= FADE_CODES, "only what was said is heard");
        assert!((4000..32_000).contains(&same), "{same} codes are heard");
    }

    /// That the caller's stream had no gap while the call lasted, in `bytes_in_ms`.
    fn assert_stream(&self, bytes_in_ms: u64) {
        let recording = self.call.heard();
        let lasted = |from: Instant, to: Instant| (to - from).as_millis() as u64;
        let packets: Vec<_> = recording.audio().collect();
        let line_ms = lasted(packets[0].at, packets[packets.len() - 1].at);
        let closed = self.vendor.wait_event("closed", 0, SOON, |_| true).json;
        let heard_ms = closed["audio_bytes"].as_u64().expect("a number") / bytes_in_ms;
        assert!(line_ms.abs_diff(heard_ms) < 500, "{heard_ms} ms of the caller in a call of {line_ms} ms");
    }
}

#[test]
fn elevenlabs_is_reached_by_a_signed_address_and_spoken_to_in_the_formats_it_names() {
    let said = codes(1, 20_000 * 8);
    // What the profile expects is right for the agent's audio, and wrong for the caller's.
    let keys = "audio = ulaw\nagent_id = agent_1\ngreeting = Hello\nvariable = who=Ann";
    let talked = talk("elevenlabs", "/v1/convai/conversation", keys, &said);
    let start = talked.told(0);
    assert_eq!(start["conversation_config_override"]["agent"]["first_message"], "Hello");
    assert_eq!(start["dynamic_variables"]["who"], "Ann");
    assert_eq!(talked.told(1), json!({"type": "pong", "event_id": 7}));
    assert_eq!(talked.told(3)["tool_call_id"], "t1");
    talked.assert_heard_beginning(&said);
    talked.assert_stream(32);
}

#[test]
fn deepgram_passes_g711_untouched() {
    let said = codes(2, 20_000 * 8);
    let talked = talk("deepgram", "/v1/agent/converse", "model = gpt-4o-mini", &said);
    assert_eq!(talked.told(0)["audio"]["input"]["encoding"], "mulaw");
    assert_eq!(talked.told(2)["id"], "t1");
    talked.assert_heard_beginning(&said);
    talked.assert_stream(8);
}

#[test]
fn gemini_is_spoken_to_at_16_khz_and_heard_at_24() {
    let chord = Chord::narrow(3, Duration::from_secs(20));
    let talked = talk("gemini", "/ws/BidiGenerateContent", "model = live", &chord.slin(24_000));
    assert_eq!(talked.told(0)["setup"]["model"], "models/live");
    assert_eq!(talked.told(2)["toolResponse"]["functionResponses"][0]["id"], "t1");
    // µ-law itself leaves about 38 dB.
    let likeness = compare(&talked.call.heard().pcm(), &chord.at_rate(8000)[..4000], 8000);
    println!("24 kHz to a µ-law phone: SNR {:.1} dB", likeness.snr_db);
    assert!(likeness.snr_db > 33.0, "{likeness:?}");
    talked.assert_stream(32);
}

#[test]
fn a_key_that_is_not_accepted_ends_the_call_before_it_costs_anything() {
    let vendor = PythonServer::start("tests/wire/vendors.py", &[]);
    let profile = |name: &str, path: &str, keys: &str| {
        format!("[{name}]\ntype = agent\ndialect = {name}\nurl = {}\napi_key = wrong\n{keys}\n", vendor.url(path))
    };
    let config = [
        profile("elevenlabs", "/v1/convai/conversation", "agent_id = a"),
        profile("gemini", "/ws/BidiGenerateContent", "model = live"),
        profile("deepgram", "/v1/agent/converse", "model = m"),
    ];
    let dialplan = ["elevenlabs", "gemini", "deepgram"]
        .iter()
        .enumerate()
        .map(|(n, name)| common::extension(&format!("20{n}"), name))
        .collect::<String>();
    let agent = Server::builder().script(Script::new());
    let stage = Stage::with(agent, |rig, _| rig.config("ai_bridge.conf", config.join("\n")), &dialplan);
    for extension in ["200", "201", "202"] {
        let call = stage.dial(extension);
        let result = stage.result(extension);
        assert_eq!(result.get("STATUS"), "AUTHFAIL", "{result:?}");
        assert!(!result.get("REASON").contains("wrong"), "{result:?}");
        drop(call);
    }
    assert_eq!(vendor.lines(), [] as [String; 0]);
}
