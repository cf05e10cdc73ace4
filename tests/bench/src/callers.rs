//! N callers in this process, and the meter on each of their lines.
//!
//! ```text
//!  sender thread    each call every 20 ms on one grid, the calls spread evenly over the 20 ms ─► Asterisk
//!  receiver thread  epoll ─► kernel receive time ─► spacing, loss, ear ◄─────────────────────── Asterisk
//!  SIP thread       200 ─► ACK; BYE ─► 200
//! ```
//!
//! All times are the machine's real-time clock: a packet's arrival is stamped by the kernel, so a receiver that is late
//! does not make the line look late. Sender and receiver run in the real-time class where the machine allows it.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use crate::audio::{self, Ear, Heard, LOOP_PACKETS, PACKET_BYTES, TONES_HZ};
use crate::sip::{Dialog, Incoming};

/// Calls placed a second.
const CALLS_PER_SECOND: f64 = 25.0;
/// Patience until all calls are up.
const SETUP_MAX: Duration = Duration::from_secs(15);
/// Packets of one second.
const PTIME_NS: i64 = 20_000_000;

/// What the callers of one measurement saw.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Seen {
    pub(crate) calls: usize,
    pub(crate) answered: usize,
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    /// Gaps in Asterisk's RTP sequence numbers.
    pub(crate) packets_lost: i64,
    pub(crate) calls_without_audio: usize,
    pub(crate) bursts_sent: u64,
    pub(crate) garbled: u64,
    /// From the burst's first sample sent to its first sample received. [ms]
    pub(crate) delay_ms: Vec<f32>,
    /// Time between two packets on one line. [ms]
    #[serde(skip)]
    pub(crate) spacing_ms: Vec<f32>,
    /// How late the sender was. [ms]
    #[serde(skip)]
    pub(crate) late_ms: Vec<f32>,
    /// Asterisk ended so many calls before the caller did.
    pub(crate) ended_early: usize,
}

/// Callers whose calls are up.
pub(crate) struct Callers {
    lines: Arc<Vec<Line>>,
    shared: Arc<Shared>,
    sip: UdpSocket,
    sender: JoinHandle<Result<Vec<f32>>>,
    receiver: JoinHandle<Result<Vec<Meter>>>,
    answers: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    measuring: AtomicBool,
    over: AtomicBool,
}

struct Line {
    dialog: Dialog,
    socket: UdpSocket,
    talking: AtomicBool,
    refused: AtomicBool,
    ended: AtomicBool,
    /// Header that names the dialog, once answered.
    to: Mutex<Option<String>>,
    /// When each tone was sent last. [ns]
    burst_sent: [AtomicI64; TONES_HZ.len()],
    bursts: AtomicU64,
    sent: AtomicU64,
}

#[derive(Default)]
struct Meter {
    ear: Ear,
    last_at: Option<i64>,
    first: Option<i64>,
    highest: i64,
    received: u64,
    spacing_ms: Vec<f32>,
    delay_ms: Vec<f32>,
    garbled: u64,
}

impl Callers {
    /// Places `count` calls to `extension` and waits until they are up.
    ///
    /// # Errors
    /// When no call at all is answered.
    pub(crate) fn place(
        count: usize,
        extension: &'static str,
        target: SocketAddr,
        audio: &Arc<Vec<u8>>,
    ) -> Result<Self> {
        let sip = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sip.set_read_timeout(Some(Duration::from_millis(100)))?;
        let local = sip.local_addr()?;
        let run = now_ns()? / 1_000_000;
        let lines = (0..count).map(|number| Line::new(format!("{number}-{run}"), extension, target, local));
        let lines = Arc::new(lines.collect::<Result<Vec<_>>>()?);
        let shared = Arc::<Shared>::default();
        let sender = {
            let (lines, shared, audio) = (lines.clone(), shared.clone(), audio.clone());
            thread::spawn(move || send(&lines, &shared, &audio))
        };
        let receiver = {
            let (lines, shared) = (lines.clone(), shared.clone());
            thread::spawn(move || receive(&lines, &shared))
        };
        let answers = {
            let (lines, shared, sip) = (lines.clone(), shared.clone(), sip.try_clone()?);
            thread::spawn(move || answer(&lines, &shared, &sip))
        };
        let callers = Self { lines, shared, sip, sender, receiver, answers };
        callers.dial()?;
        Ok(callers)
    }

    fn dial(&self) -> Result<()> {
        let start = Instant::now();
        for (number, line) in self.lines.iter().enumerate() {
            let at = start + Duration::from_secs_f64(number as f64 / CALLS_PER_SECOND);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            self.sip.send_to(line.dialog.invite().as_bytes(), line.dialog.target)?;
        }
        let deadline = Instant::now() + SETUP_MAX;
        let settled = |line: &Line| line.talking.load(Ordering::Relaxed) || line.refused.load(Ordering::Relaxed);
        while !self.lines.iter().all(settled) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        ensure!(self.answered() > 0, "no call was answered");
        Ok(())
    }

    /// Calls that are up.
    pub(crate) fn answered(&self) -> usize {
        self.lines.iter().filter(|line| line.talking.load(Ordering::Relaxed)).count()
    }

    /// Begins or ends the time that counts.
    pub(crate) fn measure(&self, on: bool) {
        self.shared.measuring.store(on, Ordering::Relaxed);
    }

    /// Hangs up and tells what was seen.
    ///
    /// # Errors
    /// When a thread failed.
    pub(crate) fn finish(self) -> Result<Seen> {
        let answered = self.lines.iter().filter(|line| line.named().is_some()).count();
        let ended_early = self.lines.iter().filter(|line| line.ended.load(Ordering::Relaxed)).count();
        for line in self.lines.iter() {
            line.talking.store(false, Ordering::Relaxed);
            if let Some(to) = line.named() {
                self.sip.send_to(line.dialog.bye(&to).as_bytes(), line.dialog.target)?;
                thread::sleep(Duration::from_millis(3));
            }
        }
        thread::sleep(Duration::from_millis(700));
        self.shared.over.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("a thread of the callers panicked");
        let late_ms = self.sender.join().map_err(panicked)??;
        let meters = self.receiver.join().map_err(panicked)??;
        self.answers.join().map_err(panicked)?;

        let mut seen = Seen { calls: self.lines.len(), answered, ended_early, late_ms, ..Seen::default() };
        for (line, mut meter) in self.lines.iter().zip(meters) {
            seen.packets_sent += line.sent.load(Ordering::Relaxed);
            seen.bursts_sent += line.bursts.load(Ordering::Relaxed);
            seen.packets_received += meter.received;
            seen.packets_lost += meter.first.map_or(0, |first| meter.highest - first + 1 - meter.received as i64);
            seen.calls_without_audio += usize::from(meter.received == 0);
            seen.garbled += meter.garbled;
            seen.delay_ms.append(&mut meter.delay_ms);
            seen.spacing_ms.append(&mut meter.spacing_ms);
        }
        for figures in [&mut seen.delay_ms, &mut seen.spacing_ms, &mut seen.late_ms] {
            figures.sort_by(f32::total_cmp);
        }
        Ok(seen)
    }
}

impl Line {
    fn new(call_id: String, extension: &'static str, target: SocketAddr, local: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let rtp_port = socket.local_addr()?.port();
        Ok(Self {
            dialog: Dialog { call_id, extension, target, local, rtp_port },
            socket,
            talking: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            to: Mutex::default(),
            burst_sent: Default::default(),
            bursts: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    fn named(&self) -> Option<String> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The final answer `code` to our INVITE.
    fn handle_answer(&self, code: u16, message: &Incoming<'_>, sip: &UdpSocket) {
        let to = message.header("To").unwrap_or_default();
        let _ = sip.send_to(self.dialog.ack(code, to).as_bytes(), self.dialog.target);
        let port = message.rtp_port().filter(|_| code < 300);
        let Some(port) = port else { return self.refused.store(true, Ordering::Relaxed) };
        if self.named().is_none() && self.socket.connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            *self.to.lock().unwrap_or_else(PoisonError::into_inner) = Some(to.to_owned());
            self.talking.store(true, Ordering::Release);
        }
    }
}

/// The SIP thread.
fn answer(lines: &[Line], shared: &Shared, sip: &UdpSocket) {
    let by_id: HashMap<_, _> = lines.iter().map(|line| (line.dialog.call_id.as_str(), line)).collect();
    let mut buffer = [0; 8192];
    while !shared.over.load(Ordering::Relaxed) {
        let Ok((length, from)) = sip.recv_from(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let message = Incoming(&text);
        let Some(&line) = message.header("Call-ID").and_then(|id| by_id.get(id)) else { continue };
        match (message.code(), message.method()) {
            (Some(code @ 200..), Some("INVITE")) => line.handle_answer(code, &message, sip),
            (None, method) => {
                if method == Some("BYE") {
                    line.ended.store(true, Ordering::Relaxed);
                    line.talking.store(false, Ordering::Relaxed);
                }
                if let Some(ok) = message.ok() {
                    let _ = sip.send_to(ok.as_bytes(), from);
                }
            }
            _ => {}
        }
    }
}

/// The sender thread. Gives how late it was, packet by packet. [ms]
fn send(lines: &[Line], shared: &Shared, audio: &[u8]) -> Result<Vec<f32>> {
    in_real_time();
    let mut late_ms = Vec::new();
    let mut packet = [0; 12 + PACKET_BYTES];
    packet[0] = 0x80; // RTP version 2
    packet[1] = 8; // PCMA
    let base = monotonic_ns()? + PTIME_NS;
    // Callers are not all at the same word, and their sequence numbers do not start together.
    let mut places: Vec<usize> = (0..lines.len()).map(|number| number * 37).collect();
    for tick in 0.. {
        for (number, line) in lines.iter().enumerate() {
            let due = base + tick * PTIME_NS + number as i64 * PTIME_NS / lines.len() as i64;
            let until = Duration::from_nanos(due as u64).into();
            let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until);
            if shared.over.load(Ordering::Relaxed) {
                return Ok(late_ms);
            }
            if !line.talking.load(Ordering::Acquire) {
                continue;
            }
            let place = places[number];
            places[number] += 1;
            packet[2..4].copy_from_slice(&(place as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&((place * PACKET_BYTES) as u32).to_be_bytes());
            packet[8..12].copy_from_slice(&(0x1000 + number as u32).to_be_bytes());
            let index = place % LOOP_PACKETS;
            packet[12..].copy_from_slice(&audio[index * PACKET_BYTES..][..PACKET_BYTES]);
            let measuring = shared.measuring.load(Ordering::Relaxed);
            if let Some(tone) = audio::burst_at(index) {
                line.burst_sent[tone].store(now_ns()?, Ordering::Release);
                line.bursts.fetch_add(u64::from(measuring), Ordering::Relaxed);
            }
            let _ = line.socket.send(&packet);
            if measuring {
                line.sent.fetch_add(1, Ordering::Relaxed);
                late_ms.push((monotonic_ns()? - due) as f32 / 1e6);
            }
        }
    }
    Ok(late_ms)
}

/// The receiver thread.
fn receive(lines: &[Line], shared: &Shared) -> Result<Vec<Meter>> {
    in_real_time();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, line) in lines.iter().enumerate() {
        epoll.add(&line.socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
    }
    let mut meters: Vec<Meter> = lines.iter().map(|_| Meter::default()).collect();
    let mut events = [EpollEvent::empty(); 64];
    let mut packet = [0; 2048];
    while !shared.over.load(Ordering::Relaxed) {
        let ready = epoll.wait(&mut events, EpollTimeout::from(100u8)).unwrap_or(0);
        let measuring = shared.measuring.load(Ordering::Relaxed);
        for event in &events[..ready] {
            let number = event.data() as usize;
            while let Some((length, at_ns)) = receive_one(&lines[number].socket, &mut packet) {
                meters[number].handle(&packet[..length], at_ns, measuring, &lines[number]);
            }
        }
    }
    Ok(meters)
}

/// The next packet's length and the time the kernel received it. [ns]
fn receive_one(socket: &UdpSocket, packet: &mut [u8]) -> Option<(usize, i64)> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(packet)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
    let stamp = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp).as_nanos() as i64),
        _ => None,
    })?;
    Some((message.bytes, stamp))
}

impl Meter {
    fn handle(&mut self, packet: &[u8], at_ns: i64, measuring: bool, line: &Line) {
        if packet.len() < 12 || packet[1] & 0x7F != 8 {
            return;
        }
        if measuring {
            self.count(i64::from(u16::from_be_bytes([packet[2], packet[3]])));
            if let Some(last_at) = self.last_at {
                self.spacing_ms.push((at_ns - last_at) as f32 / 1e6);
            }
            self.last_at = Some(at_ns);
        }
        let (delay_ms, garbled) = (&mut self.delay_ms, &mut self.garbled);
        self.ear.listen(&packet[12..], at_ns, |heard| match heard {
            _ if !measuring => {}
            Heard::Garbled => *garbled += 1,
            Heard::Burst { tone, at_ns } => match line.burst_sent[tone].load(Ordering::Acquire) {
                0 => {}
                sent_at => delay_ms.push((at_ns - sent_at) as f32 / 1e6),
            },
        });
    }

    fn count(&mut self, sequence: i64) {
        let highest = if self.first.is_some() { self.highest } else { sequence };
        self.first.get_or_insert(sequence);
        // The 16-bit number is the one nearest to the highest so far.
        let step = (sequence - highest).rem_euclid(65536);
        let step = if step > 32768 { step - 65536 } else { step };
        self.highest = highest.max(highest + step);
        self.received += 1;
    }
}

/// Puts the calling thread before everything else, where that is allowed.
fn in_real_time() {
    let thread = nix::unistd::gettid().to_string();
    let _ = Command::new("chrt").args(["--fifo", "--pid", "10", &thread]).stderr(Stdio::null()).status();
}

fn now_ns() -> Result<i64> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_REALTIME).context("no clock")?).as_nanos() as i64)
}

fn monotonic_ns() -> Result<i64> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).context("no clock")?).as_nanos() as i64)
}
