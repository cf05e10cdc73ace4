//! Bots that were written for Twilio Media Streams, and bots that were written for this module, hold real calls.

mod common;

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::python::PythonServer;
use common::signal::{codes, is_sound, position, sounds};
use common::witness::undisturbed;
use common::{SOON, Stage, eventually};
use practice_agent::{Api, Builder, Pace, Received, Script, Server, Session, Speech, Step};
use rig::{Codec, Phone, PhoneCall};

/// G.711 codes in a millisecond.
const CODES_IN_MS: usize = 8;
/// A cut may have a soft edge of this many codes.
const FADE_CODES: usize = 5 * CODES_IN_MS;

/// A call that reaches a bot.
struct Talk {
    stage: Stage,
    call: PhoneCall,
    session: Session,
}

/// A bot that does what it is told.
fn bot(api: Api) -> Builder {
    Server::builder().api(api).script(Script::new())
}

/// An Asterisk whose default profile has these `keys` and leads to `url`, or to the agent.
fn stage(agent: Builder, keys: &str, url: Option<&str>) -> Stage {
    let config = |agent_url: &str| {
        let url = url.unwrap_or(agent_url);
        format!("[general]\ndefault_profile = test\n\n[test]\ntype = agent\nurl = {url}\n{keys}\n")
    };
    Stage::with(agent, |rig, agent_url| rig.config("ai_bridge.conf", config(agent_url)), "")
}

impl Talk {
    fn begin(api: Api, codec: Codec, keys: &str) -> Self {
        let stage = stage(bot(api), keys, None);
        let call = dial(&stage, codec);
        let session = stage.session();
        session.wait_caller_audio(Duration::from_millis(100), SOON).expect("caller audio flows");
        Self { stage, call, session }
    }

    /// The bot says `ms` of codes that are known, faster than they are heard.
    fn bot_says(&self, seed: u64, ms: usize) -> Vec<u8> {
        let said = codes(seed, ms * CODES_IN_MS);
        self.session.perform(Script::new().say(Speech::wire("codes", said.clone()).at(Pace::Times(10.0))));
        said
    }

    fn event(&self, kind: &str, nth: usize) -> Received {
        self.session.wait_event(kind, nth, SOON).unwrap_or_else(|problem| panic!("{kind}: {problem}"))
    }

    /// When the first packet with the bot's voice came.
    fn first_heard(&self) -> Instant {
        self.call.heard().audio().find(|packet| is_sound(packet)).expect("the bot is heard").at
    }

    /// A key reaches the bot long before keys would be gathered.
    fn assert_key_is_told_at_once(&self, kind: &str) -> serde_json::Value {
        let pressed = Instant::now();
        self.call.send_digit('5');
        let told = self.event(kind, 0);
        assert!(told.at - pressed < Duration::from_millis(600), "told after {:?}", told.at - pressed);
        told.json
    }

    /// That of `said` the beginning was heard for some time, and nothing else. Gives how long. [ms]
    fn heard_beginning(&self, said: &[u8]) -> u64 {
        let recording = self.call.heard().bytes();
        let heard = sounds(&recording);
        assert_eq!(heard.len(), 1, "stretches of the bot's audio");
        let same = heard[0].1.iter().zip(said).take_while(|(heard, said)| heard == said).count();
        assert!(heard[0].1.len() - same <= FADE_CODES, "only what was said is heard");
        (same / CODES_IN_MS) as u64
    }
}

fn dial(stage: &Stage, codec: Codec) -> PhoneCall {
    let call = Phone::new(&stage.rig).codec(codec).dial("100").expect("the phone dials");
    call.wait_answered(SOON).expect("the call is answered");
    call
}

/// That all of `said` was heard, and nothing else.
fn assert_heard_exactly(call: &PhoneCall, said: &[u8]) {
    let heard = call.heard().bytes();
    let place = position(&heard, &said[..160]).expect("the beginning is heard");
    assert!(heard[place..].starts_with(said), "something else is heard");
    assert_eq!(sound(call), said.len(), "and nothing more");
}

#[test]
fn a_bot_for_twilio_hears_and_is_heard_and_its_marks_come_back_when_they_are() {
    let keys = "dialect = twilio\nvariable = token=x\naccount_sid = ACtest";
    let talk = Talk::begin(Api::Twilio, Codec::Ulaw, keys);
    let start = talk.event("start", 0).json;
    assert_eq!(start["start"]["customParameters"]["token"], "x");
    assert_eq!(start["start"]["accountSid"], "ACtest");
    assert_eq!(talk.event("connected", 0).json["protocol"], "Call");

    let spoken = codes(1, 1000 * CODES_IN_MS);
    talk.call.play_bytes(&spoken);
    // Not a whole number of frames: the last half of one is heard, and its mark reached, though nothing follows.
    let said = talk.bot_says(2, 1010);
    let mark = talk.event("mark", 0);
    let after = mark.at - talk.first_heard();
    assert!((980..1150).contains(&after.as_millis()), "the mark comes back {after:?} after the first packet");
    sleep(Duration::from_millis(200));
    assert_heard_exactly(&talk.call, &said);
    assert!(position(&talk.session.caller_audio(), &spoken).is_some(), "the caller's bytes pass untouched");

    let dtmf = talk.assert_key_is_told_at_once("dtmf");
    assert_eq!((&dtmf["dtmf"]["digit"], &dtmf["streamSid"]), (&"5".into(), &start["streamSid"]));
    talk.call.hang_up();
    assert_eq!(talk.event("stop", 0).json["stop"]["callSid"], start["start"]["callSid"]);
    talk.session.wait_closed(SOON).expect("the WebSocket closes with the call");
    talk.stage.assert_nothing_left();
}

#[test]
fn a_bot_for_twilio_clears_and_gets_its_marks_back_at_once() {
    let talk = Talk::begin(Api::Twilio, Codec::Alaw, "dialect = twilio");
    let said = codes(3, 20_000 * CODES_IN_MS);
    let speech = Speech::wire("a long answer", said).at(Pace::Burst);
    talk.session.perform(Script::new().say(speech).sleep(Duration::from_millis(700)).then(Step::SpeechStarted));
    let mark = talk.event("mark", 0);
    let cleared = talk.session.wait_sent("input_audio_buffer.speech_started", 0, SOON).expect("it clears").at;
    assert!(mark.at - cleared < Duration::from_millis(100), "the mark comes back {:?} late", mark.at - cleared);
    sleep(Duration::from_millis(300));
    let late = |call: &PhoneCall| {
        let after = cleared + Duration::from_millis(60);
        call.heard().audio().filter(|packet| packet.at > after && is_sound(packet)).count()
    };
    assert_eq!(late(&talk.call), 0, "packets with the bot's voice after it cleared");
    assert!(talk.first_heard() < cleared, "it was heard before");

    talk.session.perform(Script::new().then(Step::SpeechStopped));
    let heard_before = sound(&talk.call);
    talk.bot_says(4, 300);
    talk.event("mark", 1);
    let again = sound(&talk.call) - heard_before;
    assert!(again >= 250 * CODES_IN_MS, "the next answer is heard: {again} codes");
    talk.call.hang_up();
    assert_eq!(talk.stage.result("100").number("BARGEINS"), 1.0);
}

#[test]
fn a_bot_after_twilios_documentation_alone_finds_every_message_as_it_should_be() {
    undisturbed(|| {
        let said = codes(9, 3000 * CODES_IN_MS);
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("twilio.speech");
        fs::write(&file, &said).expect("the target folder can be written");
        let strict = PythonServer::start("tests/wire/twilio_bot.py", &[&file.to_string_lossy()]);
        let keys = "dialect = twilio\nvariable = tier=gold\napi_key = sk-test-0123456789";
        let stage = stage(bot(Api::Twilio), keys, Some(&strict.url("/media")));
        let call = dial(&stage, Codec::Ulaw);
        let spoken = codes(10, 2000 * CODES_IN_MS);
        call.play_bytes(&spoken);
        // The first is heard to its end, the second cleared by a key.
        let first = strict.wait_event("mark", 0, SOON, |_| true);
        assert_eq!(first.json["name"], "first");
        call.wait_played(SOON).expect("the phone sends");
        call.send_digit('5');
        let key = strict.wait_event("key", 0, SOON, |_| true).at;
        let second = strict.wait_event("mark", 1, SOON, |_| true);
        assert!(second.at - key < Duration::from_millis(200), "the mark comes back {:?} late", second.at - key);
        sleep(Duration::from_millis(200));
        let heard = call.heard();
        assert!(position(&heard.bytes(), &said).is_some(), "the first is heard whole");
        let last = heard.audio().rfind(|packet| is_sound(packet)).expect("the bot is heard").at;
        assert!(last < key + Duration::from_millis(80), "heard {:?} after it cleared", last - key);
        call.hang_up();
        let over = strict.wait_event("over", 0, SOON, |_| true).json;
        println!("{over}");
        assert_eq!(stage.result("100").get("STATUS"), "HANGUP");
        let wrong: Vec<_> = strict.events("wrong").into_iter().map(|event| event.json).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let told = fs::read(file.with_extension("speech.heard")).expect("it has written down what it heard");
        assert!(position(&told, &spoken).is_some(), "the caller's bytes pass untouched");
        stage.assert_nothing_left();
    });
}

/// G.711 codes that were heard of the bot's voice.
fn sound(call: &PhoneCall) -> usize {
    sounds(&call.heard().bytes()).iter().map(|(_, sound)| sound.len()).sum()
}

#[test]
fn a_bot_of_ones_own_hears_and_is_heard_flushes_and_hangs_up() {
    let keys = "dialect = raw\ninstructions = Be kind to {{who}}.\nvariable = who=Ann\nbarge_in = server";
    let talk = Talk::begin(Api::Raw, Codec::Alaw, keys);
    let start = talk.event("start", 0).json;
    assert_eq!((&start["encoding"], &start["rate"]), (&"alaw".into(), &8000.into()));
    assert_eq!((&start["instructions"], &start["variables"]["who"]), (&"Be kind to Ann.".into(), &"Ann".into()));
    let spoken = codes(1, 500 * CODES_IN_MS);
    talk.call.play_bytes(&spoken);
    talk.call.wait_played(SOON).expect("the phone sends");
    assert_eq!(talk.assert_key_is_told_at_once("digit")["digit"], "5");
    assert!(position(&talk.session.caller_audio(), &spoken).is_some(), "the caller's bytes pass untouched");

    let said = codes(5, 20_000 * CODES_IN_MS);
    let speech = Speech::wire("a long answer", said.clone()).at(Pace::Burst);
    talk.session.perform(Script::new().say(speech).sleep(Duration::from_millis(900)).then(Step::SpeechStarted));
    let flushed = talk.event("flushed", 0).json;
    sleep(Duration::from_millis(200));
    let heard_ms = talk.heard_beginning(&said);
    assert_eq!((&flushed["by"], &flushed["received_ms"]), (&"bot".into(), &20_000.into()));
    assert!(flushed["heard_ms"].as_u64().unwrap().abs_diff(heard_ms) <= 20, "{flushed}, heard {heard_ms} ms");
    assert_eq!(talk.event("mark", 0).json["heard"], false);

    talk.session.perform(Script::new().then(Step::SpeechStopped).call_tool("transfer", r#"{"extension":"200"}"#));
    assert!(talk.event("refused", 0).json["reason"].is_string(), "the profile allows no transfer");
    talk.session.perform(Script::new().call_tool("hangup", "{}"));
    assert_eq!(talk.stage.result("100").get("STATUS"), "COMPLETE");
    talk.stage.assert_nothing_left();
}

#[test]
fn the_example_bot_says_back_what_it_heard() {
    let example = PythonServer::start("examples/raw_bot.py", &[]);
    let keys = "dialect = raw\nbarge_in = server\ntransfer_context = default";
    let stage = stage(bot(Api::Raw), keys, Some(&example.url("/")));
    let call = dial(&stage, Codec::Ulaw);
    // A key makes the bot forget what it heard until then.
    call.send_digit('1');
    call.wait_played(SOON).expect("the key is pressed");
    sleep(Duration::from_millis(300));
    let spoken = codes(7, 1500 * CODES_IN_MS);
    call.play_bytes(&spoken);
    call.wait_played(SOON).expect("the phone sends");
    call.send_digit('#');
    eventually("the caller hears as much again", SOON, || sound(&call) * 100 >= spoken.len() * 95);
    // The network between phone and exchange may lose a packet on a busy machine, so not every one need be there.
    let heard = call.heard().bytes();
    let stretches = spoken.chunks_exact(300 * CODES_IN_MS);
    let same = stretches.filter(|stretch| position(&heard, stretch).is_some()).count();
    assert!(same >= 3, "{same} of 5 stretches come back code by code");

    call.play_bytes(&codes(8, 5000 * CODES_IN_MS));
    call.wait_played(SOON).expect("the phone sends");
    call.send_digit('#');
    let heard_before = sound(&call);
    let silent = || call.heard().audio().next_back().is_some_and(|packet| !is_sound(packet));
    eventually("the bot speaks again", SOON, || !silent());
    call.send_digit('*');
    eventually("a key silences it", SOON, silent);
    let heard = sound(&call) - heard_before;
    assert!(heard < 4000 * CODES_IN_MS, "{heard} codes are heard before it is silent");
    call.send_digit('9');
    let result = stage.result("100");
    assert_eq!((result.get("STATUS"), result.get("TRANSFER")), ("TRANSFER", "200@default"), "{result:?}");
}
