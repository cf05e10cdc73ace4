//! The caller's loudness on the line holds the agent's voice at once; what proves to be noise is taken back.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::position;
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

struct Talk {
    stage: Stage,
    call: PhoneCall,
    session: Session,
    said: Vec<u8>,
}

impl Talk {
    /// A call in which the agent has begun to say something of this length.
    fn begin(keys: &str, options: &str, length: Duration) -> Self {
        let keys = format!("barge_in = both\n{keys}");
        let stage = Stage::new(Server::builder().script(Script::new()), &keys, &extension("101", options));
        let (call, session) = stage.talk("101");
        let said = voice(1, length, AGENT);
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
fn the_agents_own_voice_coming_back_from_the_line_does_not_hold_it() {
    for (loss_db, delay_ms) in [(6.0, 60), (6.0, 300), (12.0, 400)] {
        let talk = Talk::begin("local_vad_rms = 0.02", "", Duration::from_secs(3));
        let gain = 10f64.powf(-loss_db / 20.0);
        let echo: Vec<i16> = Codec::Alaw.decode(&talk.said).iter().map(|&s| (f64::from(s) * gain) as i16).collect();
        // The agent has been speaking for half a second.
        talk.call.play(&echo[4000 - delay_ms * 8..]);
        sleep(Duration::from_secs(3));
        assert_eq!(talk.heard_of_story(), talk.said.len(), "echo at -{loss_db} dB after {delay_ms} ms");
        assert_eq!(talk.end().number("BARGEINS"), 0.0);
    }
}
