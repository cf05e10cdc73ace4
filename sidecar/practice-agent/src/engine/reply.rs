//! The agent's side: one response at a time, from `response.created` to `response.done`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_media::Format;
use serde_json::{Value, json};

use crate::outbox::DeltaHead;
use crate::schema::ApiError;
use crate::script::{Pace, Reply, Sound, Speech, ToolCall};

use super::Engine;

/// A response in progress.
#[derive(Debug)]
pub(super) struct ActiveReply {
    id: String,
    /// What the client asked for in `response.create`.
    request: Option<Value>,
    format: Format,
    text_only: bool,
    tool_calls: VecDeque<ToolCall>,
    stage: Stage,
    /// Completed items.
    output: Vec<Value>,
    audio_bytes: u64,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is being said (yet, or any more).
    Silent,
    /// The audio has to be made.
    ToRender(Speech),
    /// Somebody is making it.
    Rendering(Speech),
    Speaking(Stream),
    /// An endless item that [`Engine::echo`] adds to.
    Echoing(Item),
}

/// A spoken item being sent.
#[derive(Debug)]
struct Stream {
    item: Item,
    audio: Arc<[u8]>,
    format: Format,
    sent_bytes: usize,
    chunk_bytes: usize,
    pace: Pace,
    started: Instant,
}

/// A spoken item.
#[derive(Debug)]
struct Item {
    id: String,
    index: usize,
    head: DeltaHead,
    text: String,
    /// How much of the transcript has been sent, in bytes.
    text_sent: usize,
}

/// Audio to be made, on a thread that may block.
#[derive(Debug)]
pub(crate) struct Rendering {
    pub(crate) response_id: String,
    pub(crate) sounds: Vec<Sound>,
    pub(crate) format: Format,
}

impl ActiveReply {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Engine {
    /// Whether a response is being generated.
    pub(crate) fn is_replying(&self) -> bool {
        self.reply.is_some()
    }

    /// Starts a response. One that is still in progress ends as cancelled.
    pub(crate) fn begin_reply(&mut self, reply: Reply, now: Instant) {
        self.cancel_reply("client_cancelled", now);
        let request = self.requested.take();
        let mut active = self.create_response(request, now);
        active.tool_calls = reply.tool_calls.into();
        active.stage = match reply.speech {
            None => Stage::Silent,
            Some(speech) => match speech.sounds.as_slice() {
                _ if active.text_only => {
                    self.write_text(&mut active, &speech.text, now);
                    Stage::Silent
                }
                [Sound::Wire(audio)] => {
                    let audio = audio.clone();
                    Stage::Speaking(self.begin_speech(&active, speech, audio, now))
                }
                _ => Stage::ToRender(speech),
            },
        };
        self.reply = Some(active);
        self.poll_reply(now);
    }

    /// Audio that has to be made before the response can go on.
    pub(crate) fn take_rendering(&mut self) -> Option<Rendering> {
        let active = self.reply.as_mut()?;
        match std::mem::replace(&mut active.stage, Stage::Silent) {
            Stage::ToRender(speech) => {
                let sounds = speech.sounds.clone();
                active.stage = Stage::Rendering(speech);
                Some(Rendering { response_id: active.id.clone(), sounds, format: active.format })
            }
            other => {
                active.stage = other;
                None
            }
        }
    }

    /// Takes the audio of a [`Rendering`]; too late if the response has been cancelled.
    pub(crate) fn handle_rendered(&mut self, response_id: &str, audio: Arc<[u8]>, now: Instant) {
        let Some(mut active) = self.reply.take_if(|active| active.id == response_id) else { return };
        active.stage = match std::mem::replace(&mut active.stage, Stage::Silent) {
            Stage::Rendering(speech) => Stage::Speaking(self.begin_speech(&active, speech, audio, now)),
            other => other,
        };
        self.reply = Some(active);
        self.poll_reply(now);
    }

    /// When [`Engine::poll_reply`] has something to do.
    pub(crate) fn reply_due(&self) -> Option<Instant> {
        match &self.reply.as_ref()?.stage {
            Stage::Speaking(stream) => Some(stream.due()),
            _ => None,
        }
    }

    /// Sends what is due of the response in progress, and ends it when all is said.
    pub(crate) fn poll_reply(&mut self, now: Instant) {
        let Some(mut active) = self.reply.take() else { return };
        if let Stage::Speaking(stream) = &mut active.stage {
            while !stream.is_finished() && stream.due() <= now {
                active.audio_bytes += self.send_chunk(stream, now) as u64;
            }
            if stream.is_finished() {
                self.end_item(&mut active, "completed", now);
            }
        }
        if !matches!(active.stage, Stage::Silent) {
            self.reply = Some(active);
            return;
        }
        while let Some(call) = active.tool_calls.pop_front() {
            self.call_tool(&mut active, &call, now);
        }
        self.end_response(active, "completed", Value::Null, now);
    }

    /// Ends the response in progress, if there is one, for this reason.
    pub(super) fn cancel_reply(&mut self, reason: &str, now: Instant) {
        let Some(mut active) = self.reply.take() else { return };
        self.end_item(&mut active, "incomplete", now);
        self.end_response(active, "cancelled", json!({"type": "cancelled", "reason": reason}), now);
    }

    pub(super) fn cancel_by_client(&mut self, response_id: Option<&str>, now: Instant) -> Result<(), ApiError> {
        match &self.reply {
            Some(active) if response_id.is_none_or(|id| id == active.id) => {
                self.cancel_reply("client_cancelled", now);
                Ok(())
            }
            _ => {
                let message = "Cancellation failed: no active response found";
                Err(ApiError::new("response_cancel_not_active", message))
            }
        }
    }

    /// Sends an append back as a delta of the endless response, which this begins if need be.
    pub(super) fn echo(&mut self, base64: &str, audio_bytes: usize, now: Instant) {
        if self.reply.is_none() {
            let mut active = self.create_response(None, now);
            let item = self.begin_item(&active, String::new(), now);
            active.stage = Stage::Echoing(item);
            self.reply = Some(active);
        }
        if let Some(ActiveReply { stage: Stage::Echoing(item), format, .. }) = &self.reply {
            self.conversation.add_audio(&item.id, *format, audio_bytes);
            self.outbox.audio_delta(&item.head, base64, audio_bytes, now);
        }
    }

    fn create_response(&mut self, request: Option<Value>, now: Instant) -> ActiveReply {
        let active = ActiveReply {
            id: self.outbox.id("resp"),
            format: self.settings.agent_format_for(request.as_ref()),
            text_only: self.settings.text_only_for(request.as_ref()),
            request,
            tool_calls: VecDeque::new(),
            stage: Stage::Silent,
            output: Vec::new(),
            audio_bytes: 0,
        };
        let fields = json!({"response": self.response_json(&active, "in_progress", Value::Null)});
        self.outbox.event("response.created", fields, now);
        active
    }

    fn end_response(&mut self, active: ActiveReply, status: &str, details: Value, now: Instant) {
        let mut response = self.response_json(&active, status, details);
        let audio_tokens = active.format.ms_in_bytes(active.audio_bytes) / 50; // the vendor counts 50 ms a token
        response["usage"] = json!({"total_tokens": audio_tokens, "input_tokens": 0, "output_tokens": audio_tokens,
            "output_token_details": {"text_tokens": 0, "audio_tokens": audio_tokens}});
        response["output"] = active.output.into();
        self.outbox.event("response.done", json!({"response": response}), now);
        let limit = json!({"name": "tokens", "limit": 40000, "remaining": 39000, "reset_seconds": 1.5});
        self.outbox.event("rate_limits.updated", json!({"rate_limits": [limit]}), now);
    }

    fn response_json(&self, active: &ActiveReply, status: &str, details: Value) -> Value {
        let modalities = match (active.text_only, self.outbox.beta) {
            (true, _) => json!(["text"]),
            (false, true) => json!(["text", "audio"]),
            (false, false) => json!(["audio"]),
        };
        let metadata = active.request.as_ref().map_or(&Value::Null, |request| &request["metadata"]);
        let modalities_key = if self.outbox.beta { "modalities" } else { "output_modalities" };
        json!({"object": "realtime.response", "id": active.id, "status": status, "status_details": details,
            "output": [], "usage": null, "metadata": metadata, modalities_key: modalities,
            "conversation_id": format!("conv_{}", self.session_id)})
    }

    fn begin_speech(&mut self, active: &ActiveReply, speech: Speech, audio: Arc<[u8]>, now: Instant) -> Stream {
        let chunk_bytes = active.format.bytes_in_ms(speech.chunk_ms.max(1).into());
        let item = self.begin_item(active, speech.text, now);
        Stream { item, audio, format: active.format, sent_bytes: 0, chunk_bytes, pace: speech.pace, started: now }
    }

    fn begin_item(&mut self, active: &ActiveReply, text: String, now: Instant) -> Item {
        self.voice_in_use = true;
        let id = self.outbox.id("item");
        let index = active.output.len();
        self.announce_item(active, message_json(&id, "in_progress", json!([])), now);
        let place = json!({"response_id": active.id, "item_id": id, "output_index": index, "content_index": 0});
        let part = with(place, "part", json!({"type": "audio", "transcript": ""}));
        self.outbox.event("response.content_part.added", part, now);
        self.conversation.add_audio(&id, active.format, 0);
        let head = self.outbox.delta_head(&active.id, &id, index);
        Item { id, index, head, text, text_sent: 0 }
    }

    fn send_chunk(&mut self, stream: &mut Stream, now: Instant) -> usize {
        let end = stream.audio.len().min(stream.sent_bytes.saturating_add(stream.chunk_bytes));
        let chunk = &stream.audio[stream.sent_bytes..end];
        self.outbox.audio_delta_of(&stream.item.head, chunk, now);
        self.conversation.add_audio(&stream.item.id, stream.format, chunk.len());
        let sent = chunk.len();
        stream.sent_bytes = end;
        let item = &mut stream.item;
        let share = (item.text.len() as u128 * end as u128 / stream.audio.len().max(1) as u128) as usize;
        // A space is never inside a character, so this cuts between characters whatever `share` is.
        let gap = item.text.as_bytes()[share..].iter().position(|&byte| byte == b' ');
        let words_end = gap.map_or(item.text.len(), |gap| share + gap);
        if words_end > item.text_sent {
            let mut fields = item.head.ids().clone();
            fields["content_index"] = 0.into();
            fields["delta"] = item.text[item.text_sent..words_end].into();
            self.outbox.event("response.output_audio_transcript.delta", fields, now);
            item.text_sent = words_end;
        }
        sent
    }

    /// Ends the spoken item in progress, if there is one.
    fn end_item(&mut self, active: &mut ActiveReply, status: &str, now: Instant) {
        let item = match std::mem::replace(&mut active.stage, Stage::Silent) {
            Stage::Speaking(stream) => stream.item,
            Stage::Echoing(item) => item,
            _ => return,
        };
        let transcript = &item.text[..item.text_sent];
        let place =
            json!({"response_id": active.id, "item_id": item.id, "output_index": item.index, "content_index": 0});
        self.outbox.event("response.output_audio.done", place.clone(), now);
        let fields = with(place.clone(), "transcript", transcript.into());
        self.outbox.event("response.output_audio_transcript.done", fields, now);
        let part = with(place, "part", json!({"type": "audio", "transcript": transcript}));
        self.outbox.event("response.content_part.done", part, now);
        let kind = if self.outbox.beta { "audio" } else { "output_audio" };
        let content = json!([{"type": kind, "transcript": transcript}]);
        self.complete_item(active, item.index, message_json(&item.id, status, content), now);
    }

    fn write_text(&mut self, active: &mut ActiveReply, text: &str, now: Instant) {
        let id = self.outbox.id("item");
        let index = active.output.len();
        self.announce_item(active, message_json(&id, "in_progress", json!([])), now);
        let place = json!({"response_id": active.id, "item_id": id, "output_index": index, "content_index": 0});
        let part = |text: &str| with(place.clone(), "part", json!({"type": "text", "text": text}));
        self.outbox.event("response.content_part.added", part(""), now);
        self.outbox.event("response.output_text.delta", with(place.clone(), "delta", text.into()), now);
        self.outbox.event("response.output_text.done", with(place.clone(), "text", text.into()), now);
        self.outbox.event("response.content_part.done", part(text), now);
        let kind = if self.outbox.beta { "text" } else { "output_text" };
        let content = json!([{"type": kind, "text": text}]);
        self.complete_item(active, index, message_json(&id, "completed", content), now);
    }

    fn call_tool(&mut self, active: &mut ActiveReply, call: &ToolCall, now: Instant) {
        let (id, call_id, index) = (self.outbox.id("item"), self.outbox.id("call"), active.output.len());
        let item = |status: &str, arguments: &str| {
            json!({"id": id, "object": "realtime.item", "type": "function_call", "status": status,
                "call_id": call_id, "name": call.name, "arguments": arguments})
        };
        self.announce_item(active, item("in_progress", ""), now);
        let place = json!({"response_id": active.id, "item_id": id, "output_index": index, "call_id": call_id});
        let fields = with(place.clone(), "delta", call.arguments.as_str().into());
        self.outbox.event("response.function_call_arguments.delta", fields, now);
        let mut fields = with(place, "arguments", call.arguments.as_str().into());
        if !self.outbox.beta {
            fields["name"] = call.name.as_str().into();
        }
        self.outbox.event("response.function_call_arguments.done", fields, now);
        self.complete_item(active, index, item("completed", &call.arguments), now);
    }

    fn announce_item(&mut self, active: &ActiveReply, item: Value, now: Instant) {
        let fields = json!({"response_id": active.id, "output_index": active.output.len(), "item": item});
        self.outbox.event("response.output_item.added", fields, now);
        self.add_item(item, now);
    }

    fn complete_item(&mut self, active: &mut ActiveReply, index: usize, item: Value, now: Instant) {
        let id = item["id"].as_str().unwrap_or_default();
        self.conversation.set(id, item.clone());
        self.item_done(id, now);
        let fields = json!({"response_id": active.id, "output_index": index, "item": item});
        self.outbox.event("response.output_item.done", fields, now);
        active.output.push(item);
    }
}

impl Stream {
    fn is_finished(&self) -> bool {
        self.sent_bytes == self.audio.len()
    }

    /// When the next chunk is to be sent: the first at once, each later one when those before it would, at this
    /// pace, have been played.
    fn due(&self) -> Instant {
        match self.pace {
            Pace::Burst => self.started,
            Pace::Times(times) => {
                let ms = self.format.ms_in_bytes(self.sent_bytes as u64);
                self.started + Duration::from_millis(ms).div_f64(times.max(0.01))
            }
        }
    }
}

fn message_json(id: &str, status: &str, content: Value) -> Value {
    json!({"id": id, "object": "realtime.item", "type": "message", "status": status, "role": "assistant",
        "content": content})
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}
