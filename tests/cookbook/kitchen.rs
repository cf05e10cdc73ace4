//! Reads the cookbook, and tries a recipe in an Asterisk of its own.

use std::collections::BTreeMap;
use std::fs;

use practice_agent::{Server, Session};
use rig::{Phone, PhoneCall, Rig, speech, write_wav};

use crate::common::markdown::Document;
use crate::common::{SOON, Stage};

/// The account of the practice agent.
pub(crate) const KEY: &str = "key-of-the-cookbook";
/// Of the control API.
pub(crate) const TOKEN: &str = "a-token-of-32-characters-or-more";
/// What the recipes call OpenAI, and a person's phone.
const OPENAI: &str = "wss://api.openai.com/v1/realtime";
const SONIOX: &str = "dialect = soniox\n";
const PERSON: &str = "PJSIP/1002";
const TRUNK: &str = "PJSIP/{{number}}@mytrunk";

const BOOK: &str = "docs/cookbook.md";

/// What the recipes are called.
pub(crate) fn titles() -> Vec<String> {
    Document::read(BOOK).text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect()
}

/// How many recipes have a line to be typed.
pub(crate) fn commands() -> usize {
    Document::read(BOOK).blocks().iter().filter(|block| block.language == "console").count()
}

/// What goes into which file, and what is typed.
#[derive(Clone)]
pub(crate) struct Recipe {
    files: BTreeMap<String, String>,
    commands: Vec<String>,
}

impl Recipe {
    /// The recipe of this title, with what the cookbook says for all of them.
    pub(crate) fn called(title: &str) -> Self {
        let book = Document::read(BOOK).text;
        let mut parts = book.split("\n## ");
        let common = parts.next().expect("an introduction").to_owned();
        let own = parts.find(|part| part.lines().next() == Some(title));
        let own = own.unwrap_or_else(|| panic!("there is no recipe '{title}'")).to_owned();
        let mut recipe = Self { files: BTreeMap::new(), commands: Vec::new() };
        for text in [common, own] {
            for block in (Document { name: BOOK.to_owned(), text }).blocks() {
                recipe.add(&block.text);
            }
        }
        recipe
    }

    fn add(&mut self, block: &str) {
        if let Some(command) = block.strip_prefix("$ ") {
            self.commands.push(command.trim().to_owned());
            return;
        }
        let (name, text) = block.split_once('\n').expect("a file's name and its lines");
        let name = name.strip_prefix("; ").unwrap_or_else(|| panic!("no file is named: {name}"));
        let file = self.files.entry(name.to_owned()).or_default();
        file.push_str(text);
        file.push('\n');
    }

    /// The same with `to` in the place of `from`, which is there.
    pub(crate) fn with(&self, from: &str, to: &str) -> Self {
        let (mut recipe, mut found) = (self.clone(), false);
        for text in recipe.files.values_mut().chain(&mut recipe.commands) {
            found |= text.contains(from);
            *text = text.replace(from, to);
        }
        assert!(found, "no {from} in the recipe");
        recipe
    }

    /// The one line that is typed.
    pub(crate) fn command(&self) -> &str {
        assert_eq!(self.commands.len(), 1, "{:?}", self.commands);
        &self.commands[0]
    }

    fn file(&self, name: &str) -> &str {
        self.files.get(name).map_or("", String::as_str)
    }
}

/// An Asterisk with a recipe, and a person's phone that rings when it is dialled.
pub(crate) struct Kitchen {
    pub(crate) person: PhoneCall,
    stage: Stage,
}

impl Kitchen {
    pub(crate) fn of(recipe: &Recipe) -> Self {
        let prepare = |rig: rig::Builder, url: &str| {
            let services = url.trim_end_matches("/v1/realtime");
            let chat = services.replacen("ws:", "http:", 1);
            let listens =
                format!("{SONIOX}url = {services}/transcribe-websocket\nhint_url = {chat}/api/v1/chat/completions\n");
            let profiles = recipe.file("ai_bridge.conf").replace(OPENAI, url).replace(SONIOX, &listens);
            rig.append("ai_bridge.conf", profiles)
                .env("OPENAI_REALTIME_MODEL", "practice")
                .env("OPENAI_API_KEY", KEY)
                .env("SONIOX_API_KEY", KEY)
                .env("OPENROUTER_API_KEY", KEY)
                .env("AI_BRIDGE_TOKEN", TOKEN)
        };
        let stage = Stage::with(crate::passive(), prepare, "");
        let person = Phone::new(&stage.rig).ring().expect("the phone starts");
        let kitchen = Self { person, stage };
        kitchen.serve(recipe);
        kitchen
    }

    /// Puts into force what needs to know the phone or the folder.
    fn serve(&self, recipe: &Recipe) {
        let rig = &self.stage.rig;
        let phone = format!("PJSIP/1001/{}", self.person.uri());
        let shipped = fs::read_to_string(rig.directory().join("etc/extensions.conf")).expect("it is there");
        // Recipes bring this context along.
        let shipped = shipped.replace("[ai-outbound]", "[shipped-outbound]");
        let mut dialplan = recipe.file("extensions.conf").replace(PERSON, &phone);
        for prompt in prompts(&dialplan) {
            let name = prompt.replace("custom/", "");
            let spoken = speech(&name.replace('-', " "), 8000).expect("spoken");
            write_wav(rig.directory().join(format!("run/{name}.wav")), 8000, &[&spoken]).expect("written");
            dialplan = dialplan.replace(&prompt, &rig.path_inside(&format!("run/{name}")));
        }
        rig.write_config(
            "extensions.conf",
            &format!("{shipped}\n{dialplan}\n[kitchen]\nexten => person,1,Dial({phone})\n"),
        )
        .expect("written");
        // A queue calls nobody whose phone is not registered.
        let queues = recipe.file("queues.conf").replace(PERSON, "Local/person@kitchen");
        rig.write_config("queues.conf", &format!("[general]\n\n{queues}")).expect("written");
        let config = fs::read_to_string(rig.directory().join("etc/ai_bridge.conf")).expect("it is there");
        let trunk = phone.replace("sip:phone@", "sip:{{number}}@");
        rig.write_config("ai_bridge.conf", &config.replace(TRUNK, &trunk)).expect("written");
        for order in ["dialplan reload", "queue reload all", "module reload res_ai_bridge.so"] {
            self.cli(order);
        }
        let refused: Vec<_> = rig.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }

    pub(crate) fn rig(&self) -> &Rig {
        &self.stage.rig
    }

    pub(crate) fn agent(&self) -> &Server {
        &self.stage.agent
    }

    pub(crate) fn cli(&self, order: &str) -> String {
        self.stage.cli(order)
    }

    pub(crate) fn dial(&self, extension: &str) -> PhoneCall {
        self.stage.dial(extension)
    }

    pub(crate) fn session(&self) -> Session {
        self.stage.agent.next_session(SOON).expect("the module connects")
    }

    /// An answered call of `extension`, and the agent's side of it.
    pub(crate) fn talk(&self, extension: &str) -> (PhoneCall, Session) {
        self.stage.talk(extension)
    }
}

/// Sounds that a recipe expects somebody to have recorded.
fn prompts(dialplan: &str) -> Vec<String> {
    let words = dialplan.split(|character: char| !(character.is_ascii_alphanumeric() || "/-".contains(character)));
    words.filter(|word| word.starts_with("custom/")).map(str::to_owned).collect()
}
