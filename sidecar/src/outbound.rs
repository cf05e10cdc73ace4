//! Calls that are made to happen: checked, paced, dialled through a trunk, and watched until they are over.
//!
//! ```text
//!  HTTP, AMI, CLI ─► Outbound::dial ── checks, limits, pace ─► Dialler::dial ─► a thread of the exchange, one a call
//!                                                                                 │ rings, answers, a person, …
//!  events, Outbound::get ◄──────────────────────────────────────────── Line ◄─────┘ the last Line to go ends the call
//! ```
//!
//! The exchange begins the dialplan of an answered call on the very thread that dialled it, and hands its [`Line`] to the
//! application `AI()` there: a call's id, its variables and who it is for never pass through anything that a caller, a
//! dialplan or a manager could forge.

pub mod number;

mod error;
mod line;
mod pace;
mod request;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;
use uuid::Uuid;

pub use self::error::{DialError, Limited};
use self::line::Record;
pub use self::line::{Answerer, Call, Cause, Line, Progress};
use self::pace::Pace;
use self::request::Checked;
pub use self::request::DialRequest;
use crate::events::Events;
use crate::settings::{Settings, Trunk};

/// Calls that are over and can still be asked for. A call keeps about 1 KB.
const REMEMBERED: usize = 1000;
/// When a call may be over whose place another waits for.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

/// What dials. Its methods are called on any thread, wait for nothing and do not panic.
pub trait Dialler: Send + Sync + fmt::Debug {
    /// True if the exchange can tell people from machines.
    fn detects_machines(&self) -> bool;

    /// Dials `order` and tells `line` what becomes of it, until nothing more will.
    ///
    /// # Errors
    /// When the system has no more threads.
    fn dial(&self, order: Order, line: Line) -> io::Result<Arc<dyn Leg>>;
}

/// A call that is being dialled or is up, as one who wants to end it has it.
pub trait Leg: Send + Sync {
    /// Hangs up, in whatever state the call is. Waits for a lock of the exchange, at most.
    fn hang_up(&self);
}

/// What to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The call's id, which the channel gets as its own.
    pub id: String,
    /// The channel's technology.
    pub technology: String,
    /// What it is to dial.
    pub resource: String,
    /// The number that the call is made from; `None`: the trunk's own.
    pub caller_id: Option<String>,
    /// Where in the dialplan the answered call begins.
    pub context: String,
    /// The extension there.
    pub extension: String,
    /// Give up after that long without an answer.
    pub timeout: Duration,
}

/// The calls that were made to happen.
pub struct Outbound {
    dialler: &'static dyn Dialler,
    events: Arc<Events>,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    up: BTreeMap<String, Arc<Record>>,
    over: VecDeque<Arc<Record>>,
    paces: BTreeMap<String, Pace>,
    draining: bool,
}

impl Table {
    fn lock(table: &Mutex<Self>) -> MutexGuard<'_, Self> {
        // Every change is one call of a map: a panic elsewhere leaves it whole.
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, counts: impl Fn(&Record) -> bool) -> usize {
        self.up.values().filter(|record| counts(record)).count()
    }

    /// Takes a place on `trunk`, or says why there is none.
    fn take_place(&mut self, trunk: &Trunk, now: Instant) -> Result<(), DialError> {
        if trunk.max_calls > 0 && self.count(|record| record.trunk() == trunk.name) >= trunk.max_calls {
            let limited = Limited::Trunk { name: trunk.name.clone(), most: trunk.max_calls };
            return Err(DialError::TooMany { limited, retry_after: RETRY_WHEN_FULL });
        }
        let pace = self.paces.entry(trunk.name.clone()).or_default();
        pace.take(trunk.calls_per_second, now).map_err(|retry_after| {
            let limited = Limited::Pace { name: trunk.name.clone(), per_second: trunk.calls_per_second };
            DialError::TooMany { limited, retry_after }
        })
    }
}

impl Outbound {
    pub(crate) fn new(dialler: &'static dyn Dialler, events: Arc<Events>) -> Self {
        Self { dialler, events, table: Arc::default() }
    }

    /// Makes the call `request` happen under `settings`, and answers at once: it is being dialled.
    ///
    /// Waits for nothing but a table's lock, held for microseconds.
    ///
    /// # Errors
    /// Any of [`DialError`]. Nothing was dialled then.
    pub fn dial(&self, settings: &Settings, request: DialRequest) -> Result<Call, DialError> {
        self.dial_at(settings, request, Instant::now())
    }

    fn dial_at(&self, settings: &Settings, request: DialRequest, now: Instant) -> Result<Call, DialError> {
        let Checked { number, profile, trunks, caller_id, variables, detect_machine, timeout } =
            request.check(settings)?;
        if detect_machine && !self.dialler.detects_machines() {
            return Err(DialError::NoDetection);
        }
        let mut table = Table::lock(&self.table);
        if table.draining {
            return Err(DialError::Draining);
        }
        if profile.max_calls > 0 && table.count(|record| record.profile() == profile.name) >= profile.max_calls {
            let limited = Limited::Profile { name: profile.name.clone(), most: profile.max_calls };
            return Err(DialError::TooMany { limited, retry_after: RETRY_WHEN_FULL });
        }
        let trunk = free_trunk(&mut table, &trunks, now)?;
        let caller_id = caller_id.or_else(|| trunk.caller_ids.first().cloned()).map(|number| number.to_string());
        let (technology, resource) = trunk.dial.fill_in(&number);
        // Version 7: ids sort as the calls began.
        let id = Uuid::now_v7().to_string();
        let order = Order {
            id: id.clone(),
            technology,
            resource,
            caller_id: caller_id.clone(),
            context: trunk.context.clone(),
            extension: trunk.extension_for(&number),
            timeout: timeout.unwrap_or(trunk.timeout),
        };
        let record = Record::new(id.clone(), &number, &profile, trunk, caller_id, variables, detect_machine);
        let record = Arc::new(record);
        table.up.insert(id, record.clone());
        drop(table);
        let line = Line::new(record.clone(), self.events.clone(), self.removal(record.clone()));
        info!("AI {}: dials {number} by {} for {}", record.id(), record.trunk(), record.profile());
        // On an error the line goes at once, and the call with it.
        let leg = self.dialler.dial(order, line).map_err(|problem| DialError::Failed(problem.to_string()))?;
        record.set_leg(leg);
        Ok(record.call())
    }

    /// Takes the call out of the table when it is over.
    fn removal(&self, record: Arc<Record>) -> Box<dyn FnOnce() + Send + Sync> {
        let table = Arc::downgrade(&self.table);
        Box::new(move || {
            let Some(table) = table.upgrade() else { return };
            let mut table = Table::lock(&table);
            table.up.remove(record.id());
            table.over.push_back(record);
            if table.over.len() > REMEMBERED {
                table.over.pop_front();
            }
        })
    }

    /// The call `id`, if it is up or among the last that were.
    pub fn get(&self, id: &str) -> Option<Call> {
        self.find(id).map(|record| record.call())
    }

    /// All calls that are up, and the last that were: as they began.
    pub fn list(&self) -> Vec<Call> {
        let table = Table::lock(&self.table);
        let mut all: Vec<_> = table.over.iter().chain(table.up.values()).cloned().collect();
        drop(table);
        all.sort_by(|one, other| one.id().cmp(other.id()));
        all.iter().map(|record| record.call()).collect()
    }

    /// How many are up.
    pub fn up(&self) -> usize {
        Table::lock(&self.table).up.len()
    }

    /// Hangs up the call `id`. False if none of that id is up. Waits for a lock of the exchange: not on a sidecar thread.
    pub fn hang_up(&self, id: &str) -> bool {
        let record = Table::lock(&self.table).up.get(id).cloned();
        record.inspect(|record| record.hang_up()).is_some()
    }

    /// Dials no more: every [`Outbound::dial`] fails with [`DialError::Draining`].
    pub fn drain(&self) {
        Table::lock(&self.table).draining = true;
    }

    /// Hangs up every call, and answers how many there were. Waits as [`Outbound::hang_up`].
    pub fn hang_up_all(&self) -> usize {
        let all: Vec<_> = Table::lock(&self.table).up.values().cloned().collect();
        all.iter().for_each(|record| record.hang_up());
        all.len()
    }

    fn find(&self, id: &str) -> Option<Arc<Record>> {
        let table = Table::lock(&self.table);
        table.up.get(id).or_else(|| table.over.iter().rfind(|record| record.id() == id)).cloned()
    }
}

/// The first of `trunks` that has a place; else why the first of them has none.
fn free_trunk<'a>(table: &mut Table, trunks: &[&'a Arc<Trunk>], now: Instant) -> Result<&'a Arc<Trunk>, DialError> {
    let mut refusal = None;
    for trunk in trunks {
        match table.take_place(trunk, now) {
            Ok(()) => return Ok(trunk),
            Err(problem) => refusal = refusal.or(Some(problem)),
        }
    }
    Err(refusal.unwrap_or(DialError::NoTrunk))
}

#[cfg(test)]
pub(crate) mod tests;
