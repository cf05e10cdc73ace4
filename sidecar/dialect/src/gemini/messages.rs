//! What we send. Every function gives one message, ready for the wire.

use serde_json::{Value, json};

use crate::{Session, Speaker, Turn, TurnDetection, json, orders};

/// The settings of the whole session.
pub(super) fn setup(session: &Session) -> String {
    let mut setup = json!({
        "model": model(session),
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "realtimeInputConfig": {
            "automaticActivityDetection": activity_detection(session),
            "activityHandling": match session.interrupt_response {
                true => "START_OF_ACTIVITY_INTERRUPTS",
                false => "NO_INTERRUPTION",
            },
        },
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        // Without it a session with audio ends after 15 minutes
        // (<https://ai.google.dev/gemini-api/docs/live-api/session-management>, read 2026-11).
        "contextWindowCompression": {"slidingWindow": {}},
        // Asks for handles. A handle that is null is refused.
        "sessionResumption": match session.resumption.as_str() {
            "" => json!({}),
            handle => json!({"handle": handle}),
        },
    });
    if tells_history(session) {
        // The server then takes one message of history before the conversation, and does not answer it.
        setup["historyConfig"] = json!({"initialHistoryInClientContent": true});
    }
    if !session.voice.is_empty() {
        let voice = json!({"prebuiltVoiceConfig": {"voiceName": session.voice}});
        setup["generationConfig"]["speechConfig"]["voiceConfig"] = voice;
    }
    if !session.language.is_empty() {
        setup["generationConfig"]["speechConfig"]["languageCode"] = json!(session.language);
    }
    if !session.instructions.is_empty() {
        setup["systemInstruction"] = json!({"parts": [{"text": session.instructions}]});
    }
    if !session.tools.is_empty() {
        let declare = |tool: &crate::Tool| json!({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters});
        setup["tools"] = json!([{"functionDeclarations": session.tools.iter().map(declare).collect::<Vec<_>>()}]);
    }
    json::merge(&mut setup, &session.provider_settings);
    json!({"setup": setup}).to_string()
}

/// What the caller said.
pub(super) fn caller_audio(audio: &[u8]) -> String {
    let tail = r#"","mimeType":"audio/pcm;rate=16000"}}}"#;
    json::around_audio(r#"{"realtimeInput":{"audio":{"data":""#, audio, tail)
}

/// Tells the model something in writing, in the caller's place. Every generation of models takes it; `clientContent` some
/// take only before the conversation.
pub(super) fn text(text: &str) -> String {
    json!({"realtimeInput": {"text": text}}).to_string()
}

/// With the handle of another session the server knows what that one did.
pub(super) fn tells_history(session: &Session) -> bool {
    session.resumption.is_empty() && !session.history_and_question().0.is_empty()
}

/// What was said and done before. Nobody says that function calls are taken there, so they are told in words.
pub(super) fn history(turns: &[Turn]) -> String {
    let turns: Vec<_> = turns
        .iter()
        .map(|turn| match turn {
            Turn::Said { speaker: Speaker::Caller, text } => ("user", text.clone()),
            Turn::Said { speaker: Speaker::Agent, text } => ("model", text.clone()),
            Turn::Told { text } => ("user", orders::aside(text)),
            Turn::ToolRan { name, arguments, result } => ("user", orders::tool_ran(name, arguments, result)),
        })
        .map(|(role, text)| json!({"role": role, "parts": [{"text": text}]}))
        .collect();
    json!({"clientContent": {"turns": turns, "turnComplete": true}}).to_string()
}

/// The result of a tool: an object, which any other JSON or text is put into.
pub(super) fn tool_response(id: &str, name: &str, result: &str) -> String {
    let response = match serde_json::from_str(result) {
        Ok(Value::Object(fields)) => Value::Object(fields),
        Ok(other) => json!({"result": other}),
        Err(_) => json!({"result": result}),
    };
    json!({"toolResponse": {"functionResponses": [{"id": id, "name": name, "response": response}]}}).to_string()
}

fn model(session: &Session) -> String {
    // Vertex AI wants the whole path, projects/…; there the operator has written it.
    if session.model.contains('/') { session.model.clone() } else { format!("models/{}", session.model) }
}

fn activity_detection(session: &Session) -> Value {
    match session.turn_detection {
        TurnDetection::None => json!({"disabled": true}),
        TurnDetection::ServerVad | TurnDetection::SemanticVad => {
            json!({"disabled": false, "silenceDurationMs": session.vad_silence_ms})
        }
    }
}
