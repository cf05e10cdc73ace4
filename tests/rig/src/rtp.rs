//! The phone's end of the audio: two threads on one UDP socket.
//!
//! ```text
//!  play ─► queue ─► sender thread, steady grid ─► network: loss, jitter, stalls ─► Asterisk
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

use crate::codec::Voice;
use crate::{Codec, Packet};

/// RTP payload type of digits, as SIP phones usually offer them.
pub(crate) const EVENT_PAYLOAD_TYPE: u8 = 101;
/// Digits by event code. RFC 4733 table 3.
pub(crate) const DIGITS: &str = "0123456789*#ABCD";

/// RTP payload type of comfort noise, and one packet of it at -60 dBov. RFC 3389.
const COMFORT_NOISE: (u8, u8) = (13, 60);
/// Time between two packets of comfort noise.
const COMFORT_NOISE_EVERY: Duration = Duration::from_millis(200);
/// Packets of a digit before its end: 160 ms.
const DIGIT_PACKETS: u16 = 8;
/// Audio packets between two digits: 80 ms.
const PACKETS_BETWEEN_DIGITS: u32 = 4;
/// How soon the receiver notices that the line is closed.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(100);

/// What the network does to the packets a phone sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network {
    /// Of so many packets the last is lost.
    pub lose_one_in: Option<u32>,
    /// Of so many packets the last is overtaken by the next.
    pub swap_one_in: Option<u32>,
    /// Each packet is late by up to this, a different time each and the same times in every run. None overtakes another.
    pub jitter: Duration,
}

/// How a phone sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    /// Time between two packets, and their length.
    pub(crate) packet_time: Duration,
    pub(crate) network: Network,
    /// While it is muted it says so with comfort noise.
    pub(crate) comfort_noise: bool,
    /// A phone that is called sends audio from the INVITE on.
    pub(crate) before_answer: bool,
}

/// The audio of one call. Closing it ends both threads.
pub(crate) struct Line {
    sending: Sending,
    socket: UdpSocket,
    /// Held so that no other phone gets the port RTCP goes to.
    _rtcp: UdpSocket,
    outgoing: Mutex<Outgoing>,
    sent: Condvar,
    heard: Mutex<Vec<Packet>>,
    closed: AtomicBool,
}

/// What is yet to be sent, and what was.
struct Outgoing {
    voice: Voice,
    packet_time: Duration,
    remote: Option<SocketAddr>,
    muted: bool,
    /// The network delivers nothing, and everything later.
    stalled: bool,
    /// The next packet begins another stream, with numbers that go so far back.
    another_stream: Option<u16>,
    /// Since when there has been nothing but comfort noise, and how many packets of it.
    noise: Option<(Instant, u32)>,
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
    pub(crate) fn open(codec: Codec, sending: Sending) -> io::Result<Arc<Self>> {
        let (socket, rtcp) = port_pair()?;
        socket.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let line = Arc::new(Self {
            sending,
            socket,
            _rtcp: rtcp,
            outgoing: Mutex::new(Outgoing::new(codec, sending.packet_time)),
            sent: Condvar::new(),
            heard: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let (sender, receiver) = (line.clone(), line.clone());
        thread::spawn(move || sender.send_on_grid());
        thread::spawn(move || receiver.receive());
        Ok(line)
    }

    /// How the phone sends.
    pub(crate) fn sending(&self) -> Sending {
        self.sending
    }

    /// What the phone sends and understands now.
    pub(crate) fn codec(&self) -> Codec {
        self.outgoing().voice.codec
    }

    /// Goes on in another codec. Forgets what is queued.
    pub(crate) fn set_codec(&self, codec: Codec) {
        if codec != self.codec() {
            self.stop_playing();
            self.outgoing().voice = Voice::new(codec);
        }
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

    /// Holds back what is sent, or delivers all that was held back.
    pub(crate) fn stall(&self, stalled: bool) {
        self.outgoing().stalled = stalled;
    }

    /// Goes on as another source, with numbers that go `back`.
    pub(crate) fn change_source(&self, back: u16) {
        self.outgoing().another_stream = Some(back);
    }

    /// Queues `samples`, as [`Self::play`] does bytes.
    pub(crate) fn say(&self, samples: &[i16]) -> u64 {
        let bytes = self.outgoing().voice.encode(samples);
        self.play(&bytes)
    }

    /// Queues `bytes` and gives the number of the first sample among all ever queued.
    pub(crate) fn play(&self, bytes: &[u8]) -> u64 {
        let mut outgoing = self.outgoing();
        let first = outgoing.queued;
        outgoing.queue.extend(bytes);
        outgoing.queued += outgoing.voice.codec.samples_in(bytes.len()) as u64;
        first
    }

    /// Forgets what is queued.
    pub(crate) fn stop_playing(&self) {
        let mut outgoing = self.outgoing();
        let forgotten = outgoing.voice.codec.samples_in(outgoing.queue.len()) as u64;
        outgoing.queue.clear();
        outgoing.queued -= forgotten;
    }

    pub(crate) fn played_at(&self, sample: u64) -> Option<Instant> {
        let outgoing = self.outgoing();
        let sent = outgoing.queued - outgoing.voice.codec.samples_in(outgoing.queue.len()) as u64;
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
        let mut due = Instant::now();
        // Any number will do, but each call's should differ: a packet of another call then shows.
        let mut ssrc = u32::from(self.port()) << 8 | 0xA1;
        let (mut sequence, mut timestamp) = (0u16, 0u32);
        let mut wire = Wire::new(self.sending.network);
        while !self.closed.load(Ordering::Relaxed) {
            let arrival = wire.next_arrival().filter(|_| !self.outgoing().stalled);
            let wake = arrival.map_or(due, |arrival| arrival.min(due));
            thread::sleep(wake.saturating_duration_since(Instant::now()).min(self.sending.packet_time));
            let now = Instant::now();
            let mut outgoing = self.outgoing();
            if now >= due {
                due += self.sending.packet_time;
                if let Some(back) = outgoing.another_stream.take() {
                    (ssrc, sequence) = (ssrc + 1, sequence.wrapping_sub(back));
                }
                let ticks = outgoing.ticks_per_packet();
                timestamp = timestamp.wrapping_add(ticks);
                for (second_byte, timestamp, payload) in outgoing.due(self.sending.comfort_noise, timestamp, now) {
                    let mut rtp = vec![0x80, second_byte];
                    rtp.extend(sequence.to_be_bytes());
                    rtp.extend(timestamp.to_be_bytes());
                    rtp.extend(ssrc.to_be_bytes());
                    rtp.extend(payload);
                    wire.send(rtp, now, self.sending.packet_time);
                    sequence = sequence.wrapping_add(1);
                }
            }
            while !outgoing.stalled
                && let Some(rtp) = wire.arrived(Instant::now())
                && let Some(remote) = outgoing.remote
            {
                // Asterisk closes its port when it hangs up, a moment before this phone knows.
                let _ = self.socket.send_to(&rtp, remote);
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

/// Packets on their way.
struct Wire {
    network: Network,
    /// Arrival and packet, in the order in which they arrive.
    packets: VecDeque<(Instant, Vec<u8>)>,
    sent: u32,
    random: u64,
}

impl Wire {
    fn new(network: Network) -> Self {
        Self { network, packets: VecDeque::new(), sent: 0, random: 0x9E37_79B9_7F4A_7C15 }
    }

    fn send(&mut self, packet: Vec<u8>, now: Instant, packet_time: Duration) {
        self.sent += 1;
        let is_last_of = |count: Option<u32>| count.is_some_and(|count| self.sent.is_multiple_of(count));
        if is_last_of(self.network.lose_one_in) {
            return;
        }
        if is_last_of(self.network.swap_one_in) {
            // Halfway to the one after the next.
            self.packets.push_back((now + packet_time * 3 / 2, packet));
            return;
        }
        // xorshift64, Marsaglia 2003.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let late = self.network.jitter.mul_f64((self.random >> 11) as f64 / (1u64 << 53) as f64);
        let swapped = self.network.swap_one_in.is_some();
        let before = self.packets.back().filter(|_| !swapped).map_or(now, |(arrival, _)| *arrival);
        let arrival = before.max(now + late);
        let place = self.packets.partition_point(|(other, _)| *other <= arrival);
        self.packets.insert(place, (arrival, packet));
    }

    fn next_arrival(&self) -> Option<Instant> {
        self.packets.front().map(|(arrival, _)| *arrival)
    }

    fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next_arrival().filter(|arrival| *arrival <= now)?;
        self.packets.pop_front().map(|(_, packet)| packet)
    }
}

impl Outgoing {
    fn new(codec: Codec, packet_time: Duration) -> Self {
        Self {
            voice: Voice::new(codec),
            packet_time,
            remote: None,
            muted: false,
            stalled: false,
            another_stream: None,
            noise: None,
            queue: VecDeque::new(),
            queued: 0,
            left: Vec::new(),
            digits: VecDeque::new(),
            digit: None,
            audio_since_digit: 0,
        }
    }

    fn ticks_per_packet(&self) -> u32 {
        self.voice.codec.clock_hz() * self.packet_time.as_millis() as u32 / 1000
    }

    /// What leaves at this tick: marker and payload type, timestamp, payload.
    fn due(&mut self, comfort_noise: bool, timestamp: u32, now: Instant) -> Vec<(u8, u32, Vec<u8>)> {
        if self.remote.is_none() {
            return Vec::new();
        }
        let codec = self.voice.codec;
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
            return if comfort_noise { self.next_noise(timestamp, now) } else { Vec::new() };
        }
        self.noise = None;
        vec![(codec.payload_type(), timestamp, self.next_audio(now))]
    }

    /// A packet of comfort noise, when the last was long enough ago.
    fn next_noise(&mut self, timestamp: u32, now: Instant) -> Vec<(u8, u32, Vec<u8>)> {
        let (since, packets) = self.noise.get_or_insert((now, 0));
        if now < *since + COMFORT_NOISE_EVERY * *packets {
            return Vec::new();
        }
        *packets += 1;
        let (payload_type, level) = COMFORT_NOISE;
        vec![(payload_type, timestamp, vec![level])]
    }

    fn next_audio(&mut self, now: Instant) -> Vec<u8> {
        let codec = self.voice.codec;
        let samples = codec.rate_hz() as usize * self.packet_time.as_millis() as usize / 1000;
        let waiting = codec.samples_in(self.queue.len()).min(samples);
        if waiting > 0 {
            let first = self.queued - codec.samples_in(self.queue.len()) as u64;
            self.left.push((first, now));
        }
        let bytes = self.queue.len().min(codec.packet_bytes() * self.packet_time.as_millis() as usize / 20);
        let mut payload: Vec<u8> = self.queue.drain(..bytes).collect();
        payload.extend(self.voice.encode(&vec![0; samples - waiting]));
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
