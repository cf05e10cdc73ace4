//! Calls as they go on: they come, something is said, they go.

use practice_agent::{Script, Step};
use rig::{Phone, Screen};
use serde_json::json;

use super::{Desk, SOON, agent_says, caller_said, lines, ms, texts, wait_text};

fn owned(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(who, what)| ((*who).to_owned(), (*what).to_owned())).collect()
}

#[test]
fn a_call_appears_with_what_is_said_in_it_and_goes() {
    let desk = Desk::new();
    let page = desk.open("a", Screen::default());
    assert_eq!(texts(&page, "#calls .row"), [""; 0]);
    let (call, session) = desk.stage.talk("100");
    wait_text(&page, "#calls .row", "In conversation");
    wait_text(&page, "#call-title", "1001");
    session.perform(caller_said("Good morning, is anybody there?"));
    wait_text(&page, "#lines .caller", "Good morning");
    session.perform(agent_says("Yes, I am here."));
    wait_text(&page, "#lines .agent", "Yes, I am here.");
    session.perform(caller_said("When are you open?"));
    wait_text(&page, "#lines .caller", "When are you");
    let said =
        [("caller", "Good morning, is anybody there?"), ("agent", "Yes, I am here."), ("caller", "When are you open?")];
    assert_eq!(lines(&page), owned(&said));
    // The caller's are on the left, the others on the right.
    let sides = "(() => { const box = document.getElementById('lines').getBoundingClientRect(); \
        return [...document.querySelectorAll('#lines .said')].map((line) => { const at = line.getBoundingClientRect(); \
        return at.left - box.left < box.right - at.right ? 'left' : 'right'; }); })()";
    assert_eq!(page.evaluate(sides).expect("places"), json!(["left", "right", "left"]));
    assert_eq!(texts(&page, "#interim .said"), [""; 0], "what was being said is replaced by what was");

    let before: Vec<_> = texts(&page, "#call-time");
    page.wait(&format!("document.getElementById('call-time').textContent !== {}", json!(before[0])), SOON)
        .expect("the time goes on");
    call.hang_up();
    page.wait("document.querySelectorAll('#calls .row').length === 0", SOON).expect("it leaves the list");
    wait_text(&page, "#call-state", "Hung up");
    assert_eq!(lines(&page).len(), 3, "it can be read still");
    assert_eq!(page.evaluate("document.getElementById('hang-up').hidden").expect("it is there"), true);
    // The next call takes its place.
    let (_call, _session) = desk.stage.talk("200");
    page.wait("document.querySelectorAll('#lines .said').length === 0", SOON).expect("it opens by itself");
    let wrong: Vec<_> = page.wrong().expect("it is there").into_iter().filter(|line| !line.contains("401")).collect();
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn what_is_being_said_is_grey_until_it_was_said() {
    let desk = Desk::new();
    let page = desk.open("a", Screen::default());
    let (_call, session) = desk.stage.talk("100");
    page.wait("document.querySelectorAll('#calls .row').length === 1", SOON).expect("the call is there");
    let watched = "window.grey = new Set(); new MutationObserver(() => { \
        for (const node of document.querySelectorAll('#interim .text')) grey.add(node.textContent); \
        }).observe(document.getElementById('interim'), {subtree: true, childList: true, characterData: true})";
    page.evaluate(&format!("{{ {watched} }}")).expect("it watches");
    let long =
        "This is a longer answer, so that it comes in several pieces and can be seen to grow while it is spoken.";
    session.perform(agent_says(long));
    wait_text(&page, "#lines .agent", long);
    let grey = page.evaluate("[...grey].filter((text) => text)").expect("a list");
    let grey: Vec<String> = serde_json::from_value(grey).expect("texts");
    println!("{} stages of it were seen", grey.len());
    assert!(!grey.is_empty() && grey.iter().all(|text| long.starts_with(text.trim_end())), "{grey:?}");
    // A screen reader is told what was said, and not each word twice.
    let live = "[document.querySelector('#interim').closest('[aria-live]'), \
        document.querySelector('#lines').getAttribute('aria-live')]";
    page.wait(&format!("JSON.stringify({live}) === '[null,\"polite\"]'"), SOON).expect("only lines are announced");
}

#[test]
fn an_interruption_and_a_tool_stand_where_they_happened() {
    let desk = Desk::new();
    let page = desk.open("a", Screen::default());
    let (_call, session) = desk.stage.talk("100");
    let long =
        practice_agent::Speech::spoken("I am going to tell you a very long story about everything there is to tell.");
    session
        .perform(Script::new().start_saying(long).sleep(ms(1200)).then(Step::SpeechStarted).then(Step::SpeechStopped));
    wait_text(&page, "#lines .barge", "The caller interrupted");
    session.perform(Script::new().call_tool("order_status", r#"{"order": 4712}"#));
    wait_text(&page, "#lines .tool", "order_status");
    wait_text(&page, "#lines .tool", "4712");
    page.click("#figures summary").expect("there are figures");
    wait_text(&page, "#figures", "Interruptions");
    wait_text(&page, "#figures", "Caller's audio on its way");
}

#[test]
fn two_browsers_see_the_same_and_one_that_comes_late_too() {
    let desk = Desk::new();
    let (one, two) =
        (desk.open("a", Screen::default()), desk.open("b", Screen { language: "ru-RU", ..Screen::default() }));
    let (_call, session) = desk.stage.talk("100");
    for text in ["One", "Two, a bit longer", "And three, which is the longest"] {
        session.perform(caller_said(text));
    }
    wait_text(&one, "#lines .caller", "And three");
    wait_text(&two, "#lines .caller", "And three");
    assert_eq!(lines(&one), lines(&two));
    assert_eq!(
        (texts(&one, "#call-state"), texts(&two, "#call-state")),
        (vec!["In conversation".into()], vec!["Разговор".into()])
    );
    let late = desk.open("c", Screen::default());
    wait_text(&late, "#lines .caller", "And three");
    assert_eq!(lines(&late), lines(&one));
    session.perform(caller_said("Now for all of you, and this is even longer"));
    for page in [&one, &two, &late] {
        wait_text(page, "#lines .caller", "all of you");
        assert_eq!(lines(page).len(), 4);
    }
}

#[test]
fn a_call_is_dialled_and_hung_up_from_the_page() {
    let trunk = "\n[line]\ntype = trunk\ndial = PJSIP/1001/sip:{{number}}@127.0.0.1:9\n";
    let desk = Desk::with(super::KEPT, trunk, "");
    let (call, _session) = desk.stage.talk("100");
    let page = desk.open("a", Screen::default());
    page.press("d").expect("a key");
    page.wait(
        "document.getElementById('dial').open && document.querySelectorAll('#profile option').length === 1",
        SOON,
    )
    .expect("the dialog opens");
    page.fill("#number", "+7 (912) 345-67-89").expect("there is a field");
    page.click("#dial button.main").expect("there is a button");
    // Nobody is behind that line: the call is known all the same.
    let dialled = || desk.api.get("/api/calls?direction=outbound").json()["calls"][0]["callee"].clone();
    crate::eventually("it is dialled", SOON, || {
        dialled().as_str().is_some_and(|number| number.ends_with("79123456789"))
    });

    page.click("#calls .row[aria-label*='Inbound']").expect("the first call is there still");
    page.press("h").expect("a key");
    page.wait("document.getElementById('confirm').open", SOON).expect("it asks first");
    page.click("#confirm button[value=no]").expect("one can think again");
    assert!(call.wait_ended(ms(500)).is_err(), "the call goes on");
    page.click("#hang-up").expect("there is a button");
    page.click("#confirm button[value=yes]").expect("it asks first");
    call.wait_ended(SOON).expect("the phone is told");
}

#[test]
fn the_keyboard_is_enough() {
    let desk = Desk::new();
    let calls = ["100", "200", "201"].map(|number| desk.stage.talk(number));
    let page = desk.open("a", Screen::default());
    page.wait("document.querySelectorAll('#calls .row').length === 3", SOON).expect("they are there");
    let current = || texts(&page, "#calls .row[aria-current] .number").len();
    let place =
        "[...document.querySelectorAll('#calls .row')].indexOf(document.querySelector('#calls .row[aria-current]'))";
    page.press("k").expect("a key");
    page.press("k").expect("a key");
    page.wait(&format!("{place} === 0"), SOON).expect("the first is chosen");
    page.press("j").expect("a key");
    page.wait(&format!("{place} === 1"), SOON).expect("the next is chosen");
    assert_eq!(current(), 1);
    // One tab stop for the list, arrows in it.
    assert_eq!(page.evaluate("document.querySelectorAll('#calls .row[tabindex=\"0\"]').length").expect("a number"), 1);
    page.evaluate("document.querySelector('#calls .row[tabindex=\"0\"]').focus()").expect("it is there");
    page.press("ArrowDown").expect("a key");
    page.press("Enter").expect("a key");
    page.wait(&format!("{place} === 2"), SOON).expect("it is chosen");
    page.press("?").expect("a key");
    page.wait("document.getElementById('help').open", SOON).expect("the keys are listed");
    page.click("#keys-on").expect("they can be switched off");
    page.press("Escape").expect("a key");
    page.press("d").expect("a key");
    assert_eq!(page.evaluate("document.getElementById('dial').open").expect("it is there"), false);
    drop(calls);
}

/// Lines that come at once. Who is more than 1024 events behind is let go, and that is another matter.
const MANY: usize = 600;

/// Reading along goes on until one scrolls up.
#[test]
fn a_long_conversation_is_followed_unless_one_reads_back() {
    let desk = Desk::new();
    let page = desk.open("a", Screen::default());
    let (_call, session) = desk.stage.talk("100");
    let script = (0..MANY).fold(Script::new(), |script, number| {
        script.then_all(caller_said(&format!("{number}: {}", "word ".repeat(8 + number % 13))))
    });
    session.perform(script);
    let are_there = format!("document.querySelectorAll('#lines .said').length === {MANY}");
    page.wait(&are_there, SOON * 3).expect("all are there");
    let first_numbers =
        "[...document.querySelectorAll('#lines .text')].every((node, at) => node.textContent.startsWith(`${at}:`))";
    assert_eq!(page.evaluate(first_numbers).expect("they are there"), true, "in their order");
    let box_at_end = "(() => { const box = document.getElementById('conversation'); \
        return box.scrollHeight - box.scrollTop - box.clientHeight < 4; })()";
    page.wait(box_at_end, SOON).expect("the end is seen");
    page.evaluate("document.getElementById('conversation').scrollTop = 5000").expect("it scrolls");
    page.wait("document.getElementById('conversation').scrollTop === 5000", SOON).expect("it has scrolled");
    session.perform(caller_said("and one more, which is not to move what is read at the moment, whatever comes"));
    wait_text(&page, "#newest", "1 new line");
    assert_eq!(page.evaluate("document.getElementById('conversation').scrollTop").expect("a number"), 5000);
    page.click("#newest").expect("it can be gone to");
    page.wait(box_at_end, SOON).expect("the end is seen");
}

#[test]
fn a_caller_without_a_number_has_a_name_all_the_same() {
    let desk =
        Desk::with(super::KEPT, "", "exten => 300,1,Set(CALLERID(num)=)\n same => n,AI()\n same => n,Hangup()\n");
    let page = desk.open("a", Screen { language: "ru", ..Screen::default() });
    let _call = Phone::new(&desk.stage.rig).dial("300").expect("the phone dials");
    wait_text(&page, "#call-title", "Номер скрыт");
}
