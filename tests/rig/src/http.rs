//! An HTTP client: one request a connection, so that every answer is its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use crate::ports::free_port;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// A text, whatever it is.
    pub body: String,
}

impl Answer {
    /// The value of header `name`; empty: there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// The control API of an Asterisk.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
    /// The token that it wants to be shown; empty: none.
    pub token: String,
}

impl Api {
    /// Waits until it answers.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&self, timeout: Duration) -> std::io::Result<()> {
        let until = Instant::now() + timeout;
        loop {
            match self.try_send("GET", "/health", &[], "") {
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
                answer => return answer.map(drop),
            }
        }
    }

    /// What is at `path`.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// Sends `body`, which is JSON.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        let headers: &[_] = if body.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
        self.send("POST", path, headers, body)
    }

    /// A request with the token, unless `headers` have another.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|problem| panic!("{method} {path}: {problem}"))
    }

    /// As [`Api::send`].
    ///
    /// # Errors
    /// When nobody answers.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        let own = [("Host", self.address.to_string()), ("Authorization", format!("Bearer {}", self.token))];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let own = own.filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
        for (name, value) in own.chain(headers.iter().copied()).filter(|(_, value)| !value.is_empty()) {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Answer { status, headers, body: body.to_owned() })
}
