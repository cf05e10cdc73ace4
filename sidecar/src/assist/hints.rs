//! When a hint is asked for, and what becomes of the answer.
//!
//! ```text
//!  caller's line ─► due, after the pause since the last request ─► request ─► hint
//!        a newer one takes its place, and closes the connection of a request that is under way
//! ```
//!
//! Whatever goes wrong here, transcript and call go on.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ai_dialect::Secret;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::chat;
use crate::events::{Hint, Speaker};
use crate::http::{self, Answer, Failure};
use crate::settings::{AssistProfile, Hints, fill_in};

/// Longest line that is passed on. [characters]
const LINE_MAX: usize = 2000;
/// Largest answer; one in pieces repeats a lot with each. [bytes]
const ANSWER_MAX: usize = 2 << 20;
/// A service that asks for more patience than this is asked again after it.
const PATIENCE_MAX: Duration = Duration::from_secs(300);
/// Failures beyond so many in a call are not logged.
const COMPLAINTS_MAX: u32 = 5;

/// What came of a request.
pub(super) struct Asked {
    /// When the line that it is about was there.
    since: Instant,
    answer: Result<Answer, String>,
}

/// Asks for hints.
pub(super) struct Prompter {
    profile: Arc<AssistProfile>,
    system: String,
    lines: VecDeque<(Speaker, String)>,
    /// The caller's line that nothing was asked about, since then.
    wanted: Option<Instant>,
    /// Nothing is asked before.
    not_before: Option<Instant>,
    request: Option<Pin<Box<dyn Future<Output = Asked> + Send>>>,
    /// Requests so far.
    asked: u32,
    failures: u32,
    over: bool,
}

impl Prompter {
    /// Hints as `profile` says, in a call with `variables` of its own.
    pub(super) fn new(profile: &Arc<AssistProfile>, variables: &[(String, String)]) -> Self {
        let variables: Vec<_> = profile.variables.iter().chain(variables).cloned().collect();
        let instructions = profile.hints.as_ref().map(|hints| fill_in(&hints.instructions, &variables));
        Self {
            profile: profile.clone(),
            system: chat::system(&instructions.unwrap_or_default(), &variables),
            lines: VecDeque::new(),
            wanted: None,
            not_before: None,
            request: None,
            asked: 0,
            failures: 0,
            over: profile.hints.is_none(),
        }
    }

    /// Somebody said something.
    pub(super) fn hear(&mut self, speaker: Speaker, text: &str, now: Instant) {
        let Some(hints) = self.profile.hints.as_ref().filter(|_| !self.over) else { return };
        while self.lines.len() >= hints.lines {
            self.lines.pop_front();
        }
        self.lines.push_back((speaker, text.chars().take(LINE_MAX).collect()));
        if speaker == Speaker::Caller {
            // What was asked about is not the last word any more.
            self.request = None;
            self.wanted = Some(now);
        }
    }

    /// True when it is time to [`ask`](Prompter::ask).
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.wanted.is_some() && self.not_before.is_none_or(|earliest| now >= earliest)
    }

    /// Asks about what was said last. `id` is the session's.
    pub(super) fn ask(&mut self, id: &str, now: Instant) {
        let (Some(since), Some(hints)) = (self.wanted.take(), &self.profile.hints) else { return };
        if self.asked >= hints.most {
            info!("AI {id}: hints_max = {} requests are made: no more hints in this call", hints.most);
            self.over = true;
            return;
        }
        self.asked += 1;
        self.not_before = Some(now + hints.interval);
        let body = chat::request(hints, &self.system, &self.lines);
        let profile = self.profile.clone();
        self.request = Some(Box::pin(async move { Asked { since, answer: post(&profile, body).await } }));
    }

    /// Waits for the answer, if one is asked for. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Asked {
        let asked = match &mut self.request {
            Some(request) => request.await,
            None => pending().await,
        };
        self.request = None;
        asked
    }

    /// No more hints.
    pub(super) fn cancel(&mut self) {
        self.request = None;
        self.wanted = None;
        self.over = true;
    }

    /// The hint that came of it and how long it took, if there is one.
    ///
    /// # Errors
    /// There should have been an answer; why there is none is in the log.
    pub(super) fn handle_answer(
        &mut self,
        asked: Asked,
        id: &str,
        now: Instant,
    ) -> Result<Option<(Hint, Duration)>, NoHint> {
        let answer = match asked.answer {
            Ok(answer) => answer,
            Err(reason) => return Err(self.fail(id, &reason)),
        };
        if let Some(patience) = answer.retry_after.filter(|_| answer.status >= 400) {
            self.not_before = self.not_before.max(Some(now + patience.min(PATIENCE_MAX)));
        }
        match answer.status {
            200..=299 => match chat::read(&answer.body) {
                Ok(hint) => Ok(hint.map(|hint| (hint, now - asked.since))),
                Err(reason) => Err(self.fail(id, &self.harmless(reason))),
            },
            status @ (401..=403) => {
                warn!("AI {id}: the chat service answered {status}: no more hints in this call");
                self.cancel();
                Err(NoHint)
            }
            status => {
                let words = chat::complaint(&answer.body).map(|words| format!(": {}", self.harmless(words)));
                Err(self.fail(id, &format!("the chat service answered {status}{}", words.unwrap_or_default())))
            }
        }
    }

    fn fail(&mut self, id: &str, reason: &str) -> NoHint {
        self.failures += 1;
        match self.failures {
            1..COMPLAINTS_MAX => warn!("AI {id}: no hint: {reason}"),
            COMPLAINTS_MAX => warn!("AI {id}: no hint: {reason}. Further failures of this call are not logged"),
            _ => debug!("AI {id}: no hint: {reason}"),
        }
        NoHint
    }

    /// `words` without what nobody may read.
    fn harmless(&self, words: String) -> String {
        self.profile.hints.as_ref().map_or(words.clone(), |hints| hints.api_key.hidden_in(words))
    }
}

/// A hint that was asked for did not come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoHint;

async fn post(profile: &AssistProfile, body: String) -> Result<Answer, String> {
    let Some(Hints { url, api_key, timeout: limit, .. }) = &profile.hints else {
        return Err("hints are off".to_owned());
    };
    let mut headers = Vec::new();
    if !api_key.is_empty() {
        headers.push(("authorization".to_owned(), Secret::new(format!("Bearer {}", api_key.reveal()))));
    }
    let answer = http::post_for(url.reveal(), &headers, body, &profile.connector, ANSWER_MAX);
    match timeout(*limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Failure::Unreachable(reason))) => Err(format!("the chat service cannot be reached: {reason}")),
        Ok(Err(Failure::Broken(reason))) => Err(format!("the connection to the chat service failed: {reason}")),
        Err(_) => Err(format!("the chat service did not answer within {} ms", limit.as_millis())),
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;

    use super::*;
    use crate::settings::tests::parse;

    const MS: Duration = Duration::from_millis(1);

    fn prompter(keys: &str) -> Prompter {
        let text = format!(
            "[desk]\ntype = assist\nhint_model = m\nhint_api_key = hunter2hunter2\ninstructions = Sell {{{{what}}}}.\n{keys}"
        );
        let settings = parse(&text).expect("valid");
        Prompter::new(&settings.assist_profiles["desk"], &[("what".to_owned(), "tea".to_owned())])
    }

    fn answer(status: u16, retry_after: Option<u64>, body: &'static str) -> Answer {
        Answer { status, body: Bytes::from(body), retry_after: retry_after.map(Duration::from_secs) }
    }

    fn asked(since: Instant, answer: Answer) -> Asked {
        Asked { since, answer: Ok(answer) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_last_line_is_asked_about_and_not_too_often() {
        let (mut prompter, start) = (prompter("hint_lines = 3\nhint_interval_ms = 1000\n"), Instant::now());
        assert!(prompter.system.starts_with("Sell tea."));
        prompter.hear(Speaker::Operator, "Hello", start);
        assert!(!prompter.is_due(start), "nobody helps the operator with his own words");
        prompter.hear(Speaker::Caller, "One", start);
        assert!(prompter.is_due(start));
        prompter.ask("s", start);
        assert!(prompter.request.is_some() && !prompter.is_due(start));
        prompter.hear(Speaker::Operator, "Two", start + 300 * MS);
        assert!(prompter.request.is_some(), "the operator's words outdate nothing");
        prompter.hear(Speaker::Caller, "Three", start + 400 * MS);
        assert!(prompter.request.is_none(), "outdated");
        prompter.hear(Speaker::Caller, "Four", start + 500 * MS);
        assert!(!prompter.is_due(start + 999 * MS) && prompter.is_due(start + 1000 * MS));
        prompter.ask("s", start + 1000 * MS);
        let lines: Vec<_> = prompter.lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!((lines.as_slice(), prompter.asked), (&["Two", "Three", "Four"][..], 2));
        assert!(!prompter.is_due(start + 9000 * MS), "it was asked about");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_account_and_the_limit_end_it() {
        let start = Instant::now();
        for status in 401..=403 {
            let mut prompter = prompter("");
            prompter.hear(Speaker::Caller, "One", start);
            prompter.ask("s", start);
            assert_eq!(prompter.handle_answer(asked(start, answer(status, None, "")), "s", start), Err(NoHint));
            prompter.hear(Speaker::Caller, "Two", start + 5000 * MS);
            assert!(!prompter.is_due(start + 60_000 * MS), "{status}");
        }
        let mut prompter = prompter("hints_max = 2\nhint_interval_ms = 0\n");
        for _ in 0..5 {
            prompter.hear(Speaker::Caller, "Again", start);
            prompter.ask("s", start);
        }
        assert!(prompter.asked == 2 && prompter.request.is_none());
        let mut off = self::prompter("hint_url = no\n");
        off.hear(Speaker::Caller, "One", start);
        assert!(!off.is_due(start) && off.lines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_asks_for_patience_gets_it() {
        let (mut prompter, start) = (prompter("hint_interval_ms = 0\n"), Instant::now());
        let busy = |seconds| asked(start, answer(429, Some(seconds), r#"{"error":{"message":"hunter2hunter2"}}"#));
        assert_eq!(prompter.handle_answer(busy(7), "s", start), Err(NoHint));
        prompter.hear(Speaker::Caller, "One", start);
        assert!(!prompter.is_due(start + 6999 * MS) && prompter.is_due(start + 7000 * MS));
        assert_eq!(prompter.handle_answer(busy(1_000_000), "s", start), Err(NoHint));
        assert!(prompter.is_due(start + PATIENCE_MAX));
        assert_eq!(prompter.harmless("key hunter2hunter2".to_owned()), "key (hidden)");
        let late = Asked { since: start, answer: Err("late".to_owned()) };
        assert_eq!(prompter.handle_answer(late, "s", start), Err(NoHint));
    }
}
