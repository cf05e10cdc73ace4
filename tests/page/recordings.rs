//! What `MixMonitor()` has recorded is listed, sent whole or in part, and played; each side is who it says.

use std::f64::consts::TAU;
use std::thread::sleep;
use std::time::Duration;

use rig::{Codec, Phone, Screen, read_wav};
use serde_json::json;

use super::{Desk, KEPT, SOON, eventually, ms, wait_text};
use crate::common::witness::undisturbed;

/// As in asterisk-conf/extensions.conf, but that the operator is the phone at the port which follows the digit.
const DIALPLAN: &str = "exten => _5.,1,AIAssist(desk)
 same => n,MixMonitor(${AISESSION}.wav,r(${AISESSION}-caller.wav)t(${AISESSION}-operator.wav))
 same => n,Dial(PJSIP/1001/sip:phone@127.0.0.1:${EXTEN:1})
 same => n,Hangup()
";
/// Nobody transcribes: that is no reason not to record.
const NOBODY: &str = "\n[desk]\ntype = assist\ndialect = soniox\nurl = ws://127.0.0.1:9\nhint_url = no\n";
/// How long caller and operator speak, one after the other.
const SPOKEN: [Duration; 2] = [ms(1000), ms(2000)];
/// The tones that stand for what caller and operator say. [Hz]
const TONES: [f64; 2] = [500.0, 1500.0];

/// Which contents the page holds.
const HELD: &str = "window.held = new Set(); const [make, free] = [URL.createObjectURL, URL.revokeObjectURL]; \
    URL.createObjectURL = (content) => { const url = make(content); held.add(url); return url; }; \
    URL.revokeObjectURL = (url) => { held.delete(url); free(url); }; null";
/// Recordings are said to be large; what is saved is noted.
const HUGE: &str = "const ask = fetch; window.fetch = async (path, how) => { const answer = await ask(path, how); \
    if (!path.endsWith('/recordings')) return answer; const told = await answer.json(); \
    for (const one of told.recordings) one.bytes = 3e8; return new Response(JSON.stringify(told)); }; \
    HTMLAnchorElement.prototype.click = function () { window.saved = this.download; }; null";

/// A recorded call in which both say something; its id.
fn recorded(desk: &Desk) -> String {
    let operator = Phone::new(&desk.stage.rig).codec(Codec::Alaw).listen().expect("the phone listens");
    let uri = operator.uri();
    let port = uri.rsplit_once(':').expect("a port").1;
    let caller = Phone::new(&desk.stage.rig).codec(Codec::Alaw).dial(&format!("5{port}")).expect("it dials");
    for call in [&caller, &operator] {
        call.wait_answered(SOON).expect("the call is answered");
    }
    sleep(ms(500));
    let list = desk.api.get("/api/calls?ended=false").json();
    let id = list["calls"][0]["id"].as_str().unwrap_or_else(|| panic!("an id: {list}")).to_owned();
    for ((call, length), hz) in [&caller, &operator].into_iter().zip(SPOKEN).zip(TONES) {
        call.play(&tone(hz, length));
        call.wait_played(SOON).expect("the phone sends");
    }
    sleep(ms(500));
    caller.hang_up();
    desk.stage.assert_nothing_left();
    id
}

/// What a phone says.
fn tone(hz: f64, length: Duration) -> Vec<i16> {
    let sample = |at: u32| (8000.0 * (TAU * hz * f64::from(at) / 8000.0).sin()) as i16;
    (0..length.as_millis() as u32 * 8).map(sample).collect()
}

/// How long caller and operator are heard in `samples`.
fn heard(samples: &[i16], rate: u32) -> [Duration; 2] {
    let power = |frame: &[i16], hz: f64| {
        let turn = |part: fn(f64) -> f64| {
            let at = |(at, &sample): (usize, &i16)| f64::from(sample) * part(TAU * hz * at as f64 / f64::from(rate));
            frame.iter().enumerate().map(at).sum::<f64>().powi(2)
        };
        turn(f64::sin) + turn(f64::cos)
    };
    let mut heard = [Duration::ZERO; 2];
    for frame in samples.chunks(rate as usize / 50).filter(|frame| frame.iter().any(|sample| sample.abs() > 1000)) {
        let [caller, operator] = TONES.map(|hz| power(frame, hz));
        heard[usize::from(operator > caller)] += ms(20);
    }
    heard
}

fn wait_listed(desk: &Desk, id: &str) {
    eventually("it is listed", SOON, || {
        let list = desk.api.get(&format!("/api/calls/{id}/recordings")).json();
        let list = list["recordings"].as_array().expect("a list");
        list.len() == 3 && list.iter().all(|one| one["bytes"].as_u64() > Some(20_000))
    });
}

/// The files hold who spoke, and nobody else.
fn assert_who_is_heard(desk: &Desk, id: &str) {
    let folder = desk.stage.rig.directory().join("spool/monitor");
    for (side, speak) in [("", [true, true]), ("-caller", [true, false]), ("-operator", [false, true])] {
        let file = std::fs::read(folder.join(format!("{id}{side}.wav"))).expect("it is there");
        let (samples, rate) = read_wav(&file).expect("a WAV file");
        let heard = heard(&samples, rate);
        println!("{id}{side}.wav: {heard:?} of caller and operator in {} s", samples.len() as u32 / rate);
        for ((heard, speaks), spoken) in heard.into_iter().zip(speak).zip(SPOKEN) {
            // MixMonitor drops what comes late, and on a busy machine much does.
            let right = if speaks { spoken / 2..=spoken + ms(40) } else { ms(0)..=ms(0) };
            assert!(right.contains(&heard), "{side}: {heard:?} of {spoken:?}, not {right:?}");
        }
    }
}

#[test]
fn each_side_of_a_call_is_recorded() {
    undisturbed(|| {
        let desk = Desk::with(KEPT, NOBODY, DIALPLAN);
        let id = recorded(&desk);
        wait_listed(&desk, &id);
        assert_who_is_heard(&desk, &id);
    });
}

#[test]
fn recordings_can_be_played() {
    let desk = Desk::with(KEPT, NOBODY, DIALPLAN);
    let id = recorded(&desk);
    wait_listed(&desk, &id);

    let path = format!("/api/calls/{id}/recordings/caller");
    let get = |range: &str| desk.api.send("GET", &path, &[("Range", range)], "");
    let head = get("bytes=0-3");
    assert_eq!((head.status, head.body.as_str(), head.header("content-type")), (206, "RIFF", "audio/wav"), "{head:?}");
    assert!(head.header("content-range").starts_with("bytes 0-3/"), "{head:?}");
    let beyond = get("bytes=99999999-");
    assert_eq!((beyond.status, beyond.header("content-type")), (416, "application/problem+json"), "{beyond:?}");
    for wrong in [
        format!("/api/calls/{id}/recordings/agent"),
        "/api/calls/nobody/recordings/mixed".to_owned(),
        format!("/api/calls/..%2fmonitor%2f{id}/recordings/mixed"),
        "/api/calls/..%2f..%2fetc%2fai_bridge.conf/recordings/mixed".to_owned(),
    ] {
        let answer = desk.api.get(&wrong);
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{wrong}");
    }

    let page = desk.open("a", Screen::default());
    page.click("#tab-past").expect("there is a history");
    page.wait("document.querySelectorAll('#past-calls .row').length === 1", SOON).expect("the call is there");
    page.click("#past-calls .row").expect("it can be chosen");
    wait_text(&page, "#recordings", "Both sides");
    page.evaluate(&format!("{{ {HELD} }}")).expect("it is prepared");
    for side in ["mixed", "caller", "operator"] {
        page.click(&format!("#recordings [data-side={side}]")).expect("it is offered");
        let plays = format!(
            "(() => {{ const audio = document.querySelector('#recordings audio'); return audio && audio.duration > 2 \
             && audio.error === null && document.querySelector('#recordings [data-side={side}]').ariaPressed === 'true'; }})()"
        );
        page.wait(&plays, SOON).unwrap_or_else(|problem| panic!("{side} does not play: {problem:#}"));
    }
    let seeks = "new Promise((done) => { const audio = document.querySelector('#recordings audio'); \
        audio.onseeked = () => done(audio.currentTime); audio.pause(); audio.currentTime = 2; })";
    assert!((page.evaluate(seeks).expect("it seeks").as_f64().expect("seconds") - 2.0).abs() < 0.1);
    assert_eq!(page.evaluate("held.size").expect("a number"), 1, "three long ones would fill the memory");

    page.go(&desk.url()).expect("it is there");
    page.evaluate(&format!("{{ {HUGE} }}")).expect("it is prepared");
    page.click("#tab-past").expect("there is a history");
    page.click("#past-calls .row").expect("the call can be chosen");
    page.click("#recordings [data-side=caller]").expect("it is offered");
    wait_text(&page, "#recordings", "too large to be played here (300 MB)");
    page.click("#recordings .player button").expect("it can be saved");
    page.wait(&format!("window.saved === '{id}-caller.wav'"), SOON).expect("it is saved");
    assert_eq!(page.evaluate("document.querySelector('#recordings audio')").expect("nothing"), json!(null));
}

#[test]
fn where_nothing_is_recorded_the_page_says_so() {
    let desk = Desk::with("database = calls.sqlite3\n", "", "");
    desk.stage.talk("100").0.hang_up();
    desk.stage.assert_nothing_left();
    let id = desk.api.get("/api/calls").json()["calls"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(desk.api.get(&format!("/api/calls/{id}/recordings")).status, 404);
    let page = desk.open("a", Screen::default());
    page.click("#tab-past").expect("there is a history");
    page.wait("document.querySelectorAll('#past-calls .row').length === 1", SOON).expect("the call is there");
    page.click("#past-calls .row").expect("it can be chosen");
    wait_text(&page, "#recordings", "their folder is not set");
}
