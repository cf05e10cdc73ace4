//! The AI's process, `bench-ai`, and what is said to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result};
use bench_common::record::Record;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{Process, free_port, mortal, program, wait_listening};

/// A running AI.
pub(crate) struct Ai {
    process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Ai {
    /// One that echoes.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start() -> Result<Self> {
        let port = free_port()?;
        let mut command = mortal();
        command.arg(program("bench-ai")?).arg(format!("127.0.0.1:{port}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command)?;
        let (orders, answers) = process.pipes().context("the AI has no pipes")?;
        wait_listening(port)?;
        Ok(Self {
            process,
            orders,
            answers: BufReader::new(answers),
            url: format!("ws://127.0.0.1:{port}/v1/realtime"),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `echo`, `turns`, or `stream sparse|dense PPM,…`.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}").context("the AI is gone")
    }

    /// What has happened since the last report.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn report(&mut self) -> Result<Vec<Record>> {
        self.order("report")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the AI's report")
    }

    /// Stops it where it is, or lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn freeze(&self, freeze: bool) -> Result<()> {
        let signal = if freeze { Signal::SIGSTOP } else { Signal::SIGCONT };
        kill(Pid::from_raw(self.pid() as i32), signal).context("the AI is gone")
    }
}
