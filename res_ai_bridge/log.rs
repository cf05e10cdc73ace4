//! Asterisk's logger as the sink of everything this module has to say.
//!
//! | `tracing` | Asterisk |
//! |---|---|
//! | ERROR, WARN | ERROR, WARNING |
//! | INFO | verbose, level 3 |
//! | INFO of target [`ai_sidecar::TRANSCRIPT`], DEBUG | verbose, level 5 |

use std::ffi::{CStr, CString};
use std::fmt::{self, Write as _};
use std::panic;
use std::thread;

use ai_sidecar::TRANSCRIPT;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::{ffi, guard};

const LOG_WARNING: i32 = ffi::__LOG_WARNING as i32;
const LOG_ERROR: i32 = ffi::__LOG_ERROR as i32;
const VERBOSE_CALLS: i32 = 3;
const VERBOSE_DETAILS: i32 = 5;

/// Sends this module's events to Asterisk. A second call, after a reload of the module, changes nothing.
pub(crate) fn install() {
    let _ = tracing::subscriber::set_global_default(AsteriskLog);
}

/// Makes panics visible in Asterisk's log; under a service manager nobody sees standard error.
pub(crate) fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
        let thread = thread::current();
        let text =
            format!("panic in thread {}{place}: {}", thread.name().unwrap_or("?"), guard::message(info.payload()));
        write(LOG_ERROR, c"panic", 0, &text);
    }));
}

/// Text as C takes it: whatever follows a NUL would be lost, so NULs are dropped.
pub(crate) fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

fn write(level: i32, file: &CStr, line: u32, text: &str) {
    let text = c_string(text);
    // SAFETY: both strings are NUL-terminated and live until the call returns; the shim prints the text by "%s".
    unsafe { ffi::ai_shim_log(level, file.as_ptr(), line as i32, c"AI".as_ptr(), text.as_ptr()) };
}

fn verbose(level: i32, file: &CStr, line: u32, text: &str) {
    let text = c_string(text);
    // SAFETY: both strings are NUL-terminated and live until the call returns; the shim prints the text by "%s".
    unsafe { ffi::ai_shim_verbose(level, file.as_ptr(), line as i32, c"AI".as_ptr(), text.as_ptr()) };
}

/// Where an event goes.
enum Sink {
    Log(i32),
    Verbose(i32),
}

fn sink(metadata: &Metadata<'_>) -> Sink {
    match *metadata.level() {
        Level::ERROR => Sink::Log(LOG_ERROR),
        Level::WARN => Sink::Log(LOG_WARNING),
        Level::INFO if metadata.target() != TRANSCRIPT => Sink::Verbose(VERBOSE_CALLS),
        _ => Sink::Verbose(VERBOSE_DETAILS),
    }
}

struct AsteriskLog;

impl Subscriber for AsteriskLog {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Asterisk's verbosity changes while events go on.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("ai_") || metadata.target().starts_with("res_ai_bridge");
        match sink(metadata) {
            Sink::Log(_) => true,
            // SAFETY: an integer that Asterisk changes rarely and in one store; an old value only costs or saves a line.
            Sink::Verbose(level) => ours && level <= unsafe { ffi::ast_verb_sys_level },
        }
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let metadata = event.metadata();
        let file = c_string(metadata.file().unwrap_or("res_ai_bridge"));
        let line = metadata.line().unwrap_or(0);
        match sink(metadata) {
            Sink::Log(level) => write(level, &file, line, &text.0),
            Sink::Verbose(level) => verbose(level, &file, line, &text.0),
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
}
