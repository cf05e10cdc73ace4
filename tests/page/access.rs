//! Who gets to see the page's contents, and what its files may do.

use rig::Screen;
use rig::http::Api;

use super::{Desk, SOON, TOKEN, log_in, wait_text};

#[test]
fn nothing_is_shown_to_whoever_does_not_know_the_token() {
    let desk = Desk::new();
    let _call = desk.stage.talk("100");
    let page = desk.page("a", Screen::default());
    let hidden = "document.getElementById('desk').hidden && document.querySelectorAll('.row').length === 0";
    assert_eq!(page.evaluate(hidden).expect("it is there"), true);
    log_in(&page, "a-token-of-32-characters-or-mord");
    wait_text(&page, "#login-problem", "not the right one");
    assert_eq!(page.evaluate(hidden).expect("it is there"), true);
    log_in(&page, TOKEN);
    page.wait("document.querySelectorAll('#calls .row').length === 1", SOON).expect("the call is there");

    // Another page of this browser is not asked again while this one is open; nothing is kept on the disk.
    let kept = "[localStorage.length, sessionStorage.getItem('ai-bridge.token')]";
    assert_eq!(page.evaluate(kept).expect("readable"), serde_json::json!([0, TOKEN]));
    page.go(&desk.url()).expect("it is there");
    page.wait("document.querySelectorAll('#calls .row').length === 1", SOON).expect("it knows the token still");

    page.click("#menu-open").expect("there is a menu");
    page.click("#log-out").expect("it has a way out");
    page.wait("!document.getElementById('login').hidden", SOON).expect("the token is asked for");
    assert_eq!(page.evaluate(hidden).expect("it is there"), true);
    assert_eq!(page.evaluate("sessionStorage.length").expect("readable"), 0);

    page.click("#remember").expect("it can be ticked");
    log_in(&page, TOKEN);
    page.wait("document.querySelectorAll('#calls .row').length === 1", SOON).expect("the call is there");
    assert_eq!(page.evaluate("localStorage.getItem('ai-bridge.token')").expect("readable"), TOKEN);
}

#[test]
fn a_token_that_is_changed_ends_what_was_open() {
    let desk = Desk::new();
    let page = desk.open("a", Screen::default());
    let counts = "window.opened = 0; window.WebSocket = class extends WebSocket { \
        constructor(...given) { super(...given); window.opened += 1; } }; null";
    page.evaluate(&format!("{{ {counts} }}")).expect("it counts");
    let file = desk.stage.rig.directory().join("etc/ai_bridge.conf");
    let config = std::fs::read_to_string(file).expect("it is there").replace(TOKEN, "another-token-of-32-characters");
    desk.stage.rig.write_config("ai_bridge.conf", &config).expect("it can be written");
    desk.stage.cli("module reload res_ai_bridge.so");
    page.wait("!document.getElementById('login').hidden", SOON).expect("the token is asked for");
    wait_text(&page, "#login-problem", "no longer valid");
    // Whoever is not let in does not go on knocking.
    let before = page.evaluate("opened").expect("a number");
    std::thread::sleep(super::ms(2500));
    assert_eq!(page.evaluate("opened").expect("a number"), before);
    log_in(&page, "another-token-of-32-characters");
    page.wait("document.getElementById('link').dataset.state === 'on'", SOON).expect("it is connected");
}

#[test]
fn files_are_public_and_say_what_they_may_do_and_everything_else_is_not() {
    let desk = Desk::new();
    let open = Api { token: String::new(), ..desk.api.clone() };
    let get = |path: &str| open.send("GET", path, &[("Authorization", "")], "");
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icons.svg", "image/svg+xml"),
    ] {
        let answer = get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        let policy = answer.header("content-security-policy");
        for rule in ["default-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        let others = ["x-content-type-options", "referrer-policy"].map(|name| answer.header(name).to_owned());
        assert_eq!(others, ["nosniff", "no-referrer"], "{path}");
        let tag = answer.header("etag");
        let again = open.send("GET", path, &[("Authorization", ""), ("If-None-Match", tag)], "");
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
    for path in ["/page/", "/page/none.js", "/page/..%2fapi.rs", "/page/%2e%2e/api.rs"] {
        assert!([401, 404].contains(&get(path).status), "{path}");
    }
    for path in
        ["/api/calls", "/api/profiles", "/api/calls/x/recordings", "/api/calls/x/recordings/mixed", "/ws", "/metrics"]
    {
        assert_eq!(get(path).status, 401, "{path}");
    }
}
