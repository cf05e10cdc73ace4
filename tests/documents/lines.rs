//! Every line that a document tells somebody to type, and who runs it.

use std::fs;

use super::root;
use crate::common::markdown::Document;

/// A line, where it stands, and what the document says is answered.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) place: String,
    pub(crate) text: String,
    pub(crate) answer: String,
}

/// Marked words that begin so are a line, too.
const PROGRAMS: [&str; 12] =
    ["apt-get", "asterisk", "bench", "cargo", "curl", "docker", "git", "make", "perf", "python", "RECORD=1", "sqlite3"];
const COMMANDS: [&str; 8] = ["ai", "core", "dialplan", "features", "module", "pjsip", "queue", "rtp"];

/// Marked words that name a program and are no line: it wants to be told more.
const NAMES: [&str; 5] = ["curl -v", "docker inspect", "docker stop", "perf record", "perf stat"];

/// Lines that another place runs: how the line begins, the file, and what in it runs the line.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("make test", ".ci/run", "exec make test"),
    ("make lint", "tests/all.sh", "make lint unit wire "),
    ("cargo fmt", "Makefile", "cargo fmt --all --check"),
    ("make wire", "tests/all.sh", "make lint unit wire "),
    ("make integration", "tests/all.sh", "\nmake integration\n"),
    ("make package-test", "tests/all.sh", " package-test"),
    ("make deb", "tests/packaging/package.sh", "documented 'make deb'"),
    ("make image-test", "tests/image/main.rs", "make image-test"),
    ("make image", "Makefile", "docker/build.sh; "),
    ("docker compose up", "tests/image/main.rs", "\"up\", \"-d\""),
    (
        "docker compose exec asterisk asterisk -C /run/asterisk/etc/asterisk.conf",
        "tests/image/main.rs",
        CONTAINERS_COMMAND_LINE,
    ),
    ("docker compose", "tests/image/main.rs", "fn compose("),
    ("python3 -m venv bot", "tests/cookbook/main.rs", "examples/raw_bot.py"),
    ("openssl req", "tests/encrypted.rs", "docs/trunks.md"),
    ("export", "tests/trunks/main.rs", ".join(\"trunk.sh\")).envs("),
    ("sh /etc/asterisk/trunk.sh", "tests/trunks/main.rs", ".join(\"trunk.sh\")).envs("),
    ("RECORD=1 cargo test -p ai-dialect --test transcripts", "sidecar/dialect/tests/transcripts.rs", "\"RECORD\""),
    // They take from minutes to hours.
    ("make bench", "tests/bench/src/main.rs", "fn every_run_that_a_document_names_can_be_had()"),
    ("bench", "tests/bench/src/main.rs", "fn every_run_that_a_document_names_can_be_had()"),
    ("cargo run --release -p bench --bin barge-in", "tests/bench/src/bin/barge-in/main.rs", "fn main()"),
];
const CONTAINERS_COMMAND_LINE: &str = r#""asterisk", "-C", "/run/asterisk/etc/asterisk.conf""#;

/// Documents whose blocks are all tried by tests of their own, which fail on one that they do not try.
const OWN_TESTS: [(&str, &str); 2] =
    [("docs/cookbook.md", "tests/cookbook/kitchen.rs"), ("docs/installing.md", "tests/packaging/documented.sh")];

/// True if all blocks of the document `name` are tried elsewhere.
pub(crate) fn has_own_tests(name: &str) -> bool {
    let mut own = OWN_TESTS.iter().filter(|(document, _)| *document == name);
    own.any(|(_, tests)| fs::read_to_string(root().join(tests)).is_ok_and(|text| text.contains(name)))
}

/// The documents whose blocks are tried here.
pub(crate) fn documents() -> Vec<Document> {
    Document::all().into_iter().filter(|document| !has_own_tests(&document.name)).collect()
}

/// Their lines for a shell.
pub(crate) fn of_the_shell() -> Vec<Line> {
    documents().iter().flat_map(|document| [typed(document), marked(document, &PROGRAMS)].concat()).collect()
}

/// The lines for Asterisk's command line, of all documents.
pub(crate) fn of_asterisk() -> Vec<Line> {
    let documents = Document::all();
    documents
        .iter()
        .flat_map(|document| {
            let blocks = document.blocks().into_iter().filter(|block| block.language == "cli");
            let typed = blocks.flat_map(|block| {
                let lines: Vec<_> = block.text.lines().map(|line| Line::new(&block.place, line)).collect();
                lines
            });
            typed.chain(marked(document, &COMMANDS)).collect::<Vec<_>>()
        })
        .chain(of_the_shell().iter().filter_map(Line::for_asterisk))
        .collect()
}

impl Line {
    fn new(place: &str, text: &str) -> Self {
        Self { place: place.to_owned(), text: text.to_owned(), answer: String::new() }
    }

    /// What a line for a shell has Asterisk's command line do.
    pub(crate) fn for_asterisk(&self) -> Option<Self> {
        let order = self.text.strip_prefix("asterisk -rx '")?.strip_suffix('\'')?;
        Some(Self::new(&self.place, order))
    }
}

/// Lines of blocks for a shell. In `sh` every line is one, in `console` those after a `$`.
fn typed(document: &Document) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for block in document.blocks() {
        for text in block.text.lines() {
            let goes_on = |last: &&mut Line| last.text.ends_with('\\') || last.text.matches('\'').count() % 2 == 1;
            match (block.language.as_str(), lines.last_mut().filter(goes_on)) {
                ("sh", Some(open)) => open.text += &format!("\n{text}"),
                ("sh", None) => lines.push(Line::new(&block.place, text.split(" #").next().unwrap_or(text).trim_end())),
                ("console", Some(open)) => open.text += &format!("\n{text}"),
                ("console", None) => match (text.strip_prefix("$ "), lines.last_mut()) {
                    (Some(command), _) => lines.push(Line::new(&block.place, command)),
                    (None, Some(last)) if last.place == block.place => last.answer += &format!("{text}\n"),
                    (None, _) => panic!("{}: '{text}' answers nothing", block.place),
                },
                _ => {}
            }
        }
    }
    lines
}

/// Marked words in the prose that begin with one of `programs` and have more to them.
fn marked(document: &Document, programs: &[&str]) -> Vec<Line> {
    let code = document.code().into_iter();
    let is_line = |text: &String| {
        let first = text.split(' ').next().unwrap_or_default();
        first != text && programs.contains(&first) && !NAMES.contains(&text.as_str())
    };
    code.filter(is_line).map(|text| Line::new(&document.name, &text)).collect()
}

/// What in another file runs `line`, if a file is named for it.
///
/// # Panics
/// When it does not any more.
pub(crate) fn is_run_elsewhere(line: &Line) -> bool {
    let begins = |begin: &str| line.text == begin || line.text.starts_with(&format!("{begin} "));
    let claims: Vec<_> = ELSEWHERE.iter().filter(|(begin, ..)| begins(begin)).collect();
    let holds = |file: &str, what: &str| fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains(what));
    let held = claims.iter().any(|(_, file, what)| holds(file, what));
    assert!(held || claims.is_empty(), "{}: what ran `{}` is gone: {claims:?}", line.place, line.text);
    held
}

/// A test, program or module of tests is so called: what `make integration TEST=` takes.
pub(crate) fn assert_tests_are_so_called(line: &Line) {
    let Some(name) = line.text.strip_prefix("make integration TEST=").filter(|name| !name.starts_with('-')) else {
        return;
    };
    let mut tests = String::new();
    super::sources(&root().join("tests"), &mut tests);
    let called = |line: &str| {
        line.trim().strip_prefix("fn ").or(line.trim().strip_prefix("mod ")).is_some_and(|rest| rest.contains(name))
    };
    assert!(tests.lines().any(called), "{}: no test has '{name}' in its name", line.place);
}
