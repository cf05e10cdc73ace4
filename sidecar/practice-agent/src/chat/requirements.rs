//! What a request must be like: as strict as the vendors are, each about what only the other knows.

use serde_json::Value;

use crate::schema::{ApiError, Field, Kind, Path, check_fields, must, opt};

/// Checks the body of a request to OpenRouter, or to OpenAI.
pub(super) fn check_body(body: &Value, openrouter: bool) -> Result<(), ApiError> {
    let object = body.as_object().ok_or_else(|| ApiError::new("invalid_json", "The body is not a JSON object."))?;
    check_fields(object, BODY, if openrouter { ROUTING } else { &[] }, Path::Root)?;
    if body["messages"].as_array().is_none_or(Vec::is_empty) {
        return Err(ApiError::new("invalid_value", "Invalid 'messages': empty array.").about("messages"));
    }
    match body.pointer("/response_format/json_schema") {
        Some(format) => check_format(format),
        None => Ok(()),
    }
}

/// <https://platform.openai.com/docs/guides/structured-outputs>, read 2026-11.
fn check_format(format: &Value) -> Result<(), ApiError> {
    let name = format["name"].as_str().unwrap_or_default();
    if name.len() > 64 || name.contains(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        let message = "Invalid 'response_format.json_schema.name': it must match '^[a-zA-Z0-9_-]+$' and have at most 64 characters.";
        return Err(ApiError::new("invalid_value", message).about("response_format.json_schema.name"));
    }
    if format["strict"] != true {
        return Ok(());
    }
    if format["schema"]["type"] != "object" {
        return Err(invalid(name, "schema must be a JSON Schema of 'type: \"object\"'"));
    }
    check_schema(name, &format["schema"])
}

fn check_schema(name: &str, schema: &Value) -> Result<(), ApiError> {
    if let Some(properties) = schema["properties"].as_object() {
        if schema["additionalProperties"] != false {
            return Err(invalid(name, "'additionalProperties' is required to be supplied and to be false"));
        }
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(missing) = properties.keys().find(|key| !required.contains(&Value::from(key.as_str()))) {
            let what = format!("'required' must include every key in properties. Missing '{missing}'");
            return Err(invalid(name, &what));
        }
        properties.values().try_for_each(|schema| check_schema(name, schema))?;
    }
    let below = ["anyOf", "items"].into_iter().filter_map(|key| schema.get(key));
    below
        .flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice))
        .try_for_each(|schema| check_schema(name, schema))
}

fn invalid(name: &str, what: &str) -> ApiError {
    ApiError::new("invalid_value", format!("Invalid schema for response_format '{name}': {what}."))
        .about("response_format")
}

/// What OpenRouter takes besides, to choose a provider (<https://openrouter.ai/docs>, read 2026-11).
const ROUTING: &[&str] = &["models", "provider", "reasoning", "usage"];

/// <https://platform.openai.com/docs/api-reference/chat/create>, read 2026-11: as much of it as this server does.
const BODY: &[Field] = &[
    must("model", Kind::Name),
    must(
        "messages",
        Kind::List(&Kind::Object(&[
            must("role", Kind::Word(&["system", "developer", "user", "assistant"])),
            must("content", Kind::Text),
            opt("name", Kind::Name),
        ])),
    ),
    opt("stream", Kind::Bool),
    opt("stream_options", Kind::Object(&[opt("include_usage", Kind::Bool), opt("include_obfuscation", Kind::Bool)])),
    opt(
        "response_format",
        Kind::Tagged(&[
            ("text", &[]),
            ("json_object", &[]),
            (
                "json_schema",
                &[must(
                    "json_schema",
                    Kind::Object(&[
                        must("name", Kind::Name),
                        opt("description", Kind::Text),
                        opt("strict", Kind::Bool),
                        must("schema", Kind::Map),
                    ]),
                )],
            ),
        ]),
    ),
    opt("temperature", Kind::Number(0.0, 2.0)),
    opt("top_p", Kind::Number(0.0, 1.0)),
    opt("max_tokens", Kind::Int(1, i64::MAX)),
    opt("max_completion_tokens", Kind::Int(1, i64::MAX)),
    opt("reasoning_effort", Kind::Name),
    opt("seed", Kind::Int(i64::MIN, i64::MAX)),
    opt("stop", Kind::Any),
    opt("user", Kind::Text),
    opt("metadata", Kind::Map),
];
