//! The machine's clocks, and the right to run first.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// The real-time clock, which all processes of this machine share. [ns]
///
/// # Errors
/// When the machine has no clock.
pub fn now_ns() -> Result<i64> {
    read_ns(ClockId::CLOCK_REALTIME)
}

/// A clock that nobody sets. [ns]
///
/// # Errors
/// When the machine has no clock.
pub fn monotonic_ns() -> Result<i64> {
    read_ns(ClockId::CLOCK_MONOTONIC)
}

fn read_ns(clock: ClockId) -> Result<i64> {
    Ok(Duration::from(clock_gettime(clock).context("no clock")?).as_nanos() as i64)
}

/// Puts the calling thread, and those it starts from now on, before everything else, where that is allowed: a meter that
/// waits for a busy core would count its own waiting.
pub fn in_real_time() {
    let thread = nix::unistd::gettid().to_string();
    let _ = Command::new("chrt").args(["--fifo", "--pid", "10", &thread]).stderr(Stdio::null()).status();
}
