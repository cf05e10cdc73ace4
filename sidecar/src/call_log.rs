//! What was said and done in calls, kept in an SQLite file.
//!
//! ```text
//!  events ── give: bounded, never waits ──► thread ai_call_log ── one transaction for all that waits ──► file
//!                                                                                                         │
//!  API ◄────────────────────────────────── Reader, connections of its own ◄───────────────────────────────┘
//! ```
//!
//! What has been written survives whatever becomes of Asterisk, and a power cut too. While the file cannot be written,
//! because the disk is full for example, one error says so, calls go on, and what they tell waits in memory; when it
//! can be written again, it is.

mod read;
mod schema;
mod words;
mod write;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rusqlite::{Connection, ErrorCode};
use tracing::{error, info, warn};

pub(crate) use self::read::{Logged, Reader, Suggested, Turn, Wanted};
pub(crate) use self::words::Sought;
use crate::events::Event;
use crate::observers::ThreadHooks;

/// Events that wait in memory while the file cannot be written: an hour of ten calls.
const WAITING_MAX: usize = 32_768;
/// Most events in a transaction.
const BATCH_MAX: usize = 512;
/// How often it is tried again to write.
const RETRY: Duration = Duration::from_secs(2);
/// How often calls are looked for that are to be forgotten.
const TIDY: Duration = Duration::from_secs(3600);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LogError {
    /// It cannot be opened or made.
    #[error("{0}")]
    File(io::Error),
    /// A later version of the module has written it.
    #[error(
        "it is of version {found}, and this module knows versions up to {known}; is the module older than the file?"
    )]
    Newer {
        /// Its version.
        found: usize,
        /// The newest known.
        known: usize,
    },
    /// What SQLite says.
    #[error("{}", explained(.0))]
    Sqlite(#[from] rusqlite::Error),
}

/// What to do about an error, where SQLite's own words do not say it.
fn explained(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::ReadOnly) => "the file or its folder cannot be written",
        Some(ErrorCode::CannotOpen) => "the file or its folder is missing or cannot be opened",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program has locked it",
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => "it is not, or not any more, an SQLite database",
        _ => return error.to_string(),
    };
    format!("{advice} ({error})")
}

/// What there is to tell about the log.
#[derive(Default)]
pub(crate) struct Health {
    /// Events that found no room while the file could not be written.
    lost: AtomicU64,
    failing: AtomicBool,
    /// Nothing more is to come.
    ended: AtomicBool,
}

impl Health {
    /// Events that are lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// True while the file cannot be written.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// The log while the module is loaded.
pub(crate) struct CallLog {
    /// `None` once it is to end.
    queue: Mutex<Option<Sender<Arc<Event>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    health: Arc<Health>,
    reader: Arc<Reader>,
}

impl fmt::Debug for CallLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallLog")
    }
}

/// How a log is kept.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) path: PathBuf,
    pub(crate) retention: Duration,
    pub(crate) hooks: ThreadHooks,
}

impl CallLog {
    /// Starts to keep a log. That the file cannot be written is no error: it may be later.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(plan: Plan) -> io::Result<Self> {
        let (queue, waiting) = bounded(WAITING_MAX);
        let health = Arc::<Health>::default();
        let reader = Arc::new(Reader::new(plan.path.clone()));
        let writer =
            Writer { path: plan.path.clone(), health: health.clone(), log: None, torn_closed: false, told: None };
        let thread = thread::Builder::new().name("ai_call_log".to_owned()).spawn(move || {
            (plan.hooks.on_start)();
            writer.run(&waiting, plan.retention);
            (plan.hooks.on_stop)();
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), health, reader })
    }

    /// Adds `event`. Never waits.
    pub(crate) fn give(&self, event: &Arc<Event>) {
        let taken = locked(&self.queue).as_ref().is_some_and(|queue| queue.try_send(event.clone()).is_ok());
        if !taken {
            self.lose(1);
        }
    }

    /// Counts events that never came here.
    pub(crate) fn lose(&self, events: u64) {
        if self.health.lost.fetch_add(events, Ordering::Relaxed) == 0 {
            error!("AI: events are missing in the call log: more came than could be written or kept in memory");
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// Writes what waits, and ends; waits for that until `deadline` at most.
    pub(crate) fn end(&self, deadline: Instant) {
        self.health.ended.store(true, Ordering::Release);
        *locked(&self.queue) = None;
        let Some(thread) = locked(&self.thread).take() else { return };
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        } else {
            warn!("AI: the call log is still being written; its last events may be missing");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that writes.
struct Writer {
    path: PathBuf,
    health: Arc<Health>,
    log: Option<Connection>,
    /// Calls of a process that is gone have been dealt with. That is before there are any of this one in the file.
    torn_closed: bool,
    /// What was last said to be wrong.
    told: Option<String>,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Arc<Event>>, retention: Duration) {
        let mut batch = Vec::new();
        let mut tidy_at = Instant::now();
        loop {
            if batch.is_empty() {
                if self.attempt(|log| tidy(log, retention, &mut tidy_at)) {
                    match waiting.recv_deadline(tidy_at) {
                        Ok(event) => batch.push(event),
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                } else {
                    match waiting.recv_timeout(RETRY) {
                        Ok(event) => batch.push(event),
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            }
            batch.extend(waiting.try_iter().take(BATCH_MAX.saturating_sub(batch.len())));
            if self.attempt(|log| write::write(log, &batch)) {
                batch.clear();
            } else if self.health.ended.load(Ordering::Acquire) {
                let unwritten = batch.len() + waiting.len();
                error!("AI: {unwritten} events of calls were not written to the call log {}", self.path.display());
                return;
            } else {
                self.rest();
            }
        }
    }

    /// Waits until it is time to try again, or to end.
    fn rest(&self) {
        let until = Instant::now() + RETRY;
        while Instant::now() < until && !self.health.ended.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Does `act`; answers whether it was done. After a failure the file is opened anew.
    fn attempt(&mut self, act: impl FnOnce(&mut Connection) -> rusqlite::Result<()>) -> bool {
        let result = match self.open() {
            Ok(log) => act(log).map_err(LogError::from),
            Err(error) => Err(error),
        };
        self.health.failing.store(result.is_err(), Ordering::Relaxed);
        match result {
            Ok(()) => {
                if self.told.take().is_some() {
                    info!("AI: the call log {} can be written again", self.path.display());
                }
                true
            }
            Err(problem) => {
                self.log = None;
                self.complain(problem.to_string());
                false
            }
        }
    }

    /// Says what is wrong: once, however long it stays so.
    fn complain(&mut self, problem: String) {
        if self.told.is_none() {
            error!(
                "AI: the call log {} cannot be written: {problem}. Calls go on; what they tell waits in memory, up to \
                 {WAITING_MAX} events",
                self.path.display()
            );
        }
        self.told = Some(problem);
    }

    fn open(&mut self) -> Result<&mut Connection, LogError> {
        if self.log.is_none() {
            let log = schema::open(&self.path, schema::MIGRATIONS)?;
            if !self.torn_closed {
                write::close_torn(&log)?;
                self.torn_closed = true;
            }
            self.log = Some(log);
        }
        match &mut self.log {
            Some(log) => Ok(log),
            None => unreachable!("it was opened above"),
        }
    }
}

/// Forgets old calls when it is time to.
fn tidy(log: &Connection, retention: Duration, at: &mut Instant) -> rusqlite::Result<()> {
    let now = Instant::now();
    if now < *at {
        return Ok(());
    }
    let forgotten = write::forget(log, retention, SystemTime::now())?;
    if forgotten > 0 {
        info!("AI: {forgotten} calls are older than log_retention_days and were removed from the call log");
    }
    *at = now + TIDY;
    Ok(())
}

#[cfg(test)]
mod tests;
