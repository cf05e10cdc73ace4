//! The phone's signalling: SIPp speaks SIP, and its datagrams pass through a relay that knows what happened when.
//!
//! ```text
//!  SIPp ◄──► relay socket ◄──► Asterisk
//!              │  every message: time, event, where the audio goes
//!              ├─ "hang up": a MESSAGE to SIPp, which the scenario answers with CANCEL or BYE
//!              └─ "negotiate anew": a REFER to SIPp, which it answers with a re-INVITE; the SDP is put in here
//! ```

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::rtp::{EVENT_PAYLOAD_TYPE, Line};
use crate::wait::poll_for;
use crate::{Codec, mortal};

/// How soon the relay notices that its call is over.
const RELAY_TIMEOUT: Duration = Duration::from_millis(100);
/// Port of every SIPp, on its own address. Not 5060: a rig for softphones has that on all addresses.
const SIPP_PORT: &str = "6060";
/// Longest time from the start of SIPp until the call leaves it; about 15 ms on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Which way audio flows, as a phone offers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the phone only: it has put the call on hold and may play music.
    SendOnly,
    /// Not at all: hold.
    Inactive,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// This phone, after the answer (BYE).
    ByCaller,
    /// Asterisk, after the answer (BYE).
    ByPbx,
    /// This phone, before the answer (CANCEL).
    Cancelled,
    /// Asterisk, before the answer, with this SIP status.
    Refused(u16),
}

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEvent {
    /// The call left the phone (INVITE with password).
    Dialled,
    /// Asterisk has it (100).
    Trying,
    /// It rings (180).
    Ringing,
    /// Audio before the answer (183).
    EarlyMedia,
    /// It is answered (200).
    Answered,
    /// It is over.
    Ended(Ended),
}

/// Something that happened to a call.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// When the message passed.
    pub at: Instant,
    /// What it said.
    pub what: CallEvent,
}

/// Who calls whom.
pub(crate) struct Dial {
    pub(crate) asterisk: SocketAddr,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) extension: String,
}

/// The signalling of one call.
pub(crate) struct Signalling {
    asterisk: SocketAddr,
    socket: UdpSocket,
    line: Arc<Line>,
    state: Mutex<State>,
    changed: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    sipp: Option<SocketAddr>,
    call_id: String,
    events: Vec<Event>,
    acknowledged: bool,
    cancelled: bool,
    hang_up: bool,
    /// SDP of the next re-INVITE.
    offer: String,
    /// The answer to a re-INVITE is there, but not acknowledged.
    agreed: bool,
    /// Re-INVITEs that came to an agreement.
    agreements: u32,
}

impl Signalling {
    /// Starts SIPp and the relay; the call has left SIPp when this returns.
    ///
    /// # Errors
    /// When SIPp cannot be started, with its own complaint.
    pub(crate) fn dial(dial: &Dial, line: Arc<Line>, scenario: &Path) -> Result<(Arc<Self>, Child)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(RELAY_TIMEOUT))?;
        let relay = socket.local_addr()?;
        fs::write(scenario, scenario_text(dial, relay, &line))?;
        let signalling = Arc::new(Self {
            asterisk: dial.asterisk,
            socket,
            line,
            state: Mutex::default(),
            changed: Condvar::new(),
            closed: AtomicBool::new(false),
        });
        let thread = signalling.clone();
        thread::spawn(move || thread.relay());
        let mut sipp = start_sipp(relay, scenario).context("cannot start SIPp: run `make setup`")?;
        let started = poll_for(START_TIMEOUT, || {
            // In this order: a call may be refused and SIPp gone before anyone has looked.
            let ended = !matches!(sipp.try_wait(), Ok(None));
            let called = signalling.state().sipp.is_some();
            if called {
                Some(Ok(()))
            } else {
                ended.then(|| Err(anyhow!("SIPp does not run: {}", complaint(scenario))))
            }
        });
        let started = started.unwrap_or_else(|| Err(anyhow!("SIPp does not call: {}", complaint(scenario))));
        if started.is_err() {
            signalling.close();
            signalling.line.close();
            let _ = sipp.kill();
            let _ = sipp.wait();
        }
        started.map(|()| (signalling, sipp))
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Ends the call as soon as SIP allows it: a call not yet seen by Asterisk cannot be cancelled.
    pub(crate) fn hang_up(&self) {
        let mut state = self.state();
        state.hang_up = true;
        self.hang_up_if_possible(&mut state);
    }

    /// Waits for an event that `wanted` accepts.
    pub(crate) fn wait<T>(&self, timeout: Duration, wanted: impl Fn(&Event) -> Option<T>) -> Option<T> {
        let find = |state: &State| state.events.iter().find_map(&wanted);
        let waiting = |state: &mut State| find(state).is_none();
        let (state, _) = self.changed.wait_timeout_while(self.state(), timeout, waiting).expect("no panic");
        find(&state)
    }

    /// Has SIPp negotiate anew; false if Asterisk has not agreed within `timeout`.
    pub(crate) fn renegotiate(&self, codec: Codec, direction: Direction, timeout: Duration) -> bool {
        let mut state = self.state();
        let Some(sipp) = state.sipp.filter(|_| state.acknowledged) else { return false };
        let version = state.agreements + 2;
        state.offer = sdp(&self.line, codec, direction, version);
        let before = state.agreements;
        self.tell(&state, sipp, "REFER");
        let waiting = |state: &mut State| state.agreements == before;
        let (state, _) = self.changed.wait_timeout_while(state, timeout, waiting).expect("no panic");
        let agreed = state.agreements > before;
        drop(state);
        if agreed {
            self.line.set_codec(codec);
        }
        agreed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn relay(&self) {
        let mut buffer = [0u8; 65536];
        while !self.closed.load(Ordering::Relaxed) {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { continue };
            let mut datagram = buffer[..length].to_vec();
            let mut state = self.state();
            if from != self.asterisk && !state.offer.is_empty() && datagram.starts_with(b"INVITE ") {
                datagram = with_body(&datagram, &state.offer);
            }
            let message = String::from_utf8_lossy(&datagram);
            if from == self.asterisk {
                self.note_from_asterisk(&mut state, &message);
            } else {
                state.sipp = Some(from);
                self.note_from_sipp(&mut state, &message);
            }
            // A datagram SIPp can no longer take is retransmitted or moot.
            if let Some(to) = if from == self.asterisk { state.sipp } else { Some(self.asterisk) } {
                let _ = self.socket.send_to(&datagram, to);
            }
            self.hang_up_if_possible(&mut state);
            drop(state);
            self.changed.notify_all();
        }
    }

    fn note_from_sipp(&self, state: &mut State, message: &str) {
        let with_password = header(message, "Authorization").is_some();
        match message.split(' ').next() {
            Some("INVITE") if with_password => {
                state.call_id = header(message, "Call-ID").unwrap_or_default().to_owned();
                state.note(CallEvent::Dialled);
            }
            // The acknowledgement of a refusal (401, 487) is a matter of that transaction only.
            Some("ACK") if state.acknowledged && state.agreed => {
                state.agreed = false;
                state.agreements += 1;
            }
            Some("ACK") if state.has(CallEvent::Answered) => state.acknowledged = true,
            Some("BYE") => self.end(state, Ended::ByCaller),
            _ => {}
        }
    }

    fn note_from_asterisk(&self, state: &mut State, message: &str) {
        if message.starts_with("BYE ") {
            self.end(state, Ended::ByPbx);
        }
        let status = message.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let cseq = header(message, "CSeq");
        if status.is_some_and(|status: u16| status == 200)
            && state.acknowledged
            && cseq.is_some_and(|cseq| cseq.ends_with(" INVITE") && cseq != "2 INVITE")
        {
            state.agreed = true;
        }
        // The first INVITE is refused with 401 to ask for the password; what matters is the second.
        let (Some(status), Some("2 INVITE")) = (status, cseq) else { return };
        if let Some(remote) = audio_address(message) {
            self.line.set_remote(Some(remote));
        }
        match status {
            100 => state.note(CallEvent::Trying),
            180 => state.note(CallEvent::Ringing),
            183 => state.note(CallEvent::EarlyMedia),
            200..300 => state.note(CallEvent::Answered),
            487 if state.cancelled => self.end(state, Ended::Cancelled),
            300.. => self.end(state, Ended::Refused(status)),
            _ => {}
        }
    }

    fn end(&self, state: &mut State, how: Ended) {
        if !state.events.iter().any(|event| matches!(event.what, CallEvent::Ended(_))) {
            state.note(CallEvent::Ended(how));
        }
        self.line.set_remote(None);
    }

    /// Tells SIPp something by a request of this method.
    fn tell(&self, state: &State, sipp: SocketAddr, method: &str) {
        let request = format!(
            "{method} sip:phone SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-rig\r\nFrom: <sip:rig>;tag=rig\r\n\
             To: <sip:phone>\r\nCall-ID: {}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n",
            self.asterisk, state.call_id
        );
        let _ = self.socket.send_to(request.as_bytes(), sipp);
    }

    /// Tells SIPp to hang up once it is where its scenario listens for that.
    fn hang_up_if_possible(&self, state: &mut State) {
        let answered = state.has(CallEvent::Answered);
        let in_call = answered && state.acknowledged;
        let before_answer = state.has(CallEvent::Trying) && !answered;
        let Some(sipp) = state.sipp.filter(|_| state.hang_up && (in_call || before_answer)) else { return };
        self.tell(state, sipp, "MESSAGE");
        state.hang_up = false;
        state.cancelled = before_answer;
    }
}

/// `message` with another body.
fn with_body(message: &[u8], body: &str) -> Vec<u8> {
    let message = String::from_utf8_lossy(message);
    let (headers, _) = message.split_once("\r\n\r\n").unwrap_or((&message, ""));
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let headers: Vec<_> = headers.lines().filter(|line| !is_length(line)).collect();
    format!("{}\r\nContent-Length: {}\r\n\r\n{body}", headers.join("\r\n"), body.len()).into_bytes()
}

impl State {
    fn note(&mut self, what: CallEvent) {
        // A retransmission tells nothing new.
        if !self.has(what) {
            self.events.push(Event { at: Instant::now(), what });
        }
    }

    fn has(&self, what: CallEvent) -> bool {
        self.events.iter().any(|event| event.what == what)
    }
}

/// Runs SIPp on a loopback address of its own, made of the relay's port: it opens fixed ports, those for media too
/// although it sends none, and would meet other SIPps there.
fn start_sipp(relay: SocketAddr, scenario: &Path) -> io::Result<Child> {
    let [high, low] = relay.port().to_be_bytes();
    let own_address = Ipv4Addr::new(127, 1, high, low).to_string();
    let mut command = mortal::command("sipp");
    command.arg(relay.to_string()).arg("-sf").arg(scenario);
    command.args(["-i", &own_address, "-mi", &own_address, "-p", SIPP_PORT]);
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

/// The phone's offer, with one codec. `version` grows with every offer of a call.
fn sdp(line: &Line, codec: Codec, direction: Direction, version: u32) -> String {
    let sending = line.sending();
    let clock = codec.clock_hz();
    let (audio, event) = (codec.payload_type(), EVENT_PAYLOAD_TYPE);
    let (noise, noise_map) =
        if sending.comfort_noise { (" 13", "a=rtpmap:13 CN/8000\r\n") } else { Default::default() };
    let direction = match direction {
        Direction::Both => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::Inactive => "inactive",
    };
    format!(
        "v=0\r\no=phone 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {audio}{noise} {event}\r\na=rtpmap:{audio} {rtpmap}\r\n{noise_map}\
         a=rtpmap:{event} telephone-event/{clock}\r\na=fmtp:{event} 0-15\r\na=ptime:{ptime}\r\na={direction}\r\n",
        port = line.port(),
        rtpmap = codec.rtpmap(),
        ptime = sending.packet_time.as_millis(),
    )
}

fn scenario_text(dial: &Dial, relay: SocketAddr, line: &Line) -> String {
    let sdp = sdp(line, line.codec(), Direction::Both, 1).replace('\r', "");
    include_str!("phone.xml")
        .replace("{sdp}", sdp.trim_end())
        .replace("{relay}", &relay.to_string())
        .replace("{target}", &dial.asterisk.to_string())
        .replace("{extension}", &dial.extension)
        .replace("{user}", &dial.user)
        .replace("{password}", &dial.password)
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (headers, _) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    headers.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Address of the audio stream in the SDP of `message`.
fn audio_address(message: &str) -> Option<SocketAddr> {
    let (_, sdp) = message.split_once("\r\n\r\n")?;
    let field = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix)?.split(' ').next());
    let port: u16 = field("m=audio ")?.parse().ok()?;
    Some(SocketAddr::new(field("c=IN IP4 ")?.trim().parse().ok()?, port))
}
