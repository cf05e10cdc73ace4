//! Calls that are made to happen: through SIP trunks, to people, machines and nobody.

#[path = "../common/mod.rs"]
mod common;

mod answered;
mod baresip;
mod campaign;
mod machines;
mod records;
mod refused;
mod unanswered;

use std::fmt::Write as _;
use std::time::Duration;

use common::{SOON, Stage, eventually, profile};
use practice_agent::{Builder, Script, Server};
use rig::{Ami, CallEvent, Message, Phone, PhoneCall};

/// The number that is called.
const ANN: &str = "79123456789";

/// An agent that does nothing by itself.
fn passive() -> Builder {
    Server::builder().script(Script::new())
}

/// An exchange that calls phones; each is behind a trunk of its own.
struct Office {
    stage: Stage,
    ami: Ami,
    /// Lines of the section [general].
    general: String,
    keys: String,
    trunks: String,
}

impl Office {
    /// Whose profile `test` has the lines `keys`.
    fn new(keys: &str) -> Self {
        Self::with(passive(), keys, |rig| rig)
    }

    fn with(agent: Builder, keys: &str, prepare: impl FnOnce(rig::Builder) -> rig::Builder) -> Self {
        let rig = |rig: rig::Builder, url: &str| {
            let rig = rig.config("ai_bridge.conf", profile(url, keys));
            // The dialplan that is shipped, and what the tests want to know of it.
            let rig = rig.edit("extensions.conf", "[ai-outbound]\n", &format!("[ai-outbound]\n{}", common::RESULT));
            prepare(rig.ami(&[("boss", "call,reporting", "call,originate")]))
        };
        let stage = Stage::with(agent, rig, "");
        let ami = Ami::log_in(&stage.rig, "boss").expect("AMI lets the user in");
        Self { stage, ami, general: String::new(), keys: keys.to_owned(), trunks: String::new() }
    }

    /// Adds the trunk `name` with the lines `keys`.
    fn add_trunk(&mut self, name: &str, keys: &str) {
        write!(self.trunks, "[{name}]\ntype = trunk\n{keys}\n\n").expect("a String takes everything");
        let general = format!("[general]\n{}\n", self.general);
        let profile = profile(&self.stage.agent.url(), &self.keys).replace("[general]\n", &general);
        let text = format!("{profile}\n{}", self.trunks);
        self.stage.rig.write_config("ai_bridge.conf", &text).expect("it can be written");
        self.stage.cli("module reload res_ai_bridge.so");
    }

    /// A phone that rings when the trunk `name` is dialled.
    fn phone(&mut self, name: &str, keys: &str) -> PhoneCall {
        self.phone_that(name, keys, |phone| phone)
    }

    /// The same with a phone of its own kind.
    fn phone_that(&mut self, name: &str, keys: &str, kind: impl FnOnce(Phone) -> Phone) -> PhoneCall {
        let phone = kind(Phone::new(&self.stage.rig)).ring().expect("the phone starts");
        let uri = phone.uri().replace("sip:phone@", "sip:{{number}}@");
        self.add_trunk(name, &format!("dial = PJSIP/1001/{uri}\ncalls_per_second = 100\n{keys}"));
        phone
    }

    /// Dials [`ANN`] with more `headers` and answers the call's id.
    fn dial(&mut self, headers: &[(&str, &str)]) -> String {
        let answer = self.ask("AIDial", &[&[("Number", ANN)], headers].concat());
        assert_eq!(answer.get("Response"), "Success", "{answer}");
        answer.get("Session").to_owned()
    }

    fn ask(&mut self, action: &str, headers: &[(&str, &str)]) -> Message {
        self.ami.action(action, headers).expect("AMI answers")
    }

    fn event(&mut self, name: &str) -> Message {
        self.ami.event(name, SOON).expect("the event comes")
    }

    /// The next state that is told.
    fn state(&mut self) -> String {
        self.event("AICallStatus").get("State").to_owned()
    }

    #[track_caller]
    fn assert_states(&mut self, states: &[&str]) {
        let told: Vec<_> = states.iter().map(|_| self.state()).collect();
        assert_eq!(told, states);
    }

    /// The end of the call `id`, with nothing left behind, and no connection to the AI at any time.
    #[track_caller]
    fn assert_over_without_ai(&mut self, id: &str, status: &str) -> Message {
        let end = self.assert_over(id, status);
        std::thread::sleep(Duration::from_millis(200));
        self.assert_no_ai();
        end
    }

    /// Nobody has connected to the AI so far, not even in vain.
    #[track_caller]
    fn assert_no_ai(&self) {
        assert!(self.stage.agent.attempts().is_empty(), "the AI was connected to");
    }

    /// The end of the call `id`, with nothing left behind.
    #[track_caller]
    fn assert_over(&mut self, id: &str, status: &str) -> Message {
        let end = self.ami.event("AISessionEnd", Duration::from_secs(60)).expect("the call ends");
        assert_eq!((end.get("Session"), end.get("Status")), (id, status), "{end}");
        self.stage.assert_nothing_left();
        eventually("no call is up", SOON, || self.stage.cli("ai show calls").contains("\n0 calls up"));
        end
    }
}

/// The phone rings.
#[track_caller]
fn wait_ringing(phone: &PhoneCall) {
    phone.wait_for(CallEvent::Ringing, SOON).expect("the phone rings");
}
