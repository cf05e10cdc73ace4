//! Tells what happens while it happens: the phone's side, and what the module writes into Asterisk's log.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rig::Rig;

/// Something that was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// When.
    pub(crate) at: Instant,
    /// By or about whom.
    pub(crate) who: &'static str,
    /// What.
    pub(crate) what: String,
}

/// Prints one line an event, with the time since the demo's call began.
pub(crate) struct Live {
    started: Instant,
    told: Arc<Mutex<Vec<Told>>>,
    over: Arc<AtomicBool>,
    follower: JoinHandle<()>,
}

impl Live {
    /// Follows the log of `rig` from now on.
    pub(crate) fn start(rig: &Rig) -> Self {
        let started = Instant::now();
        let told = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let log = rig.directory().join("log/full");
        let (telling, ending) = (told.clone(), over.clone());
        let follower = thread::spawn(move || follow(&log, &ending, |what| tell(started, &telling, "module", what)));
        Self { started, told, over, follower }
    }

    /// Tells something that the log does not know.
    pub(crate) fn say(&self, who: &'static str, what: &str) {
        tell(self.started, &self.told, who, what);
    }

    /// Ends, and gives everything that was told.
    pub(crate) fn stop(self) -> Vec<Told> {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.follower.join();
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn tell(started: Instant, told: &Mutex<Vec<Told>>, who: &'static str, what: &str) {
    let at = Instant::now();
    println!("{:7.2} s  {who:<7} {what}", (at - started).as_secs_f64());
    told.lock().unwrap_or_else(PoisonError::into_inner).push(Told { at, who, what: what.to_owned() });
}

/// Calls `tell` with what the module says, line by line, until `over`.
fn follow(log: &Path, over: &AtomicBool, mut tell: impl FnMut(&str)) {
    let Ok(mut file) = File::open(log) else { return };
    let _ = file.seek(SeekFrom::End(0));
    let mut pending = String::new();
    loop {
        let last = over.load(Ordering::Relaxed);
        let mut bytes = Vec::new();
        let _ = file.read_to_end(&mut bytes);
        pending.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = pending.find('\n') {
            if let Some(what) = module_line(&pending[..end]) {
                tell(what);
            }
            pending.drain(..=end);
        }
        if last {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The words of a log line that the module wrote about a call.
fn module_line(line: &str) -> Option<&str> {
    let (_, words) = line.split_once(": AI ")?;
    words.split_once(": ").map(|(_, what)| what)
}
