//! The SIPp of one call: its scenario, its process and its complaints.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Stdio};

use super::message::sdp;
use super::{Direction, Parties, Role};
use crate::mortal;
use crate::rtp::Line;

/// Port of every SIPp, on its own address. Not 5060: a rig for softphones has that on all addresses.
const PORT: u16 = 6060;

/// A CANCEL may have crossed the answer to the call; then its own answer can come after the BYE.
const LATE_CANCEL: &str = "  <recv response=\"200\" optional=\"true\" response_txn=\"cancel\"/>\n";

/// A called phone's own address.
const CALLED: &str = "<sip:{user}@{relay}>;tag=[call_number]-[pid]";

/// What SIPp is to do.
pub(super) fn scenario(parties: &Parties, relay: SocketAddr, line: &Line) -> String {
    let sdp = sdp(line, line.codec(), Direction::Both, 1).replace('\r', "");
    let (extension, replaces) = match &parties.role {
        Role::Calls { extension, replaces } => (extension.as_str(), replaces.as_deref()),
        Role::IsCalled | Role::Rings => ("", None),
    };
    let replaces = replaces.map_or_else(String::new, |call| format!("\nRequire: replaces\nReplaces: {call}"));
    let (opening, late_cancel, own, peer) = match &parties.role {
        Role::Calls { .. } => {
            let peer = "<sip:{extension}@{target}>[peer_tag_param]";
            (include_str!("calling.xml"), LATE_CANCEL, "<sip:{user}@{target}>;tag=[call_number]-[pid]", peer)
        }
        Role::IsCalled => (include_str!("called.xml"), "", CALLED, "[$peer]"),
        Role::Rings => (include_str!("ringing.xml"), "", CALLED, "[$peer]"),
    };
    include_str!("talk.xml")
        .replace("{opening}", opening)
        .replace("{cancelled}", late_cancel)
        .replace("{own}", own)
        .replace("{peer}", peer)
        .replace("{sdp}", sdp.trim_end())
        .replace("{relay}", &relay.to_string())
        .replace("{target}", &parties.asterisk.to_string())
        .replace("{extension}", extension)
        .replace("{replaces}", &replaces)
        .replace("{user}", &parties.user)
        .replace("{password}", &parties.password)
}

/// Where the SIPp behind `relay` listens. It opens fixed ports, those for media too although it sends none, and would meet
/// other SIPps there; so it has a loopback address of its own, made of the relay's port.
pub(crate) fn address(relay: SocketAddr) -> SocketAddr {
    let [high, low] = relay.port().to_be_bytes();
    (Ipv4Addr::new(127, 1, high, low), PORT).into()
}

/// Whether it does listen, from the kernel's list of UDP sockets (proc(5)): to try to bind the address would take it away
/// from a SIPp that is about to.
pub(crate) fn listens(relay: SocketAddr) -> bool {
    let own = address(relay);
    let IpAddr::V4(ip) = own.ip() else { unreachable!("it is made of four numbers") };
    let own = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), own.port());
    let sockets = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    sockets.lines().any(|socket| socket.split_whitespace().nth(1) == Some(&own))
}

/// Runs SIPp.
pub(super) fn start(relay: SocketAddr, role: &Role, scenario: &Path) -> io::Result<Child> {
    let own = address(relay);
    let (own_address, own_port) = (own.ip().to_string(), own.port().to_string());
    let mut command = mortal::command("sipp");
    if matches!(role, Role::Calls { .. }) {
        command.arg(relay.to_string());
    }
    command.arg("-sf").arg(scenario);
    command.args(["-i", &own_address, "-mi", &own_address, "-p", &own_port]);
    command.args(["-m", "1", "-r", "1000", "-nostdin", "-aa", "-timer_resol", "1"]);
    command.current_dir(scenario.parent().unwrap_or(Path::new("/")));
    let output = fs::File::create(scenario.with_extension("out"))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    mortal::spawn(command)
}

/// What SIPp has to say for itself when a call does not go as planned; its statistics are not part of that.
pub(crate) fn complaint(scenario: &Path) -> String {
    let output = fs::read_to_string(scenario.with_extension("out")).unwrap_or_default();
    let is_complaint =
        |line: &&str| ["nable to", "borting", "nexpected mess", "setpriv"].iter().any(|word| line.contains(word));
    output.lines().rev().find(is_complaint).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn who_looks_whether_sipp_listens_does_not_keep_it_from_doing_so() {
        let place = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let relay = place.local_addr().expect("it is bound");
        assert!(!listens(relay));
        let over = AtomicBool::new(false);
        let failed = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    listens(relay);
                }
            });
            let failed = (0..2000).find_map(|_| UdpSocket::bind(address(relay)).err());
            over.store(true, Ordering::Relaxed);
            failed
        });
        assert!(failed.is_none(), "{failed:?}");
        let _sipp = UdpSocket::bind(address(relay)).expect("it is free");
        assert!(listens(relay));
    }
}
