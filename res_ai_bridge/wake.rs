//! What a channel thread sleeps on besides its channel: the 20 ms timer and the sidecar's doorbell.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::time::Duration;

use ai_sidecar::link::Doorbell;

/// A new doorbell, on an eventfd.
///
/// # Errors
/// When the process has no file descriptor left.
pub(crate) fn doorbell() -> io::Result<Doorbell> {
    // SAFETY: eventfd takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    owned(fd).map(Doorbell::new)
}

/// Takes note of every ring so far.
///
/// # Realtime
/// One system call that does not block. No allocation.
pub(crate) fn drain(doorbell: &Doorbell) {
    // The only error is EAGAIN: nobody has rung.
    let _ = doorbell.file().read(&mut [0; 8]);
}

/// A timer of the monotonic clock.
pub(crate) struct Timer(File);

impl Timer {
    /// A timer that does not run yet.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: timerfd_create takes no pointers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        owned(fd).map(Self)
    }

    /// Fires after `first`, and then every `period`.
    ///
    /// # Errors
    /// Never, as long as both are times that the kernel can count.
    pub(crate) fn start(&self, first: Duration, period: Duration) -> io::Result<()> {
        let timespec = |time: Duration| libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(time.subsec_nanos() as i32),
        };
        // A first time of zero would stop the timer.
        let first = first.max(Duration::from_nanos(1));
        let schedule = libc::itimerspec { it_interval: timespec(period), it_value: timespec(first) };
        // SAFETY: `schedule` lives until the call returns, and the last pointer may be null.
        let set = unsafe { libc::timerfd_settime(self.fd(), 0, &schedule, std::ptr::null_mut()) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The descriptor to wait on.
    pub(crate) fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Takes note that it fired.
    ///
    /// # Realtime
    /// One system call that does not block. No allocation.
    pub(crate) fn drain(&self) {
        // The only error is EAGAIN: it has not fired.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

fn owned(fd: i32) -> io::Result<File> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made a moment ago and has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}
