//! Twenty calls at once: each is a conversation of its own, and none of them suffers from the others.

mod common;

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{assert_rhythm, codes, sounds};
use common::witness::undisturbed;
use common::{SOON, Stage, eventually, extension, profile};
use practice_agent::{Script, Server, Session, Speech};
use rig::{Phone, PhoneCall};

/// The callers, each an extension of its own.
const CALLERS: Range<u64> = 200..220;
/// Turns of an agent.
const TURNS: usize = 4;
/// From the beginning of one turn to that of the next: it is over by then.
const FROM_TURN_TO_TURN: Duration = Duration::from_millis(7500);
/// A-law codes in a turn, 7 s of them.
const TURN_CODES: usize = 7 * 8000;

/// What the agent of session `number` says: nobody else says any of it.
fn agent_words(number: u64) -> Vec<u8> {
    codes(1000 + number, TURNS * TURN_CODES)
}

/// What `caller` says: nobody else says any of it.
fn caller_words(caller: u64) -> Vec<u8> {
    codes(caller, 30 * 8000)
}

/// Four turns in half a minute. Agents with an even number hang up then; the others leave that to the caller.
fn agent_script(number: u64) -> Script {
    let words = agent_words(number);
    let turns = words
        .chunks(TURN_CODES)
        .fold(Script::new(), |script, turn| script.start_saying(Speech::wire("a turn", turn)).sleep(FROM_TURN_TO_TURN));
    if number.is_multiple_of(2) { turns.call_tool("hangup", "{}") } else { turns }
}

/// One of the calls.
struct Talk {
    caller: u64,
    call: PhoneCall,
    session: Session,
}

impl Talk {
    fn agent_hangs_up(&self) -> bool {
        self.session.number().is_multiple_of(2)
    }

    /// Each side has heard all the other side said, and not a single code of anybody else.
    fn assert_heard_each_other(&self) {
        let caller = self.caller;
        let recording = self.call.heard().bytes();
        let turns: Vec<&[u8]> = sounds(&recording).into_iter().map(|(_, sound)| sound).collect();
        let said = agent_words(self.session.number());
        let right: Vec<bool> = turns.iter().zip(said.chunks(TURN_CODES)).map(|(heard, said)| *heard == said).collect();
        assert_eq!(right, [true; TURNS], "caller {caller} hears the turns of their own agent, {} parts", turns.len());
        assert_eq!(turns.len(), TURNS, "caller {caller} hears nothing else");

        // Where a packet of the phone was late, silence stands in for it before it comes.
        let heard: Vec<u8> =
            sounds(&self.session.caller_audio()).iter().flat_map(|(_, sound)| *sound).copied().collect();
        let said = caller_words(caller);
        assert!(said.starts_with(&heard), "the agent of caller {caller} hears them and nobody else");
        let all = (29 * 8000..).contains(&heard.len());
        assert!(all, "the agent of caller {caller} hears {} codes", heard.len());
    }
}

/// Waits for a session for every caller.
fn sessions(stage: &Stage) -> BTreeMap<u64, Session> {
    let caller = |session: &Session| session.request().header("x-caller").and_then(|header| header.parse().ok());
    CALLERS.map(|_| stage.session()).map(|session| (caller(&session).expect("a caller"), session)).collect()
}

#[test]
fn twenty_calls_at_once_are_twenty_conversations() {
    undisturbed(|| {
        let agent = Server::builder().scripts(|number| match number {
            1 => Script::new().close(1000, "only a test of the line"),
            _ => agent_script(number),
        });
        // Asterisk's own pools would grow under load, and shrink again a minute later.
        let pools = "[system]\ntype = system\nthreadpool_initial_size = 5\nthreadpool_max_size = 5\n";
        let prepare =
            |rig: rig::Builder, url: &str| rig.config("ai_bridge.conf", profile(url, "")).append("pjsip.conf", pools);
        let stage = Stage::with(agent, prepare, &extension("_2XX", ",H(X-Caller: ${EXTEN})"));
        // What Asterisk and the module make once is not to count as growth.
        let first = stage.call("100");
        stage.session();
        first.wait_ended(SOON).expect("the agent ends the call");
        stage.rig.wait_no_channels(SOON).expect("the line is free");
        let before = stage.rig.figures().expect("Asterisk runs");

        let calls: Vec<_> = CALLERS
            .map(|caller| (caller, Phone::new(&stage.rig).dial(&caller.to_string()).expect("the phone dials")))
            .collect();
        for (_, call) in &calls {
            call.wait_answered(2 * SOON).expect("the call is answered");
        }
        let mut sessions = sessions(&stage);
        let talks: Vec<_> = calls
            .into_iter()
            .map(|(caller, call)| {
                let session = sessions.remove(&caller).expect("every caller has a session");
                call.play_bytes(&caller_words(caller));
                Talk { caller, call, session }
            })
            .collect();
        let from = Instant::now();
        sleep(Duration::from_secs(10));
        let during = stage.rig.figures().expect("Asterisk runs");
        assert_eq!(stage.cli("ai show sessions").matches("PJSIP/").count(), talks.len(), "all of them are up");
        let agents_end = FROM_TURN_TO_TURN * TURNS as u32;
        sleep((from + agents_end).saturating_duration_since(Instant::now()) - Duration::from_millis(500));
        let to = Instant::now();
        sleep(Duration::from_millis(1000));
        for talk in talks.iter().filter(|talk| !talk.agent_hangs_up()) {
            talk.call.hang_up();
        }
        stage.assert_nothing_left();

        println!(
            "threads: {} before, {} during, {} at most allowed",
            before.threads,
            during.threads,
            before.threads + 20
        );
        assert!(during.threads <= before.threads + talks.len(), "{before:?} became {during:?}");
        let mut after = during;
        eventually("Asterisk has the threads and descriptors it had", 2 * SOON, || {
            let now = stage.rig.figures().expect("Asterisk runs");
            if now != std::mem::replace(&mut after, now) {
                println!("{before:?} before, {now:?} now");
            }
            now.threads <= before.threads && now.descriptors <= before.descriptors
        });

        for talk in &talks {
            talk.assert_heard_each_other();
            let result = stage.result(&talk.caller.to_string());
            let status = if talk.agent_hangs_up() { "COMPLETE" } else { "HANGUP" };
            assert_eq!(result.get("STATUS"), status, "{result:?}");
            let line = format!("AI {}: ended {status}", result.get("SESSION"));
            let ended = stage.rig.wait_log(&line, SOON).expect("the end is logged");
            assert!(ended.contains("underruns 0, dropped 0 ms"), "{ended}");
        }
        let lines: Vec<_> = talks.iter().map(|talk| talk.call.heard()).collect();
        assert_rhythm(&lines, from, to, "twenty lines");
    });
}
