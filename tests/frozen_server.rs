//! An AI server that stands still for two seconds is no concern of the line: it keeps its rhythm, and once the server is
//! back every call has the delay it had before.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{assert_rhythm, codes, is_sound, percentile};
use common::witness::undisturbed;
use common::{SOON, Stage};
use practice_agent::{Script, Server, Session};
use rig::PhoneCall;

const CALLS: usize = 40;
const FROZEN: Duration = Duration::from_secs(2);
/// Every call has its delay back so soon after the server.
const BACK: Duration = Duration::from_millis(200);
/// What a delay may differ by: frames and messages have lengths.
const EXACT: Duration = Duration::from_millis(60);

/// How long an echo takes in each of the calls, the shortest first.
fn delays(calls: &[PhoneCall]) -> Vec<Duration> {
    let bursts: Vec<_> = (0..).zip(calls).map(|(seed, call)| (call, call.play_bytes(&codes(seed, 800)))).collect();
    sleep(Duration::from_millis(1500));
    let delay = |(call, sample): &(&PhoneCall, u64)| {
        let said = call.played_at(*sample).expect("the burst has left");
        let heard = call.heard();
        let echo = heard.audio().find(|packet| packet.at > said && is_sound(packet)).expect("it comes back");
        echo.at - said
    };
    let mut delays: Vec<_> = bursts.iter().map(delay).collect();
    delays.sort();
    delays
}

#[test]
fn a_frozen_server_delays_no_packet_and_leaves_no_delay() {
    undisturbed(|| {
        let stage = Stage::new(Server::builder().script(Script::echo()), "playout_backlog = skip", "");
        let calls: Vec<_> = (0..CALLS).map(|_| stage.dial("100")).collect();
        for call in &calls {
            call.wait_answered(2 * SOON).expect("the call is answered");
        }
        let sessions: Vec<_> = calls.iter().map(|_| stage.session()).collect();
        for session in &sessions {
            session.wait_caller_audio(Duration::from_millis(500), SOON).expect("the caller is heard");
        }
        let before = delays(&calls);

        let frozen = Instant::now();
        let stood_still = stage.agent.freeze(FROZEN);
        let back = Instant::now();
        let heard_nothing =
            |session: &Session| session.appends().iter().all(|append| !stood_still.contains(&append.at));
        assert!(sessions.iter().all(heard_nothing), "the server is frozen");
        sleep(BACK);
        let after = delays(&calls);
        let lines: Vec<_> = calls.iter().map(PhoneCall::heard).collect();
        assert_rhythm(&lines, frozen, back + BACK, "while the server was frozen and just after");

        let shares = [0.5, 0.9, 1.0];
        let [before, after] = [before, after].map(|delays| shares.map(|share| percentile(&delays, share)));
        println!("delay of an echo (p50, p90, longest): {before:?} before, {after:?} after");
        assert!(after[0] <= before[0] + EXACT && after[1] <= before[1] + EXACT, "{before:?} became {after:?}");
        assert_eq!(stage.cli("ai show sessions").matches("PJSIP/").count(), CALLS, "all calls go on");
    });
}
