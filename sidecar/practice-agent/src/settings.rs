//! A session's configuration: the JSON that is echoed to the client, and what the agent reads out of it.

use std::time::Duration;

use ai_media::Format;
use serde_json::{Map, Value, json};

use crate::schema::ApiError;

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct Settings {
    /// As sent in `session.created` and `session.updated`.
    json: Value,
    beta: bool,
    pub(crate) caller_format: Format,
    pub(crate) agent_format: Format,
    /// `None`: the client says itself when a turn ends.
    pub(crate) turn_detection: Option<TurnDetection>,
    pub(crate) transcribe: bool,
    pub(crate) text_only: bool,
    /// A transcription session listens and never answers.
    pub(crate) transcription_only: bool,
    /// Names of the function tools that the client declared.
    pub(crate) tools: Vec<String>,
}

/// How the server finds the caller's turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TurnDetection {
    /// 0 hears everything, 1 next to nothing.
    pub(crate) threshold: f64,
    pub(crate) prefix_padding: Duration,
    pub(crate) silence: Duration,
    pub(crate) create_response: bool,
    pub(crate) interrupt_response: bool,
}

impl Settings {
    /// A session before the client's first `session.update`.
    pub(crate) fn new(session_id: &str, model: &str, expires_at: u64, beta: bool) -> Self {
        let mut json = if beta { beta_defaults() } else { ga_defaults() };
        json["model"] = model.into();
        Self::of(json, session_id, expires_at, beta)
    }

    /// The same for a session that only transcribes.
    pub(crate) fn transcription(session_id: &str, expires_at: u64) -> Self {
        let mut settings = Self::of(transcription_defaults(), session_id, expires_at, false);
        settings.leave_out_responses();
        settings
    }

    fn of(mut json: Value, session_id: &str, expires_at: u64, beta: bool) -> Self {
        json["id"] = session_id.into();
        json["expires_at"] = expires_at.into();
        let mut settings = Self {
            json,
            beta,
            caller_format: PCM24,
            agent_format: PCM24,
            turn_detection: None,
            transcribe: false,
            text_only: false,
            transcription_only: false,
            tools: Vec::new(),
        };
        settings.read();
        settings
    }

    /// Applies a `session.update` whose shape has been checked. `voice_in_use`: the agent has already spoken.
    pub(crate) fn update(&mut self, session: &Value, voice_in_use: bool) -> Result<(), ApiError> {
        let voice_at = if self.beta { "/voice" } else { "/audio/output/voice" };
        let changes = |at: &str| session.pointer(at).is_some_and(|wanted| self.json.pointer(at) != Some(wanted));
        if changes("/type") {
            let [theirs, ours] = [&session["type"], &self.json["type"]].map(|kind| kind.as_str().unwrap_or_default());
            let message = format!("Passing a {theirs} session update event to a {ours} session is not allowed.");
            return Err(ApiError::new("invalid_parameter", message).about("session.type"));
        }
        if voice_in_use && changes(voice_at) {
            let message = "Cannot update a conversation's voice if assistant audio is present.";
            return Err(ApiError::new("cannot_update_voice", message));
        }
        if changes("/model") {
            return Err(
                ApiError::new("invalid_value", "The model of a session cannot be changed.").about("session.model")
            );
        }
        if let (Some(ours), Some(theirs)) = (self.json.as_object_mut(), session.as_object()) {
            merge(ours, theirs);
        }
        self.leave_out_responses();
        self.read();
        Ok(())
    }

    /// Where nobody answers, there is no setting for it.
    fn leave_out_responses(&mut self) {
        if self.json["type"] == "transcription"
            && let Some(turn_detection) = self.json["audio"]["input"]["turn_detection"].as_object_mut()
        {
            turn_detection.retain(|key, _| !matches!(key.as_str(), "create_response" | "interrupt_response"));
        }
    }

    /// As the client sees it.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// The format of one response: what `response.create` asks for, else the session's.
    pub(crate) fn agent_format_for(&self, response: Option<&Value>) -> Format {
        let at = if self.beta { "/output_audio_format" } else { "/audio/output/format" };
        response.and_then(|response| response.pointer(at)).map_or(self.agent_format, format_of)
    }

    /// Whether one response is to be written instead of spoken.
    pub(crate) fn text_only_for(&self, response: Option<&Value>) -> bool {
        let at = if self.beta { "modalities" } else { "output_modalities" };
        response.and_then(|response| response.get(at)).map_or(self.text_only, lacks_audio)
    }

    fn read(&mut self) {
        let input = |ga: &str, beta: &str| match self.beta {
            true => &self.json[beta],
            false => &self.json["audio"]["input"][ga],
        };
        let turn_detection = TurnDetection::read(input("turn_detection", "turn_detection"));
        let caller_format = format_of(input("format", "input_audio_format"));
        let transcribe = input("transcription", "input_audio_transcription").is_object();
        let tools = self.json["tools"].as_array().into_iter().flatten();
        let names = tools.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect();
        let output =
            if self.beta { &self.json["output_audio_format"] } else { &self.json["audio"]["output"]["format"] };
        let modalities = if self.beta { "modalities" } else { "output_modalities" };

        self.agent_format = format_of(output);
        self.text_only = lacks_audio(&self.json[modalities]);
        self.transcription_only = self.json["type"] == "transcription";
        self.turn_detection = turn_detection;
        self.caller_format = caller_format;
        self.transcribe = transcribe;
        self.tools = names;
    }
}

impl TurnDetection {
    fn read(json: &Value) -> Option<Self> {
        let flag = |key: &str| json[key].as_bool().unwrap_or(true);
        let ms = |key: &str, default| Duration::from_millis(json[key].as_u64().unwrap_or(default));
        let silence = match json["eagerness"].as_str() {
            // A semantic detector weighs what was said; without ears for words, eagerness is only patience.
            Some("low") => Duration::from_millis(1200),
            Some("high") => Duration::from_millis(400),
            Some(_) => Duration::from_millis(700),
            None => ms("silence_duration_ms", 500),
        };
        json.is_object().then(|| Self {
            threshold: json["threshold"].as_f64().unwrap_or(0.5),
            prefix_padding: ms("prefix_padding_ms", 300),
            silence,
            create_response: flag("create_response"),
            interrupt_response: flag("interrupt_response"),
        })
    }
}

/// The name of a format on the wire, for error texts.
pub(crate) fn describe(format: Format) -> &'static str {
    match format {
        Format::ULAW => "mono G.711 u-law at 8kHz",
        Format::ALAW => "mono G.711 A-law at 8kHz",
        _ => "mono PCM16 at 24kHz",
    }
}

/// Present keys replace; only the objects on the way to the leaves are merged. A turn detection is one setting: a new
/// one starts from its own defaults.
fn merge(ours: &mut Map<String, Value>, theirs: &Map<String, Value>) {
    for (key, value) in theirs {
        match (ours.get_mut(key), value) {
            (Some(Value::Object(ours)), Value::Object(theirs))
                if matches!(key.as_str(), "audio" | "input" | "output") =>
            {
                merge(ours, theirs);
            }
            _ => {
                ours.insert(key.clone(), if key == "turn_detection" { complete(value) } else { value.clone() });
            }
        }
    }
}

/// A turn detection with its defaults spelt out, as the server echoes it.
fn complete(turn_detection: &Value) -> Value {
    let mut full = match turn_detection["type"].as_str() {
        Some("server_vad") => server_vad(),
        Some(_) => json!({"eagerness": "auto", "create_response": true, "interrupt_response": true}),
        None => return turn_detection.clone(),
    };
    if let (Some(full), Some(given)) = (full.as_object_mut(), turn_detection.as_object()) {
        full.extend(given.clone());
    }
    full
}

fn format_of(json: &Value) -> Format {
    match json.as_str().or_else(|| json["type"].as_str()) {
        Some("audio/pcmu" | "g711_ulaw") => Format::ULAW,
        Some("audio/pcma" | "g711_alaw") => Format::ALAW,
        _ => PCM24,
    }
}

fn lacks_audio(modalities: &Value) -> bool {
    modalities.as_array().is_some_and(|list| !list.iter().any(|word| word == "audio"))
}

fn server_vad() -> Value {
    json!({"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500,
        "create_response": true, "interrupt_response": true})
}

fn ga_defaults() -> Value {
    json!({
        "object": "realtime.session", "type": "realtime", "output_modalities": ["audio"], "instructions": "",
        "tools": [], "tool_choice": "auto", "max_output_tokens": "inf", "truncation": "auto",
        "tracing": null, "prompt": null, "include": null,
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": null,
                "noise_reduction": null, "turn_detection": server_vad()},
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
    })
}

fn transcription_defaults() -> Value {
    json!({
        "object": "realtime.transcription_session", "type": "transcription", "include": null,
        "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": null,
            "noise_reduction": null, "turn_detection": server_vad()}},
    })
}

fn beta_defaults() -> Value {
    json!({
        "object": "realtime.session", "modalities": ["text", "audio"], "instructions": "", "voice": "alloy",
        "input_audio_format": "pcm16", "output_audio_format": "pcm16", "input_audio_transcription": null,
        "input_audio_noise_reduction": null, "turn_detection": server_vad(), "tools": [], "tool_choice": "auto",
        "temperature": 0.8, "max_response_output_tokens": "inf", "tracing": null, "include": null,
    })
}

const PCM24: Format = Format::slin(24_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_present_fields_change() {
        let mut settings = Settings::new("sess", "m", 0, false);
        let update = json!({"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcma"}}}});
        settings.update(&update, false).unwrap();
        assert_eq!((settings.caller_format, settings.agent_format), (PCM24, Format::ALAW));
        assert_eq!(settings.json["audio"]["output"]["voice"], "alloy");
        assert_eq!(settings.json["audio"]["output"]["format"], json!({"type": "audio/pcma"}));
    }

    #[test]
    fn turn_detection_can_be_tuned_and_turned_off() {
        let mut settings = Settings::new("sess", "m", 0, false);
        let with = |value: Value| json!({"type": "realtime", "audio": {"input": {"turn_detection": value}}});
        settings.update(&with(json!({"type": "server_vad", "silence_duration_ms": 200})), false).unwrap();
        let tuned = settings.turn_detection.unwrap();
        assert_eq!((tuned.silence.as_millis(), tuned.prefix_padding.as_millis()), (200, 300));
        assert_eq!(settings.json["audio"]["input"]["turn_detection"]["threshold"], 0.5);
        settings.update(&with(Value::Null), false).unwrap();
        assert_eq!(settings.turn_detection, None);
    }

    #[test]
    fn the_voice_is_fixed_once_it_was_heard() {
        let mut settings = Settings::new("sess", "m", 0, false);
        let update = json!({"type": "realtime", "audio": {"output": {"voice": "marin"}}});
        settings.update(&update, false).unwrap();
        assert_eq!(settings.update(&update, true), Ok(()), "the same voice again is no change");
        let other = json!({"type": "realtime", "audio": {"output": {"voice": "cedar"}}});
        assert_eq!(settings.update(&other, true).unwrap_err().code, "cannot_update_voice");
    }
}
