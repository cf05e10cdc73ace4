//! A SIP phone that dials into a [`Rig`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::rtp::{DIGITS, Line, Network, Sending};
use crate::sip::{Direction, Parties, Role, Signalling, complaint};
use crate::wait::poll_for;
use crate::{CallEvent, Codec, Ended, Event, Recording, Rig};

/// Time a dropped call is given to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// A phone, registered nowhere, that calls as 1001 unless told otherwise.
pub struct Phone {
    parties: Parties,
    codec: Codec,
    sending: Sending,
    directory: PathBuf,
}

impl Phone {
    /// A phone with A-law.
    pub fn new(rig: &Rig) -> Self {
        Self::at(rig.sip_addr(), rig.directory().join("run"))
    }

    /// A phone with A-law for an Asterisk that is no rig's. Its files lie in `directory`.
    pub fn at(asterisk: SocketAddr, directory: impl Into<PathBuf>) -> Self {
        let parties = Parties { asterisk, user: "1001".into(), password: "1001pass".into(), role: Role::IsCalled };
        let sending = Sending {
            packet_time: Duration::from_millis(20),
            network: Network::default(),
            comfort_noise: false,
            before_answer: false,
        };
        Self { parties, codec: Codec::Alaw, sending, directory: directory.into() }
    }

    /// The one codec this phone offers.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sends packets of this length, in the place of 20 ms.
    pub fn packet_time(mut self, packet_time: Duration) -> Self {
        self.sending.packet_time = packet_time;
        self
    }

    /// Sends over a network like this.
    pub fn network(mut self, network: Network) -> Self {
        self.sending.network = network;
        self
    }

    /// Sends comfort noise (RFC 3389) while it is muted, in the place of nothing.
    pub fn comfort_noise(mut self) -> Self {
        self.sending.comfort_noise = true;
        self
    }

    /// When called, sends audio from the INVITE on, as some gateways do: before Asterisk can know from where.
    pub fn send_before_answer(mut self) -> Self {
        self.sending.before_answer = true;
        self
    }

    /// Calls as another user.
    pub fn account(mut self, user: &str, password: &str) -> Self {
        self.parties.user = user.into();
        self.parties.password = password.into();
        self
    }

    /// Dials `extension` and returns when the call has just left the phone.
    ///
    /// # Errors
    /// When SIPp cannot be started.
    pub fn dial(self, extension: &str) -> Result<PhoneCall> {
        self.begin(Role::Calls { extension: extension.into(), replaces: None })
    }

    /// Takes the place of `other` at its answered call of `extension`: an INVITE with Replaces (RFC 3891), as a phone sends it to which the
    /// other party of a call was transferred.
    ///
    /// # Errors
    /// When that call is not answered, or SIPp cannot be started.
    pub fn take_over(self, other: &PhoneCall, extension: &str) -> Result<PhoneCall> {
        let replaces = other.signalling.replaces().context("a call that is not answered cannot be taken over")?;
        self.begin(Role::Calls { extension: extension.into(), replaces: Some(replaces) })
    }

    /// Waits for a call and will answer it at once: [`PhoneCall::uri`] says where.
    ///
    /// # Errors
    /// When SIPp cannot be started.
    pub fn listen(self) -> Result<PhoneCall> {
        self.begin(Role::IsCalled)
    }

    /// Waits for a call and rings until [`PhoneCall::answer`], [`PhoneCall::refuse`] or the caller ends that.
    ///
    /// # Errors
    /// When SIPp cannot be started.
    pub fn ring(self) -> Result<PhoneCall> {
        self.begin(Role::Rings)
    }

    fn begin(mut self, role: Role) -> Result<PhoneCall> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        self.parties.role = role;
        let scenario = self.directory.join(format!("phone-{}.xml", NEXT.fetch_add(1, Ordering::Relaxed)));
        let line = Line::open(self.codec, self.sending)?;
        let (signalling, sipp) = Signalling::begin(&self.parties, line.clone(), &scenario)?;
        Ok(PhoneCall { signalling, line, sipp: Mutex::new(sipp), scenario })
    }
}

/// A call of a [`Phone`]. Dropping it hangs up.
pub struct PhoneCall {
    signalling: Arc<Signalling>,
    line: Arc<Line>,
    sipp: Mutex<Child>,
    scenario: PathBuf,
}

impl PhoneCall {
    /// Waits for the answer and gives its time.
    ///
    /// # Errors
    /// When the call ends before, or nobody answers within `timeout`.
    pub fn wait_answered(&self, timeout: Duration) -> Result<Instant> {
        let result = self.signalling.wait(timeout, |event| match event.what {
            CallEvent::Answered => Some(Ok(event.at)),
            CallEvent::Ended(how) => Some(Err(how)),
            _ => None,
        });
        match result {
            Some(Ok(at)) => Ok(at),
            Some(Err(how)) => bail!("not answered: {how:?}"),
            None => bail!("no answer after {timeout:?}: {}", self.what_happened()),
        }
    }

    /// Waits until `what` has happened and gives its time.
    ///
    /// # Errors
    /// When it has not happened within `timeout`.
    pub fn wait_for(&self, what: CallEvent, timeout: Duration) -> Result<Instant> {
        let found = self.signalling.wait(timeout, |event| (event.what == what).then_some(event.at));
        found.with_context(|| format!("no {what:?} after {timeout:?}: {}", self.what_happened()))
    }

    /// Waits until the call is over, however it ends, and SIPp has finished.
    ///
    /// # Errors
    /// When it is not over within `timeout`.
    pub fn wait_ended(&self, timeout: Duration) -> Result<Ended> {
        let deadline = Instant::now() + timeout;
        let ended = self.signalling.wait(timeout, |event| match event.what {
            CallEvent::Ended(how) => Some(how),
            _ => None,
        });
        let ended =
            ended.with_context(|| format!("the call still runs after {timeout:?}: {}", self.what_happened()))?;
        let remaining = deadline.saturating_duration_since(Instant::now());
        poll_for(remaining, || self.sipp().try_wait().ok().flatten())
            .with_context(|| format!("SIPp still runs: {}", self.what_happened()))?;
        Ok(ended)
    }

    /// Answers, at a phone that rings.
    pub fn answer(&self) {
        self.signalling.answer();
    }

    /// Sends audio before the answer (183), at a phone that rings: what is played is heard from now on.
    pub fn send_early_media(&self) {
        self.signalling.send_early_media();
    }

    /// Refuses with this SIP status, at a phone that rings.
    pub fn refuse(&self, status: u16) {
        self.signalling.refuse(status);
    }

    /// The INVITE that called this phone; empty if none has.
    pub fn invite(&self) -> String {
        self.signalling.invite()
    }

    /// Hangs up, at any moment: CANCEL before the answer, BYE after it. A phone that rings refuses.
    pub fn hang_up(&self) {
        self.signalling.hang_up();
    }

    /// Everything that happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.signalling.events()
    }

    /// Queues samples at the codec's rate behind what is queued already; they leave in packets of 20 ms as soon as
    /// there is someone to hear them. Gives the number of the first sample, counted over the whole call.
    pub fn play(&self, samples: &[i16]) -> u64 {
        self.line.say(samples)
    }

    /// Queues bytes of the codec, sent as they are. Otherwise as [`Self::play`].
    pub fn play_bytes(&self, bytes: &[u8]) -> u64 {
        self.line.play(bytes)
    }

    /// Forgets what has not left yet.
    pub fn stop_playing(&self) {
        self.line.stop_playing();
    }

    /// When the packet with this sample left; `None` while it has not.
    pub fn played_at(&self, sample: u64) -> Option<Instant> {
        self.line.played_at(sample)
    }

    /// Waits until all that is queued, digits too, has left.
    ///
    /// # Errors
    /// When it has not within `timeout`.
    pub fn wait_played(&self, timeout: Duration) -> Result<()> {
        if self.line.wait_played(timeout) { Ok(()) } else { bail!("audio still queued after {timeout:?}") }
    }

    /// Stops sending audio packets altogether, as a phone with discontinuous transmission or on hold does.
    pub fn mute(&self, muted: bool) {
        self.line.mute(muted);
    }

    /// Lets the network deliver nothing, as if it were jammed, and later everything at once.
    pub fn stall(&self, stalled: bool) {
        self.line.stall(stalled);
    }

    /// Goes on as another source (SSRC) whose sequence numbers begin `back` before those it has had, as when a gateway on the
    /// way transfers the call.
    pub fn change_source(&self, back: u16) {
        self.line.change_source(back);
    }

    /// Negotiates the call anew (re-INVITE): another codec, or hold and its end. Audio in the new codec leaves and is
    /// heard from the moment the answer is there; what is queued in the old one is forgotten.
    ///
    /// # Errors
    /// When Asterisk does not agree within `timeout`.
    pub fn renegotiate(&self, codec: Codec, direction: Direction, timeout: Duration) -> Result<()> {
        if self.signalling.renegotiate(codec, direction, timeout) {
            return Ok(());
        }
        bail!("no new agreement after {timeout:?}: {}", self.what_happened())
    }

    /// Where this phone can be called, for `Dial(PJSIP/1001/…)`.
    pub fn uri(&self) -> String {
        format!("sip:phone@127.0.0.1:{}", self.signalling.port())
    }

    /// Sends the other party to `extension` (REFER), whatever becomes of that, and hangs up.
    ///
    /// # Errors
    /// When Asterisk does not agree within `timeout`.
    pub fn transfer(&self, extension: &str, timeout: Duration) -> Result<()> {
        self.refer(&format!("{extension}@asterisk"), timeout)
    }

    /// Joins the other party of this call with that of `other`, another call of this phone (REFER with Replaces), and hangs
    /// up.
    ///
    /// # Errors
    /// When `other` is not answered, or Asterisk does not agree within `timeout`.
    pub fn join(&self, other: &Self, timeout: Duration) -> Result<()> {
        let replaces = other.signalling.replaces_escaped().context("the other call is not answered")?;
        self.refer(&format!("asterisk?Replaces={replaces}"), timeout)
    }

    fn refer(&self, target: &str, timeout: Duration) -> Result<()> {
        if self.signalling.refer(target, timeout) {
            // Asterisk leaves that to the phone: until then it would tell it how the transfer goes on.
            self.hang_up();
            return Ok(());
        }
        bail!("no transfer within {timeout:?}: {}", self.what_happened())
    }

    /// Sends a digit (`0`-`9`, `*`, `#`, `A`-`D`) as an RFC 4733 event of 160 ms, after those still to be sent.
    ///
    /// # Panics
    /// When there is no such digit.
    pub fn send_digit(&self, digit: char) {
        let code = DIGITS.find(digit).unwrap_or_else(|| panic!("{digit:?} is not a telephone digit"));
        self.line.send_digit(code as u8);
    }

    /// What the phone has heard so far.
    pub fn heard(&self) -> Recording {
        Recording { codec: self.line.codec(), packets: self.line.heard() }
    }

    /// Process id of this call's SIPp.
    pub fn sipp_pid(&self) -> u32 {
        self.sipp().id()
    }

    fn sipp(&self) -> MutexGuard<'_, Child> {
        self.sipp.lock().expect("no panic")
    }

    /// For an error message: the events, and SIPp's own complaint if it has one.
    fn what_happened(&self) -> String {
        let events: Vec<_> = self.events().iter().map(|event| event.what).collect();
        format!("{events:?} {}", complaint(&self.scenario))
    }
}

impl Drop for PhoneCall {
    fn drop(&mut self) {
        let running = matches!(self.sipp().try_wait(), Ok(None));
        if running {
            self.hang_up();
        }
        if running && self.wait_ended(FAREWELL).is_err() {
            let _ = self.sipp().kill();
            let _ = self.sipp().wait();
        }
        self.signalling.close();
        self.line.close();
    }
}
