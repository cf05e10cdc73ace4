//! One conversation in every dialect, on a real call: the agent greets, the caller asks and is answered, presses a key,
//! interrupts, a tool leaves a value for the dialplan, and the caller is transferred. What is said is recognised by its sound, on both sides.

#[path = "../common/mod.rs"]
mod common;
mod killed;
mod untrusted;
mod vendor;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::python::PythonServer;
use common::signal::{compare, is_sound};
use common::{Result, SOON, Stage, eventually};
use practice_agent::{Api, Script, Server};
use rig::{Codec, Phone, PhoneCall};
use serde_json::json;
use vendor::{Account, Practice, StandIn, Vendor, Words};

/// What the stand-ins want to be shown.
const KEY: &str = "sk-test-0123456789";
/// µ-law itself leaves about 38 dB, resampling and µ-law a little less.
const CLEAR_DB: f64 = 33.0;
/// From the vendor's word that the caller interrupts until the line is silent, a packet's own 20 ms included. The stand-ins
/// tell through a pipe when they said it.
const STOP: Duration = Duration::from_millis(80);
/// What the agent is told may differ by this from what was heard. [ms]
const ACCOUNT_ERROR_MS: u64 = 20;
/// How much of the answer the caller hears before interrupting.
const PATIENCE: Duration = Duration::from_millis(1200);

/// What the profile of every dialect has here. Only the vendor's word interrupts.
const KEYS: &str = "transfer_context = staff\nsettable_variable = ORDER\nbarge_in = server\n";
/// The greeting of those that can be asked for one.
const GREETING: &str = "Good morning from the exchange";
const GOOD_MORNING: &str = "Good morning.";

/// A dialect, and who is at its other end.
struct Dialect {
    name: &'static str,
    /// Lines of its profile.
    keys: &'static str,
    who: Who,
}

enum Who {
    /// The practice agent.
    Practice(Api),
    /// A stand-in at this path, that speaks linear samples or µ-law.
    StandIn(&'static str, Option<u32>),
}

const OPENAI: Dialect = Dialect {
    name: "openai",
    keys: "model = practice\ngreeting = Good morning from the exchange\ntranscription_model = practice",
    who: Who::Practice(Api::Ga),
};
const TWILIO: Dialect = Dialect { name: "twilio", keys: "", who: Who::Practice(Api::Twilio) };
const RAW: Dialect =
    Dialect { name: "raw", keys: "greeting = Good morning from the exchange", who: Who::Practice(Api::Raw) };
const ELEVENLABS: Dialect = Dialect {
    name: "elevenlabs",
    keys: "agent_id = agent_1\ngreeting = Good morning from the exchange",
    who: Who::StandIn("/v1/convai/conversation", None),
};
const GEMINI: Dialect = Dialect {
    name: "gemini",
    keys: "model = live\ngreeting = Good morning from the exchange",
    who: Who::StandIn("/ws/BidiGenerateContent", Some(24_000)),
};
const DEEPGRAM: Dialect = Dialect {
    name: "deepgram",
    keys: "model = gpt-4o-mini\ngreeting = Good morning from the exchange",
    who: Who::StandIn("/v1/agent/converse", None),
};

impl Dialect {
    /// Its section of `ai_bridge.conf`.
    fn profile(&self, url: &str) -> String {
        let (name, keys) = (self.name, self.keys);
        format!("[{name}]\ntype = agent\ndialect = {name}\nurl = {url}\n{KEYS}api_key = {KEY}\n{keys}\n")
    }
}

/// A call, and the other end of its dialect.
struct Talk {
    dialect: &'static Dialect,
    stage: Stage,
    call: PhoneCall,
    stand_in: Option<PythonServer>,
}

impl Talk {
    /// An answered call of a µ-law phone.
    fn begin(dialect: &'static Dialect) -> Self {
        Self::begin_with(dialect, "")
    }

    /// The same with more lines in the profile.
    fn begin_with(dialect: &'static Dialect, keys: &str) -> Self {
        let (agent, path) = match dialect.who {
            Who::Practice(api) => (Server::builder().api(api), None),
            Who::StandIn(path, _) => (Server::builder(), Some(path)),
        };
        let stand_in = path.map(|_| PythonServer::start("tests/wire/vendors.py", &[]));
        let url = stand_in.as_ref().zip(path).map(|(server, path)| server.url(path));
        let config = |rig: rig::Builder, agent_url: &str| {
            let profile = dialect.profile(url.as_deref().unwrap_or(agent_url));
            rig.config("ai_bridge.conf", format!("[general]\ndefault_profile = {}\n\n{profile}{keys}", dialect.name))
        };
        let stage = Stage::with(agent.script(Script::new()), config, "");
        let call = Phone::new(&stage.rig).codec(Codec::Ulaw).dial("100").expect("the phone dials");
        call.wait_answered(SOON).expect("the call is answered");
        Self { dialect, stage, call, stand_in }
    }

    /// The `number`th session of the call, from 1.
    fn session(&self, number: u64) -> Box<dyn Vendor + '_> {
        match (&self.dialect.who, &self.stand_in) {
            (Who::StandIn(_, slin_hz), Some(server)) => Box::new(StandIn::new(server, number, *slin_hz)),
            (Who::Practice(api), _) => Box::new(Practice::next(*api, &self.stage.agent)),
            _ => unreachable!("a stand-in has a server"),
        }
    }

    /// The caller says `sentence`. When the vendor noticed it.
    fn speak(&self, vendor: &dyn Vendor, sentence: &str) -> Instant {
        let began = Instant::now();
        self.call.play(&rig::speech(sentence, 8000).expect("espeak-ng speaks"));
        vendor.caller_begins(began)
    }

    /// Waits until the vendor knows that the caller has finished.
    fn listen(&self, vendor: &dyn Vendor) {
        self.call.wait_played(SOON).expect("the phone sends");
        // The sentence ends with a moment of silence, which may have been enough.
        vendor.caller_ends(Instant::now() - Duration::from_millis(300));
    }

    /// Waits until `words` were heard to the end after `from`, and nothing follows them.
    fn assert_heard(&self, from: Instant, words: &Words) {
        let said = words.sound.at_rate(8000);
        let wanted = said.len() / 160;
        let sounding = || self.call.heard().audio().filter(|packet| packet.at >= from && is_sound(packet)).count();
        eventually(words.text, SOON, || sounding() >= wanted);
        // The last packet of a sound is only in part filled by it.
        sleep(Duration::from_millis(100));
        let likeness = compare(&self.call.heard().between(from, Instant::now()), &said, 8000);
        println!("{:?}: SNR {:.1} dB, worst 20 ms {:.1} dB", words.text, likeness.snr_db, likeness.worst_db);
        assert!(likeness.snr_db > CLEAR_DB, "{}: {likeness:?}", words.text);
    }

    /// When the agent's voice was heard last.
    fn last_sound(&self) -> Instant {
        self.call.heard().audio().rfind(|packet| is_sound(packet)).expect("the agent was heard").at
    }

    fn first_sound(&self, from: Instant) -> Option<Instant> {
        self.call.heard().audio().find(|packet| packet.at >= from && is_sound(packet)).map(|packet| packet.at)
    }

    /// Holds the conversation to its end.
    fn hold(&self, vendor: &dyn Vendor) -> Result {
        self.greet(vendor);
        self.speak(vendor, "Good morning, when are you open?");
        self.listen(vendor);
        self.call.send_digit('5');
        assert!(vendor.keys().contains('5'), "the agent is told of the key");

        self.interrupt(vendor);

        if let Some(answer) = vendor.answered("set_variable", &json!({"name": "ORDER", "value": "A-7"})) {
            assert_eq!(answer, json!({"ok": true}));
            let channels = self.stage.cli("core show channels concise");
            let channel = channels.split('!').next().expect("a channel");
            assert!(self.stage.cli(&format!("core show channel {channel}")).contains("ORDER=A-7"));
        }
        if let Some(refused) = vendor.refused("transfer", &json!({"extension": "300", "context": "trunk"})) {
            assert!(refused.contains("transfers are allowed to staff"), "{refused:?}");
        }

        let result = self.part(vendor);
        assert_eq!(result.number("BARGEINS"), 1.0, "{result:?}");
        result
    }

    /// The agent transfers the caller, who hears its last sentence to the end.
    fn part(&self, vendor: &dyn Vendor) -> Result {
        let goodbye = Words::new(3, 1500, "I put you through.");
        let began = Instant::now();
        vendor.say_and_call(&goodbye, "transfer", &json!({"extension": "200"}));
        let result = self.stage.result("100");
        self.assert_heard(began, &goodbye);
        vendor.ended();
        self.stage.assert_nothing_left();
        result
    }

    fn greet(&self, vendor: &dyn Vendor) {
        if let Some(order) = vendor.asked_to_greet() {
            assert!(order.contains(GREETING), "asked to greet with {order:?}");
        }
        let began = Instant::now();
        let greeting = Words::new(1, 1500, GOOD_MORNING);
        vendor.say(&greeting);
        self.assert_heard(began, &greeting);
    }

    /// The agent gives a long answer, and the caller does not hear it out.
    fn interrupt(&self, vendor: &dyn Vendor) {
        let answer = Words::new(2, 15_000, "We are open from eight to five, and on Saturdays.");
        let began = Instant::now();
        vendor.say(&answer);
        eventually("the answer is heard", SOON, || self.first_sound(began).is_some());
        let first = self.first_sound(began).expect("it is heard");
        sleep((first + PATIENCE).saturating_duration_since(Instant::now()));
        let noticed = self.speak(vendor, "Wait, please put me through to somebody");
        let account = vendor.account();
        self.listen(vendor);

        let stop = (self.last_sound() + Duration::from_millis(20)).saturating_duration_since(noticed);
        let heard_ms = (self.last_sound() - first).as_millis() as u64 + 20;
        println!("silent {stop:?} after the vendor noticed; heard {heard_ms} ms, told {account:?}");
        assert!(stop <= STOP, "the line is silent only {stop:?} after the vendor noticed");
        assert!(heard_ms >= PATIENCE.as_millis() as u64, "it was cut before the caller spoke: {heard_ms} ms");
        if let Account::HeardMs(told_ms) = account {
            // Held while nobody knew yet whether the caller speaks, the line was silent a little earlier.
            assert!(told_ms <= heard_ms + ACCOUNT_ERROR_MS, "heard {heard_ms} ms, told {told_ms} ms");
            let counted = self.sound_codes(first) / 8;
            assert!(told_ms.abs_diff(counted) <= ACCOUNT_ERROR_MS, "heard {counted} ms, told {told_ms} ms");
        }
    }

    /// Audio with the agent's voice in it since `from`, in whole packets. [µ-law codes]
    fn sound_codes(&self, from: Instant) -> u64 {
        self.call.heard().audio().filter(|packet| packet.at >= from && is_sound(packet)).count() as u64 * 160
    }
}

/// Holds the conversation in this dialect.
fn converse(dialect: &'static Dialect) -> (Talk, Result) {
    let talk = Talk::begin(dialect);
    let result = talk.hold(&*talk.session(1));
    (talk, result)
}

#[track_caller]
fn assert_transferred(result: &Result) {
    assert_eq!((result.get("STATUS"), result.get("TRANSFER")), ("TRANSFER", "200@staff"), "{result:?}");
}

impl Talk {
    /// That what was said stands in the log, as far as it was transcribed.
    #[track_caller]
    fn assert_transcribed(&self, lines: &[&str]) {
        let log = self.stage.rig.log();
        for line in lines {
            assert!(log.contains(line), "no {line:?} in the log");
        }
    }
}

const AGENT_SAID: &str = "agent: Good morning.";
const CALLER_SAID: &str = "caller: I have said something.";

#[test]
fn openai() {
    let (talk, result) = converse(&OPENAI);
    assert_transferred(&result);
    talk.assert_transcribed(&[AGENT_SAID, "caller: "]);
}

#[test]
fn twilio() {
    let (_, result) = converse(&TWILIO);
    assert_eq!(result.get("STATUS"), "COMPLETE", "{result:?}");
}

#[test]
fn raw() {
    let (talk, result) = converse(&RAW);
    assert_transferred(&result);
    talk.assert_transcribed(&[AGENT_SAID]);
}

#[test]
fn elevenlabs() {
    let (talk, result) = converse(&ELEVENLABS);
    assert_transferred(&result);
    talk.assert_transcribed(&[AGENT_SAID, CALLER_SAID, "agent: We are ope…"]);
}

#[test]
fn gemini() {
    let (talk, result) = converse(&GEMINI);
    assert_transferred(&result);
    talk.assert_transcribed(&[AGENT_SAID, CALLER_SAID]);
}

#[test]
fn deepgram() {
    let (talk, result) = converse(&DEEPGRAM);
    assert_transferred(&result);
    talk.assert_transcribed(&[AGENT_SAID, CALLER_SAID]);
}
