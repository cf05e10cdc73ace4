//! The task of one assistant.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ai_dialect::transcriber::Listening;
use ai_media::tap::LegTap;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

use super::hints::{Asked, NoHint, Prompter};
use super::leg::Leg;
use super::stream::Said;
use super::{AssistPlan, TICK, Tapped};
use crate::TRANSCRIPT;
use crate::control::AiState;
use crate::events::{CallState, Speaker, What};
use crate::outcome::one_line;
use crate::session::Session;
use crate::stats::record;

/// Longest wait for the last words when the call is over.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// An assistant at work.
pub(super) struct Assistant {
    tapped: Arc<Tapped>,
    /// This channel's party, and whom it talks to.
    legs: [Leg; 2],
    /// What each says at the moment, and nobody was told.
    interims: [Option<String>; 2],
    prompter: Prompter,
    state: CallState,
}

impl Assistant {
    /// `taps` are the legs of this channel's party and of the other.
    pub(super) fn new(plan: AssistPlan, tapped: Arc<Tapped>, taps: [LegTap; 2], call_id: String) -> Self {
        let AssistPlan { profile, provider, options } = plan;
        let language = options.language.clone().unwrap_or_else(|| profile.listening.language.clone());
        let listening = Listening { call_id, language, ..profile.listening.clone() };
        let session = &tapped.session;
        let leg = |side, tap| Leg::new(Speaker::from(side), session, &profile, provider, listening.clone(), tap);
        let [this, other] = taps;
        Self {
            legs: [leg(options.side, this), leg(options.side.other(), other)],
            interims: [None, None],
            prompter: Prompter::new(&profile, &options.variables),
            state: CallState::Ringing,
            tapped,
        }
    }

    /// Listens until the call is over, or it is told to stop.
    pub(super) async fn run(mut self) {
        self.session().publish(|| What::CallStatus { state: CallState::Ringing });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.is_over() {
            self.next(|| tick.tick()).await;
            if self.prompter.is_due(Instant::now()) {
                self.prompter.ask(&self.tapped.session.info.id, Instant::now());
            }
        }
        self.prompter.cancel();
        let until = Instant::now() + LAST_WORDS;
        self.hear(Instant::now());
        while Instant::now() < until {
            let [one, other] = self.legs.each_mut().map(|leg| leg.finish(Instant::now()));
            if one && other {
                break;
            }
            self.next(|| tick.tick()).await;
        }
        self.legs.iter_mut().for_each(Leg::leave);
        self.tell_interims();
        self.count();
    }

    /// Waits until something happens, and deals with it.
    async fn next<T: Future>(&mut self, tick: impl FnOnce() -> T) {
        let [one, other] = &mut self.legs;
        let session = &self.tapped.session;
        tokio::select! {
            _ = tick() => self.tick(Instant::now()),
            () = session.woken() => {}
            happened = one.next() => one.handle(happened, Instant::now()),
            happened = other.next() => other.handle(happened, Instant::now()),
            asked = self.prompter.next() => self.handle_answer(asked),
        }
        self.listen(Instant::now());
    }

    fn tick(&mut self, now: Instant) {
        if !self.is_over() {
            self.look();
            self.hear(now);
            self.legs.iter_mut().for_each(|leg| leg.work(now));
        }
        self.tell_interims();
        self.count();
    }

    /// Takes what was tapped.
    fn hear(&mut self, now: Instant) {
        let gates = [self.tapped.this(), self.tapped.other()];
        for (leg, (wanted, since)) in self.legs.iter_mut().zip(gates) {
            leg.hear(wanted, since, now);
        }
    }

    fn is_over(&self) -> bool {
        self.session().is_closed() || self.session().is_stopped()
    }

    /// Finds out what the call does, and tells it if it is news.
    fn look(&mut self) {
        let state = match self.state {
            _ if self.tapped.other().0 => CallState::Talking,
            CallState::Ringing => CallState::Ringing,
            _ => CallState::OnHold,
        };
        if std::mem::replace(&mut self.state, state) != state {
            let condition = &self.session().info.condition;
            condition.set_ai(AiState::Ready);
            condition.set_phone_holds(state == CallState::OnHold);
            self.session().publish(|| What::CallStatus { state });
        }
    }

    /// Takes down what was understood.
    fn listen(&mut self, now: Instant) {
        for (leg, interim) in self.legs.iter_mut().zip(&mut self.interims) {
            while let Some(said) = leg.said(now) {
                match said {
                    Said::Line { text, start_ms, end_ms } => {
                        *interim = None;
                        tell_line(&self.tapped.session, leg.speaker, &text, start_ms, end_ms);
                        self.prompter.hear(leg.speaker, &text, now);
                    }
                    Said::Interim(text) => *interim = Some(text),
                    Said::Finished | Said::Complaint(_) | Said::Unrecognised(_) => {}
                }
            }
        }
    }

    /// Tells what is being said: once a tick, however often a server guesses.
    fn tell_interims(&mut self) {
        for (leg, interim) in self.legs.iter().zip(&mut self.interims) {
            if let Some(text) = interim.take() {
                self.tapped.session.publish(|| What::Interim { speaker: leg.speaker, text });
            }
        }
    }

    fn handle_answer(&mut self, asked: Asked) {
        let session = &self.tapped.session;
        let (id, stats) = (&session.info.id, &session.info.stats);
        match self.prompter.handle_answer(asked, id, Instant::now()) {
            Ok(Some((hint, latency))) => {
                record(&mut stats.latencies().hint, latency);
                info!(target: TRANSCRIPT, "AI {id}: hint: {}: {}", one_line(&hint.title), one_line(&hint.content));
                session.publish(|| What::Suggestion { hint, latency_ms: latency.as_millis() as u64 });
            }
            Ok(None) => {}
            Err(NoHint) => {
                stats.hint_failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Brings the figures up to date that are counted elsewhere.
    fn count(&self) {
        let dropped = self.legs.iter().map(Leg::dropped_ms).sum();
        self.session().info.stats.dropped_ms.store(dropped, Ordering::Relaxed);
    }

    fn session(&self) -> &Arc<Session> {
        &self.tapped.session
    }
}

fn tell_line(session: &Session, speaker: Speaker, text: &str, start_ms: Option<u64>, end_ms: Option<u64>) {
    let info = &session.info;
    if let Some(end_ms) = end_ms {
        let took = info.started.elapsed().saturating_sub(Duration::from_millis(end_ms));
        record(&mut info.stats.latencies().transcription, took);
    }
    info!(target: TRANSCRIPT, "AI {}: {}: {}", info.id, speaker.name(), one_line(text));
    let text = text.to_owned();
    session.publish(|| What::Transcript { speaker, text, complete: true, start_ms, end_ms });
}
