//! Twilio Media Streams, the other way round: this side plays Twilio towards a bot that was written for it.
//!
//! ```text
//!  this side ── connected, start, media, dtmf, mark, stop ──► bot
//!            ◄────────── media, mark, clear ────────────────
//! ```
//!
//! A bot hangs up by closing the WebSocket. It never learns by itself that the caller interrupts: it listens, and
//! orders `clear`. All numbers are texts, except those of the media format.
//!
//! Words are unknown here: a bot cannot be told of the history, or to say something. If the connection to it was lost, the
//! next one has another stream of the same call, by whose name the bot finds what it knows.
//!
//! Wire format: <https://www.twilio.com/docs/voice/media-streams/websocket-messages>, read as of 2026-11.

use std::sync::Arc;
use std::time::Instant;

use ai_media::Format;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::json;
use sha1::Sha1;

use crate::json::Text;
use crate::outbox::Outbox;
use crate::{AudioChoice, Dialect, Handshake, Heard, Message, Noticed, Output, Payload, Provider, Session, json};

/// The dialect `twilio`.
pub(crate) const PROVIDER: Provider = Provider {
    name: "twilio",
    audio: &[AudioChoice::Auto, AudioChoice::Ulaw],
    settings: &["account_sid", "api_key"],
    check: |_| Ok(()),
    local_barge_in: false,
    session_max: None,
    create: |session, _| Box::new(Twilio::new(session)),
};

/// Twilio speaks nothing else.
const FORMAT: Format = Format::ULAW;

/// One media stream to a bot.
pub struct Twilio {
    session: Session,
    stream_sid: String,
    call_sid: String,
    account_sid: String,
    /// Messages sent, `connected` apart.
    sequence: u64,
    /// `media` messages sent.
    chunks: u64,
    /// Caller audio sent. [bytes]
    sent: u64,
    item: Arc<str>,
    outbox: Outbox,
}

impl Twilio {
    /// A stream with these settings.
    pub fn new(session: Session) -> Self {
        Self {
            outbox: Outbox::new(&session),
            stream_sid: stream_sid(&session),
            call_sid: format!("CA{}", session.call_id),
            account_sid: if session.account_sid.is_empty() {
                format!("AC{}", "0".repeat(32))
            } else {
                session.account_sid.clone()
            },
            session,
            sequence: 0,
            chunks: 0,
            sent: 0,
            item: Arc::from("stream"),
        }
    }
}

impl Dialect for Twilio {
    /// A bot that has the account's token can tell by the signature who calls.
    fn handshake(&self) -> Handshake {
        let (url, token) = (&self.session.url, self.session.api_key.reveal());
        let headers = match token {
            "" => self.session.headers.clone(),
            token => self.session.headers_with("X-Twilio-Signature", signature(token, url)),
        };
        Handshake { url: url.clone(), headers }
    }

    fn caller_format(&self) -> Format {
        FORMAT
    }

    fn agent_format(&self) -> Format {
        FORMAT
    }

    fn takes_single_digits(&self) -> bool {
        true
    }

    fn tells_turn_end(&self) -> bool {
        false
    }

    fn handle_open(&mut self, _now: Instant) {
        self.outbox.send_json(&json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
        let sequence = self.next();
        let start = json!({
            "event": "start",
            "sequenceNumber": sequence,
            "start": {
                "accountSid": self.account_sid,
                "streamSid": self.stream_sid,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": FORMAT.rate_hz, "channels": 1},
                "customParameters": self.session.variables(),
            },
            "streamSid": self.stream_sid,
        });
        self.outbox.send_json(&start);
        self.outbox.push(Output::Ready);
    }

    fn handle_message(&mut self, message: Message<'_>) {
        if let Some(event) = self.outbox.read(message, serde_json::from_str) {
            self.handle_event(event);
        }
    }

    fn handle_caller_audio(&mut self, audio: &[u8]) {
        if audio.is_empty() {
            return;
        }
        let at_ms = FORMAT.ms_in_bytes(self.sent);
        self.sent += audio.len() as u64;
        self.chunks += 1;
        let (sequence, chunk, stream) = (self.next(), self.chunks, &self.stream_sid);
        let head = format!(
            r#"{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"inbound","chunk":"{chunk}","timestamp":"{at_ms}","payload":""#
        );
        let text = json::around_audio(&head, audio, &format!(r#""}},"streamSid":"{stream}"}}"#));
        self.outbox.push(Output::SendAudio { message: Payload::Text(text), audio_bytes: audio.len() });
    }

    fn handle_digits(&mut self, digits: &str) {
        for digit in digits.chars() {
            let sequence = self.next();
            let dtmf = json!({
                "event": "dtmf",
                "streamSid": self.stream_sid,
                "sequenceNumber": sequence,
                "dtmf": {"track": "inbound_track", "digit": digit},
            });
            self.outbox.send_json(&dtmf);
        }
    }

    /// There is no message for it. The marks that come back tell the bot that nothing is being played any more.
    fn handle_interrupted(&mut self, _heard: &[Heard], _by: Noticed) {}

    /// Twilio gives marks back in the same way whether they were heard or cleared.
    fn handle_mark(&mut self, name: &str, _heard: bool) {
        let sequence = self.next();
        let mark = json!({
            "event": "mark",
            "sequenceNumber": sequence,
            "streamSid": self.stream_sid,
            "mark": {"name": name},
        });
        self.outbox.send_json(&mark);
    }

    /// A bot of this kind knows no tools.
    fn handle_tool_result(&mut self, _call_id: &str, _result: &str, _go_on: bool) {}

    fn handle_end(&mut self) {
        let sequence = self.next();
        let stop = json!({
            "event": "stop",
            "sequenceNumber": sequence,
            "stop": {"accountSid": self.account_sid, "callSid": self.call_sid},
            "streamSid": self.stream_sid,
        });
        self.outbox.send_json(&stop);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }
}

/// What a bot sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    media: Media<'a>,
    #[serde(borrow)]
    mark: Mark<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Media<'a> {
    #[serde(borrow)]
    payload: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mark<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

impl Twilio {
    /// The stream a message is for is not looked at: there is only one on this connection.
    fn handle_event(&mut self, mut event: Event<'_>) {
        match &*event.event {
            "media" => match json::audio(&event.media.payload) {
                Ok(audio) if audio.is_empty() => {}
                Ok(audio) => self.outbox.agent_audio(&self.item, audio),
                Err(_) => self.outbox.not_understood("media that is not base64"),
            },
            "mark" => {
                event.mark.name.keep_if_short();
                self.outbox.push(Output::Mark { name: event.mark.name.to_string() });
            }
            "clear" => self.outbox.push(Output::Flush),
            "" => self.outbox.not_understood("a message without an event"),
            event => self.outbox.not_understood(event),
        }
    }

    fn next(&mut self) -> String {
        self.sequence += 1;
        self.sequence.to_string()
    }
}

/// Every stream of a call has a name of its own, 32 hexadecimal digits; only the call's stays.
fn stream_sid(session: &Session) -> String {
    let first = u128::from_str_radix(&session.call_id, 16);
    match (session.earlier_sessions, first) {
        (0, _) | (_, Err(_)) => format!("MZ{}", session.call_id),
        (earlier, Ok(first)) => format!("MZ{:032x}", first.wrapping_add(earlier.into())),
    }
}

/// What Twilio signs requests with: the account's token over the address, to which the fields of a form would be appended
/// (<https://www.twilio.com/docs/usage/security>, read as of 2026-11).
fn signature(token: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("a key of any length will do");
    mac.update(text.as_bytes());
    base64_simd::STANDARD.encode_to_string(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_example_in_twilios_documentation() {
        let text = "https://mycompany.com/myapp.php?foo=1&bar=2CallSidCA1234567890ABCDECaller+14158675309Digits1234\
                    From+14158675309To+18005551212";
        assert_eq!(signature("12345", text), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }
}
