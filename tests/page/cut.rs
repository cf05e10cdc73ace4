//! The way to the page is cut, or Asterisk's module is loaded anew: nothing is lost, and nothing is there twice.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rig::Screen;

use super::{Desk, SOON, caller_said, lines, log_in, wait_text};

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
