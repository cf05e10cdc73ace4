//! Agent audio that comes in real time and was held up is brought back to its delay: worked off, or skipped.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{codes, position};
use common::{SOON, Stage};
use practice_agent::{Pace, Script, Server, Session, Speech};
use rig::PhoneCall;

/// A knock holds the line for the default of `barge_in_confirm_ms`.
const HELD: Duration = Duration::from_millis(400);
/// How exactly a delay can be told: a frame, and a busy machine.
const CLOSE: Duration = Duration::from_millis(50);
/// The part of a packet that is free of a seam's soft edge. [codes]
const AFTER_EDGE: usize = 60;

/// A caller who listens to audio that never pauses and comes as fast as it is heard.
struct Listener {
    call: PhoneCall,
    session: Session,
    said: Vec<u8>,
    stage: Stage,
}

impl Listener {
    fn begin(keys: &str, length: Duration) -> Self {
        let stage = Stage::new(
            Server::builder().script(Script::new()),
            &format!("barge_in = both\nlocal_vad = level\n{keys}"),
            "",
        );
        let (call, session) = stage.talk("100");
        let said = codes(71, length.as_millis() as usize * 8);
        let speech = Speech::wire("an endless story", said.clone()).at(Pace::Times(1.0)).in_chunks_of(20);
        session.perform(Script::new().start_saying(speech));
        let listener = Self { call, session, said, stage };
        sleep(Duration::from_secs(3));
        listener
    }

    /// Holds the line for a moment: a noise of the caller's that is not confirmed, and no voice.
    fn knock(&self) -> Instant {
        self.call.play_bytes(&codes(72, 480));
        self.call.wait_played(SOON).expect("it is played");
        Instant::now()
    }

    /// How late what was heard in the 200 ms before `at` is, counted from the same moment every time.
    fn delay(&self, at: Instant) -> Duration {
        let heard = self.call.heard();
        let origin = heard.packets[0].at;
        let near = heard.audio().filter(|packet| packet.at <= at && packet.at + Duration::from_millis(200) > at);
        let late = near.filter_map(|packet| {
            let said_at = position(&self.said, &packet.payload[AFTER_EDGE..])? - AFTER_EDGE;
            (packet.at - origin).checked_sub(Duration::from_micros(said_at as u64 * 125))
        });
        late.max().expect("something is heard")
    }

    /// The delay after the knock, at these times, beyond what it was before.
    fn added(&self, knocked: Instant, after: &[u64]) -> Vec<Duration> {
        let before = self.delay(knocked - Duration::from_millis(200));
        let moments = after.iter().map(|&ms| knocked + Duration::from_millis(ms));
        let added = moments.map(|at| {
            sleep(at.saturating_duration_since(Instant::now()));
            self.delay(at).saturating_sub(before)
        });
        let added = added.collect();
        println!("before {before:?}; added {added:?} after {after:?} ms");
        added
    }
}

#[test]
fn a_hold_in_endless_audio_is_worked_off() {
    let listener = Listener::begin("", Duration::from_secs(24));
    let knocked = listener.knock();
    let added = listener.added(knocked, &[1000, 20_000]);
    assert!(added[0] + CLOSE >= HELD, "the hold itself: {added:?}");
    assert!(added[1] <= CLOSE, "worked off in the end: {added:?}");
    assert!(listener.session.events_of("response.cancel").is_empty(), "it was no interruption");
}

#[test]
fn a_hold_of_a_live_stream_is_skipped() {
    let listener = Listener::begin("playout_backlog = skip", Duration::from_secs(7));
    let knocked = listener.knock();
    let resumed = HELD.as_millis() as u64;
    let added = listener.added(knocked, &[resumed + 300, resumed + 2000]);
    assert!(added.iter().all(|&added| added <= CLOSE), "{added:?}");
    listener.call.hang_up();
    let ended = listener.stage.rig.wait_log("ended HANGUP", SOON).expect("the end is logged");
    assert!(ended.contains("taken back 1"), "there was a hold: {ended}");
}
