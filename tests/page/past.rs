//! Calls that are over: found by number and by what was said in them.

use rig::Screen;
use serde_json::json;

use super::{Desk, SOON, caller_said, lines, texts, wait_text};

impl Desk {
    /// A call of `extension` in which the caller says `text`.
    fn past_call(&self, extension: &str, text: &str) {
        let (call, session) = self.stage.talk(extension);
        session.perform(caller_said(text));
        let id = self.api.get("/api/calls?ended=false").json()["calls"][0]["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/calls/{id}/transcript");
        super::eventually("it is written down", SOON, || self.api.get(&path).body.contains("\"speaker\":\"caller\""));
        call.hang_up();
        self.stage.assert_nothing_left();
    }
}

#[test]
fn a_call_is_found_by_its_words_in_any_case_and_by_its_number() {
    let dialplan = "exten => 300,1,Set(CALLERID(num)=79161234567)\n same => n,AI()\n same => n,Hangup()\n";
    let desk = Desk::with(super::KEPT, "", dialplan);
    desk.past_call("100", "Где моя ДОСТАВКА? Ёлки-палки!");
    desk.past_call("200", "I want to return the 50% discounted kettle");
    desk.past_call("300", "Good bye");
    let page = desk.open("a", Screen::default());
    page.press("/").expect("a key");
    page.wait("document.querySelectorAll('#past-calls .row').length === 3", SOON).expect("all are there");
    wait_text(&page, "#past-state", "3 calls");
    for (sought, found) in [
        ("доставк", 1),
        ("ДОСТАВКА моя", 1),
        ("елки", 1),
        ("Kettle return", 1),
        ("kettle доставка", 0),
        ("+7 916 123", 1),
        ("1001", 2),
        ("50%", 1),
        ("%", 0),
        ("\" OR *", 0),
        ("nobody said that", 0),
        ("", 3),
    ] {
        page.fill("#sought", sought).expect("there is a field");
        page.press("Enter").expect("a key");
        let is_so = format!(
            "document.querySelectorAll('#past-calls .row').length === {found} && \
             document.getElementById('past-state').textContent !== 'Searching…'"
        );
        page.wait(&is_so, SOON).unwrap_or_else(|_| panic!("{sought:?}: {:?}", texts(&page, "#past-calls .row")));
    }
    page.fill("#sought", "kettle").expect("there is a field");
    page.wait("document.querySelectorAll('#past-calls .row').length === 1", SOON).expect("it is found while typing");
    page.click("#past-calls .row").expect("it can be chosen");
    wait_text(&page, "#lines .caller", "kettle");
    assert_eq!(lines(&page).len(), 1);
    wait_text(&page, "#call-state", "Hung up");
    page.click("#menu-open").expect("there is a menu");
    page.click("#log-out").expect("it has a way out");
    page.wait("!document.getElementById('login').hidden", SOON).expect("the token is asked for");
    let left = "[document.querySelectorAll('.row').length, document.getElementById('sought').value, \
        /1001|79161234567|kettle|доставк/i.test(document.body.textContent)]";
    assert_eq!(page.evaluate(left).expect("it is there"), json!([0, "", false]), "nothing is left for the next user");
    // Calls that are up are found, too, by whoever asks the API.
    let (_call, session) = desk.stage.talk("100");
    session.perform(caller_said("Nothing but a zebra"));
    let search = || desk.api.get("/api/calls?search=ZEBRA&ended=false").json()["calls"].as_array().map_or(0, Vec::len);
    super::eventually("it is found", SOON, || search() == 1);
    assert_eq!(desk.api.get("/api/calls?search=zebra&ended=true").json()["calls"].as_array().map(Vec::len), Some(0));
    assert_eq!(desk.api.get(&format!("/api/calls?search={}", "x".repeat(201))).status, 400);
}

#[test]
fn without_a_database_the_page_says_so_and_works() {
    let desk = Desk::with("", "", "");
    let page = desk.open("a", Screen::default());
    page.click("#tab-past").expect("there is a history");
    wait_text(&page, "#past-state", "no database is set");
    page.click("#tab-live").expect("there is a list");
    let (_call, session) = desk.stage.talk("100");
    session.perform(caller_said("Can you hear me?"));
    wait_text(&page, "#lines .caller", "Can you hear me?");
    // What the exchange still remembers is enough for one who comes late.
    let late = desk.open("b", Screen::default());
    wait_text(&late, "#lines .caller", "Can you hear me?");
}

#[test]
fn of_two_choices_the_later_one_counts() {
    let desk = Desk::new();
    desk.past_call("100", "Long ago");
    let (_call, session) = desk.stage.talk("200");
    session.perform(caller_said("Just now"));
    let page = desk.open("a", Screen::default());
    wait_text(&page, "#lines .caller", "Just now");
    page.click("#tab-past").expect("there is a history");
    page.wait("document.querySelectorAll('#past-calls .row').length === 1", SOON).expect("the call is there");
    let slow = "const ask = fetch; const gate = new Promise((open) => { window.open_gate = open; }); \
        window.fetch = async (path, how) => { if (/calls\\/[^/?]+$/.test(path)) { window.held = true; await gate; } \
        return ask(path, how).finally(() => { window.answered = true; }); }; null";
    page.evaluate(&format!("{{ {slow} }}")).expect("it is prepared");
    page.click("#past-calls .row").expect("it can be chosen");
    page.wait("window.held === true", SOON).expect("it is asked for");
    page.click("#tab-live").expect("there is a list");
    page.click("#calls .row").expect("the call that is up can be chosen");
    page.evaluate("{ window.answered = false; open_gate(); }").expect("the answer comes");
    page.wait("window.answered === true", SOON).expect("the answer comes");
    std::thread::sleep(super::ms(500));
    assert_eq!(lines(&page), [("caller".to_owned(), "Just now".to_owned())]);
}
