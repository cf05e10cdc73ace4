//! The way to the page is cut, or Asterisk's module is loaded anew: nothing is lost, and nothing is there twice.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rig::Screen;

use super::{Desk, KEPT, SOON, caller_said, lines, log_in, wait_text};

/// A way to a server that can be cut.
struct Way {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    open: Vec<TcpStream>,
}

impl Way {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().expect("nobody panics with it");
                let Ok(server) = TcpStream::connect(server) else { continue };
                if state.cut {
                    continue;
                }
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a copy"), to.try_clone().expect("a copy"));
                    state.open.push(from.try_clone().expect("a copy"));
                    thread::spawn(move || pass_on(from, to));
                }
            }
        });
        Self { address, state }
    }

    fn cut(&self) {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.cut = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.state.lock().expect("nobody panics with it").cut = false;
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_connection_that_is_cut_again_and_again_loses_nothing() {
    let desk = Desk::new();
    let way = Way::to(desk.api.address);
    let page = desk.browser.open("a", &format!("http://{}/", way.address), Screen::default()).expect("it opens");
    page.wait("!document.getElementById('login').hidden", SOON).expect("it asks for the token");
    log_in(&page, super::TOKEN);
    let (_call, session) = desk.stage.talk("100");
    wait_text(&page, "#calls .row", "In conversation");
    let mut said = Vec::new();
    let mut say = |text: String| {
        session.perform(caller_said(&text));
        said.push(("caller".to_owned(), text));
    };
    for round in 0..4 {
        say(format!("{round}: while the page is connected"));
        way.cut();
        for number in 0..20 {
            say(format!("{round}: {number} while it is not, and {}", "x".repeat(1 + round * 20 + number)));
        }
        page.wait("document.getElementById('link').dataset.state === 'off'", SOON).expect("that is shown");
        way.mend();
        page.click("#link-now").ok();
        wait_text(&page, "#lines .caller", &format!("{round}: 19 "));
    }
    assert_eq!(lines(&page), said);
    assert_eq!(desk.api.get("/health").status, 200);
}

#[test]
fn after_the_module_was_loaded_anew_the_page_shows_what_is_up_now() {
    let desk = Desk::new();
    let page = desk.open("a", Screen::default());
    let (call, session) = desk.stage.talk("100");
    session.perform(caller_said("Before"));
    wait_text(&page, "#lines .caller", "Before");
    call.hang_up();
    desk.stage.assert_nothing_left();
    desk.stage.cli("module unload res_ai_bridge.so");
    page.wait("document.getElementById('link').dataset.state === 'off'", SOON).expect("that is shown");
    // The name of a call has the second in it.
    thread::sleep(super::ms(1100));
    desk.stage.cli("module load res_ai_bridge.so");
    let (_call, session) = desk.stage.talk("200");
    session.perform(caller_said("After it, and nobody had to do anything"));
    wait_text(&page, "#lines .caller", "After it");
    assert_eq!(lines(&page).len(), 1);
    page.wait("document.querySelectorAll('#calls .row').length === 1", SOON).expect("one call is up");
}

/// With `deaf` set, events do not reach the page; `heard` is what it does about a message.
const DEAFNESS: &str = "window.WebSocket = class extends WebSocket { set onmessage(react) { \
    const isMain = !this.url.includes('session='); if (isMain) window.heard = react; \
    super.onmessage = (message) => { if (!window.deaf || !isMain) react(message); }; } }; null";

#[test]
fn a_call_that_ended_while_events_were_missed_is_told_to_its_end() {
    // From the log, and from what the exchange remembers.
    for general in [KEPT, ""] {
        let desk = Desk::with(general, "", "");
        let page = desk.page("a", Screen::default());
        page.evaluate(&format!("{{ {DEAFNESS} }}")).expect("it is prepared");
        log_in(&page, super::TOKEN);
        let (call, session) = desk.stage.talk("100");
        session.perform(caller_said("Before"));
        wait_text(&page, "#lines .caller", "Before");
        page.evaluate("{ window.deaf = true; }").expect("it hears nothing");
        session.perform(caller_said("While nobody listened"));
        session.wait_performed(SOON).expect("it is said");
        thread::sleep(super::ms(300));
        call.hang_up();
        desk.stage.assert_nothing_left();
        assert_eq!(page.evaluate("document.querySelectorAll('#calls .row').length").expect("a number"), 1);
        page.evaluate("{ window.deaf = false; heard({data: JSON.stringify({event: 'missed', next: null})}); }")
            .expect("it learns of the gap");
        wait_text(&page, "#lines .caller", "While nobody listened");
        wait_text(&page, "#call-state", "Hung up");
        page.wait("document.querySelectorAll('#calls .row').length === 0", SOON).expect("it has left the list");
        assert_eq!(lines(&page).len(), 2);
    }
}

#[test]
fn a_list_that_could_not_be_read_is_asked_for_again() {
    let desk = Desk::new();
    let (_call, _session) = desk.stage.talk("100");
    let page = desk.page("a", Screen::default());
    let fails = "window.asked = 0; const ask = fetch; window.fetch = (path, how) => \
        String(path).includes('ended=false') && window.asked++ < 2 ? Promise.resolve(new Response('{}', {status: 503})) : ask(path, how); null";
    page.evaluate(&format!("{{ {fails} }}")).expect("it is prepared");
    log_in(&page, super::TOKEN);
    page.wait("document.querySelectorAll('#calls .row').length === 1", SOON * 2).expect("the call is there");
    assert_eq!(page.evaluate("asked").expect("a number"), 3);
}
