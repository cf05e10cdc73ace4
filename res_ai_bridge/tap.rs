//! A tap: a call between two people goes on untouched, and both of them are heard by an assist session.
//!
//! ```text
//!  RTP ─► channel ─► audiohook: READ ──► LegFeed `this`  ─┐
//!                                                         ├─► assist task (100 ms tick) ─► one transcriber a leg
//!  RTP ◄─ channel ◄─ audiohook: WRITE ─► LegFeed `other` ─┘
//! ```
//!
//! # Why an audiohook, and one that manipulates
//! - There is no thread a call. A hook that spies needs one that takes the audio out of the hook's own queues, which flush
//!   themselves and guess what is lost. A hook that manipulates is called with each frame, on the thread that services the
//!   channel anyway, and both directions of the call pass one hook on one channel. It answers that it has changed nothing, so
//!   nothing is encoded anew: the phone gets the very packet it would have got.
//! - A framehook is called with each frame, too, but gets the codec's bytes and would need a translator a direction of its own.
//!   Audiohooks are handed linear audio that is decoded once for all hooks of the channel, as those of `MixMonitor`.
//! - Either takes a call out of RTP that flows past Asterisk's core; no way to hear a call does not.
//!
//! # Who owns what
//! The hook holds a lock of Asterisk's, so it is allocated in C, in a datastore of the channel. Both move when Asterisk makes
//! one channel of two (masquerade), and what is said of the session is from then on about the other channel. The datastore holds
//! the module. It ends with the channel, with `StopAIAssist()`, or with the frame after the one in
//! which the session was found stopped or a panic was caught.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ai_sidecar::assist::AssistEnd;

use crate::channel::{Channel, text};
use crate::realtime::no_alloc;
use crate::{cli, exchange, ffi, guard};

/// Longest id of a session, NUL included. [bytes]
const ID_MAX: usize = 128;

/// Taps that are up.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// How many taps are up.
pub(crate) fn running() -> usize {
    RUNNING.load(Ordering::Acquire)
}

/// What the hook of a channel feeds.
struct Tap {
    end: AssistEnd,
    flow: Flow,
}

impl Drop for Tap {
    fn drop(&mut self) {
        exchange::dismiss(&self.end.info().id);
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Taps `channel` for the session of `end`. False if Asterisk refuses: the channel hangs up, or there is no memory. The session is
/// over then.
pub(crate) fn begin(channel: &Channel, end: AssistEnd) -> bool {
    RUNNING.fetch_add(1, Ordering::AcqRel);
    if let Some(raw) = NonNull::new(channel.raw()) {
        // SAFETY: the tap is gone before its channel is: when that hangs up, Asterisk takes its hooks off.
        unsafe { exchange::admit(&end.info().id, raw) };
    }
    let tap = Box::into_raw(Box::new(Tap { end, flow: Flow::default() }));
    // SAFETY: the channel is valid and not locked by this thread. The tap is the shim's until it gives it back.
    unsafe { ffi::ai_shim_tap(channel.raw(), tap.cast()) == 0 }
}

/// Takes off what taps `channel`, and with that ends the session.
pub(crate) fn end(channel: &Channel) {
    // SAFETY: the channel is valid and not locked by this thread.
    unsafe { ffi::ai_shim_untap(channel.raw()) };
}

/// The session that listens to `channel`.
pub(crate) fn session(channel: &Channel) -> Option<String> {
    text::<ID_MAX>(|id, size| {
        // SAFETY: the channel is valid and not locked by this thread; the buffer has that size.
        unsafe { ffi::ai_shim_tapped(channel.raw(), id, size) };
    })
}

/// Whether both directions keep coming.
///
/// Asterisk as Debian and FreePBX build it drops audio on the way to hooks, recordings among them, once somebody else has
/// taken part in the call: their packets' numbers are below those of whoever was there before
/// (<https://github.com/asterisk/asterisk/issues/507>). Only what translates for the hooks remembers; it can be made anew.
#[derive(Default)]
struct Flow {
    bridged: bool,
    /// Frames of the one direction since the last of the other: of what the party hears, and of its own.
    missing: [u32; 2],
}

impl Flow {
    /// One direction is missing after so many frames of the other, and again after twice as many. In a call it is one.
    const MISSING: u32 = 8;
    /// From so many on it is seen after every so many.
    const LONG_MISSING: u32 = 64;

    /// A frame has come. True if the other direction is to be seen after.
    fn passed(&mut self, own: bool, bridged: bool) -> bool {
        let entered = bridged && !self.bridged;
        self.bridged = bridged;
        self.missing[usize::from(own)] = 0;
        let missing = &mut self.missing[usize::from(!own)];
        *missing = if bridged { *missing + 1 } else { 0 };
        let due = missing.is_power_of_two() && *missing >= Self::MISSING
            || *missing >= Self::LONG_MISSING && missing.is_multiple_of(Self::LONG_MISSING);
        entered || due
    }
}

/// Asterisk's frame on its way; see `shim.h`.
///
/// # Realtime
/// One copy and a few atomic stores, under the channel's lock and the hook's. No allocation, no lock of ours.
#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_tap_frame(
    tap: *mut c_void,
    own: c_int,
    samples: *const i16,
    count: usize,
    rate_hz: c_uint,
    bridged: c_int,
    music: c_int,
) -> c_int {
    // A panic ends the tap, and nothing else.
    let answer = guard::enter(ffi::AI_TAP_OFF, || {
        cli::fail_on_purpose();
        // SAFETY: the shim passes what `begin` has made, and has not given it back yet. It does so under the channel's lock
        // alone, so nobody else has it.
        let Tap { end, flow } = unsafe { &mut *tap.cast::<Tap>() };
        // SAFETY: so many samples of a frame that the caller holds.
        let samples = unsafe { slice::from_raw_parts(samples, count) };
        no_alloc(|| {
            let (own, bridged, music) = (own != 0, bridged != 0, music != 0);
            if end.is_stopped() {
                return ffi::AI_TAP_OFF;
            }
            end.set_talking(bridged);
            end.set_music(music);
            if bridged && !music {
                let leg = if own { &mut end.this } else { &mut end.other };
                leg.push(samples, rate_hz, Instant::now());
            }
            if flow.passed(own, bridged) { ffi::AI_TAP_REFRESH } else { ffi::AI_TAP_ON }
        })
    });
    answer as c_int
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_tap_session(tap: *mut c_void, id: *mut c_char, size: usize) -> c_int {
    guard::enter(0, || {
        // SAFETY: as in `res_ai_bridge_tap_frame`.
        let end = unsafe { &(*tap.cast::<Tap>()).end };
        let name = end.info().id.as_bytes();
        if end.is_stopped() || name.len() >= size {
            return 0;
        }
        // SAFETY: the buffer has `size` bytes, one more than the name at least.
        unsafe {
            ptr::copy_nonoverlapping(name.as_ptr().cast(), id, name.len());
            *id.add(name.len()) = 0;
        }
        1
    })
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_tap_moved(tap: *mut c_void, channel: *mut ffi::ast_channel) {
    guard::enter((), || {
        if let Some(channel) = NonNull::new(channel) {
            // SAFETY: as in `res_ai_bridge_tap_frame`, and as in `begin`.
            unsafe { exchange::admit(&(*tap.cast::<Tap>()).end.info().id, channel) };
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_tap_dismissed(tap: *mut c_void) {
    guard::enter((), || {
        // SAFETY: as in `res_ai_bridge_tap_frame`.
        let end = unsafe { &(*tap.cast::<Tap>()).end };
        if !end.is_stopped() {
            end.complete();
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_tap_over(tap: *mut c_void) {
    // SAFETY: the shim gives back what `begin` has made, once.
    guard::enter((), || drop(unsafe { Box::from_raw(tap.cast::<Tap>()) }));
}
