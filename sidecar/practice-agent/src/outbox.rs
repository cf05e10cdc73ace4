//! Events on their way to the client: ids, the older spelling, and what the record keeps of them.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::foreign::Foreign;
use crate::session::{Sent, Shared};

/// Numbers and queues server events.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) queue: VecDeque<Message>,
    /// Speak the beta interface's event names.
    pub(crate) beta: bool,
    /// Speak another protocol altogether.
    pub(crate) foreign: Option<Foreign>,
    shared: Arc<Shared>,
    next_id: u64,
}

/// The part of an item's audio deltas that never changes.
#[derive(Debug)]
pub(crate) struct DeltaHead {
    kind: &'static str,
    text: String,
    ids: Arc<Value>,
}

impl DeltaHead {
    /// `response_id`, `item_id` and `output_index`.
    pub(crate) fn ids(&self) -> &Value {
        &self.ids
    }
}

impl Outbox {
    pub(crate) fn new(shared: Arc<Shared>, beta: bool, foreign: Option<Foreign>) -> Self {
        Self { queue: VecDeque::new(), beta, foreign, shared, next_id: 0 }
    }

    /// A new id, unique among all sessions of this server.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}_{}_{}", self.shared.number, self.next_id)
    }

    /// Queues the event of GA name `kind` with these fields besides `type` and `event_id`. Events that the beta
    /// interface does not have are left out there.
    pub(crate) fn event(&mut self, kind: &'static str, fields: Value, now: Instant) {
        let Some(kind) = self.spell(kind) else { return };
        if let Some(foreign) = &self.foreign {
            self.queue.extend(foreign.say(kind, &fields));
            return self.shared.sent(|| Sent { at: now, kind, json: Arc::new(fields), audio_bytes: 0 });
        }
        let event_id = self.id("event");
        let fields_text = fields.to_string();
        let mut text = String::with_capacity(fields_text.len() + 80);
        let _ = write!(text, r#"{{"type":"{kind}","event_id":"{event_id}""#);
        if fields_text.len() > "{}".len() {
            text.push(',');
        }
        text.push_str(&fields_text[1..]);
        self.queue.push_back(Message::text(text));
        self.shared.sent(|| Sent { at: now, kind, json: Arc::new(fields), audio_bytes: 0 });
    }

    /// Prepares the audio deltas of an item.
    pub(crate) fn delta_head(&self, response_id: &str, item_id: &str, output_index: usize) -> DeltaHead {
        let kind = self.spell("response.output_audio.delta").unwrap_or_default();
        let place = format!(r#""output_index":{output_index},"content_index":0"#);
        let ids = format!(r#""response_id":"{response_id}","item_id":"{item_id}""#);
        let text = format!(r#"{{"type":"{kind}",{ids},{place},"event_id":""#);
        let ids = json!({"response_id": response_id, "item_id": item_id, "output_index": output_index});
        DeltaHead { kind, text, ids: Arc::new(ids) }
    }

    /// Queues an audio delta; `base64` is spliced in as it is.
    pub(crate) fn audio_delta(&mut self, head: &DeltaHead, base64: &str, audio_bytes: usize, now: Instant) {
        if let Some(foreign) = &self.foreign {
            self.queue.push_back(foreign.say_audio(base64));
            return self.shared.sent(|| Sent { at: now, kind: head.kind, json: head.ids.clone(), audio_bytes });
        }
        let mut text = self.open_delta(head, base64.len());
        text.push_str(base64);
        self.close_delta(head, text, audio_bytes, now);
    }

    /// Queues an audio delta of these bytes.
    pub(crate) fn audio_delta_of(&mut self, head: &DeltaHead, audio: &[u8], now: Instant) {
        if self.foreign.is_some() {
            return self.audio_delta(head, &base64_simd::STANDARD.encode_to_string(audio), audio.len(), now);
        }
        let base64_len = audio.len().div_ceil(3) * 4;
        let mut text = self.open_delta(head, base64_len);
        base64_simd::STANDARD.encode_append(audio, &mut text);
        self.close_delta(head, text, audio.len(), now);
    }

    fn open_delta(&mut self, head: &DeltaHead, base64_len: usize) -> String {
        self.next_id += 1;
        let mut text = String::with_capacity(head.text.len() + base64_len + 64);
        text.push_str(&head.text);
        let _ = write!(text, r#"event_{}_{}","delta":""#, self.shared.number, self.next_id);
        text
    }

    fn close_delta(&mut self, head: &DeltaHead, mut text: String, audio_bytes: usize, now: Instant) {
        text.push_str("\"}");
        self.queue.push_back(Message::text(text));
        self.shared.sent(|| Sent { at: now, kind: head.kind, json: head.ids.clone(), audio_bytes });
    }

    fn spell(&self, kind: &'static str) -> Option<&'static str> {
        if !self.beta {
            return Some(kind);
        }
        Some(match kind {
            "conversation.item.added" => "conversation.item.created",
            "conversation.item.done" => return None,
            "response.output_audio.delta" => "response.audio.delta",
            "response.output_audio.done" => "response.audio.done",
            "response.output_audio_transcript.delta" => "response.audio_transcript.delta",
            "response.output_audio_transcript.done" => "response.audio_transcript.done",
            "response.output_text.delta" => "response.text.delta",
            "response.output_text.done" => "response.text.done",
            same => same,
        })
    }
}
