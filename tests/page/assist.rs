//! Two people talk on real phones: what they say and what the operator might answer is on the page at once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use practice_agent::{ChatAnswer, Server};
use rig::{Codec, Phone, PhoneCall, Screen, speech};
use serde_json::json;

use super::{Desk, KEPT, SOON, lines, ms, texts, wait_text};

/// As in asterisk-conf/extensions.conf, but that the operator is the phone at the port which follows the digit.
const DIALPLAN: &str = "exten => _5.,1,AIAssist(desk)
 same => n,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
 same => n,Hangup()
";
const PROFILE: &str = "\n[assist]\ntype = assist\ndialect = soniox\nurl = ws://AGENT/transcribe-websocket\n\
    hint_url = http://AGENT/api/v1/chat/completions\nhint_model = practice\napi_key = practice\nhint_api_key = practice\nhint_interval_ms = 0\n";
/// A hint is on the screen that soon after the model's answer.
const SHOWN: Duration = ms(500);

const CALLER: [&str; 3] = ["Здравствуйте, где мой заказ?", "Это слишком дорого.", "Хорошо, до свидания."];
const OPERATOR: [&str; 2] = ["Добрый день, сейчас посмотрю.", "Предложу вам скидку <b>5 %</b>."];

struct Talk {
    caller: PhoneCall,
    operator: PhoneCall,
}

impl Talk {
    /// One of the two says something.
    fn says(&self, who: &str) {
        let call = if who == "caller" { &self.caller } else { &self.operator };
        call.play(&speech("One two three four five", 8000).expect("espeak-ng speaks"));
        call.wait_played(SOON).expect("the phone sends");
    }
}

fn desk() -> Desk {
    let words = |name: &str| {
        let lines: &[&str] = if name.ends_with("-caller") { &CALLER } else { &OPERATOR };
        lines.iter().map(|line| (*line).to_owned()).collect()
    };
    let agent = Server::builder().words(words);
    Desk::of(agent, KEPT, &PROFILE.replace("[assist]", "[desk]"), DIALPLAN)
}

fn talk(desk: &Desk) -> Talk {
    let operator = Phone::new(&desk.stage.rig).codec(Codec::Alaw).listen().expect("the phone listens");
    let uri = operator.uri();
    let port = uri.rsplit_once(':').expect("a port").1;
    let caller = Phone::new(&desk.stage.rig).codec(Codec::Alaw).dial(&format!("5{port}")).expect("it dials");
    for call in [&caller, &operator] {
        call.wait_answered(SOON).expect("the call is answered");
    }
    Talk { caller, operator }
}

#[test]
fn what_is_said_and_what_to_answer_is_on_the_screen_of_every_operator() {
    let desk = desk();
    let pages = [desk.open("a", Screen::default()), desk.open("b", Screen { language: "ru", ..Screen::default() })];
    let watch = "window.shown = []; new MutationObserver((changes) => changes.forEach(({addedNodes}) => \
        addedNodes.forEach((node) => shown.push(performance.timeOrigin + performance.now())))).observe(document.getElementById('hints'), {childList: true})";
    for page in &pages {
        page.evaluate(&format!("{{ {watch} }}")).expect("it watches");
    }
    let talk = talk(&desk);
    wait_text(&pages[0], "#calls .row", "In conversation");
    let mut times = Vec::new();
    for (nth, (who, line)) in
        [("caller", CALLER[0]), ("operator", OPERATOR[0]), ("caller", CALLER[1]), ("operator", OPERATOR[1])]
            .iter()
            .enumerate()
    {
        talk.says(who);
        wait_text(&pages[0], &format!("#lines .{who} .text"), line);
        if *who == "caller" {
            let chat = desk.stage.agent.wait_chat(nth / 2, SOON).expect("a hint is asked for");
            let answered = chat.wait_answered(SOON).expect("the model answers");
            let answered = SystemTime::now() - answered.elapsed();
            for page in &pages {
                page.wait(&format!("shown.length > {}", nth / 2), SOON).expect("the hint is there");
                let shown = page.evaluate(&format!("shown[{}]", nth / 2)).expect("a time").as_f64().expect("a time");
                let shown = UNIX_EPOCH + Duration::from_secs_f64(shown / 1000.0);
                times.push(shown.duration_since(answered).unwrap_or_default());
            }
        }
    }
    println!("from the model's answer to the screen: {times:?}");
    assert!(times.iter().all(|time| *time < SHOWN), "{times:?}");
    wait_text(&pages[1], "#lines .operator .text", OPERATOR[1]);
    let said = [("caller", CALLER[0]), ("operator", OPERATOR[0]), ("caller", CALLER[1]), ("operator", OPERATOR[1])];
    let said = said.map(|(who, what)| (who.to_owned(), what.to_owned()));
    for page in &pages {
        assert_eq!(lines(page), said);
    }
    assert_eq!(texts(&pages[0], "#hints article").len(), 2);
    assert_eq!(texts(&pages[0], "#hints article strong"), texts(&pages[1], "#hints article strong"));

    // Who comes late finds all of it.
    let late = desk.open("c", Screen::default());
    wait_text(&late, "#lines .operator .text", OPERATOR[1]);
    assert_eq!(
        (lines(&late), texts(&late, "#hints article strong")),
        (lines(&pages[0]), texts(&pages[0], "#hints article strong"))
    );

    // Hung up from the page; it is in the history with its hints.
    pages[0].click("#hang-up").expect("there is a button");
    pages[0].click("#confirm button[value=yes]").expect("it asks");
    for call in [&talk.caller, &talk.operator] {
        call.wait_ended(SOON).expect("both phones are told");
    }
    for page in &pages {
        page.wait("document.querySelectorAll('#calls .row').length === 0", SOON).expect("it leaves the list");
    }
    late.click("#tab-past").expect("there is a history");
    late.fill("#sought", "СКИДКУ").expect("there is a field");
    late.wait("document.querySelectorAll('#past-calls .row').length === 1", SOON).expect("it is found");
    late.click("#past-calls .row").expect("it can be chosen");
    wait_text(&late, "#call-about", "With an operator");
    wait_text(&late, "#lines .operator .text", OPERATOR[1]);
    assert_eq!(texts(&late, "#hints article").len(), 2);
    wait_text(&late, "#figures", "Until the hint is there");
}

#[test]
fn hints_are_put_in_order_and_stay_text() {
    let desk = desk();
    let evil = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    let priority = |number: u64| ["low", "high", "medium"][number as usize % 3];
    desk.stage.agent.set_chat(move |asked| {
        let (number, kind) = (asked.number, "objection");
        let hint =
            json!({"type": kind, "title": format!("{number} {evil}"), "content": evil, "priority": priority(number)});
        ChatAnswer::says(hint.to_string())
    });
    let page = desk.open("a", Screen::default());
    let talk = talk(&desk);
    for nth in 1..=2 {
        talk.says("caller");
        wait_text(&page, "#hints strong", &format!("{nth} {evil}"));
    }
    let titles = texts(&page, "#hints strong");
    assert_eq!(titles, [format!("2 {evil}"), format!("1 {evil}")], "the newest is on top");
    assert_eq!(texts(&page, "#hints .high strong"), [format!("1 {evil}")]);
    assert_eq!(page.evaluate("document.querySelectorAll('#aside img, #aside script').length").expect("a number"), 0);
    wait_text(&page, "#announce", "2 <img");
    page.press("x").expect("a key");
    assert_eq!(texts(&page, "#hints strong"), [format!("1 {evil}")]);
    let wrong: Vec<_> = page.wrong().expect("it is there").into_iter().filter(|line| !line.contains("401")).collect();
    assert_eq!(wrong, [""; 0]);
}

/// `start_ms` counts from the beginning of the call: that has to be known, and what comes before its words is no time.
#[test]
fn a_line_is_never_later_than_its_event() {
    let desk = Desk::new();
    let page = desk.open("a", Screen::default());
    let script = r#"import("/page/store.js").then(({ Store }) => {
        const store = new Store();
        const time = (ms) => new Date(1e12 + ms).toISOString();
        const of = (session, event, ms, more) => store.take({ session, event, time: time(ms), id: ms, direction: "assist", ...more });
        const says = (session, ms, start_ms) => of(session, "transcript", ms, { speaker: "caller", text: "A word", complete: true, start_ms });
        says("an hour old", 1, 3_600_000);
        of("new", "call_start", 1);
        says("new", 5000, 1200);
        says("new", 6000, null);
        says("new", 7000, 1e300);
        return ["an hour old", "new"].map((id) => store.calls.get(id).lines.map((line) => line.at - 1e12));
    })"#;
    let placed = page.evaluate(script).expect("times");
    assert_eq!(placed, json!([[1], [1201, 6000, 7000]]));
}
