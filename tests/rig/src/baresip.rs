//! baresip as the phone: a softphone that people use, driven over its control port.
//!
//! ```text
//!  Baresip ── TCP, netstrings of JSON ──► baresip ◄── SIP, RTP ──► Asterisk
//!          ◄─ responses, events ─────────
//! ```

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::wait::poll_for;
use crate::{Rig, mortal, read_wav, write_wav};

/// Longest time for a start, and for an answer to a command.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running baresip. Dropping it kills it.
pub struct Baresip {
    process: Child,
    control: TcpStream,
    messages: Receiver<Value>,
    passed: Vec<Value>,
    sip: SocketAddr,
    directory: PathBuf,
}

impl Baresip {
    /// Starts it as the phone of `user` with `password`, which also is called as `number`. It says `samples` (8 kHz) in every
    /// call, and hangs up when it has said all.
    ///
    /// # Errors
    /// When baresip is not installed or does not run.
    pub fn start(rig: &Rig, user: &str, password: &str, number: &str, samples: &[i16]) -> Result<Self> {
        let directory = rig.directory().join(format!("run/baresip-{number}"));
        let asterisk = rig.sip_addr();
        let account = |name: &str| {
            format!("<sip:{name}@{asterisk}>;auth_user={user};auth_pass={password};regint=0;audio_codecs=PCMA/8000/1\n")
        };
        Self::run(directory, &(account(user) + &account(number)), "", samples)
    }

    /// Starts it as a phone that registers at `server` over TLS, whatever the certificate, and talks over SRTP or not at all.
    /// Otherwise as [`Self::start`]; [`Self::heard`] is what it hears. Its files lie in `directory`.
    ///
    /// # Errors
    /// When baresip is not installed or does not run.
    pub fn encrypted(
        directory: PathBuf,
        user: &str,
        password: &str,
        server: SocketAddr,
        samples: &[i16],
    ) -> Result<Self> {
        let account = format!(
            "<sip:{user}@{server};transport=tls>;auth_user={user};auth_pass={password};regint=60;mediaenc=srtp-mand;\
             audio_codecs=PCMA/8000/1\n"
        );
        let more = format!("module srtp.so\nmodule sndfile.so\nsnd_path {}\n", directory.display());
        Self::run(directory, &account, &more, samples)
    }

    /// Runs it with these accounts, and with `more` in its configuration.
    fn run(directory: PathBuf, accounts: &str, more: &str, samples: &[i16]) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        write_wav(directory.join("says.wav"), 8000, &[samples])?;
        let (sip, control) = (free_udp()?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?);
        fs::write(directory.join("config"), config(&directory, sip, control) + more)?;
        fs::write(directory.join("accounts"), accounts)?;
        fs::write(directory.join("contacts"), "")?;
        let mut command = mortal::command("baresip");
        command.arg("-f").arg(&directory).current_dir(&directory);
        let output = File::create(directory.join("out"))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut process = mortal::spawn(command).context("cannot start baresip: run `make setup`")?;
        let connected = poll_for(PATIENCE, || TcpStream::connect(control).ok());
        let Some(stream) = connected else {
            let _ = process.kill();
            bail!("baresip does not listen: {}", fs::read_to_string(directory.join("out")).unwrap_or_default());
        };
        let messages = read(stream.try_clone()?);
        Ok(Self { process, control: stream, messages, passed: Vec::new(), sip, directory })
    }

    /// Samples (8 kHz) of what an encrypted phone has heard in its last call, once that is over.
    ///
    /// # Errors
    /// When there was none.
    pub fn heard(&self) -> Result<Vec<i16>> {
        let files = fs::read_dir(&self.directory)?.flatten().map(|entry| entry.path());
        let heard = files.filter(|path| path.to_string_lossy().ends_with("-dec.wav")).max();
        let (samples, rate_hz) = read_wav(&fs::read(heard.context("no call was recorded")?)?)?;
        ensure!(rate_hz == 8000, "a recording at {rate_hz} Hz");
        Ok(samples)
    }

    /// What it has said on its console.
    pub fn console(&self) -> String {
        fs::read_to_string(self.directory.join("out")).unwrap_or_default()
    }

    /// Where it is called.
    pub fn address(&self) -> SocketAddr {
        self.sip
    }

    /// Gives it a command, and answers with what it says.
    ///
    /// # Errors
    /// When it cannot do that.
    pub fn command(&mut self, name: &str, params: &str) -> Result<String> {
        let text = json!({"command": name, "params": params, "token": name}).to_string();
        write!(self.control, "{}:{text},", text.len())?;
        let answer = self.wait(PATIENCE, |message| message["response"] == true && message["token"] == name)?;
        ensure!(answer["ok"] == true, "baresip: {name}: {answer}");
        Ok(answer["data"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for the event `kind`, like `CALL_ESTABLISHED`.
    ///
    /// # Errors
    /// When it does not come within `timeout`; the message shows what came.
    pub fn event(&mut self, kind: &str, timeout: Duration) -> Result<Value> {
        self.wait(timeout, |message| message["type"] == kind)
            .with_context(|| format!("no {kind}; baresip says: {}", self.console()))
    }

    fn wait(&mut self, timeout: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
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
        bail!("nothing within {timeout:?}; before that: {:?}", self.passed)
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_udp() -> Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Sound comes from a file and goes nowhere: there is no sound card.
fn config(directory: &Path, sip: SocketAddr, control: SocketAddr) -> String {
    let says = directory.join("says.wav");
    format!(
        "sip_listen {sip}\nctrl_tcp_listen {control}\naudio_player aubridge,x\naudio_source aufile,{}\naudio_alert aubridge,y\n\
         module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aubridge.so\nmodule aufile.so\nmodule_tmp account.so\n\
         module_app menu.so\nmodule_app ctrl_tcp.so\nring_aufile none\nringback_aufile none\n",
        says.display()
    )
}

/// Reads netstrings until the connection ends.
fn read(stream: TcpStream) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        while let Some(message) = netstring(&mut stream) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

/// `<length>:<json>,`
fn netstring(stream: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = Vec::new();
    stream.read_until(b':', &mut length).ok()?;
    let length: usize = std::str::from_utf8(length.strip_suffix(b":")?).ok()?.parse().ok()?;
    let mut text = vec![0; length + 1];
    stream.read_exact(&mut text).ok()?;
    serde_json::from_slice(text.strip_suffix(b",")?).ok()
}
