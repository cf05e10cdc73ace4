//! Running calls are steered from outside, by command line and AMI, and what happens in them is told.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::signal::{SILENT_CODES, codes, is_sound, sounds};
use common::witness::undisturbed;
use common::{SOON, Stage, eventually, extension, profile};
use practice_agent::{Api, Builder, Door, Pace, Script, Server, Session, Speech, Step};
use rig::{Ami, Message, PhoneCall};

/// What the agent says may be on its way when it is held.
const ON_ITS_WAY: Duration = Duration::from_millis(60);
/// Who may do everything, see calls but not their words, see reports only, and do nothing.
const USERS: &[(&str, &str, &str)] =
    &[("boss", "call,reporting", "call"), ("watcher", "call", "reporting"), ("guest", "system", "system")];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn passive() -> Builder {
    Server::builder().script(Script::new())
}

/// An Asterisk with AMI; `keys` are lines of its profile, in the place of those of an OpenAI server if they name a dialect.
fn stage_with(agent: Builder, keys: &str, dialplan: &str) -> Stage {
    let config = |url: &str| match keys.contains("dialect") {
        true => format!("[general]\ndefault_profile = test\n\n[test]\ntype = agent\nurl = {url}\n{keys}\n"),
        false => profile(url, keys),
    };
    Stage::with(agent, |rig, url| rig.config("ai_bridge.conf", config(url)).ami(USERS), dialplan)
}

fn stage(keys: &str) -> Stage {
    stage_with(passive(), keys, &extension("_2XX", ""))
}

fn log_in(stage: &Stage, user: &str) -> Ami {
    Ami::log_in(&stage.rig, user).expect("AMI lets the user in")
}

/// The response to an action, as `Response: Message`.
fn ask(ami: &mut Ami, action: &str, headers: &[(&str, &str)]) -> String {
    let answer = ami.action(action, headers).expect("AMI answers");
    format!("{}: {}", answer.get("Response"), answer.get("Message"))
}

fn event(ami: &mut Ami, name: &str) -> Message {
    ami.event(name, SOON).expect("the event comes")
}

/// The one session that is up: what AMI lists of it.
fn the_session(ami: &mut Ami) -> Message {
    let list = ami.list("AISessions", "AISessionsComplete").expect("AMI lists the sessions");
    let [session, complete] = &list[..] else { panic!("one session: {list:?}") };
    assert_eq!((session.get("Event"), complete.get("ListItems")), ("AISession", "1"));
    session.clone()
}

/// What is not silence in `codes`.
fn spoken(codes: &[u8]) -> Vec<u8> {
    sounds(codes).iter().flat_map(|(_, sound)| *sound).copied().collect()
}

fn hear_agent(call: &PhoneCall) {
    eventually("the caller hears the agent", SOON, || call.heard().audio().any(is_sound));
}

#[test]
fn every_action_says_what_is_wrong_with_it() {
    let stage = stage("");
    let mut ami = log_in(&stage, "boss");
    for action in ["AIStop", "AISay", "AISend", "AIContext", "AIHold", "AIResume"] {
        let missing = "Error: Session: missing; give the id of a session or its channel's name";
        assert_eq!(ask(&mut ami, action, &[("Text", "hello")]), missing, "{action}");
        let unknown = "Error: Session: there is no such session; AISessions lists those there are";
        assert_eq!(ask(&mut ami, action, &[("Session", "nobody"), ("Text", "hello")]), unknown, "{action}");
    }
    let (_call, _session) = stage.talk("100");
    let id = the_session(&mut ami).get("Session").to_owned();
    for action in ["AISay", "AIContext"] {
        assert_eq!(ask(&mut ami, action, &[("Session", &id)]), "Error: Text: the text is empty", "{action}");
        assert_eq!(ask(&mut ami, action, &[("Session", &id), ("Text", " ")]), "Error: Text: the text is empty");
        let long = "x".repeat(5000);
        let answer = ask(&mut ami, action, &[("Session", &id), ("Text", &long)]);
        assert!(answer.starts_with("Error"), "{answer}");
    }
    let maybe = [("Session", &*id), ("Text", "hello"), ("Answer", "maybe")];
    assert_eq!(ask(&mut ami, "AIContext", &maybe), "Error: Answer: expected yes or no");
    assert_eq!(ask(&mut ami, "AIStop", &[("Session", "all")]), "Success: 1 sessions stopped");
    assert_eq!(stage.result("100").get("STATUS"), "STOPPED");
}

#[test]
fn a_session_is_listed_and_stopped_by_its_id_or_by_its_channel() {
    let stage = stage("");
    let mut ami = log_in(&stage, "boss");
    let none = ami.list("AISessions", "AISessionsComplete").expect("AMI lists the sessions");
    assert_eq!(none[0].get("ListItems"), "0");
    for (extension, named_by) in [("201", "Session"), ("202", "Channel")] {
        let (call, session) = stage.talk(extension);
        let listed = the_session(&mut ami);
        assert!(listed.get("Channel").starts_with("PJSIP/1001-"), "{listed}");
        assert_eq!((listed.get("Profile"), listed.get("State")), ("test", "talking"));
        assert_eq!(listed.get("CallerIDNum"), "1001");
        assert!(listed.number("ConnectMs") < 5000.0 && !listed.get("Uniqueid").is_empty(), "{listed}");
        let answer = ask(&mut ami, "AIStop", &[("Session", listed.get(named_by))]);
        assert_eq!(answer, "Success: Session stopped");
        let result = stage.result(extension);
        assert_eq!((result.get("STATUS"), result.get("SESSION")), ("STOPPED", listed.get("Session")));
        session.wait_closed(SOON).expect("the WebSocket closes");
        call.wait_ended(SOON).expect("the dialplan hangs up");
    }
    stage.assert_nothing_left();
}

/// Waits until the server has been sent something with `text` in it.
fn wait_told(session: &Session, text: &str) {
    eventually(text, SOON, || session.events().iter().any(|event| event.json.to_string().contains(text)));
}

#[test]
fn a_text_is_said_by_order_of_ami_and_of_the_command_line() {
    let stage = stage("");
    let mut ami = log_in(&stage, "boss");
    let (call, session) = stage.talk("100");
    let id = the_session(&mut ami).get("Session").to_owned();
    let answer = ask(&mut ami, "AISay", &[("Session", &id), ("Text", "One moment, Grüße")]);
    assert_eq!(answer, "Success: The agent is told to say it");
    wait_told(&session, "One moment, Grüße");
    session.wait_event("response.create", 0, SOON).expect("the agent is asked to speak");
    call.hang_up();
    stage.assert_nothing_left();

    let (_call, session) = stage.talk("100");
    let channel = the_session(&mut ami).get("Channel").to_owned();
    let answer = stage.cli(&format!("ai say {channel} \"and  another\" thing"));
    assert!(answer.contains(&format!("session {channel} is told to say it")), "{answer}");
    wait_told(&session, "and  another thing");
}

#[test]
fn an_agent_gets_to_know_a_text_and_speaks_about_it_only_if_that_is_wanted() {
    let stage = stage("");
    let mut ami = log_in(&stage, "boss");
    let (_call, session) = stage.talk("100");
    let id = the_session(&mut ami).get("Session").to_owned();
    let quiet = [("Session", &*id), ("Text", "the caller is a premium customer")];
    assert_eq!(ask(&mut ami, "AIContext", &quiet), "Success: The agent knows it");
    wait_told(&session, "a premium customer");
    let answer = stage.cli(&format!("ai context {id} knows Spanish"));
    assert!(answer.contains(&format!("session {id} knows it")), "{answer}");
    wait_told(&session, "knows Spanish");
    sleep(ms(200));
    assert!(session.events_of("response.create").is_empty(), "nobody asked it to speak");
    let aloud = [("Session", &*id), ("Text", "the price is 30 euros"), ("Answer", "yes")];
    assert_eq!(ask(&mut ami, "AIContext", &aloud), "Success: The agent knows it");
    session.wait_event("response.create", 0, SOON).expect("the agent is asked to speak");
}

#[test]
fn a_provider_that_cannot_be_told_is_an_error() {
    let stage = stage_with(Server::builder().api(Api::Twilio).script(Script::new()), "dialect = twilio", "");
    let mut ami = log_in(&stage, "boss");
    let (_call, _session) = stage.talk("100");
    let id = the_session(&mut ami).get("Session").to_owned();
    for action in ["AISay", "AIContext"] {
        let answer = ask(&mut ami, action, &[("Session", &id), ("Text", "hello")]);
        assert_eq!(answer, "Error: this provider cannot be told");
    }
    assert!(stage.cli(&format!("ai say {id} hello")).contains("this provider cannot be told"));
}

#[test]
fn an_ai_that_is_not_connected_yet_cannot_be_told_but_its_call_can_be_held_and_stopped() {
    let stage = stage_with(passive().door(Door::Silent), "connect_timeout_ms = 60000", "");
    let mut ami = log_in(&stage, "boss");
    let _call = stage.call("100");
    eventually("the AI is called", SOON, || !stage.agent.attempts().is_empty());
    let listed = the_session(&mut ami);
    let id = [("Session", listed.get("Session")), ("Text", "hello")];
    assert_eq!(listed.get("State"), "connecting");
    let asked = Instant::now();
    assert_eq!(ask(&mut ami, "AISay", &id), "Error: the AI is not connected at this moment");
    assert!(asked.elapsed() < ms(900), "after {:?}", asked.elapsed());
    assert_eq!(ask(&mut ami, "AIHold", &id), "Success: Session held");
    assert_eq!(ask(&mut ami, "AIStop", &id), "Success: Session stopped");
    let end = event(&mut ami, "AISessionEnd");
    assert_eq!((end.get("Status"), end.get("ConnectMs")), ("STOPPED", ""), "{end}");
    assert_eq!(stage.result("100").get("STATUS"), "STOPPED");
}

#[test]
fn commands_name_what_they_want() {
    let stage = stage("");
    for command in ["say", "context", "hold", "resume", "stop"] {
        assert!(stage.cli(&format!("ai {command}")).contains(&format!("Usage: ai {command} <session")), "{command}");
        let text = if ["say", "context"].contains(&command) { " hello" } else { "" };
        let answer = stage.cli(&format!("ai {command} nobody{text}"));
        assert!(answer.contains("there is no session nobody; 'ai show sessions' lists them"), "{command}: {answer}");
    }
    assert!(stage.cli("ai show stats").contains("Ended          -"));
}

#[test]
fn actions_and_events_have_their_help() {
    let stage = stage("");
    for action in ["AISessions", "AIStop", "AISay", "AISend", "AIContext", "AIHold", "AIResume"] {
        let help = stage.cli(&format!("manager show command {action}"));
        assert!(help.contains("[Synopsis]") && help.contains("ActionID"), "{help}");
    }
    for event in ["AISessionStart", "AISessionEnd", "AITranscript", "AISuggestion", "AIBargeIn", "AIToolCall"] {
        let help = stage.cli(&format!("manager show event {event}"));
        assert!(help.contains("EventTime"), "{help}");
    }
    let asked = stage.cli("core show help ai context");
    assert!(asked.contains("Usage: ai context <session|channel> <text>"), "{asked}");
}

#[test]
fn a_held_agent_neither_hears_nor_is_heard_and_goes_on_where_it_stopped() {
    undisturbed(|| {
        let stage = stage("idle_timeout_s = 2");
        let (call, session) = stage.talk("100");
        let mut ami = log_in(&stage, "boss");
        let listed = the_session(&mut ami);
        let said = codes(1, 24_000);
        session.perform(Script::new().start_saying(Speech::wire("a long story", said.clone())));
        hear_agent(&call);
        sleep(ms(700));

        assert_eq!(ask(&mut ami, "AIHold", &[("Session", listed.get("Channel"))]), "Success: Session held");
        sleep(ON_ITS_WAY);
        assert_eq!(the_session(&mut ami).get("State"), "held");
        let (before, packets) = (spoken(&call.heard().bytes()).len(), call.heard().audio().count());
        let (heard_before, held) = (session.caller_audio().len(), Instant::now());
        call.play_bytes(&codes(2, 8 * 2000));
        call.send_digit('5');
        // Longer than anybody may be idle.
        sleep(ms(3500));
        let packets = call.heard().audio().count() - packets;
        let expected = held.elapsed().as_millis() as usize / 20;
        assert!(packets.abs_diff(expected) <= 5, "{packets} packets of silence, not {expected}");
        assert_eq!(spoken(&call.heard().bytes()).len(), before, "nothing is heard of the agent");
        let audio = session.caller_audio().split_off(heard_before);
        assert!(audio.iter().all(|code| SILENT_CODES.contains(code)), "the agent hears silence");
        let all = held.elapsed().as_millis() as usize * 8;
        assert!(audio.len().abs_diff(all) < 8 * 150, "{} codes of silence, not {all}", audio.len());

        assert!(stage.cli(&format!("ai resume {}", listed.get("Session"))).contains("goes on"));
        sleep(ms(3000));
        let heard = spoken(&call.heard().bytes());
        let from_start = heard.iter().zip(&said).take_while(|(heard, said)| heard == said).count();
        let from_end = heard.iter().rev().zip(said.iter().rev()).take_while(|(heard, said)| heard == said).count();
        println!("{before} codes before; {from_start} from the start, {from_end} to the end of {}", said.len());
        assert!(before < said.len() - 8000, "held in the middle");
        assert!(from_start + from_end + 160 >= said.len(), "{from_start} and {from_end} of {}", said.len());
        assert!(
            session.events_of("conversation.item.create").is_empty(),
            "keys pressed meanwhile are not for the agent"
        );

        let words = codes(3, 8 * 500);
        call.play_bytes(&words);
        eventually("the agent hears the caller again", SOON, || spoken(&session.caller_audio()).ends_with(&words));
        call.hang_up();
        assert_eq!(stage.result("100").get("STATUS"), "HANGUP", "nobody was idle");
    });
}

#[test]
fn what_happens_in_a_call_is_told_in_its_order() {
    let stage = stage("");
    let mut ami = log_in(&stage, "boss");
    let (call, session) = stage.talk("100");
    let start = event(&mut ami, "AISessionStart");
    assert_eq!((start.get("CallerIDNum"), start.get("Profile"), start.get("Dialect")), ("1001", "test", "openai"));

    session.perform(Script::new().say(Speech::wire("Grüß Gott", codes(1, 8 * 300))));
    let transcript = event(&mut ami, "AITranscript");
    assert_eq!((transcript.get("Speaker"), transcript.get("Text")), ("agent", "Grüß Gott"));

    session.perform(Script::new().start_saying(Speech::wire("a long story", codes(2, 8 * 5000)).at(Pace::Burst)));
    eventually("the caller hears the story", SOON, || spoken(&call.heard().bytes()).len() > 8 * 600);
    session.perform(Script::new().then(Step::SpeechStarted));
    let barge_in = event(&mut ami, "AIBargeIn");
    assert_eq!(barge_in.get("NoticedBy"), "provider");
    let heard = spoken(&call.heard().bytes()).len() as f64 / 8.0 - 300.0;
    assert!((barge_in.number("HeardMs") - heard).abs() <= 40.0, "{barge_in}, {heard} ms on the phone");
    assert!(barge_in.number("ReceivedMs") > barge_in.number("HeardMs"), "{barge_in}");
    session.perform(Script::new().then(Step::SpeechStopped));

    for (tool, error) in [("launch", "there is no such tool"), ("hangup", "")] {
        session.perform(Script::new().call_tool(tool, r#"{"a":1}"#));
        let told = event(&mut ami, "AIToolCall");
        assert_eq!((told.get("Tool"), told.get("Arguments"), told.get("Error")), (tool, r#"{"a":1}"#, error));
    }
    let end = event(&mut ami, "AISessionEnd");
    let result = stage.result("100");
    assert_eq!((end.get("Status"), end.get("Reason")), ("COMPLETE", "the agent hung up"));
    assert_eq!((end.get("Turns"), end.get("BargeIns"), end.get("DroppedMs")), ("2", "1", "0"), "{end}");
    assert!((end.number("DurationMs") / 1000.0 - result.number("DURATION")).abs() <= 1.0, "{end} {result:?}");
    assert!(end.number("UplinkCount") > 20.0 && end.number("BargeInStopP50Ms") < 500.0, "{end}");

    let last = end.number("EventID");
    let told = [start, transcript, barge_in, end];
    assert!(told.iter().all(|event| event.get("Session") == result.get("SESSION")), "{told:?}");
    assert!(told.iter().all(|event| event.get("EventTime").ends_with('Z')), "{told:?}");
    assert!(told.is_sorted_by(|before, after| before.number("EventID") < after.number("EventID")), "{told:?}");
    sleep(ms(300));
    let is_later = |message: &Message| message.get("EventID").parse::<f64>().is_ok_and(|id| id > last);
    assert_eq!(ami.rest().into_iter().find(is_later), None, "nothing comes after the end");
}

#[test]
fn every_end_is_told_as_the_dialplan_learns_it() {
    let stage = stage_with(passive(), "", &[extension("201", ",d(#)"), extension("202", ",t(1)")].concat());
    let mut ami = log_in(&stage, "boss");
    for (extension, status) in [("100", "HANGUP"), ("201", "DTMF"), ("202", "TIMEOUT")] {
        let (call, _session) = stage.talk(extension);
        match status {
            "HANGUP" => call.hang_up(),
            "DTMF" => call.send_digit('#'),
            _ => {}
        }
        let end = event(&mut ami, "AISessionEnd");
        let result = stage.result(extension);
        assert_eq!((end.get("Status"), end.get("Reason")), (status, result.get("REASON")));
        assert_eq!((result.get("STATUS"), end.get("Digit")), (status, result.get("DIGIT")));
    }
    let stats = stage.cli("ai show stats");
    assert!(stats.contains("DTMF 1, HANGUP 1, TIMEOUT 1"), "{stats}");
}

#[test]
fn no_text_of_a_call_becomes_a_header_of_its_own() {
    let stage = stage("");
    let mut ami = log_in(&stage, "boss");
    let (call, session) = stage.talk("100");
    let evil = "so\r\nEvent: Fake\r\nSession: other\r\n\r\nEvent: Fake\n\nResponse: Success\u{85}\u{0}end";
    session.perform(Script::new().say(Speech::wire(evil, codes(1, 800))));
    let transcript = event(&mut ami, "AITranscript");
    assert_eq!(
        transcript.get("Text"),
        "so  Event: Fake  Session: other    Event: Fake  Response: Success  end",
        "{transcript}"
    );
    session.perform(Script::new().call_tool("a\r\nb", "\r\n\r\nEvent: Fake\r\n\r\n"));
    let tool = event(&mut ami, "AIToolCall");
    assert_eq!((tool.get("Tool"), tool.get("Arguments").trim()), ("a  b", "Event: Fake"));
    call.hang_up();
    event(&mut ami, "AISessionEnd");
    let fake = ami.rest().into_iter().find(|message| message.get("Event") == "Fake");
    assert_eq!(fake, None);
}

#[test]
fn who_lacks_the_class_neither_steers_nor_hears_the_words() {
    let stage = stage("");
    let (mut boss, mut watcher, mut guest) =
        (log_in(&stage, "boss"), log_in(&stage, "watcher"), log_in(&stage, "guest"));
    let (call, session) = stage.talk("100");
    let id = the_session(&mut watcher).get("Session").to_owned();
    for action in ["AIStop", "AISay", "AISend", "AIContext", "AIHold", "AIResume"] {
        let answer = ask(&mut watcher, action, &[("Session", &id), ("Text", "hello")]);
        assert_eq!(answer, "Error: Permission denied", "{action}");
    }
    assert_eq!(ask(&mut guest, "AISessions", &[]), "Error: Permission denied");
    session.perform(Script::new().say(Speech::wire("a secret", codes(1, 800))));
    event(&mut boss, "AITranscript");
    call.hang_up();
    event(&mut watcher, "AISessionStart");
    event(&mut watcher, "AISessionEnd");
    let words = watcher.rest().into_iter().find(|message| message.to_string().contains("secret"));
    assert_eq!(words, None, "what was said takes one class more");
    let seen = guest.rest().into_iter().find(|message| message.get("Event").starts_with("AI"));
    assert_eq!(seen, None);
}

#[test]
fn twenty_calls_do_not_wait_for_a_client_that_never_reads() {
    const CALLS: usize = 20;
    undisturbed(|| {
        // Each call tells more than sockets hold: Asterisk cannot write to the client any more.
        let agent = Server::builder().scripts(|_| {
            let story = "x".repeat(7000);
            (0..10).fold(Script::new(), |script, _| script.say(Speech::wire(&story, codes(1, 8 * 300)).at(Pace::Burst)))
        });
        let stage = stage_with(agent, "", &extension("_2XX", ""));
        let _deaf: Vec<_> = (0..3).map(|_| Ami::deaf(&stage.rig, "boss").expect("AMI listens")).collect();
        let mut ami = log_in(&stage, "watcher");
        let calls: Vec<_> = (200..200 + CALLS).map(|extension| stage.dial(&extension.to_string())).collect();
        for call in &calls {
            call.wait_answered(2 * SOON).expect("it is answered");
        }
        let sessions: Vec<_> = calls.iter().map(|_| stage.session()).collect();
        for session in &sessions {
            session.wait_performed(3 * SOON).expect("the agent tells its stories");
        }
        sleep(ms(4000));
        let told = calls.iter().map(|call| spoken(&call.heard().bytes()).len());
        assert_eq!(told.collect::<Vec<_>>(), [10 * 8 * 300; CALLS], "every caller hears every story");
        assert!(stage.cli("ai show sessions").contains("20 AI sessions"));
        calls.iter().for_each(PhoneCall::hang_up);
        let ends: Vec<_> = calls.iter().map(|_| event(&mut ami, "AISessionEnd")).collect();
        let dropped: f64 = ends.iter().map(|end| end.number("DroppedMs") + end.number("Underruns")).sum();
        assert!(dropped == 0.0, "{ends:?}");
        stage.assert_nothing_left();
        let stats = stage.cli("ai show stats");
        println!("{stats}");
        assert!(stats.contains("Most at a time 20\n") && stats.contains("HANGUP 20\n"), "{stats}");
    });
}

#[test]
fn keys_are_pressed_for_the_phone_by_order_of_ami_and_of_the_command_line() {
    let stage = stage("");
    let mut ami = log_in(&stage, "boss");
    let (call, _session) = stage.talk("100");
    let id = the_session(&mut ami).get("Session").to_owned();
    let wrong = "Error: Keys: expected 1 to 32 of 0-9, *, #, A-D, and w for a pause";
    for keys in ["", "12x", "1 2"] {
        assert_eq!(ask(&mut ami, "AISend", &[("Session", &id), ("Keys", keys)]), wrong, "{keys:?}");
    }
    assert_eq!(ask(&mut ami, "AISend", &[("Session", &id), ("Keys", "1w*")]), "Success: The keys are pressed");
    eventually("they reach the phone", SOON, || call.heard().digits() == "1*");
    assert!(stage.cli(&format!("ai send {id} 7#")).contains("presses them"));
    eventually("they reach the phone", SOON, || call.heard().digits() == "1*7#");
    assert!(stage.cli(&format!("ai send {id} no")).contains("expected 1 to 32 of 0-9"));
}
