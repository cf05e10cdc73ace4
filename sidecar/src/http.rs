//! HTTP requests: what some providers want before their WebSocket, web services that are tools, and webhooks. One
//! connection each.

use std::time::Duration;

use ai_dialect::{HttpRequest, Secret};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Uri, client};

use crate::Outcome;
use crate::connector::{Connection, Connector};
use crate::transport::{describe, unreachable_host};

/// Largest answer that is taken, unless the asker says otherwise. [bytes]
const BODY_MAX: usize = 64 << 10;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Content.
    pub(crate) body: Bytes,
    /// It asks not to be asked again before (RFC 9110 §10.2.3; a date there is not understood).
    pub(crate) retry_after: Option<Duration>,
}

/// Why there is no answer, in words for the log: nothing of the request that may be secret.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server was not reached: it cannot have done anything.
    Unreachable(String),
    /// It was, and perhaps it has.
    Broken(String),
}

/// A request, and the headers that go with it.
struct Outgoing<'a> {
    method: Method,
    url: &'a str,
    headers: &'a [(String, Secret)],
    body: Bytes,
    /// Largest answer that is taken. [bytes]
    answer_max: usize,
}

/// Makes `request` and gives the answer's status and body. Time limits are the caller's.
///
/// # Errors
/// An [`Outcome`] for the dialplan, without anything of the request that may be secret.
pub(crate) async fn fetch(request: &HttpRequest, connector: &Connector) -> Result<(u16, Bytes), Outcome> {
    let (url, headers) = (&request.url, &request.headers);
    let outgoing = Outgoing { method: Method::GET, url, headers, body: Bytes::new(), answer_max: BODY_MAX };
    match send(outgoing, connector).await {
        Ok(answer) => Ok((answer.status, answer.body)),
        Err(Failure::Unreachable(reason) | Failure::Broken(reason)) => Err(unreachable_host(&reason)),
    }
}

/// Sends `json` to `url`. Time limits are the caller's.
///
/// # Errors
/// Why there is no answer.
pub(crate) async fn post(
    url: &str,
    headers: &[(String, Secret)],
    json: String,
    connector: &Connector,
) -> Result<Answer, Failure> {
    post_for(url, headers, json, connector, BODY_MAX).await
}

/// As [`post`], with an answer of at most `answer_max` bytes.
///
/// # Errors
/// Why there is no answer.
pub(crate) async fn post_for(
    url: &str,
    headers: &[(String, Secret)],
    json: String,
    connector: &Connector,
    answer_max: usize,
) -> Result<Answer, Failure> {
    send(Outgoing { method: Method::POST, url, headers, body: json.into(), answer_max }, connector).await
}

async fn send(outgoing: Outgoing<'_>, connector: &Connector) -> Result<Answer, Failure> {
    let invalid = |_| Failure::Broken("the HTTP address is not valid".to_owned());
    let uri: Uri = outgoing.url.parse().map_err(invalid)?;
    let answer_max = outgoing.answer_max;
    let request = request(outgoing, &uri)?;
    let stream = connector.connect(&uri).await.map_err(|outcome| Failure::Unreachable(outcome.reason))?;
    exchange(request, stream, answer_max).await
}

fn request(outgoing: Outgoing<'_>, uri: &Uri) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::builder()
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or_default()))
        .header(USER_AGENT, concat!("res_ai_bridge/", env!("CARGO_PKG_VERSION")));
    if outgoing.method == Method::POST {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in outgoing.headers {
        request = request.header(name, value.reveal());
    }
    request
        .method(outgoing.method)
        .body(Full::new(outgoing.body))
        .map_err(|_| Failure::Broken("a header has characters no header may have".to_owned()))
}

async fn exchange(request: Request<Full<Bytes>>, stream: Connection, answer_max: usize) -> Result<Answer, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::Broken(describe(error));
    let (mut sender, connection) = client::conn::http1::handshake(stream).await.map_err(|error| failed(&error))?;
    let answering = async move {
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(answer.into_body(), answer_max).collect().await;
        let body = body.map_err(|error| failed(&*error))?.to_bytes();
        Ok(Answer { status, body, retry_after: seconds.map(Duration::from_secs) })
    };
    tokio::pin!(connection, answering);
    tokio::select! {
        biased;
        answer = &mut answering => {
            // Without another request to come the connection ends itself, in form: its TLS session can be resumed.
            if answer.is_ok() {
                let _ = connection.await;
            }
            answer
        }
        // The connection ends when the request was answered, too: what came is then waiting.
        ended = &mut connection => match ended {
            Ok(()) => answering.await,
            Err(error) => Err(failed(&error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use ai_dialect::Secret;

    use super::*;
    use crate::Status;

    /// A server that answers one request with `answer`, and the outcome of asking it.
    fn ask(answer: &'static str) -> (Result<(u16, Bytes), Outcome>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}/v1/sign?a=b", listener.local_addr().expect("bound"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody connects");
            let mut asked = Vec::new();
            let mut chunk = [0; 1024];
            while !asked.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut chunk).expect("a request comes");
                asked.extend_from_slice(&chunk[..count]);
            }
            stream.write_all(answer.as_bytes()).expect("it is taken");
            String::from_utf8(asked).expect("text")
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let request = HttpRequest { url, headers: vec![("xi-api-key".into(), Secret::new("hunter2"))] };
        let answer = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(5), fetch(&request, &Connector::default())).await.expect("in time")
        });
        (answer, server.join().expect("served"))
    }

    #[test]
    fn a_request_is_made_with_its_headers_and_the_answer_given() {
        let (answer, asked) = ask("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        assert_eq!(answer, Ok((200, Bytes::from("{}"))));
        assert!(asked.starts_with("GET /v1/sign?a=b HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("xi-api-key: hunter2\r\n") && asked.contains("host: 127.0.0.1:"), "{asked}");
    }

    #[test]
    fn a_refusal_is_an_answer_and_nonsense_is_not() {
        let (answer, _) = ask("HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n");
        assert_eq!(answer, Ok((401, Bytes::from("no!"))));
        let (answer, _) = ask("what?\r\n\r\n");
        let outcome = answer.expect_err("that is not HTTP");
        assert_eq!(outcome.status, Status::ConnFail);
        assert!(!outcome.reason.contains("hunter2"), "{}", outcome.reason);
    }

    #[test]
    fn an_endless_answer_is_refused() {
        let (answer, _) = ask("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}");
        assert_eq!(answer.expect_err("too long").status, Status::ConnFail);
    }
}
