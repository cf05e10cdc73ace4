//! What a stranger on the network finds: nothing listens that is not documented, nobody gets in without an account, and
//! whatever is sent, the exchange lives.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use common::certificate::Certificate;
use common::{SOON, Stage, eventually};
use practice_agent::{Script, Server, Speech};
use rig::Rig;

/// Messages of the fuzz.
const STRANGE: usize = 3000;
/// Louder than this is speech. [of full scale]
const LOUD: f64 = 0.01;
/// An answer on loopback comes within this, or not at all.
const ANSWER: Duration = Duration::from_millis(500);

fn stage(general: &str) -> Stage {
    let prepare = |rig: rig::Builder, url: &str| {
        rig.config(
            "ai_bridge.conf",
            common::profile(url, "").replacen("[general]\n", &format!("[general]\n{general}\n"), 1),
        )
    };
    Stage::with(Server::builder().script(Script::new()), prepare, "")
}

/// The sockets of Asterisk that wait for whoever comes: protocol and port.
fn listening(rig: &Rig) -> BTreeSet<(&'static str, u16)> {
    let process = format!("/proc/{}", rig.pid());
    let own: BTreeSet<String> = fs::read_dir(format!("{process}/fd"))
        .expect("it runs")
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    // State 0A: a TCP socket that listens; 07: a UDP socket that is connected to nobody.
    for (protocol, waiting) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let table = fs::read_to_string(format!("{process}/net/{protocol}")).expect("a table of sockets");
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (address, state, inode) = (fields[1], fields[3], fields[9]);
            if state == waiting && own.contains(inode) {
                let (_, port) = address.rsplit_once(':').expect("address and port");
                found.insert((&protocol[..3], u16::from_str_radix(port, 16).expect("a port")));
            }
        }
    }
    found
}

/// The same without the two with which the SIP library looks up names, at ports that the system chooses; docs/security.md
/// has them.
fn offered(rig: &Rig) -> BTreeSet<(&'static str, u16)> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("the system tells");
    let first: u16 = range.split_whitespace().next().and_then(|port| port.parse().ok()).expect("a port");
    let (lookups, offered): (BTreeSet<_>, _) =
        listening(rig).into_iter().partition(|(protocol, port)| *protocol == "udp" && *port >= first);
    assert!(lookups.len() <= 2, "{lookups:?}");
    offered
}

#[test]
fn what_is_said_is_in_no_file_unless_somebody_asks_for_it() {
    const SECRET: &str = "The combination is seventeen and four.";
    let logger = fs::read_to_string(rig::checkout().join("asterisk-conf/logger.conf")).expect("it is there");
    // The log of a call in which the agent says it.
    let log = |prepare: &dyn Fn(rig::Builder) -> rig::Builder| {
        let configure = |rig: rig::Builder, url: &str| prepare(rig.config("ai_bridge.conf", common::profile(url, "")));
        let stage = Stage::with(Server::builder().script(Script::new()), configure, "");
        let (call, session) = stage.talk("100");
        session.perform(Script::new().say(Speech::spoken(SECRET)));
        session.wait_performed(SOON).expect("the agent has said it");
        eventually("it is heard to its end", SOON, || {
            let last = call.heard().last_sound(Instant::now(), LOUD);
            last.is_some_and(|last| last.elapsed() > Duration::from_secs(1))
        });
        call.hang_up();
        stage.assert_nothing_left();
        stage.rig.wait_log(": ended ", SOON).expect("the call is in the log");
        stage.rig.log()
    };
    let everything = log(&|rig| rig);
    assert!(everything.contains(SECRET), "at verbosity 5 it is to be read: {everything}");
    let shipped = log(&|rig| rig.config("logger.conf", logger.as_str()));
    assert!(!shipped.contains("seventeen"), "words are on the disk that nobody asked for: {shipped}");
}

#[test]
fn nothing_listens_but_sip_until_the_api_is_switched_on() {
    let stage = stage("");
    let sip = ("udp", stage.rig.ports().sip);
    assert_eq!(offered(&stage.rig), [sip].into());
    let (call, _session) = stage.talk("100");
    let rtp: BTreeSet<_> = offered(&stage.rig).into_iter().filter(|socket| *socket != sip).collect();
    let range = stage.rig.ports().rtp.clone();
    assert_eq!(rtp.len(), 2, "RTP and RTCP of one call: {rtp:?}");
    assert!(rtp.iter().all(|(protocol, port)| *protocol == "udp" && range.contains(port)), "{rtp:?}");
    call.hang_up();
    stage.assert_nothing_left();

    let port = stage.rig.ports().spare;
    let api = self::stage(&format!("http_bind = 127.0.0.1:{port}"));
    let expected = [("udp", api.rig.ports().sip), ("tcp", port)];
    common::eventually("the API listens, too", SOON, || offered(&api.rig) == expected.into());
}

#[test]
fn phones_that_encrypt_open_one_port_more() {
    let certificate = Certificate::self_signed(&[], &[Ipv4Addr::LOCALHOST.into()]);
    let key = String::from_utf8(certificate.key_pem()).expect("PEM is text");
    let prepare = |rig: rig::Builder, url: &str| {
        rig.config("ai_bridge.conf", common::profile(url, ""))
            .edit("pjsip.conf", ";#include pjsip_tls.conf", "#include pjsip_tls.conf")
            .config("tls.crt", certificate.pem())
            .config("tls.key", key)
    };
    let stage = Stage::with(Server::builder().script(Script::new()), prepare, "");
    let ports = stage.rig.ports();
    assert_eq!(offered(&stage.rig), [("udp", ports.sip), ("tcp", ports.sips())].into());
}

/// A SIP request of nobody in particular.
fn request(method: &str, to: &str, from: &str, own_port: u16, number: usize, body: &str) -> String {
    format!(
        "{method} sip:{to}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own_port};branch=z9hG4bK{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{from}@127.0.0.1>;tag={number}\r\nTo: <sip:{to}@127.0.0.1>\r\n\
         Call-ID: stranger-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:{from}@127.0.0.1:{own_port}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0\r\n";

/// A stranger's socket.
struct Stranger {
    socket: UdpSocket,
    port: u16,
}

impl Stranger {
    fn new(rig: &Rig) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.connect(rig.sip_addr()).expect("there it is");
        socket.set_read_timeout(Some(ANSWER)).expect("it can be set");
        let port = socket.local_addr().expect("it is bound").port();
        Self { socket, port }
    }

    /// The status of the answer; `None`: there is none.
    fn ask(&self, message: &str) -> Option<u16> {
        self.socket.send(message.as_bytes()).expect("it leaves");
        let mut answer = [0; 4096];
        let length = self.socket.recv(&mut answer).ok()?;
        String::from_utf8_lossy(&answer[..length]).split(' ').nth(1)?.parse().ok()
    }
}

#[test]
fn nobody_calls_registers_or_learns_who_is_there_without_an_account() {
    let stage = stage("");
    let stranger = Stranger::new(&stage.rig);
    let mut number = 0;
    let mut ask = |method: &str, to: &str, from: &str| {
        number += 1;
        stranger.ask(&request(method, to, from, stranger.port, number, if method == "INVITE" { SDP } else { "" }))
    };
    for to in ["7000", "100", "00123456789", "1001", "s", "h", "ai-outbound"] {
        for from in ["1001", "anonymous", "asterisk"] {
            assert_eq!(ask("INVITE", to, from), Some(401), "{from} calls {to}");
        }
    }
    let known = ask("REGISTER", "1001", "1001");
    assert_eq!(
        (known, ask("REGISTER", "4711", "4711")),
        (Some(401), Some(401)),
        "nobody learns which accounts there are"
    );
    for method in ["SUBSCRIBE", "PUBLISH", "MESSAGE", "REFER", "NOTIFY", "UPDATE", "INFO", "BYE", "CANCEL"] {
        let status = ask(method, "7000", "1001");
        assert!(status.is_none_or(|status| status >= 400), "{method}: {status:?}");
    }
    assert!(stage.agent.attempts().is_empty(), "the AI was connected to for a stranger");
    stage.assert_nothing_left();
}

/// Numbers that are the same in every run (Numerical Recipes' linear congruence).
struct Dice(u32);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % limit.max(1)
    }
}

/// `message` with something wrong in it.
fn spoilt(message: &[u8], dice: &mut Dice) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "\r\n",
        "\0",
        "%s%n",
        "99999999999999999999",
        "-1",
        ";;;;",
        "\"",
        "<sip:",
        "[::1",
        "${SHELL(id)}",
        "m=audio 0 \r\n",
    ];
    let mut message = message.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(message.len());
        if message.is_empty() {
            break;
        }
        match dice.below(5) {
            0 => message[at] = dice.below(256) as u8,
            1 => message.truncate(at),
            2 => _ = message.splice(at..at, WORDS[dice.below(WORDS.len())].bytes()),
            3 => _ = message.splice(at..at, vec![b'A'; dice.below(3000)]),
            _ => _ = message.drain(at..(at + dice.below(40)).min(message.len())),
        }
    }
    message
}

#[test]
fn whatever_is_sent_the_exchange_lives_and_takes_calls() {
    let mut stage = stage("");
    let stranger = Stranger::new(&stage.rig);
    let mut dice = Dice(20_261_121);
    let methods = ["INVITE", "REGISTER", "OPTIONS", "ACK", "BYE", "CANCEL", "REFER", "SUBSCRIBE", "UPDATE", "INFO"];
    for number in 0..STRANGE {
        let method = methods[dice.below(methods.len())];
        let message = request(method, "7000", "1001", stranger.port, 1000 + number, SDP);
        let message = spoilt(message.as_bytes(), &mut dice);
        // What is longer than a datagram is cut off.
        let _ = stranger.socket.send(&message[..message.len().min(60_000)]);
        if number % 50 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(stage.rig.is_running(), "{}", stage.rig.log());
    let (call, session) = stage.talk("100");
    session.wait_caller_audio(Duration::from_millis(500), SOON).expect("the caller is heard");
    assert_eq!(stage.agent.attempts().len(), 1, "for this caller alone");
    call.hang_up();
    stage.assert_nothing_left();
}
