//! What the caller says on the line holds the agent's voice at once; what proves to be noise, or the agent's own echo, costs
//! no word.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{is_sound, position};
use common::witness::undisturbed;
use common::{SOON, Stage, extension};
use practice_agent::{Pace, Script, Server, Session, Speech, Step};
use rig::{Codec, PhoneCall};

/// Peaks of the agent's voice; its loudness is 0.58 of that. [of full scale]
const AGENT: f64 = 0.15;
/// The caller's.
const LOUD: f64 = 0.6;
/// From the caller's first loud sample until the agent's voice is off the line: a packet, two frames to be sure, and the
/// frame under way.
const HELD: Duration = Duration::from_millis(80);
/// The default of `barge_in_confirm_ms`.
const CONFIRM: Duration = Duration::from_millis(400);

/// Noise that is like no other of another seed, in A-law.
fn voice(seed: u64, length: Duration, peak: f64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let samples: Vec<i16> = (0..length.as_millis() * 8)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f64 / f64::from(1 << 23) - 1.0).mul_add(peak * 32767.0, 0.0) as i16
        })
        .collect();
    Codec::Alaw.encode(&samples)
}

/// `text` as a person says it, this loud. [root mean square, of full scale]
fn speech(text: &str, level: f64) -> Vec<i16> {
    let spoken = rig::speech(text, 8000).expect("espeak-ng speaks");
    let loud = spoken.iter().position(|sample| sample.unsigned_abs() > 500).expect("it says something");
    let power = spoken.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / spoken.len() as f64;
    let gain = level * 32768.0 / power.sqrt();
    spoken[loud..].iter().map(|&sample| (f64::from(sample) * gain) as i16).collect()
}

const STORY: &str = "Thank you for calling. Our office is open from Monday to Friday, between nine in the morning and six in the \
    evening. If you would like to make an appointment, please tell me which day suits you best, and I will look for a free \
    hour. You can also leave your name and your telephone number, and somebody will call you back before the end of the day. \
    Please have your customer number ready, which you find at the top of every letter that we have sent to you.";

/// Key strokes, and the hiss of a bad line.
fn typing(length: Duration) -> Vec<i16> {
    let hiss = Codec::Alaw.decode(&voice(7, length, 0.02));
    let key = Codec::Alaw.decode(&voice(8, length, 0.5));
    let sample = |n: usize| if n % 1920 < 200 { key[n] } else { hiss[n] };
    (0..hiss.len()).map(sample).collect()
}

struct Talk {
    stage: Stage,
    call: PhoneCall,
    session: Session,
    said: Vec<u8>,
}

impl Talk {
    /// A call in which the agent has begun to say something of this length. Nobody's voice is a voice here, so loudness
    /// decides.
    fn begin(keys: &str, options: &str, length: Duration) -> Self {
        Self::tell(&format!("local_vad = level\n{keys}"), options, voice(1, length, AGENT))
    }

    /// A call in which the agent has begun to say this.
    fn tell(keys: &str, options: &str, said: Vec<u8>) -> Self {
        let keys = format!("barge_in = both\n{keys}");
        let stage = Stage::new(Server::builder().script(Script::new()), &keys, &extension("101", options));
        let (call, session) = stage.talk("101");
        session.perform(Script::new().start_saying(Speech::wire("a story", said.clone()).at(Pace::Times(8.0))));
        let deadline = Instant::now() + SOON;
        while call.heard().first_sound(deadline - SOON, 0.02).is_none() {
            assert!(Instant::now() < deadline, "the agent is heard");
            sleep(Duration::from_millis(5));
        }
        sleep(Duration::from_millis(500));
        Self { stage, call, session, said }
    }

    /// The caller makes a noise of this length; the moment its first sample leaves.
    fn noise(&self, length: Duration) -> Instant {
        let first = self.call.play_bytes(&voice(2, length, LOUD));
        self.call.wait_played(SOON).expect("it is played");
        self.call.played_at(first).expect("it was played")
    }

    /// How long the agent's voice was heard after `from`, up to its first pause of 100 ms.
    fn silent_after(&self, from: Instant) -> Option<Duration> {
        let heard = self.call.heard();
        let mut last = from;
        while let Some(next) = heard.first_sound(last + Duration::from_millis(1), 0.02) {
            if next - last > Duration::from_millis(100) {
                return Some(last + Duration::from_millis(20) - from);
            }
            last = next;
        }
        (Instant::now() - last > Duration::from_millis(100)).then(|| last + Duration::from_millis(20) - from)
    }

    /// How much of what the agent said was heard from its beginning, leaving out pauses. [codes]
    fn heard_of_story(&self) -> usize {
        let recording = self.call.heard().bytes();
        let packets: Vec<&[u8]> =
            recording.chunks(160).filter(|packet| position(&self.said, packet).is_some()).collect();
        packets.len() * 160
    }

    fn end(self) -> common::Result {
        self.call.hang_up();
        self.call.wait_ended(SOON).expect("the call ends");
        self.stage.rig.wait_log("ended HANGUP", SOON).expect("the module says so");
        self.stage.result("101")
    }
}

#[test]
fn a_knock_holds_the_agent_and_nothing_of_the_sentence_is_lost() {
    let talk = Talk::begin("", "", Duration::from_secs(3));
    let knocked = talk.noise(Duration::from_millis(60));
    sleep(Duration::from_secs(4));
    let held = talk.silent_after(knocked).expect("the agent was held");
    println!("held {held:?} after the knock");
    assert!(held <= HELD, "{held:?}");
    // Two frames have the soft edges of the break.
    let heard = talk.heard_of_story();
    assert!(heard + 320 >= talk.said.len(), "{heard} of {} codes", talk.said.len());
    assert!(talk.session.events_of("conversation.item.truncate").is_empty());
    assert!(talk.session.events_of("response.cancel").is_empty());
    let log = talk.stage.rig.wait_log("the agent goes on", SOON).expect("the log tells");
    assert!(log.contains("not confirmed within 400ms"), "{log}");
    assert_eq!(talk.end().number("BARGEINS"), 0.0);
}

#[test]
fn a_caller_who_goes_on_interrupts_without_the_server() {
    let talk = Talk::begin("", "", Duration::from_secs(20));
    let spoke = talk.noise(Duration::from_millis(900));
    let held = talk.silent_after(spoke).expect("the agent was held");
    println!("held {held:?} after the first loud sample");
    assert!(held <= HELD, "{held:?}");
    talk.session.wait_event("response.cancel", 0, SOON).expect("the server is told to stop");
    let truncate = talk.session.wait_event("conversation.item.truncate", 0, SOON).expect("and what was heard");
    let told = truncate.json["audio_end_ms"].as_u64().expect("a number") as usize * 8;
    let heard = talk.heard_of_story();
    assert!(told.abs_diff(heard) <= 160, "told {told}, heard {heard} codes");
    assert!(truncate.at - spoke < CONFIRM + Duration::from_millis(200), "after {:?}", truncate.at - spoke);
    talk.stage.rig.wait_log("barge-in, heard on the line", SOON).expect("the log tells who noticed");
    sleep(Duration::from_millis(300));
    assert_eq!(talk.heard_of_story(), heard, "nothing more of it is heard");
    assert_eq!(talk.end().number("BARGEINS"), 1.0);
}

#[test]
fn the_server_confirms_what_was_held() {
    let talk = Talk::begin("", "", Duration::from_secs(20));
    talk.noise(Duration::from_millis(100));
    talk.session.perform(Step::SpeechStarted);
    talk.session.wait_event("conversation.item.truncate", 0, SOON).expect("the server learns what was heard");
    talk.stage.rig.wait_log("barge-in, heard by the server", SOON).expect("the log tells who noticed");
    sleep(CONFIRM);
    assert!(!talk.stage.rig.log().contains("the agent goes on"));
    assert_eq!(talk.end().number("BARGEINS"), 1.0);
}

#[test]
fn with_barge_in_off_nobody_interrupts() {
    let talk = Talk::begin("", ",b(off)", Duration::from_secs(3));
    talk.noise(Duration::from_millis(900));
    talk.session.perform(Step::SpeechStarted);
    sleep(Duration::from_secs(3));
    assert_eq!(talk.heard_of_story(), talk.said.len());
    let update = talk.session.wait_event("session.update", 0, SOON).expect("the session was set up");
    let detection = &update.json["session"]["audio"]["input"]["turn_detection"];
    assert_eq!(detection["interrupt_response"], false, "nor is the server to cancel");
    assert_eq!(talk.end().number("BARGEINS"), 0.0);
}

#[test]
fn with_local_barge_in_the_server_does_not_interrupt_and_loudness_does() {
    let talk = Talk::begin("barge_in = local", "", Duration::from_secs(20));
    talk.session.perform(Step::SpeechStarted);
    sleep(Duration::from_millis(300));
    assert!(talk.session.events_of("conversation.item.truncate").is_empty());
    talk.noise(Duration::from_millis(900));
    talk.session.wait_event("response.cancel", 0, SOON).expect("loudness interrupts");
    assert_eq!(talk.end().number("BARGEINS"), 1.0);
}

#[test]
fn a_person_interrupts_and_noise_does_not_even_hold() {
    let talk = Talk::tell("", "", Codec::Alaw.encode(&speech(STORY, 0.1)));
    talk.call.play(&typing(Duration::from_secs(6)));
    talk.call.wait_played(SOON).expect("it is played");
    assert_eq!(talk.session.events_of("conversation.item.truncate").len(), 0, "noise interrupts nobody");
    assert!(!talk.stage.rig.log().contains("the agent goes on"), "nor does it hold the agent");
    let first = talk.call.play(&speech("What about Saturday? I have no time in the week.", 0.1));
    talk.session.wait_event("conversation.item.truncate", 0, SOON).expect("a person interrupts");
    let spoke = talk.call.played_at(first).expect("it was played");
    let held = talk.silent_after(spoke).expect("the agent was held");
    println!("held {held:?} after the first loud sample");
    assert!(held <= HELD + Duration::from_millis(40), "{held:?}");
    talk.stage.rig.wait_log("barge-in, heard on the line", SOON).expect("the log tells who noticed");
    assert_eq!(talk.end().number("BARGEINS"), 1.0);
}

/// A line that returns what the phone hears: so much quieter, so much later.
fn return_voice(call: &PhoneCall, loss_db: f64, delay: Duration, until: Instant) {
    let gain = 10f64.powf(-loss_db / 20.0);
    let mut returned = call.heard().packets.len();
    call.play(&vec![0; delay.as_millis() as usize * 8]);
    while Instant::now() < until {
        let heard = call.heard().packets;
        for packet in &heard[returned..] {
            let echo =
                Codec::Alaw.decode(&packet.payload).iter().map(|&s| (f64::from(s) * gain) as i16).collect::<Vec<_>>();
            call.play(&echo);
        }
        returned = heard.len();
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_agents_voice_that_the_line_returns_costs_no_word() {
    // An echo that is late by a stall of the machine, and not by the line, is none that can be known.
    undisturbed(|| {
        let keys = "barge_in = both\necho_guard = always\nvad_threshold = 0.3";
        let stage = Stage::new(Server::builder().script(Script::new()), keys, &extension("101", ""));
        let said = Codec::Alaw.encode(&speech(STORY, 0.1));
        let lines = [(6.0, 50), (6.0, 200), (6.0, 400), (12.0, 120), (12.0, 300), (20.0, 50), (20.0, 400), (30.0, 200)];
        let calls: Vec<_> = lines.iter().map(|_| stage.talk("101")).collect();
        let end = Instant::now() + Duration::from_millis(said.len() as u64 / 8 + 1500);
        std::thread::scope(|scope| {
            for ((call, session), (loss_db, delay_ms)) in calls.iter().zip(lines) {
                scope.spawn(move || return_voice(call, loss_db, Duration::from_millis(delay_ms), end));
                let story = Speech::wire("a story", said.clone()).at(Pace::Times(4.0));
                session.perform(Script::new().then(Step::DetectSpeech(true)).start_saying(story));
            }
        });
        let held = stage.rig.log().matches("the agent goes on").count();
        println!("{held} holds in all calls");
        for ((call, session), (loss_db, delay_ms)) in calls.iter().zip(lines) {
            let line = format!("echo at -{loss_db} dB after {delay_ms} ms");
            assert_eq!(session.events_of("conversation.item.truncate").len(), 0, "{line}: nothing is cut off");
            let started = session.sent().iter().filter(|sent| sent.kind == "input_audio_buffer.speech_started").count();
            assert_eq!(started, 0, "{line}: the server hears no caller");
            let recording = call.heard();
            let heard =
                recording.audio().filter(|packet| is_sound(packet) && position(&said, &packet.payload).is_some());
            let (heard, all) =
                (heard.count(), said.chunks(160).filter(|chunk| chunk.iter().any(|&code| code != 0xD5)).count());
            println!("{line}: {heard} of {all} packets heard as they were said");
            // A hold leaves two soft edges, and nothing out.
            assert!(heard + 2 * held + 1 >= all, "{line}: {heard} of {all} packets");
            call.hang_up();
        }
    });
}
