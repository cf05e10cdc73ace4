//! The least of a SIP phone that can hold a call: INVITE without authentication, ACK, BYE, and answers to what it is asked.

use std::net::SocketAddr;

/// What identifies one caller's call.
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) extension: &'static str,
    /// Asterisk.
    pub(crate) target: SocketAddr,
    /// Our SIP port.
    pub(crate) local: SocketAddr,
    /// Our RTP port.
    pub(crate) rtp_port: u16,
}

impl Dialog {
    pub(crate) fn invite(&self) -> String {
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 8\r\n\
             a=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n",
            self.rtp_port
        );
        let to = format!("<sip:{}@{}>", self.extension, self.target);
        self.request("INVITE", 1, "INVITE1", &to, &body)
    }

    /// For the final answer `code` with the To header `to`.
    pub(crate) fn ack(&self, code: u16, to: &str) -> String {
        // A refusal is acknowledged in the INVITE's own transaction (RFC 3261 §17.1.1.3).
        self.request("ACK", 1, if code < 300 { "ACK1" } else { "INVITE1" }, to, "")
    }

    pub(crate) fn bye(&self, to: &str) -> String {
        self.request("BYE", 2, "BYE2", to, "")
    }

    fn request(&self, method: &str, sequence: u32, branch: &str, to: &str, body: &str) -> String {
        let Self { call_id, extension, target, local, .. } = self;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:{extension}@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK{call_id}{branch}\r\n\
             From: <sip:bench@{local}>;tag={call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {sequence} {method}\r\n\
             Contact: <sip:bench@{local}>\r\nMax-Forwards: 70\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// A message from Asterisk.
pub(crate) struct Incoming<'a>(pub(crate) &'a str);

impl<'a> Incoming<'a> {
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.0.lines().find(named).and_then(|line| Some(line.split_once(':')?.1.trim()))
    }

    /// The code of an answer; `None` for a request.
    pub(crate) fn code(&self) -> Option<u16> {
        self.0.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method that is asked for or answered.
    pub(crate) fn method(&self) -> Option<&'a str> {
        self.header("CSeq")?.split_whitespace().nth(1)
    }

    pub(crate) fn rtp_port(&self) -> Option<u16> {
        let media = self.0.lines().find_map(|line| line.strip_prefix("m=audio "))?;
        media.split(' ').next()?.parse().ok()
    }

    /// Yes to whatever this request asks.
    pub(crate) fn ok(&self) -> Option<String> {
        let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            answer.push_str(&format!("{name}: {}\r\n", self.header(name)?));
        }
        answer.push_str("Content-Length: 0\r\n\r\n");
        Some(answer)
    }
}
