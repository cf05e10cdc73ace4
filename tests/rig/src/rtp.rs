//! The phone's end of the audio: two threads on one UDP socket.
//!
//! ```text
//!  play ─► queue ─► sender thread, 20 ms grid ─► Asterisk
//!  heard ◄──────── receiver thread, kernel time stamps ◄──┘
//! ```

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::{Codec, Packet};

/// RTP payload type of digits, as SIP phones usually offer them.
pub(crate) const EVENT_PAYLOAD_TYPE: u8 = 101;
/// Digits by event code. RFC 4733 table 3.
pub(crate) const DIGITS: &str = "0123456789*#ABCD";

/// Time between two packets.
const PTIME: Duration = Duration::from_millis(20);
/// Packets of a digit before its end: 160 ms.
const DIGIT_PACKETS: u16 = 8;
/// Audio packets between two digits: 80 ms.
const PACKETS_BETWEEN_DIGITS: u32 = 4;
/// How soon the receiver notices that the line is closed.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(100);

/// The audio of one call. Closing it ends both threads.
pub(crate) struct Line {
    pub(crate) codec: Codec,
    socket: UdpSocket,
    /// Held so that no other phone gets the port RTCP goes to.
    _rtcp: UdpSocket,
    outgoing: Mutex<Outgoing>,
    sent: Condvar,
    heard: Mutex<Vec<Packet>>,
    closed: AtomicBool,
}

/// What is yet to be sent, and what was.
#[derive(Default)]
struct Outgoing {
    remote: Option<SocketAddr>,
    muted: bool,
    queue: VecDeque<u8>,
    /// Samples ever queued.
    queued: u64,
    /// First sample of every packet with queued audio, and when it left.
    left: Vec<(u64, Instant)>,
    digits: VecDeque<u8>,
    digit: Option<Digit>,
    audio_since_digit: u32,
}

/// The digit being sent.
struct Digit {
    code: u8,
    timestamp: u32,
    packets: u16,
}

impl Line {
    /// Opens a line with nobody at the other end yet.
    pub(crate) fn open(codec: Codec) -> io::Result<Arc<Self>> {
        let (socket, rtcp) = port_pair()?;
        socket.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let line = Arc::new(Self {
            codec,
            socket,
            _rtcp: rtcp,
            outgoing: Mutex::default(),
            sent: Condvar::new(),
            heard: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let (sender, receiver) = (line.clone(), line.clone());
        thread::spawn(move || sender.send_on_grid());
        thread::spawn(move || receiver.receive());
        Ok(line)
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.sent.notify_all();
    }

    /// Where audio goes from now on; none: nowhere.
    pub(crate) fn set_remote(&self, remote: Option<SocketAddr>) {
        self.outgoing().remote = remote;
    }

    pub(crate) fn mute(&self, muted: bool) {
        self.outgoing().muted = muted;
    }

    /// Queues `bytes` and gives the number of the first sample among all ever queued.
    pub(crate) fn play(&self, bytes: &[u8]) -> u64 {
        let mut outgoing = self.outgoing();
        let first = outgoing.queued;
        outgoing.queue.extend(bytes);
        outgoing.queued += self.codec.samples_in(bytes.len()) as u64;
        first
    }

    /// Forgets what is queued.
    pub(crate) fn stop_playing(&self) {
        let mut outgoing = self.outgoing();
        let forgotten = self.codec.samples_in(outgoing.queue.len()) as u64;
        outgoing.queue.clear();
        outgoing.queued -= forgotten;
    }

    pub(crate) fn played_at(&self, sample: u64) -> Option<Instant> {
        let outgoing = self.outgoing();
        let sent = outgoing.queued - self.codec.samples_in(outgoing.queue.len()) as u64;
        let packet = outgoing.left.partition_point(|(first, _)| *first <= sample).checked_sub(1)?;
        (sample < sent).then_some(outgoing.left[packet].1)
    }

    /// Whether everything queued had left before `timeout`.
    pub(crate) fn wait_played(&self, timeout: Duration) -> bool {
        let pending = |outgoing: &mut Outgoing| {
            let busy = !outgoing.queue.is_empty() || !outgoing.digits.is_empty() || outgoing.digit.is_some();
            busy && !self.closed.load(Ordering::Relaxed)
        };
        let (mut outgoing, _) = self.sent.wait_timeout_while(self.outgoing(), timeout, pending).expect("no panic");
        !pending(&mut outgoing)
    }

    pub(crate) fn send_digit(&self, code: u8) {
        self.outgoing().digits.push_back(code);
    }

    pub(crate) fn heard(&self) -> Vec<Packet> {
        self.heard.lock().expect("no panic").clone()
    }

    fn outgoing(&self) -> std::sync::MutexGuard<'_, Outgoing> {
        self.outgoing.lock().expect("no panic")
    }

    fn send_on_grid(&self) {
        let start = Instant::now();
        let ticks_per_packet = self.codec.clock_hz() / 50;
        // Any number will do, but each call's should differ: a packet of another call then shows.
        let ssrc = u32::from(self.port()) << 8 | 0xA1;
        let mut sequence = 0u16;
        for packet in 0u32.. {
            thread::sleep((start + packet * PTIME).saturating_duration_since(Instant::now()));
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            let mut outgoing = self.outgoing();
            let Some(remote) = outgoing.remote else { continue };
            let now = Instant::now();
            for (second_byte, timestamp, payload) in outgoing.due(self.codec, packet * ticks_per_packet, now) {
                let mut rtp = vec![0x80, second_byte];
                rtp.extend(sequence.to_be_bytes());
                rtp.extend(timestamp.to_be_bytes());
                rtp.extend(ssrc.to_be_bytes());
                rtp.extend(payload);
                // Asterisk closes its port when it hangs up, a moment before this phone knows.
                let _ = self.socket.send_to(&rtp, remote);
                sequence = sequence.wrapping_add(1);
            }
            drop(outgoing);
            self.sent.notify_all();
        }
    }

    fn receive(&self) {
        let mut buffer = [0u8; 2048];
        while !self.closed.load(Ordering::Relaxed) {
            let Some((length, at)) = self.receive_one(&mut buffer) else { continue };
            if let Some(packet) = parse(&buffer[..length], at) {
                self.heard.lock().expect("no panic").push(packet);
            }
        }
    }

    /// Length of the next datagram and when it reached this machine's network stack.
    fn receive_one(&self, buffer: &mut [u8]) -> Option<(usize, Instant)> {
        let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let descriptor = self.socket.as_raw_fd();
        let message = recvmsg::<()>(descriptor, &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
        let stamp = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(SystemTime::UNIX_EPOCH + Duration::from(stamp)),
            _ => None,
        });
        let age = stamp.and_then(|stamp| SystemTime::now().duration_since(stamp).ok()).unwrap_or_default();
        Some((message.bytes, Instant::now().checked_sub(age)?))
    }
}

impl Outgoing {
    /// What leaves at this tick: marker and payload type, timestamp, payload.
    fn due(&mut self, codec: Codec, timestamp: u32, now: Instant) -> Vec<(u8, u32, Vec<u8>)> {
        if self.digit.is_none() && self.audio_since_digit >= PACKETS_BETWEEN_DIGITS {
            self.digit = self.digits.pop_front().map(|code| Digit { code, timestamp, packets: 0 });
        }
        if let Some(digit) = &mut self.digit {
            let packets = digit.next(codec);
            if digit.packets > DIGIT_PACKETS {
                self.digit = None;
                self.audio_since_digit = 0;
            }
            return packets;
        }
        self.audio_since_digit += 1;
        if self.muted {
            return Vec::new();
        }
        vec![(codec.payload_type(), timestamp, self.next_audio(codec, now))]
    }

    fn next_audio(&mut self, codec: Codec, now: Instant) -> Vec<u8> {
        let waiting = self.queue.len().min(codec.packet_bytes());
        if waiting > 0 {
            let first = self.queued - codec.samples_in(self.queue.len()) as u64;
            self.left.push((first, now));
        }
        let mut payload: Vec<u8> = self.queue.drain(..waiting).collect();
        payload.extend(&codec.silence()[waiting..]);
        payload
    }
}

impl Digit {
    /// The next packet of this digit; at its end three alike, since the end must not get lost (RFC 4733 §2.5.1.4).
    fn next(&mut self, codec: Codec) -> Vec<(u8, u32, Vec<u8>)> {
        let ends = self.packets == DIGIT_PACKETS;
        let duration = (self.packets + 1).min(DIGIT_PACKETS) * (codec.clock_hz() / 50) as u16;
        let [high, low] = duration.to_be_bytes();
        let end_and_volume = if ends { 0x80 | 10 } else { 10 };
        let marker = if self.packets == 0 { 0x80 } else { 0 };
        self.packets += 1;
        let packet = (marker | EVENT_PAYLOAD_TYPE, self.timestamp, vec![self.code, end_and_volume, high, low]);
        vec![packet; if ends { 3 } else { 1 }]
    }
}

impl Codec {
    /// One packet of silence.
    fn silence(self) -> Vec<u8> {
        self.encode(&vec![0; self.rate_hz() as usize / 50])
    }
}

/// An even port and the odd one above it: RTP and RTCP. RFC 3550 §11.
fn port_pair() -> io::Result<(UdpSocket, UdpSocket)> {
    loop {
        let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0
            && let Ok(rtcp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1))
        {
            return Ok((rtp, rtcp));
        }
    }
}

fn parse(datagram: &[u8], at: Instant) -> Option<Packet> {
    let (header, rest) = datagram.split_at_checked(12)?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[0] >> 6 != 2 {
        return None;
    }
    let payload = rest.get(usize::from(header[0] & 0x0F) * 4..).filter(|payload| !payload.is_empty())?;
    Some(Packet {
        at,
        sequence: u16::from_be_bytes([header[2], header[3]]),
        timestamp: word(4),
        marker: header[1] & 0x80 != 0,
        payload_type: header[1] & 0x7F,
        ssrc: word(8),
        payload: payload.to_vec(),
    })
}
