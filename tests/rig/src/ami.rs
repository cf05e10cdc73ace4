//! A client of Asterisk's manager interface.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::Rig;

/// Longest an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The password of every user that [`Builder::ami`](crate::Builder::ami) makes.
pub(crate) const SECRET: &str = "manager-secret";

/// One client, logged in.
pub struct Ami {
    stream: TcpStream,
    messages: Receiver<Message>,
    /// Events that came while something else was waited for.
    passed: Vec<Message>,
    actions: u32,
}

/// A response or an event: its headers in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<(String, String)>);

impl Message {
    /// The first header called `name`; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A header that holds a number.
    ///
    /// # Panics
    /// When it does not.
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).parse().unwrap_or_else(|_| panic!("{name} is no number in {self}"))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| write!(f, "{name}: {value}; "))
    }
}

impl Ami {
    /// Logs in to `rig` as `user`, whom [`Builder::ami`](crate::Builder::ami) has made.
    ///
    /// # Errors
    /// When Asterisk does not let it in.
    pub fn log_in(rig: &Rig, user: &str) -> Result<Self> {
        let stream = Self::dial(rig)?;
        let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(std::io::Result::ok);
        let (sender, messages) = channel();
        thread::spawn(move || {
            while let Some(message) = read(&mut lines) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut ami = Self { stream, messages, passed: Vec::new(), actions: 0 };
        let answer = ami.action("Login", &[("Username", user), ("Secret", SECRET)])?;
        ensure!(answer.get("Response") == "Success", "{user} is not let in: {answer}");
        Ok(ami)
    }

    /// Logs in as `user` and never reads a byte.
    ///
    /// # Errors
    /// When Asterisk does not listen.
    pub fn deaf(rig: &Rig, user: &str) -> Result<TcpStream> {
        let mut stream = Self::dial(rig)?;
        stream.write_all(format!("Action: Login\r\nUsername: {user}\r\nSecret: {SECRET}\r\n\r\n").as_bytes())?;
        Ok(stream)
    }

    fn dial(rig: &Rig) -> Result<TcpStream> {
        TcpStream::connect((rig.ports().address, rig.ports().manager)).context("AMI does not listen")
    }

    /// Asks for an action and gives its response.
    ///
    /// # Errors
    /// When there is none within 10 s.
    pub fn action(&mut self, name: &str, headers: &[(&str, &str)]) -> Result<Message> {
        self.actions += 1;
        let id = self.actions.to_string();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.stream.write_all(format!("Action: {name}\r\nActionID: {id}\r\n{headers}\r\n").as_bytes())?;
        self.wait(PATIENCE, |message| {
            !message.get("Response").is_empty() && ["", &id].contains(&message.get("ActionID"))
        })
        .with_context(|| format!("no response to {name}"))
    }

    /// Asks for a list: the events from its response up to `complete`, which is the last of them.
    ///
    /// # Errors
    /// When it is refused or has no end.
    pub fn list(&mut self, name: &str, complete: &str) -> Result<Vec<Message>> {
        let answer = self.action(name, &[])?;
        ensure!(answer.get("EventList") == "start", "{name} gives no list: {answer}");
        let id = answer.get("ActionID").to_owned();
        let mut list: Vec<Message> = Vec::new();
        while list.last().is_none_or(|last| last.get("Event") != complete) {
            list.push(self.wait(PATIENCE, |message| message.get("ActionID") == id)?);
        }
        Ok(list)
    }

    /// The next event called `name`; what came before it stays to be asked for.
    ///
    /// # Errors
    /// When there is none within `timeout`; the message shows what came instead.
    pub fn event(&mut self, name: &str, timeout: Duration) -> Result<Message> {
        self.wait(timeout, |message| message.get("Event") == name).with_context(|| format!("no event {name}"))
    }

    /// All that has come and was not asked for yet.
    pub fn rest(&mut self) -> Vec<Message> {
        self.passed.extend(self.messages.try_iter());
        std::mem::take(&mut self.passed)
    }

    fn wait(&mut self, timeout: Duration, wanted: impl Fn(&Message) -> bool) -> Result<Message> {
        if let Some(place) = self.passed.iter().position(&wanted) {
            return Ok(self.passed.remove(place));
        }
        let deadline = Instant::now() + timeout;
        while let Ok(message) = self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if wanted(&message) {
                return Ok(message);
            }
            self.passed.push(message);
        }
        bail!("nothing of the kind within {timeout:?}; what came: {:#?}", self.passed)
    }
}

impl Drop for Ami {
    fn drop(&mut self) {
        // The reader holds the connection, too.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn read(lines: &mut impl Iterator<Item = String>) -> Option<Message> {
    let mut headers = Vec::new();
    loop {
        let line = lines.next()?;
        match line.trim_end_matches('\r') {
            "" if !headers.is_empty() => return Some(Message(headers)),
            // The greeting, which is no header.
            line => headers.extend(
                line.split_once(": ")
                    .or(line.strip_suffix(':').map(|name| (name, "")))
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
        }
    }
}
