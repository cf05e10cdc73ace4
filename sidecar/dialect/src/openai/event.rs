//! What the server sends.

use serde::Deserialize;
use serde_json::Value;

use crate::json::{Text, bounded};

/// Every field we read of any event. A field that is absent, or is of another type than it should be, is empty.
///
/// One flat type for all events: the type of an event need not be known before it is read, so an event is read once.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) response_id: Text<'a>,
    #[serde(borrow)]
    pub(super) item_id: Text<'a>,
    #[serde(borrow)]
    pub(super) previous_item_id: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) transcript: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
    #[serde(deserialize_with = "bounded")]
    pub(super) content_index: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) audio_start_ms: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) audio_end_ms: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) item: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) response: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) session: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) error: Value,
}

/// Reads one message.
pub(super) fn parse(message: &str) -> serde_json::Result<Event<'_>> {
    let mut event: Event<'_> = serde_json::from_str(message)?;
    let Event { response_id, item_id, previous_item_id, call_id, name, .. } = &mut event;
    for name in [response_id, item_id, previous_item_id, call_id, name] {
        name.keep_if_short();
    }
    Ok(event)
}

/// True for events that are known and say nothing a phone call needs.
pub(super) fn is_uninteresting(kind: &str) -> bool {
    UNINTERESTING.iter().any(|known| match known.strip_suffix('*') {
        Some(family) => kind.starts_with(family),
        None => kind == *known,
    })
}

/// A trailing `*` stands for any rest. The families keep what OpenAI adds to them from being reported as unknown.
const UNINTERESTING: &[&str] = &[
    "session.created",
    "conversation.created",
    "conversation.item.*",
    "input_audio_buffer.*",
    "output_audio_buffer.*",
    "rate_limits.updated",
    "response.content_part.*",
    "response.function_call_arguments.delta",
    "response.mcp_call*",
    "mcp_list_tools.*",
];
