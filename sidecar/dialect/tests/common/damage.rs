//! Messages of the transcripts, to be damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// What a server of the dialect `name` sends, one message of every kind and shape, by the transcripts in tests/`folder`.
pub fn corpus(folder: &str, name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.unwrap().path());
    let of_dialect = files.filter(|file| {
        let stem = file.file_stem().expect("a name").to_str().expect("a plain name");
        stem == name || stem.starts_with(&format!("{name}-"))
    });
    let mut shapes = BTreeSet::new();
    let mut messages = Vec::new();
    for file in of_dialect {
        for line in fs::read_to_string(file).expect("a text").lines() {
            let mut step: Value = serde_json::from_str(line).expect("JSON");
            let message = step["server"].take();
            let kind = ["type", "event"].map(|key| message[key].as_str().unwrap_or_default().to_owned());
            if !message.is_null() && shapes.insert((kind, leaves(&message))) {
                messages.push(message);
            }
        }
    }
    assert!(!messages.is_empty(), "{name}");
    messages
}

/// Where in `value` there is something that is neither list nor object: JSON pointers.
pub fn leaves(value: &Value) -> Vec<String> {
    let below =
        |key: &str, value| leaves(value).into_iter().map(move |path| format!("/{key}{path}")).collect::<Vec<_>>();
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(key, value)| below(key, value)).collect(),
        Value::Array(items) => items.iter().enumerate().flat_map(|(at, item)| below(&at.to_string(), item)).collect(),
        _ => vec![String::new()],
    }
}

/// `message` with another field that nobody knows in every object.
pub fn extended(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: serde_json::Map<_, _> =
                fields.iter().map(|(key, value)| (key.clone(), extended(value))).collect();
            fields.insert("brand_new".into(), json!({"a": [null, {"type": "error"}]}));
            fields.into()
        }
        Value::Array(items) => items.iter().map(extended).collect(),
        other => other.clone(),
    }
}

/// `message` with `value` at `place`.
pub fn with(message: &Value, place: &str, value: Value) -> Value {
    let mut message = message.clone();
    *message.pointer_mut(place).expect("a place in it") = value;
    message
}

/// The next of a fixed row of numbers (xorshift64), below `limit`.
pub fn next(state: &mut u64, limit: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % limit as u64) as usize
}

/// `text` with some bytes changed, removed or repeated, as far as it stays UTF-8 as a WebSocket makes sure of.
pub fn mutated(text: &str, state: &mut u64) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=next(state, 3) {
        let at = next(state, bytes.len());
        match next(state, 4) {
            0 => bytes[at] = b"\"{}[],:0-9\\nte"[next(state, 14)],
            1 => bytes.truncate(at.max(1)),
            2 => drop(bytes.remove(at)),
            _ => bytes.extend_from_within(at..),
        }
        if bytes.is_empty() {
            bytes.push(b'{');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
