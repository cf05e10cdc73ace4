//! The documents tell of tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The README and everything in `docs/`, by name.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let readable = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let all = readable.chain([root().join("README.md"), root().join("CONTRIBUTING.md")]);
    all.map(|path| (path.clone(), fs::read_to_string(path).expect("a document"))).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for (path, text) in documents() {
        let prose: String = text.split("```").step_by(2).collect();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http") && !target.starts_with('#')) {
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let file = path.parent().expect("a folder").join(file);
            let there = file.exists();
            assert!(there, "{} links to {target}", path.display());
            let has = |title: &str| title.to_lowercase().replace(' ', "-") == section;
            let titled = section.is_empty()
                || fs::read_to_string(&file).is_ok_and(|text| {
                    text.lines().any(|line| has(line.trim_start_matches("# ").trim_start_matches('#').trim()))
                });
            assert!(titled, "{}: {} has no section {section}", path.display(), file.display());
            links += 1;
        }
    }
    assert!(links > 40, "{links} links");
}

#[test]
fn every_command_that_is_named_exists() {
    let mut commands = String::new();
    sources(&root().join("res_ai_bridge"), &mut commands);
    let known: Vec<_> = commands.split("command: c\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let mut named = 0;
    for (path, text) in documents() {
        let prose: String = text.split("```").step_by(2).collect();
        let quoted =
            prose.split('`').skip(1).step_by(2).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        for command in quoted.filter(|text| text.starts_with("ai ")) {
            let exists = known.iter().any(|known| command == *known || command.starts_with(&format!("{known} ")));
            assert!(exists, "{} names the command `{command}`", path.display());
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
