//! A conversation in every codec, both ways, with the quality and the bandwidth the codec has; and a change of codec in the
//! middle of a call.

mod common;

use std::thread::sleep;
use std::time::Duration;

use common::signal::{Chord, likest_db};
use common::witness::undisturbed;
use common::{SOON, Stage, extension, profile};
use practice_agent::{Script, Server, Session, Speech};
use rig::{Codec, Direction, Phone, PhoneCall, Rig};

/// What is said: long enough for a codec to settle.
const LENGTH: Duration = Duration::from_millis(1500);
/// Above what a telephone carries, and below what a wideband codec does.
const HIGH_BAND: std::ops::Range<f64> = 4200.0..6800.0;

struct Talk<'a> {
    call: PhoneCall,
    session: Session,
    /// Rate on the WebSocket. [Hz]
    wire_hz: u32,
    what: &'a str,
}

impl<'a> Talk<'a> {
    fn begin(stage: &Stage, call: PhoneCall, wire_hz: u32, what: &'a str) -> Self {
        call.wait_answered(SOON).expect("the call is answered");
        let session = stage.session();
        session.wait_caller_audio(Duration::from_millis(500), SOON).expect("caller audio flows");
        Self { call, session, wire_hz, what }
    }

    /// Both say the same at the same time; how each hears it. `sound` has its samples at any rate, `encode` makes the
    /// wire's bytes of them.
    fn converse(&self, sound: &dyn Fn(u32) -> Vec<i16>, encode: impl FnOnce(&[i16]) -> Vec<u8>) -> [Heard; 2] {
        let codec = self.call.heard().codec;
        let (heard_before, said_before) = (self.call.heard().pcm().len(), self.session.caller_pcm().len());
        self.call.play(&sound(codec.rate_hz()));
        self.session.perform(Script::new().say(Speech::wire("a signal", encode(&sound(self.wire_hz)))));
        self.call.wait_played(2 * SOON).expect("the phone sends");
        self.session.wait_performed(2 * SOON).expect("the agent has said it");
        sleep(Duration::from_millis(800));
        let heard = [
            (self.session.caller_pcm().split_off(said_before), self.wire_hz),
            (self.call.heard().pcm().split_off(heard_before), codec.rate_hz()),
        ];
        let [to_agent, to_caller] = heard.map(|(samples, rate_hz)| {
            let snr_db = likest_db(&samples, sound, rate_hz);
            Heard { samples, rate_hz, snr_db }
        });
        let what = self.what;
        println!("{what}: SNR caller to agent {:.1} dB, agent to caller {:.1} dB", to_agent.snr_db, to_caller.snr_db);
        [to_agent, to_caller]
    }

    fn assert_converses(&self, sound: &dyn Fn(u32) -> Vec<i16>, least_db: f64) {
        for (way, heard) in ["agent", "caller"].iter().zip(self.converse(sound, slin)) {
            let snr_db = heard.snr_db;
            assert!(snr_db >= least_db, "{}: the {way} hears it with {snr_db:.1} dB", self.what);
        }
    }

    /// What lies above the telephone's band arrives about as loud as it was said.
    fn assert_wideband(&self, seed: u64) {
        let chord = Chord::new(seed, HIGH_BAND, LENGTH);
        for (way, heard) in ["agent", "caller"].iter().zip(self.converse(&|hz| chord.at_rate(hz), slin)) {
            let said = chord.at_rate(heard.rate_hz);
            let power = |samples: &[i16]| power(samples, HIGH_BAND, heard.rate_hz);
            let level_db = 10.0 * (power(&heard.samples) / power(&said)).log10();
            println!("{}: level above 4 kHz at the {way} {level_db:+.1} dB", self.what);
            assert!(level_db.abs() <= 4.0, "{}: the {way} hears it at {level_db:+.1} dB", self.what);
        }
    }
}

/// What one side heard while something was said to it.
struct Heard {
    samples: Vec<i16>,
    rate_hz: u32,
    snr_db: f64,
}

/// Energy in a band: Goertzel's filter every 5 Hz.
fn power(samples: &[i16], band: std::ops::Range<f64>, rate_hz: u32) -> f64 {
    let filters = (0..).map(|n| band.start + f64::from(n) * 5.0).take_while(|hz| *hz < band.end);
    let energy = filters.map(|hz| {
        let factor = 2.0 * (std::f64::consts::TAU * hz / f64::from(rate_hz)).cos();
        let (a, b) = samples.iter().fold((0.0, 0.0), |(a, b), &sample| (f64::from(sample) + factor * a - b, a));
        a * a + b * b - factor * a * b
    });
    energy.sum()
}

fn slin(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// A spoken sentence: what codecs made for speech are good at.
fn sentence(rate_hz: u32) -> Vec<i16> {
    rig::speech("Seven brown sheep were never sleeping", rate_hz).expect("espeak-ng speaks")
}

fn silent_agent() -> practice_agent::Builder {
    Server::builder().script(Script::new())
}

#[test]
fn every_codec_of_a_phone_converses_at_its_own_bandwidth() {
    undisturbed(|| {
        let stage = Stage::new(silent_agent(), "audio = pcm24", "");
        for (codec, least_db, wide) in [
            (Codec::Alaw, 33.0, false),
            (Codec::Ulaw, 33.0, false),
            (Codec::G722, 25.0, true),
            (Codec::Slin16, 40.0, true),
        ] {
            let what = format!("{codec:?}");
            let call = Phone::new(&stage.rig).codec(codec).dial("100").expect("the phone dials");
            let talk = Talk::begin(&stage, call, 24_000, &what);
            talk.assert_converses(&|hz| Chord::narrow(31, LENGTH).at_rate(hz), least_db);
            if wide {
                Talk { what: &format!("{codec:?}, a high sound"), ..talk }.assert_wideband(32);
            }
        }
    });
}

/// An exchange between a phone and the AI's, joined to it by a trunk with this one codec: whatever a phone cannot speak
/// here, real encoders and decoders of Asterisk do.
fn trunk(stage: &Stage, codec: &str) -> Rig {
    let address = stage.rig.sip_addr();
    let trunk = format!(
        "[trunk]\ntype = endpoint\ncontext = default\ndisallow = all\nallow = {codec}\ndirect_media = no\naors = trunk\n\
         outbound_auth = trunk\nfrom_user = 1001\n\n[trunk]\ntype = aor\ncontact = sip:{address}\n\n\
         [trunk]\ntype = auth\nauth_type = userpass\nusername = 1001\npassword = 1001pass\n"
    );
    Rig::builder()
        .without_bridge()
        .append("pjsip.conf", trunk)
        .append("extensions.conf", "exten => 100,1,Dial(PJSIP/100@trunk)\n same => n,Hangup()\n")
        .start()
        .expect("the other Asterisk starts")
}

fn stage_with_gsm(keys: &str) -> Stage {
    let prepare = |rig: rig::Builder, url: &str| {
        rig.config("ai_bridge.conf", profile(url, keys)).edit("pjsip.conf", "slin16,opus", "slin16,opus,gsm")
    };
    Stage::with(silent_agent(), prepare, &extension("101", ""))
}

#[test]
fn opus_converses_in_wideband() {
    undisturbed(|| {
        let stage = stage_with_gsm("audio = pcm24");
        let other = trunk(&stage, "opus");
        let call = Phone::new(&other).codec(Codec::Slin16).dial("100").expect("the phone dials");
        let talk = Talk::begin(&stage, call, 24_000, "Opus");
        // The codec's own decoder and encoder at the AI's rate, nothing resampled on the way.
        let channel = stage.cli("core show channel PJSIP/1001-00000000");
        assert!(channel.contains("(opus@48000)->(slin@24000)"), "{channel}");
        talk.assert_converses(&sentence, 6.0);
        Talk { what: "Opus, a high sound", ..talk }.assert_wideband(34);
    });
}

#[test]
fn gsm_converses() {
    undisturbed(|| {
        let stage = stage_with_gsm("audio = pcm24");
        let other = trunk(&stage, "gsm");
        let call = Phone::new(&other).codec(Codec::Slin16).dial("100").expect("the phone dials");
        let talk = Talk::begin(&stage, call, 24_000, "GSM");
        talk.assert_converses(&sentence, 5.0);
    });
}

#[test]
fn the_conversation_goes_on_when_the_phone_changes_its_codec() {
    undisturbed(|| {
        for (wire, wire_hz) in [("auto", 8000), ("pcm24", 24_000)] {
            let stage = Stage::new(silent_agent(), &format!("audio = {wire}"), "");
            let call = Phone::new(&stage.rig).dial("100").expect("the phone dials");
            let mut talk = Talk::begin(&stage, call, wire_hz, "A-law");
            for (seed, codec, least_db) in
                [(41, Codec::Alaw, 33.0), (42, Codec::Ulaw, 30.0), (43, Codec::G722, 20.0), (44, Codec::Alaw, 33.0)]
            {
                let what = format!("audio = {wire}, now {codec:?}");
                talk.call.renegotiate(codec, Direction::Both, SOON).expect("Asterisk agrees");
                // The first packets in the new codec.
                sleep(Duration::from_millis(200));
                let again = Talk { what: &what, ..talk };
                let chord = Chord::narrow(seed, LENGTH);
                let encode = |samples: &[i16]| if wire == "auto" { Codec::Alaw.encode(samples) } else { slin(samples) };
                for heard in again.converse(&|hz| chord.at_rate(hz), encode) {
                    assert!(heard.snr_db >= least_db, "{what}: {:.1} dB", heard.snr_db);
                }
                talk = Talk { what: "", ..again };
            }
        }
    });
}
