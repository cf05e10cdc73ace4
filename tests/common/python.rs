//! Servers written in Python, each in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// A program that listens on loopback and says so in its first line.
pub struct PythonServer {
    process: Child,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl PythonServer {
    /// Starts `script` of this checkout on a port of its choice; `arguments` follow the port.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../wire/venv/bin/python");
        assert!(python.exists(), "there is no {}; `tests/venv.sh wire` makes it", python.display());
        // It ends with this test, however the test ends.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .arg("0")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv runs");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the server says where it listens");
        let port = line.trim().strip_prefix("listens on ").and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{script} does not listen: {line}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let record = lines.clone();
        thread::spawn(move || {
            for line in stdout.lines().map_while(std::result::Result::ok) {
                record.lock().expect("nobody panics with it").push(line);
            }
        });
        Self { process, port, lines }
    }

    /// Address of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// What it has printed after its first line.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
