//! What the integration tests share: an Asterisk with the module, an agent of our own behind it, and their dialplan.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part of this")]

pub mod certificate;
pub mod markdown;
pub mod provider;
pub mod python;
pub mod signal;
pub mod wire;
pub mod witness;

use std::time::{Duration, Instant};

use practice_agent::{Builder, Server, Session};
use rig::{Phone, PhoneCall, Rig};

/// Long enough for anything that is to happen at once, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// A rig whose profile `test` leads to a practice agent of this process.
pub struct Stage {
    pub rig: Rig,
    pub agent: Server,
}

/// What the dialplan knows after `AI()`.
#[derive(Debug)]
pub struct Result {
    line: String,
}

impl Result {
    /// The channel variable `AI<name>`, for example `STATUS`.
    pub fn get(&self, name: &str) -> &str {
        let start = format!("{name}=<");
        let (_, rest) = self.line.split_once(&start).unwrap_or_else(|| panic!("no {name} in {}", self.line));
        rest.split_once('>').map_or(rest, |(value, _)| value)
    }

    /// A variable that holds a number.
    pub fn number(&self, name: &str) -> f64 {
        let value = self.get(name);
        value.parse().unwrap_or_else(|_| panic!("{name} is {value:?} in {}", self.line))
    }
}

/// The lines every test dialplan has: what `AI()` left behind, whether or not the channel was hung up.
pub const RESULT: &str = "
exten => h,1,Verbose(0,RESULT of ${FROM}: STATUS=<${AISTATUS}> REASON=<${AIREASON}> SESSION=<${AISESSION}> \
DURATION=<${AIDURATION}> TRANSFER=<${AITRANSFER}> DIGIT=<${AIDIGIT}> FIRSTAUDIO=<${AIFIRSTAUDIO}> \
BARGEINS=<${AIBARGEINS}> WENT_ON=<${WENT_ON}> STATE=<${STATE}> CHANNEL=<${CHANNEL}>)
";

/// An extension that runs `AI(arguments)` and then goes on.
pub fn extension(number: &str, arguments: &str) -> String {
    format!(
        "exten => {number},1,Set(FROM=${{EXTEN}})\n same => n,AI({arguments})\n same => n,Set(WENT_ON=yes)\n \
         same => n,Set(STATE=${{CHANNEL(state)}})\n same => n,Hangup()\n"
    )
}

/// Profile `test` of a test's `ai_bridge.conf`. Only the server interrupts unless `keys` say otherwise: in most tests both
/// sides speak at once.
pub fn profile(url: &str, keys: &str) -> String {
    format!(
        "[general]\ndefault_profile = test\n\n[test]\ntype = agent\ndialect = openai\nurl = {url}\nmodel = practice\nbarge_in = server\n{keys}\n"
    )
}

impl Stage {
    /// Starts `agent`, and an Asterisk whose extension 100 runs `AI()`; `keys` are lines of profile `test`, `dialplan`
    /// is added to the default context.
    pub fn new(agent: Builder, keys: &str, dialplan: &str) -> Self {
        Self::with(agent, |rig, url| rig.config("ai_bridge.conf", profile(url, keys)), dialplan)
    }

    /// As [`Stage::new`], but `prepare` makes the configuration, given the agent's URL.
    pub fn with(agent: Builder, prepare: impl FnOnce(rig::Builder, &str) -> rig::Builder, dialplan: &str) -> Self {
        let agent = agent.start().expect("the practice agent starts");
        let rig = prepare(Rig::builder(), &agent.url())
            .append("extensions.conf", format!("{RESULT}{}{dialplan}", extension("100", "")))
            .start()
            .expect("Asterisk starts");
        Self { rig, agent }
    }

    /// Calls `extension` and does not wait for anything.
    pub fn dial(&self, extension: &str) -> PhoneCall {
        Phone::new(&self.rig).dial(extension).expect("the phone dials")
    }

    /// An answered call of `extension`, and the agent's side of it, with the caller's audio flowing.
    pub fn talk(&self, extension: &str) -> (PhoneCall, Session) {
        let call = self.call(extension);
        let session = self.session();
        session.wait_caller_audio(Duration::from_millis(100), SOON).expect("the caller is heard");
        (call, session)
    }

    /// Asterisk's answer to a command.
    pub fn cli(&self, command: &str) -> String {
        self.rig.cli(command).expect("Asterisk answers")
    }

    /// Fails unless, at once or soon, no call is up any more: no channel, and no session.
    pub fn assert_nothing_left(&self) {
        self.rig.wait_no_channels(SOON).expect("no channel is left");
        eventually("there is no session any more", SOON, || self.cli("ai show sessions").contains("\n0 AI sessions"));
    }

    /// Calls `extension` and waits until it answers.
    pub fn call(&self, extension: &str) -> PhoneCall {
        let call = Phone::new(&self.rig).dial(extension).expect("the phone dials");
        call.wait_answered(SOON).expect("the call is answered");
        call
    }

    /// The agent's side of the next call that reaches it.
    pub fn session(&self) -> Session {
        self.agent.next_session(SOON).expect("the module connects")
    }

    /// What the dialplan of the last call of `extension` knew at its end.
    pub fn result(&self, extension: &str) -> Result {
        let line = self.rig.wait_log(&format!("RESULT of {extension}:"), SOON).expect("the call ends");
        Result { line }
    }
}

/// Waits until `look` says yes.
#[track_caller]
pub fn eventually(what: &str, timeout: Duration, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !look() {
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
