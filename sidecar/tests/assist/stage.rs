//! A sidecar with an assistant, its services, and two who speak in tones. No telephone exchange.

use std::f32::consts::TAU;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ai_sidecar::assist::{AssistEnd, AssistOptions, AssistPlan};
use ai_sidecar::events::{CallEnd, CallState, Direction, Event, Hint, Notice, Origin, Speaker, What};
use ai_sidecar::exchange::{Caller, Exchange, Problem, Routine};
use ai_sidecar::outbound::{Dialler, Leg, Line, Order};
use ai_sidecar::settings::{RawEntry, RawSection, Settings};
use ai_sidecar::{Sidecar, SidecarConfig};
use practice_agent::{ChatAnswer, Server, Session};

/// Sessions whose channels were hung up.
#[derive(Debug, Default)]
pub(crate) struct Hangups(pub(crate) Mutex<Vec<String>>);

impl Exchange for Hangups {
    fn set_variable(&self, _: &str, _: &str, _: &str) -> Result<(), Problem> {
        Err(Problem("there is no exchange".to_owned()))
    }

    fn caller(&self, _: &str) -> Option<Caller> {
        None
    }

    fn hang_up(&self, session: &str) -> Result<(), Problem> {
        self.0.lock().expect("no panic").push(session.to_owned());
        Ok(())
    }

    fn routine(&self, _: &str, _: &str, _: &[String], _: &[(&str, String)]) -> Result<Box<dyn Routine>, Problem> {
        Err(Problem("there is no exchange".to_owned()))
    }
}

#[derive(Debug)]
struct NoDialler;

impl Dialler for NoDialler {
    fn detects_machines(&self) -> bool {
        false
    }

    fn dial(&self, _: Order, _: Line) -> io::Result<Arc<dyn Leg>> {
        Err(io::Error::other("there is no exchange"))
    }
}

/// Everything but the call.
pub(crate) struct Stage {
    pub(crate) sidecar: Sidecar,
    pub(crate) settings: Settings,
    /// Transcriber and chat service in one.
    pub(crate) practice: Server,
    pub(crate) hangups: &'static Hangups,
    told: Arc<Mutex<Vec<Arc<Event>>>>,
}

impl Stage {
    /// With the profile `desk` and these keys beside its addresses.
    pub(crate) fn new(keys: &str) -> Self {
        Self::of("soniox", keys)
    }

    /// The same with another transcriber.
    pub(crate) fn of(dialect: &str, keys: &str) -> Self {
        let who = |name: &str| name.rsplit('-').next().unwrap_or_default().to_owned();
        let words = move |name: &str| (1..50).map(|line| format!("{} {line}", who(name))).collect();
        let practice = Server::builder().api_key("stt-key").words(words).start().expect("a port is free");
        let url = if dialect == "soniox" { practice.soniox_url() } else { practice.url() };
        let hint_url = practice.chat_url();
        let text = format!(
            "type = assist\ndialect = {dialect}\nurl = {url}\napi_key = stt-key\nhint_url = {hint_url}\nhint_model = practice\n\
             hint_api_key = stt-key\nhint_interval_ms = 0\n{keys}"
        );
        let entry = |(index, line): (usize, &str)| {
            let (key, value) = line.split_once('=').expect("key = value");
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            RawEntry { file: "ai_bridge.conf".to_owned(), line: index as u32, key, value }
        };
        let section = RawSection { name: "desk".to_owned(), entries: text.lines().enumerate().map(entry).collect() };
        let settings = Settings::parse(&[section], Path::new("/nonexistent")).expect("valid");
        let hangups: &'static Hangups = Box::leak(Box::default());
        let config = SidecarConfig {
            workers: 1,
            on_thread_start: || {},
            on_thread_stop: || {},
            exchange: hangups,
            dialler: &NoDialler,
        };
        let sidecar = Sidecar::start(config).expect("threads start");
        let mut subscription = sidecar.events().subscribe();
        let told = Arc::<Mutex<Vec<Arc<Event>>>>::default();
        let keep = told.clone();
        thread::spawn(move || {
            while let Some(Notice::Event(event)) = subscription.wait() {
                keep.lock().expect("no panic").push(event);
            }
        });
        Self { sidecar, settings, practice, hangups, told }
    }

    /// A call that rings, tapped on the caller's channel unless `options` say otherwise.
    pub(crate) fn call(&self, options: &str) -> Phones {
        let options = AssistOptions::parse(options).expect("valid");
        let profile = self.settings.assist_profile(options.profile.as_deref()).expect("it is there");
        let plan = AssistPlan::new(&self.settings, profile, &options).expect("its dialect is known");
        let origin = Origin {
            direction: Direction::Assist,
            channel: "PJSIP/mango-00000001".to_owned(),
            uniqueid: "1.1".to_owned(),
            caller: Some("79123456789".to_owned()),
            callee: None,
        };
        let end = self.sidecar.begin_assist(self.sidecar.seat(0).expect("no limit"), plan, origin);
        let id = end.info().id.clone();
        self.wait("its beginning", |told| told.iter().any(|event| event.session == id).then_some(()));
        Phones { start: end.info().started, end, at_ms: 0 }
    }

    /// From here on, requests for hints are answered like this, one after the other, and the rest as the last.
    pub(crate) fn answers(&self, answers: Vec<ChatAnswer>) {
        let before = self.practice.chats().len();
        self.practice.set_chat(move |request| {
            let number = request.number as usize - before - 1;
            answers[number.min(answers.len() - 1)].clone()
        });
    }

    /// The stream that hears `leg`, once there is one.
    pub(crate) fn stream(&self, leg: &str) -> Session {
        self.practice.stream(leg, Duration::from_secs(5)).expect("it is opened")
    }

    /// Audio that the transcriber has of both.
    pub(crate) fn heard(&self) -> Duration {
        self.practice.sessions().iter().map(Session::caller_audio_time).sum()
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> Vec<Arc<Event>> {
        self.told.lock().expect("no panic").clone()
    }

    /// Waits until `found` finds something in what was told.
    pub(crate) fn wait<T>(&self, what: &str, found: impl Fn(&[Arc<Event>]) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(8);
        loop {
            if let Some(found) = found(&self.told()) {
                return found;
            }
            assert!(
                Instant::now() < until,
                "{what}: {:#?}",
                self.told().iter().map(|event| &event.what).collect::<Vec<_>>()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many lines were said, and answers with them: who, what, from, until [ms].
    pub(crate) fn lines(&self, count: usize) -> Vec<(Speaker, String, u64, u64)> {
        self.wait("lines", |told| {
            let lines: Vec<_> = told.iter().filter_map(|event| line(&event.what)).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Waits until so many hints came, and answers with them and how long they took. [ms]
    pub(crate) fn hints(&self, count: usize) -> Vec<(Hint, u64)> {
        self.wait("hints", |told| {
            let hints: Vec<_> = told
                .iter()
                .filter_map(|event| match &event.what {
                    What::Suggestion { hint, latency_ms } => Some((hint.clone(), *latency_ms)),
                    _ => None,
                })
                .collect();
            (hints.len() >= count).then_some(hints)
        })
    }

    /// Waits for the call's end.
    pub(crate) fn end(&self) -> CallEnd {
        self.wait("the end", |told| match &told.last()?.what {
            What::CallEnd(end) => Some((**end).clone()),
            _ => None,
        })
    }

    /// The states the call has been in.
    pub(crate) fn states(&self) -> Vec<CallState> {
        let state = |event: &Arc<Event>| match event.what {
            What::CallStatus { state } => Some(state),
            _ => None,
        };
        self.told().iter().filter_map(state).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.sidecar.shut_down(Duration::from_secs(2));
    }
}

fn line(what: &What) -> Option<(Speaker, String, u64, u64)> {
    match what {
        What::Transcript { speaker, text, complete: true, start_ms, end_ms } => {
            Some((*speaker, text.clone(), (*start_ms)?, (*end_ms)?))
        }
        _ => None,
    }
}

/// What a party does for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sound {
    /// Speaks.
    Tone,
    /// Says nothing.
    Silence,
    /// Sends nothing (DTX).
    Nothing,
}

/// Two who are on the phone.
pub(crate) struct Phones {
    pub(crate) end: AssistEnd,
    start: Instant,
    /// The time in the call until which they have been heard.
    at_ms: u64,
}

impl Phones {
    /// For `ms`, as long as it takes, this channel's party does `this`, and the other `other`. Answers when that began. [ms]
    pub(crate) fn play(&mut self, this: Sound, other: Sound, ms: u64) -> u64 {
        // What has passed without a sound has passed.
        self.at_ms = self.at_ms.max(self.start.elapsed().as_millis() as u64);
        let began = self.at_ms;
        while self.at_ms < began + ms {
            let at = self.start + Duration::from_millis(self.at_ms);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            for (leg, sound) in [(&mut self.end.this, this), (&mut self.end.other, other)] {
                match sound {
                    Sound::Tone => leg.push(&tone(), 8000, at),
                    Sound::Silence => leg.push(&[0; 160], 8000, at),
                    Sound::Nothing => {}
                }
            }
            self.at_ms += 20;
        }
        began
    }
}

/// 20 ms of 400 Hz.
fn tone() -> [i16; 160] {
    std::array::from_fn(|at| ((at as f32 * 400.0 / 8000.0 * TAU).sin() * 12_000.0) as i16)
}

/// A hint called `title`.
pub(crate) fn hint(title: &str) -> ChatAnswer {
    let hint = format!(r#"{{"type":"objection","title":"{title}","content":"Say so.","priority":"high"}}"#);
    ChatAnswer::says(hint).after(Duration::from_millis(50))
}
