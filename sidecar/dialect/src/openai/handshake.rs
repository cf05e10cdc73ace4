//! The request that opens the WebSocket.

use std::fmt::Write;

use crate::{ApiVersion, Handshake, Secret, Session};

/// URL and headers for `session`.
pub(super) fn handshake(session: &Session) -> Handshake {
    let mut headers = session.headers.clone();
    let given = |name: &str| session.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let (name, scheme) = if is_azure(&session.url) { ("api-key", "") } else { ("Authorization", "Bearer ") };
    // The operator's own header wins: on Azure, too, where it carries an Entra token in place of the key.
    if !session.api_key.is_empty() && !given(name) && !given("Authorization") {
        headers.push((name.to_owned(), Secret::new(format!("{scheme}{}", session.api_key.reveal()))));
    }
    if session.api_version == ApiVersion::Beta && !given("OpenAI-Beta") {
        headers.push(("OpenAI-Beta".to_owned(), Secret::new("realtime=v1")));
    }
    Handshake { url: with_model(&session.url, &session.model), headers }
}

/// `url` with the parameter `model`, unless there is one already or `model` is empty.
fn with_model(url: &str, model: &str) -> String {
    // A WebSocket URL has no fragment (RFC 6455 §3).
    let url = url.split('#').next().unwrap_or_default();
    let (_, query) = url.split_once('?').unwrap_or_default();
    if model.is_empty() || query.split('&').any(|parameter| parameter.starts_with("model=")) {
        return url.to_owned();
    }
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{url}{separator}model={}", percent_encoded(model))
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

/// Azure OpenAI wants the key in a header of its own.
fn is_azure(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let host = host_and_port.split(':').next().unwrap_or_default();
    host.to_ascii_lowercase().ends_with(".openai.azure.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_joins_whatever_query_there_is() {
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
            assert_eq!(with_model(url, model), expected);
        }
    }

    #[test]
    fn azure_is_told_by_the_end_of_the_host() {
        assert!(is_azure("wss://me.openai.azure.com/openai/v1/realtime"));
        assert!(is_azure("wss://u:p@ME.OpenAI.Azure.com:443?x"));
        assert!(!is_azure("wss://me.openai.azure.com.evil.example/"));
        assert!(!is_azure("wss://example/?x=.openai.azure.com"));
    }
}
