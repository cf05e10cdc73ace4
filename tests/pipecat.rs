//! A real Pipecat pipeline, with its own transport, serializer and voice detector, talks over the dialect `twilio`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::python::PythonServer;
use common::signal::{Chord, is_sound, position};
use common::{SOON, Stage, eventually};
use practice_agent::{Script, Server};
use rig::{Codec, Phone, PhoneCall};

/// Pipecat sends what is to be heard a little faster than it is heard, and stops sending at once.
const STOP: Duration = Duration::from_millis(80);
const GREETING_MS: usize = 1500;
/// What is compared in one piece.
const STRETCH_CODES: usize = 480;

/// A call that a Pipecat bot has answered.
struct Talk {
    stage: Stage,
    call: PhoneCall,
    bot: PythonServer,
    greeting: Chord,
    answer: Chord,
}

impl Talk {
    fn begin() -> Self {
        let greeting = Chord::narrow(1, Duration::from_millis(GREETING_MS as u64));
        let answer = Chord::narrow(2, Duration::from_secs(10));
        let files = [(&greeting, "pipecat-greeting"), (&answer, "pipecat-answer")].map(|(chord, name)| {
            let file: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
            let samples = Codec::Ulaw.decode(&ulaw(chord));
            let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            fs::write(&file, bytes).expect("the target folder can be written");
            file.to_string_lossy().into_owned()
        });
        let bot = PythonServer::start_with("pipecat", "tests/pipecat/bot.py", &[&files[0], &files[1]]);
        let config = format!(
            "[general]\ndefault_profile = test\n\n[test]\ntype = agent\ndialect = twilio\nurl = {}\nvariable = tier=gold\n",
            bot.url("/ws")
        );
        let agent = Server::builder().script(Script::new());
        let stage = Stage::with(agent, |rig, _| rig.config("ai_bridge.conf", config), "");
        let call = Phone::new(&stage.rig).codec(Codec::Ulaw).dial("100").expect("the phone dials");
        call.wait_answered(SOON).expect("the call is answered");
        Self { stage, call, bot, greeting, answer }
    }

    fn wait(&self, event: &str, since: Instant) -> common::python::Event {
        self.bot.wait_event(event, 0, SOON, |event| event.at >= since)
    }

    fn sounding(&self, from: Instant) -> usize {
        self.call.heard().audio().filter(|packet| packet.at >= from && is_sound(packet)).count()
    }

    /// Waits until the greeting was heard after `from`.
    fn assert_greeted(&self, from: Instant) {
        eventually("the greeting is heard", SOON, || self.sounding(from) >= GREETING_MS / 20 - 2);
        sleep(Duration::from_millis(100));
        self.assert_heard(from, &self.greeting, GREETING_MS);
    }

    /// That the first `ms` of `chord` were heard after `from`, code by code. On a busy machine the bot may lag behind itself, which
    /// leaves holes; and what it has not sent when it ends its pipeline, it never does.
    fn assert_heard(&self, from: Instant, chord: &Chord, ms: usize) {
        let said = &ulaw(chord)[..ms * 8];
        let heard: Vec<u8> =
            self.call.heard().audio().filter(|p| p.at >= from).flat_map(|p| p.payload.clone()).collect();
        let stretches = said.chunks_exact(STRETCH_CODES);
        let wanted = stretches.len();
        let same = stretches.filter(|stretch| position(&heard, stretch).is_some()).count();
        println!("{same} of {wanted} stretches of 60 ms are heard code by code");
        assert!(same * 10 >= wanted * 7, "{same} of {wanted} stretches of 60 ms are heard");
    }

    fn speak(&self, sentence: &str) -> Instant {
        let began = Instant::now();
        self.call.play(&rig::speech(sentence, 8000).expect("espeak-ng speaks"));
        began
    }
}

/// A sound in codes that come out of Pipecat's encoder as they went in: there is one zero.
fn ulaw(chord: &Chord) -> Vec<u8> {
    let codes = Codec::Ulaw.encode(&chord.at_rate(8000));
    codes.into_iter().map(|code| if code == 0x7F { 0xFF } else { code }).collect()
}

#[test]
fn a_pipecat_bot_greets_answers_is_interrupted_is_told_of_keys_and_hangs_up() {
    let began = Instant::now();
    let talk = Talk::begin();
    let call = talk.wait("call", began).json;
    assert_eq!((&call["kind"], &call["body"]["tier"]), (&"twilio".into(), &"gold".into()), "{call}");
    talk.assert_greeted(began);

    let asked = talk.speak("Good morning, when are you open?");
    talk.wait("caller begins", asked);
    let ended = talk.wait("caller ends", asked).at;
    eventually("the answer is heard", SOON, || talk.sounding(ended) > 60);
    talk.assert_heard(ended, &talk.answer, 1000);

    let waits = talk.speak("Wait, please put me through to somebody");
    let noticed = talk.wait("interruption", waits).at;
    eventually("the line is silent", SOON, || {
        talk.call.heard().audio().next_back().is_some_and(|packet| !is_sound(packet))
    });
    let heard = talk.call.heard();
    let last = heard.audio().rfind(|packet| is_sound(packet)).expect("it was heard").at;
    let stop = (last + Duration::from_millis(20)).saturating_duration_since(noticed);
    println!("silent {stop:?} after Pipecat noticed the caller");
    assert!(stop <= STOP, "silent only after {stop:?}");

    // The next answer belongs to what was said there, and is interrupted by the key.
    let pressed = Instant::now();
    talk.call.send_digit('7');
    assert_eq!(talk.wait("key", pressed).json["key"], "7");
    talk.call.hang_up();
    talk.wait("disconnected", pressed);
    talk.wait("over", pressed);
    let result = talk.stage.result("100");
    assert_eq!(result.get("STATUS"), "HANGUP", "{result:?}");
    assert!(result.number("BARGEINS") >= 1.0, "{result:?}");
    talk.stage.assert_nothing_left();
}

#[test]
fn a_pipecat_bot_that_ends_its_pipeline_is_heard_to_the_end_and_ends_the_call() {
    let began = Instant::now();
    let talk = Talk::begin();
    talk.assert_greeted(began);
    let pressed = Instant::now();
    talk.call.send_digit('#');
    let result = talk.stage.result("100");
    assert_eq!(result.get("STATUS"), "COMPLETE", "{result:?}");
    talk.assert_greeted(pressed);
    talk.wait("over", pressed);
    talk.stage.assert_nothing_left();
}
