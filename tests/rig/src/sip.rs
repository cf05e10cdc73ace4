//! The phone's signalling: SIPp speaks SIP, and its datagrams pass through a relay that knows what happened when.
//!
//! ```text
//!  SIPp ◄──► relay socket ◄──► Asterisk
//!              │  every message: time, event, where the audio goes
//!              ├─ "hang up": a MESSAGE to SIPp, which the scenario answers with CANCEL or BYE
//!              ├─ "negotiate anew": a REFER to SIPp, which it answers with a re-INVITE; the SDP is put in here
//!              └─ "transfer": a PUBLISH to SIPp, which it answers with a REFER; to whom is put in here
//! ```

mod message;
mod sipp;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use self::message::{Dialog, audio_address, escaped, header, sdp, with_body};
pub(crate) use self::sipp::{address, complaint, listens};
use crate::Codec;
use crate::rtp::Line;
use crate::wait::poll_for;

/// How soon the relay notices that its call is over.
const RELAY_TIMEOUT: Duration = Duration::from_millis(100);
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
    /// Who called, before the answer (CANCEL).
    Cancelled,
    /// Who was called, before the answer, with this SIP status.
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

/// A phone and its exchange.
pub(crate) struct Parties {
    pub(crate) asterisk: SocketAddr,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) role: Role,
}

/// What the phone does.
pub(crate) enum Role {
    /// It calls.
    Calls {
        extension: String,
        /// In the place of the call with this `Replaces` header.
        replaces: Option<String>,
    },
    /// It is called, and answers at once.
    IsCalled,
    /// It is called, and rings until it is told what to do.
    Rings,
}

/// The signalling of one call.
pub(crate) struct Signalling {
    asterisk: SocketAddr,
    called: bool,
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
    /// Known once the call is answered.
    dialog: Option<Dialog>,
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
    /// Where the next REFER sends the other party.
    refer_to: String,
    /// Asterisk's answer to the last one.
    referred: Option<u16>,
    /// The INVITE that called this phone.
    invite: String,
    /// How the phone refuses the call.
    refusal: u16,
}

impl Signalling {
    /// Starts SIPp and the relay; when this returns the call has left SIPp, or SIPp listens for one.
    ///
    /// # Errors
    /// When SIPp cannot be started, with its own complaint.
    pub(crate) fn begin(parties: &Parties, line: Arc<Line>, scenario: &Path) -> Result<(Arc<Self>, Child)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(RELAY_TIMEOUT))?;
        let relay = socket.local_addr()?;
        fs::write(scenario, sipp::scenario(parties, relay, &line))?;
        let called = !matches!(parties.role, Role::Calls { .. });
        let signalling = Arc::new(Self {
            asterisk: parties.asterisk,
            called,
            socket,
            line,
            state: Mutex::default(),
            changed: Condvar::new(),
            closed: AtomicBool::new(false),
        });
        let thread = signalling.clone();
        thread::spawn(move || thread.relay());
        if called {
            signalling.state().sipp = Some(sipp::address(relay));
        }
        let mut sipp = sipp::start(relay, &parties.role, scenario).context("cannot start SIPp: run `make setup`")?;
        let started = poll_for(START_TIMEOUT, || {
            // In this order: a call may be refused and SIPp gone before anyone has looked.
            let ended = !matches!(sipp.try_wait(), Ok(None));
            let ready = if called { sipp::listens(relay) } else { signalling.state().sipp.is_some() };
            if ready { Some(Ok(())) } else { ended.then(|| Err(anyhow!("SIPp does not run: {}", complaint(scenario)))) }
        });
        let started = started.unwrap_or_else(|| Err(anyhow!("SIPp does nothing: {}", complaint(scenario))));
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
        if self.called && !state.has(CallEvent::Answered) {
            drop(state);
            return self.refuse(UNAVAILABLE);
        }
        state.hang_up = true;
        self.hang_up_if_possible(&mut state);
    }

    /// Answers a phone that rings.
    pub(crate) fn answer(&self) {
        self.tell_ringing("MESSAGE");
    }

    /// Has a phone that rings send audio before the answer.
    pub(crate) fn send_early_media(&self) {
        self.tell_ringing("REFER");
    }

    /// Refuses at a phone that rings.
    pub(crate) fn refuse(&self, status: u16) {
        self.state().refusal = status;
        self.tell_ringing("PUBLISH");
    }

    fn tell_ringing(&self, method: &str) {
        let state = self.state();
        if let Some(sipp) = state.sipp.filter(|_| self.called && !state.has(CallEvent::Answered)) {
            self.tell(&state, sipp, method);
        }
    }

    /// The INVITE that called this phone; empty if none has.
    pub(crate) fn invite(&self) -> String {
        self.state().invite.clone()
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

    /// Asks Asterisk to send the other party to `target`; false if it has not agreed within `timeout`.
    pub(crate) fn refer(&self, target: &str, timeout: Duration) -> bool {
        let mut state = self.state();
        let Some(sipp) = state.sipp.filter(|_| state.acknowledged) else { return false };
        state.refer_to = format!("sip:{target}");
        state.referred = None;
        self.tell(&state, sipp, "PUBLISH");
        let waiting = |state: &mut State| state.referred.is_none();
        let (state, _) = self.changed.wait_timeout_while(state, timeout, waiting).expect("no panic");
        state.referred.is_some_and(|status| status < 300)
    }

    /// Value of a `Replaces` header that names this call; none before it is answered.
    pub(crate) fn replaces(&self) -> Option<String> {
        self.state().dialog.as_ref().map(Dialog::replaces)
    }

    /// The same as part of a SIP address.
    pub(crate) fn replaces_escaped(&self) -> Option<String> {
        self.replaces().as_deref().map(escaped)
    }

    /// Where this phone can be called.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
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
            if from != self.asterisk && datagram.starts_with(b"REFER ") {
                datagram = String::from_utf8_lossy(&datagram).replace("sip:transferee", &state.refer_to).into_bytes();
            }
            if from != self.asterisk && datagram.starts_with(REFUSAL.as_bytes()) {
                let refusal = format!("SIP/2.0 {} ", state.refusal);
                datagram = String::from_utf8_lossy(&datagram).replacen(REFUSAL, &refusal, 1).into_bytes();
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
            Some("SIP/2.0") if self.called && is_invite(message) => self.note_own_answer(state, message),
            _ => {}
        }
    }

    /// What this phone says to the call.
    fn note_own_answer(&self, state: &mut State, message: &str) {
        match status(message) {
            Some(180) => state.note(CallEvent::Ringing),
            Some(183) => {
                self.line.set_remote(audio_address(&state.invite));
                state.note(CallEvent::EarlyMedia);
            }
            Some(200) => {
                if !state.has(CallEvent::Answered) {
                    self.line.set_remote(audio_address(&state.invite));
                }
                state.answered(message, true);
            }
            Some(487) => self.end(state, Ended::Cancelled),
            Some(refusal @ 300..) => self.end(state, Ended::Refused(refusal)),
            _ => {}
        }
    }

    fn note_from_asterisk(&self, state: &mut State, message: &str) {
        match message.split(' ').next() {
            Some("BYE") => self.end(state, Ended::ByPbx),
            Some("INVITE") if self.called && state.call_id.is_empty() => {
                state.call_id = header(message, "Call-ID").unwrap_or_default().to_owned();
                message.clone_into(&mut state.invite);
                if self.line.sending().before_answer {
                    self.line.set_remote(audio_address(message));
                }
            }
            Some("ACK") if self.called => state.acknowledged = true,
            _ => {}
        }
        let status = status(message);
        let cseq = header(message, "CSeq");
        if status == Some(200) && state.acknowledged && is_invite(message) && (self.called || cseq != Some("2 INVITE"))
        {
            state.agreed = true;
        }
        if cseq.is_some_and(|cseq| cseq.ends_with(" REFER")) && status.is_some_and(|status| status >= 200) {
            state.referred = status;
        }
        if self.called {
            return;
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
            200..300 => state.answered(message, false),
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
        // Unlike the one before, or SIPp takes it for that one sent again.
        static BRANCH: AtomicU32 = AtomicU32::new(0);
        let branch = BRANCH.fetch_add(1, Ordering::Relaxed);
        let request = format!(
            "{method} sip:phone SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-rig-{branch}\r\nFrom: <sip:rig>;tag=rig\r\n\
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

/// How a phone that rings hangs up: temporarily unavailable.
const UNAVAILABLE: u16 = 480;

/// What SIPp says where it refuses.
const REFUSAL: &str = "SIP/2.0 600 ";

/// The status of a response.
fn status(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

fn is_invite(message: &str) -> bool {
    header(message, "CSeq").is_some_and(|cseq| cseq.ends_with(" INVITE"))
}

impl State {
    /// `message` is the answer; the phone `called` gives it, or gets it.
    fn answered(&mut self, message: &str, called: bool) {
        self.dialog.get_or_insert_with(|| Dialog::of(message, called));
        self.note(CallEvent::Answered);
    }

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
