//! What the people say who are heard by the server's streams: nobody here knows words, so a test or demo gives them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The lines of every stream, by the name that its client gave it.
pub(crate) struct Words {
    lines: Lines,
    /// Of streams that have begun: a stream that is opened again goes on.
    left: Mutex<HashMap<String, VecDeque<String>>>,
}

type Lines = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

impl Words {
    pub(crate) fn new(lines: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { lines: Box::new(lines), left: Mutex::default() }
    }

    /// The next thing that is said in the stream called `reference`, if anybody has written that down.
    pub(crate) fn next(&self, reference: &str) -> Option<String> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = left.get_mut(reference) {
            return lines.pop_front();
        }
        let mut lines = VecDeque::from((self.lines)(reference));
        let first = lines.pop_front()?;
        left.insert(reference.to_owned(), lines);
        Some(first)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").finish_non_exhaustive()
    }
}

/// What is said of `speech_ms` of speech that nobody has written down.
pub(crate) fn unknown(speech_ms: u64) -> String {
    format!("({:.1} s of speech)", speech_ms as f64 / 1000.0)
}
