//! Those who look at calls from outside: control API, webhooks, call log.
//!
//! ```text
//!                    ┌─► Feed ───────► /ws          thread ai_api: a runtime of its own, with
//!  Events ── pumps ──┼─► Webhooks ──► POST          the API's listener and handlers
//!                    └─► CallLog ───────────────►   thread ai_call_log: the disk
//! ```
//!
//! None of it runs on the threads that hold calls, and those never wait for any of it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::Sidecar;
use crate::api::{Parts, Server};
use crate::call_log::{CallLog, Plan};
use crate::events::{Notice, Subscription};
use crate::feed::Feed;
use crate::settings::{Http, Log, Settings};
use crate::webhooks::Webhooks;

/// Threads for what waits for a call's task or for the disk.
const WAITING_THREADS: usize = 16;
/// How long such a thread stays without work.
const THREAD_KEPT: Duration = Duration::from_secs(10);

/// The observers while the module is loaded.
pub struct Observers {
    orders: mpsc::UnboundedSender<Order>,
    draining: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is called on the observers' threads.
#[derive(Debug, Clone, Copy)]
pub struct ThreadHooks {
    /// On every new thread before it does anything.
    pub on_start: fn(),
    /// On every thread before it ends.
    pub on_stop: fn(),
}

/// Where file names that are not whole paths begin.
#[derive(Debug, Clone)]
pub struct Homes {
    /// The call log.
    pub database: PathBuf,
    /// Recordings.
    pub recordings: PathBuf,
}

enum Order {
    Follow(Arc<Settings>),
    End(Instant),
}

impl Observers {
    /// Starts what `settings` ask for, with files in `homes`. What cannot be had, a port that is taken for example, is an
    /// error in the log, and the rest works.
    ///
    /// # Errors
    /// When the system gives no thread or file descriptors.
    pub fn start(
        sidecar: &Arc<Sidecar>,
        settings: &Arc<Settings>,
        homes: Homes,
        hooks: ThreadHooks,
    ) -> io::Result<Self> {
        let (orders, taken) = mpsc::unbounded_channel();
        let draining = Arc::new(AtomicBool::new(false));
        let runtime = runtime(hooks)?;
        let parts = Parts {
            sidecar: sidecar.clone(),
            settings: Arc::new(ArcSwap::new(settings.clone())),
            feed: Arc::new(Feed::new(sidecar.events().last_id())),
            webhooks: Arc::default(),
            draining: draining.clone(),
            recordings_home: homes.recordings.into(),
        };
        let staff = Staff {
            // Before any call can begin.
            all: Some(sidecar.events().subscribe()),
            whole: Some(sidecar.events().subscribe_to_whole()),
            log: Arc::default(),
            log_settings: Log::default(),
            http: Http::default(),
            server: None,
            database_dir: homes.database,
            hooks,
            parts,
        };
        let settings = settings.clone();
        let thread = thread::Builder::new().name("ai_api".to_owned()).spawn(move || {
            (hooks.on_start)();
            runtime.block_on(staff.work(&settings, taken));
            runtime.shutdown_timeout(Duration::from_millis(100));
            (hooks.on_stop)();
        })?;
        Ok(Self { orders, draining, thread: Mutex::new(Some(thread)) })
    }

    /// Does as `settings` say from now on.
    pub fn follow(&self, settings: &Arc<Settings>) {
        // Fails when it has ended.
        let _ = self.orders.send(Order::Follow(settings.clone()));
    }

    /// From now on, `/ready` says that no more calls are taken.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Ends all of it, once the sidecar is shut down: what happened until then is still told and written. Waits at most
    /// `patience`.
    pub fn end(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let _ = self.orders.send(Order::End(deadline));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        while !thread.is_finished() && Instant::now() < deadline + Duration::from_millis(500) {
            thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        } else {
            warn!("AI: the control API's thread does not end");
        }
    }
}

/// One thread for everything that does not wait, and some more for what does.
fn runtime(hooks: ThreadHooks) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .thread_name("ai_api")
        .max_blocking_threads(WAITING_THREADS)
        .thread_keep_alive(THREAD_KEPT)
        .on_thread_start(hooks.on_start)
        .on_thread_stop(hooks.on_stop)
        .enable_io()
        .enable_time()
        .build()
}

/// What runs on the thread.
struct Staff {
    parts: Parts,
    all: Option<Subscription>,
    whole: Option<Subscription>,
    log: Arc<ArcSwap<Option<Arc<CallLog>>>>,
    log_settings: Log,
    http: Http,
    server: Option<Server>,
    database_dir: PathBuf,
    hooks: ThreadHooks,
}

impl Staff {
    async fn work(mut self, settings: &Arc<Settings>, mut orders: mpsc::UnboundedReceiver<Order>) {
        let feeding = self.all.take().map(|all| {
            let feed = self.parts.feed.clone();
            tokio::spawn(async move { feed.take_all(all).await })
        });
        let telling =
            self.whole.take().map(|whole| tokio::spawn(pump(whole, self.log.clone(), self.parts.webhooks.clone())));
        self.follow(settings).await;
        let deadline = loop {
            match orders.recv().await {
                Some(Order::Follow(settings)) => self.follow(&settings).await,
                Some(Order::End(deadline)) => break deadline,
                None => break Instant::now(),
            }
        };
        for pump in [feeding, telling].into_iter().flatten() {
            // The events have ended: that is soon, too.
            let _ = tokio::time::timeout_at(deadline.into(), pump).await;
        }
        if let Some(server) = self.server.take() {
            server.end().await;
        }
        while self.parts.webhooks.waiting() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.end_log(deadline).await;
    }

    async fn follow(&mut self, settings: &Arc<Settings>) {
        self.parts.settings.store(settings.clone());
        self.parts.webhooks.set(settings);
        let general = &settings.general;
        let log_changed = self.log_settings != general.log;
        if log_changed {
            self.end_log(Instant::now() + Duration::from_secs(2)).await;
            self.start_log(&general.log);
        }
        if log_changed || self.http != general.http {
            if let Some(server) = self.server.take() {
                server.end().await;
            }
            self.start_server(&general.http);
        }
    }

    fn start_server(&mut self, http: &Http) {
        let log = (**self.log.load()).clone();
        match Server::start(self.parts.clone(), log, http) {
            Ok(server) => self.server = server,
            Err(problem) => {
                let address = http.bind.map(|address| address.to_string()).unwrap_or_default();
                error!(
                    "AI: http_bind: {address} cannot be listened on: {problem}. There is no control API; calls go on"
                );
            }
        }
        self.http = http.clone();
        if self.server.is_none() {
            // Tried again at the next reload.
            self.http.bind = None;
        }
    }

    fn start_log(&mut self, settings: &Log) {
        self.log_settings = settings.clone();
        let Some(file) = &settings.database else { return };
        let path = self.database_dir.join(file);
        info!("AI: the call log is {}", path.display());
        match CallLog::start(Plan { path, retention: settings.retention, hooks: self.hooks }) {
            Ok(log) => self.log.store(Arc::new(Some(Arc::new(log)))),
            Err(problem) => error!("AI: there is no call log: its thread cannot be started: {problem}"),
        }
    }

    async fn end_log(&mut self, deadline: Instant) {
        let log = self.log.swap(Arc::new(None));
        if let Some(log) = (*log).clone() {
            let _ = tokio::task::spawn_blocking(move || log.end(deadline)).await;
        }
    }
}

/// Takes what happens to those who want to know it, until the end.
async fn pump(mut events: Subscription, log: Arc<ArcSwap<Option<Arc<CallLog>>>>, webhooks: Arc<Webhooks>) {
    while let Some(notice) = events.next().await {
        let log = log.load();
        match notice {
            Notice::Event(event) => {
                webhooks.give(&event);
                if let Some(log) = &**log {
                    log.give(&event);
                }
            }
            Notice::Missed(events) => {
                webhooks.lose(events);
                if let Some(log) = &**log {
                    log.lose(events);
                }
            }
        }
    }
}
