//! Conversations written down, replayed: what a dialect sends and tells when the provider, the caller and the clock do this.
//!
//! A transcript, `transcripts/<name>.jsonl`, has an object a line. The first gives the dialect, the phone and the settings.
//! Then come, in order, what happens (`open`, `server`, `server_audio`, `caller_audio_ms`, `digits`, `interrupt`,
//! `mark`, `tool_result`, `say`, `context`, `wait`, `end`; with `at_ms` after a time) and after each what the dialect makes
//! of it (`client`, `client_audio_ms`, `output`; with `at_ms` where time alone made it). `RECORD=1 cargo test -p ai-dialect --test transcripts`
//! writes down the latter anew: read what has changed before you believe it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ai_dialect::{ApiVersion, Noticed, Output, Payload, Session, Speaker, Tool};
use ai_media::{Encoding, Format};
use common::Talk;
use serde_json::{Map, Value, json};

#[test]
fn conversations_go_as_they_are_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).expect("a folder").map(|file| file.unwrap().path()).collect();
    files.sort();
    for provider in ai_dialect::PROVIDERS {
        let has_one = files.iter().any(|file| file.file_stem().is_some_and(|name| name == provider.name));
        assert!(has_one, "the dialect {} has no transcript", provider.name);
    }
    for file in files {
        let text = fs::read_to_string(&file).expect("a text");
        let written: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let replayed = Replay::of(&written);
        if std::env::var_os("RECORD").is_some() {
            fs::write(&file, replayed.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("to write");
            continue;
        }
        let longest = written.len().max(replayed.len());
        for number in 0..longest {
            let line = format!("{}:{}", file.display(), number + 1);
            assert_eq!(replayed.get(number), written.get(number), "{line}: replayed on the left, written on the right");
        }
    }
}

/// A transcript in the making.
struct Replay {
    talk: Talk,
    elapsed_ms: u64,
    lines: Vec<Value>,
}

impl Replay {
    fn of(written: &[Value]) -> Vec<Value> {
        let (head, steps) = written.split_first().expect("a transcript has a first line");
        let name = head["dialect"].as_str().expect("the dialect's name");
        let name = ai_dialect::provider(name).expect("a dialect").name;
        let phone = match head["phone"].as_str() {
            Some("ulaw") => Format::ULAW,
            Some("alaw") => Format::ALAW,
            _ => Format::slin(16_000),
        };
        let talk = Talk::new(name, session(&head["session"]), phone);
        let mut replay = Self { talk, elapsed_ms: 0, lines: vec![head.clone()] };
        for step in steps.iter().filter(|step| !is_consequence(step)) {
            replay.wait_until(step["at_ms"].as_u64().unwrap_or(replay.elapsed_ms));
            replay.lines.push(step.clone());
            replay.perform(step);
            replay.note_outputs(None);
        }
        replay.lines
    }

    /// Calls for whatever is due until then.
    fn wait_until(&mut self, at_ms: u64) {
        let start = self.talk.now - Duration::from_millis(self.elapsed_ms);
        let until = start + Duration::from_millis(at_ms.max(self.elapsed_ms));
        while let Some(due) = self.talk.dialect.next_timeout().filter(|due| *due <= until) {
            self.talk.now = self.talk.now.max(due);
            self.talk.dialect.handle_timeout(self.talk.now);
            self.note_outputs(Some((self.talk.now - start).as_millis()));
        }
        self.talk.now = until;
        self.elapsed_ms = at_ms.max(self.elapsed_ms);
    }

    fn perform(&mut self, step: &Value) {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let dialect = &mut self.talk.dialect;
        let (what, how) = step.as_object().unwrap().iter().find(|(key, _)| *key != "at_ms").expect("a step");
        match what.as_str() {
            "open" => dialect.handle_open(self.talk.now),
            "server" => dialect.handle_message(ai_dialect::Message::Text(&how.to_string())),
            "server_audio" => {
                let audio = base64_simd::STANDARD.decode_to_vec(text(how)).expect("base64");
                dialect.handle_message(ai_dialect::Message::Binary(&audio));
            }
            "caller_audio_ms" => {
                let format = dialect.caller_format();
                let silence = if format.encoding == Encoding::Slin { 0 } else { 0xff };
                dialect.handle_caller_audio(&vec![silence; bytes_in_ms(format, how.as_u64().expect("a time"))]);
            }
            "digits" => dialect.handle_digits(&text(how)),
            "interrupt" => {
                let by = if how["by"] == "us" { Noticed::ByUs } else { Noticed::ByProvider };
                let heard = how["heard"].as_array().into_iter().flatten().map(|heard| ai_dialect::Heard {
                    item: text(&heard["item"]).into(),
                    heard_ms: heard["heard_ms"].as_u64().expect("a time"),
                    received_ms: heard["received_ms"].as_u64().expect("a time"),
                });
                dialect.handle_interrupted(&heard.collect::<Vec<_>>(), by);
            }
            "mark" => dialect.handle_mark(&text(&how["name"]), how["heard"] == true),
            "tool_result" => {
                dialect.handle_tool_result(&text(&how["call_id"]), &text(&how["result"]), how["go_on"] == true);
            }
            "say" => assert!(dialect.handle_say(&text(how))),
            "context" => assert!(dialect.handle_context(&text(&how["text"]), how["answer"] == true)),
            "wait" => {}
            "end" => dialect.handle_end(),
            other => panic!("nobody knows the step {other}"),
        }
    }

    fn note_outputs(&mut self, at_ms: Option<u128>) {
        let format = self.talk.dialect.caller_format();
        for output in self.talk.outputs() {
            let mut line = consequence(&output, format);
            if let Some(at_ms) = at_ms {
                line.insert("at_ms".to_owned(), json!(at_ms));
            }
            self.lines.push(line.into());
        }
    }
}

fn is_consequence(step: &Value) -> bool {
    ["client", "client_audio_ms", "output"].iter().any(|key| step.get(key).is_some())
}

fn consequence(output: &Output, caller: Format) -> Map<String, Value> {
    let line = match output {
        Output::Send(text) => json!({"client": serde_json::from_str::<Value>(text).expect("we send JSON")}),
        Output::SendAudio { message, audio_bytes } => {
            assert!(
                matches!(message, Payload::Text(text) if text.len() > *audio_bytes)
                    || matches!(message, Payload::Binary(_))
            );
            json!({"client_audio_ms": caller.ms_in_bytes(*audio_bytes as u64)})
        }
        Output::AgentAudio { item, audio } => json!({"output": "AgentAudio", "item": **item, "bytes": audio.len()}),
        Output::Mark { name } => json!({"output": "Mark", "name": name}),
        Output::CallerSpeechStopped { at_ms } => json!({"output": "CallerSpeechStopped", "end_ms": at_ms}),
        Output::Transcript { speaker, text, complete } => {
            let speaker = if *speaker == Speaker::Caller { "caller" } else { "agent" };
            json!({"output": "Transcript", "speaker": speaker, "text": text, "complete": complete})
        }
        Output::ToolCall { call_id, name, arguments } => {
            json!({"output": "ToolCall", "call_id": call_id, "name": name, "arguments": arguments})
        }
        Output::Resumable { handle } => json!({"output": "Resumable", "handle": handle}),
        Output::Expiring { within } => json!({"output": "Expiring", "within_ms": within.as_millis()}),
        Output::Fault(fault) => {
            json!({"output": "Fault", "kind": format!("{:?}", fault.kind), "message": fault.message})
        }
        Output::Unrecognised(what) => json!({"output": "Unrecognised", "what": what}),
        // The others say no more than their name.
        other => json!({"output": format!("{other:?}")}),
    };
    line.as_object().expect("an object").clone()
}

fn session(settings: &Value) -> Session {
    let text = |key: &str| settings[key].as_str().unwrap_or_default().to_owned();
    let tool = |tool: &Value| Tool {
        name: tool["name"].as_str().expect("a name").to_owned(),
        description: tool["description"].as_str().unwrap_or_default().to_owned(),
        parameters: tool["parameters"].clone(),
    };
    Session {
        url: text("url"),
        call_id: text("call_id"),
        model: text("model"),
        agent_id: text("agent_id"),
        instructions: text("instructions"),
        greeting: text("greeting"),
        transcription_model: text("transcription_model"),
        api_version: if settings["api_version"] == "beta" { ApiVersion::Beta } else { ApiVersion::Ga },
        tools: settings["tools"].as_array().into_iter().flatten().map(tool).collect(),
        ..Session::default()
    }
}

fn bytes_in_ms(format: Format, ms: u64) -> usize {
    let sample_bytes = if format.encoding == Encoding::Slin { 2 } else { 1 };
    usize::try_from(ms * u64::from(format.rate_hz) / 1000 * sample_bytes).expect("a short time")
}
