//! Reading what a server sends, without trust and without copying the audio.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A value that is read into memory only if it is of a size that a real one may have: as a tree it takes many times that.
pub(crate) fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if raw.len() > MAX_VALUE_BYTES {
        return Err(D::Error::custom("a value of endless size"));
    }
    serde_json::from_str(raw).map_err(D::Error::custom)
}

/// The text called `key` in `object`, or an empty one.
pub(crate) fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The name or id called `key` in `object`; empty if there is none or it is too long to be remembered.
pub(crate) fn id<'v>(object: &'v Value, key: &str) -> &'v str {
    Some(text(object, key)).filter(|id| id.len() <= MAX_NAME_BYTES).unwrap_or_default()
}

/// A text, borrowed from the message unless it has escapes in it. Anything but a text reads as an empty one.
///
/// `Option<Cow<str>>` will not do: serde borrows into a `Cow` only if it is the whole field.
#[derive(Debug, Default)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// Makes it an empty one if it is longer than any real name or id: such a text is kept, so it must not be endless.
    pub(crate) fn keep_if_short(&mut self) {
        if self.len() > MAX_NAME_BYTES {
            *self = Self::default();
        }
    }
}

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

/// The audio in `base64`, padded or not.
///
/// # Errors
/// When it is no base64.
pub(crate) fn audio(base64: &str) -> Result<Vec<u8>, NotBase64> {
    base64_simd::forgiving_decode_to_vec(base64.as_bytes()).map_err(|_| NotBase64)
}

/// A text that should be base64 and is not.
#[derive(Debug)]
pub(crate) struct NotBase64;

/// `head`, `audio` in base64, `tail`. For the messages that are sent up to 50 times a second: base64 needs no escapes, and
/// the message is allocated once.
pub(crate) fn around_audio(head: &str, audio: &[u8], tail: &str) -> String {
    let base64 = base64_simd::STANDARD;
    let mut message = String::with_capacity(head.len() + base64.encoded_length(audio.len()) + tail.len());
    message.push_str(head);
    base64.encode_append(audio, &mut message);
    message.push_str(tail);
    message
}

/// Lays the fields of `over` on top of those of `base`; objects on both sides are merged, anything else is replaced.
pub(crate) fn merge(base: &mut Value, over: &Map<String, Value>) {
    for (key, value) in over {
        match (&mut base[key], value) {
            (below @ Value::Object(_), Value::Object(value)) => merge(below, value),
            (below, value) => *below = value.clone(),
        }
    }
}

/// The largest values of real events are sessions and items, which echo instructions and tools. [bytes]
pub(crate) const MAX_VALUE_BYTES: usize = 1 << 20;

/// Ids of the server are about 30 bytes and names of tools at most 64; we keep some of both. [bytes]
const MAX_NAME_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Event<'a> {
        #[serde(borrow)]
        plain: Text<'a>,
        #[serde(borrow)]
        escaped: Text<'a>,
        #[serde(deserialize_with = "bounded")]
        value: Value,
    }

    #[test]
    fn a_text_without_escapes_is_borrowed_and_one_with_escapes_is_not() {
        let event: Event<'_> = serde_json::from_str(r#"{"plain":"AAAA","escaped":"a\/b"}"#).unwrap();
        assert!(matches!(event.plain.0, Cow::Borrowed("AAAA")));
        assert!(matches!(&event.escaped.0, Cow::Owned(text) if text == "a/b"));
    }

    #[test]
    fn a_field_of_the_wrong_type_reads_as_absent() {
        for wrong in ["null", "true", "-1", "2", "3.5", "[[1],{}]", r#"{"a":["b"]}"#] {
            let message = format!(r#"{{"plain":{wrong},"escaped":"t","value":{wrong}}}"#);
            let event: Event<'_> = serde_json::from_str(&message).unwrap();
            assert_eq!((&*event.escaped, &*event.plain), ("t", ""), "{wrong}");
            assert_eq!(text(&event.value, "code"), "", "{wrong}");
        }
    }

    #[test]
    fn a_name_too_long_to_remember_reads_as_absent() {
        let long = "i".repeat(MAX_NAME_BYTES + 1);
        let message = format!(r#"{{"plain":"{long}","value":{{"id":"{long}"}}}}"#);
        let mut event: Event<'_> = serde_json::from_str(&message).unwrap();
        event.plain.keep_if_short();
        assert_eq!((&*event.plain, id(&event.value, "id")), ("", ""));
    }

    #[test]
    fn settings_laid_over_others_replace_only_what_they_name() {
        let mut base = serde_json::json!({"a": {"b": 1, "c": [1]}, "d": 2});
        let over = serde_json::json!({"a": {"c": [2], "e": {"f": 3}}, "d": {"g": 4}});
        merge(&mut base, over.as_object().unwrap());
        assert_eq!(base, serde_json::json!({"a": {"b": 1, "c": [2], "e": {"f": 3}}, "d": {"g": 4}}));
    }
}
