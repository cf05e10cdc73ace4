//! From those who tell to those who listen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast::{self, error::RecvError};

use super::{Event, Origin, What};

/// Events that a subscriber may be behind. At two a second in each of a hundred calls, five seconds.
pub(super) const CAPACITY: usize = 1024;

/// Takes events from the calls' tasks to the subscribers.
pub struct Events(Mutex<Publisher>);

struct Publisher {
    last_id: u64,
    /// Everything, and everything but the pieces; `None` once closed.
    senders: Option<[broadcast::Sender<Arc<Event>>; 2]>,
}

const ALL: usize = 0;
const WHOLE: usize = 1;

impl Default for Events {
    fn default() -> Self {
        // Microseconds: no restart is so quick, and no exchange so busy, that an id would come twice.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let senders = Some([ALL, WHOLE].map(|_| broadcast::Sender::new(CAPACITY)));
        Self(Mutex::new(Publisher { last_id: since, senders }))
    }
}

impl Events {
    /// From now on, every event.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(ALL)
    }

    /// From now on, every event but the pieces of what a later event tells as a whole.
    pub fn subscribe_to_whole(&self) -> Subscription {
        self.subscribe_to(WHOLE)
    }

    fn subscribe_to(&self, which: usize) -> Subscription {
        let publisher = self.publisher();
        // A receiver without a sender is at its end at once.
        let receiver = match &publisher.senders {
            Some(senders) => senders[which].subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        Subscription(receiver)
    }

    /// Tells the subscribers what `make` says, or does nothing when there are none. Waits for nobody: a subscriber that is
    /// too far behind misses the oldest events.
    pub(crate) fn publish(&self, session: &str, profile: &str, origin: &Origin, make: impl FnOnce() -> What) {
        let mut publisher = self.publisher();
        let Some([all, whole]) = &publisher.senders else { return };
        if all.receiver_count() + whole.receiver_count() == 0 {
            return;
        }
        let event = Arc::new(Event {
            id: publisher.last_id + 1,
            time: SystemTime::now(),
            session: session.to_owned(),
            profile: profile.to_owned(),
            origin: origin.clone(),
            what: make().bounded(),
        });
        // Fails when that one has no subscriber.
        if !event.what.is_piece() {
            let _ = whole.send(event.clone());
        }
        let _ = all.send(event);
        publisher.last_id += 1;
    }

    /// The id of the event that was told last, or one that is smaller than that of every event to come.
    pub(crate) fn last_id(&self) -> u64 {
        self.publisher().last_id
    }

    /// No more events: subscribers read what there is, and then the end.
    pub(crate) fn close(&self) {
        self.publisher().senders = None;
    }

    fn publisher(&self) -> MutexGuard<'_, Publisher> {
        // Whole at every moment: a panic in `make` leaves it as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader of the events.
pub struct Subscription(broadcast::Receiver<Arc<Event>>);

/// What a [`Subscription`] has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The next event.
    Event(Arc<Event>),
    /// The reader was too slow, and so many events are lost to it.
    Missed(u64),
}

impl Subscription {
    /// The next event; `None`: there will be none.
    pub async fn next(&mut self) -> Option<Notice> {
        notice(self.0.recv().await)
    }

    /// As [`Subscription::next`], on a thread that may block and is none of the sidecar's.
    pub fn wait(&mut self) -> Option<Notice> {
        notice(self.0.blocking_recv())
    }
}

fn notice(received: Result<Arc<Event>, RecvError>) -> Option<Notice> {
    match received {
        Ok(event) => Some(Notice::Event(event)),
        Err(RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
        Err(RecvError::Closed) => None,
    }
}
