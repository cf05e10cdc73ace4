//! What the sidecar asks of Asterisk apart from audio: variables, the caller, and routines of the dialplan.
//!
//! All of it runs on the sidecar's threads for work that may wait, as Asterisk's manager interface does the same from its
//! own: with a reference to the channel, and never with its lock held across anything else.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ai_sidecar::exchange::{Caller, Exchange, Problem, Routine};

use crate::channel::Channel;
use crate::ffi;
use crate::log::c_string;
use crate::surrogate::Surrogate;

/// Longest number or name of a caller. [bytes]
const CALLER_MAX: usize = 256;

/// The channels of all sessions. One is in here only while its own thread is in the application, which holds it, or while it
/// is tapped.
static CHANNELS: Mutex<BTreeMap<String, Held>> = Mutex::new(BTreeMap::new());

fn channels() -> MutexGuard<'static, BTreeMap<String, Held>> {
    // Every operation is one map call: a panic elsewhere leaves it whole.
    CHANNELS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A channel that somebody else keeps alive.
struct Held(NonNull<ffi::ast_channel>);

// SAFETY: the pointer is only ever copied, under the lock of the table, to make a counted reference of it.
unsafe impl Send for Held {}

/// Makes a session's channel known to the sidecar, until it is dropped.
pub(crate) struct Present<'a> {
    session: String,
    _channel: &'a Channel,
}

impl<'a> Present<'a> {
    pub(crate) fn new(session: &str, channel: &'a Channel) -> Self {
        if let Some(raw) = NonNull::new(channel.raw()) {
            // SAFETY: the channel outlives the value, which dismisses it.
            unsafe { admit(session, raw) };
        }
        Self { session: session.to_owned(), _channel: channel }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        dismiss(&self.session);
    }
}

/// Makes `channel` the one of `session`.
///
/// # Safety
/// The channel is valid until another takes its place, or it is [dismissed](dismiss).
pub(crate) unsafe fn admit(session: &str, channel: NonNull<ffi::ast_channel>) {
    channels().insert(session.to_owned(), Held(channel));
}

/// Forgets the channel of `session`.
pub(crate) fn dismiss(session: &str) {
    channels().remove(session);
}

/// A counted reference to a channel.
pub(crate) struct ChannelRef(NonNull<ffi::ast_channel>);

// SAFETY: Asterisk counts references atomically, and every function called with one locks the channel itself.
unsafe impl Send for ChannelRef {}
// SAFETY: as above.
unsafe impl Sync for ChannelRef {}

impl ChannelRef {
    /// The channel of `session`, if that is still up.
    fn of(session: &str) -> Result<Self, Problem> {
        let channels = channels();
        let held = channels.get(session).ok_or_else(|| Problem("the call is over".to_owned()))?;
        // SAFETY: the channel lives while it is in the table, which is locked.
        Ok(unsafe { Self::of_raw(held.0) })
    }

    /// # Safety
    /// The channel is valid until this returns.
    pub(crate) unsafe fn of_raw(raw: NonNull<ffi::ast_channel>) -> Self {
        reference(raw, 1);
        Self(raw)
    }

    pub(crate) fn raw(&self) -> *mut ffi::ast_channel {
        self.0.as_ptr()
    }
}

impl Drop for ChannelRef {
    fn drop(&mut self) {
        reference(self.0, -1);
    }
}

fn reference(channel: NonNull<ffi::ast_channel>, delta: i32) {
    // SAFETY: whoever calls this holds the channel, and the strings are static.
    unsafe {
        ffi::__ao2_ref(channel.as_ptr().cast(), delta, c"".as_ptr(), c"exchange.rs".as_ptr(), 0, c"ref".as_ptr())
    };
}

/// Asterisk.
#[derive(Debug)]
pub(crate) struct Asterisk;

impl Exchange for Asterisk {
    fn set_variable(&self, session: &str, name: &str, value: &str) -> Result<(), Problem> {
        if name.is_empty() || name.contains(['(', ')']) {
            return Err(Problem("a variable can be set, and no function".to_owned()));
        }
        let (channel, name, value) = (ChannelRef::of(session)?, c_string(name), c_string(value));
        // SAFETY: the channel is held and not locked by this thread; both strings live until the call returns.
        unsafe { ffi::pbx_builtin_setvar_helper(channel.raw(), name.as_ptr(), value.as_ptr()) };
        Ok(())
    }

    fn caller(&self, session: &str) -> Option<Caller> {
        let channel = ChannelRef::of(session).ok()?;
        let (mut number, mut name) = ([0 as c_char; CALLER_MAX], [0 as c_char; CALLER_MAX]);
        // SAFETY: the channel is held and not locked by this thread; both buffers have the size given.
        unsafe { ffi::ai_shim_caller(channel.raw(), number.as_mut_ptr(), name.as_mut_ptr(), CALLER_MAX) };
        // SAFETY: the call has left NUL-terminated strings in them.
        let text = |buffer: &[c_char]| unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy().into_owned();
        Some(Caller { number: text(&number), name: text(&name) })
    }

    fn hang_up(&self, session: &str) -> Result<(), Problem> {
        let channel = ChannelRef::of(session)?;
        // SAFETY: the channel is held and not locked by this thread.
        unsafe { ffi::ast_softhangup(channel.raw(), ffi::AST_SOFTHANGUP_EXPLICIT as i32) };
        Ok(())
    }

    fn routine(
        &self,
        session: &str,
        place: &str,
        arguments: &[String],
        variables: &[(&str, String)],
    ) -> Result<Box<dyn Routine>, Problem> {
        let surrogate = Surrogate::new(&ChannelRef::of(session)?, session, place, arguments)?;
        for (name, value) in variables {
            surrogate.set_variable(name, value);
        }
        Ok(Box::new(surrogate))
    }
}
