//! What we send. Every function gives one message, ready for the wire.

use ai_media::{Encoding, Format};
use serde_json::{Value, json};

use crate::{Session, Speaker, Turn, json, orders};

/// The first message, with everything the agent is to know.
pub(super) fn settings(session: &Session, format: Format) -> String {
    let mut settings = json!({
        "type": "Settings",
        "audio": {
            "input": {"encoding": encoding(format), "sample_rate": format.rate_hz},
            // Without a container: what comes is samples and nothing else.
            "output": {"encoding": encoding(format), "sample_rate": format.rate_hz, "container": "none"},
        },
        "agent": if session.agent_id.is_empty() { agent(session) } else { json!(session.agent_id) },
    });
    json::merge(&mut settings, &session.provider_settings);
    if session.takes_over()
        && let Some(agent) = settings["agent"].as_object_mut()
    {
        agent.remove("greeting");
    }
    settings.to_string()
}

/// Has the agent say `text` when it is done with what it is saying.
pub(super) fn agent_says(text: &str) -> String {
    json!({"type": "InjectAgentMessage", "message": text, "behavior": "queue"}).to_string()
}

/// Tells the agent what nobody has said. The server adds it to the prompt, and replaces nothing
/// (<https://developers.deepgram.com/docs/voice-agent-update-prompt>, read 2026-11).
pub(super) fn add_to_prompt(text: &str) -> String {
    json!({"type": "UpdatePrompt", "prompt": text}).to_string()
}

/// Says something in the caller's place.
pub(super) fn user_says(text: &str) -> String {
    json!({"type": "InjectUserMessage", "content": text}).to_string()
}

/// The result of a function call.
pub(super) fn function_result(id: &str, name: &str, result: &str) -> String {
    json!({"type": "FunctionCallResponse", "id": id, "name": name, "content": result}).to_string()
}

/// Keeps the session while no audio flows.
pub(super) fn keep_alive() -> String {
    json!({"type": "KeepAlive"}).to_string()
}

fn agent(session: &Session) -> Value {
    let company = if session.think_provider.is_empty() { "open_ai" } else { &session.think_provider };
    let mut agent = json!({"think": {"provider": {"type": company, "model": session.model}}});
    if !session.instructions.is_empty() {
        agent["think"]["prompt"] = json!(session.instructions);
    }
    if !session.tools.is_empty() {
        let declare = |tool: &crate::Tool| json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
        agent["think"]["functions"] = session.tools.iter().map(declare).collect();
    }
    if !session.transcription_model.is_empty() || !session.language.is_empty() {
        agent["listen"] = json!({"provider": listen(session)});
    }
    if !session.voice.is_empty() {
        agent["speak"] = json!({"provider": {"type": "deepgram", "model": session.voice}});
    }
    let (history, _) = session.history_and_question();
    if !history.is_empty() {
        agent["context"] = json!({"messages": history.iter().enumerate().map(remembered).collect::<Vec<_>>()});
    }
    if !session.greeting.is_empty() {
        agent["greeting"] = json!(session.greeting);
    }
    agent
}

/// A piece of the conversation so far.
fn remembered((number, turn): (usize, &Turn)) -> Value {
    match turn {
        Turn::Said { speaker: Speaker::Caller, text } => json!({"type": "History", "role": "user", "content": text}),
        Turn::Said { speaker: Speaker::Agent, text } => {
            json!({"type": "History", "role": "assistant", "content": text})
        }
        Turn::Told { text } => json!({"type": "History", "role": "user", "content": orders::aside(text)}),
        Turn::ToolRan { name, arguments, result } => {
            let call = json!({
                // The ids of the other session mean nothing to the server.
                "id": format!("earlier_{number}"),
                "name": name,
                "client_side": true,
                "arguments": arguments,
                "response": result,
            });
            json!({"type": "History", "function_calls": [call]})
        }
    }
}

/// The Flux models have an interface of their own.
fn listen(session: &Session) -> Value {
    let (model, language) = (&session.transcription_model, &session.language);
    let flux = model.starts_with("flux");
    let mut provider = json!({"type": "deepgram", "version": if flux { "v2" } else { "v1" }});
    if !model.is_empty() {
        provider["model"] = json!(model);
    }
    match language.as_str() {
        "" => {}
        language if flux => provider["language_hints"] = json!([language]),
        language => provider["language"] = json!(language),
    }
    provider
}

fn encoding(format: Format) -> &'static str {
    match format.encoding {
        Encoding::Alaw => "alaw",
        Encoding::Ulaw => "mulaw",
        Encoding::Slin => "linear16",
    }
}
