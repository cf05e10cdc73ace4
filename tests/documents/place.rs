//! Where a reader of the documents sits: a machine on which Asterisk runs with the module and the control API, and a call is
//! up.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use practice_agent::{Script, Server};
use rig::PhoneCall;
use rig::http::Api;

use crate::common::markdown::Document;
use crate::common::{SOON, Stage, eventually};

/// What the documents have where each place has something of its own.
const API_ADDRESS: &str = "127.0.0.1:9000";
const ASTERISKS_FILES: &str = "/var/lib/asterisk/";
const BACKUPS: &str = "/var/backups/";

/// A token, and the secret of webhooks.
pub(crate) const SECRET: &str = "a-token-of-32-characters-or-more";

pub(crate) struct Place {
    pub(crate) stage: Stage,
    pub(crate) api: Api,
    /// Id of the call that is up.
    pub(crate) session: String,
    folder: PathBuf,
    _call: PhoneCall,
}

impl Place {
    /// With the control API as docs/api.md switches it on; `more` lines go into `[general]`.
    pub(crate) fn new(more: &str) -> Self {
        let api = Api { address: ([127, 0, 0, 1], rig::http::free_port()).into(), token: SECRET.to_owned() };
        let general = Document::read("docs/api.md").blocks().remove(0).text;
        assert!(general.starts_with("[general]\n"), "{general}");
        let general = general.replace(API_ADDRESS, &api.address.to_string()) + "default_profile = assistant\n" + more;
        let config = |url: &str| {
            format!(
                "{general}\n[assistant]\nurl = {url}\nmodel = practice\nbarge_in = server\n\n\
                 [line]\ntype = trunk\ndial = Local/{{{{number}}}}@nobody\n"
            )
        };
        let prepare = |rig: rig::Builder, url: &str| {
            rig.config("ai_bridge.conf", config(url))
                .env("AI_BRIDGE_TOKEN", SECRET)
                .env("AI_BRIDGE_WEBHOOK_SECRET", SECRET)
        };
        let nobody = "[nobody]\nexten => _X.,1,Wait(20)\n";
        let stage = Stage::with(Server::builder().script(Script::new()), prepare, nobody);
        api.wait(SOON).expect("the control API answers");
        let (call, _session) = stage.talk("7000");
        let folder = stage.rig.directory().join("reader");
        fs::create_dir(&folder).expect("a folder");
        let calls = api.get("/api/calls?status=talking").json();
        let session = calls["calls"][0]["id"].as_str().unwrap_or_else(|| panic!("no call is up: {calls}")).to_owned();
        let transcript = format!("/api/calls/{session}/transcript");
        eventually("the call is in the log of calls", SOON, || api.get(&transcript).status == 200);
        Self { stage, api, session, folder, _call: call }
    }

    /// A line of a document with what is this place's own.
    pub(crate) fn own(&self, line: &str) -> String {
        let folder = |path: PathBuf| format!("{}/", path.display());
        line.replace(API_ADDRESS, &self.api.address.to_string())
            .replace(ASTERISKS_FILES, &folder(self.files()))
            .replace(BACKUPS, &folder(self.folder.clone()))
    }

    /// Where Asterisk keeps its files.
    fn files(&self) -> PathBuf {
        self.stage.rig.directory().join("lib")
    }

    /// Runs a line of a document in a shell, and gives what it prints.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut shell = Command::new("sh");
        shell.args(["-c", &self.own(line)]).current_dir(self.files());
        printed(shell.env("AI_BRIDGE_TOKEN", SECRET))
    }
}

/// What `command` prints, which has to succeed.
pub(crate) fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    format!("{stdout}{stderr}")
}
