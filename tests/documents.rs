//! The documents tell of tests that exist.

use std::fs;
use std::path::Path;

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

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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
