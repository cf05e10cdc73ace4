//! `rig demo`: one real call to the AI, told while it happens, measured at the phone, kept as sound and as a picture.

pub(crate) mod assist;
mod figures;
mod live;
pub(crate) mod outbound;
mod picture;
mod tape;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use practice_agent::{Keep, Server};
use rig::{Codec, Phone, PhoneCall, Rig, speech};

use self::figures::Figures;
use self::live::Live;
use self::tape::Tape;

/// What the caller says, in two goes; the second one into the agent's answer.
const QUESTION: &str = "Hello. I would like to know when my order is going to arrive. I placed it last Tuesday.";
const INTERRUPTION: &str = "Sorry, just a moment. I have one more question.";

/// Agent speech the caller listens to before interrupting.
const LISTENS: Duration = Duration::from_millis(2500);
/// So much silence means that the agent has finished.
const FINISHED: Duration = Duration::from_millis(900);
/// A real model may think before it speaks.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer the caller listens to.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// Louder than this is speech. [of full scale]
const SPEECH_LEVEL: f64 = 0.01;
/// Rate of everything here. [Hz]
const RATE_HZ: u32 = 8000;

/// Places the call; the recording and the picture go to `demo/` in the checkout.
pub(crate) fn run(profile: &str) -> Result<()> {
    let agent = (profile == "practice").then(|| Server::builder().keep(Keep::Nothing).start()).transpose()?;
    let mut builder =
        Rig::builder().edit("ai_bridge.conf", "default_profile = practice", &format!("default_profile = {profile}"));
    if let Some(agent) = &agent {
        builder = builder.edit("ai_bridge.conf", "ws://127.0.0.1:9797/v1/realtime", &agent.url());
    }
    println!("Starting Asterisk with profile [{profile}] …");
    let rig = builder.start()?;
    let live = Live::start(&rig);
    let mut caller = Caller::dial(&rig, live)?;
    let talked = caller.talk();
    caller.call.hang_up();
    caller.live.say("phone", "hangs up");
    caller.call.wait_ended(PATIENCE)?;
    thread::sleep(Duration::from_millis(300));
    let Caller { call, live, tape, turns, barge_in, answered, .. } = caller;
    let told = live.stop();
    talked?;
    let figures = Figures::new(&call.heard(), answered, &turns, barge_in, &told);
    let folder = rig::checkout().join("demo");
    fs::create_dir_all(&folder)?;
    let (wav, png) = (folder.join("call.wav"), folder.join("call.png"));
    tape.write(&call.heard(), &wav)?;
    picture::draw(&tape, &call.heard(), &told, &png)?;
    figures.print();
    println!("\nRecording (caller left, agent right): {}", shown(&wav));
    println!("Picture:                              {}", shown(&png));
    Ok(())
}

/// A path as people like to see it: from where they are.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// A moment at which the caller had finished or begun to speak, and the agent's reaction.
pub(crate) struct Turn {
    /// When the caller's last word had left the phone.
    pub(crate) asked: Instant,
}

struct Caller {
    call: PhoneCall,
    live: Live,
    tape: Tape,
    answered: Instant,
    turns: Vec<Turn>,
    barge_in: Option<Instant>,
}

impl Caller {
    fn dial(rig: &Rig, live: Live) -> Result<Self> {
        live.say("phone", "dials 7000");
        let call = Phone::new(rig).codec(Codec::Alaw).dial("7000")?;
        let answered = call.wait_answered(PATIENCE)?;
        live.say("phone", "the call is answered");
        let tape = Tape::new(answered);
        Ok(Self { call, live, tape, answered, turns: Vec::new(), barge_in: None })
    }

    /// The whole conversation, from the caller's side.
    fn talk(&mut self) -> Result<()> {
        self.wait_speech(self.answered).context("the agent did not greet")?;
        self.wait_silence()?;

        let asked = self.speak(QUESTION)?;
        self.turns.push(Turn { asked });
        let answer = self.wait_speech(asked).context("the agent did not answer")?;
        thread::sleep((answer + LISTENS).saturating_duration_since(Instant::now()));

        let began = Instant::now();
        let asked = self.speak(INTERRUPTION)?;
        self.barge_in = Some(began);
        self.turns.push(Turn { asked });
        self.wait_speech(asked).context("the agent did not answer after the interruption")?;
        self.wait_silence()
    }

    /// Says `text` and gives the moment its last sound has left.
    fn speak(&mut self, text: &str) -> Result<Instant> {
        let samples = trimmed(speech(text, RATE_HZ)?);
        self.live.say("caller", &format!("“{text}”"));
        let first = self.call.play(&samples);
        self.call.wait_played(ANSWER_MAX)?;
        let began = self.call.played_at(first).context("the phone has not played it")?;
        self.tape.caller(began, &samples);
        Ok(began + Duration::from_secs_f64(samples.len() as f64 / f64::from(RATE_HZ)))
    }

    /// Waits for the agent's voice after `from`.
    fn wait_speech(&self, from: Instant) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.call.heard().first_sound(from, SPEECH_LEVEL) {
                return Ok(at);
            }
            if Instant::now() > deadline {
                bail!("nothing was heard for {} s", PATIENCE.as_secs());
            }
            self.check_up()?;
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the agent has finished.
    fn wait_silence(&self) -> Result<()> {
        let deadline = Instant::now() + ANSWER_MAX;
        while Instant::now() < deadline {
            self.check_up()?;
            let now = Instant::now();
            let last = self.call.heard().last_sound(now, SPEECH_LEVEL);
            if last.is_none_or(|last| now - last > FINISHED) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn check_up(&self) -> Result<()> {
        let ended = self.call.events().into_iter().find(|event| matches!(event.what, rig::CallEvent::Ended(_)));
        match ended {
            Some(event) => bail!("the call ended early: {:?}", event.what),
            None => Ok(()),
        }
    }
}

/// Speech without the silence that the synthesizer puts around it, so that its end is the end.
fn trimmed(samples: Vec<i16>) -> Vec<i16> {
    let loud = |sample: &i16| sample.unsigned_abs() > 300;
    let start = samples.iter().position(loud).unwrap_or(0);
    let end = samples.iter().rposition(loud).map_or(samples.len(), |last| last + 1);
    samples[start..end].to_vec()
}
