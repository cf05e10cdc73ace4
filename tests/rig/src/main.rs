//! The rig for people: Asterisk and the practice agent, kept running for a softphone, or for one call that shows them.

#![forbid(unsafe_code)]

mod demo;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::Ipv4Addr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use rig::{Ports, Rig};

#[derive(Parser)]
#[command(about = "A real Asterisk for trying out the AI bridge")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run Asterisk and the practice agent for a softphone, until Ctrl-C
    Up {
        /// Profile of ai_bridge.conf that calls are connected to
        #[arg(long, default_value = "practice")]
        profile: String,
        /// Address of this machine that softphones reach; if others can, too, phones get a password of their own
        #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
        address: Ipv4Addr,
    },
    /// Place one call to the AI, tell what happens, and keep its sound and its picture in demo/
    Demo {
        /// Profile of ai_bridge.conf that the call is connected to
        #[arg(long, default_value = "practice")]
        profile: String,
    },
    /// Call a person and an answering machine, and tell what the events and the AI's provider saw
    DemoOutbound,
    /// Have two phones talk, an assistant listen, and a browser show it
    DemoAssist {
        /// What they speak: en or ru
        #[arg(long, default_value = "en")]
        language: String,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Up { profile, address } => up(&profile, address),
        Action::Demo { profile } => demo::run(&profile),
        Action::DemoOutbound => demo::outbound::run(),
        Action::DemoAssist { language } => demo::assist::run(&language),
    };
    if let Err(error) = &result {
        eprintln!("{error:#}");
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The phone's password in `asterisk-conf/`, which everybody can read.
const WELL_KNOWN: &str = "1001pass";

/// Runs until Ctrl-C.
fn up(profile: &str, address: Ipv4Addr) -> Result<()> {
    // Blocked before any thread exists, so that the signal waits for this thread and the rig is taken down in order.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;

    let _agent = if profile == "practice" { Some(practice_agent()?) } else { None };
    let default = format!("default_profile = {profile}");
    let password = if address.is_loopback() { WELL_KNOWN.to_owned() } else { password()? };
    let rig = Rig::builder()
        .edit("ai_bridge.conf", "default_profile = practice", &default)
        .edit("pjsip.conf", "password = 1001pass", &format!("password = {password}"))
        .edit("pjsip.conf", "password = 1002pass", &format!("password = {password}"))
        .ports(Ports::standard(address))
        .start()?;
    println!("Asterisk is running, and AI() talks to the profile [{profile}].");
    println!("Softphone: server {address} (UDP, port {}), user 1001, password {password}", rig.ports().sip);
    if address.is_loopback() {
        println!("One on another machine: make up SIP_ADDRESS=<this machine's address>");
    }
    println!("Then dial 7000. Ctrl-C stops everything.\n");
    let following = Arc::new(AtomicBool::new(true));
    follow_log(&rig, following.clone())?;
    signals.wait()?;
    following.store(false, Ordering::Relaxed);
    println!("\nStopping.");
    rig.stop()?;
    Ok(())
}

/// The practice agent on its standard port, from the folder this program lies in.
fn practice_agent() -> Result<Killed> {
    let program = std::env::current_exe()?.with_file_name("practice-agent");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(&program).stdin(Stdio::null());
    command.spawn().map(Killed).with_context(|| format!("cannot start {}", program.display()))
}

/// A child process that is killed when it is no longer needed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints what Asterisk logs from now on, as long as `following` is set.
fn follow_log(rig: &Rig, following: Arc<AtomicBool>) -> Result<()> {
    let mut log = std::fs::File::open(rig.directory().join("log/full"))?;
    log.seek(SeekFrom::End(0))?;
    thread::spawn(move || {
        while following.load(Ordering::Relaxed) {
            let mut news = Vec::new();
            if log.read_to_end(&mut news).is_err() {
                return;
            }
            print!("{}", String::from_utf8_lossy(&news));
            thread::sleep(Duration::from_millis(100));
        }
    });
    Ok(())
}

/// A password for phones, of 64 random bits.
fn password() -> Result<String> {
    let mut random = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}
