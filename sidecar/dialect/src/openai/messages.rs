//! What we send. Every function gives one message, ready for the wire.
//!
//! Each but caller audio has an `event_id`, which comes back in an error about it. They need not be unique: what kind
//! of message was refused is all we want to know.

use ai_media::Format;
use serde_json::{Value, json};

use super::formats;
use crate::{ApiVersion, Session, Speaker, Turn, TurnDetection, json, orders};

/// `event_id` of the session's settings.
pub(super) const CONFIGURE: &str = "configure";
/// `event_id` of the request to greet the caller.
pub(super) const GREET: &str = "greet";
/// `event_id` of the request to go on with a conversation that another session had.
pub(super) const GO_ON: &str = "go_on";
/// `event_id` of the request to say a given text.
pub(super) const SAY: &str = "say";
/// `event_id` of every other request to speak.
pub(super) const RESPOND: &str = "respond";

/// The settings of the whole session.
pub(super) fn configure(session: &Session, format: Format) -> String {
    let mut settings = match session.api_version {
        ApiVersion::Ga => ga_settings(session, format),
        ApiVersion::Beta => beta_settings(session, format),
    };
    if !session.instructions.is_empty() {
        settings["instructions"] = json!(session.instructions);
    }
    if !session.tools.is_empty() {
        settings["tools"] = session
            .tools
            .iter()
            .map(|tool| {
                json!({
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                })
            })
            .collect();
    }
    json::merge(&mut settings, &session.provider_settings);
    json!({"type": "session.update", "event_id": CONFIGURE, "session": settings}).to_string()
}

/// Asks for the first words of the conversation.
pub(super) fn greet(session: &Session) -> String {
    speak_as(GREET, session, &orders::greet(&session.greeting))
}

/// Asks for the next words of a conversation that another session had.
pub(super) fn go_on(session: &Session) -> String {
    speak_as(GO_ON, session, orders::GO_ON)
}

/// Asks for `text`, word for word. What the agent is to be like otherwise, and its tools, could only mislead it.
pub(super) fn say(text: &str) -> String {
    let response = json!({"instructions": orders::say(text), "tool_choice": "none"});
    json!({"type": "response.create", "event_id": SAY, "response": response}).to_string()
}

/// Asks the agent to speak.
pub(super) fn respond() -> String {
    json!({"type": "response.create", "event_id": RESPOND}).to_string()
}

/// Stops the making of `response`; an empty one names whichever is being made.
pub(super) fn cancel(response: &str) -> String {
    let mut message = json!({"type": "response.cancel", "event_id": "cancel"});
    if !response.is_empty() {
        message["response_id"] = json!(response);
    }
    message.to_string()
}

/// Cuts the server's memory of `item` to what was heard.
pub(super) fn truncate(item: &str, content_index: u64, heard_ms: u64) -> String {
    json!({
        "type": "conversation.item.truncate",
        "event_id": "truncate",
        "item_id": item,
        "content_index": content_index,
        "audio_end_ms": heard_ms,
    })
    .to_string()
}

/// Removes `item`, of which nothing was heard.
pub(super) fn delete(item: &str) -> String {
    json!({"type": "conversation.item.delete", "event_id": "delete", "item_id": item}).to_string()
}

/// Tells the agent which keys the caller pressed.
pub(super) fn keys_pressed(digits: &str) -> String {
    create_item("keys", message("user", "input_text", &orders::keys_pressed(digits)))
}

/// Tells the agent what nobody has said.
pub(super) fn context(text: &str) -> String {
    create_item("context", message("system", "input_text", text))
}

/// What was said and done before, item by item.
pub(super) fn history(session: &Session) -> Vec<String> {
    let spoken_by_agent = match session.api_version {
        ApiVersion::Ga => "output_text",
        ApiVersion::Beta => "text",
    };
    let mut items = Vec::new();
    for (number, turn) in session.history.iter().enumerate() {
        match turn {
            Turn::Said { text, .. } if text.is_empty() => {}
            Turn::Said { speaker: Speaker::Caller, text } => items.push(message("user", "input_text", text)),
            Turn::Said { speaker: Speaker::Agent, text } => items.push(message("assistant", spoken_by_agent, text)),
            Turn::Told { text } => items.push(message("system", "input_text", text)),
            Turn::ToolRan { name, arguments, result } => {
                // The ids of the other session mean nothing to the server.
                let call_id = format!("earlier_{number}");
                let call = json!({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments});
                items.extend([call, output(&call_id, result)]);
            }
        }
    }
    items.into_iter().map(|item| create_item("history", item)).collect()
}

/// The result of a tool.
pub(super) fn tool_output(call_id: &str, result: &str) -> String {
    create_item("tool", output(call_id, result))
}

/// What the caller said.
pub(super) fn caller_audio(audio: &[u8]) -> String {
    json::around_audio(r#"{"type":"input_audio_buffer.append","audio":""#, audio, r#""}"#)
}

/// Instructions of one response replace those of the session, so they are repeated.
fn speak_as(event_id: &str, session: &Session, order: &str) -> String {
    let instructions = [session.instructions.trim_end(), order].join("\n\n");
    let response = json!({"instructions": instructions.trim_start()});
    json!({"type": "response.create", "event_id": event_id, "response": response}).to_string()
}

fn message(role: &str, kind: &str, text: &str) -> Value {
    json!({"type": "message", "role": role, "content": [{"type": kind, "text": text}]})
}

fn output(call_id: &str, result: &str) -> Value {
    json!({"type": "function_call_output", "call_id": call_id, "output": result})
}

fn create_item(event_id: &str, item: Value) -> String {
    json!({"type": "conversation.item.create", "event_id": event_id, "item": item}).to_string()
}

fn ga_settings(session: &Session, format: Format) -> Value {
    let mut settings = json!({
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": formats::ga(format),
                "transcription": transcription(session),
                "turn_detection": turn_detection(session),
            },
            "output": {"format": formats::ga(format)},
        },
    });
    if !session.voice.is_empty() {
        settings["audio"]["output"]["voice"] = json!(session.voice);
    }
    settings
}

fn beta_settings(session: &Session, format: Format) -> Value {
    let mut settings = json!({
        "modalities": ["text", "audio"],
        "input_audio_format": formats::beta(format),
        "output_audio_format": formats::beta(format),
        "turn_detection": turn_detection(session),
    });
    if !session.transcription_model.is_empty() {
        settings["input_audio_transcription"] = transcription(session);
    }
    if !session.voice.is_empty() {
        settings["voice"] = json!(session.voice);
    }
    settings
}

fn transcription(session: &Session) -> Value {
    if session.transcription_model.is_empty() {
        return Value::Null;
    }
    let mut transcription = json!({"model": session.transcription_model});
    if !session.language.is_empty() {
        transcription["language"] = json!(session.language);
    }
    transcription
}

fn turn_detection(session: &Session) -> Value {
    match session.turn_detection {
        TurnDetection::ServerVad => json!({
            "type": "server_vad",
            "threshold": session.vad_threshold,
            "prefix_padding_ms": session.vad_prefix_padding_ms,
            "silence_duration_ms": session.vad_silence_ms,
            "create_response": session.create_response,
            "interrupt_response": session.interrupt_response,
        }),
        TurnDetection::SemanticVad => json!({
            "type": "semantic_vad",
            "create_response": session.create_response,
            "interrupt_response": session.interrupt_response,
        }),
        TurnDetection::None => Value::Null,
    }
}
