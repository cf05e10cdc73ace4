//! What the server sends, read without trust and without copying the audio.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_json::value::RawValue;

/// Every field we read of any event. A field that is absent, or is of another type than it should be, is empty.
///
/// One flat type for all events: the type of an event need not be known before it is read, so an event is read once.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) response_id: Text<'a>,
    #[serde(borrow)]
    pub(super) item_id: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) transcript: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
    #[serde(deserialize_with = "bounded")]
    pub(super) content_index: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) audio_end_ms: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) item: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) response: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) session: Value,
    #[serde(deserialize_with = "bounded")]
    pub(super) error: Value,
}

/// Reads one message.
pub(super) fn parse(message: &str) -> serde_json::Result<Event<'_>> {
    let mut event: Event<'_> = serde_json::from_str(message)?;
    for name in [&mut event.response_id, &mut event.item_id, &mut event.call_id, &mut event.name] {
        if name.len() > MAX_NAME_BYTES {
            *name = Text::default();
        }
    }
    Ok(event)
}

/// A value that is read into memory only if it is of a size that a real one may have: as a tree it takes many times that.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if raw.len() > MAX_VALUE_BYTES {
        return Err(D::Error::custom("a value of endless size"));
    }
    serde_json::from_str(raw).map_err(D::Error::custom)
}

/// The text called `key` in `object`, or an empty one.
pub(super) fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The name or id called `key` in `object`; empty if there is none or it is too long to be remembered.
pub(super) fn id<'v>(object: &'v Value, key: &str) -> &'v str {
    Some(text(object, key)).filter(|id| id.len() <= MAX_NAME_BYTES).unwrap_or_default()
}

/// True for events that are known and say nothing a phone call needs.
pub(super) fn is_uninteresting(kind: &str) -> bool {
    UNINTERESTING.iter().any(|known| match known.strip_suffix('*') {
        Some(family) => kind.starts_with(family),
        None => kind == *known,
    })
}

/// A trailing `*` stands for any rest. The families keep what OpenAI adds to them from being reported as unknown.
const UNINTERESTING: &[&str] = &[
    "session.created",
    "conversation.created",
    "conversation.item.*",
    "input_audio_buffer.*",
    "output_audio_buffer.*",
    "rate_limits.updated",
    "response.content_part.*",
    "response.function_call_arguments.delta",
    "response.mcp_call*",
    "mcp_list_tools.*",
];

/// The largest values of real events are sessions and items, which echo instructions and tools. [bytes]
const MAX_VALUE_BYTES: usize = 1 << 20;

/// Ids of the server are about 30 bytes and names of tools at most 64; we keep some of both. [bytes]
const MAX_NAME_BYTES: usize = 256;

/// A text, borrowed from the message unless it has escapes in it. Anything but a text reads as an empty one.
///
/// `Option<Cow<str>>` will not do: serde borrows into a `Cow` only if it is the whole field.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_escapes_is_borrowed_and_one_with_escapes_is_not() {
        let event = parse(r#"{"delta":"AAAA","text":"a\/b"}"#).unwrap();
        assert!(matches!(event.delta.0, Cow::Borrowed("AAAA")));
        assert!(matches!(&event.text.0, Cow::Owned(text) if text == "a/b"));
    }

    #[test]
    fn a_field_of_the_wrong_type_reads_as_absent() {
        for wrong in ["null", "true", "-1", "2", "3.5", "[[1],{}]", r#"{"a":["b"]}"#] {
            let message = format!(r#"{{"delta":{wrong},"type":"t","error":{wrong}}}"#);
            let event = parse(&message).unwrap();
            assert_eq!((&*event.kind, &*event.delta), ("t", ""), "{wrong}");
            assert_eq!(text(&event.error, "code"), "", "{wrong}");
        }
    }

    #[test]
    fn an_id_too_long_to_remember_reads_as_absent() {
        let long = "i".repeat(MAX_NAME_BYTES + 1);
        let message = format!(r#"{{"item_id":"{long}","response":{{"id":"{long}"}}}}"#);
        let event = parse(&message).unwrap();
        assert_eq!((&*event.item_id, id(&event.response, "id")), ("", ""));
    }
}
