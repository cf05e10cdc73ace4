//! Addresses and what is added to them.

use std::fmt::Write;

/// `url` with the parameter `name` = `value`, unless it has one of that name already or `value` is empty.
pub(crate) fn with_parameter(url: &str, name: &str, value: &str) -> String {
    // A WebSocket URL has no fragment (RFC 6455 §3).
    let url = url.split('#').next().unwrap_or_default();
    if value.is_empty() || parameter(url, name).is_some() {
        return url.to_owned();
    }
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{url}{separator}{name}={}", percent_encoded(value))
}

/// The parameter `name` of `url`, still percent-encoded.
pub(crate) fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// `text` with everything escaped that is not unreserved (RFC 3986 §2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_joins_whatever_query_there_is() {
        for (url, model, expected) in [
            ("wss://h/v1/realtime", "m-1", "wss://h/v1/realtime?model=m-1"),
            ("wss://h/r?", "m", "wss://h/r?model=m"),
            ("wss://h/r?a=b", "m", "wss://h/r?a=b&model=m"),
            ("wss://h/r?a=b&", "m", "wss://h/r?a=b&model=m"),
            ("wss://h/r?model=x", "m", "wss://h/r?model=x"),
            ("wss://h/r#part", "m", "wss://h/r?model=m"),
            ("wss://h/r", "", "wss://h/r"),
            ("wss://h/r", "a b/ü&", "wss://h/r?model=a%20b%2F%C3%BC%26"),
        ] {
            assert_eq!(with_parameter(url, "model", model), expected);
        }
    }
}
