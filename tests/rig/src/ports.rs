//! Port numbers that no other rig on this machine uses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

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
