//! The sidecar's events as AMI events.
//!
//! ```text
//!  tasks of calls ─► ai_sidecar::events ─► thread ai_ami_events ─► Asterisk's queue ─► AMI clients
//! ```
//!
//! On a thread of its own: to announce an event Asterisk takes the lock of every client, which it also holds while it
//! writes to one that does not read.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ai_sidecar::events::{CallEnd, Event, Hint, Notice, What};
use ai_sidecar::{Distribution, Sidecar};
use tracing::warn;

use super::headers::Headers;
use crate::log::c_string;
use crate::{ffi, module};

/// Who may see calls.
const CALLS: u32 = ffi::EVENT_FLAG_CALL;
/// What was said is for those who may see calls *and* reports: Asterisk asks for every class of an event.
const WORDS: u32 = ffi::EVENT_FLAG_CALL | ffi::EVENT_FLAG_REPORTING;

/// The thread that sends them.
pub(crate) struct Events(JoinHandle<()>);

impl Events {
    /// Sends from now on what happens on `sidecar`, until that is shut down.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start(sidecar: &Sidecar) -> io::Result<Self> {
        let mut subscription = sidecar.events().subscribe_to_whole();
        let run = move || {
            while let Some(notice) = subscription.wait() {
                match notice {
                    Notice::Event(event) => send(&event),
                    Notice::Missed(count) => warn!("AI: AMI was too slow: {count} events are lost to it"),
                }
            }
        };
        module::start_thread(c"ai_ami_events", run).map(Self)
    }

    /// Waits until the last event is sent, at most for `patience`.
    pub(crate) fn wait_for_end(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.0.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn send(event: &Event) {
    let Some((name, privileges, headers)) = described(event) else { return };
    let (name, headers) = (c_string(name), c_string(&headers.to_string()));
    // SAFETY: both texts are NUL-terminated and live until the call returns; the shim prints the headers by "%s".
    unsafe { ffi::ai_shim_ami_event(privileges as i32, name.as_ptr(), headers.as_ptr()) };
}

/// Name, classes and headers of the AMI event, if there is one for this.
fn described(event: &Event) -> Option<(&'static str, u32, Headers)> {
    let headers = Headers::session(&event.session, &event.profile, &event.origin)
        .add("EventID", event.id)
        .add("EventTime", event.time_text());
    Some(match &event.what {
        What::CallStart { dialect } => ("AISessionStart", CALLS, headers.add("Dialect", dialect)),
        What::CallStatus { state } => ("AICallStatus", CALLS, headers.add("State", state.name())),
        What::BargeIn { noticed_by, heard_ms, received_ms } => {
            let headers = headers.add("NoticedBy", noticed_by.name());
            ("AIBargeIn", CALLS, headers.add_some("HeardMs", *heard_ms).add_some("ReceivedMs", *received_ms))
        }
        What::Transcript { speaker, text, complete: true, start_ms, end_ms } => {
            let headers = headers.add("Speaker", speaker.name()).add("Text", text);
            ("AITranscript", WORDS, headers.add_some("StartMs", *start_ms).add_some("EndMs", *end_ms))
        }
        What::Suggestion { hint: Hint { kind, title, content, priority }, latency_ms } => {
            let headers = headers.add("Type", kind.name()).add("Priority", priority.name());
            ("AISuggestion", WORDS, headers.add("Title", title).add("Content", content).add("LatencyMs", latency_ms))
        }
        What::ToolCall { call_id, tool, arguments, error } => {
            let headers = headers.add("Tool", tool).add("CallID", call_id).add("Arguments", arguments);
            ("AIToolCall", WORDS, headers.add_some("Error", error.as_ref()))
        }
        What::CallEnd(end) => ("AISessionEnd", CALLS, ended(headers, end)),
        _ => return None,
    })
}

fn ended(headers: Headers, end: &CallEnd) -> Headers {
    let figures = &end.figures;
    let headers = headers
        .add("Status", end.status)
        .add("Reason", &end.reason)
        .add("DurationMs", end.duration_ms)
        .add_some("Transfer", end.transfer.as_ref())
        .add_some("Digit", end.digit)
        .add_some("Cause", end.cause.map(|cause| cause.q850))
        .add_some("SIPStatus", end.cause.and_then(|cause| cause.sip))
        .add_some("ConnectMs", figures.connect_ms)
        .add_some("FirstAudioMs", figures.first_audio_ms)
        .add("Turns", figures.turns)
        .add("BargeIns", figures.barge_ins)
        .add("TakenBack", figures.taken_back)
        .add("Underruns", figures.underruns)
        .add("DroppedMs", figures.dropped_ms)
        .add("Reconnects", figures.reconnects);
    let distributions = [
        ("Uplink", &figures.uplink),
        ("TurnStart", &figures.turn_start),
        ("Response", &figures.response),
        ("BargeInStop", &figures.barge_in_stop),
        ("Transcription", &figures.transcription),
        ("Hint", &figures.hint),
    ];
    distributions.into_iter().fold(headers, |headers, (name, distribution)| match distribution {
        Some(distribution) => distributed(headers, name, distribution),
        None => headers,
    })
}

fn distributed(headers: Headers, name: &str, distribution: &Distribution) -> Headers {
    headers
        .add(&format!("{name}Count"), distribution.count)
        .add(&format!("{name}P50Ms"), distribution.p50_ms)
        .add(&format!("{name}P95Ms"), distribution.p95_ms)
        .add(&format!("{name}MaxMs"), distribution.max_ms)
}
