//! The Docker image as people run it: `make image-test` builds it and runs these tests with an engine.
//!
//! Each container is published on a loopback address of its own, so that nothing else on the machine is in the way.

#[path = "../common/mod.rs"]
mod common;

mod doors;
mod life;
mod settings;
mod trunk;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use common::SOON;
use rig::http::Api;
use rig::{Phone, PhoneCall};

/// Long enough for a container to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Louder than this is speech. [of full scale]
const SPEECH_LEVEL: f64 = 0.01;
const IMAGE: &str = "res_ai_bridge";

/// One container. Dropping it removes it with its volumes.
struct Container {
    name: String,
    address: &'static str,
    composed: bool,
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|problem| panic!("{command:?}: {problem}"))
}

/// What a command prints, which has to succeed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {stdout}{stderr}");
    stdout.trim().to_owned()
}

fn docker(arguments: &[&str]) -> String {
    run(Command::new("docker").args(arguments))
}

/// `compose.yaml` without the settings of whoever runs the tests.
fn compose(project: &str, settings: &[(&str, &str)]) -> Command {
    let none = directory().join("no.env");
    fs::write(&none, "").expect("target can be written");
    let mut command = Command::new("compose");
    command.args(["-f", "compose.yaml", "-p", project, "--env-file"]).arg(none).current_dir(rig::checkout());
    let file = fs::read_to_string(rig::checkout().join("compose.yaml")).expect("it is there");
    for name in file.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_')).filter(|name| name.len() > 1)
    {
        command.env_remove(name);
    }
    command.envs(settings.iter().copied());
    command
}

impl Container {
    /// `docker compose up` on `address`.
    fn compose(address: &'static str, settings: &[(&str, &str)]) -> Self {
        let project = format!("image-test-{}", std::process::id());
        let settings: Vec<_> =
            settings.iter().copied().chain([("SIP_ADDRESS", address), ("API_ADDRESS", address)]).collect();
        run(compose(&project, &settings).args(["up", "-d"]));
        let name = run(compose(&project, &settings).args(["ps", "-q"]));
        Self { name, address, composed: true }
    }

    /// `docker run`, with as little as possible, on the host's network: Docker takes seconds to publish a hundred ports.
    fn on_host(address: &'static str, arguments: &[&str]) -> Self {
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--network=host", "--read-only", "--cap-drop=ALL"]);
        command.args(["--tmpfs=/run/asterisk", "--tmpfs=/var/log/asterisk", "--tmpfs=/tmp"]);
        for setting in ["EXTERNAL_ADDRESS=@", "SIP_BIND=@:5060", "AI_BRIDGE_HTTP_BIND=@:9000"] {
            command.args(["--env", &setting.replace('@', address)]);
        }
        Self { name: run(command.args(arguments).arg(IMAGE)), address, composed: false }
    }

    fn exec(&self, arguments: &[&str]) -> Output {
        output(Command::new("docker").args(["exec", &self.name]).args(arguments))
    }

    /// What a command in the container prints, whether or not it succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let Output { stdout, stderr, .. } = self.exec(arguments);
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)).trim().to_owned()
    }

    fn cli(&self, command: &str) -> String {
        self.says(&["asterisk", "-C", "/run/asterisk/etc/asterisk.conf", "-rx", command])
    }

    fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "--format", what, &self.name])
    }

    fn log(&self) -> String {
        let Output { stdout, stderr, .. } = output(Command::new("docker").args(["logs", &self.name]));
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }

    fn api(&self, token: &str) -> Api {
        Api { address: format!("{}:9000", self.address).parse().expect("an address"), token: token.to_owned() }
    }

    fn wait_up(&self) {
        self.api("").wait(PATIENCE).unwrap_or_else(|problem| panic!("{problem}: {}", self.log()));
    }

    fn phone(&self, password: &str) -> Phone {
        let sip = format!("{}:5060", self.address).parse().expect("an address");
        Phone::at(sip, directory()).account("1001", password)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        if self.composed {
            let project = format!("image-test-{}", std::process::id());
            let settings = [("SIP_ADDRESS", self.address), ("API_ADDRESS", self.address)];
            let _ = compose(&project, &settings).args(["down", "--volumes", "--timeout", "0"]).output();
        } else {
            let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
        }
    }
}

/// A folder for the files of these tests.
fn directory() -> PathBuf {
    let directory = rig::checkout().join("target/image-test");
    fs::create_dir_all(&directory).expect("target can be written");
    directory
}

fn wait_voice(call: &PhoneCall, from: Instant) -> Instant {
    let until = Instant::now() + SOON;
    loop {
        if let Some(at) = call.heard().first_sound(from, SPEECH_LEVEL) {
            return at;
        }
        assert!(Instant::now() < until, "the agent is not heard: {:?}", call.events());
        thread::sleep(Duration::from_millis(5));
    }
}
