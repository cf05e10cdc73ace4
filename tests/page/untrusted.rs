//! What callers, providers and tools say is text, whatever it says.

use practice_agent::Script;
use rig::{Phone, Screen};
use serde_json::json;

use super::{Desk, SOON, agent_says, caller_said, texts, wait_text};

const EVIL: &str = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";

#[test]
fn what_looks_like_a_page_stays_text() {
    let dialplan = "exten => 300,1,Set(CALLERID(num)=<b onclick=x>&quot\\;7)\n same => n,Set(CALLERID(name)=<i>x</i>)\n \
        same => n,AI()\n same => n,Hangup()\n";
    let desk = Desk::with(super::KEPT, "", dialplan);
    let page = desk.open("a", Screen::default());
    let _call = Phone::new(&desk.stage.rig).dial("300").expect("the phone dials");
    let session = desk.stage.session();
    session.wait_caller_audio(super::ms(100), SOON).expect("the caller is heard");
    session.perform(caller_said(EVIL));
    wait_text(&page, "#lines .caller .text", EVIL);
    session.perform(agent_says(EVIL));
    session.perform(Script::new().call_tool("<b>tool</b>", json!({"a": EVIL}).to_string()));
    wait_text(&page, "#lines .tool", "<b>tool</b>");
    wait_text(&page, "#call-title", "<b onclick=x>");
    wait_text(&page, "#calls .number", "<b onclick=x>");
    let foreign = "document.querySelectorAll('img, b[onclick], i:not(#link i), #desk script, #lines b').length";
    assert_eq!(page.evaluate(foreign).expect("a number"), 0);
    assert_eq!(page.evaluate("document.title").expect("a text"), "(1) AI bridge");
    // It is as harmless when it comes from the log.
    let late = desk.open("b", Screen::default());
    wait_text(&late, "#lines .caller .text", EVIL);
    assert_eq!(late.evaluate(foreign).expect("a number"), 0);
    for page in [&page, &late] {
        let wrong: Vec<_> =
            page.wrong().expect("it is there").into_iter().filter(|line| !line.contains("401")).collect();
        assert_eq!(wrong, [""; 0], "{:?}", texts(page, "title"));
    }
}

#[test]
fn even_if_the_page_made_a_mistake_the_browser_would_not_run_it() {
    let desk = Desk::new();
    let page = desk.page("a", Screen::default());
    let injected = "(() => { try { document.body.innerHTML = '<img src=x>'; return 'taken'; } catch (error) { return error.name; } })()";
    assert_eq!(page.evaluate(injected).expect("it answers"), "TypeError");
    let in_line = "(() => { const script = document.createElement('script'); try { script.textContent = 'window.taken = true'; } \
        catch {} document.body.append(script); return window.taken ?? null; })()";
    assert!(page.evaluate(in_line).expect("it answers").is_null());
    let handler = "(() => { const button = document.createElement('button'); button.setAttribute('onclick', 'window.taken = true'); \
        document.body.append(button); button.click(); return window.taken ?? null; })()";
    assert!(page.evaluate(handler).map_or(true, |value| value.is_null()));
    let elsewhere = "fetch('http://127.0.0.1:1/').then(() => 'sent', (error) => error.name)";
    assert_eq!(page.evaluate(elsewhere).expect("it answers"), "TypeError");
    let refused = page.wrong().expect("it is there");
    for rule in ["TrustedHTML", "TrustedScript", "connect-src 'self'"] {
        assert!(refused.iter().any(|line| line.contains(rule)), "{rule}: {refused:?}");
    }
}
