//! One of the two: from the ring to the lines. Its stream is opened when it is first needed, kept over pauses, and opened
//! anew when it is lost, with what was said meanwhile.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ai_dialect::transcriber::{Listening, TranscriberProvider};
use ai_media::Format;
use ai_media::tap::LegTap;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tracing::{debug, info, warn};

use super::intake::{Chunk, Intake};
use super::stream::{self, Opening, Said, Stream};
use crate::events::Speaker;
use crate::outcome::one_line;
use crate::recovery::{Recovery, Step};
use crate::session::Session;
use crate::settings::AssistProfile;
use crate::stats::millis;
use crate::{Outcome, Status};

/// Most audio given in a tick of 100 ms: what has waited goes faster than it was spoken, but not all at once.
const GIVEN_MAX: Duration = Duration::from_millis(300);
/// A server's errors beyond so many in a call are not logged.
const COMPLAINTS_MAX: u32 = 10;
/// After all attempts to reconnect, the next come at this distance.
const LATER: Duration = Duration::from_secs(60);
/// Up to this rate a phone's audio is taken for G.711, which it was or nearly is: half the bytes. [Hz]
const NARROWBAND_HZ: u32 = 8000;

/// One of the two.
pub(super) struct Leg {
    pub(super) speaker: Speaker,
    session: Arc<Session>,
    profile: Arc<AssistProfile>,
    provider: &'static TranscriberProvider,
    listening: Listening,
    tap: LegTap,
    /// It is to be heard.
    wanted: bool,
    intake: Intake,
    state: State,
    recovery: Recovery,
    /// Something is being said, as far as was told.
    guessing: bool,
    complaints: u32,
    /// Understood by streams that are gone.
    last: VecDeque<Said>,
    /// At the end of the call, the one attempt was made for which there was no time to wait.
    hurried: bool,
    /// It was said that the stream is gone for longer.
    given_up: bool,
    frame: Vec<i16>,
}

enum State {
    /// There is no stream, and it will be opened then.
    Away(Instant),
    /// One is being opened.
    Opening(Opening),
    /// There is one.
    Open(Box<Stream>),
    /// There will be none.
    Over,
}

/// Something happened to the stream.
pub(super) enum Happened {
    Opened(Result<Box<Stream>, Outcome>),
    Message(Result<Message, Outcome>),
}

impl Leg {
    pub(super) fn new(
        speaker: Speaker,
        session: &Arc<Session>,
        profile: &Arc<AssistProfile>,
        provider: &'static TranscriberProvider,
        listening: Listening,
        tap: LegTap,
    ) -> Self {
        Self {
            speaker,
            session: session.clone(),
            profile: profile.clone(),
            provider,
            listening: Listening { leg: speaker.name().to_owned(), ..listening },
            tap,
            wanted: false,
            intake: Intake::default(),
            state: State::Away(Instant::now()),
            recovery: Recovery::persistent(),
            guessing: false,
            complaints: 0,
            last: VecDeque::new(),
            hurried: false,
            given_up: false,
            frame: Vec::new(),
        }
    }

    /// Waits for something to happen to the stream. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Happened {
        match &mut self.state {
            State::Opening(opening) => Happened::Opened(opening.await),
            State::Open(stream) => Happened::Message(stream.next().await),
            State::Away(_) | State::Over => pending().await,
        }
    }

    /// Takes what was tapped until `now`. Since `since` it is `wanted`, or is not; before, it was as it was before.
    pub(super) fn hear(&mut self, wanted: bool, since: std::time::Instant, now: Instant) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        loop {
            self.frame.clear();
            let Some(piece) = self.tap.take(&mut self.frame) else { break };
            let is_wanted = if piece.at < since { before } else { wanted };
            if is_wanted && !matches!(self.state, State::Over) {
                self.intake.hear(&self.frame, piece.rate_hz, piece.at);
            }
        }
        if wanted {
            self.intake.fill(now.into());
        } else {
            self.intake.pause();
        }
    }

    /// Gives the stream what there is, as fast as it should go, and does what time makes due.
    pub(super) fn work(&mut self, now: Instant) {
        let due = matches!(self.state, State::Away(at) if now >= at);
        if due && let Some(rate_hz) = self.intake.rate_hz() {
            self.open(rate_hz);
        }
        let State::Open(stream) = &mut self.state else { return };
        let mut given = Duration::ZERO;
        while given < GIVEN_MAX
            && stream.has_room()
            && let Some(chunk) = self.intake.take()
        {
            given += chunk.duration();
            let call_time = chunk.at.saturating_duration_since(self.session.info.started);
            stream.give(chunk, call_time.as_millis() as u64, now);
        }
        if !self.wanted && self.intake.is_empty() {
            stream.pause(now);
            let idle_max = self.profile.idle_stream;
            if !idle_max.is_zero() && stream.paused_for(now) >= idle_max {
                // Services charge for an open stream, silent or not, and allow few at once. It is opened when it is needed.
                self.leave(State::Away(now));
                return;
            }
        }
        if let Err(outcome) = stream.handle_timeout(now) {
            self.lose(outcome, now);
        }
    }

    /// As [`Leg::work`] when the call is over. True once all was told, or never will be.
    pub(super) fn finish(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Opening(_) => return self.intake.is_empty(),
            State::Open(stream) if self.intake.is_empty() => stream.end(now),
            State::Open(_) => {}
            State::Away(_) if self.intake.is_empty() => return true,
            // There is no time for a pause; but for one attempt there is.
            State::Away(at) if !std::mem::replace(&mut self.hurried, true) => *at = now,
            State::Away(_) => {}
            State::Over => return true,
        }
        self.work(now);
        false
    }

    /// What happened is dealt with; `tell` gets what was understood.
    pub(super) fn handle(&mut self, happened: Happened, now: Instant) {
        match happened {
            Happened::Opened(Ok(stream)) => self.begin(stream, now),
            Happened::Opened(Err(outcome)) | Happened::Message(Err(outcome)) => self.lose(outcome, now),
            Happened::Message(Ok(message)) => {
                if let State::Open(stream) = &mut self.state {
                    stream.handle_message(&message);
                }
            }
        }
    }

    /// What was understood next: interim words or a line.
    pub(super) fn said(&mut self, now: Instant) -> Option<Said> {
        loop {
            if let Some(said) = self.last.pop_front() {
                match &said {
                    Said::Line { .. } => self.guessing = false,
                    Said::Interim(text) => self.guessing = !text.is_empty(),
                    Said::Finished | Said::Complaint(_) | Said::Unrecognised(_) => continue,
                }
                return Some(said);
            }
            let State::Open(stream) = &mut self.state else {
                // What was begun is never told to its end.
                return std::mem::take(&mut self.guessing).then(|| Said::Interim(String::new()));
            };
            match stream.said() {
                Ok(None) => return None,
                Ok(Some(Said::Finished)) => {
                    if stream.is_ended() {
                        self.leave(State::Over);
                    } else {
                        self.lose(Outcome::new(Status::Lost, "the transcriber ended the stream"), now);
                    }
                }
                Ok(Some(Said::Complaint(what))) => self.complain(&what),
                Ok(Some(Said::Unrecognised(what))) => {
                    debug!("AI {}: {}: message ignored: {}", self.id(), self.speaker.name(), one_line(&what));
                }
                Ok(Some(said)) => {
                    self.guessing = matches!(&said, Said::Interim(text) if !text.is_empty());
                    return Some(said);
                }
                Err(outcome) => self.lose(outcome, now),
            }
        }
    }

    /// What was said and no transcriber has heard. [ms]
    pub(super) fn dropped_ms(&self) -> u64 {
        let rate = self.intake.rate_hz().unwrap_or(NARROWBAND_HZ);
        self.intake.dropped().as_millis() as u64 + self.tap.dropped() * 1000 / u64::from(rate.max(1))
    }

    /// Nothing more is heard. What was understood by then can still be [taken](Leg::said).
    pub(super) fn end(&mut self) {
        self.leave(State::Over);
        self.intake.clear();
    }

    /// Takes leave of the stream, if there is one, and goes on with `state`. Answers what it was given last and has not
    /// written down.
    fn leave(&mut self, state: State) -> Vec<Chunk> {
        let State::Open(mut stream) = std::mem::replace(&mut self.state, state) else { return Vec::new() };
        // What is certain of an unfinished line is a line: its audio is not sent again.
        stream.give_up();
        self.last.extend(std::iter::from_fn(|| stream.said().ok().flatten()));
        let unwritten = stream.take_unwritten();
        // OpenSSL resumes no TLS session of a connection that was dropped instead of closed.
        tokio::spawn(stream.close());
        unwritten
    }

    fn open(&mut self, rate_hz: u32) {
        let phone = if rate_hz <= NARROWBAND_HZ { Format::ALAW } else { Format::slin(rate_hz) };
        let transcriber = self.provider.create(self.listening.clone(), phone);
        let (connector, limit) = (self.profile.connector.clone(), self.profile.connect_timeout);
        self.state = State::Opening(stream::open(transcriber, rate_hz, connector, limit));
    }

    fn begin(&mut self, stream: Box<Stream>, now: Instant) {
        self.state = State::Open(stream);
        self.given_up = false;
        let again = self.recovery.up(now);
        let (id, speaker, dialect) = (self.id(), self.speaker.name(), &self.profile.dialect);
        match again {
            Some(gap) => {
                self.session.info.stats.reconnects.fetch_add(1, Ordering::Relaxed);
                info!("AI {id}: {dialect} hears the {speaker} again after {}", millis(gap));
            }
            None => info!("AI {id}: {dialect} hears the {speaker}"),
        }
    }

    /// There is no stream any more, or none yet, because of `outcome`.
    fn lose(&mut self, outcome: Outcome, now: Instant) {
        let ending = matches!(&self.state, State::Open(stream) if stream.is_ended());
        let unwritten = self.leave(State::Over);
        if ending {
            return;
        }
        self.intake.put_back(unwritten.into_iter());
        // In the middle of a call no end is in order.
        let status = if outcome.status == Status::Complete { Status::Lost } else { outcome.status };
        let attempts = self.profile.reconnect_attempts;
        let outcome = Outcome { status, ..outcome };
        let reason = outcome.reason.clone();
        let (id, speaker) = (self.id().to_owned(), self.speaker.name());
        match self.recovery.step(outcome, now, attempts, false, fastrand::f64()) {
            Step::Again(pause) => {
                let attempt = self.recovery.attempts();
                warn!("AI {id}: the {speaker} is not heard: {reason}: attempt {attempt} of {attempts} to reconnect");
                self.state = State::Away(now + pause);
            }
            // A service that is away may be back within a call of hours.
            Step::GiveUp(Outcome { status: Status::Lost | Status::ConnFail, reason, .. }) => {
                if !std::mem::replace(&mut self.given_up, true) {
                    let minutes = LATER.as_secs() / 60;
                    warn!(
                        "AI {id}: the {speaker} is not heard: {reason}. Tried again every {minutes} min; the call goes on"
                    );
                }
                self.state = State::Away(now + LATER);
            }
            Step::GiveUp(Outcome { reason, .. }) => {
                warn!("AI {id}: the {speaker} is not heard any more: {reason}. The call goes on");
                self.intake.clear();
            }
            Step::FallBack => unreachable!("an assistant has no fallback"),
        }
    }

    fn complain(&mut self, what: &str) {
        self.complaints += 1;
        if self.complaints <= COMPLAINTS_MAX {
            let (id, speaker) = (self.id(), self.speaker.name());
            warn!("AI {id}: {speaker}: the transcriber reports: {}", one_line(what));
        }
    }

    fn id(&self) -> &str {
        &self.session.info.id
    }
}
