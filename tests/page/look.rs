//! The page for everybody: what axe finds, both languages, light and dark, wide and narrow.

use rig::{Page, Screen};
use serde_json::Value;

use super::{Desk, SOON, agent_says, caller_said, wait_text};

#[track_caller]
fn assert_usable(page: &Page<'_>, what: &str) {
    let found = page.check().expect("axe runs");
    let grave: Vec<&Value> =
        found.iter().filter(|one| ["serious", "critical"].iter().any(|impact| one["impact"] == *impact)).collect();
    assert!(grave.is_empty(), "{what}: {grave:#?}");
    let width = page.evaluate("document.documentElement.scrollWidth - innerWidth").expect("a number");
    assert!(width.as_i64().is_some_and(|over| over <= 0), "{what}: {width} px too wide");
}

#[test]
fn everybody_can_use_it() {
    let desk = Desk::new();
    let (_call, session) = desk.stage.talk("100");
    session.perform(caller_said("Good morning"));
    session.perform(agent_says("Good morning, what can I do for you?"));
    session.perform(practice_agent::Script::new().call_tool("order_status", "{}"));
    for dark in [false, true] {
        for language in ["en-US", "ru-RU"] {
            for width in [1440, 900, 320] {
                let screen = Screen { width, height: 720, dark, language };
                let what = format!("{screen:?}");
                let page = desk.page(&what, screen);
                assert_usable(&page, &format!("login, {what}"));
                super::log_in(&page, super::TOKEN);
                page.wait("document.querySelectorAll('#calls .row').length === 1", SOON).expect("the call is there");
                assert_usable(&page, &format!("calls, {what}"));
                page.click("#calls .row").expect("it can be chosen");
                wait_text(&page, "#lines .tool", "order_status");
                page.click("#figures summary").expect("there are figures");
                assert_usable(&page, &format!("call, {what}"));
                if width == 320 {
                    page.click("#back").expect("there is a way back");
                }
                page.click("#dial-open").expect("one can dial");
                assert_usable(&page, &format!("dial, {what}"));
                page.press("Escape").expect("a key");
                page.click("#menu-open").expect("there is a menu");
                assert_usable(&page, &format!("menu, {what}"));
                page.click("#help-open").expect("there is help");
                assert_usable(&page, &format!("help, {what}"));
                page.press("Escape").expect("a key");
                page.click("#tab-past").expect("there is a history");
                page.wait("document.getElementById('past-state').textContent !== ''", SOON).expect("it is read");
                assert_usable(&page, &format!("history, {what}"));
            }
        }
    }
}

#[test]
fn language_and_colours_are_those_of_the_browser_or_those_chosen() {
    let desk = Desk::new();
    let page = desk.open("a", Screen { language: "ru-RU", dark: true, ..Screen::default() });
    wait_text(&page, "#tab-live", "Сейчас");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let dark = page.evaluate(ground).expect("a colour");
    page.click("#menu-open").expect("there is a menu");
    page.click("#menu input[value=en]").expect("it has languages");
    wait_text(&page, "#tab-live", "Now");
    page.click("#menu input[value=light]").expect("it has colours");
    let light = page.evaluate(ground).expect("a colour");
    assert_ne!(light, dark);
    page.go(&desk.url()).expect("it is there");
    wait_text(&page, "#tab-live", "Now");
    assert_eq!(page.evaluate("document.documentElement.lang").expect("a language"), "en");
    assert_eq!(page.evaluate(ground).expect("a colour"), light);
}

#[test]
fn numbers_of_things_are_said_as_one_says_them() {
    let desk = Desk::new();
    let page = desk.page("a", Screen { language: "ru", ..Screen::default() });
    let counted = "(async () => { const { t } = await import('/page/i18n.js'); \
        return [1, 2, 5, 11, 21, 22, 112].map((count) => t('past.count', {count})); })()";
    let words = ["1 звонок", "2 звонка", "5 звонков", "11 звонков", "21 звонок", "22 звонка", "112 звонков"];
    assert_eq!(page.evaluate(counted).expect("words"), serde_json::json!(words));
    let missing = "(async () => { const [en, ru] = (await Promise.all([import('/page/en.js'), import('/page/ru.js')]))\
        .map((words) => Object.keys(words.default)); \
        return [...en.filter((key) => !ru.includes(key)), ...ru.filter((key) => !en.includes(key))]; })()";
    assert_eq!(page.evaluate(missing).expect("a list"), serde_json::json!([]), "each word is there in both languages");
}
