//! The message that comes fifty times a second: caller audio, found without parsing JSON.

use std::time::Instant;

use crate::schema::ApiError;
use crate::script::Mode;
use crate::settings::describe;

use super::Engine;

/// The base64 of an `input_audio_buffer.append` that has no fields besides `type` and `audio`; `None` for everything
/// else, which then goes through the parser.
pub(super) fn splice(text: &str) -> Option<&str> {
    let body = text.trim_ascii_end();
    let base64 = match body.strip_prefix(r#"{"type":"input_audio_buffer.append","audio":""#) {
        Some(rest) => rest.strip_suffix(r#""}"#)?,
        None => body.strip_prefix(r#"{"audio":""#)?.strip_suffix(r#"","type":"input_audio_buffer.append"}"#)?,
    };
    // A quote would end the string early; a backslash would be an escape.
    (!base64.bytes().any(|byte| matches!(byte, b'"' | b'\\'))).then_some(base64)
}

impl Engine {
    /// Takes caller audio.
    pub(super) fn handle_append(&mut self, base64: &str, now: Instant) -> Result<(), ApiError> {
        if base64.len() > LARGEST_APPEND {
            return Err(ApiError::new("audio_too_large", "Audio of one event must not exceed 15 MiB.").about("audio"));
        }
        let mut audio = std::mem::take(&mut self.caller.decoded);
        audio.clear();
        let outcome = match base64_simd::STANDARD.decode_append(base64, &mut audio) {
            Ok(()) => self.take_audio(base64, &audio, now),
            Err(_) => {
                let format = describe(self.settings.caller_format);
                let message = format!(
                    "Invalid 'audio'. Expected base64-encoded audio bytes ({format}) but got an invalid value."
                );
                Err(ApiError::new("invalid_value", message).about("audio"))
            }
        };
        self.caller.decoded = audio;
        outcome
    }

    fn take_audio(&mut self, base64: &str, audio: &[u8], now: Instant) -> Result<(), ApiError> {
        let format = self.settings.caller_format;
        if !audio.len().is_multiple_of(format.sample_bytes()) {
            return Err(
                ApiError::new("invalid_value", "Invalid 'audio'. The last sample is incomplete.").about("audio")
            );
        }
        if self.mode == Mode::Echo {
            if format != self.settings.agent_format {
                let message = "An echo needs the same format in both directions.";
                return Err(ApiError::new("echo_needs_one_format", message));
            }
            self.echo(base64, audio.len(), now);
        }
        let time = self.caller.count(audio.len());
        self.shared.appended(now, audio, format, time);
        self.listen(audio, now);
        Ok(())
    }
}

/// Largest base64 in one append, in bytes.
const LARGEST_APPEND: usize = 15 << 20;

#[cfg(test)]
mod tests {
    use super::splice;

    #[test]
    fn plain_appends_are_spliced_and_anything_else_is_parsed() {
        assert_eq!(splice(r#"{"type":"input_audio_buffer.append","audio":"AAEC"}"#), Some("AAEC"));
        assert_eq!(splice(r#"{"audio":"AAEC","type":"input_audio_buffer.append"}"#), Some("AAEC"));
        assert_eq!(splice(r#"{"type":"input_audio_buffer.append","audio":"AA","event_id":"x"}"#), None);
        assert_eq!(splice(r#"{"type":"input_audio_buffer.append","audio":"A\/A"}"#), None);
        assert_eq!(splice(r#"{"type":"input_audio_buffer.commit"}"#), None);
    }
}
