//! The documents, as tests read them.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// A document of this checkout.
pub struct Document {
    /// Its path from the checkout's top.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// Lines between two fences.
#[derive(Debug, Clone)]
pub struct Block {
    /// Document and line of its first fence, for messages.
    pub place: String,
    /// The first word after the fence: what GitHub colours it as. Empty: there is none.
    pub language: String,
    /// The second: the file that the lines belong into. Empty: there is none.
    pub file: String,
    /// The lines themselves.
    pub text: String,
}

impl Document {
    /// The document `name`.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(path).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        Self { name: name.to_owned(), text }
    }

    /// README, CONTRIBUTING and everything in `docs/`.
    pub fn all() -> Vec<Self> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let files = fs::read_dir(docs).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = files.filter_map(|file| Some(format!("docs/{}", file.to_str()?))).collect();
        names.retain(|name| name.ends_with(".md"));
        names.extend(["README.md".to_owned(), "CONTRIBUTING.md".to_owned()]);
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// Its blocks.
    pub fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open) = (Vec::new(), None::<Block>);
        for (number, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(info), None) => {
                    let mut words = info.split_whitespace().map(str::to_owned);
                    let (language, file) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                    let place = format!("{}:{}", self.name, number + 1);
                    open = Some(Block { place, language, file, text: String::new() });
                }
                (None, Some(block)) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "a fence is not closed: {open:?}");
        blocks
    }

    /// What is between the blocks.
    pub fn prose(&self) -> String {
        self.text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
    }

    /// The words in the prose that are marked as code, blanks and line breaks as one blank each.
    pub fn code(&self) -> Vec<String> {
        let prose = self.prose().replace("\\|", "|");
        let marked = prose.split('`').skip(1).step_by(2);
        marked.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

/// True if `real` has the keys and the kinds of values that `told`, an example, has. What an example leaves out is marked with
/// a key `…`; null stands for any value that may be missing.
pub fn is_same_shape(told: &Value, real: &Value) -> bool {
    match (told, real) {
        (Value::Object(told), Value::Object(real)) => {
            told.contains_key("…")
                || (told.keys().eq(real.keys()) && told.iter().all(|(key, value)| is_same_shape(value, &real[key])))
        }
        (Value::Array(told), Value::Array(real)) => match (told.first(), real.first()) {
            (Some(told), Some(real)) => is_same_shape(told, real),
            (told, real) => told.is_none() == real.is_none(),
        },
        (Value::Null, _) | (_, Value::Null) => true,
        _ => std::mem::discriminant(told) == std::mem::discriminant(real),
    }
}
