//! How the protocol names audio formats, in both generations.

use ai_media::{Encoding, Format};
use serde_json::{Value, json};

use super::AUDIO_CHOICES;
use crate::AudioChoice;

/// One audio format and its names.
struct Spelling {
    format: Format,
    ga: &'static str,
    beta: &'static str,
}

const PCM: Spelling = Spelling { format: Format::slin(24000), ga: "audio/pcm", beta: "pcm16" };

const SPELLINGS: [Spelling; 3] = [
    Spelling { format: Format::ULAW, ga: "audio/pcmu", beta: "g711_ulaw" },
    Spelling { format: Format::ALAW, ga: "audio/pcma", beta: "g711_alaw" },
    PCM,
];

/// What goes over the WebSocket. Auto keeps the G.711 bytes of a phone that speaks it, and gives any other phone the
/// only format that loses nothing.
pub(super) fn choose(choice: AudioChoice, phone: Format) -> Format {
    match choice.format() {
        Some(format) if AUDIO_CHOICES.contains(&choice) => format,
        _ if phone.encoding != Encoding::Slin => phone,
        _ => PCM.format,
    }
}

/// The current name of `format`. G.711 has no `rate` there, and PCM must have one.
pub(super) fn ga(format: Format) -> Value {
    match format.encoding {
        Encoding::Slin => json!({"type": spelling(format).ga, "rate": format.rate_hz}),
        Encoding::Alaw | Encoding::Ulaw => json!({"type": spelling(format).ga}),
    }
}

/// The beta name of `format`.
pub(super) fn beta(format: Format) -> &'static str {
    spelling(format).beta
}

/// A sentence that says so if the formats in an echoed session are others than `wanted`.
///
/// Some servers take the settings, answer, and stay with another format; some echo nothing, which is accepted.
pub(super) fn mismatch(wanted: Format, session: &Value) -> Option<String> {
    [("caller", "input"), ("agent", "output")].into_iter().find_map(|(speaker, direction)| {
        let nested = session.pointer(&format!("/audio/{direction}/format"));
        let got = nested.or_else(|| session.get(format!("{direction}_audio_format"))).unwrap_or_default();
        (!matches(wanted, got)).then(|| {
            let wanted = spelling(wanted).ga;
            format!("the server does not use the audio format asked for: {speaker} audio wanted {wanted}, got {got}")
        })
    })
}

fn matches(wanted: Format, got: &Value) -> bool {
    let Spelling { ga, beta, .. } = spelling(wanted);
    let name = match got {
        Value::Null => return true,
        Value::Object(fields) => match fields.get("rate") {
            Some(rate) if !rate.is_null() && rate.as_f64() != Some(f64::from(wanted.rate_hz)) => return false,
            _ => fields.get("type").unwrap_or_default(),
        },
        name => name,
    };
    name == ga || name == beta
}

fn spelling(format: Format) -> &'static Spelling {
    SPELLINGS.iter().find(|spelling| spelling.format == format).unwrap_or(&PCM)
}
