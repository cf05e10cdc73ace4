//! Many people at once: a SIPp that answers every call, and says back what it hears.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::sip::{address, listens};
use crate::wait::poll_for;
use crate::{Rig, mortal};

/// Longest time until SIPp listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// People who answer whatever number is dialled, after one ring, and stay until they are hung up on.
pub struct Crowd {
    sipp: Child,
    address: SocketAddr,
    /// Holds the port that the address is made of.
    _place: UdpSocket,
}

impl Crowd {
    /// Starts it, with its output in the directory of `rig`.
    ///
    /// # Errors
    /// When SIPp cannot be started.
    pub fn start(rig: &Rig) -> Result<Self> {
        let place = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let relay = place.local_addr()?;
        let own = address(relay);
        let (ip, port) = (own.ip().to_string(), own.port().to_string());
        let mut command = mortal::command("sipp");
        command.args(["-sn", "uas", "-i", &ip, "-mi", &ip, "-p", &port, "-rtp_echo", "-nostdin"]);
        let output = File::create(rig.directory().join(format!("run/crowd-{}.out", relay.port())))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.current_dir(rig.directory().join("run"));
        let sipp = mortal::spawn(command).context("cannot start SIPp: run `make setup`")?;
        let crowd = Self { sipp, address: own, _place: place };
        poll_for(START_TIMEOUT, || listens(relay).then_some(())).context("SIPp does not listen")?;
        Ok(crowd)
    }

    /// Where these people are called.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.sipp.kill();
        let _ = self.sipp.wait();
    }
}
