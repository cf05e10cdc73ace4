//! `AIAssist()`: a call between two phones goes on as it was, and what each of them says reaches a transcriber of its own.

#[path = "../common/mod.rs"]
mod common;

mod ends;
mod hold;
mod legs;
mod load;
mod operator;
mod transfers;
mod trouble;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use common::signal::{Chord, likest_db, position, sounds};
use common::{SOON, Stage, eventually};
use practice_agent::{Server, Session};
use rig::{Codec, Phone, PhoneCall, Rig};

/// Calls of the phone at the port that follows the first digit. 5: the caller's channel is tapped; 6: the operator's; 7: the caller's,
/// and recorded; 8: nobody's.
const DIALPLAN: &str = "
exten => _5.,1,AIAssist()
 same => n,Verbose(0,ASSIST <${AISTATUS}> <${AIREASON}> <${AISESSION}>)
 same => n,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
 same => n,Hangup()
exten => _6.,1,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1},,U(assist))
 same => n,Hangup()
exten => _7.,1,MixMonitor(${EXTEN}.wav,r(${EXTEN}-caller.wav)t(${EXTEN}-operator.wav))
 same => n,AIAssist()
 same => n,Verbose(0,ASSIST <${AISTATUS}> <${AIREASON}> <${AISESSION}>)
 same => n,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
 same => n,Hangup()
exten => _8.,1,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
 same => n,Hangup()

[assist]
exten => s,1,AIAssist(desk,o)
 same => n,Verbose(0,ASSIST <${AISTATUS}> <${AIREASON}> <${AISESSION}>)
 same => n,Return()
";
/// What is said: long enough for a codec to settle.
const LENGTH: Duration = Duration::from_millis(1500);
/// What a transcriber hears late: one tick of the task, and the machine.
const LATE: Duration = Duration::from_millis(700);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The same sound for the same `seed`; two of them have little in common.
fn chord(seed: u64) -> Chord {
    Chord::narrow(seed, LENGTH)
}

/// `ai_bridge.conf` with the profile `desk`, whose transcriber is at `url`.
fn profile(url: &str) -> String {
    format!(
        "[general]\ndefault_assist_profile = desk\n\n[desk]\ntype = assist\ndialect = soniox\nurl = {url}\n\
         api_key = practice\nhint_url = no\n"
    )
}

/// An exchange whose calls are listened to.
struct Desk {
    stage: Stage,
}

/// A call between two phones.
struct Talk {
    caller: PhoneCall,
    operator: PhoneCall,
}

impl Desk {
    fn new() -> Self {
        Self::with(|rig| rig)
    }

    fn with(prepare: impl FnOnce(rig::Builder) -> rig::Builder) -> Self {
        let agent = Server::builder().start().expect("the practice server starts");
        let url = agent.soniox_url();
        let rig = prepare(Rig::builder().config("ai_bridge.conf", profile(&url)));
        let rig = rig.append("extensions.conf", DIALPLAN).start().expect("Asterisk starts");
        Self { stage: Stage { rig, agent } }
    }

    fn phone(&self, codec: Codec) -> Phone {
        Phone::new(&self.stage.rig).codec(codec)
    }

    /// A call by the extensions that begin with `kind`, both phones hearing each other.
    fn call(&self, kind: char, caller: Codec, operator: Codec) -> Talk {
        let operator = self.phone(operator).listen().expect("the phone listens");
        let caller = self.phone(caller).dial(&to(kind, &operator)).expect("the phone dials");
        let talk = Talk { caller, operator };
        talk.wait_connected();
        talk
    }

    /// Unloads the module; what Asterisk says.
    fn unload(&self, force: &str) -> String {
        self.stage.cli(&format!("module unload {force} res_ai_bridge.so"))
    }

    /// Samples and rate of the recording `name`.
    fn recording(&self, name: &str) -> (Vec<i16>, u32) {
        let file = self.stage.rig.directory().join(format!("spool/monitor/{name}.wav"));
        rig::read_wav(&fs::read(file).expect("it is there")).expect("it is a recording")
    }

    /// Nothing holds the module.
    #[track_caller]
    fn assert_unloads(&self) {
        let mut said = String::new();
        eventually("the module is unloaded", SOON, || {
            said = self.unload("");
            said.contains("Unloaded")
        });
    }

    /// A tapped call of two phones with A-law, and what listens to it.
    fn tapped(&self, kind: char) -> (Talk, Legs) {
        let talk = self.call(kind, Codec::Alaw, Codec::Alaw);
        let legs = self.legs();
        (talk, legs)
    }

    /// What listens to the next call that is listened to.
    fn legs(&self) -> Legs {
        let streams = [self.stage.session(), self.stage.session()];
        let of = |leg: &str| {
            let named = |stream: &&Session| stream.reference().is_some_and(|name| name.ends_with(leg));
            eventually("both streams say whom they hear", SOON, || streams.iter().any(|stream| named(&stream)));
            Leg(streams.iter().find(named).expect("a moment ago it was there").clone())
        };
        Legs { caller: of("caller"), operator: of("operator") }
    }
}

/// What a transcriber has heard.
struct Leg(Session);

impl Leg {
    fn pcm(&self) -> Vec<i16> {
        self.0.caller_pcm()
    }

    fn rate_hz(&self) -> u32 {
        self.0.appends().last().map_or(8000, |append| append.format.rate_hz)
    }
}

/// The two transcribers of a call.
struct Legs {
    caller: Leg,
    operator: Leg,
}

impl Legs {
    fn heard(&self) -> [usize; 2] {
        [self.caller.pcm().len(), self.operator.pcm().len()]
    }
}

/// The extension that calls `phone`.
fn to(kind: char, phone: &PhoneCall) -> String {
    let uri = phone.uri();
    let (_, port) = uri.rsplit_once(':').expect("a port");
    format!("{kind}{port}")
}

impl Talk {
    /// Waits until the phones hear each other.
    #[track_caller]
    fn wait_connected(&self) {
        let both = [&self.caller, &self.operator];
        for call in both {
            call.wait_answered(SOON).expect("the call is answered");
        }
        let before = both.map(|call| call.heard().pcm().len());
        eventually("the phones hear each other", SOON, || {
            // What is said before the bridge is there is lost.
            for call in both {
                call.play(&Chord::narrow(1, ms(100)).at_rate(call.heard().codec.rate_hz()));
            }
            sleep(ms(200));
            both.iter().zip(before).all(|(call, before)| is_loud(&call.heard().pcm()[before..]))
        });
        sleep(LATE);
    }

    /// Caller and operator say something at the same time, each something else. Both hear each other, and each is heard by the
    /// own transcriber, and by that alone: of two voices equally loud one would be in the other's way.
    fn assert_converse(&self, legs: &Legs, least_db: f64, what: &str) {
        let codecs = [&self.caller, &self.operator].map(|call| call.heard().codec);
        let before = [self.caller.heard().pcm().len(), self.operator.heard().pcm().len()];
        let heard = legs.heard();
        let (mine, theirs) = (chord(11), chord(12));
        self.caller.play(&mine.at_rate(codecs[0].rate_hz()));
        self.operator.play(&theirs.at_rate(codecs[1].rate_hz()));
        for call in [&self.caller, &self.operator] {
            call.wait_played(SOON).expect("the phone sends");
        }
        sleep(LATE);
        let db = |heard: &[i16], said: &Chord, rate_hz| likest_db(heard, &|rate| said.at_rate(rate), rate_hz);
        let [caller, operator] = [
            db(&self.caller.heard().pcm()[before[0]..], &theirs, codecs[0].rate_hz()),
            db(&self.operator.heard().pcm()[before[1]..], &mine, codecs[1].rate_hz()),
        ];
        let transcribed = [
            db(&legs.caller.pcm()[heard[0]..], &mine, legs.caller.rate_hz()),
            db(&legs.operator.pcm()[heard[1]..], &theirs, legs.operator.rate_hz()),
        ];
        println!(
            "{what}: SNR at the caller's phone {caller:.1} dB, at the operator's {operator:.1} dB, transcribed {transcribed:.1?}"
        );
        for db in [caller, operator].into_iter().chain(transcribed) {
            assert!(db >= least_db, "{what}: {db:.1} dB");
        }
    }
}

/// Whether anybody says anything in `samples`.
fn is_loud(samples: &[i16]) -> bool {
    samples.iter().any(|sample| sample.unsigned_abs() > 1000)
}

/// Whether `call` has heard all of these codes, and nothing in between.
fn has_heard(call: &PhoneCall, said: &[u8]) -> bool {
    let heard: Vec<u8> = sounds(&call.heard().bytes()).iter().flat_map(|(_, sound)| *sound).copied().collect();
    position(&heard, said).is_some()
}
