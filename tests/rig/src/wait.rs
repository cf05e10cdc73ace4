//! Waiting for something that only polling can tell.

use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks. [ms]
const POLL: Duration = Duration::from_millis(5);

/// Asks `look` until it answers or `timeout` has passed.
pub(crate) fn poll_for<T>(timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}
