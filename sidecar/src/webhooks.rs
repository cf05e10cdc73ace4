//! Events as signed HTTP requests to whoever wants them.
//!
//! ```text
//!  pump ── give, never waits ──► Queue of each address, bounded ──► its task: batch ─► sign ─► POST ─► again until taken
//! ```
//!
//! An address gets its events in the order they happened, each at least once. The form is that of Standard Webhooks
//! 1.0 (standardwebhooks.com): headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, the last of them
//! `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ai_dialect::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::connector::Connector;
use crate::events::Event;
use crate::http::{self, Answer, Failure};
use crate::settings::{self, Settings};

/// Events that may wait for an address; then the newest are lost.
const WAITING_MAX: usize = 4096;
/// Most events in a message.
const BATCH_MAX: usize = 100;
/// Most text in a message that has more than one event. [bytes]
const BATCH_BYTES: usize = 256 << 10;
/// Longest an address may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Pause before the second try; each later one is twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A message that was not taken for so long is given up on.
const GIVE_UP: Duration = Duration::from_secs(3600);

/// All addresses that get events.
#[derive(Default)]
pub(crate) struct Webhooks {
    queues: Mutex<BTreeMap<Target, Arc<Queue>>>,
    lost: Arc<AtomicU64>,
}

/// An address, and whose events it gets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    url: String,
    /// `None`: of all.
    profile: Option<String>,
}

impl Webhooks {
    /// Sends to the addresses in `settings` from now on. What waits for one that is there no more is forgotten.
    pub(crate) fn set(&self, settings: &Settings) {
        let mut wanted = BTreeMap::new();
        let mut want = |hooks: &settings::Webhooks, profile: Option<&str>, connector: Option<&Connector>| {
            for url in &hooks.urls {
                let target = Target { url: url.clone(), profile: profile.map(str::to_owned) };
                wanted.insert(target, (hooks.secret.clone(), connector.cloned()));
            }
        };
        want(&settings.general.webhooks, None, None);
        for profile in settings.profiles.values() {
            want(&profile.webhooks, Some(&profile.name), Some(&profile.connector));
        }
        for profile in settings.assist_profiles.values() {
            want(&profile.webhooks, Some(&profile.name), Some(&profile.connector));
        }
        let mut queues = self.queues();
        queues.retain(|target, queue| {
            let same = wanted.get(target).is_some_and(|(secret, _)| *secret == queue.secret);
            if !same {
                queue.close();
            }
            same
        });
        for (target, (secret, connector)) in wanted {
            queues.entry(target).or_insert_with_key(|target| {
                let queue = Arc::new(Queue::new(&target.url, secret, self.lost.clone()));
                tokio::spawn(deliver(queue.clone(), connector));
                queue
            });
        }
    }

    /// Sends `event` to all it concerns. Never waits.
    pub(crate) fn give(&self, event: &Event) {
        let queues = self.queues();
        let mut concerned = queues
            .iter()
            .filter(|(target, _)| target.profile.as_ref().is_none_or(|profile| *profile == event.profile))
            .peekable();
        if concerned.peek().is_none() {
            return;
        }
        let Ok(text) = serde_json::to_string(event) else { unreachable!("an event has no part that JSON has not") };
        let text: Arc<str> = text.into();
        concerned.for_each(|(_, queue)| queue.push(event.id, text.clone()));
    }

    /// Events on their way.
    pub(crate) fn waiting(&self) -> usize {
        self.queues().values().map(|queue| queue.events().len()).sum()
    }

    /// Events that were given up on.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Counts events that never came here.
    pub(crate) fn lose(&self, events: u64) {
        if !self.queues().is_empty() {
            self.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<Target, Arc<Queue>>> {
        // Every change to it is one call: a panic elsewhere leaves it whole.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Waiting = VecDeque<(u64, Arc<str>)>;

/// What waits for one address.
struct Queue {
    url: String,
    /// The address without what may be secret in it.
    name: String,
    secret: Secret,
    events: Mutex<Waiting>,
    more: Notify,
    closed: AtomicBool,
    full: AtomicBool,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn new(url: &str, secret: Secret, lost: Arc<AtomicU64>) -> Self {
        Self {
            url: url.to_owned(),
            name: host(url),
            secret,
            events: Mutex::default(),
            more: Notify::new(),
            closed: AtomicBool::new(false),
            full: AtomicBool::new(false),
            lost,
        }
    }

    fn push(&self, id: u64, text: Arc<str>) {
        let mut events = self.events();
        if events.len() < WAITING_MAX {
            events.push_back((id, text));
            self.more.notify_one();
            return;
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        if !self.full.swap(true, Ordering::Relaxed) {
            warn!("AI: {WAITING_MAX} events wait for the webhook at {}: those that follow are lost", self.name);
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.more.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The next events to send together, left where they are until they were taken. `None`: no more are wanted.
    async fn next(&self) -> Option<Batch> {
        loop {
            if self.is_closed() {
                return None;
            }
            if let Some(batch) = Batch::of(&self.events()) {
                return Some(batch);
            }
            self.more.notified().await;
        }
    }

    fn done(&self, batch: &Batch) {
        self.events().drain(..batch.count);
        if self.full.swap(false, Ordering::Relaxed) {
            info!("AI: the webhook at {} takes events again", self.name);
        }
    }

    fn events(&self) -> MutexGuard<'_, Waiting> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that go together.
#[derive(Debug, PartialEq)]
struct Batch {
    id: String,
    count: usize,
    /// A JSON list.
    body: String,
}

impl Batch {
    fn of(waiting: &Waiting) -> Option<Self> {
        let first = waiting.front()?.0;
        let mut batch = Self { id: String::new(), count: 0, body: "[".to_owned() };
        let mut last = first;
        for (id, text) in waiting.iter().take(BATCH_MAX) {
            if batch.count > 0 {
                if batch.body.len() + text.len() > BATCH_BYTES {
                    break;
                }
                batch.body.push(',');
            }
            batch.body.push_str(text);
            batch.count += 1;
            last = *id;
        }
        batch.body.push(']');
        batch.id = format!("{first}-{last}");
        Some(batch)
    }
}

/// Sends what waits in `queue` until it is closed.
async fn deliver(queue: Arc<Queue>, connector: Option<Connector>) {
    let connector = match connector.map_or_else(|| Connector::with_tls(Vec::new(), true), Ok) {
        Ok(connector) => connector,
        Err(problem) => return warn!("AI: no webhook at {}: the TLS library refuses: {problem}", queue.name),
    };
    while let Some(batch) = queue.next().await {
        if let Err(problem) = insist(&queue, &batch, &connector).await {
            queue.lost.fetch_add(batch.count as u64, Ordering::Relaxed);
            warn!("AI: {} events were not taken by the webhook at {} and are lost: {problem}", batch.count, queue.name);
        }
        queue.done(&batch);
    }
}

/// Sends `batch` until it is taken, or it makes no sense any more.
async fn insist(queue: &Queue, batch: &Batch, connector: &Connector) -> Result<(), String> {
    let give_up = Instant::now() + GIVE_UP;
    let mut pause = PAUSE;
    loop {
        let (problem, wait) = match attempt(queue, batch, connector).await {
            Verdict::Taken => return Ok(()),
            Verdict::Refused(problem) => return Err(problem),
            Verdict::Later(problem, wait) => (problem, wait),
        };
        // Half of it by chance, so that many do not come back all at once.
        let wait = wait.unwrap_or_default().min(GIVE_UP).max(pause.mul_f64(0.5 + fastrand::f64() / 2.0));
        if pause == PAUSE {
            warn!("AI: the webhook at {} does not take events: {problem}; it is tried again", queue.name);
        }
        if Instant::now() + wait > give_up {
            return Err(problem);
        }
        sleep(wait).await;
        if queue.is_closed() {
            return Err("it is in the configuration no more".to_owned());
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

enum Verdict {
    Taken,
    Refused(String),
    /// Also how long to wait, if the address said so.
    Later(String, Option<Duration>),
}

async fn attempt(queue: &Queue, batch: &Batch, connector: &Connector) -> Verdict {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_string();
    let signature = format!("v1,{}", sign(&queue.secret, &batch.id, &timestamp, &batch.body));
    let headers =
        [("webhook-id", batch.id.clone()), ("webhook-timestamp", timestamp), ("webhook-signature", signature)]
            .map(|(name, value)| (name.to_owned(), Secret::new(value)));
    let post = http::post(&queue.url, &headers, batch.body.clone(), connector);
    match timeout(ANSWER_MAX, post).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(Failure::Unreachable(problem) | Failure::Broken(problem))) => Verdict::Later(problem, None),
        Err(_) => Verdict::Later(format!("no answer within {} s", ANSWER_MAX.as_secs()), None),
    }
}

fn judge(answer: &Answer) -> Verdict {
    let problem = || format!("it answers {}", answer.status);
    match answer.status {
        200..=299 => Verdict::Taken,
        // Timeouts, too early, too many, and whatever is the server's own fault.
        408 | 425 | 429 | 500..=599 => Verdict::Later(problem(), answer.retry_after),
        _ => Verdict::Refused(problem()),
    }
}

/// The signature of a message, in base64.
fn sign(secret: &Secret, id: &str, timestamp: &str, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key(secret)) else {
        unreachable!("HMAC takes keys of every length")
    };
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    base64_simd::STANDARD.encode_to_string(mac.finalize().into_bytes())
}

/// The key in a secret: its own bytes, or after `whsec_`, as Standard Webhooks writes secrets, those it has in base64.
fn key(secret: &Secret) -> Vec<u8> {
    let encoded = secret.reveal().strip_prefix("whsec_").and_then(|key| base64_simd::STANDARD.decode_to_vec(key).ok());
    encoded.unwrap_or_else(|| secret.reveal().as_bytes().to_vec())
}

/// The host of an address: the rest may have keys in it.
fn host(url: &str) -> String {
    let uri = url.parse::<hyper::Uri>().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // Computed by Python: hmac.new(b"0123456789abcdef", b"1-2.1700000000.[{}]", "sha256").
        let secret = Secret::new("0123456789abcdef");
        let encoded = Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
        assert_eq!(sign(&encoded, "1-2", "1700000000", "[{}]"), sign(&secret, "1-2", "1700000000", "[{}]"));
        assert_eq!(sign(&secret, "1-2", "1700000000", "[{}]"), "kKbkeCKzgkY1BdbL5njTN5PBBbtFwQV0NJiT7BmqBF8=");
    }

    #[test]
    fn events_go_together_in_order_and_within_bounds() {
        let waiting = |sizes: &[usize]| -> Waiting {
            sizes.iter().zip(1..).map(|(size, id)| (id, "x".repeat(*size).into())).collect()
        };
        assert_eq!(Batch::of(&waiting(&[])), None);
        let batch = Batch::of(&waiting(&[1, 2, 1])).expect("some");
        assert_eq!((batch.id.as_str(), batch.count, batch.body.as_str()), ("1-3", 3, "[x,xx,x]"));
        assert_eq!(Batch::of(&waiting(&[1; 500])).expect("some").count, BATCH_MAX);
        let large = Batch::of(&waiting(&[BATCH_BYTES, 10])).expect("some");
        assert_eq!((large.count, large.id.as_str()), (1, "1-1"), "one goes however large it is");
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let judged = |status| judge(&Answer { status, body: Default::default(), retry_after: None });
        assert!([200, 202, 204].iter().all(|status| matches!(judged(*status), Verdict::Taken)));
        assert!([408, 425, 429, 500, 503].iter().all(|status| matches!(judged(*status), Verdict::Later(..))));
        assert!([301, 400, 401, 404, 410].iter().all(|status| matches!(judged(*status), Verdict::Refused(_))));
    }

    #[test]
    fn a_full_queue_loses_the_newest_and_counts_them() {
        let lost = Arc::new(AtomicU64::new(0));
        let queue = Queue::new("https://user:secret@example.com/hook?key=secret", Secret::new("x"), lost.clone());
        assert_eq!(queue.name, "example.com");
        (0..WAITING_MAX as u64 + 3).for_each(|id| queue.push(id, "{}".into()));
        assert_eq!((lost.load(Ordering::Relaxed), queue.events().len()), (3, WAITING_MAX));
        let batch = Batch::of(&queue.events()).expect("some");
        queue.done(&batch);
        assert_eq!(queue.events().front().expect("more").0, BATCH_MAX as u64);
    }
}
