//! Servers written in Python, each in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A program that listens on loopback and says so in its first line.
pub struct PythonServer {
    process: Child,
    port: u16,
    orders: Mutex<ChildStdin>,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

/// Something that happened at a server: a line of JSON it printed.
#[derive(Debug, Clone)]
pub struct Event {
    /// When the line came.
    pub at: Instant,
    /// What it says.
    pub json: Value,
}

impl PythonServer {
    /// Starts `script` of this checkout on a port of its choice; `arguments` follow the port.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        Self::start_with("wire", script, arguments)
    }

    /// As [`PythonServer::start`], with the packages of `tests/<venv>`.
    pub fn start_with(venv: &str, script: &str, arguments: &[&str]) -> Self {
        let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("../{venv}/venv/bin/python"));
        assert!(python.exists(), "there is no {}; `tests/venv.sh {venv}` makes it", python.display());
        // It ends with this test, however the test ends.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .arg("0")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv runs");
        let orders = Mutex::new(process.stdin.take().expect("it is piped"));
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the server says where it listens");
        let port = line.trim().strip_prefix("listens on ").and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{script} does not listen: {line}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let record = lines.clone();
        thread::spawn(move || {
            for line in stdout.lines().map_while(std::result::Result::ok) {
                record.lock().expect("nobody panics with it").push((Instant::now(), line));
            }
        });
        Self { process, port, orders, lines }
    }

    /// Address of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// What it has printed after its first line.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").iter().map(|(_, line)| line.clone()).collect()
    }

    /// Gives it a line on its stdin.
    pub fn order(&self, order: &Value) {
        writeln!(self.orders.lock().expect("nobody panics with it"), "{order}").expect("the server runs");
    }

    /// The lines of JSON with this `event` so far.
    pub fn events(&self, event: &str) -> Vec<Event> {
        let lines = self.lines.lock().expect("nobody panics with it");
        let read = |(at, line): &(Instant, String)| Some(Event { at: *at, json: serde_json::from_str(line).ok()? });
        lines.iter().filter_map(read).filter(|line| line.json["event"] == event).collect()
    }

    /// The `nth` of [`PythonServer::events`] that `fits`, counted from 0.
    #[track_caller]
    pub fn wait_event(&self, event: &str, nth: usize, timeout: Duration, fits: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(found) = self.events(event).into_iter().filter(&fits).nth(nth) {
                return found;
            }
            assert!(Instant::now() < deadline, "no {event} #{nth} within {timeout:?}: {:#?}", self.lines());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
