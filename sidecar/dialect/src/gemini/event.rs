//! What the server sends. Fields that are absent, or null, are empty.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::json::{Text, bounded};

/// One message. Several of these may be there at once.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(deserialize_with = "bounded")]
    pub(super) setup_complete: Value,
    #[serde(borrow)]
    pub(super) server_content: Option<Content<'a>>,
    #[serde(deserialize_with = "bounded")]
    pub(super) tool_call: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) tool_call_cancellation: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) go_away: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) session_resumption_update: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) usage_metadata: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) voice_activity: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Content<'a> {
    #[serde(borrow, deserialize_with = "or_empty")]
    pub(super) model_turn: Turn<'a>,
    pub(super) interrupted: bool,
    pub(super) generation_complete: bool,
    pub(super) turn_complete: bool,
    #[serde(borrow, deserialize_with = "or_empty")]
    pub(super) input_transcription: Transcription<'a>,
    #[serde(borrow, deserialize_with = "or_empty")]
    pub(super) output_transcription: Transcription<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Turn<'a> {
    #[serde(borrow)]
    pub(super) parts: Vec<Part<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow, deserialize_with = "or_empty")]
    pub(super) inline_data: Blob<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    #[serde(borrow)]
    pub(super) data: Text<'a>,
    #[serde(borrow)]
    pub(super) mime_type: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Transcription<'a> {
    #[serde(borrow)]
    pub(super) text: Text<'a>,
}

fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
