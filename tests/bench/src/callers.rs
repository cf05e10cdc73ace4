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

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use bench_common::audio::{Loop, PACKET_BYTES};
use bench_common::clock;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use crate::measure::Bursts;
use crate::meter::{Log, Meter};
use crate::sip::{Dialog, Incoming};

/// Calls placed a second.
const CALLS_PER_SECOND: f64 = 25.0;
/// Patience until all calls are up.
const SETUP_MAX: Duration = Duration::from_secs(15);
/// Packets of one second.
const PTIME_NS: i64 = 20_000_000;

/// Callers whose calls are up.
pub(crate) struct Callers {
    lines: Arc<Vec<Line>>,
    over: Arc<AtomicBool>,
    sip: UdpSocket,
    sender: JoinHandle<Result<Vec<Sent>>>,
    receiver: JoinHandle<Result<Vec<Meter>>>,
    answers: JoinHandle<()>,
}

struct Line {
    dialog: Dialog,
    socket: UdpSocket,
    talking: AtomicBool,
    refused: AtomicBool,
    ended: AtomicBool,
    /// Header that names the dialog, once answered.
    to: Mutex<Option<String>>,
}

impl Callers {
    /// Places `count` calls to `extension` and waits until they are up. The clock of caller n is wrong by the n-th of
    /// `wrong_ppm`, which begins again at its end.
    ///
    /// # Errors
    /// When no call at all is answered.
    pub(crate) fn place(
        count: usize,
        extension: &'static str,
        target: SocketAddr,
        audio: &Arc<Loop>,
        wrong_ppm: &'static [f64],
    ) -> Result<Self> {
        let sip = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sip.set_read_timeout(Some(Duration::from_millis(100)))?;
        let local = sip.local_addr()?;
        let run = clock::now_ns()? / 1_000_000;
        let lines = (0..count).map(|number| Line::new(format!("{number}-{run}"), extension, target, local));
        let lines = Arc::new(lines.collect::<Result<Vec<_>>>()?);
        let over = Arc::<AtomicBool>::default();
        let sender = {
            let (lines, over, audio) = (lines.clone(), over.clone(), audio.clone());
            thread::spawn(move || send(&lines, &over, &audio, wrong_ppm))
        };
        let receiver = {
            let (lines, over) = (lines.clone(), over.clone());
            thread::spawn(move || receive(&lines, &over))
        };
        let answers = {
            let (lines, over, sip) = (lines.clone(), over.clone(), sip.try_clone()?);
            thread::spawn(move || answer(&lines, &over, &sip))
        };
        let callers = Self { lines, over, sip, sender, receiver, answers };
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

    /// Hangs up and tells what was seen.
    ///
    /// # Errors
    /// When a thread failed.
    pub(crate) fn finish(self) -> Result<Vec<Log>> {
        for line in self.lines.iter() {
            line.talking.store(false, Ordering::Relaxed);
            if let Some(to) = line.named() {
                self.sip.send_to(line.dialog.bye(&to).as_bytes(), line.dialog.target)?;
                thread::sleep(Duration::from_millis(3));
            }
        }
        thread::sleep(Duration::from_millis(700));
        self.over.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("a thread of the callers panicked");
        let sent = self.sender.join().map_err(panicked)??;
        let meters = self.receiver.join().map_err(panicked)??;
        self.answers.join().map_err(panicked)?;
        let heard = sent.into_iter().zip(meters).map(|(sent, meter)| (sent.packets, sent.bursts, meter.log));
        let logs = self.lines.iter().zip(heard).enumerate().map(|(number, (line, (sent, said, log)))| Log {
            line: number as u16,
            answered: line.named().is_some(),
            ended_early: line.ended.load(Ordering::Relaxed),
            sent,
            said,
            ..log
        });
        Ok(logs.collect())
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
fn answer(lines: &[Line], over: &AtomicBool, sip: &UdpSocket) {
    let by_id: HashMap<_, _> = lines.iter().map(|line| (line.dialog.call_id.as_str(), line)).collect();
    let mut buffer = [0; 8192];
    while !over.load(Ordering::Relaxed) {
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

/// What the sender notes of one line.
#[derive(Default)]
struct Sent {
    packets: Vec<(i64, i64)>,
    bursts: Bursts,
    place: usize,
}

/// The sender thread.
fn send(lines: &[Line], over: &AtomicBool, audio: &Loop, wrong_ppm: &[f64]) -> Result<Vec<Sent>> {
    clock::in_real_time();
    let mut notes: Vec<Sent> = lines.iter().map(|_| Sent::default()).collect();
    let mut packet = [0; 12 + PACKET_BYTES];
    packet[0] = 0x80; // RTP version 2
    packet[1] = 8; // PCMA
    let base = clock::monotonic_ns()? + PTIME_NS;
    let period_ns = |number: usize| PTIME_NS as f64 / (1.0 + wrong_ppm[number % wrong_ppm.len()] / 1e6);
    // The calls are spread evenly over the 20 ms.
    let starts = (0..lines.len()).map(|number| base + number as i64 * PTIME_NS / lines.len() as i64);
    let starts: Vec<i64> = starts.collect();
    let mut next: BinaryHeap<_> =
        starts.iter().enumerate().map(|(number, &due)| Reverse((due, number, 0u32))).collect();
    while let Some(Reverse((due, number, tick))) = next.pop() {
        let until = Duration::from_nanos(due as u64).into();
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until);
        if over.load(Ordering::Relaxed) {
            break;
        }
        let due_next = starts[number] + (f64::from(tick + 1) * period_ns(number)) as i64;
        next.push(Reverse((due_next, number, tick + 1)));
        let line = &lines[number];
        if !line.talking.load(Ordering::Acquire) {
            continue;
        }
        let sent = &mut notes[number];
        let (said, burst) = audio.caller_packet(number as u16, sent.place);
        packet[2..4].copy_from_slice(&(sent.place as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&((sent.place * PACKET_BYTES) as u32).to_be_bytes());
        packet[8..12].copy_from_slice(&(0x1000 + number as u32).to_be_bytes());
        packet[12..].copy_from_slice(said);
        sent.place += 1;
        let at_ns = clock::now_ns()?;
        let _ = line.socket.send(&packet);
        sent.packets.push((at_ns, clock::monotonic_ns()? - due));
        sent.bursts.extend(burst.map(|tone| (tone, at_ns)));
    }
    Ok(notes)
}

/// The receiver thread.
fn receive(lines: &[Line], over: &AtomicBool) -> Result<Vec<Meter>> {
    clock::in_real_time();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, line) in lines.iter().enumerate() {
        epoll.add(&line.socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
    }
    let mut meters: Vec<Meter> = lines.iter().map(|_| Meter::default()).collect();
    let mut events = [EpollEvent::empty(); 64];
    let mut packet = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        let ready = epoll.wait(&mut events, EpollTimeout::from(100u8)).unwrap_or(0);
        for event in &events[..ready] {
            let number = event.data() as usize;
            while let Some((length, at_ns)) = receive_one(&lines[number].socket, &mut packet) {
                meters[number].handle(&packet[..length], at_ns);
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
