//! A channel without a line on which a routine of the dialplan runs for a call, beside it.
//!
//! On the call's own channel the routine would hold the media loop up, and whatever it did to the channel would be done to
//! the call. Asterisk runs parts of the dialplan that have no call in the same way (`main/message.c`).

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ai_sidecar::exchange::{Problem, Routine};

use crate::exchange::ChannelRef;
use crate::ffi;
use crate::log::c_string;

/// Where the channel is before the routine and after its `Return()`. Nobody's dialplan has such a context.
const OUTSIDE: &CStr = c"\x01ai-tool";
/// Longest value a routine can return. [bytes]
const VALUE_MAX: usize = 64 * 1024;

/// The routine of one tool call.
pub(crate) struct Surrogate {
    channel: ChannelRef,
    place: String,
    arguments: Vec<CString>,
    hung_up: AtomicBool,
}

impl Surrogate {
    /// A routine at `place`, `context,extension,priority`, for the call of `session` on `call`.
    pub(crate) fn new(call: &ChannelRef, session: &str, place: &str, arguments: &[String]) -> Result<Self, Problem> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (name, number) = (c_string(session), NUMBER.fetch_add(1, Ordering::Relaxed));
        // SAFETY: the call is held and not locked by this thread, and the name lives until this returns.
        let raw = NonNull::new(unsafe { ffi::ai_shim_surrogate(call.raw(), name.as_ptr(), number) });
        let raw = raw.ok_or_else(|| Problem("Asterisk gives no channel for the routine".to_owned()))?;
        // SAFETY: the channel is new; the reference it came with is given back by `ast_hangup`.
        let channel = unsafe { ChannelRef::of_raw(raw) };
        let arguments = arguments.iter().map(|argument| c_string(argument)).collect();
        Ok(Self { channel, place: place.to_owned(), arguments, hung_up: AtomicBool::new(false) })
    }

    /// Sets a variable, whose value is taken as it is.
    pub(crate) fn set_variable(&self, name: &str, value: &str) {
        self.set(&c_string(name), &c_string(value));
    }

    fn set(&self, name: &CStr, value: &CStr) {
        // SAFETY: the channel is held and not locked by this thread; both strings live until the call returns.
        unsafe { ffi::pbx_builtin_setvar_helper(self.channel.raw(), name.as_ptr(), value.as_ptr()) };
    }

    /// Goes to the routine's first step, with its arguments.
    fn enter(&self) -> Result<(), Problem> {
        let raw = self.channel.raw();
        // SAFETY: the name is a NUL-terminated string.
        let gosub = unsafe { ffi::pbx_findapp(c"Gosub".as_ptr()) };
        if gosub.is_null() {
            return Err(Problem("Asterisk has no Gosub(); app_stack is not loaded".to_owned()));
        }
        // As many arguments as there are, so that ARGC is right; their values never pass Gosub's own reading.
        let blanks = vec!["-"; self.arguments.len()].join(",");
        let target = match blanks.as_str() {
            "" => self.place.clone(),
            blanks => format!("{}({blanks})", self.place),
        };
        let target = c_string(&target);
        // SAFETY: the channel is held, not locked by this thread and run by nobody else; all strings live until the calls
        // return.
        let entered = unsafe {
            ffi::ast_channel_context_set(raw, OUTSIDE.as_ptr());
            ffi::ast_channel_exten_set(raw, c"s".as_ptr());
            ffi::ast_channel_priority_set(raw, 1);
            // What every loop over the steps of a dialplan sets: a jump then lands one step before its goal.
            (*ffi::ast_channel_flags(raw)).flags |= ffi::AST_FLAG_IN_AUTOLOOP;
            ffi::pbx_exec(raw, gosub, target.as_ptr()) == 0
        };
        if !entered {
            return Err(Problem(format!("there is no routine {} in the dialplan", self.place)));
        }
        for (index, argument) in self.arguments.iter().enumerate() {
            self.set(&c_string(&format!("ARG{}", index + 1)), argument);
        }
        Ok(())
    }

    /// Runs step after step, until the routine has returned.
    fn walk(&self) -> Result<(), Problem> {
        let raw = self.channel.raw();
        let failed = |problem: &str| Err(Problem(problem.to_owned()));
        loop {
            // SAFETY: the channel is held, not locked by this thread, and only this thread moves it; Asterisk copies what
            // it needs of the place.
            let ended = unsafe {
                if ffi::ast_check_hangup(raw) != 0 {
                    return failed("the routine was ended before it had returned");
                }
                let next = ffi::ast_channel_priority(raw) + 1;
                ffi::ast_channel_priority_set(raw, next);
                let (context, extension) = (ffi::ast_channel_context(raw), ffi::ast_channel_exten(raw));
                ffi::ast_spawn_extension(raw, context, extension, next, ptr::null(), &mut 0, 1) != 0
            };
            if self.is_outside() {
                return Ok(());
            }
            if ended {
                return failed("the routine ended without Return()");
            }
        }
    }

    fn is_outside(&self) -> bool {
        // SAFETY: the channel is held, and only this thread moves it: its context is a string that stays.
        unsafe { CStr::from_ptr(ffi::ast_channel_context(self.channel.raw())) == OUTSIDE }
    }

    fn returned(&self) -> String {
        let mut value = vec![0 as c_char; VALUE_MAX];
        // SAFETY: the channel is held and not locked by this thread; the buffer has the size given, and a NUL-terminated
        // string is left in it.
        unsafe {
            ffi::ai_shim_variable(self.channel.raw(), c"GOSUB_RETVAL".as_ptr(), value.as_mut_ptr(), VALUE_MAX);
            CStr::from_ptr(value.as_ptr()).to_string_lossy().into_owned()
        }
    }

    fn hang_up(&self) {
        if !self.hung_up.swap(true, Ordering::AcqRel) {
            // SAFETY: gives back the reference that the channel came with, once; ours keeps its memory.
            unsafe { ffi::ast_hangup(self.channel.raw()) };
        }
    }
}

impl Routine for Surrogate {
    fn run(&self) -> Result<String, Problem> {
        let returned = self.enter().and_then(|()| self.walk()).map(|()| self.returned());
        self.hang_up();
        returned
    }

    fn stop(&self) {
        if self.hung_up.load(Ordering::Acquire) {
            return;
        }
        // SAFETY: the channel is held and not locked by this thread.
        unsafe { ffi::ast_softhangup(self.channel.raw(), ffi::AST_SOFTHANGUP_EXPLICIT as i32) };
    }
}

impl Drop for Surrogate {
    fn drop(&mut self) {
        self.hang_up();
    }
}
