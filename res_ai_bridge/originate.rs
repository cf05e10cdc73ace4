//! Dials, and runs the dialplan of what is answered: one thread a call, from the dial string to the hang-up.
//!
//! Asterisk's dial API (`dial.h`) is not used. It forgets the cause of a failure together with the channel, follows a
//! trunk that redirects the call (302) into the dialplan, and would take a second thread for the conversation.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ai_sidecar::outbound::{Cause, Dialler, Leg, Line, Order, Progress};
use tracing::error;

use crate::channel::Channel;
use crate::ffi::{self, ast_channel};
use crate::log::c_string;
use crate::{guard, machine, module};

/// Stack of a call's thread: Asterisk's own have 496 KiB, and ours also unwinds panics. [bytes]
const STACK: usize = 1024 * 1024;
/// What a driver says of a cause is cut to this. [bytes]
const CODE_MAX: usize = 64;
/// Q.850: interworking, unspecified. For what has no better cause.
const UNSPECIFIED: Cause = Cause { q850: 127, sip: None };

/// Threads that dial or talk.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// How many outbound calls have a thread.
pub(crate) fn running() -> usize {
    RUNNING.load(Ordering::Acquire)
}

thread_local! {
    /// The call whose thread this is, once it is answered.
    static CURRENT: RefCell<Option<(NonNull<ast_channel>, Line)>> = const { RefCell::new(None) };
}

/// The outbound call that `raw` is the channel of; only its own thread is told.
pub(crate) fn current(raw: *mut ast_channel) -> Option<Line> {
    CURRENT.with_borrow(|current| {
        let (channel, line) = current.as_ref()?;
        (channel.as_ptr() == raw).then(|| line.clone())
    })
}

/// Dials through Asterisk.
#[derive(Debug)]
pub(crate) struct Originator;

impl Dialler for Originator {
    fn detects_machines(&self) -> bool {
        machine::is_detectable()
    }

    fn dial(&self, order: Order, line: Line) -> io::Result<Arc<dyn Leg>> {
        let handle = Arc::new(Handle::default());
        let running = Running::new();
        let on_thread = handle.clone();
        let run = move || {
            let _running = running;
            guard::enter((), || run(&order, &line, &on_thread));
            // After the channel: the call is over when the line goes.
            drop(line);
        };
        module::start_channel_thread(c"ai_dial", STACK, run)?;
        Ok(handle)
    }
}

/// Counts a thread, and keeps the module loaded.
struct Running;

impl Running {
    fn new() -> Self {
        RUNNING.fetch_add(1, Ordering::AcqRel);
        // SAFETY: the module is loaded while its code runs; given back when dropped.
        unsafe { ffi::ai_shim_hold_module() };
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: held since `new`.
        unsafe { ffi::ai_shim_release_module() };
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A call's channel, as another thread may have it: to be hung up.
#[derive(Default)]
struct Handle {
    unwanted: AtomicBool,
    /// There from the moment the channel is made until just before its thread lets go of it.
    channel: Mutex<Option<Shared>>,
}

/// A channel that another thread serves.
struct Shared(NonNull<ast_channel>);

// SAFETY: the only thing done with it is to hang it up, which Asterisk allows from any thread while the channel lives; see
// `Handle::channel`.
unsafe impl Send for Shared {}

impl Handle {
    fn channel(&self) -> MutexGuard<'_, Option<Shared>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, channel: Option<NonNull<ast_channel>>) {
        let mut shared = self.channel();
        *shared = channel.map(Shared);
        if self.unwanted.load(Ordering::Acquire) {
            soft_hang_up(&shared);
        }
    }
}

impl Leg for Handle {
    fn hang_up(&self) {
        self.unwanted.store(true, Ordering::Release);
        soft_hang_up(&self.channel());
    }
}

fn soft_hang_up(channel: &Option<Shared>) {
    if let Some(Shared(channel)) = channel {
        // SAFETY: the channel lives while it stands in the handle, whose lock the caller has; its own lock is not held here.
        unsafe { ffi::ast_softhangup(channel.as_ptr(), ffi::AST_SOFTHANGUP_EXPLICIT as c_int) };
    }
}

/// The whole life of a call, on its own thread.
fn run(order: &Order, line: &Line, handle: &Handle) {
    let mut out = match Outgoing::request(order, handle) {
        Ok(out) => out,
        Err(cause) => return line.ended(cause),
    };
    // SAFETY: this thread made the channel and serves it; `out` holds it longer.
    let Some(channel) = (unsafe { Channel::from_raw(out.channel.as_ptr()) }) else { return };
    line.has_channel(&channel.name());
    let answered = if out.has_somewhere_to_go(order) { out.call(order, line, &channel) } else { Err(UNSPECIFIED) };
    match answered {
        Ok(()) => {
            line.progress(Progress::Answered);
            out.go(order, line, &channel);
            line.ended(out.cause(Cause::NORMAL));
        }
        Err(cause) => line.ended(cause),
    }
}

/// A channel that dials. Held until it is dropped, and hung up by then.
struct Outgoing<'a> {
    channel: NonNull<ast_channel>,
    handle: &'a Handle,
    /// Nobody has hung it up yet.
    up: bool,
}

impl<'a> Outgoing<'a> {
    fn request(order: &Order, handle: &'a Handle) -> Result<Self, Cause> {
        let (technology, resource) = (c_string(&order.technology), c_string(&order.resource));
        let (id, second_id) = (c_string(&order.id), c_string(&format!("{};2", order.id)));
        let caller_id = c_string(order.caller_id.as_deref().unwrap_or_default());
        let mut cause = 0;
        // SAFETY: all texts are NUL-terminated and live until the calls return. The channel is ours to hang up, and held
        // beyond that.
        let channel = unsafe {
            ffi::ai_shim_follow_log();
            let raw = ffi::ai_shim_request(
                technology.as_ptr(),
                resource.as_ptr(),
                id.as_ptr(),
                second_id.as_ptr(),
                &mut cause,
            );
            let channel = NonNull::new(raw).ok_or_else(|| q850(cause).unwrap_or(UNSPECIFIED))?;
            ffi::ai_shim_hold_channel(raw);
            ffi::ai_shim_call_from(raw, caller_id.as_ptr());
            channel
        };
        handle.set(Some(channel));
        Ok(Self { channel, handle, up: true })
    }

    fn raw(&self) -> *mut ast_channel {
        self.channel.as_ptr()
    }

    /// True if the dialplan has what is to run once the call is answered.
    fn has_somewhere_to_go(&self, order: &Order) -> bool {
        let (context, extension) = (c_string(&order.context), c_string(&order.extension));
        // SAFETY: the channel is held, and not locked by this thread; the texts live until the call returns.
        let exists =
            unsafe { ffi::ast_exists_extension(self.raw(), context.as_ptr(), extension.as_ptr(), 1, ptr::null()) != 0 };
        if !exists {
            error!(
                "AI {}: not dialled: there is no extension {} in context {} for it to begin at",
                order.id, order.extension, order.context
            );
        }
        exists
    }

    /// Dials and waits for the answer.
    fn call(&self, order: &Order, line: &Line, channel: &Channel) -> Result<(), Cause> {
        let deadline = Instant::now() + order.timeout;
        let resource = c_string(&order.resource);
        // SAFETY: the channel is held, and not locked by this thread; the text lives until the call returns.
        if unsafe { ffi::ast_call(self.raw(), resource.as_ptr(), 0) } != 0 {
            return Err(self.cause(UNSPECIFIED));
        }
        self.publish(&resource, None);
        let end = self.wait_for_answer(deadline, line, channel);
        let status = match end {
            Ok(()) => c"ANSWER",
            Err(_) if line.is_unwanted() => c"CANCEL",
            Err(Cause { q850: 17, .. }) => c"BUSY",
            Err(Cause { q850: 34 | 42, .. }) => c"CONGESTION",
            Err(Cause { q850: 1 | 3 | 20, .. }) => c"CHANUNAVAIL",
            Err(_) => c"NOANSWER",
        };
        self.publish(&resource, Some(status));
        end
    }

    fn wait_for_answer(&self, deadline: Instant, line: &Line, channel: &Channel) -> Result<(), Cause> {
        while !channel.is_up() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.give_up());
            }
            if !channel.wait_for_frame(left).map_err(|()| UNSPECIFIED)? {
                continue;
            }
            let Some(frame) = channel.read() else { return Err(self.cause(UNSPECIFIED)) };
            match frame.control() {
                Some(ffi::AST_CONTROL_ANSWER) => return Ok(()),
                Some(ffi::AST_CONTROL_RINGING) => line.progress(Progress::Ringing),
                Some(ffi::AST_CONTROL_PROGRESS) => line.progress(Progress::EarlyMedia),
                Some(ffi::AST_CONTROL_BUSY) => return Err(self.cause(Cause { q850: 17, sip: None })),
                Some(ffi::AST_CONTROL_CONGESTION) => return Err(self.cause(Cause { q850: 34, sip: None })),
                _ => {}
            }
            // SAFETY: the channel is held, and not locked by this thread.
            if unsafe { ffi::ai_shim_is_forwarded(self.raw()) } != 0 {
                // Only the trunks of the configuration are dialled, wherever another exchange points.
                return Err(self.cause(UNSPECIFIED));
            }
        }
        Ok(())
    }

    /// The time is over.
    fn give_up(&self) -> Cause {
        // SAFETY: the channel is held; this is how Asterisk itself notes it before it hangs up.
        unsafe { ffi::ast_channel_hangupcause_set(self.raw(), ffi::AST_CAUSE_NO_ANSWER as c_int) };
        Cause::NO_ANSWER
    }

    /// Runs the dialplan, to its end or to the hang-up.
    fn go(&mut self, order: &Order, line: &Line, channel: &Channel) {
        let (context, extension) = (c_string(&order.context), c_string(&order.extension));
        channel.set_variable(c"AISESSION", &order.id);
        channel.drop_backlog();
        CURRENT.set(Some((self.channel, line.clone())));
        // SAFETY: the channel is held, and not locked by this thread; the texts live until the call returns. Run so, the
        // dialplan hangs the channel up itself.
        let ran = unsafe {
            ffi::ai_shim_go_to(self.raw(), context.as_ptr(), extension.as_ptr());
            ffi::ast_pbx_run(self.raw())
        };
        CURRENT.set(None);
        self.up = ran != ffi::AST_PBX_SUCCESS;
        if self.up {
            error!("AI {}: Asterisk did not run the dialplan: its limit of calls, or its memory, is used up", order.id);
        }
    }

    /// Why the line ended, as Asterisk and the driver know it.
    fn cause(&self, otherwise: Cause) -> Cause {
        let (mut cause, mut code) = (0, [0 as c_char; CODE_MAX]);
        // SAFETY: the channel is held, and not locked by this thread; the shim fills the buffer up to its length and ends it
        // with a NUL.
        let code = unsafe {
            ffi::ai_shim_cause(self.raw(), &mut cause, code.as_mut_ptr(), code.len());
            CStr::from_ptr(code.as_ptr())
        };
        Cause { sip: sip_status(&code.to_string_lossy()), ..q850(cause).unwrap_or(otherwise) }
    }

    fn publish(&self, resource: &CStr, status: Option<&CStr>) {
        let status = status.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the channel is held; the texts live until the call returns. There is no calling channel.
        unsafe { ffi::ast_channel_publish_dial(ptr::null_mut(), self.raw(), resource.as_ptr(), status) };
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        self.handle.set(None);
        // SAFETY: the channel is held since `request`, and nobody else can reach it any more.
        unsafe {
            if self.up {
                ffi::ast_hangup(self.raw());
            }
            ffi::ai_shim_release_channel(self.raw());
        }
    }
}

/// A cause, if there is one.
fn q850(cause: c_int) -> Option<Cause> {
    u16::try_from(cause).ok().filter(|&cause| cause > 0).map(|q850| Cause { q850, sip: None })
}

/// The status of the response that ended a call, out of what the SIP driver says: `SIP 486 Busy Here`.
fn sip_status(code: &str) -> Option<u16> {
    let status = code.strip_prefix("SIP ")?.split(' ').next()?.parse().ok();
    status.filter(|status| (300..700).contains(status))
}
