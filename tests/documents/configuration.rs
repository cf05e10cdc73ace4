//! Lines for configuration files are loaded by a real Asterisk, which has nothing to say against them.

use std::collections::BTreeSet;
use std::fs;

use rig::{Rig, speech, write_wav};

use super::root;
use crate::common::markdown::{Block, Document};
use crate::lines::documents;
use crate::place::SECRET;

/// All blocks for a configuration file.
fn blocks(file: &str) -> Vec<Block> {
    let blocks: Vec<_> = documents().iter().flat_map(Document::blocks).filter(|block| block.file == file).collect();
    assert!(!blocks.is_empty(), "no document has lines for {file}");
    blocks
}

fn asterisk() -> Rig {
    let modules = "load = app_celgenuserevent.so\nload = app_stack.so\n";
    let mut rig = Rig::builder().config("desk.md", "Help.\n").edit("modules.conf", "load = app_stack.so\n", modules);
    for document in documents() {
        for name in document.text.split("${ENV(").skip(1).filter_map(|rest| rest.split(')').next()) {
            rig = rig.env(name, SECRET);
        }
    }
    let rig = rig.start().expect("Asterisk starts");
    let spoken = speech("One moment, please", 8000).expect("spoken");
    // Its own, in the place of the distribution's.
    let sounds = rig.directory().join("data/sounds");
    let _ = fs::remove_file(&sounds);
    fs::create_dir(&sounds).expect("a folder");
    write_wav(sounds.join("one-moment-please.wav"), 8000, &[&spoken]).expect("written");
    rig
}

/// What Asterisk logs against `order`, and that it is carried out.
fn assert_takes(rig: &Rig, order: &str, place: &str) {
    let before = rig.log().len();
    let answer = rig.cli(order).expect("Asterisk answers");
    let log = rig.log();
    let against: Vec<_> =
        log[before..].lines().filter(|line| line.contains("WARNING") || line.contains("ERROR")).collect();
    assert!(against.is_empty(), "{place}: {against:#?}");
    assert!(!answer.contains("No such") && !answer.contains("error"), "{place}: {order}: {answer}");
}

#[test]
fn the_module_takes_every_profile() {
    let rig = asterisk();
    for block in blocks("ai_bridge.conf") {
        let section = if block.text.starts_with('[') { "" } else { "[general]\n" };
        let address = format!("127.0.0.1:{}", rig.ports().spare);
        // What a document leaves out is marked with an ellipsis.
        let text = block.text.replace("127.0.0.1:9000", &address).replace("\n…\n", "\nurl = ws://127.0.0.1:1\n");
        rig.write_config("ai_bridge.conf", &format!("{section}{text}")).expect("written");
        assert_takes(&rig, "module reload res_ai_bridge.so", &block.place);
        for name in text.lines().filter_map(|line| line.strip_prefix('[')?.split(']').next()) {
            let is_agent = text.contains(&format!("[{name}]\ntype = agent"));
            let shown = rig.cli("ai show profiles").expect("Asterisk answers");
            assert!(!is_agent || shown.contains(name), "{}: there is no profile {name}: {shown}", block.place);
        }
    }
}

#[test]
fn asterisk_takes_every_dialplan() {
    let rig = asterisk();
    let shipped = fs::read_to_string(rig.directory().join("etc/extensions.conf")).expect("it is there");
    // The log would be full of what the example replaces.
    let shipped = shipped.split("\n; Calls").next().unwrap_or_default();
    for block in blocks("extensions.conf") {
        let context = if block.text.starts_with('[') { "" } else { "[example]\n" };
        let begin = if block.text.starts_with(" same") { "exten => 100,1,NoOp()\n" } else { "" };
        rig.write_config("extensions.conf", &format!("{shipped}\n{context}{begin}{}", block.text)).expect("written");
        assert_takes(&rig, "dialplan reload", &block.place);
        for (kind, name) in called(&block.text) {
            let help = rig.cli(&format!("core show {kind} {name}")).expect("Asterisk answers");
            assert!(help.contains("Syntax"), "{}: there is no {kind} {name}: {help}", block.place);
        }
    }
}

/// Applications and functions of lines of dialplan.
fn called(text: &str) -> BTreeSet<(&'static str, String)> {
    let word =
        |text: &str| text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    let steps = text.lines().filter_map(|line| {
        let (kind, rest) = line.split_once("=>")?;
        rest.splitn(3, ',').nth(if kind.trim() == "exten" { 2 } else { 1 })
    });
    let applications = steps.map(|step| ("application", word(step)));
    let values = text.split("${").skip(1).map(|rest| (rest, word(rest)));
    let functions = values.filter(|(rest, name): &(&str, String)| rest[name.len()..].starts_with('('));
    applications.chain(functions.map(|(_, name)| ("function", name))).collect()
}

#[test]
fn asterisk_takes_every_feature() {
    let rig = asterisk();
    for block in blocks("features.conf") {
        rig.write_config("features.conf", &format!("[general]\n\n{}", block.text)).expect("written");
        assert_takes(&rig, "module reload features", &block.place);
        let shown = rig.cli("features show").expect("Asterisk answers");
        for name in block.text.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
            assert!(shown.contains(name), "{}: there is no feature {name}: {shown}", block.place);
        }
    }
}

#[test]
fn asterisk_takes_every_line_about_sip() {
    for block in blocks("pjsip.conf") {
        let rig = Rig::builder().append("pjsip.conf", format!("\n{}", block.text)).start().expect("Asterisk starts");
        let section = block.text.split(['[', ']']).nth(1).expect("a section");
        let shown = rig.cli(&format!("pjsip show transport {section}")).expect("Asterisk answers");
        for (name, value) in block.text.lines().filter_map(|line| line.split_once(" = ")) {
            // A network is shown with its mask.
            let value = value.split('/').next().unwrap_or(value);
            let has = shown.lines().any(|line| line.contains(name) && line.contains(value));
            assert!(has, "{}: {name} is not taken: {shown}", block.place);
        }
    }
}

#[test]
fn compose_passes_on_every_variable_of_the_table() {
    let compose = fs::read_to_string(root().join("compose.yaml")).expect("it is there");
    let page = Document::read("docs/docker.md").text;
    let (_, table) = page.split_once("\n## Variables\n").expect("there is a table");
    let rows = table.lines().take_while(|line| !line.starts_with('#')).filter_map(|line| line.strip_prefix("| "));
    let is_name =
        |name: &&str| name.len() > 1 && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
    let names = rows.flat_map(|row| {
        // The row for any key names the usual ones beside it.
        let cells = if row.starts_with("`AI_<KEY>`") { 2 } else { 1 };
        row.split(" | ").take(cells).flat_map(|cell| cell.split('`')).filter(is_name).collect::<Vec<_>>()
    });
    let names: Vec<_> = names.collect();
    assert!(names.len() > 45, "{names:?}");
    for name in names {
        let passed = [format!("- {name}\n"), format!("- {name}="), format!("${{{name}:")];
        assert!(passed.iter().any(|form| compose.contains(form)), "compose.yaml does not pass {name} on");
    }
}

#[test]
fn the_container_knows_every_variable() {
    let known =
        ["compose.yaml", "docker/configure.sh"].map(|file| fs::read_to_string(root().join(file)).expect("it is there"));
    for block in blocks(".env") {
        for name in block.text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name) {
            assert!(known.iter().any(|text| text.contains(name)), "{}: nothing reads {name}", block.place);
        }
    }
}
