//! `rig demo-assist`: a customer calls an operator; what both say and what the operator might answer fills the operator's
//! page, in a real browser.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use practice_agent::Server;
use rig::http::{Api, free_port};
use rig::{Browser, Page, Phone, PhoneCall, Rig, Screen, checkout, speech_of};
use serde_json::json;

/// Longest until something that is waited for is there.
const PATIENCE: Duration = Duration::from_secs(20);
/// From one's last word to the other's first.
const BREATH: Duration = Duration::from_millis(900);
/// Rate of what is said. [Hz]
const RATE_HZ: u32 = 8000;
/// Where the picture of the page is, in the checkout.
const PICTURE: &str = "target/demo-assist.png";
const SCREEN: (u32, u32) = (1360, 820);

/// Who says what, in this order.
type Dialogue = [(Side, &'static str); 7];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Caller,
    Operator,
}

use Side::{Caller, Operator};

const ENGLISH: Dialogue = [
    (Operator, "Good morning, Northwind Coolers, Anna speaking. What can I do for you?"),
    (Caller, "Hello. I ordered an air conditioner two weeks ago. Where is my delivery?"),
    (Operator, "Let me have a look. Could you tell me the number of your order?"),
    (Caller, "Forty seven twelve. And honestly, for such a service it is too expensive."),
    (
        Operator,
        "I am sorry for the delay. It leaves our warehouse today, and I can take five percent off the installation.",
    ),
    (Caller, "Today? All right. Can you deliver it in the evening?"),
    (Operator, "Yes, between six and eight. You will get a message an hour before."),
];

const RUSSIAN: Dialogue = [
    (Operator, "Добрый день, компания «Северный ветер», Анна. Чем могу помочь?"),
    (Caller, "Здравствуйте. Я заказывал у вас кондиционер две недели назад. Где доставка?"),
    (Operator, "Сейчас посмотрю. Подскажите, пожалуйста, номер заказа."),
    (Caller, "Сорок семь двенадцать. И честно говоря, за такой сервис это слишком дорого."),
    (
        Operator,
        "Мне жаль, что так вышло. Заказ уходит со склада сегодня, и я могу дать скидку пять процентов на установку.",
    ),
    (Caller, "Сегодня? Хорошо. А вечером привезти сможете?"),
    (Operator, "Да, с шести до восьми. За час придёт сообщение."),
];

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Caller => "caller",
            Operator => "operator",
        }
    }

    /// The espeak-ng voice.
    const fn voice(self, russian: bool) -> &'static str {
        match (self, russian) {
            (Caller, false) => "en+m3",
            (Operator, false) => "en+f3",
            (Caller, true) => "ru+m3",
            (Operator, true) => "ru+f3",
        }
    }
}

/// Places the call.
pub(crate) fn run(language: &str) -> Result<()> {
    let dialogue = match language {
        "en" => ENGLISH,
        "ru" => RUSSIAN,
        other => bail!("--language {other}: expected en or ru"),
    };
    let russian = language == "ru";
    let service = Server::builder().words(move |stream| words(&dialogue, stream)).start()?;
    println!("Starting Asterisk …");
    let api = Api { address: ([127, 0, 0, 1], free_port()).into(), token: "the-token-of-the-demo".to_owned() };
    let rig = exchange(&service, &api, language)?;
    api.wait(PATIENCE)?;

    let began = Instant::now();
    let told = |who: &str, what: &str| println!("{:>7.2} s  {who:<9} {what}", began.elapsed().as_secs_f64());
    let url = format!("http://{}/", api.address);
    println!("The operator's page is {url} while this runs; its token is {}\n", api.token);
    let browser = Browser::start()?;
    let locale = if russian { "ru-RU" } else { "en-US" };
    let screen = Screen { width: SCREEN.0, height: SCREEN.1, language: locale, ..Screen::default() };
    let page = browser.open("operator", &url, screen)?;
    page.wait("!document.getElementById('login').hidden", PATIENCE)?;
    page.fill("#token", &api.token)?;
    page.click("#login button")?;
    page.wait("document.getElementById('link').dataset.state === 'on'", PATIENCE)?;

    let operator = Phone::new(&rig).listen()?;
    let_ring(&rig, &operator)?;
    let caller = Phone::new(&rig).account("1002", "1002pass").dial("1001")?;
    told("caller", "calls the operator");
    page.wait("document.querySelectorAll('#calls .row').length === 1", PATIENCE)
        .context("the call is not on the page")?;
    told("page", &format!("shows the call: {}", text(&page, "#call-state")?));
    caller.wait_answered(PATIENCE)?;
    let mut hints = 0;
    for (nth, (side, words)) in dialogue.into_iter().enumerate() {
        sleep(BREATH);
        let call = if side == Caller { &caller } else { &operator };
        call.play(&speech_of(side.voice(russian), words, RATE_HZ)?);
        told(side.name(), &format!("says: {words}"));
        call.wait_played(PATIENCE)?;
        let spoken = Instant::now();
        page.wait(&format!("document.querySelectorAll('#lines .said').length > {nth}"), PATIENCE)?;
        told("page", &format!("shows the line {:.2} s after its last word", spoken.elapsed().as_secs_f64()));
        if side == Caller {
            hints += 1;
            page.wait(&format!("document.querySelectorAll('#hints article').length >= {hints}"), PATIENCE)?;
            let spoken = spoken.elapsed().as_secs_f64();
            told("page", &format!("shows a hint after {spoken:.2} s: {}", text(&page, "#hints article strong")?));
        }
    }
    sleep(BREATH);
    page.shoot(&checkout().join(PICTURE))?;
    caller.hang_up();
    told("caller", "hangs up");
    page.wait("document.querySelectorAll('#calls .row').length === 0", PATIENCE)?;
    told("page", "shows that the call is over");
    operator.wait_ended(PATIENCE)?;
    look_up(&api)?;
    println!("\nThe page in the last moment of the call: {PICTURE}");
    Ok(())
}

/// What one side says: nobody understands espeak-ng here, so the words are given to the practice agent beforehand.
fn words(dialogue: &Dialogue, stream: &str) -> Vec<String> {
    let said = dialogue.iter().filter(|(side, _)| stream.ends_with(side.name()));
    said.map(|(_, words)| (*words).to_owned()).collect()
}

/// An Asterisk as in asterisk-conf/, with the page, whose assistant is `service`.
fn exchange(service: &Server, api: &Api, language: &str) -> Result<Rig> {
    let general = format!(
        "[general]\nhttp_bind = {}\nhttp_token = {}\ndatabase = calls.sqlite3\nrecordings = .\n",
        api.address, api.token
    );
    Rig::builder()
        .edit("ai_bridge.conf", "[general]\n", &general)
        .edit("ai_bridge.conf", "ws://127.0.0.1:9797/transcribe-websocket", &service.soniox_url())
        .edit("ai_bridge.conf", "http://127.0.0.1:9797/api/v1/chat/completions", &service.chat_url())
        .edit("ai_bridge.conf", "language = ru\nhint_url", &format!("language = {language}\nhint_url"))
        .start()
}

/// The phone of the operator is not registered: the dialplan is told where it is.
fn let_ring(rig: &Rig, operator: &PhoneCall) -> Result<()> {
    let file = rig.directory().join("etc/extensions.conf");
    let dialplan = std::fs::read_to_string(file)?;
    let dial = format!("Dial(PJSIP/1001/{},", operator.uri());
    rig.write_config("extensions.conf", &dialplan.replace("Dial(PJSIP/1001,", &dial))?;
    rig.cli("dialplan reload")?;
    Ok(())
}

fn text(page: &Page<'_>, selector: &str) -> Result<String> {
    let script = format!("document.querySelector({}).textContent", json!(selector));
    Ok(page.evaluate(&script)?.as_str().unwrap_or_default().to_owned())
}

/// Tells what is kept of the call.
fn look_up(api: &Api) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let call = loop {
        let calls = api.get("/api/calls?ended=true").json();
        // Written a moment after it was told.
        match calls["calls"].get(0).filter(|call| call["figures"].is_object()) {
            Some(call) => break call.clone(),
            None if Instant::now() > until => bail!("the call is not in the log"),
            None => sleep(Duration::from_millis(100)),
        }
    };
    let id = call["id"].as_str().unwrap_or_default();
    let kept = api.get(&format!("/api/calls/{id}/transcript")).json();
    let count = |what: &str| kept[what].as_array().map_or(0, Vec::len);
    println!("\nKept: {} lines and {} hints, and these recordings:", count("turns"), count("hints"));
    let recordings = api.get(&format!("/api/calls/{id}/recordings")).json();
    for recording in recordings["recordings"].as_array().into_iter().flatten() {
        println!("  {:<9} {} bytes", recording["name"].as_str().unwrap_or_default(), recording["bytes"]);
    }
    let figure =
        |name: &str| call["figures"][name]["p50_ms"].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
    println!(
        "Half of the lines were in text within {} of their last word, half of the hints there within {} of the line.",
        figure("transcription"),
        figure("hint")
    );
    Ok(())
}
