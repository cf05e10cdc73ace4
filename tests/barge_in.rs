//! The caller speaks while the agent does: the line falls silent, and the agent learns what was heard.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{Chord, codes, is_sound, percentile, position, sounds};
use common::wire::delta;
use common::{SOON, Stage};
use practice_agent::{Pace, Script, Sent, Server, Session, Speech, Step};
use rig::PhoneCall;

/// After the server has said that the caller speaks, no packet with the agent's voice may come later than this.
const STOP: Duration = Duration::from_millis(40);
/// How long a packet is heard.
const PTIME: Duration = Duration::from_millis(20);
/// What the agent is told may differ by this from what was heard. [ms]
const TRUNCATE_ERROR_MS: u64 = 20;
/// A-law codes in a millisecond.
const CODES_IN_MS: usize = 8;
/// A-law codes in a packet.
const PTIME_CODES: usize = 20 * CODES_IN_MS;
/// A cut may have a soft edge of this many codes: a step in the waveform would be heard as a click.
const FADE_CODES: usize = 5 * CODES_IN_MS;

/// One call from an A-law phone to an agent that does what it is told.
struct Talk {
    stage: Stage,
    call: PhoneCall,
    session: Session,
}

impl Talk {
    /// A connected call; `keys` are lines of the profile.
    fn begin(keys: &str) -> Self {
        let stage = Stage::new(Server::builder().script(Script::new()), keys, "");
        let call = stage.call("100");
        let session = stage.session();
        session.wait_caller_audio(Duration::from_millis(100), SOON).expect("caller audio flows");
        Self { stage, call, session }
    }

    /// Has the agent do this, and waits until the line has had time to follow.
    fn perform(&self, script: Script) {
        self.session.perform(script.sleep(Duration::from_millis(250)));
        self.session.wait_performed(SOON * 4).expect("the script is performed");
    }

    /// All that was heard of the agent: the n-th stretch of audio belongs to the answer with the n-th of `seeds`, and
    /// begins where that begins. Gives how much of each was heard. [ms]
    fn heard_of(&self, seeds: &[u64]) -> Vec<u64> {
        let recording = self.call.heard().bytes();
        let heard = sounds(&recording);
        assert_eq!(heard.len(), seeds.len(), "stretches of agent audio");
        let check = |(seed, (_, sound)): (&u64, &(usize, &[u8]))| {
            let (ms, rest) = matching(sound, *seed);
            assert!(rest.len() <= FADE_CODES, "answer {seed} is heard from its beginning, and nothing else");
            ms
        };
        seeds.iter().zip(&heard).map(check).collect()
    }

    /// From each `speech_started` until the agent's voice has gone from the line: the last packet with it, and the time
    /// that one lasts.
    fn stop_times(&self) -> Vec<Duration> {
        let recording = self.call.heard();
        let packets: Vec<_> = recording.audio().map(|packet| (packet.at, is_sound(packet))).collect();
        let stop = |started: &Sent| {
            let silent =
                packets.iter().position(|(at, sound)| *at >= started.at && !sound).expect("the line falls silent");
            let last = packets[..silent].last().filter(|(_, sound)| *sound);
            last.map_or(Duration::ZERO, |(at, _)| (*at + PTIME).saturating_duration_since(started.at))
        };
        sent(&self.session, "input_audio_buffer.speech_started").iter().map(stop).collect()
    }

    /// That the line was silent in time after every `speech_started`. Gives the times, the shortest first.
    fn assert_stopped(&self) -> Vec<Duration> {
        let mut stops = self.stop_times();
        stops.sort();
        assert!(stops.iter().all(|&stop| stop <= STOP + PTIME), "{stops:?}");
        stops
    }

    /// The client's corrections: item and milliseconds, in order.
    fn truncated(&self) -> Vec<(String, u64)> {
        let truncates = self.session.events_of("conversation.item.truncate");
        let read = |json: &serde_json::Value| {
            (json["item_id"].as_str().unwrap_or_default().to_owned(), json["audio_end_ms"].as_u64().unwrap_or_default())
        };
        truncates.iter().map(|event| read(&event.json)).collect()
    }

    /// Hangs up, and gives what the dialplan counted.
    fn barge_ins(self) -> f64 {
        assert_eq!(sent(&self.session, "error").len(), 0, "the server has refused nothing");
        self.call.hang_up();
        self.call.wait_ended(SOON).expect("the call ends");
        self.stage.result("100").number("BARGEINS")
    }
}

/// Events of one type that the server sent.
fn sent(session: &Session, kind: &str) -> Vec<Sent> {
    session.sent().into_iter().filter(|sent| sent.kind == kind).collect()
}

/// The spoken items of the agent, in order.
fn items(session: &Session) -> Vec<String> {
    let added = sent(session, "response.output_item.added");
    added.iter().map(|sent| sent.json["item"]["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// 20 s of A-law, every place in it like no other.
fn long_answer(seed: u64) -> Vec<u8> {
    codes(seed, 20_000 * CODES_IN_MS)
}

/// The beginning of [`long_answer`].
fn short_answer(seed: u64, ms: usize) -> Speech {
    Speech::wire("a short answer", &long_answer(seed)[..ms * CODES_IN_MS])
}

/// The agent begins a long answer, and is interrupted after `ms`.
fn interrupted_after(seed: u64, ms: u64) -> Script {
    let speech = Speech::wire("a long answer", long_answer(seed)).at(Pace::Times(10.0)).in_chunks_of(60);
    Script::new()
        .start_saying(speech)
        .sleep(Duration::from_millis(ms))
        .then(Step::SpeechStarted)
        .then(Step::SpeechStopped)
}

/// How much of the answer with this `seed` is at the beginning of `heard` [ms], and what comes after it. Before it may be
/// the edge of another answer that was cut off.
fn matching(heard: &[u8], seed: u64) -> (u64, &[u8]) {
    let answer = long_answer(seed);
    let start = position(heard, &answer[..PTIME_CODES]).filter(|&start| start <= FADE_CODES);
    let heard = &heard[start.unwrap_or_else(|| panic!("answer {seed} is heard from its beginning"))..];
    let same = heard.iter().zip(&answer).take_while(|(heard, said)| heard == said).count();
    ((same / CODES_IN_MS) as u64, &heard[same..])
}

fn assert_close(told_ms: u64, heard_ms: u64, what: &str) {
    println!("{what}: heard {heard_ms} ms, told {told_ms} ms");
    assert!(told_ms.abs_diff(heard_ms) <= TRUNCATE_ERROR_MS, "{what}: heard {heard_ms} ms, told {told_ms} ms");
}

#[test]
fn the_line_is_silent_within_40_ms_and_the_agent_learns_what_was_heard() {
    let talk = Talk::begin("");
    let seeds: Vec<u64> = (1..=8).collect();
    // 23 is prime to 20: every interruption meets another moment between two frames.
    let script = seeds.iter().fold(Script::new(), |script, &seed| {
        script.then_all(interrupted_after(seed, 400 + 23 * seed)).sleep(Duration::from_millis(150))
    });
    talk.perform(script);

    let stops = talk.assert_stopped();
    assert_eq!(stops.len(), seeds.len());
    let (p50, longest) = (percentile(&stops, 0.5), percentile(&stops, 1.0));
    println!("the voice has gone after {p50:?} (p50), {longest:?} (longest)");

    let (heard, told) = (talk.heard_of(&seeds), talk.truncated());
    let wanted = items(&talk.session);
    assert_eq!(told.iter().map(|(item, _)| item.clone()).collect::<Vec<_>>(), wanted);
    for (seed, (heard_ms, (_, told_ms))) in seeds.iter().zip(heard.iter().zip(&told)) {
        assert_close(*told_ms, *heard_ms, &format!("answer {seed}"));
    }
    assert_eq!(talk.session.events_of("response.cancel").len(), 0, "the server has cancelled by itself");
    assert_eq!(talk.barge_ins(), 8.0);
}

#[test]
fn what_comes_late_of_an_interrupted_answer_is_not_heard() {
    let talk = Talk::begin("");
    talk.perform(interrupted_after(1, 300));
    let created = &sent(&talk.session, "response.created")[0].json;
    let response = created["response"]["id"].as_str().expect("an id").to_owned();
    let item = items(&talk.session)[0].clone();
    // Of the item that was cut, and of one more that nobody has heard of yet.
    let late = Script::new()
        .repeat(5, delta(&response, &item, &codes(99, 800)))
        .repeat(5, delta(&response, "item_next", &codes(98, 800)));
    talk.perform(late.sleep(Duration::from_millis(300)));
    talk.perform(Script::new().say(short_answer(2, 400)).sleep(Duration::from_millis(500)));
    assert_eq!(talk.heard_of(&[1, 2])[1], 400, "the next answer is heard, and whole");
    assert_eq!(talk.truncated().len(), 1);
    assert_eq!(talk.barge_ins(), 1.0);
}

#[test]
fn a_server_that_does_not_interrupt_by_itself_is_told_to() {
    let talk = Talk::begin("interrupt_response = no");
    talk.perform(interrupted_after(1, 500));
    let cancels = talk.session.events_of("response.cancel");
    assert_eq!(cancels.len(), 1, "one cancel");
    let cancelled = sent(&talk.session, "response.done");
    assert_eq!(cancelled[0].json["response"]["status"], "cancelled", "the answer is not made any further");
    assert_eq!(cancels[0].json["response_id"], cancelled[0].json["response"]["id"]);
    talk.assert_stopped();
    let told = talk.truncated();
    assert_eq!(told.len(), 1);
    assert_close(told[0].1, talk.heard_of(&[1])[0], "answer");
    assert_eq!(talk.barge_ins(), 1.0);
}

#[test]
fn an_answer_of_which_nothing_was_heard_is_forgotten() {
    let talk = Talk::begin("");
    // One frame, and then nothing for a long time: playout still waits for more when the caller speaks.
    let hesitant = Speech::wire("hm", long_answer(1)).at(Pace::Times(0.1)).in_chunks_of(20);
    talk.perform(
        Script::new()
            .start_saying(hesitant)
            .sleep(Duration::from_millis(10))
            .then(Step::SpeechStarted)
            .then(Step::SpeechStopped),
    );
    talk.heard_of(&[]);
    let deleted = talk.session.events_of("conversation.item.delete");
    assert_eq!(deleted.len(), 1, "the item is deleted");
    assert_eq!(deleted[0].json["item_id"], items(&talk.session)[0]);
    assert_eq!(talk.truncated(), []);
    assert_eq!(talk.barge_ins(), 1.0);
}

#[test]
fn an_answer_that_is_made_but_not_yet_heard_is_cut_too() {
    let talk = Talk::begin("");
    let at_once = short_answer(1, 5000).at(Pace::Burst);
    let interrupted = Script::new().say(at_once).sleep(Duration::from_millis(600));
    talk.perform(interrupted.then(Step::SpeechStarted).then(Step::SpeechStopped));
    let done = sent(&talk.session, "response.done");
    assert_eq!(done[0].json["response"]["status"], "completed");
    talk.assert_stopped();
    let told = talk.truncated();
    assert_eq!(told.len(), 1, "the agent learns of it");
    assert_close(told[0].1, talk.heard_of(&[1])[0], "answer");
    assert_eq!(talk.session.events_of("response.cancel").len(), 0, "there is nothing to cancel");
    assert_eq!(talk.barge_ins(), 1.0);
}

#[test]
fn what_was_heard_of_resampled_audio_is_told_in_its_own_time() {
    let talk = Talk::begin("audio = pcm24");
    let speech = Chord::narrow(1, Duration::from_secs(5)).slin(24000);
    let speech = Speech::wire("a long answer", speech).at(Pace::Times(10.0));
    let script = Script::new().start_saying(speech).sleep(Duration::from_millis(730));
    talk.perform(script.then(Step::SpeechStarted).then(Step::SpeechStopped));
    talk.assert_stopped();
    let recording = talk.call.heard().bytes();
    let heard = sounds(&recording);
    let ((start, _), (last, sound)) = (heard[0], heard[heard.len() - 1]);
    let heard_ms = (last + sound.len() - start) / CODES_IN_MS;
    let told = talk.truncated();
    assert_eq!(told.len(), 1);
    assert_close(told[0].1, heard_ms as u64, "answer");
    assert_eq!(talk.barge_ins(), 1.0);
}

#[test]
fn two_interruptions_in_a_row_leave_the_next_answer_whole() {
    let talk = Talk::begin("");
    let script = interrupted_after(1, 400).then_all(interrupted_after(2, 300)).say(short_answer(3, 400));
    talk.perform(script.sleep(Duration::from_millis(500)));
    let recording = talk.call.heard().bytes();
    // The answers may follow each other without a moment of silence: cut where one ends and the next begins.
    let all: Vec<u8> = sounds(&recording).iter().flat_map(|(_, sound)| *sound).copied().collect();
    let (first, rest) = matching(&all, 1);
    let (second, rest) = matching(rest, 2);
    let (third, rest) = matching(rest, 3);
    assert_eq!((third, rest.len()), (400, 0), "the last answer is whole, and nothing else is heard");
    let told: Vec<u64> = talk.truncated().iter().map(|(_, told_ms)| *told_ms).collect();
    assert_eq!(told.len(), 2);
    assert_close(told[0], first, "first");
    assert_close(told[1], second, "second");
    assert_eq!(talk.barge_ins(), 2.0);
}

#[test]
fn a_caller_who_speaks_while_the_agent_is_silent_interrupts_nothing() {
    let talk = Talk::begin("");
    let speech = Script::new().then(Step::SpeechStarted).sleep(Duration::from_millis(100)).then(Step::SpeechStopped);
    talk.perform(speech.clone());
    talk.perform(Script::new().say(short_answer(1, 300)).sleep(Duration::from_millis(400)));
    talk.perform(speech);
    assert_eq!(talk.heard_of(&[1]), [300]);
    for kind in ["conversation.item.truncate", "conversation.item.delete", "response.cancel"] {
        assert_eq!(talk.session.events_of(kind).len(), 0, "{kind}");
    }
    assert_eq!(talk.barge_ins(), 0.0);
}

#[test]
fn a_caller_who_really_speaks_interrupts_a_real_conversation() {
    let stage = Stage::new(Server::builder(), "greeting = Please say something.", "");
    let call = stage.call("100");
    let session = stage.session();
    let first_delta = session.wait_sent("response.output_audio.delta", 0, SOON).expect("the agent greets").at;
    let words = rig::speech("Wait, please, I have a question", 8000).expect("espeak-ng speaks");
    sleep((first_delta + Duration::from_millis(500)).saturating_duration_since(Instant::now()));
    call.play(&words);
    let started = session.wait_sent("input_audio_buffer.speech_started", 0, SOON).expect("the agent hears it").at;
    let told = session.wait_event("conversation.item.truncate", 0, SOON).expect("the agent is corrected");
    let next = session.wait_sent("response.created", 1, 2 * SOON).expect("the agent answers").at;
    let recording = call.heard();

    let last = recording.last_sound(next, 0.003).expect("the greeting is heard");
    let first = recording.first_sound(first_delta, 0.003).expect("the greeting is heard");
    let stop = last.saturating_duration_since(started);
    println!("greeting stops {stop:?} after the server heard the caller");
    assert!(stop <= STOP, "{stop:?}");
    let heard_ms = (last - first).as_millis() as u64 + 20;
    let told_ms = told.json["audio_end_ms"].as_u64().expect("a number");
    println!("greeting heard for about {heard_ms} ms, told {told_ms} ms");
    // A voice begins and ends softly, so this is no exact measure.
    assert!(told_ms.abs_diff(heard_ms) <= 150, "heard {heard_ms} ms, told {told_ms} ms");
    call.hang_up();
    assert_eq!(stage.result("100").number("BARGEINS"), 1.0);
}
