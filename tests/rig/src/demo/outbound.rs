//! `rig demo-outbound`: a person and an answering machine are called, and what the API, the events and the AI's provider
//! saw is told.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use practice_agent::Server;
use rig::http::{Api, free_port};
use rig::{Ami, CallEvent, Message, Phone, PhoneCall, Rig, speech};
use serde_json::json;

/// Longest time for one of the calls.
const CALL_MAX: Duration = Duration::from_secs(40);
/// A phone rings this long before it is answered.
const RINGS: Duration = Duration::from_millis(1500);
/// The person hangs up after so much of the conversation.
const TALKS: Duration = Duration::from_secs(12);
/// Rate of what is said. [Hz]
const RATE_HZ: u32 = 8000;

const HELLO: &str = "Hello?";
const QUESTION: &str = "Oh, good that you call. When is my order going to arrive?";
const GREETING: &str = "Hello, you have reached the voice mail of Ann Miller. I cannot take your call right now. \
    Please leave a message after the tone.";

/// Places both calls.
pub(crate) fn run() -> Result<()> {
    let agent = Server::builder().start()?;
    println!("Starting Asterisk …");
    let rig = Rig::builder()
        .edit("ai_bridge.conf", "ws://127.0.0.1:9797/v1/realtime", &agent.url())
        .ami(&[("demo", "call,reporting", "call,originate")])
        .start()?;
    let (person, machine) = (Phone::new(&rig).ring()?, Phone::new(&rig).ring()?);
    let trunk = |name: &str, phone: &PhoneCall| {
        let uri = phone.uri().replace("sip:phone@", "sip:{{number}}@");
        format!("\n[{name}]\ntype = trunk\ndial = PJSIP/1001/{uri}\n")
    };
    let config = std::fs::read_to_string(rig.directory().join("etc/ai_bridge.conf"))?;
    let api = Api { address: ([127, 0, 0, 1], free_port()).into(), token: "the-token-of-the-demo".to_owned() };
    let general =
        format!("[general]\nhttp_bind = {}\nhttp_token = {}\ndatabase = calls.sqlite3\n", api.address, api.token);
    let config = config.replacen("[general]\n", &general, 1);
    rig.write_config("ai_bridge.conf", &(config + &trunk("person", &person) + &trunk("machine", &machine)))?;
    rig.cli("module reload res_ai_bridge.so")?;

    api.wait(CALL_MAX)?;
    let mut told =
        Told { ami: Ami::log_in(&rig, "demo")?, api, agent: &agent, began: Instant::now(), opened: 0, closed: 0 };
    println!("\nA person is called.");
    let call = told.dial("79120000001", "person")?;
    told.until_ringing(&person)?;
    person.play(&[&vec![0; 4000][..], &speech(HELLO, RATE_HZ)?].concat());
    person.answer();
    told.say("person", &format!("answers: “{HELLO}”"));
    told.until("state talking", |event| event.get("State") == "talking")?;
    told.go_on(Duration::from_secs(5));
    told.say("person", &format!("“{QUESTION}”"));
    person.play(&speech(QUESTION, RATE_HZ)?);
    told.go_on(TALKS);
    told.say("person", "hangs up");
    person.hang_up();
    told.until("the end", |event| event.get("Event") == "AISessionEnd")?;
    told.go_on(Duration::from_millis(300));
    told.look_up(&call);
    ensure!(told.opened == 1, "the provider saw {} connections, not one", told.opened);

    println!("\nAn answering machine is called.");
    let call = told.dial("79120000002", "machine")?;
    told.until_ringing(&machine)?;
    machine.play(&[&vec![0; 4000][..], &speech(GREETING, RATE_HZ)?].concat());
    machine.answer();
    told.say("machine", &format!("answers: “{GREETING}”"));
    told.until("the end", |event| event.get("Event") == "AISessionEnd")?;
    told.go_on(Duration::from_secs(1));
    told.look_up(&call);
    ensure!(told.opened == 1, "the provider was connected to for a machine");
    println!(
        "\nThe provider saw one connection: the person's. The machine cost nothing.\n\n{}",
        rig.cli("ai show calls")?
    );
    Ok(())
}

/// What is printed.
struct Told<'a> {
    ami: Ami,
    api: Api,
    agent: &'a Server,
    began: Instant,
    /// Connections that the provider has seen.
    opened: usize,
    closed: usize,
}

impl Told<'_> {
    fn say(&self, who: &str, what: &str) {
        println!("{:>7.2} s  {who:<9} {what}", self.began.elapsed().as_secs_f64());
    }

    /// Dials through the API; answers the call's id.
    fn dial(&mut self, number: &str, trunk: &str) -> Result<String> {
        self.began = Instant::now();
        let order = json!({"phone_number": number, "trunk": trunk, "detect_machine": true});
        self.say("API", &format!("POST /api/calls/dial {order}"));
        let answer = self.api.post("/api/calls/dial", &order.to_string());
        ensure!(answer.status == 201, "not dialled: {}", answer.body);
        self.say("API", &format!("{} {}", answer.status, answer.body));
        Ok(answer.json()["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Tells what the API knows of a call that is over.
    fn look_up(&self, call: &str) {
        let path = format!("/api/calls/{call}");
        let known = self.api.get(&path).json();
        let told: Vec<_> = ["status", "result", "callee", "reason", "cause"]
            .iter()
            .filter(|field| !known[**field].is_null())
            .map(|field| format!("{field} {}", known[*field]))
            .collect();
        self.say("API", &format!("GET {path}: {}", told.join(", ")));
        let turns = self.api.get(&format!("{path}/transcript")).json();
        for turn in turns["turns"].as_array().into_iter().flatten() {
            let text = |field: &str| turn[field].as_str().unwrap_or_default().to_owned();
            self.say("API", &format!("transcript: {}: {}", text("speaker"), text("text")));
        }
    }

    fn until_ringing(&mut self, phone: &PhoneCall) -> Result<()> {
        phone.wait_for(CallEvent::Ringing, CALL_MAX)?;
        self.go_on(RINGS);
        Ok(())
    }

    /// Tells what happens, for `time`.
    fn go_on(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look(|_| false);
        }
    }

    /// Tells what happens until there is an event that `wanted` accepts.
    fn until(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Result<()> {
        let until = Instant::now() + CALL_MAX;
        while Instant::now() < until {
            if self.look(&wanted) {
                return Ok(());
            }
        }
        Err(anyhow::anyhow!("it did not happen within {CALL_MAX:?}")).with_context(|| what.to_owned())
    }

    fn look(&mut self, wanted: impl Fn(&Message) -> bool) -> bool {
        let opened = self.agent.attempts().len();
        for _ in self.opened..opened {
            self.say("provider", "sees a connection");
        }
        self.opened = opened;
        let closed = self.agent.sessions().iter().filter(|session| session.closed().is_some()).count();
        for _ in self.closed..closed {
            self.say("provider", "sees it closed");
        }
        self.closed = closed;
        let events: Vec<_> =
            self.ami.rest().into_iter().filter(|message| message.get("Event").starts_with("AI")).collect();
        events.iter().for_each(|event| self.say("event", &described(event)));
        std::thread::sleep(Duration::from_millis(20));
        events.iter().any(wanted)
    }
}

/// An event in a line.
fn described(event: &Message) -> String {
    let more = match event.get("Event") {
        "AICallStatus" => event.get("State").to_owned(),
        "AITranscript" => format!("{}: {}", event.get("Speaker"), event.get("Text")),
        "AISessionEnd" => format!("{} ({}), Q.850 {}", event.get("Status"), event.get("Reason"), event.get("Cause")),
        _ => String::new(),
    };
    format!("{} {more}", event.get("Event"))
}
