//! The conversation: its items, and what the client may do with them.

use std::time::Instant;

use ai_media::Format;
use serde_json::{Value, json};

use crate::schema::ApiError;

use super::{Cue, Engine};

/// All items, in order.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    id: String,
    json: Value,
    /// Of a spoken item of the agent.
    audio: Option<AgentAudio>,
}

/// How much of an item's audio the client has been sent, and how much of that still counts.
#[derive(Debug, Clone, Copy)]
struct AgentAudio {
    format: Format,
    bytes: u64,
    cut_at_ms: Option<u64>,
}

impl Conversation {
    pub(super) fn last_id(&self) -> Option<&str> {
        self.items.last().map(|item| item.id.as_str())
    }

    /// Counts audio that was sent for an item.
    pub(super) fn add_audio(&mut self, id: &str, format: Format, bytes: usize) {
        if let Some(item) = self.get_mut(id) {
            item.audio.get_or_insert(AgentAudio { format, bytes: 0, cut_at_ms: None }).bytes += bytes as u64;
        }
    }

    /// Replaces the JSON of an item.
    pub(super) fn set(&mut self, id: &str, json: Value) {
        if let Some(item) = self.get_mut(id) {
            item.json = json;
            item.forget_unheard();
        }
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Item> {
        // The item in question is nearly always the last one.
        self.items.iter_mut().rev().find(|item| item.id == id)
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.items.iter().rposition(|item| item.id == id)
    }

    fn has_call(&self, call_id: &Value) -> bool {
        self.items.iter().any(|item| item.json["type"] == "function_call" && item.json["call_id"] == *call_id)
    }
}

impl Item {
    /// Of an item that was cut short no text stays: the caller may not have heard it.
    fn forget_unheard(&mut self) {
        if self.audio.is_some_and(|audio| audio.cut_at_ms.is_some())
            && let Some(transcript) = self.json.pointer_mut("/content/0/transcript")
        {
            *transcript = Value::Null;
        }
    }
}

impl AgentAudio {
    fn ms(self) -> u64 {
        self.cut_at_ms.unwrap_or_else(|| self.format.ms_in_bytes(self.bytes))
    }
}

impl Engine {
    /// Adds an item at the end and tells the client.
    pub(super) fn add_item(&mut self, json: Value, now: Instant) {
        self.insert_item(self.conversation.items.len(), json, now);
    }

    /// Tells the client that an item is complete.
    pub(super) fn item_done(&mut self, id: &str, now: Instant) {
        let Some(at) = self.conversation.position(id) else { return };
        let fields = self.item_event(at);
        self.outbox.event("conversation.item.done", fields, now);
    }

    pub(super) fn create_item(&mut self, event: &Value, now: Instant) -> Result<(), ApiError> {
        let mut item = event["item"].clone();
        check_roles(&item, self.outbox.beta)?;
        if item["type"] == "function_call_output" && !self.conversation.has_call(&item["call_id"]) {
            let message = format!("Tool call ID {} not found in conversation.", item["call_id"]);
            return Err(ApiError::new("invalid_tool_call_id", message).about("item.call_id"));
        }
        let at = self.place_for(&event["previous_item_id"])?;
        let id = match item["id"].as_str() {
            Some(id) => self.check_new_id(id)?.to_owned(),
            None => self.outbox.id("item"),
        };
        item["id"] = id.as_str().into();
        item["object"] = "realtime.item".into();
        item["status"] = "completed".into();
        let cue = cue_of(&item);
        self.insert_item(at, item, now);
        self.item_done(&id, now);
        self.cues.extend(cue);
        Ok(())
    }

    pub(super) fn truncate_item(&mut self, event: &Value, now: Instant) -> Result<(), ApiError> {
        let id = event["item_id"].as_str().unwrap_or_default();
        let wanted_ms = event["audio_end_ms"].as_u64().unwrap_or_default();
        let item = self.conversation.get_mut(id).ok_or_else(|| {
            let message = format!("Error truncating item: the item with id '{id}' does not exist.");
            ApiError::new("item_truncate_invalid_item_id", message)
        })?;
        let audio = item
            .audio
            .as_mut()
            .ok_or_else(|| ApiError::new("invalid_value", "Only model output audio messages can be truncated."))?;
        let has_ms = audio.ms();
        if wanted_ms > has_ms {
            let message = format!("Audio content of {has_ms}ms is already shorter than {wanted_ms}ms");
            return Err(ApiError::new("invalid_value", message));
        }
        audio.cut_at_ms = Some(wanted_ms);
        item.forget_unheard();
        let fields = json!({"item_id": id, "content_index": 0, "audio_end_ms": wanted_ms});
        self.outbox.event("conversation.item.truncated", fields, now);
        Ok(())
    }

    pub(super) fn delete_item(&mut self, id: &Value, now: Instant) -> Result<(), ApiError> {
        let at = self.find_item(id, "item_delete_invalid_item_id")?;
        self.conversation.items.remove(at);
        self.outbox.event("conversation.item.deleted", json!({"item_id": id}), now);
        Ok(())
    }

    pub(super) fn retrieve_item(&mut self, id: &Value, now: Instant) -> Result<(), ApiError> {
        let at = self.find_item(id, "item_retrieve_invalid_item_id")?;
        let fields = json!({"item": self.conversation.items[at].json});
        self.outbox.event("conversation.item.retrieved", fields, now);
        Ok(())
    }

    fn insert_item(&mut self, at: usize, json: Value, now: Instant) {
        let id = json["id"].as_str().unwrap_or_default().to_owned();
        self.conversation.items.insert(at, Item { id, json, audio: None });
        let fields = self.item_event(at);
        self.outbox.event("conversation.item.added", fields, now);
    }

    fn item_event(&self, at: usize) -> Value {
        let items = &self.conversation.items;
        let previous = at.checked_sub(1).map(|before| items[before].id.as_str());
        json!({"previous_item_id": previous, "item": items[at].json})
    }

    fn find_item(&self, id: &Value, code: &'static str) -> Result<usize, ApiError> {
        let found = self.conversation.position(id.as_str().unwrap_or_default());
        found.ok_or_else(|| ApiError::new(code, format!("The item with id {id} does not exist.")).about("item_id"))
    }

    fn place_for(&self, previous: &Value) -> Result<usize, ApiError> {
        match previous.as_str() {
            None => Ok(self.conversation.items.len()),
            Some("root") => Ok(0),
            Some(id) => self.conversation.position(id).map(|at| at + 1).ok_or_else(|| {
                let message = format!("The previous item with id '{id}' does not exist.");
                ApiError::new("item_create_invalid_previous_item_id", message).about("previous_item_id")
            }),
        }
    }

    fn check_new_id<'i>(&self, id: &'i str) -> Result<&'i str, ApiError> {
        if id.len() > LONGEST_ID {
            let message = format!("Invalid 'item.id': string too long. Expected at most {LONGEST_ID} characters.");
            return Err(ApiError::new("string_above_max_length", message).about("item.id"));
        }
        if self.conversation.position(id).is_some() {
            let message = format!("An item with id '{id}' already exists in the conversation.");
            return Err(ApiError::new("item_create_duplicate_item_id", message).about("item.id"));
        }
        Ok(id)
    }
}

/// Each role has its own kinds of content.
fn check_roles(item: &Value, beta: bool) -> Result<(), ApiError> {
    let allowed: &[&str] = match (item["role"].as_str(), beta) {
        (Some("user"), _) => &["input_text", "input_audio", "input_image"],
        (Some("system"), _) => &["input_text"],
        (Some(_), false) => &["output_text", "output_audio"],
        (Some(_), true) => &["text", "audio"],
        (None, _) => return Ok(()),
    };
    let parts = item["content"].as_array().into_iter().flatten().enumerate();
    let kinds = parts.map(|(n, part)| (n, part["type"].as_str().unwrap_or_default()));
    match kinds.into_iter().find(|(_, kind)| !allowed.contains(kind)) {
        None => Ok(()),
        Some((n, kind)) => {
            let message = format!("Invalid value: '{kind}'. Supported values are: '{}'.", allowed.join("', '"));
            Err(ApiError::new("invalid_value", message).about(format!("item.content[{n}].type")))
        }
    }
}

fn cue_of(item: &Value) -> Option<Cue> {
    let parts = item["content"].as_array().into_iter().flatten();
    let text: Vec<&str> = parts.filter_map(|part| part["text"].as_str()).collect();
    match (item["type"].as_str(), item["role"].as_str()) {
        (Some("function_call_output"), _) => Some(Cue::ToolOutput(item["output"].as_str()?.to_owned())),
        (_, Some("user")) if !text.is_empty() => Some(Cue::Text(text.join(" "))),
        _ => None,
    }
}

/// Longest item id a client may choose.
const LONGEST_ID: usize = 32;
