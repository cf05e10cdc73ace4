//! Events as JSON text, and the last of them, for those who come back and want to know what they missed.
//!
//! ```text
//!  Subscription ── take ──► ring of the last ── follow(after) ──► what was missed
//!                     └───► broadcast ──────────────────────────► what comes
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::events::{Event, Notice, Subscription};

/// Most events that are kept.
const KEPT: usize = 8192;
/// Most text that is kept. [bytes]
const KEPT_BYTES: usize = 8 << 20;
/// Events a follower may be behind before it is let go.
const BEHIND_MAX: usize = 1024;

/// An event, ready to be sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) session: String,
    /// A later line tells it as a whole.
    pub(crate) piece: bool,
    /// JSON.
    pub(crate) text: String,
}

/// What a follower gets.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// The next event.
    Line(Arc<Line>),
    /// Events were lost before they came here.
    Gap,
}

/// A way to follow the events from some point on.
pub(crate) struct Following {
    /// Not all since that point are there any more.
    pub(crate) gap: bool,
    /// Those that are.
    pub(crate) past: Vec<Arc<Line>>,
    /// Those that come.
    pub(crate) live: broadcast::Receiver<News>,
}

/// The events since the module was loaded, the last of them at least.
pub(crate) struct Feed(Mutex<Ring>);

struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// Every event with a greater id is there.
    complete_after: u64,
    gap: bool,
    /// `None`: nothing more will come.
    live: Option<broadcast::Sender<News>>,
}

impl Feed {
    /// A feed of what comes after the event `last_id`.
    pub(crate) fn new(last_id: u64) -> Self {
        let live = Some(broadcast::Sender::new(BEHIND_MAX));
        Self(Mutex::new(Ring { lines: VecDeque::new(), bytes: 0, complete_after: last_id, gap: false, live }))
    }

    /// Takes all that `subscription` has to tell, until its end.
    pub(crate) async fn take_all(&self, mut subscription: Subscription) {
        while let Some(notice) = subscription.next().await {
            match notice {
                Notice::Event(event) => self.take(&event),
                Notice::Missed(_) => self.miss(),
            }
        }
        self.ring().live = None;
    }

    /// What there is after the event `after`, or only what comes.
    pub(crate) fn follow(&self, after: Option<u64>) -> Following {
        let ring = self.ring();
        let live = match &ring.live {
            Some(live) => live.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        let Some(after) = after else { return Following { gap: false, past: Vec::new(), live } };
        let from = ring.lines.partition_point(|line| line.id <= after);
        Following {
            gap: ring.gap || after < ring.complete_after,
            past: ring.lines.range(from..).cloned().collect(),
            live,
        }
    }

    fn take(&self, event: &Event) {
        let Ok(text) = serde_json::to_string(event) else { unreachable!("an event has no part that JSON has not") };
        let line = Arc::new(Line { id: event.id, session: event.session.clone(), piece: event.what.is_piece(), text });
        let mut ring = self.ring();
        if std::mem::take(&mut ring.gap) {
            ring.complete_after = line.id - 1;
        }
        // A piece is told again as a whole: who was away has no use for it.
        if !line.piece {
            ring.bytes += line.text.len();
            ring.lines.push_back(line.clone());
        }
        while ring.lines.len() > KEPT || ring.bytes > KEPT_BYTES {
            if let Some(oldest) = ring.lines.pop_front() {
                ring.bytes -= oldest.text.len();
                ring.complete_after = oldest.id;
            }
        }
        ring.tell(News::Line(line));
    }

    /// Events were lost: what is kept is no whole any more.
    fn miss(&self) {
        let mut ring = self.ring();
        ring.lines.clear();
        ring.bytes = 0;
        ring.gap = true;
        ring.tell(News::Gap);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing in here panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn tell(&self, news: News) {
        if let Some(live) = &self.live {
            // Fails when nobody follows.
            let _ = live.send(news);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Direction, Events, Origin, Speaker, What};

    fn say(events: &Events, text: &str) {
        let origin = Origin {
            direction: Direction::Inbound,
            channel: "PJSIP/1-1".to_owned(),
            uniqueid: "1.1".to_owned(),
            caller: None,
            callee: None,
        };
        events.publish("1.0001", "p", &origin, || What::said(Speaker::Caller, text, true));
    }

    /// A feed that has taken `events` events with `text` in them, and the id before the first.
    async fn feed(count: usize, text: &str) -> (Feed, u64) {
        let events = Events::default();
        let (feed, first) = (Feed::new(events.last_id()), events.last_id());
        let mut subscription = events.subscribe();
        for _ in 0..count {
            say(&events, text);
            if let Some(Notice::Event(event)) = subscription.next().await {
                feed.take(&event);
            }
        }
        (feed, first)
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_was_missed_and_then_what_comes() {
        let (feed, first) = feed(10, "x").await;
        let following = feed.follow(Some(first + 4));
        assert!(!following.gap);
        assert_eq!(following.past.iter().map(|line| line.id - first).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
        assert!(following.past[0].text.contains(r#""event":"transcript""#));
        assert!(feed.follow(None).past.is_empty());
        assert_eq!(feed.follow(Some(first)).past.len(), 10);
        assert!(!feed.follow(Some(first)).gap, "that is where it begins");
        assert!(feed.follow(Some(first - 1)).gap, "before that there may have been others");
        assert!(!feed.follow(Some(first + 99)).gap);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_number_and_in_size() {
        let (feed, first) = self::feed(KEPT + 5, "x").await;
        assert_eq!(feed.follow(Some(first)).past.len(), KEPT);
        assert!(feed.follow(Some(first + 4)).gap);
        assert!(!feed.follow(Some(first + 5)).gap);
        let (feed, first) = self::feed(2000, &"x".repeat(8000)).await;
        let kept = feed.follow(Some(first));
        assert!(kept.gap && kept.past.iter().map(|line| line.text.len()).sum::<usize>() <= KEPT_BYTES);
    }

    #[tokio::test]
    async fn after_a_loss_nothing_is_told_as_if_it_were_whole() {
        let (feed, first) = feed(3, "x").await;
        let mut following = feed.follow(Some(first + 3));
        feed.miss();
        assert!(matches!(following.live.try_recv(), Ok(News::Gap)));
        assert!(feed.follow(Some(first + 3)).gap);
        let events = Events::default();
        let mut subscription = events.subscribe();
        say(&events, "x");
        let Some(Notice::Event(event)) = subscription.next().await else { panic!("there is one") };
        feed.take(&event);
        assert!(feed.follow(Some(event.id - 2)).gap);
        assert!(!feed.follow(Some(event.id - 1)).gap);
    }
}
