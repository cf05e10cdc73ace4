//! What the server complains about.

use super::*;

#[test]
fn a_failed_request_does_not_end_the_call() {
    let outputs = Talk::ready(session()).error(json!({"type": "invalid_request_error", "code": "odd",
        "message": "That was\nodd"}));
    assert_eq!(fault(&outputs), (FaultKind::Transient, "That was odd (odd)"));
}

#[test]
fn an_account_that_is_refused_is_told_apart_by_code_or_type() {
    for name in [
        "invalid_api_key",
        "account_deactivated",
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
    ] {
        for key in ["code", "type"] {
            let error = json!({key: name, "message": "Incorrect API key provided: sk-ver*****ret"});
            let mut talk = Talk::opened(session());
            let outputs = talk.error(error.clone());
            let (kind, message) = fault(&outputs);
            assert_eq!(kind, FaultKind::Authentication, "{name}");
            assert!(!message.contains("sk-"), "{message}");

            let failed = json!({"type": "response.done",
                "response": {"id": "r", "status": "failed", "status_details": {"error": error}}});
            assert_eq!(fault(&talk.hear(failed)).0, FaultKind::Authentication, "{name}");
        }
    }
}

#[test]
fn the_end_of_the_servers_session_is_told_apart() {
    let outputs = Talk::ready(session()).error(json!({"code": "session_expired", "message": "60 minutes"}));
    assert_eq!(fault(&outputs).0, FaultKind::Expired);
}

#[test]
fn a_server_without_beta_says_what_to_configure() {
    let mut talk = Talk::opened(Session { api_version: ApiVersion::Beta, ..session() });
    let outputs = talk.error(json!({"type": "invalid_request_error", "code": "beta_api_shape_disabled",
        "message": "The Realtime Beta API is no longer supported.", "param": null}));
    let (kind, message) = fault(&outputs);
    assert_eq!(kind, FaultKind::Fatal);
    assert!(message.contains("api_version = ga"), "{message}");
}

#[test]
fn refused_settings_end_the_call_and_are_named() {
    for error in [
        json!({"type": "server_error", "event_id": "configure", "param": "session.voice", "message": "No such voice"}),
        json!({"type": "invalid_request_error", "param": "session.voice", "message": "No such voice"}),
    ] {
        let outputs = Talk::opened(session()).error(error.clone());
        let expected = "the server refused the session settings session.voice: No such voice";
        assert_eq!(fault(&outputs), (FaultKind::Fatal, expected));
        assert_eq!(fault(&Talk::ready(session()).error(error)).0, FaultKind::Transient);
    }
}

#[test]
fn races_we_cannot_avoid_are_no_faults() {
    let mut talk = Talk::ready(session());
    for error in [
        json!({"code": "response_cancel_not_active", "message": "Cancellation failed: no active response found"}),
        json!({"type": "invalid_request_error", "message": "Audio content of 3700ms is already shorter than 3760ms"}),
    ] {
        assert_eq!(talk.error(error), []);
    }
}

#[test]
fn a_request_that_failed_does_not_block_the_next() {
    let mut talk = Talk::ready(session());
    assert_eq!(talk.digits("1").len(), 2);
    talk.error(json!({"type": "server_error", "message": "Sorry", "event_id": "respond"}));
    assert_eq!(talk.digits("2").len(), 2);
}

#[test]
fn a_failed_answer_and_a_failed_transcription_are_told() {
    let mut talk = Talk::ready(session());
    let error = json!({"type": "server_error", "code": "rate_limit_exceeded", "message": "Too fast"});
    let failed = talk.hear(json!({"type": "response.done",
        "response": {"id": "r", "status": "failed", "status_details": {"error": error}}}));
    assert_eq!(fault(&failed), (FaultKind::Transient, "the answer failed: Too fast (rate_limit_exceeded)"));
    let bare = talk.hear(json!({"type": "response.done", "response": {"id": "r", "status": "failed"}}));
    assert_eq!(fault(&bare), (FaultKind::Transient, "the answer failed: no reason given"));
    let untranscribed =
        talk.hear(json!({"type": "conversation.item.input_audio_transcription.failed", "error": error}));
    let expected = "the caller could not be transcribed: Too fast (rate_limit_exceeded)";
    assert_eq!(fault(&untranscribed), (FaultKind::Transient, expected));
}

#[test]
fn secrets_the_server_echoes_are_hidden() {
    let headers = vec![("X-Key".to_owned(), Secret::new("Bearer other-secret"))];
    let mut talk = Talk::ready(Session { headers, ..session() });
    let outputs = talk.error(json!({"message": "no sk-very-secret, no other-secret"}));
    assert_eq!(fault(&outputs).1, "no (hidden), no (hidden)");
    let outputs = talk.hear(json!({"type": "sk-very-secret"}));
    assert_eq!(outputs, [Output::Unrecognised("(hidden)".into())]);
}

#[test]
fn messages_are_one_bounded_line() {
    let outputs = Talk::ready(session()).error(json!({"message": "ü\u{1b}[31m\r\n".repeat(10_000)}));
    let (_, message) = fault(&outputs);
    assert_eq!(message.chars().count(), 301);
    assert!(!message.contains(char::is_control));
}
