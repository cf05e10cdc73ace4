//! Load, unload, reload, and what lives in between.
//!
//! The library is linked with `-z nodelete`: it stays mapped after `module unload`, and the next load runs on the same
//! statics. So everything that lives only while loaded hangs on [`BRIDGE`].

use std::ffi::{CStr, c_int};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ai_sidecar::settings::Settings;
use ai_sidecar::{Observers, Sidecar, SidecarConfig, ThreadHooks};
use arc_swap::{ArcSwap, ArcSwapOption};
use tracing::{error, info, warn};

use crate::originate::{self, Originator};
use crate::{ami, app, config, exchange, ffi, guard, log, tap};

static BRIDGE: ArcSwapOption<Bridge> = ArcSwapOption::const_empty();

/// The major version of Asterisk that this module is for.
const ASTERISK: u32 = 22;

/// Patience with calls and connections at unload. Asterisk holds its list of modules locked meanwhile.
const UNLOAD_PATIENCE: Duration = Duration::from_secs(3);
/// Patience at shutdown, when nobody will miss a goodbye.
const EXIT_PATIENCE: Duration = Duration::from_millis(500);

const TESTS: c_int = cfg!(feature = "checked") as c_int;

/// The module while it is loaded.
pub(crate) struct Bridge {
    /// Threads and sessions.
    pub(crate) sidecar: Arc<Sidecar>,
    settings: ArcSwap<Settings>,
    ami_events: ami::Events,
    observers: Observers,
}

impl Bridge {
    /// The configuration in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }
}

/// The module, if it is loaded. Wait-free.
pub(crate) fn bridge() -> Option<Arc<Bridge>> {
    BRIDGE.load_full()
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_load() -> c_int {
    // SAFETY: a constant of the shim.
    let (success, decline) = unsafe { (ffi::ai_shim_load_success, ffi::ai_shim_load_decline) };
    guard::enter(decline, || if load() { success } else { decline })
}

fn load() -> bool {
    log::install();
    log::install_panic_hook();
    if !is_for_this_asterisk() {
        return false;
    }
    Heritage::note();
    let Some(settings) = config::load().map(Arc::new) else { return false };
    let sidecar = match start_sidecar(settings.general.workers) {
        Ok(sidecar) => Arc::new(sidecar),
        Err(problem) => {
            error!("AI: the sidecar's threads cannot be started: {problem}");
            return false;
        }
    };
    let (workers, profiles) = (sidecar.workers(), count_profiles(&settings));
    let ami_events = match ami::Events::start(&sidecar) {
        Ok(thread) => thread,
        Err(problem) => {
            error!("AI: the thread for AMI's events cannot be started: {problem}");
            sidecar.shut_down(UNLOAD_PATIENCE);
            return false;
        }
    };
    let observers = match start_observers(&sidecar, &settings) {
        Ok(observers) => observers,
        Err(problem) => {
            error!("AI: the thread for the control API cannot be started: {problem}");
            sidecar.shut_down(UNLOAD_PATIENCE);
            ami_events.wait_for_end(UNLOAD_PATIENCE);
            return false;
        }
    };
    BRIDGE.store(Some(Arc::new(Bridge { sidecar, settings: ArcSwap::new(settings), ami_events, observers })));
    // SAFETY: the functions registered live as long as the process.
    if unsafe { ffi::ai_shim_register_applications() } != 0 {
        error!("AI: there is an application AI(), AIAssist() or StopAIAssist() already; another module has it");
        close(UNLOAD_PATIENCE);
        return false;
    }
    // SAFETY: as above.
    let refused = unsafe {
        ffi::ai_shim_register_cli(TESTS) != 0
            || ffi::ai_shim_register_ami() != 0
            || ffi::ai_shim_register_surrogates() != 0
            || ffi::ast_register_atexit(Some(at_exit)) != 0
    };
    if refused {
        error!("AI: Asterisk did not take the module's commands");
        take_down();
        return false;
    }
    info!("AI: ready with {profiles} profiles on {workers} sidecar threads");
    true
}

/// Whether Asterisk has the major version that this module is for.
///
/// Asterisk itself compares the options of its build only, and Debian's have been the same over many versions. Of a version
/// that does not tell its number (built from a copy of the sources without one) the headers are believed.
fn is_for_this_asterisk() -> bool {
    // SAFETY: Asterisk answers with a constant, NUL-terminated string.
    let version = unsafe { CStr::from_ptr(ffi::ast_get_version()) }.to_string_lossy();
    let fits = major(&version).is_none_or(|major| major == ASTERISK);
    if !fits {
        error!(
            "AI: this module is for Asterisk {ASTERISK} and was not loaded, since this is Asterisk {version}, which lays out \
             its structures differently. Take the module out, or update Asterisk to {ASTERISK} and build the module against \
             its headers: docs/installing.md"
        );
    }
    fits
}

/// The first number of an Asterisk's version: `22.10.1`, `GIT-22-5e3a`, `certified-22.8-cert1`.
fn major(version: &str) -> Option<u32> {
    version.split(|character: char| !character.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_unload() -> c_int {
    guard::enter(-1, || {
        take_down();
        0
    })
}

/// Undoes what `load` did once the application was registered.
fn take_down() {
    // Calls first: a forced unload finds channels in the application, and Asterisk still needs its record of it when they
    // come out. New calls end at once meanwhile.
    close(UNLOAD_PATIENCE);
    let deadline = Instant::now() + UNLOAD_PATIENCE;
    while app::running() + originate::running() + tap::running() > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: the applications are ours; commands and exit handler that are not registered are not found.
    unsafe {
        ffi::ai_shim_unregister_applications();
        ffi::ai_shim_unregister_cli(TESTS);
        ffi::ai_shim_unregister_ami();
        ffi::ai_shim_unregister_surrogates();
        ffi::ast_unregister_atexit(Some(at_exit));
    }
}

/// Ends sessions and threads.
fn close(patience: Duration) {
    if let Some(bridge) = BRIDGE.swap(None) {
        bridge.observers.drain();
        bridge.sidecar.shut_down(patience);
        bridge.ami_events.wait_for_end(patience);
        bridge.observers.end(patience);
    }
}

/// `core stop now` ends the process without unloading modules: no thread of ours may run into that.
extern "C" fn at_exit() {
    guard::enter((), || close(EXIT_PATIENCE));
}

#[unsafe(no_mangle)]
extern "C" fn res_ai_bridge_reload() -> c_int {
    guard::enter(0, || {
        let Some(bridge) = bridge() else { return 0 };
        match config::load().map(Arc::new) {
            Some(settings) => {
                if settings.general.workers != bridge.settings().general.workers {
                    warn!("AI: a new number of workers takes effect when the module is loaded again");
                }
                info!("AI: new configuration with {} profiles in force for new calls", count_profiles(&settings));
                bridge.observers.follow(&settings);
                bridge.settings.store(settings);
            }
            None => error!("AI: the configuration was not changed; the one before stays in force"),
        }
        0
    })
}

fn count_profiles(settings: &Settings) -> usize {
    settings.profiles.len() + settings.assist_profiles.len()
}

fn start_sidecar(workers: usize) -> std::io::Result<Sidecar> {
    let config = SidecarConfig {
        workers,
        on_thread_start: thread_starts,
        on_thread_stop: thread_stops,
        exchange: &exchange::Asterisk,
        dialler: &Originator,
    };
    without_signals(|| Sidecar::start(config))
}

fn start_observers(sidecar: &Arc<Sidecar>, settings: &Arc<Settings>) -> std::io::Result<Observers> {
    let hooks = ThreadHooks { on_start: observer_starts, on_stop: thread_stops };
    without_signals(|| Observers::start(sidecar, settings, config::homes(), hooks))
}

/// Starts a thread of ours beside those of the sidecar.
///
/// # Errors
/// When the system gives no more threads.
pub(crate) fn start_thread(
    name: &'static CStr,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.to_string_lossy().into_owned());
    without_signals(|| {
        builder.spawn(move || {
            guard::enter((), || register_thread(name));
            guard::enter((), run);
            thread_stops();
        })
    })
}

/// Starts a thread that serves a channel, with a stack of so many bytes: one as Asterisk's own, whoever asks for it.
///
/// # Errors
/// When the system gives no more threads.
pub(crate) fn start_channel_thread(
    name: &'static CStr,
    stack: usize,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let builder = thread::Builder::new().name(name.to_string_lossy().into_owned()).stack_size(stack);
    let run = move || {
        guard::enter((), || {
            Heritage::take_on();
            show_thread(name);
        });
        guard::enter((), run);
        thread_stops();
    };
    builder.spawn(run).map(drop)
}

/// What Asterisk's threads have of their priority and of signals. A channel's thread is to have the same, and not what the
/// sidecar's threads were made to have.
#[derive(Clone, Copy)]
struct Heritage {
    policy: c_int,
    priority: libc::sched_param,
    signals: libc::sigset_t,
}

static HERITAGE: Mutex<Option<Heritage>> = Mutex::new(None);

impl Heritage {
    /// Notes what this thread has, which is Asterisk's.
    fn note() {
        // SAFETY: both structures are plain memory that the calls fill; nothing of the thread is changed.
        let heritage = unsafe {
            let (mut priority, mut signals) = (libc::sched_param { sched_priority: 0 }, std::mem::zeroed());
            let mut policy = libc::SCHED_OTHER;
            libc::pthread_getschedparam(libc::pthread_self(), &mut policy, &mut priority);
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut signals);
            Self { policy, priority, signals }
        };
        *HERITAGE.lock().unwrap_or_else(PoisonError::into_inner) = Some(heritage);
    }

    /// Gives it to this thread.
    fn take_on() {
        let heritage = *HERITAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Self { policy, priority, signals }) = heritage else { return };
        // SAFETY: the structures live until the calls return.
        unsafe {
            libc::pthread_setschedparam(libc::pthread_self(), policy, &priority);
            libc::pthread_sigmask(libc::SIG_SETMASK, &signals, std::ptr::null_mut());
        }
    }
}

/// Runs `start` with all asynchronous signals blocked, so that threads made in there never take one from Asterisk.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are plain memory that the calls fill; the thread's old mask is restored.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        for synchronous in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP] {
            libc::sigdelset(&mut all, synchronous);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let started = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        started
    }
}

fn thread_starts() {
    register_thread(c"ai_sidecar");
}

fn observer_starts() {
    register_thread(c"ai_observer");
}

/// Makes the thread an ordinary one, and shows it to Asterisk as `name`.
fn register_thread(name: &CStr) {
    // SAFETY: the parameters live until the call returns.
    unsafe {
        // Asterisk started with -p gives its threads realtime priority; TLS and JSON must not compete with media.
        let ordinary = libc::sched_param { sched_priority: 0 };
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &ordinary);
    }
    show_thread(name);
}

/// Shows the thread to Asterisk as `name`.
fn show_thread(name: &CStr) {
    let name = log::c_string(&format!("{:<20} started by res_ai_bridge", name.to_string_lossy()));
    // SAFETY: the name is a NUL-terminated string, of which Asterisk takes a copy.
    unsafe { ffi::ai_shim_register_thread(name.as_ptr()) };
}

fn thread_stops() {
    // SAFETY: the id is the thread's own.
    unsafe { ffi::ast_unregister_thread(libc::pthread_self() as *mut libc::c_void) };
}
