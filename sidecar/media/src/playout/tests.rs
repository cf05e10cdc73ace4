use super::*;
use crate::ring::{AgentFeed, agent_ring};

const FRAME: usize = 160;

struct Line {
    feed: AgentFeed,
    playout: Playout,
    start: Instant,
}

impl Line {
    fn new() -> Self {
        let (feed, sink) = agent_ring(3200);
        let start = Instant::now();
        Self {
            feed,
            playout: Playout::new(sink, Format::ALAW, Duration::from_millis(40), Backlog::Played, start),
            start,
        }
    }

    fn at(&mut self, ms: u64) -> Vec<(Played, Vec<u8>)> {
        let now = self.start + Duration::from_millis(ms);
        let mut frame = [0; FRAME];
        self.playout.apply_flush();
        std::iter::from_fn(|| self.playout.poll(now, &mut frame).map(|played| (played, frame.to_vec()))).collect()
    }

    fn one(&mut self, ms: u64) -> Played {
        let frames = self.at(ms);
        assert_eq!(frames.len(), 1, "frames at {ms} ms");
        frames[0].0
    }
}

#[test]
fn silence_leaves_every_twenty_milliseconds() {
    let mut line = Line::new();
    let frames: Vec<_> = (0..199).flat_map(|ms| line.at(ms)).collect();
    assert_eq!(frames.len(), 10);
    assert!(frames.iter().all(|(_, frame)| frame.iter().all(|&code| code == 0xD5)));
}

#[test]
fn a_turn_starts_after_its_preroll_and_ends_padded() {
    let mut line = Line::new();
    line.feed.push(&[1; FRAME], 0);
    assert_eq!(line.one(0), Played::Silence { first: false });
    line.feed.push(&[1; FRAME], 0);
    assert_eq!(line.one(20), Played::Agent { first: true });
    line.feed.push(&[1; 10], 0);
    line.feed.end_turn();
    assert_eq!(line.one(40), Played::Agent { first: false });
    let last = line.at(60);
    assert_eq!(last[0].0, Played::Agent { first: false });
    assert_eq!(&last[0].1[8..12], [1, 1, 0xD5, 0xD5]);
    let after = line.at(80);
    assert_eq!(after[0].0, Played::Silence { first: true });
    assert_eq!(after[0].1, [0xD5; FRAME], "the end of a turn is not touched");
    assert_eq!(line.playout.underruns(), 0);
}

#[test]
fn a_turn_starts_between_two_frames_and_the_lead_is_given_back_in_silence() {
    let mut line = Line::new();
    assert_eq!(line.one(0), Played::Silence { first: false });
    line.feed.push(&[1; 3 * FRAME], 0);
    line.feed.end_turn();
    assert_eq!(line.one(7), Played::Agent { first: true });
    let mut left = Vec::new();
    for ms in 8..400 {
        left.extend(line.at(ms).iter().map(|_| ms));
    }
    let steps: Vec<_> = std::iter::once(&7).chain(&left).zip(&left).map(|(before, after)| after - before).collect();
    assert!(steps.iter().all(|&step| (19..=29).contains(&step)), "{steps:?}");
    // Looked at every millisecond, a frame leaves one before its moment.
    assert_eq!(left.iter().filter(|&&ms| ms > 300).map(|ms| (ms + 1) % 20).collect::<Vec<_>>(), [0; 5]);
}

#[test]
fn turns_that_start_early_again_and_again_never_lead_by_more_than_a_frame() {
    let mut line = Line::new();
    let mut left = 0;
    for ms in 0..2000u64 {
        if ms % 41 == 0 {
            line.feed.push(&[1; FRAME], 0);
            line.feed.end_turn();
        }
        left += line.at(ms).len();
        assert!(left as u64 <= (ms + 1) / 20 + 2, "{left} frames after {ms} ms");
    }
}

#[test]
fn running_dry_in_a_word_has_soft_edges_and_the_turn_itself_none() {
    let format = Format::slin(8000);
    let (mut feed, sink) = agent_ring(6400);
    let start = Instant::now();
    let mut playout = Playout::new(sink, format, Duration::from_millis(20), Backlog::Played, start);
    let loud: Vec<u8> = 12000i16.to_le_bytes().repeat(160);
    let mut frame = [0; 320];
    let mut heard = Vec::new();
    feed.push(&loud, 0);
    for tick in 0..4 {
        if tick == 3 {
            feed.push(&loud, 0);
            feed.end_turn();
        }
        playout.poll(start + PTIME * tick, &mut frame);
        heard.extend(frame.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair)));
    }
    let steps: Vec<_> = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    assert_eq!(heard[0], 12000, "the turn starts as it was made");
    assert!(steps.iter().all(|&step| step <= 600), "largest step {:?}", steps.iter().max());
    assert_eq!(playout.underruns(), 1);
}

#[test]
fn a_held_turn_goes_on_where_it_stopped_and_nothing_is_lost() {
    let mut line = Line::new();
    for number in 1..=5 {
        line.feed.push(&[number; FRAME], 0);
    }
    line.feed.end_turn();
    let code = |frames: Vec<(Played, Vec<u8>)>| (frames[0].0, frames[0].1[FRAME - 1]);
    assert_eq!(code(line.at(0)), (Played::Agent { first: true }, 1));
    assert_eq!(code(line.at(20)), (Played::Agent { first: false }, 2));
    line.playout.hold(true);
    assert_eq!(code(line.at(40)), (Played::Silence { first: true }, 0xD5));
    assert_eq!(code(line.at(60)), (Played::Silence { first: false }, 0xD5));
    line.playout.hold(false);
    assert_eq!(code(line.at(80)), (Played::Agent { first: true }, 3));
    assert_eq!(code(line.at(100)), (Played::Agent { first: false }, 4));
    assert_eq!(line.playout.underruns(), 0);
    line.playout.hold(true);
    line.feed.flush();
    line.feed.push(&[9; FRAME], 0);
    line.feed.end_turn();
    assert_eq!(code(line.at(120)), (Played::Agent { first: false }, 9), "what was held is gone, and the hold with it");
}

#[test]
fn a_paused_line_keeps_what_the_agent_says_and_a_flush_does_not_end_the_pause() {
    let mut line = Line::new();
    line.feed.push(&[1; 2 * FRAME], 0);
    line.feed.end_turn();
    line.playout.pause(true);
    assert_eq!(line.one(0), Played::Silence { first: false });
    line.feed.flush();
    line.feed.push(&[2; FRAME], 0);
    line.feed.end_turn();
    assert_eq!(line.one(20), Played::Silence { first: false });
    line.playout.hold(true);
    line.playout.hold(false);
    assert_eq!(line.one(40), Played::Silence { first: false }, "whoever else lets go");
    line.playout.pause(false);
    let heard = line.at(60);
    assert_eq!((heard[0].0, heard[0].1[FRAME - 1]), (Played::Agent { first: true }, 2));
    assert_eq!(line.playout.underruns(), 0);
}

#[test]
fn turn_after_turn_starts_at_once_though_the_grid_follows_the_callers_packets() {
    let ms = Duration::from_millis(1);
    let mut line = Line::new();
    let mut frame = [0; FRAME];
    let mut started = Vec::new();
    for now in 0..60_000u32 {
        let at = line.start + ms * now / 10;
        // A turn of half a second every second, at another place between two packets each time.
        if now % 10_000 == 5000 + (now / 10_000) * 37 {
            line.feed.push(&[1; 20 * FRAME], 0);
            line.feed.end_turn();
            started.push((now, None));
        }
        let packet = now % 200 == 0;
        if packet {
            line.playout.grid().caller_packet(at, PTIME);
        }
        let woken =
            packet || at >= line.playout.grid().sleep_until() || started.last().is_some_and(|&(at, _)| at == now);
        while woken && let Some(played) = line.playout.poll(at, &mut frame) {
            if let (Played::Agent { first: true }, Some((_, start))) = (played, started.last_mut()) {
                *start = Some(now);
            }
        }
    }
    let delays: Vec<_> = started.iter().map(|&(sent, heard)| heard.expect("it is heard") - sent).collect();
    assert_eq!(delays, [0; 6], "[0.1 ms]");
}

#[test]
fn a_turn_shorter_than_the_preroll_is_heard() {
    let mut line = Line::new();
    line.feed.push(&[1; 50], 0);
    line.feed.end_turn();
    assert_eq!(line.one(0), Played::Agent { first: true });
}

#[test]
fn audio_without_an_end_is_not_held_back_for_ever() {
    let mut line = Line::new();
    line.feed.push(&[1; FRAME], 0);
    let heard = (0..10).find(|tick| line.one(tick * 20) == Played::Agent { first: true });
    assert_eq!(heard, Some(4));
}

#[test]
fn running_dry_in_a_turn_is_counted_once_and_needs_a_new_preroll() {
    let mut line = Line::new();
    line.feed.push(&[1; 2 * FRAME], 0);
    assert_eq!(line.one(0), Played::Agent { first: true });
    assert_eq!(line.one(20), Played::Agent { first: false });
    assert_eq!(line.one(40), Played::Silence { first: true });
    line.feed.push(&[1; FRAME], 0);
    assert_eq!(line.one(60), Played::Silence { first: false });
    line.feed.push(&[1; FRAME], 0);
    assert_eq!(line.one(80), Played::Agent { first: true });
    assert_eq!(line.playout.underruns(), 1);
}

#[test]
fn a_stall_of_the_thread_is_made_up_for_by_three_frames_at_most() {
    let mut line = Line::new();
    assert_eq!(line.at(0).len(), 1);
    assert_eq!(line.at(1009).len(), 3);
    assert_eq!(line.at(1018).len(), 0);
    assert_eq!(line.at(1020).len(), 1);
}

#[test]
fn a_flush_silences_the_next_frame_and_the_next_turn_is_heard() {
    let mut line = Line::new();
    line.feed.push(&[1; 10 * FRAME], 0);
    assert_eq!(line.one(0), Played::Agent { first: true });
    line.feed.flush();
    assert_eq!(line.one(20), Played::Silence { first: true });
    assert_eq!(line.feed.cut(), Some(FRAME as u64));
    line.feed.push(&[2; 2 * FRAME], 0);
    let next = line.at(40);
    assert_eq!((next[0].0, next[0].1[0]), (Played::Agent { first: true }, 2));
    assert_eq!(line.playout.underruns(), 0);
}
