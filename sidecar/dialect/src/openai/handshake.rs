//! The request that opens the WebSocket.

use crate::{ApiVersion, Handshake, Secret, Session, url};

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
    Handshake { url: url::with_parameter(&session.url, "model", &session.model), headers }
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
