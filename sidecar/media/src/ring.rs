//! The two sample rings of a call: wait-free, single producer, single consumer, one a direction.
//!
//! ```text
//!  channel thread                                   sidecar thread
//!  CallerFeed ── push ──►  [ ring, ~2 s ]  ── take ──► CallerTap        caller speaks
//!  AgentSink  ◄─ pop ───  [ ring, ~400 ms ] ◄─ push ── AgentFeed        agent speaks
//! ```
//!
//! The channel thread's ends ([`CallerFeed`], [`AgentSink`]) never wait: a full caller ring drops and counts, an
//! empty agent ring is silence.
//!
//! # Flush
//!
//! Every byte of agent audio has a position in one stream that only grows. A flush is a single atomic store of the
//! position from which audio may be heard again; the consumer jumps there. Nothing pushed before the flush can be
//! heard after the consumer has seen it, whatever the two threads do meanwhile, and the position at which it
//! jumped says to the byte what the caller has heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

/// A ring for what the caller says. `capacity` is in bytes.
pub fn caller_ring(capacity: usize) -> (CallerFeed, CallerTap) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let shared = Arc::new(CallerShared::default());
    (CallerFeed { producer, shared: shared.clone() }, CallerTap { consumer, shared })
}

#[derive(Default)]
struct CallerShared {
    overrun: AtomicBool,
    dropped: AtomicU64,
}

/// The channel thread's end of the caller ring.
pub struct CallerFeed {
    producer: Producer<u8>,
    shared: Arc<CallerShared>,
}

impl CallerFeed {
    /// Appends `audio`, whole or not at all; answers whether there was room.
    ///
    /// After a refusal the consumer throws away the ring's old content too, so that what reaches the AI after a
    /// stall is what the caller says now.
    ///
    /// # Realtime
    /// Wait-free; one copy. No allocation, no lock.
    pub fn push(&mut self, audio: &[u8]) -> bool {
        let pushed = self.producer.push_entire_slice(audio).is_ok();
        if !pushed {
            self.shared.dropped.fetch_add(audio.len() as u64, Ordering::Relaxed);
            self.shared.overrun.store(true, Ordering::Release);
        }
        pushed
    }
}

/// The sidecar's end of the caller ring.
pub struct CallerTap {
    consumer: Consumer<u8>,
    shared: Arc<CallerShared>,
}

impl CallerTap {
    /// Bytes waiting. May grow at any time, never shrinks by itself.
    pub fn waiting(&self) -> usize {
        self.consumer.slots()
    }

    /// Moves up to `limit` bytes to the end of `out`, oldest first.
    pub fn take(&mut self, limit: usize, out: &mut Vec<u8>) {
        if self.shared.overrun.swap(false, Ordering::Acquire) {
            self.keep_newest(0);
        }
        let count = self.waiting().min(limit);
        let start = out.len();
        out.resize(start + count, 0);
        if self.consumer.pop_entire_slice(&mut out[start..]).is_err() {
            unreachable!("the consumer alone removes bytes, and `count` of them were waiting");
        }
    }

    /// Throws away the oldest audio beyond the newest `limit` bytes.
    pub fn keep_newest(&mut self, limit: usize) {
        self.discard(self.waiting().saturating_sub(limit));
    }

    /// Throws away the oldest `count` bytes, which are waiting, and counts them as dropped.
    fn discard(&mut self, count: usize) {
        if let Ok(chunk) = self.consumer.read_chunk(count) {
            chunk.commit_all();
        }
        self.shared.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Bytes of caller audio that never reached the AI because the sidecar or the network did not keep up.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// A ring for what the agent says. `capacity` is in bytes.
pub fn agent_ring(capacity: usize) -> (AgentFeed, AgentSink) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let shared = Arc::new(AgentShared::default());
    (
        AgentFeed { producer, shared: shared.clone(), written: 0 },
        AgentSink { consumer, shared, cursor: 0, applied: 0, flushes: 0 },
    )
}

/// Positions in the agent's stream. [bytes since the call began]
#[derive(Default)]
struct AgentShared {
    /// Audio before this must not be heard any more. Written by the feed.
    audible_from: AtomicU64,
    /// Flushes so far: one may come at the place of the one before. Written by the feed, after `audible_from`.
    flushes: AtomicU64,
    /// A turn ends here: running dry at this position is no underrun. Written by the feed.
    turn_end: AtomicU64,
    /// Next byte to be heard. Written by the sink.
    cursor: AtomicU64,
    /// Where the sink stood when it acted on the last flush. Written by the sink before `applied`.
    cut: AtomicU64,
    /// The value of `audible_from` that the sink has acted on. Written by the sink.
    applied: AtomicU64,
    /// Position after everything that has come, in the ring or waiting for room there. Written by the feed.
    arrived: AtomicU64,
}

/// The sidecar's end of the agent ring.
pub struct AgentFeed {
    producer: Producer<u8>,
    shared: Arc<AgentShared>,
    written: u64,
}

impl AgentFeed {
    /// Appends as much of `audio` as fits and answers how many bytes that was. Tells the sink what waits for room: the rest,
    /// and `behind` bytes that come after it.
    pub fn push(&mut self, audio: &[u8], behind: usize) -> usize {
        let (pushed, rest) = self.producer.push_partial_slice(audio);
        self.written += pushed.len() as u64;
        self.shared.arrived.store(self.written + (rest.len() + behind) as u64, Ordering::Release);
        pushed.len()
    }

    /// Marks the end of a turn after all that was pushed so far.
    pub fn end_turn(&mut self) {
        self.shared.turn_end.store(self.written, Ordering::Release);
    }

    /// Makes everything pushed so far inaudible. What is pushed afterwards will be heard.
    /// Done when [`AgentFeed::cut`] answers.
    pub fn flush(&mut self) {
        self.end_turn();
        self.shared.arrived.store(self.written, Ordering::Release);
        self.shared.audible_from.store(self.written, Ordering::Release);
        self.shared.flushes.fetch_add(1, Ordering::Release);
    }

    /// Position up to which audio had been heard when the last flush took effect; `None` until it has.
    pub fn cut(&self) -> Option<u64> {
        let applied = self.shared.applied.load(Ordering::Acquire);
        let done = applied == self.shared.audible_from.load(Ordering::Relaxed);
        done.then(|| self.shared.cut.load(Ordering::Relaxed))
    }

    /// Position after the last byte pushed.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Position of the next byte to be heard.
    pub fn cursor(&self) -> u64 {
        self.shared.cursor.load(Ordering::Acquire)
    }
}

/// The channel thread's end of the agent ring; [`Playout`](crate::playout::Playout) owns it.
pub struct AgentSink {
    consumer: Consumer<u8>,
    shared: Arc<AgentShared>,
    cursor: u64,
    applied: u64,
    flushes: u64,
}

impl AgentSink {
    /// Jumps over flushed audio. True if there was a flush that had not been seen yet.
    ///
    /// # Realtime
    /// Wait-free. One atomic load when there is nothing to do.
    pub(crate) fn apply_flush(&mut self) -> bool {
        let flushes = self.shared.flushes.load(Ordering::Acquire);
        if self.flushes == flushes {
            return false;
        }
        self.flushes = flushes;
        let audible_from = self.shared.audible_from.load(Ordering::Acquire);
        if self.applied == audible_from {
            return true;
        }
        // Nothing stale when the ring had run dry: the flush is acted on all the same, for the account of what was heard.
        let stale = audible_from.saturating_sub(self.cursor);
        if let Ok(chunk) = self.consumer.read_chunk(stale as usize) {
            chunk.commit_all();
        }
        self.shared.cut.store(self.cursor, Ordering::Relaxed);
        self.cursor += stale;
        self.shared.cursor.store(self.cursor, Ordering::Release);
        self.applied = audible_from;
        self.shared.applied.store(audible_from, Ordering::Release);
        true
    }

    /// Bytes ready to be heard.
    pub(crate) fn ready(&self) -> usize {
        self.consumer.slots()
    }

    /// True if the agent's turn ends with what is ready now.
    pub(crate) fn turn_complete(&self) -> bool {
        self.shared.turn_end.load(Ordering::Acquire) == self.cursor + self.ready() as u64
    }

    /// Bytes that have come since the call began, in the ring or waiting for room there.
    pub(crate) fn arrived(&self) -> u64 {
        self.shared.arrived.load(Ordering::Acquire)
    }

    /// Bytes that have come and were not heard yet.
    pub(crate) fn behind(&self) -> usize {
        self.arrived().saturating_sub(self.cursor) as usize
    }

    /// True if all of the agent's turn has come.
    pub(crate) fn turn_has_come(&self) -> bool {
        self.shared.turn_end.load(Ordering::Acquire) == self.arrived()
    }

    /// True if the feed waits for room.
    pub(crate) fn backlog(&self) -> bool {
        self.behind() > self.ready()
    }

    /// Copies what comes next to `audio` and leaves it in the ring, which must hold as much.
    pub(crate) fn peek(&mut self, audio: &mut [u8]) {
        if let Ok(chunk) = self.consumer.read_chunk(audio.len()) {
            let (first, second) = chunk.as_slices();
            audio[..first.len()].copy_from_slice(first);
            audio[first.len()..].copy_from_slice(second);
        }
    }

    /// Leaves out the next `bytes` bytes, which the ring must hold, and counts them as heard.
    pub(crate) fn skip(&mut self, bytes: usize) {
        if let Ok(chunk) = self.consumer.read_chunk(bytes) {
            chunk.commit_all();
            self.cursor += bytes as u64;
            self.shared.cursor.store(self.cursor, Ordering::Release);
        }
    }

    /// Fills `frame` from the ring, which must hold as much, and counts it as heard.
    pub(crate) fn pop(&mut self, frame: &mut [u8]) {
        if self.consumer.pop_entire_slice(frame).is_ok() {
            self.cursor += frame.len() as u64;
            self.shared.cursor.store(self.cursor, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_caller_ring_drops_the_old_and_keeps_the_new() {
        let (mut feed, mut tap) = caller_ring(8);
        assert!(feed.push(&[1; 6]));
        assert!(!feed.push(&[2; 6]));
        let mut out = Vec::new();
        tap.take(100, &mut out);
        assert!(out.is_empty());
        assert_eq!(tap.dropped(), 12);
        assert!(feed.push(&[3; 6]));
        tap.take(4, &mut out);
        tap.take(4, &mut out);
        assert_eq!(out, [3; 6]);
    }

    #[test]
    fn a_flush_cuts_at_the_byte_that_was_heard_last() {
        let (mut feed, mut sink) = agent_ring(100);
        assert_eq!(feed.push(&[1; 60], 0), 60);
        sink.pop(&mut [0; 20]);
        feed.flush();
        assert_eq!(feed.cut(), None);
        assert_eq!(feed.push(&[2; 80], 0), 60);
        assert!(sink.backlog());
        assert!(sink.apply_flush());
        assert!(!sink.apply_flush());
        assert_eq!(feed.cut(), Some(20));
        let mut frame = [0; 40];
        sink.pop(&mut frame);
        assert_eq!(frame, [2; 40]);
        assert_eq!(feed.cursor(), 100);
    }

    #[test]
    fn a_flush_after_the_ring_ran_dry_cuts_where_it_ran_dry() {
        let (mut feed, mut sink) = agent_ring(100);
        feed.push(&[1; 60], 0);
        sink.pop(&mut [0; 60]);
        feed.flush();
        assert_eq!(feed.cut(), None, "nobody has acted on it yet");
        assert!(sink.apply_flush());
        assert_eq!(feed.cut(), Some(60));
    }

    #[test]
    fn what_a_caller_said_last_is_kept_when_not_all_can_be() {
        let (mut feed, mut tap) = caller_ring(100);
        feed.push(&[1; 50]);
        feed.push(&[2; 30]);
        tap.keep_newest(40);
        let mut out = Vec::new();
        tap.take(100, &mut out);
        assert_eq!((&out[..10], &out[10..]), (&[1; 10][..], &[2; 30][..]));
        assert_eq!(tap.dropped(), 40);
    }

    #[test]
    fn two_flushes_before_the_sink_looks_are_one_jump() {
        let (mut feed, mut sink) = agent_ring(100);
        feed.push(&[1; 30], 0);
        feed.flush();
        feed.push(&[2; 30], 0);
        feed.flush();
        feed.push(&[3; 10], 0);
        assert!(sink.apply_flush());
        assert_eq!((feed.cut(), sink.ready()), (Some(0), 10));
    }

    #[test]
    fn nothing_flushed_is_ever_heard_while_both_threads_run() {
        let (mut feed, mut sink) = agent_ring(4096);
        let epoch = Arc::new(AtomicU64::new(0));
        let seen = epoch.clone();
        let writer = std::thread::spawn(move || {
            for generation in 1..=200u8 {
                feed.flush();
                while feed.cut().is_none() {
                    std::thread::yield_now();
                }
                epoch.store(u64::from(generation), Ordering::Release);
                for _ in 0..50 {
                    feed.push(&[generation; 64], 0);
                }
            }
        });
        let mut frame = [0; 32];
        while !writer.is_finished() {
            sink.apply_flush();
            let oldest = seen.load(Ordering::Acquire);
            if sink.ready() >= frame.len() {
                sink.pop(&mut frame);
                assert!(u64::from(frame[0]) >= oldest, "heard {} after flush {oldest}", frame[0]);
            }
        }
        writer.join().expect("the writer does not panic");
    }
}
