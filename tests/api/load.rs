//! Clients that ask all the time are answered soon, and calls do not notice them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use practice_agent::{Script, Speech};
use rig::Phone;

use super::{Keys, stage};
use crate::common::SOON;
use crate::common::signal::{assert_rhythm, codes, percentile};
use crate::common::witness::undisturbed;
use rig::http::Api;

const CALLS: usize = 20;
/// How long clients ask.
const LOAD: Duration = Duration::from_secs(10);
/// Of a request; the first in a hundred may take longer.
const LATENCY_MAX: Duration = Duration::from_millis(20);

/// Asks until `over`, a hundred times a second; answers how long each answer took.
fn ask(api: &Api, over: &AtomicBool) -> Vec<Duration> {
    let paths =
        ["/api/calls", "/api/calls?status=talking&limit=200", "/metrics", "/api/profiles", "/api/calls?status=ended"];
    let mut took = Vec::new();
    for path in paths.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let asked = Instant::now();
        assert_eq!(api.get(path).status, 200);
        took.push(asked.elapsed());
        thread::sleep(Duration::from_millis(10));
    }
    took
}

#[test]
fn requests_are_answered_within_20_ms_and_calls_keep_their_rhythm() {
    undisturbed(|| {
        let keys = Keys { general: "database = calls.sqlite3\nhttp_rate_max = 0", profile: "" };
        let (stage, api) = stage(&keys);
        let calls: Vec<_> = (0..CALLS).map(|_| Phone::new(&stage.rig).dial("200").expect("the phone dials")).collect();
        for call in &calls {
            call.wait_answered(2 * SOON).expect("the call is answered");
        }
        let sessions: Vec<_> = calls.iter().map(|_| stage.session()).collect();
        for (number, session) in sessions.iter().enumerate() {
            let words = codes(number as u64, 14 * 8000);
            session.perform(Script::new().start_saying(Speech::wire("a long story", words)));
        }
        thread::sleep(Duration::from_secs(2));
        let over = AtomicBool::new(false);
        let from = Instant::now();
        let mut took: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&api, &over))).collect();
            thread::sleep(LOAD);
            over.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
        });
        let to = Instant::now();
        took.sort();
        let at = |share| percentile(&took, share);
        println!("{} requests: p50 {:?}, p99 {:?}, longest {:?}", took.len(), at(0.5), at(0.99), at(1.0));
        calls.iter().for_each(|call| call.hang_up());
        stage.assert_nothing_left();
        assert!(took.len() > 1000, "{} requests", took.len());
        assert!(at(0.99) < LATENCY_MAX, "p99 is {:?}", at(0.99));
        let lines: Vec<_> = calls.iter().map(|call| call.heard()).collect();
        assert_rhythm(&lines, from, to, "twenty lines while four clients ask");
    });
}
