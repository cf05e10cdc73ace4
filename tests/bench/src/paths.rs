//! The ways a call's audio can reach the AI, and the one Asterisk that has them all in its dialplan.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rig::{Ports, Rig};

use crate::ai::Ai;
use crate::process::{Process, mortal, program, wait_listening};

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Path {
    /// Answer() and Echo(): what SIP and RTP cost by themselves, no AI
    Floor,
    /// AI()
    A,
    /// AI() with playout_target_ms = 0: nothing held back, as in all the others
    A0,
    /// ARI external media, Python bridge
    B,
    /// AudioSocket, Python bridge
    C,
    /// AudioSocket, the Python bridge tuned: uvloop, G.711 to the AI
    Ct,
    /// chan_websocket, Python bridge
    D,
    /// AudioSocket, Rust bridge made of this project's parts
    E,
}

impl Path {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Floor => "floor: `Echo()`, no AI",
            Self::A => "(a) `AI()`",
            Self::A0 => "(a0) `AI()`, playout target 0",
            Self::B => "(b) ARI external media, Python",
            Self::C => "(c) AudioSocket, Python",
            Self::Ct => "(ct) AudioSocket, tuned Python",
            Self::D => "(d) chan_websocket, Python",
            Self::E => "(e) AudioSocket, Rust bridge",
        }
    }

    /// What is there to be heard is the caller's own voice, without an AI.
    pub(crate) fn is_floor(self) -> bool {
        self == Self::Floor
    }

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Floor => "9000",
            Self::A => "9001",
            Self::A0 => "9002",
            Self::B => "9003",
            Self::C | Self::Ct | Self::E => "9004",
            Self::D => "9005",
        }
    }

    /// The bridge process of this path, and whether it says so when it is ready.
    fn bridge(self, ports: &Ports, ai: &str) -> Result<Option<(Command, bool)>> {
        let port = ports.spare.to_string();
        let mut command = mortal();
        let mode = match self {
            Self::Floor | Self::A | Self::A0 => return Ok(None),
            Self::E => {
                command.arg(program("rust-bridge")?).arg(format!("127.0.0.1:{port}")).arg(ai);
                return Ok(Some((command, false)));
            }
            Self::B => "ari",
            Self::C | Self::Ct => "audiosocket",
            Self::D => "websocket",
        };
        let python = rig::checkout().join("target/bench/venv/bin/python");
        command.arg(python).arg(rig::checkout().join("tests/bench/bridge.py")).args([mode, "--ai", ai]);
        command.args(["--port", &port, "--http", &ports.http.to_string()]);
        if self == Self::Ct {
            command.arg("--tuned");
        }
        Ok(Some((command, true)))
    }
}

/// Everything one measurement needs besides its callers.
pub(crate) struct Stage {
    // First to go: it would complain about an Asterisk that is gone.
    pub(crate) bridge: Option<Process>,
    pub(crate) rig: Rig,
    pub(crate) ai: Ai,
}

impl Stage {
    /// A fresh Asterisk, AI and bridge.
    ///
    /// # Errors
    /// When one of them does not start.
    pub(crate) fn set(path: Path) -> Result<Self> {
        let ai = Ai::start()?;
        let url = ai.url.clone();
        let ports = ports()?;
        let bridge = match path.bridge(&ports, &url)? {
            // Its events come from Asterisk, which must be there first.
            Some(bridge) if path != Path::B => Some(Self::start_bridge(bridge, ports.spare)?),
            _ => None,
        };
        let rig = asterisk(ports.clone(), &url)?;
        let bridge = match path.bridge(&ports, &url)? {
            Some(bridge) if path == Path::B => Some(Self::start_bridge(bridge, ports.spare)?),
            _ => bridge,
        };
        Ok(Self { bridge, rig, ai })
    }

    fn start_bridge((mut command, announces): (Command, bool), port: u16) -> Result<Process> {
        if !announces {
            let process = Process::start(command)?;
            wait_listening(port)?;
            return Ok(process);
        }
        command.stdout(Stdio::piped());
        let mut process = Process::start(command)?;
        let mut line = String::new();
        let output = process.output().context("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        if line.trim() != "ready" {
            bail!("the Python bridge did not start; is the set-up done (make bench)?");
        }
        Ok(process)
    }
}

/// More RTP ports than a rig claims by itself, beside the ranges of tests and demo: 200 calls with two sessions each.
fn ports() -> Result<Ports> {
    let [sip, http, manager, spare] = [16001, 16002, 16003, 16004];
    for port in [http, spare] {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("port {port} is taken"))?;
    }
    Ok(Ports { address: Ipv4Addr::LOCALHOST, sip, http, manager, spare, rtp: 16010..=17999 })
}

fn asterisk(ports: Ports, ai: &str) -> Result<Rig> {
    let spare = ports.spare;
    Rig::builder()
        .ports(ports)
        .append("modules.conf", MODULES)
        .append("pjsip.conf", PJSIP)
        .append("http.conf", "sessionlimit = 2000\n")
        .edit("http.conf", "enabled = no", "enabled = yes")
        .config(
            "ari.conf",
            "[general]\nenabled = yes\n[bench]\ntype = user\npassword = bench\npassword_format = plain\n",
        )
        .config("websocket_client.conf", websocket_client(spare))
        .config("ai_bridge.conf", ai_bridge(ai))
        .append("extensions.conf", EXTENSIONS.replace("SPARE", &spare.to_string()))
        // Once a call, and the same for all: the log is not what is measured.
        .edit("asterisk.conf", "verbose = 3", "verbose = 0")
        .start()
}

fn ai_bridge(url: &str) -> String {
    let profile = |name: &str, more: &str| {
        // Both sides speak all the time here, which local barge-in would take for an interruption.
        let fixed = "type = agent\ndialect = openai\nmodel = bench\nbarge_in = server";
        format!("[{name}]\n{fixed}\nurl = {url}\n{more}\n")
    };
    format!("[general]\n\n{}{}", profile("bench", ""), profile("bench0", "playout_target_ms = 0"))
}

fn websocket_client(port: u16) -> String {
    format!(
        "[media]\ntype = websocket_client\nuri = ws://127.0.0.1:{port}\nprotocols = media\n\
         connection_type = per_call_config\nconnection_timeout = 5000\nreconnect_interval = 500\n\
         reconnect_attempts = 2\ntls_enabled = no\n"
    )
}

const MODULES: &str = "
load = res_pjsip_endpoint_identifier_anonymous.so
load = res_http_websocket.so
load = func_uuid.so
load = res_audiosocket.so
load = app_audiosocket.so
load = res_websocket_client.so
load = chan_websocket.so
load = res_stasis.so
load = res_stasis_answer.so
load = res_stasis_playback.so
load = res_stasis_recording.so
load = res_stasis_snoop.so
load = res_stasis_device_state.so
load = res_ari.so
load = res_ari_model.so
load = res_ari_channels.so
load = res_ari_bridges.so
load = res_ari_events.so
load = app_stasis.so
load = res_rtp_multicast.so
load = chan_rtp.so
";

const PJSIP: &str = "
[anonymous]
type = endpoint
context = default
disallow = all
allow = alaw
direct_media = no
";

const EXTENSIONS: &str = "
exten => 9000,1,Answer()
 same => n,Echo()
 same => n,Hangup()
exten => 9001,1,Answer()
 same => n,AI(bench)
 same => n,Hangup()
exten => 9002,1,Answer()
 same => n,AI(bench0)
 same => n,Hangup()
exten => 9003,1,Stasis(bench)
 same => n,Hangup()
exten => 9004,1,Answer()
 same => n,AudioSocket(${UUID()},127.0.0.1:SPARE)
 same => n,Hangup()
exten => 9005,1,Dial(WebSocket/media/c(alaw))
 same => n,Hangup()
";
