//! An assistant from sound to lines and hints, with services that go wrong to order. The call is made of tones; that there
//! is one is all it needs to know.

mod stage;

use std::thread;
use std::time::Duration;

use ai_sidecar::Status;
use ai_sidecar::control::ControlError;
use ai_sidecar::events::{CallState, HintKind, Priority, Speaker, What};
use practice_agent::{ChatAnswer, Script, Step, faults};

use crate::stage::Sound::{Nothing, Silence, Tone};
use crate::stage::{Stage, hint};

/// How far a time may be off. [ms]
const OFF_MS: u64 = 60;
/// So long a pause ends a line. [ms]
const PAUSE_MS: u64 = 900;

/// Asserts that a line was said by `speaker` from `start` to `end`. [ms]
fn assert_line(line: &(Speaker, String, u64, u64), speaker: Speaker, start: u64, end: u64) {
    let (who, _, from, until) = line;
    let right = *who == speaker && from.abs_diff(start) <= OFF_MS && until.abs_diff(end) <= OFF_MS;
    assert!(right, "{line:?} is not {speaker:?} from {start} to {end}");
}

#[test]
fn what_both_say_is_written_down_with_its_time_and_the_operator_gets_a_hint() {
    let stage = Stage::new("instructions = Sell {{what}}.\nvariable = shop=Tea & Co\n");
    stage.answers(vec![hint("Price")]);
    let mut phones = stage.call("desk,x(what=tea)");
    phones.play(Tone, Nothing, 400);
    assert!(stage.practice.attempts().is_empty(), "nobody pays for a call that rings");
    phones.end.set_talking(true);
    phones.play(Silence, Silence, 300);
    let asks = phones.play(Tone, Silence, 700);
    phones.play(Silence, Silence, PAUSE_MS);
    let answers = phones.play(Silence, Tone, 500);
    phones.play(Silence, Silence, PAUSE_MS);
    let lines = stage.lines(2);
    assert_line(&lines[0], Speaker::Caller, asks, asks + 700);
    assert_line(&lines[1], Speaker::Operator, answers, answers + 500);
    let (hint, latency_ms) = stage.hints(1).remove(0);
    assert_eq!((hint.kind, hint.priority, hint.title.as_str()), (HintKind::Objection, Priority::High, "Price"));
    assert!((50..500).contains(&latency_ms), "{latency_ms}");
    let chats = stage.practice.chats();
    assert_eq!((chats.len(), chats[0].asked().question()), (1, "Caller: caller 1"));
    let system = chats[0].asked().body["messages"][0]["content"].as_str().expect("text");
    assert!(system.starts_with("Sell tea.") && system.contains(r#""shop":"Tea & Co""#), "{system}");
    let config = &stage.stream("caller").events_of("config")[0].json;
    assert_eq!((&config["audio_format"], &config["language_hints"][0]), (&"alaw".into(), &"ru".into()));
    // The last words of a caller who hangs up.
    let last = phones.play(Tone, Silence, 500);
    drop(phones);
    let end = stage.end();
    assert_eq!((end.status, end.reason.as_str()), (Status::Hangup, "the call is over"));
    let lines = stage.lines(3);
    assert_line(&lines[2], Speaker::Caller, last, last + 500);
    assert_eq!(stage.practice.chats().len(), 1, "nobody needs a hint any more");
    assert_eq!(stage.states(), [CallState::Ringing, CallState::Talking]);
    let (written, hinted) =
        (end.figures.transcription.as_ref().expect("lines"), end.figures.hint.as_ref().expect("a hint"));
    println!("transcription {written:?}, hint {hinted:?}");
    assert_eq!((written.count, hinted.count, end.figures.hint_failures), (3, 1, 0));
    assert!(written.max_ms < 1200.0 && end.figures.dropped_ms == 0, "{:?}", end.figures);
    let kinds: Vec<_> = stage.told().iter().map(|event| event.what.clone()).collect();
    assert!(matches!(kinds[0], What::CallStart { .. }));
    let interim = What::Interim { speaker: Speaker::Caller, text: "caller".to_owned() };
    assert!(kinds.contains(&interim), "{kinds:#?}");
    assert_eq!(stage.sidecar.sessions(), 0);
}

#[test]
fn on_the_operators_channel_the_other_one_is_the_caller() {
    let stage = Stage::new("hint_stream = yes\n");
    stage.answers(vec![hint("Delivery").slowly(Duration::from_millis(5))]);
    let mut phones = stage.call("desk,o");
    phones.end.set_talking(true);
    phones.play(Silence, Tone, 500);
    let answers = phones.play(Tone, Silence, 500);
    phones.play(Silence, Silence, PAUSE_MS);
    let lines = stage.lines(2);
    assert_eq!([lines[0].0, lines[1].0], [Speaker::Caller, Speaker::Operator]);
    assert_line(&lines[1], Speaker::Operator, answers, answers + 500);
    assert_eq!(stage.hints(1)[0].0.title, "Delivery");
    assert!(stage.practice.chats()[0].asked().streams());
}

#[test]
fn the_other_transcriber_hears_the_same() {
    let stage = Stage::of("openai-transcription", "hint_url = no\n");
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    // It counts some silence before a line as one's own.
    phones.play(Silence, Silence, 500);
    let asks = phones.play(Tone, Silence, 700);
    phones.play(Silence, Silence, PAUSE_MS);
    let answers = phones.play(Silence, Tone, 500);
    phones.play(Silence, Silence, PAUSE_MS);
    let lines = stage.lines(2);
    assert_line(&lines[0], Speaker::Caller, asks, asks + 700);
    assert_line(&lines[1], Speaker::Operator, answers, answers + 500);
    assert_eq!((lines[0].1.as_str(), lines[1].1.as_str()), ("caller 1", "operator 1"));
}

#[test]
fn who_sends_nothing_is_silent_and_both_keep_to_the_calls_clock() {
    let stage = Stage::new("hint_url = no\n");
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    let asks = phones.play(Tone, Tone, 300);
    phones.play(Nothing, Nothing, 1500);
    let lines = stage.lines(2);
    assert!(lines.iter().all(|line| line.2.abs_diff(asks) <= OFF_MS), "{lines:?}");
    let again = phones.play(Tone, Nothing, 300);
    phones.play(Nothing, Silence, PAUSE_MS);
    assert_line(&stage.lines(3)[2], Speaker::Caller, again, again + 300);
}

#[test]
fn a_lost_stream_is_made_up_for_and_no_word_is_lost_with_it() {
    let stage = Stage::new("hint_url = no\n");
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    phones.play(Tone, Silence, 300);
    phones.play(Silence, Silence, PAUSE_MS);
    stage.lines(1);
    let answers = phones.play(Silence, Tone, 400);
    let guess = What::Interim { speaker: Speaker::Operator, text: "operator".to_owned() };
    stage.wait("a guess", |told| told.iter().any(|event| event.what == guess).then_some(()));
    for leg in ["caller", "operator"] {
        stage.stream(leg).perform(Script::from(Step::Reset));
    }
    let asks = phones.play(Tone, Tone, 800);
    phones.play(Silence, Silence, PAUSE_MS);
    let mut lines = stage.lines(3).split_off(1);
    lines.sort_by_key(|line| line.0 == Speaker::Operator);
    assert_line(&lines[0], Speaker::Caller, asks, asks + 800);
    assert_line(&lines[1], Speaker::Operator, answers, asks + 800);
    let nothing = What::Interim { speaker: Speaker::Operator, text: String::new() };
    assert!(stage.told().iter().any(|event| event.what == nothing), "what was guessed is taken back");
    phones.play(Silence, Silence, 200);
    assert_eq!(stage.lines(3).len(), 3, "the line before is not told again");
    drop(phones);
    assert_eq!(stage.end().figures.reconnects, 2);
    assert_eq!(stage.practice.sessions().len(), 4);
}

#[test]
fn a_newer_line_of_the_caller_closes_the_connection_of_an_outdated_request() {
    let stage = Stage::new("hint_interval_ms = 3000\n");
    stage.answers(vec![hint("Outdated").after(Duration::from_secs(20)), hint("Current")]);
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    for _ in 0..2 {
        phones.play(Tone, Silence, 300);
        phones.play(Silence, Silence, PAUSE_MS);
    }
    let outdated = &stage.practice.chats()[0];
    let cancelled = outdated.wait_cancelled(Duration::from_secs(1)).expect("the connection is closed");
    phones.play(Silence, Silence, 2500);
    assert_eq!(stage.hints(1)[0].0.title, "Current");
    let asked = [outdated.asked().at, stage.practice.chats()[1].asked().at];
    assert!(asked[1] - asked[0] >= Duration::from_millis(2990), "not sooner than every 3 s");
    assert!(cancelled + Duration::from_millis(500) < asked[1], "not for want of room");
    drop(phones);
    let end = stage.end();
    assert_eq!((stage.hints(1).len(), end.figures.hint_failures), (1, 0), "to be outdated is no failure");
}

#[test]
fn on_hold_the_music_is_not_written_down_and_what_was_begun_is_told() {
    let stage = Stage::new("hint_url = no\n");
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    let answers = phones.play(Silence, Tone, 500);
    phones.end.set_music(true);
    // The music, if it came through.
    phones.play(Silence, Tone, 800);
    assert_line(&stage.lines(1)[0], Speaker::Operator, answers, answers + 500);
    let finalized = ["caller", "operator"].map(|leg| stage.stream(leg).events_of("finalize").len());
    assert_eq!(finalized, [0, 1]);
    let grumbles = phones.play(Tone, Tone, 400);
    phones.play(Silence, Tone, 600);
    assert_line(&stage.lines(2)[1], Speaker::Caller, grumbles, grumbles + 400);
    phones.end.set_music(false);
    phones.play(Silence, Silence, 300);
    let answers = phones.play(Silence, Tone, 400);
    phones.play(Silence, Silence, PAUSE_MS);
    let lines = stage.lines(3);
    assert_line(&lines[2], Speaker::Operator, answers, answers + 400);
    assert_eq!(lines.len(), 3);
    assert_eq!(stage.states(), [CallState::Ringing, CallState::Talking, CallState::OnHold, CallState::Talking]);
}

#[test]
fn between_two_bridges_nobody_is_heard_and_the_connections_are_kept() {
    let stage = Stage::new("hint_url = no\n");
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    let asks = phones.play(Tone, Silence, 400);
    phones.end.set_talking(false);
    // A word cut off by the end of the bridge is told, and what is said to nobody is not.
    phones.play(Tone, Tone, 800);
    assert_line(&stage.lines(1)[0], Speaker::Caller, asks, asks + 400);
    let heard = stage.heard();
    phones.play(Tone, Tone, 400);
    assert_eq!(stage.heard(), heard);
    phones.end.set_talking(true);
    phones.play(Silence, Silence, 300);
    let asks = phones.play(Tone, Silence, 400);
    phones.play(Silence, Silence, PAUSE_MS);
    let lines = stage.lines(2);
    assert_line(&lines[1], Speaker::Caller, asks, asks + 400);
    assert_eq!((lines.len(), stage.practice.sessions().len()), (2, 2));
    assert_eq!(stage.states(), [CallState::Ringing, CallState::Talking, CallState::OnHold, CallState::Talking]);
    phones.end.complete();
    drop(phones);
    assert_eq!(stage.end().status, Status::Complete);
}

#[test]
fn whatever_the_chat_service_does_the_transcript_goes_on() {
    let stage = Stage::new("hint_timeout_ms = 500\n");
    stage.answers(vec![
        ChatAnswer::refuses(500),
        ChatAnswer::is("<html>"),
        ChatAnswer::hangs(),
        ChatAnswer::limits(2),
        hint("At last"),
        ChatAnswer::refuses(402),
        hint("Never"),
    ]);
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    let mut say = |count: usize| {
        phones.play(Tone, Silence, 200);
        phones.play(Silence, Silence, PAUSE_MS);
        stage.lines(count);
    };
    for count in 1..=4 {
        say(count);
    }
    assert_eq!(stage.practice.chats().len(), 4);
    say(5);
    assert_eq!(stage.practice.chats().len(), 4, "it has asked for patience");
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(stage.hints(1)[0].0.title, "At last");
    for count in 6..=8 {
        say(count);
    }
    assert_eq!(stage.practice.chats().len(), 6, "the account is empty: it is not asked again");
    drop(phones);
    let end = stage.end();
    assert_eq!((end.status, end.figures.hint_failures, stage.hints(1).len()), (Status::Hangup, 5, 1));
}

#[test]
fn one_leg_that_is_refused_leaves_the_other_and_the_call_alone() {
    let stage = Stage::new("hint_url = no\n");
    let mut phones = stage.call("desk");
    phones.end.set_talking(true);
    phones.play(Silence, Tone, 300);
    stage.stream("operator").perform(faults::soniox_error(401, "Incorrect API key provided."));
    let asks = phones.play(Tone, Tone, 400);
    phones.play(Silence, Tone, 2000);
    let lines = stage.lines(1);
    assert_line(&lines[0], Speaker::Caller, asks, asks + 400);
    assert_eq!(stage.practice.sessions().len(), 2, "it is not tried again");
    let interims: Vec<_> = stage.told().iter().map(|event| event.what.clone()).collect();
    let nothing = What::Interim { speaker: Speaker::Operator, text: String::new() };
    assert!(interims.contains(&nothing), "what was begun is taken back: {interims:#?}");
    drop(phones);
    assert_eq!(stage.end().status, Status::Hangup);
}

#[test]
fn it_is_listed_and_stopped_as_every_session_and_has_no_agent_to_tell() {
    let stage = Stage::new("hint_url = no\n");
    let phones = stage.call("desk");
    let id = phones.end.info().id.clone();
    let mut listed = Vec::new();
    stage.sidecar.for_each_session(|session| listed.push((session.id.clone(), session.condition.state())));
    assert_eq!(listed, [(id.clone(), CallState::Ringing)]);
    let sidecar = &stage.sidecar;
    assert_eq!(sidecar.say(&id, "Hello"), Err(ControlError::NoAgent));
    assert_eq!(sidecar.context(&id, "Hello", true), Err(ControlError::NoAgent));
    assert_eq!([sidecar.hold(&id), sidecar.resume(&id)], [Err(ControlError::NoAgent), Err(ControlError::NoAgent)]);
    assert_eq!(sidecar.transfer(&id, &stage.settings, "200", None), Err(ControlError::NoAgent));
    assert_eq!(sidecar.send_digits(&id, "1"), Err(ControlError::NoAgent));
    assert!(!phones.end.is_stopped());
    // By its channel's name, as others are.
    sidecar.stop("PJSIP/mango-00000001").expect("it is up");
    assert!(phones.end.is_stopped());
    assert_eq!(stage.end().status, Status::Stopped, "it ends although nobody lets go of the channel");
    assert_eq!(stage.sidecar.sessions(), 0);
    assert!(stage.practice.attempts().is_empty());
}

#[test]
fn to_hang_up_ends_the_call() {
    let stage = Stage::new("hint_url = no\n");
    let phones = stage.call("desk");
    let id = phones.end.info().id.clone();
    stage.sidecar.hang_up(&id).expect("it is up");
    assert_eq!(*stage.hangups.0.lock().expect("no panic"), [id]);
    let end = stage.end();
    assert_eq!((end.status, end.reason.as_str()), (Status::Stopped, "the call was hung up from outside"));
}
