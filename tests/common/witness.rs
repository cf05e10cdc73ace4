//! Whether the machine itself stood still: a test of timing that fails on a stalled machine says nothing about the module.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// How often a witness looks at the clock.
const EVERY: Duration = Duration::from_millis(2);
/// A thread that is kept from its core as long as this makes audio late: two of them on the way of one frame, the phone's
/// and the channel's, use up the 40 ms that the module waits for a frame.
const STALL: Duration = Duration::from_millis(20);
/// How often a test is run until it counts.
const RUNS: u32 = 3;
/// A machine that ran so long without a stall is quiet; a test waits for that at most as long as `QUIET_MAX`.
const QUIET: Duration = Duration::from_secs(2);
const QUIET_MAX: Duration = Duration::from_secs(20);

/// Runs `test`. If it fails, and the machine stood still meanwhile, it runs again when the machine is quiet; the last of three runs counts in any case,
/// so that a fault of the module is found on a busy machine, too.
pub fn undisturbed(test: impl Fn()) {
    for run in 1..=RUNS {
        let witness = Witness::begin();
        let result = catch_unwind(AssertUnwindSafe(&test));
        let stall = witness.end();
        match result {
            Ok(()) => return,
            Err(_) if run < RUNS && stall >= STALL => {
                eprintln!("run {run} failed, but the machine stood still for {stall:?}: once more");
                wait_for_quiet();
            }
            Err(failure) => {
                eprintln!("longest stall of the machine: {stall:?}");
                resume_unwind(failure);
            }
        }
    }
}

fn wait_for_quiet() {
    let deadline = Instant::now() + QUIET_MAX;
    while Instant::now() < deadline {
        let witness = Witness::begin();
        thread::sleep(QUIET);
        if witness.end() < STALL {
            return;
        }
    }
}

/// A thread on every core that sleeps all the time and notes when it is woken too late.
struct Witness {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// [ns]
    longest: Arc<AtomicU64>,
}

impl Witness {
    fn begin() -> Self {
        let (over, longest) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let watch = |core| {
            let (over, longest) = (over.clone(), longest.clone());
            thread::spawn(move || watch(core, &over, &longest))
        };
        Self { threads: (0..cores).map(watch).collect(), over, longest }
    }

    fn end(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a witness does not panic"));
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }
}

fn watch(core: usize, over: &AtomicBool, longest: &AtomicU64) {
    let mut own = CpuSet::new();
    // Where that is not allowed, the witness sees less.
    let _ = own.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &own));
    while !over.load(Ordering::Relaxed) {
        let asleep = Instant::now();
        thread::sleep(EVERY);
        let late = asleep.elapsed().saturating_sub(EVERY);
        longest.fetch_max(late.as_nanos() as u64, Ordering::Relaxed);
    }
}
