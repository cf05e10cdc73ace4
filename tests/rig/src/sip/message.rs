//! SIP messages as text: what the relay reads in them and puts into them.

use std::net::SocketAddr;

use super::Direction;
use crate::Codec;
use crate::rtp::{EVENT_PAYLOAD_TYPE, Line};

/// What names a call to both its ends. RFC 3261 §12.
#[derive(Debug, Clone, Default)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    /// Tag of the phone.
    pub(super) own_tag: String,
    /// Tag of Asterisk.
    pub(super) peer_tag: String,
}

impl Dialog {
    /// The dialog of an answer to INVITE; `called`: the phone gives it.
    pub(super) fn of(answer: &str, called: bool) -> Self {
        let tag = |name| header(answer, name).and_then(|value| value.split_once("tag=")).map_or("", |(_, tag)| tag);
        let (from, to) = (tag("From").to_owned(), tag("To").to_owned());
        let (own_tag, peer_tag) = if called { (to, from) } else { (from, to) };
        Self { call_id: header(answer, "Call-ID").unwrap_or_default().to_owned(), own_tag, peer_tag }
    }

    /// Value of a `Replaces` header by which Asterisk finds its side of the call. RFC 3891 §3.
    pub(super) fn replaces(&self) -> String {
        format!("{};to-tag={};from-tag={}", self.call_id, self.peer_tag, self.own_tag)
    }
}

/// `text` as the value of a header in a URI. RFC 3261 §19.1.1.
pub(super) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The value of a header.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (headers, _) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    headers.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Address of the audio stream in the SDP of `message`.
pub(super) fn audio_address(message: &str) -> Option<SocketAddr> {
    let (_, sdp) = message.split_once("\r\n\r\n")?;
    let field = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix)?.split(' ').next());
    let port: u16 = field("m=audio ")?.parse().ok()?;
    Some(SocketAddr::new(field("c=IN IP4 ")?.trim().parse().ok()?, port))
}

/// `message` with another body.
pub(super) fn with_body(message: &[u8], body: &str) -> Vec<u8> {
    let message = String::from_utf8_lossy(message);
    let (headers, _) = message.split_once("\r\n\r\n").unwrap_or((&message, ""));
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let headers: Vec<_> = headers.lines().filter(|line| !is_length(line)).collect();
    format!("{}\r\nContent-Length: {}\r\n\r\n{body}", headers.join("\r\n"), body.len()).into_bytes()
}

/// The phone's offer, with one codec. `version` grows with every offer of a call.
pub(super) fn sdp(line: &Line, codec: Codec, direction: Direction, version: u32) -> String {
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
