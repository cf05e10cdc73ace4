//! What an error of the server means for the call, and how to tell a person.

use serde_json::Value;

use crate::{FaultKind, json};

/// Errors that mean more than that one request failed: code (or type), meaning, and words that stand in for the
/// server's.
///
/// The server's own words about a key quote a part of it, so none are passed on here.
const VERDICTS: &[(&str, FaultKind, &str)] = &[
    ("invalid_api_key", FaultKind::Authentication, "the API key is not accepted"),
    ("account_deactivated", FaultKind::Authentication, "the account is deactivated"),
    ("insufficient_quota", FaultKind::Authentication, "the account's quota is used up"),
    ("credit_balance_exhausted", FaultKind::Authentication, "the account's credit is used up"),
    ("billing_hard_limit_reached", FaultKind::Authentication, "the account's billing limit is reached"),
    ("session_expired", FaultKind::Expired, "the session reached the server's time limit"),
    (
        "beta_api_shape_disabled",
        FaultKind::Fatal,
        "the server no longer speaks the beta interface: set api_version = ga",
    ),
];

/// What `error` means, as far as its code tells.
pub(super) fn kind(error: &Value) -> FaultKind {
    verdict(error).map_or(FaultKind::Transient, |(_, kind, _)| *kind)
}

/// True if the server refused to make an answer because it is making one.
pub(super) fn is_busy(error: &Value) -> bool {
    json::text(error, "code") == "conversation_already_has_active_response"
}

/// True if `error` only says that the server was faster than we knew: what we cancelled was done already, or what we
/// cut was as short already (OpenAI gives the latter no code of its own).
pub(super) fn is_harmless(error: &Value) -> bool {
    json::text(error, "code") == "response_cancel_not_active"
        || json::text(error, "message").contains("already shorter than")
}

/// `error` in a sentence, after `context` unless that is empty.
pub(super) fn message(context: &str, error: &Value) -> String {
    let text = match verdict(error) {
        Some((_, _, words)) => (*words).to_owned(),
        None => match ["message", "code", "type"].map(|key| json::text(error, key)) {
            ["", "", ""] => "no reason given".to_owned(),
            ["", "", name] | ["", name, _] | [name, "", _] => name.to_owned(),
            [message, code, _] => format!("{message} ({code})"),
        },
    };
    let separator = if context.is_empty() { "" } else { ": " };
    format!("{context}{separator}{text}")
}

fn verdict(error: &Value) -> Option<&'static (&'static str, FaultKind, &'static str)> {
    let names = ["code", "type"].map(|key| json::text(error, key));
    VERDICTS.iter().find(|(name, ..)| names.contains(name))
}
