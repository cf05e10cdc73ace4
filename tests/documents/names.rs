//! What the documents name exists: keys, figures, events, orders, paths, variables, options. And of some of these, nothing
//! exists that the documents do not name.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::root;
use crate::common::markdown::Document;
use crate::place::Place;

type Names = BTreeSet<String>;

/// Words of others: Asterisk, Linux, SQLite, a crate, secrets; and of a thread, a table of the call log and a field of `raw`.
const OF_OTHERS: [&str; 13] = [
    "ai_api",
    "allow",
    "direct_media",
    "epoll_wait",
    "external_media_address",
    "load",
    "owes_answer",
    "rtp_symmetric",
    "secure_delete",
    "sync_wrapper",
    "tool_calls",
    "unanswered",
    "whsec_",
];

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|problem| panic!("{file}: {problem}"))
}

/// What stands between `begin` and the next `end`, everywhere in `text`.
fn between(text: &str, begin: &str, end: char) -> Names {
    text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).map(str::to_owned).collect()
}

/// Keys and values of a JSON file, as far as they are words.
fn words(value: &Value, found: &mut Names) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            words(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| words(item, found)),
        Value::String(text) => {
            found.insert(text.clone());
        }
        _ => {}
    }
}

fn description() -> Value {
    serde_json::from_str(&read("sidecar/src/api/openapi.json")).expect("JSON")
}

fn help() -> String {
    read("res_ai_bridge/res_ai_bridge-en_US.xml")
}

/// Every key of the configuration: the sample explains all of them, as a test of the sidecar sees to.
fn keys() -> Names {
    let sample = read("asterisk-conf/ai_bridge.conf.sample");
    let lines = sample.lines().map(|line| line.strip_prefix(';').unwrap_or(line));
    lines.filter_map(|line| line.split_once(" =")).map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn every_key_field_and_figure_that_is_named_exists() {
    let mut known = keys();
    words(&description(), &mut known);
    words(&serde_json::from_str(&read("sidecar/src/events.schema.json")).expect("JSON"), &mut known);
    known.extend(between(&read("sidecar/src/api/metrics.rs"), "(\"", '"'));
    known.extend(between(&read("sidecar/src/tools.rs"), "\"", '"'));
    known.extend(OF_OTHERS.map(str::to_owned));
    let mut named = 0;
    for document in Document::all() {
        // Its words are names of tests, which have a test of their own.
        for code in document.code().iter().filter(|_| document.name != "docs/dialects.md") {
            let (name, value) = code.split_once(" = ").unwrap_or((code, ""));
            let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
            let is_sql = value.starts_with('\'');
            if !name.chars().all(plain) || is_sql || (value.is_empty() && !name.contains('_')) {
                continue;
            }
            let name = name.strip_prefix("ai_bridge_").unwrap_or(name);
            assert!(known.contains(name), "{}: there is no `{code}`", document.name);
            named += 1;
        }
    }
    assert!(named > 200, "{named} names");
}

#[test]
fn every_application_action_event_variable_and_status_that_is_named_exists() {
    let (help, mut code) = (help(), String::new());
    for folder in ["res_ai_bridge", "sidecar/src/tools"] {
        super::sources(&root().join(folder), &mut code);
    }
    let mut named = 0;
    for document in Document::all() {
        for code_in_text in document.code().iter().filter(|code| code.starts_with("AI")) {
            let name: String = code_in_text.chars().take_while(char::is_ascii_alphabetic).collect();
            let exists = name == "AI"
                || ["application", "manager", "managerEvent", "variable"]
                    .iter()
                    .any(|kind| help.contains(&format!("<{kind} name=\"{name}\"")))
                || code.contains(&format!("\"{name}"));
            assert!(exists, "{}: there is no `{code_in_text}`", document.name);
            if let Some(status) = code_in_text.strip_prefix("AISTATUS=").filter(|status| !status.starts_with('…')) {
                assert!(help.contains(&format!("<value name=\"{status}\">")), "{}: {status}", document.name);
            }
            named += 1;
        }
    }
    assert!(named > 100, "{named} names");
}

/// The marked words in the first column of the tables in `text`.
fn first_column(text: &str) -> Names {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// `text` from the line `begin` to the next heading, or the next table.
fn part<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("there is no '{begin}'"));
    rest.split(end).next().unwrap_or_default()
}

#[test]
fn options_and_statuses_are_those_that_the_help_texts_have() {
    let (readme, assist, help) = (read("README.md"), read("docs/assist.md"), help());
    let (ai, ai_assist) = help.split_once("<application name=\"AIAssist\"").expect("two applications");
    for (document, help) in [(&readme, ai), (&assist, ai_assist)] {
        let options = first_column(part(document, "\n| option | meaning |", "\n\n"));
        let letters: Names = options.iter().map(|option| option[..1].to_owned()).collect();
        assert_eq!(letters, between(help, "<option name=\"", '"'));
    }
    let statuses = first_column(part(&readme, "\n| `AISTATUS` | meaning |", "\n\n"));
    assert_eq!(statuses, between(ai, "<value name=\"", '"').into_iter().filter(|name| name.len() > 2).collect());
}

#[test]
fn actions_and_events_are_those_that_the_help_texts_have() {
    let (control, help) = (read("docs/control.md"), help());
    let events = first_column(part(&control, "\n| event |", "\n\n"));
    assert_eq!(events, between(&help, "<managerEvent name=\"", '"'));
    let marked = Document::read("docs/control.md").code();
    for action in between(&help, "<manager name=\"", '"') {
        assert!(marked.contains(&action), "docs/control.md does not name {action}");
    }
    let schema: Value = serde_json::from_str(&read("sidecar/src/events.schema.json")).expect("JSON");
    let kinds = schema["oneOf"].as_array().expect("kinds").iter().filter_map(|kind| kind["$ref"].as_str());
    let kinds: Names = kinds.map(|kind| kind.trim_start_matches("#/$defs/").to_owned()).collect();
    assert_eq!(first_column(part(&read("docs/events.md"), "\n| event | tells |", "\n\n")), kinds);
}

#[test]
fn paths_are_those_that_the_api_describes() {
    let description = description();
    let described: Names = description["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        })
        .collect();
    let mut named = Names::new();
    for document in Document::all() {
        for code in document.code() {
            let path = code.split('?').next().unwrap_or_default();
            if path.starts_with("GET /") || path.starts_with("POST /") {
                assert!(described.contains(path), "{}: there is no `{code}`", document.name);
                named.insert(path.to_owned());
            } else if path.starts_with("/api/") {
                let exists = described.iter().any(|known| known.ends_with(&format!(" {path}")));
                assert!(exists, "{}: there is no `{code}`", document.name);
            }
        }
    }
    // Named beside another: `/resume` of a call, and where the description itself is.
    for path in ["POST /api/calls/{id}/resume", "GET /api/openapi.json"] {
        named.insert(path.to_owned());
    }
    assert_eq!(named, described);
}

#[test]
fn every_figure_is_explained_and_no_other() {
    let place = Place::new("");
    let page = place.api.get("/metrics").body;
    let measured: Names = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ai_bridge_")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let explained = first_column(part(&read("docs/api.md"), "\n## Figures", "\n## "));
    let explained: Names = explained.iter().filter_map(|name| name.split('{').next()).map(str::to_owned).collect();
    assert_eq!(explained, measured);
}
