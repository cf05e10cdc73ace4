//! The documents tell the truth: their links, their commands, their examples, the names in them.

#[path = "../common/mod.rs"]
mod common;

mod configuration;
mod lines;
mod names;
mod place;
mod proxy;
mod shell;
mod snippets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::markdown::Document;

/// What a block may be marked as.
const LANGUAGES: [&str; 10] = ["cli", "console", "ini", "js", "json", "nginx", "python", "sh", "text", "yaml"];

/// All of the tests' sources, here and in the crate of the dialects.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        match entry.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => text.push_str(&fs::read_to_string(&entry).expect("a source")),
            None if entry.is_dir() => sources(&entry, text),
            _ => {}
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files and sections that a document links to.
fn links(document: &Document) -> Vec<String> {
    let prose = document.prose();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.starts_with("http") && !target.starts_with('#')).map(str::to_owned).collect()
}

/// Every block is marked, and so claimed by one of the tests here: for a shell (`sh`, `console`) and for Asterisk (`cli`) by
/// `shell.rs`, lines of a file by `configuration.rs`, the rest by `snippets.rs` and tests of what they show.
#[test]
fn every_block_is_marked_as_what_it_is() {
    let mut marked = 0;
    for document in Document::all() {
        for block in document.blocks() {
            let (place, language) = (&block.place, block.language.as_str());
            assert!(LANGUAGES.contains(&language), "{place}: '{language}' is none of {LANGUAGES:?}");
            let files: &[&str] = match language {
                // Their own tests know where it belongs.
                "ini" if ["docs/cookbook.md", "docs/installing.md"].contains(&document.name.as_str()) => &[""],
                "ini" => &["ai_bridge.conf", "extensions.conf", "features.conf", "pjsip.conf", ".env"],
                "yaml" => &["prometheus.yml", "compose.override.yaml"],
                _ => &[""],
            };
            assert!(files.contains(&block.file.as_str()), "{place}: '{}' is none of {files:?}", block.file);
            let is_drawing = block.text.contains(['►', '─']) || block.text.starts_with("ws://");
            assert!(language != "text" || is_drawing, "{place}: this is no drawing");
            marked += 1;
        }
    }
    assert!(marked > 70, "{marked} blocks");
}

#[test]
fn from_the_readme_every_page_is_two_clicks_away_at_most() {
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    for _ in 0..2 {
        for name in reached.clone().iter().filter(|name| name.ends_with(".md")) {
            let folder = Path::new(name).parent().expect("a folder");
            for link in links(&Document::read(name)) {
                let file = folder.join(link.split('#').next().unwrap_or_default());
                reached.insert(file.to_string_lossy().replace("docs/../", ""));
            }
        }
    }
    for document in Document::all() {
        assert!(reached.contains(&document.name), "{} is further away", document.name);
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = 0;
    for document in Document::all() {
        for target in links(&document) {
            let (file, section) = target.split_once('#').unwrap_or((&target, ""));
            let file = root().join(&document.name).parent().expect("a folder").join(file);
            assert!(file.exists(), "{} links to {target}", document.name);
            let has = |title: &str| title.to_lowercase().replace(' ', "-") == section;
            let titled = section.is_empty()
                || fs::read_to_string(&file).is_ok_and(|text| {
                    text.lines().any(|line| has(line.trim_start_matches("# ").trim_start_matches('#').trim()))
                });
            assert!(titled, "{}: {} has no section {section}", document.name, file.display());
            found += 1;
        }
    }
    assert!(found > 40, "{found} links");
}

#[test]
fn every_command_that_is_named_exists() {
    let mut commands = String::new();
    sources(&root().join("res_ai_bridge"), &mut commands);
    let known: Vec<_> = commands.split("command: c\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let mut named = 0;
    for document in Document::all() {
        for command in document.code().iter().filter(|text| text.starts_with("ai ")) {
            let exists = known.iter().any(|known| command == known || command.starts_with(&format!("{known} ")));
            assert!(exists, "{} names the command `{command}`", document.name);
            named += 1;
        }
    }
    assert!(named > 20, "{named} commands are named");
}

#[test]
fn every_test_that_is_named_exists() {
    let root = root();
    let mut tests = String::new();
    sources(&root.join("tests"), &mut tests);
    sources(&root.join("sidecar/dialect/tests"), &mut tests);
    let document = fs::read_to_string(root.join("docs/dialects.md")).expect("it is there");
    let cells =
        document.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.split('`').skip(1).step_by(2));
    let mut named = 0;
    for name in cells.filter(|name| name.contains("::") || name.contains('_')) {
        let test = name.rsplit("::").next().expect("a name");
        let exists = [format!("fn {test}()"), format!("mod {test};")].iter().any(|line| tests.contains(line));
        assert!(exists, "docs/dialects.md names {name}");
        named += 1;
    }
    assert!(named > 30, "{named} tests are named");
}
