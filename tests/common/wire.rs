//! Server events written by hand, for what the practice agent itself would never send.

use practice_agent::{Frame, Script, Step};
use serde_json::{Value, json};

/// An answer whose audio comes in these pieces, cut anywhere.
pub fn answer_in_pieces<'a>(id: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Script {
    let item = format!("item_{id}");
    let about_item = |kind: &str| event(&json!({"type": kind, "response_id": id, "item_id": item}));
    let about_response =
        |kind: &str, status: &str| event(&json!({"type": kind, "response": {"id": id, "status": status}}));
    let pieces = pieces.into_iter().map(|piece| delta(id, &item, piece));
    let steps = std::iter::once(about_response("response.created", "in_progress"))
        .chain(pieces)
        .chain([about_item("response.output_audio.done"), about_response("response.done", "completed")]);
    steps.collect::<Vec<_>>().into()
}

/// A piece of audio of an answer.
pub fn delta(response: &str, item: &str, audio: &[u8]) -> Step {
    let audio = base64_simd::STANDARD.encode_to_string(audio);
    event(&json!({"type": "response.output_audio.delta", "response_id": response, "item_id": item,
        "output_index": 0, "content_index": 0, "delta": audio}))
}

fn event(event: &Value) -> Step {
    Step::Send(Frame::Text(event.to_string()))
}
