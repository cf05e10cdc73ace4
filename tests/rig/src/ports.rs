//! Port numbers that no other rig on this machine uses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::{Range, RangeInclusive};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

/// Ports one Asterisk listens on.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Address SIP and RTP are bound to.
    pub address: Ipv4Addr,
    /// SIP over UDP.
    pub sip: u16,
    /// Asterisk's HTTP server (TCP), when a test switches it on.
    pub http: u16,
    /// AMI (TCP), when a test switches it on.
    pub manager: u16,
    /// One more port for a test's own use.
    pub spare: u16,
    /// RTP over UDP, two ports a call.
    pub rtp: RangeInclusive<u16>,
}

impl Ports {
    /// The ports of `asterisk-conf/`: what a softphone expects. Only one rig can have them.
    pub fn standard(address: Ipv4Addr) -> Self {
        Self { address, sip: 5060, http: 8088, manager: 5038, spare: 9000, rtp: 10000..=10100 }
    }

    /// SIP over TLS (TCP), when a test switches it on: one above SIP, as 5061 is.
    pub fn sips(&self) -> u16 {
        self.sip + 1
    }

    /// Tells while Asterisk is not yet running whether it could take SIP calls here: it would start without.
    pub(crate) fn check_free(&self) -> Result<()> {
        if let Err(error) = UdpSocket::bind((self.address, self.sip)) {
            bail!("SIP port {} (UDP) cannot be opened ({error}): does another Asterisk or softphone use it?", self.sip);
        }
        Ok(())
    }
}

/// A block of ports, ours while the guard socket on its first port is open.
pub(crate) struct PortBlock {
    pub(crate) ports: Ports,
    _guard: UdpSocket,
}

impl PortBlock {
    /// Ports of a block: 95 calls with two RTP ports each, and the first ten for everything else.
    const SIZE: u16 = 200;
    /// Below the range the kernel hands out by itself (from 32768) and above Asterisk's defaults.
    const BLOCKS: RangeInclusive<u16> = 100..=161;

    /// Claims the first free block.
    ///
    /// # Errors
    /// When all of them are taken.
    pub(crate) fn claim() -> Result<Self> {
        let free = Self::BLOCKS.map(|block| block * Self::SIZE).find_map(Self::claim_at);
        free.context("no free block of ports on 127.0.0.1 (20000-32399): are very many rigs running?")
    }

    fn claim_at(base: u16) -> Option<Self> {
        let address = Ipv4Addr::LOCALHOST;
        let guard = UdpSocket::bind((address, base)).ok()?;
        let (sip, http, manager, spare) = (base + 1, base + 3, base + 4, base + 5);
        UdpSocket::bind((address, sip)).ok()?;
        for port in [sip + 1, http, manager, spare] {
            TcpListener::bind((address, port)).ok()?;
        }
        let rtp = base + 10..=base + Self::SIZE - 1;
        Some(Self { ports: Ports { address, sip, http, manager, spare, rtp }, _guard: guard })
    }
}

/// A TCP port on loopback for somebody else to listen on. No other rig gets it while this process runs, and the kernel hands
/// it to nobody: it is below the range from which it does.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let hold = |port| {
        let guard = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        HELD.lock().expect("no panic").push(guard);
        Some(port)
    };
    SINGLE_PORTS.into_iter().find_map(hold).expect("a port of 127.0.0.1 is free")
}

/// Between the ports of `asterisk-conf/` and the first block.
const SINGLE_PORTS: Range<u16> = 12_000..20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_handed_out_once_and_can_be_listened_on() {
        let ports: Vec<_> = (0..20).map(|_| free_port()).collect();
        let all: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(all.len(), ports.len(), "{ports:?}");
        ports.iter().for_each(|&port| drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free")));
    }
}
