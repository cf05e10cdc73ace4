//! The request that opens the WebSocket.

use crate::transcriber::Listening;
use crate::{ApiVersion, Handshake, Secret, Session, session, url};

/// URL and headers for `session`.
pub(super) fn handshake(session: &Session) -> Handshake {
    let mut headers = with_key(&session.url, &session.headers, &session.api_key);
    if session.api_version == ApiVersion::Beta {
        headers = session::headers_with(&headers, "OpenAI-Beta", "realtime=v1".to_owned());
    }
    Handshake { url: url::with_parameter(&session.url, "model", &session.model), headers }
}

/// URL and headers for a session that only transcribes. Its model belongs into the settings: in the URL it is refused.
pub(super) fn transcription(listening: &Listening) -> Handshake {
    let headers = with_key(&listening.url, &listening.headers, &listening.api_key);
    // OpenAI keeps it with the request, for whoever has to find that again
    // (<https://platform.openai.com/docs/api-reference/debugging-requests>, read 2026-11).
    let headers = session::headers_with(&headers, "X-Client-Request-Id", listening.reference());
    Handshake { url: url::with_parameter(&listening.url, "intent", "transcription"), headers }
}

/// The operator's own header wins: on Azure, too, where it carries an Entra token in place of the key.
fn with_key(url: &str, headers: &[(String, Secret)], key: &Secret) -> Vec<(String, Secret)> {
    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let (name, scheme) = if is_azure(url) { ("api-key", "") } else { ("Authorization", "Bearer ") };
    if key.is_empty() || given("Authorization") {
        return headers.to_vec();
    }
    session::headers_with(headers, name, format!("{scheme}{}", key.reveal()))
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
    fn azure_is_told_by_the_end_of_the_host() {
        assert!(is_azure("wss://me.openai.azure.com/openai/v1/realtime"));
        assert!(is_azure("wss://u:p@ME.OpenAI.Azure.com:443?x"));
        assert!(!is_azure("wss://me.openai.azure.com.evil.example/"));
        assert!(!is_azure("wss://example/?x=.openai.azure.com"));
    }
}
