//! What a client may say: one table for each event of the OpenAI Realtime protocol, in both its shapes.
//!
//! GA is the shape of 2025-08 and later; beta is the older one that compatible servers still speak.

use serde_json::Value;

use crate::schema::{ApiError, Field, Kind, Path, check_fields, must, opt};

/// Checks a whole client event; `beta` selects the older session shape.
pub(crate) fn check_event(event: &Value, beta: bool) -> Result<(), ApiError> {
    let object = event.as_object().ok_or_else(|| ApiError::new("invalid_json", "The event is not a JSON object."))?;
    let path = Path::Key(&Path::Root, "type");
    let kind = match object.get("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => {
            return Err(ApiError::new("invalid_type", "Invalid type for 'type': expected a string.").about("type"));
        }
        None => return Err(ApiError::missing(path)),
    };
    let tables = if beta { BETA_EVENTS } else { GA_EVENTS };
    let known = || tables.iter().chain(COMMON_EVENTS);
    match known().find(|(name, _)| name == kind) {
        Some((_, fields)) => check_fields(object, fields, &["type", "event_id"], Path::Root),
        None => Err(ApiError::invalid_value(kind, known().map(|(name, _)| *name), path)),
    }
}

/// Whether a `session.update` is written in the beta shape: no `type`, and a key that only beta has.
pub(crate) fn looks_beta(event: &Value) -> bool {
    let session = &event["session"];
    let beta_only = ["modalities", "input_audio_format", "output_audio_format", "turn_detection", "temperature"];
    session.get("type").is_none() && beta_only.iter().any(|key| session.get(key).is_some())
}

type Events = &'static [(&'static str, &'static [Field])];

const COMMON_EVENTS: Events = &[
    ("input_audio_buffer.append", &[must("audio", Kind::Text)]),
    ("input_audio_buffer.commit", &[]),
    ("input_audio_buffer.clear", &[]),
    (
        "conversation.item.create",
        &[opt("previous_item_id", Kind::Nullable(&Kind::Name)), must("item", Kind::Tagged(ITEM))],
    ),
    (
        "conversation.item.truncate",
        &[
            must("item_id", Kind::Name),
            must("content_index", Kind::Int(0, 0)),
            must("audio_end_ms", Kind::Int(0, i64::MAX)),
        ],
    ),
    ("conversation.item.delete", &[must("item_id", Kind::Name)]),
    ("conversation.item.retrieve", &[must("item_id", Kind::Name)]),
    ("response.cancel", &[opt("response_id", Kind::Name)]),
];

const GA_EVENTS: Events = &[
    (
        "session.update",
        &[must("session", Kind::Tagged(&[("realtime", GA_SESSION), ("transcription", TRANSCRIPTION_SESSION)]))],
    ),
    ("response.create", &[opt("response", Kind::Object(GA_RESPONSE))]),
];

const BETA_EVENTS: Events = &[
    ("session.update", &[must("session", Kind::Object(BETA_SESSION))]),
    ("response.create", &[opt("response", Kind::Object(BETA_RESPONSE))]),
];

const GA_SESSION: &[Field] = &[
    opt("model", Kind::Name),
    opt("output_modalities", MODALITIES),
    opt("instructions", Kind::Text),
    opt("audio", Kind::Object(&[opt("input", Kind::Object(AUDIO_INPUT)), opt("output", Kind::Object(AUDIO_OUTPUT))])),
    opt("tools", Kind::List(&TOOL)),
    opt("tool_choice", TOOL_CHOICE),
    opt("parallel_tool_calls", Kind::Bool),
    opt("reasoning", Kind::Nullable(&Kind::Object(&[opt("effort", Kind::Name)]))),
    opt("max_output_tokens", MAX_TOKENS),
    opt("truncation", Kind::Either(&[Kind::Map, Kind::Word(&["auto", "disabled"])])),
    opt("tracing", Kind::Nullable(&Kind::Either(&[Kind::Map, Kind::Word(&["auto"])]))),
    opt("prompt", Kind::Nullable(&Kind::Map)),
    opt("include", Kind::Nullable(&Kind::List(&Kind::Name))),
];

const TRANSCRIPTION_SESSION: &[Field] = &[
    opt("audio", Kind::Object(&[opt("input", Kind::Object(AUDIO_INPUT))])),
    opt("include", Kind::Nullable(&Kind::List(&Kind::Name))),
];

const BETA_SESSION: &[Field] = &[
    opt("model", Kind::Name),
    opt("modalities", Kind::List(&Kind::Word(&["text", "audio"]))),
    opt("instructions", Kind::Text),
    opt("voice", Kind::Name),
    opt("speed", Kind::Number(0.25, 1.5)),
    opt("input_audio_format", BETA_FORMAT),
    opt("output_audio_format", BETA_FORMAT),
    opt("input_audio_transcription", Kind::Nullable(&Kind::Object(TRANSCRIPTION))),
    opt("input_audio_noise_reduction", Kind::Nullable(&NOISE_REDUCTION)),
    opt("turn_detection", Kind::Nullable(&Kind::Tagged(BETA_TURN_DETECTION))),
    opt("tools", Kind::List(&TOOL)),
    opt("tool_choice", TOOL_CHOICE),
    opt("temperature", Kind::Number(0.6, 1.2)),
    opt("max_response_output_tokens", MAX_TOKENS),
    opt("tracing", Kind::Nullable(&Kind::Either(&[Kind::Map, Kind::Word(&["auto"])]))),
    opt("include", Kind::Nullable(&Kind::List(&Kind::Name))),
];

const GA_RESPONSE: &[Field] = &[
    opt("instructions", Kind::Text),
    opt("output_modalities", MODALITIES),
    opt("audio", Kind::Object(&[opt("output", Kind::Object(&[opt("format", FORMAT), opt("voice", VOICE)]))])),
    opt("conversation", Kind::Word(&["auto", "none"])),
    opt("input", Kind::List(&Kind::Any)),
    opt("metadata", Kind::Nullable(&Kind::Map)),
    opt("tools", Kind::List(&TOOL)),
    opt("tool_choice", TOOL_CHOICE),
    opt("parallel_tool_calls", Kind::Bool),
    opt("reasoning", Kind::Nullable(&Kind::Object(&[opt("effort", Kind::Name)]))),
    opt("max_output_tokens", MAX_TOKENS),
    opt("prompt", Kind::Nullable(&Kind::Map)),
];

const BETA_RESPONSE: &[Field] = &[
    opt("instructions", Kind::Text),
    opt("modalities", Kind::List(&Kind::Word(&["text", "audio"]))),
    opt("voice", Kind::Name),
    opt("output_audio_format", BETA_FORMAT),
    opt("conversation", Kind::Word(&["auto", "none"])),
    opt("input", Kind::List(&Kind::Any)),
    opt("metadata", Kind::Nullable(&Kind::Map)),
    opt("tools", Kind::List(&TOOL)),
    opt("tool_choice", TOOL_CHOICE),
    opt("temperature", Kind::Number(0.6, 1.2)),
    opt("max_response_output_tokens", MAX_TOKENS),
];

const AUDIO_INPUT: &[Field] = &[
    opt("format", FORMAT),
    opt("noise_reduction", Kind::Nullable(&NOISE_REDUCTION)),
    opt("transcription", Kind::Nullable(&Kind::Object(TRANSCRIPTION))),
    opt("turn_detection", Kind::Nullable(&Kind::Tagged(GA_TURN_DETECTION))),
];

const AUDIO_OUTPUT: &[Field] = &[opt("format", FORMAT), opt("voice", VOICE), opt("speed", Kind::Number(0.25, 1.5))];

/// Only PCM has a `rate`, and only one value of it.
const FORMAT: Kind =
    Kind::Tagged(&[("audio/pcm", &[opt("rate", Kind::Int(24000, 24000))]), ("audio/pcmu", &[]), ("audio/pcma", &[])]);
const BETA_FORMAT: Kind = Kind::Word(&["pcm16", "g711_ulaw", "g711_alaw"]);
const VOICE: Kind = Kind::Either(&[Kind::Object(&[must("id", Kind::Name)]), Kind::Name]);
const MODALITIES: Kind = Kind::List(&Kind::Word(&["audio", "text"]));
const MAX_TOKENS: Kind = Kind::Either(&[Kind::Word(&["inf"]), Kind::Int(1, 4096)]);
const NOISE_REDUCTION: Kind = Kind::Tagged(&[
    ("near_field", &[opt("strength", Kind::Number(0.0, 1.0))]),
    ("far_field", &[opt("strength", Kind::Number(0.0, 1.0))]),
]);
const TRANSCRIPTION: &[Field] = &[
    opt("model", Kind::Name),
    opt("language", Kind::Nullable(&Kind::Name)),
    opt("prompt", Kind::Nullable(&Kind::Text)),
    opt("keywords", Kind::List(&Kind::Name)),
    opt("languages", Kind::List(&Kind::Name)),
    opt("delay", Kind::Any),
];
const TOOL_CHOICE: Kind = Kind::Either(&[Kind::Map, Kind::Word(&["auto", "none", "required"])]);
const TOOL: Kind = Kind::Tagged(&[
    ("function", &[must("name", Kind::Name), opt("description", Kind::Text), opt("parameters", Kind::Map)]),
    (
        "mcp",
        &[
            must("server_label", Kind::Name),
            opt("server_url", Kind::Name),
            opt("allowed_tools", Kind::Any),
            opt("authorization", Kind::Name),
            opt("connector_id", Kind::Name),
            opt("headers", Kind::Nullable(&Kind::Map)),
            opt("require_approval", Kind::Any),
            opt("server_description", Kind::Text),
        ],
    ),
]);

const GA_TURN_DETECTION: &[(&str, &[Field])] = &[
    (
        "server_vad",
        &[
            opt("threshold", Kind::Number(0.0, 1.0)),
            opt("prefix_padding_ms", Kind::Int(0, 10_000)),
            opt("silence_duration_ms", Kind::Int(0, 10_000)),
            opt("create_response", Kind::Bool),
            opt("interrupt_response", Kind::Bool),
            opt("idle_timeout_ms", Kind::Nullable(&Kind::Int(1, i64::MAX))),
        ],
    ),
    SEMANTIC_VAD,
];
const BETA_TURN_DETECTION: &[(&str, &[Field])] = &[
    (
        "server_vad",
        &[
            opt("threshold", Kind::Number(0.0, 1.0)),
            opt("prefix_padding_ms", Kind::Int(0, 10_000)),
            opt("silence_duration_ms", Kind::Int(0, 10_000)),
            opt("create_response", Kind::Bool),
            opt("interrupt_response", Kind::Bool),
        ],
    ),
    SEMANTIC_VAD,
];
const SEMANTIC_VAD: (&str, &[Field]) = (
    "semantic_vad",
    &[
        opt("eagerness", Kind::Word(&["low", "medium", "high", "auto"])),
        opt("create_response", Kind::Bool),
        opt("interrupt_response", Kind::Bool),
    ],
);

const ITEM: &[(&str, &[Field])] = &[
    (
        "message",
        &[
            opt("id", Kind::Name),
            opt("object", Kind::Word(&["realtime.item"])),
            opt("status", ITEM_STATUS),
            must("role", Kind::Word(&["user", "assistant", "system"])),
            must("content", Kind::List(&Kind::Tagged(CONTENT))),
        ],
    ),
    (
        "function_call",
        &[
            opt("id", Kind::Name),
            opt("object", Kind::Word(&["realtime.item"])),
            opt("status", ITEM_STATUS),
            opt("call_id", Kind::Name),
            must("name", Kind::Name),
            must("arguments", Kind::Text),
        ],
    ),
    (
        "function_call_output",
        &[
            opt("id", Kind::Name),
            opt("object", Kind::Word(&["realtime.item"])),
            opt("status", ITEM_STATUS),
            must("call_id", Kind::Name),
            must("output", Kind::Text),
        ],
    ),
];
const ITEM_STATUS: Kind = Kind::Word(&["completed", "incomplete", "in_progress"]);
const CONTENT: &[(&str, &[Field])] = &[
    ("input_text", &[must("text", Kind::Text)]),
    ("input_audio", &[must("audio", Kind::Text), opt("transcript", Kind::Nullable(&Kind::Text))]),
    ("input_image", &[must("image_url", Kind::Name), opt("detail", Kind::Name)]),
    ("output_text", &[must("text", Kind::Text)]),
    ("output_audio", &[opt("audio", Kind::Text), opt("transcript", Kind::Text)]),
    ("text", &[must("text", Kind::Text)]),
];
