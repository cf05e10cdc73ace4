//! Tools that ask a web service.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::Place;
use crate::http::{self, Answer, Failure};
use crate::settings::{Tool, Webhook};

/// Wait before the second attempt; it doubles with every further one.
const BACKOFF: Duration = Duration::from_millis(200);
/// Longest text of a service's own error that is passed on. [characters]
const ERROR_MAX: usize = 500;

/// Asks `webhook` and answers with what it says. Whoever waits sets the time limit.
///
/// # Errors
/// What went wrong, for the agent. The log has more, and neither has anything secret.
pub(super) async fn ask(webhook: &Webhook, tool: &Tool, arguments: Value, place: &Place) -> Result<Value, String> {
    let (exchange, session) = (place.exchange, place.session.info.id.clone());
    let caller = spawn_blocking(move || exchange.caller(&session)).await.ok().flatten().unwrap_or_default();
    let body = json!({
        "tool": tool.name,
        "arguments": arguments,
        "id": place.call_id,
        "session": place.session.info.id,
        "channel": place.session.info.origin.channel,
        "caller": {"number": caller.number, "name": caller.name},
    });
    let body = body.to_string();
    let mut backoff = BACKOFF;
    let mut attempt = 0;
    loop {
        let answer = http::post(webhook.url.reveal(), &webhook.headers, body.clone(), &webhook.connector).await;
        let wait = match &answer {
            Err(Failure::Unreachable(_)) => Some(backoff),
            Ok(answer) if answer.status == 429 || answer.status >= 500 => Some(answer.retry_after.unwrap_or(backoff)),
            _ => None,
        };
        match wait.filter(|_| attempt < webhook.retries) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return read(answer, &place.session.info.id, &tool.name),
        }
        attempt += 1;
        backoff *= 2;
    }
}

fn read(answer: Result<Answer, Failure>, session: &str, tool: &str) -> Result<Value, String> {
    let failed = |cause: &str, told: &str| {
        warn!("AI {session}: tool {tool}: {cause}");
        Err(told.to_owned())
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::Unreachable(cause)) => return failed(&cause, "the web service cannot be reached"),
        Err(Failure::Broken(cause)) => return failed(&cause, "the connection to the web service failed"),
    };
    let body = (!answer.body.is_empty()).then(|| serde_json::from_slice::<Value>(&answer.body));
    let status = answer.status;
    match (status, body) {
        (200..=299, None) => Ok(Value::Null),
        (200..=299, Some(Ok(value))) => Ok(value),
        (200..=299, Some(Err(_))) => failed("the answer is not JSON", "the web service's answer is not JSON"),
        (_, body) => {
            let own = body.and_then(Result::ok).and_then(|value| value["error"].as_str().map(str::to_owned));
            let own = own.map(|text| format!(": {}", text.chars().take(ERROR_MAX).collect::<String>()));
            let told = format!("the web service answered {status}{}", own.unwrap_or_default());
            failed(&format!("the web service answered {status}"), &told)
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;

    use super::*;

    #[test]
    fn an_answer_is_json_or_an_error() {
        let answer = |status, body: &'static str| {
            read(Ok(Answer { status, body: Bytes::from(body), retry_after: None }), "s", "t")
        };
        assert_eq!(answer(200, r#"{"state":"sent"}"#), Ok(json!({"state": "sent"})));
        assert_eq!(answer(204, ""), Ok(Value::Null));
        assert_eq!(answer(200, "<html>"), Err("the web service's answer is not JSON".to_owned()));
        assert_eq!(answer(500, "Traceback: hunter2"), Err("the web service answered 500".to_owned()));
        assert_eq!(answer(404, r#"{"error":"no order"}"#), Err("the web service answered 404: no order".to_owned()));
        assert_eq!(answer(302, ""), Err("the web service answered 302".to_owned()));
    }
}
