//! A SIP trunk as people have one: a provider, which is another real Asterisk at an address of its own, and an exchange with
//! the configuration that is shipped and an account from the environment.
//!
//! ```text
//!  somebody's phone ◄─ SIP ─► provider: wants a password  ◄─ SIP ─► exchange: asterisk-conf/ + trunk.sh ◄─► operator, AI
//! ```

#[path = "../common/mod.rs"]
mod common;

mod account;
mod inbound;
mod outbound;
mod registration;
mod strangers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Stage;
use common::provider::{ANN, OWN, PASSWORD, Provider, USER, own_address};
use practice_agent::{Script, Server};
use rig::{Builder, Rig};

/// Runs the trunk.sh of a configuration.
fn run_script(folder: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("sh");
    command.arg(folder.join("trunk.sh")).envs(environment.iter().copied()).output().expect("a shell")
}

/// What trunk.sh does with an environment, in a copy of the configuration.
struct Account {
    folder: PathBuf,
    output: Output,
}

impl Account {
    fn new(environment: &[(&str, &str)]) -> Self {
        let [a, b, ..] = own_address().octets();
        let folder = rig::checkout().join(format!("target/tmp/trunk-{}-{a}-{b}", std::process::id()));
        fs::create_dir_all(&folder).expect("target can be written");
        for file in fs::read_dir(rig::checkout().join("asterisk-conf")).expect("it is there").flatten() {
            fs::copy(file.path(), folder.join(file.file_name())).expect("a copy");
        }
        let output = run_script(&folder, environment);
        Self { folder, output }
    }

    fn write(&mut self, environment: &[(&str, &str)]) {
        self.output = run_script(&self.folder, environment);
    }

    /// What it said.
    fn says(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The file `name` that it has written; `None`: it has not.
    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts what it has written into a configuration.
    fn configure(&self, rig: Builder) -> Builder {
        assert!(self.output.status.success(), "{}", self.says());
        let files = ["pjsip_trunk.conf", "ai_bridge_trunk.conf"];
        files
            .into_iter()
            .filter_map(|name| Some((name, self.file(name)?)))
            .fold(rig, |rig, (name, text)| rig.config(name, text))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An exchange with the shipped configuration and this account, whose AI and transcriber are a server of this test.
fn exchange(account: &Account) -> Stage {
    exchange_with(account, |rig| rig)
}

fn exchange_with(account: &Account, prepare: impl FnOnce(Builder) -> Builder) -> Stage {
    let agent = Server::builder().script(Script::new()).start().expect("the practice agent starts");
    let rig = Rig::builder().edit("ai_bridge.conf", "127.0.0.1:9797", &agent.address().to_string());
    let rig = prepare(account.configure(rig)).start().expect("Asterisk starts");
    Stage { rig, agent }
}

/// A provider, and an exchange that is registered there.
fn connected() -> (Provider, Stage) {
    connected_to(&[])
}

/// The same with more in the environment.
fn connected_to(environment: &[(&str, &str)]) -> (Provider, Stage) {
    let provider = Provider::start();
    let domain = provider.domain();
    let account = [("TRUNK_USER", USER), ("TRUNK_PASSWORD", PASSWORD), ("TRUNK_DOMAIN", &domain)];
    let stage = exchange(&Account::new(&[&account, environment].concat()));
    provider.wait_registered();
    (provider, stage)
}

/// Warnings and errors in a log.
fn complaints(rig: &Rig) -> Vec<String> {
    rig.log().lines().filter(|line| line.contains("WARNING[") || line.contains("ERROR[")).map(str::to_owned).collect()
}
