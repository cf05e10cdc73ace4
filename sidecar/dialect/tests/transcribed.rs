//! Streams written down, replayed: what a transcriber sends and tells when the service, the speaker and the clock do this.
//!
//! As tests/transcripts.rs, for `transcribed/<name>.jsonl`: what happens is `open`, `server`, `audio_ms`, `pause`, `wait`
//! and `end`. `RECORD=1 cargo test -p ai-dialect --test transcribed` writes down anew what comes of it.

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use ai_dialect::transcriber::{Listening, TRANSCRIBERS, Transcribed};
use ai_media::Format;
use common::hearing::{Hearing, listening};
use serde_json::{Value, json};

#[test]
fn streams_go_as_they_are_written_down() {
    for provider in TRANSCRIBERS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcribed/{}.jsonl", provider.name));
        let text = fs::read_to_string(&file).expect("every transcriber has a transcript");
        let written: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let replayed = replay(provider.name, &written);
        if std::env::var_os("RECORD").is_some() {
            fs::write(&file, replayed.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("to write");
            continue;
        }
        for number in 0..written.len().max(replayed.len()) {
            let line = format!("{}:{}", file.display(), number + 1);
            assert_eq!(replayed.get(number), written.get(number), "{line}: replayed on the left, written on the right");
        }
    }
}

fn replay(name: &'static str, written: &[Value]) -> Vec<Value> {
    let (head, steps) = written.split_first().expect("a transcript has a first line");
    let terms = head["terms"].as_array().into_iter().flatten();
    let terms = terms.map(|term| term.as_str().expect("a word").to_owned()).collect();
    let mut hearing = Hearing::new(name, Listening { terms, ..listening(name) }, Format::ALAW);
    let mut lines = vec![head.clone()];
    let mut elapsed_ms = 0;
    for step in steps.iter().filter(|step| step.get("client").is_none() && step.get("output").is_none()) {
        let at_ms = step["at_ms"].as_u64().expect("a time");
        let outputs = hearing.wait(Duration::from_millis(at_ms - elapsed_ms));
        lines.extend(outputs.iter().map(consequence));
        elapsed_ms = at_ms;
        lines.push(step.clone());
        let (what, how) = step.as_object().unwrap().iter().find(|(key, _)| *key != "at_ms").expect("a step");
        let outputs = match what.as_str() {
            "open" => hearing.open(),
            "server" => hearing.told(how.clone()),
            "audio_ms" => hearing.hear(&vec![0xd5; Format::ALAW.bytes_in_ms(how.as_u64().expect("a time"))]),
            "pause" => hearing.pause(),
            "wait" => Vec::new(),
            "end" => hearing.end(),
            other => panic!("nobody knows the step {other}"),
        };
        lines.extend(outputs.iter().map(consequence));
    }
    lines
}

fn consequence(output: &Transcribed) -> Value {
    match output {
        Transcribed::Send(text) if text.is_empty() => json!({"client": ""}),
        Transcribed::Send(text) => json!({"client": serde_json::from_str::<Value>(text).expect("we send JSON")}),
        Transcribed::SendAudio { audio_bytes, .. } => {
            json!({"client": {"audio_ms": Format::ALAW.ms_in_bytes(*audio_bytes as u64)}})
        }
        Transcribed::Interim { text, start_ms } => json!({"output": "Interim", "text": text, "start_ms": start_ms}),
        Transcribed::Line { text, start_ms, end_ms } => {
            json!({"output": "Line", "text": text, "start_ms": start_ms, "end_ms": end_ms})
        }
        Transcribed::Fault(fault) => {
            json!({"output": "Fault", "kind": format!("{:?}", fault.kind), "message": fault.message})
        }
        Transcribed::Unrecognised(what) => json!({"output": "Unrecognised", "what": what}),
        Transcribed::Ready | Transcribed::Finished => json!({"output": format!("{output:?}")}),
    }
}
