//! What a channel thread sleeps on besides its channel: the sidecar's doorbell.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::FromRawFd as _;

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

fn owned(fd: i32) -> io::Result<File> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made a moment ago and has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}
