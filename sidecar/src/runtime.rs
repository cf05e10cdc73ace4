//! The sidecar's threads and its table of sessions.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ai_dialect::Dialect;
use ai_media::barge_in;
use ai_media::transcode::Transcoder;
use ai_media::{Encoding, Format};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Status;
use crate::call::Call;
use crate::control::Condition;
use crate::events::{Events, Origin};
use crate::exchange::Exchange;
use crate::link::{ChannelEnd, Doorbell, link};
use crate::moderation;
use crate::options::CallOptions;
use crate::outbound::{Dialler, Line, Outbound};
use crate::report::{Ledger, Report, Totals};
use crate::route::{Legacy, Route};
use crate::session::{Listed, Session};
use crate::settings::{Profile, Settings};
use crate::stats::{CallStats, SessionInfo};

/// A phone's rate up to which its channel is read at just that rate.
const RATE_MAX_HZ: u32 = 24_000;

/// What the sidecar needs to know before it starts.
#[derive(Debug, Clone, Copy)]
pub struct SidecarConfig {
    /// Threads; 0: one for every two cores, at least one.
    pub workers: usize,
    /// Called on every new thread before it does anything.
    pub on_thread_start: fn(),
    /// Called on every thread before it ends.
    pub on_thread_stop: fn(),
    /// The telephone exchange.
    pub exchange: &'static dyn Exchange,
    /// What dials.
    pub dialler: &'static dyn Dialler,
}

/// The sidecar: threads, and the sessions that run on them.
pub struct Sidecar {
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    workers: usize,
    exchange: &'static dyn Exchange,
    sessions: Arc<Sessions>,
    events: Arc<Events>,
    ledger: Arc<Ledger>,
    outbound: Outbound,
}

/// `max_sessions` are up already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{limit} sessions are up, and max_sessions allows no more")]
pub struct LimitReached {
    /// The limit.
    pub limit: usize,
}

/// A call that is about to begin.
pub struct CallPlan {
    route: Route,
    dialect: Box<dyn Dialect>,
    phone: Format,
    line: Option<Line>,
}

impl CallPlan {
    /// Plans a call of `profile`, with those of `settings` that stand in for it, and `options` for a phone that speaks
    /// `phone`.
    pub fn new(settings: &Settings, profile: &Arc<Profile>, options: &CallOptions, phone: Format) -> Option<Self> {
        let mut profiles = settings.with_fallbacks(profile);
        if let Some(idle_timeout) = options.idle_timeout {
            Arc::make_mut(&mut profiles[0]).idle_timeout = idle_timeout;
        }
        let route = Route::new(profiles, options.clone(), phone, call_id())?;
        let dialect = route.dialect(Legacy::default());
        Some(Self { route, dialect, phone, line: None })
    }

    /// The same within the outbound call `line`. Its first session bears its id.
    pub fn within(self, line: Line) -> Self {
        Self { line: line.take_session().then_some(line), ..self }
    }

    /// What the channel thread needs to know about interruptions.
    pub fn barge_in(&self) -> barge_in::Settings {
        let profile = self.route.profile();
        let local = self.route.barge_in().on_the_line().then_some(profile.local_vad);
        barge_in::Settings { local, echo_guard: profile.echo_guard }
    }

    /// The AI, or one that stands in for it, must be ready within this.
    pub fn connect_timeout(&self) -> Duration {
        self.route.connect_timeout()
    }

    /// The format the channel should read and write: the AI's own law where it speaks G.711, so that bytes pass
    /// untouched, and otherwise linear at the phone's rate. Above 24 kHz only Opus is found in practice, whose
    /// decoder and encoder work at the AI's rate as well and cost less there.
    pub fn channel_format(&self) -> Format {
        let wire = self.dialect.caller_format();
        match wire.encoding {
            Encoding::Alaw | Encoding::Ulaw if wire == self.dialect.agent_format() => wire,
            _ if self.phone.rate_hz > RATE_MAX_HZ => {
                Format::slin(wire.rate_hz.max(self.dialect.agent_format().rate_hz))
            }
            _ => Format::slin(self.phone.rate_hz),
        }
    }
}

impl Sidecar {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no more threads or file descriptors.
    pub fn start(config: SidecarConfig) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if config.workers == 0 { (cores / 2).max(1) } else { config.workers };
        let runtime = threads(workers, config)?;
        let events = Arc::<Events>::default();
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            workers,
            exchange: config.exchange,
            sessions: Arc::default(),
            outbound: Outbound::new(config.dialler, events.clone()),
            events,
            ledger: Arc::default(),
        })
    }

    /// Threads that run calls.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// A place for one more session.
    ///
    /// # Errors
    /// When `max_sessions` (0: no limit) are up already.
    pub fn seat(&self, max_sessions: usize) -> Result<Seat, LimitReached> {
        Seat::take(&self.sessions, max_sessions)
    }

    /// Begins the call `plan` on `channel`, which reads and writes `format` and waits on `doorbell`.
    pub fn begin(&self, seat: Seat, plan: CallPlan, origin: Origin, format: Format, doorbell: Doorbell) -> ChannelEnd {
        let info = SessionInfo {
            id: plan.line.as_ref().map_or_else(|| self.sessions.next_id(), |line| line.id().to_owned()),
            profile: plan.route.profile().name.clone(),
            origin,
            dialect: plan.route.profile().dialect.clone(),
            began: SystemTime::now(),
            started: Instant::now(),
            condition: Condition::default(),
            stats: CallStats::default(),
        };
        let profile = plan.route.profile();
        let (preroll, backlog) = (profile.playout_target, profile.playout_backlog);
        let (mut channel_end, task_end, feed) = link(info, self.events.clone(), doorbell, format, preroll, backlog);
        let shared = task_end.shared().clone();
        let (ledger, line) = (self.ledger.clone(), plan.line);
        line.iter().for_each(|line| line.begin_session(&shared));
        let call = Call::new(task_end, plan.route, plan.dialect, format, feed, self.exchange);
        let task = self.handle.spawn(async move {
            let report = Report::begin(shared.session().clone(), ledger, line);
            let listing = seat.list(Listed::Agent(shared));
            let (open, over) = oneshot::channel::<()>();
            let told = async {
                let _ = over.await;
                report.end().await;
            };
            tokio::join!(call.run(move || drop((listing, open))), told);
        });
        channel_end.task = Some(task);
        channel_end
    }

    /// An id for a session that begins.
    pub(crate) fn next_id(&self) -> String {
        self.sessions.next_id()
    }

    /// Where sessions tell what happens in them.
    pub(crate) fn shared_events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Runs the session `listed` that is no call's own: it has begun now, is listed while `run` lasts, and ends with it.
    pub(crate) fn spawn_session(
        &self,
        seat: Seat,
        listed: Listed,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let ledger = self.ledger.clone();
        self.handle.spawn(async move {
            let report = Report::begin(listed.session().clone(), ledger, None);
            let listing = seat.list(listed);
            run.await;
            drop((listing, report));
        })
    }

    /// Looks at every session that is up, oldest first.
    pub fn for_each_session(&self, mut look: impl FnMut(&SessionInfo)) {
        self.sessions.table().values().for_each(|listed| look(&listed.session().info));
    }

    /// Every session that is up, oldest first.
    pub(crate) fn all_sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.table().values().map(|listed| listed.session().clone()).collect()
    }

    /// The telephone exchange, for what is done to a session's channel rather than to its conversation.
    pub fn exchange(&self) -> &'static dyn Exchange {
        self.exchange
    }

    /// The session `id`, or the one that began on the channel `id`.
    pub(crate) fn find_session(&self, id: &str) -> Option<Listed> {
        let table = self.sessions.table();
        table.get(id).or_else(|| table.values().find(|listed| listed.session().info.origin.channel == id)).cloned()
    }

    /// Looks at the session `id`, or at the one that began on the channel `id`.
    pub fn look_at<T>(&self, id: &str, look: impl FnOnce(&SessionInfo) -> T) -> Option<T> {
        self.find_session(id).map(|listed| look(&listed.session().info))
    }

    /// The calls that were made to happen.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// What happens in all calls.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// What the sessions that are over come to: figures that only grow.
    pub(crate) fn totals_of_ended(&self) -> Totals {
        self.ledger.totals().clone()
    }

    /// What all sessions so far come to, those included that are up.
    pub fn totals(&self) -> Totals {
        let mut totals = self.ledger.totals().clone();
        self.for_each_session(|session| totals.add(&session.stats));
        totals
    }

    /// Counts a call that was turned away with `status` before it was a session.
    pub fn turned_away(&self, status: Status) {
        self.ledger.totals().count(status);
    }

    /// The most sessions that were up at a time.
    pub fn most_sessions(&self) -> usize {
        self.sessions.most.load(Ordering::Relaxed)
    }

    /// Ends every session; answers how many there were.
    pub fn stop_all(&self) -> usize {
        let all: Vec<_> = self.sessions.table().values().cloned().collect();
        all.iter().for_each(|listed| listed.session().stop());
        all.len()
    }

    /// Sessions that are up or about to be.
    pub fn sessions(&self) -> usize {
        self.sessions.seats.load(Ordering::Acquire)
    }

    /// Ends every outbound call, every session and then the threads. Waits at most `patience` for either.
    pub fn shut_down(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.outbound.drain();
        while self.sessions() + self.outbound.up() > 0 && Instant::now() < deadline {
            self.outbound.hang_up_all();
            self.stop_all();
            std::thread::sleep(Duration::from_millis(10));
        }
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(patience);
        }
        self.events.close();
    }
}

/// Threads that rest when they are busy.
fn threads(workers: usize, config: SidecarConfig) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("ai_sidecar")
        .on_thread_start(config.on_thread_start)
        .on_thread_stop(config.on_thread_stop)
        .on_thread_park(moderation::before_wait)
        // A worker for which a channel thread has left work while it rested does not wait, and so does not look at its
        // sockets: it would do so only after every 61 tasks, many milliseconds later.
        .event_interval(3)
        .enable_io()
        .enable_time()
        .build()
}

/// 32 hexadecimal digits that no other call has: the time, and a count for calls of one moment.
pub(crate) fn call_id() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    format!("{since:016x}{:016x}", CALLS.fetch_add(1, Ordering::Relaxed))
}

/// A converter between two formats that really occur.
pub(crate) fn transcoder(from: Format, to: Format) -> Transcoder {
    match Transcoder::new(from, to) {
        Ok(transcoder) => transcoder,
        Err(error) => unreachable!("rates of the channel and of the dialect are not zero: {error}"),
    }
}

#[derive(Default)]
struct Sessions {
    table: Mutex<BTreeMap<String, Listed>>,
    seats: AtomicUsize,
    most: AtomicUsize,
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Listed>> {
        // Every operation on the table is one map call: a panic elsewhere leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that no other session has, not even after a restart: seconds and a count.
    fn next_id(&self) -> String {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Counted on when the module is loaded anew: that may be within the second.
        static MADE: AtomicU64 = AtomicU64::new(0);
        format!("{seconds:x}.{:04}", MADE.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// A place among the sessions, given back when dropped.
pub struct Seat(Arc<Sessions>);

impl Seat {
    fn take(sessions: &Arc<Sessions>, limit: usize) -> Result<Self, LimitReached> {
        let free = |seats| (limit == 0 || seats < limit).then_some(seats + 1);
        match sessions.seats.fetch_update(Ordering::AcqRel, Ordering::Acquire, free) {
            Ok(before) => {
                sessions.most.fetch_max(before + 1, Ordering::Relaxed);
                Ok(Self(sessions.clone()))
            }
            Err(_) => Err(LimitReached { limit }),
        }
    }

    /// Shows the session in the table.
    fn list(self, listed: Listed) -> Listing {
        let id = listed.session().info.id.clone();
        self.0.table().insert(id.clone(), listed);
        Listing { id, seat: self }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seats.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A line in the table of sessions, removed when dropped.
struct Listing {
    id: String,
    seat: Seat,
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.seat.0.table().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;

    use super::*;
    use crate::exchange::Nowhere;
    use crate::outbound::tests::NoDialler;

    /// Tasks of as many calls, each woken from outside every 20 ms.
    const CALLS: usize = 40;

    #[test]
    fn a_busy_sidecar_answers_its_sockets_soon() {
        let config = SidecarConfig {
            workers: 1,
            on_thread_start: || {},
            on_thread_stop: || {},
            exchange: &Nowhere,
            dialler: &NoDialler,
        };
        let runtime = threads(1, config).expect("threads start");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it connects");
        let (server, _) = listener.accept().expect("somebody connects");
        server.set_nonblocking(true).expect("it can be");
        runtime.spawn(async move {
            let mut server = tokio::net::TcpStream::from_std(server).expect("tokio takes it");
            let mut byte = [0];
            while server.read_exact(&mut byte).await.is_ok() && server.write_all(&byte).await.is_ok() {}
        });
        let calls: Vec<_> = (0..CALLS).map(|_| Arc::new(Notify::new())).collect();
        for call in &calls {
            let call = call.clone();
            runtime.spawn(async move {
                loop {
                    call.notified().await;
                }
            });
        }
        let over = Arc::new(AtomicBool::new(false));
        let channels = thread::spawn({
            let over = over.clone();
            move || {
                for call in calls.iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                    call.notify_one();
                    thread::sleep(Duration::from_millis(20) / CALLS as u32);
                }
            }
        });
        thread::sleep(Duration::from_millis(200));
        let mut took: Vec<_> = (0..60)
            .map(|_| {
                thread::sleep(Duration::from_millis(7));
                let asked = Instant::now();
                client.write_all(&[0]).expect("it is sent");
                client.read_exact(&mut [0]).expect("it is answered");
                asked.elapsed()
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        channels.join().expect("no panic");
        took.sort();
        let median = took[took.len() / 2];
        println!("median {median:?}, longest {:?}", took.last());
        assert!(median < Duration::from_millis(4), "{median:?}");
    }
}
