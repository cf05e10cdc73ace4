//! The agent's audio between the dialect and the ring: queue, resampling, and the account of what was heard.
//!
//! ```text
//!  dialect ─► Transcoder ─► queue (up to playout_max) ─► AgentFeed ─► ring ─► Playout
//! ```
//!
//! Providers send faster than anybody listens, so most of an answer waits here, where it can be thrown away. Marks lie
//! between its bytes, as positions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ai_dialect::Heard;
use ai_media::Format;
use ai_media::ring::AgentFeed;
use ai_media::transcode::Transcoder;

/// Where an agent item lies in the stream of audio to be heard. [bytes in the channel's format]
#[derive(Debug)]
struct Span {
    item: Arc<str>,
    start: u64,
    end: u64,
    /// What came from the provider. [bytes in the provider's format]
    received: u64,
}

/// A place in the stream of audio to be heard.
#[derive(Debug)]
struct Mark {
    name: String,
    /// [bytes in the channel's format]
    position: u64,
}

/// Most marks that may wait: one for every 20 ms of the longest answer by default, with some to spare.
const MARKS_MAX: usize = 10_000;

/// The queue of one call's agent audio. Runs on the sidecar.
pub(crate) struct AgentLine {
    feed: AgentFeed,
    transcoder: Transcoder,
    queue: VecDeque<u8>,
    converted: Vec<u8>,
    limit: usize,
    turn_over: bool,
    overflown: bool,
    turns: u32,
    spans: VecDeque<Span>,
    /// Spans cut off by a flush that the channel thread has not acted on yet.
    flushing: Option<VecDeque<Span>>,
    marks: VecDeque<Mark>,
    /// Marks cut off by such a flush.
    marks_flushing: Vec<Mark>,
    /// Marks whose fate is known, and whether they were heard.
    marks_settled: VecDeque<(String, bool)>,
}

impl AgentLine {
    /// A line that converts with `transcoder` and queues at most `limit`.
    pub(crate) fn new(feed: AgentFeed, transcoder: Transcoder, limit: Duration) -> Self {
        let limit = transcoder.to().bytes_in_ms(limit.as_millis() as u64);
        Self {
            feed,
            transcoder,
            queue: VecDeque::new(),
            converted: Vec::new(),
            limit,
            turn_over: true,
            overflown: false,
            turns: 0,
            spans: VecDeque::new(),
            flushing: None,
            marks: VecDeque::new(),
            marks_flushing: Vec::new(),
            marks_settled: VecDeque::new(),
        }
    }

    /// From here on audio comes in as `transcoder` takes it.
    pub(crate) fn convert_with(&mut self, transcoder: Transcoder) {
        self.transcoder = transcoder;
    }

    /// The provider's format.
    pub(crate) fn from(&self) -> Format {
        self.transcoder.from()
    }

    /// The channel's format.
    pub(crate) fn to(&self) -> Format {
        self.transcoder.to()
    }

    fn format(&self) -> Format {
        self.transcoder.to()
    }

    /// Queues `audio` of `item`. False once a turn, when the queue is full: what does not fit, and the rest of the turn,
    /// is dropped.
    pub(crate) fn push(&mut self, item: &Arc<str>, audio: &[u8]) -> bool {
        if self.overflown {
            return true;
        }
        self.turns += u32::from(std::mem::take(&mut self.turn_over));
        let end = self.end();
        if self.spans.back().is_none_or(|span| span.item != *item) {
            self.spans.push_back(Span { item: item.clone(), start: end, end, received: 0 });
        }
        // Measured before it is converted: one message may hold far more than the queue may.
        let room = self.limit.saturating_sub(self.queue.len());
        let accepted = audio.len().min(self.transcoder.from().bytes_in_ms(self.format().ms_in_bytes(room as u64)));
        self.converted.clear();
        self.transcoder.push(&audio[..accepted], &mut self.converted);
        self.queue.extend(&self.converted);
        let end = self.end();
        if let Some(span) = self.spans.back_mut() {
            span.end = end;
            span.received += audio.len() as u64;
        }
        self.overflown = accepted < audio.len();
        !self.overflown
    }

    /// Turns the agent has begun.
    pub(crate) fn turns(&self) -> u32 {
        self.turns
    }

    /// The agent's turn is complete: lets out what the resampler holds.
    pub(crate) fn end_turn(&mut self) {
        self.let_out();
        self.turn_over = true;
        self.overflown = false;
    }

    /// Puts a mark after everything queued; [`AgentLine::settled_mark`] tells what became of it. False if too many wait.
    pub(crate) fn mark(&mut self, name: String) -> bool {
        self.let_out();
        let position = self.end();
        let room = self.marks.len() < MARKS_MAX;
        if room {
            self.marks.push_back(Mark { name, position });
        }
        room
    }

    /// A mark that was reached, with true, or flushed, with false. Once each, in their order.
    pub(crate) fn settled_mark(&mut self) -> Option<(String, bool)> {
        let cursor = self.feed.cursor();
        while self.marks.front().is_some_and(|mark| mark.position <= cursor) {
            self.marks_settled.extend(self.marks.pop_front().map(|mark| (mark.name, true)));
        }
        self.marks_settled.pop_front()
    }

    /// Audio before the next mark, if there is one. [ms]
    pub(crate) fn next_mark_ms(&self) -> Option<u64> {
        let next = self.marks.front()?;
        Some(self.format().ms_in_bytes(next.position.saturating_sub(self.feed.cursor())))
    }

    /// Audio that waits to be heard. [ms]
    pub(crate) fn waiting_ms(&self) -> u64 {
        self.format().ms_in_bytes(self.end().saturating_sub(self.feed.cursor()))
    }

    /// Lets out what the resampler holds.
    fn let_out(&mut self) {
        self.converted.clear();
        self.transcoder.flush(&mut self.converted);
        self.queue.extend(&self.converted);
        let end = self.end();
        if let (Some(span), false) = (self.spans.back_mut(), self.converted.is_empty()) {
            span.end = end;
        }
    }

    /// Moves as much as fits into the ring and forgets what was heard to its end. True if anything was moved.
    pub(crate) fn pump(&mut self) -> bool {
        let before = self.feed.written();
        while !self.queue.is_empty() {
            let (first, rest) = self.queue.as_slices();
            let pushed = self.feed.push(first, rest.len());
            self.queue.drain(..pushed);
            if pushed == 0 {
                break;
            }
        }
        // What goes up to a mark is heard to its last byte, though nobody knows if more will follow.
        let marked = self.marks.back().is_some_and(|mark| mark.position == self.feed.written());
        if self.queue.is_empty() && (self.turn_over || marked) {
            self.feed.end_turn();
        }
        let cursor = self.feed.cursor();
        while self.spans.front().is_some_and(|span| span.end <= cursor && (self.turn_over || self.spans.len() > 1)) {
            self.spans.pop_front();
        }
        self.feed.written() > before
    }

    /// Makes everything queued inaudible. [`AgentLine::heard`] tells what had been heard, once that is certain.
    pub(crate) fn flush(&mut self) {
        self.queue.clear();
        self.transcoder.reset();
        self.turn_over = true;
        self.overflown = false;
        self.feed.flush();
        let cut_off = std::mem::take(&mut self.spans);
        self.flushing.get_or_insert_default().extend(cut_off);
        self.marks_flushing.extend(self.marks.drain(..));
    }

    /// After a flush took effect: what the caller had heard of every item that was not over. Once a flush.
    pub(crate) fn heard(&mut self) -> Option<Vec<Heard>> {
        let cut = self.feed.cut()?;
        let spans = self.flushing.take()?;
        let fates = self.marks_flushing.drain(..).map(|mark| (mark.name, mark.position <= cut));
        self.marks_settled.extend(fates);
        let ms = |bytes| self.format().ms_in_bytes(bytes);
        let heard = |span: Span| Heard {
            heard_ms: ms(cut.clamp(span.start, span.end) - span.start),
            received_ms: self.transcoder.from().ms_in_bytes(span.received),
            item: span.item,
        };
        Some(spans.into_iter().map(heard).collect())
    }

    /// What is queued will be heard, but whoever said it is gone: nobody asks any more how much of it was heard.
    pub(crate) fn disown(&mut self) {
        self.spans.clear();
        self.flushing = None;
        self.marks.clear();
        self.marks_flushing.clear();
        self.marks_settled.clear();
    }

    /// True from a flush until [`AgentLine::heard`] has answered.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }

    /// True when the caller has heard all there is, up to the last frame's padding.
    pub(crate) fn drained(&self) -> bool {
        self.queue.is_empty() && self.turn_over && self.feed.cursor() >= self.feed.written()
    }

    /// Position after everything queued.
    fn end(&self) -> u64 {
        self.feed.written() + self.queue.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ai_media::playout::{Backlog, Played, Playout};
    use ai_media::ring::agent_ring;

    use super::*;

    struct Bench {
        line: AgentLine,
        playout: Playout,
        now: Instant,
    }

    impl Bench {
        fn new(wire: Format, channel: Format) -> Self {
            let (feed, sink) = agent_ring(channel.bytes_in_ms(400));
            let now = Instant::now();
            let transcoder = Transcoder::new(wire, channel).expect("valid rates");
            let line = AgentLine::new(feed, transcoder, Duration::from_secs(2));
            Self { line, playout: Playout::new(sink, channel, Duration::from_millis(40), Backlog::Played, now), now }
        }

        /// Runs playout for `ms` and answers how much of that was the agent's voice. [ms]
        fn hear(&mut self, ms: u64) -> u64 {
            let mut frame = vec![0; self.playout.frame_bytes()];
            let mut heard = 0;
            for _ in 0..ms / 20 {
                self.line.pump();
                self.playout.apply_flush();
                let played = self.playout.poll(self.now, &mut frame);
                heard += if matches!(played, Some(Played::Agent { .. })) { 20 } else { 0 };
                self.now += Duration::from_millis(20);
            }
            heard
        }
    }

    fn heard(item: &str, heard_ms: u64, received_ms: u64) -> Heard {
        Heard { item: item.into(), heard_ms, received_ms }
    }

    #[test]
    fn an_answer_longer_than_the_ring_is_heard_whole() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        assert!(bench.line.push(&"a".into(), &[1; 8 * 1500]));
        bench.line.end_turn();
        assert_eq!(bench.hear(1600), 1500);
        assert!(bench.line.drained());
        assert_eq!(bench.playout.underruns(), 0);
    }

    #[test]
    fn an_interruption_tells_what_was_heard_of_each_item() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        let (first, second): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        bench.line.push(&first, &[1; 8 * 1000]);
        bench.line.push(&second, &[2; 8 * 500]);
        bench.hear(600);
        bench.line.flush();
        assert_eq!(bench.line.heard(), None);
        bench.line.push(&"c".into(), &[3; 8 * 100]);
        bench.line.end_turn();
        assert_eq!(bench.hear(200), 100);
        assert_eq!(bench.line.heard(), Some(vec![heard("a", 600, 1000), heard("b", 0, 500)]));
        assert_eq!(bench.line.heard(), None);
    }

    #[test]
    fn an_interruption_after_the_audio_ran_dry_in_mid_turn_tells_that_all_was_heard() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        bench.line.push(&"a".into(), &[1; 8 * 300]);
        bench.hear(400);
        bench.line.flush();
        bench.hear(20);
        assert_eq!(bench.line.heard(), Some(vec![heard("a", 300, 300)]));
    }

    #[test]
    fn what_was_heard_is_told_in_time_whatever_the_rates() {
        let mut bench = Bench::new(Format::slin(24000), Format::slin(8000));
        bench.line.push(&"a".into(), &vec![0; 48 * 1000]);
        bench.hear(440);
        bench.line.flush();
        bench.hear(20);
        assert_eq!(bench.line.heard(), Some(vec![heard("a", 440, 1000)]));
    }

    #[test]
    fn an_item_that_was_heard_to_its_end_is_not_part_of_an_interruption() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        bench.line.push(&"a".into(), &[1; 800]);
        bench.line.end_turn();
        bench.hear(200);
        bench.line.flush();
        bench.hear(20);
        assert_eq!(bench.line.heard(), Some(vec![]));
    }

    #[test]
    fn a_mark_is_reached_when_all_before_it_was_heard_to_the_last_byte() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        bench.line.mark("at once".to_owned());
        assert_eq!(bench.line.settled_mark(), Some(("at once".to_owned(), true)));
        // Five frames, and half a one that nothing follows.
        bench.line.push(&"a".into(), &[1; 8 * 110]);
        bench.line.mark("m".to_owned());
        assert_eq!(bench.line.next_mark_ms(), Some(110));
        assert_eq!(bench.hear(100), 100);
        assert_eq!((bench.line.settled_mark(), bench.line.next_mark_ms()), (None, Some(10)));
        assert_eq!(bench.hear(40), 20);
        assert_eq!(bench.line.settled_mark(), Some(("m".to_owned(), true)));
        assert_eq!(bench.line.settled_mark(), None);
        assert_eq!((bench.playout.underruns(), bench.line.turns()), (0, 1), "a mark is not the end of a turn");
        bench.line.push(&"a".into(), &[1; 8 * 100]);
        bench.hear(200);
        assert_eq!(bench.line.turns(), 1);
    }

    #[test]
    fn marks_lie_where_they_were_put_whatever_the_rates() {
        let mut bench = Bench::new(Format::slin(24000), Format::slin(8000));
        for name in ["a", "b"] {
            bench.line.push(&"item".into(), &vec![0; 48 * 130]);
            bench.line.mark(name.to_owned());
        }
        bench.line.pump();
        assert_eq!(bench.line.waiting_ms(), 260);
        bench.hear(140);
        assert_eq!(bench.line.settled_mark(), Some(("a".to_owned(), true)));
        assert_eq!(bench.line.settled_mark(), None);
        bench.hear(140);
        assert_eq!(bench.line.settled_mark(), Some(("b".to_owned(), true)));
    }

    #[test]
    fn a_flush_gives_back_every_mark_and_tells_which_were_heard() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        for name in ["heard", "cut", "never begun"] {
            bench.line.push(&"a".into(), &[1; 8 * 200]);
            bench.line.mark(name.to_owned());
        }
        bench.hear(300);
        bench.line.flush();
        bench.line.push(&"b".into(), &[1; 8 * 100]);
        bench.line.mark("next".to_owned());
        assert_eq!(bench.line.settled_mark(), None, "nobody knows yet where the flush will cut");
        bench.hear(20);
        bench.line.heard().expect("the flush took effect");
        let settled: Vec<_> = std::iter::from_fn(|| bench.line.settled_mark()).collect();
        let expected = [("heard", true), ("cut", false), ("never begun", false)];
        assert_eq!(settled, expected.map(|(name, heard)| (name.to_owned(), heard)));
        bench.hear(200);
        assert_eq!(bench.line.settled_mark(), Some(("next".to_owned(), true)));
    }

    #[test]
    fn endless_marks_are_refused() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        bench.line.push(&"a".into(), &[1; 160]);
        assert!((0..MARKS_MAX).all(|_| bench.line.mark("m".to_owned())));
        assert!(!bench.line.mark("m".to_owned()));
    }

    #[test]
    fn more_than_may_be_queued_ends_the_turn_and_not_the_next() {
        let mut bench = Bench::new(Format::ALAW, Format::ALAW);
        let endless: Arc<str> = "a".into();
        assert!(bench.line.push(&endless, &[1; 8 * 1900]));
        assert!(!bench.line.push(&endless, &[1; 8 * 60_000]));
        assert!(bench.line.push(&endless, &[1; 800]), "told once");
        bench.line.end_turn();
        assert_eq!(bench.hear(3000), 2000);
        assert!(bench.line.push(&endless, &[1; 800]));
        bench.line.end_turn();
        assert_eq!(bench.hear(200), 100);
    }
}
