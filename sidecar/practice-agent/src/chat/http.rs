//! Chat completions on the wire: HTTP/1.1, whole answers and server-sent events.
//!
//! Runs on the connection's task; a streamed answer is written by a task of its own.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Chat, ChatAnswer, Chats, Kind, requirements};
use crate::schema::ApiError;
use crate::session::Request;
use crate::wire::Line;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves one connection until it ends; `note` is told of every request. Only `key` is accepted, if there is one.
pub(crate) async fn serve(
    line: Line,
    chats: Arc<Chats>,
    key: Option<String>,
    note: impl Fn(&Request) + Sync,
) -> hyper::Result<()> {
    let (chats, key, note) = (&chats, key.as_deref(), &note);
    let service = service_fn(move |asked: hyper::Request<Incoming>| async move {
        let request = read_head(&asked);
        note(&request);
        Ok::<_, Infallible>(answer(chats, key, request, asked.into_body()).await)
    });
    http1::Builder::new().serve_connection(TokioIo::new(line), service).await
}

async fn answer(chats: &Chats, key: Option<&str>, request: Request, body: Incoming) -> Response<Body> {
    let openrouter = request.path == OPENROUTER_PATH;
    let complain = |status: u16, error: &ApiError| failure(status, openrouter, error);
    if !openrouter && request.path != OPENAI_PATH {
        return complain(404, &ApiError::new("unknown_url", format!("Unknown request URL: POST {}.", request.path)));
    }
    let shown = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if shown.is_none() || key.is_some_and(|key| Some(key) != shown) {
        return complain(401, &ApiError::new("invalid_api_key", "Incorrect API key provided."));
    }
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
        return complain(
            413,
            &ApiError::new("request_too_large", "The body is too large, or was not sent to its end."),
        );
    };
    let body: Value = match serde_json::from_slice(&body.to_bytes()) {
        Ok(body) => body,
        Err(problem) => {
            return complain(400, &ApiError::new("invalid_json", format!("The body is not JSON: {problem}.")));
        }
    };
    if let Err(error) = requirements::check_body(&body, openrouter) {
        return complain(400, &error);
    }
    let (chat, answer) = chats.take(request, body);
    perform(chat, answer, openrouter).await
}

async fn perform(chat: Chat, answer: ChatAnswer, openrouter: bool) -> Response<Body> {
    let mut watch = Watch { chat: Some(chat.clone()) };
    let streams = chat.asked().streams();
    let (said, end) = match answer.kind {
        Kind::Says(said) => (said, End::Whole),
        Kind::BreaksOff { said, with_error: true } if streams => (said, End::Error),
        Kind::BreaksOff { said, with_error: false } if streams => (said, End::Dropped),
        Kind::Hangs => pending().await,
        Kind::Is(body) => {
            sleep(answer.after).await;
            watch.answered();
            return whole(200, body);
        }
        Kind::Refuses { status, retry_after_s } => {
            sleep(answer.after).await;
            watch.answered();
            let mut response = failure(status, openrouter, &refusal(status));
            if let Some(seconds) = retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            return response;
        }
        Kind::BreaksOff { with_error, .. } => {
            sleep(answer.after).await;
            watch.answered();
            return match with_error {
                true => failure(502, openrouter, &refusal(502)),
                // A body that fails takes the connection with it.
                false => streamed(stream::iter([Err(io::Error::other("dropped"))])),
            };
        }
    };
    if !streams {
        sleep(answer.after).await;
        watch.answered();
        return whole(200, completion(&chat, &said).to_string());
    }
    watch.chat = None;
    let (pieces, body) = mpsc::channel(1);
    let speech = Speech { chat, said, end, openrouter, after: answer.after, between: answer.between_pieces };
    tokio::spawn(speech.write(pieces));
    streamed(stream::unfold(body, async |mut body| body.recv().await.map(|piece| (piece, body))))
}

/// Notes that the client hung up, unless the answer was given before it is dropped.
struct Watch {
    chat: Option<Chat>,
}

impl Watch {
    fn answered(&mut self) {
        if let Some(chat) = self.chat.take() {
            chat.answered(Instant::now());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(chat) = self.chat.take() {
            chat.cancelled(Instant::now());
        }
    }
}

/// How a streamed answer ends.
#[derive(Debug, PartialEq)]
enum End {
    Whole,
    Error,
    Dropped,
}

/// A streamed answer in the making.
struct Speech {
    chat: Chat,
    said: String,
    end: End,
    openrouter: bool,
    after: Duration,
    between: Duration,
}

type Pieces = mpsc::Sender<io::Result<Bytes>>;

impl Speech {
    async fn write(self, pieces: Pieces) {
        let mut watch = Watch { chat: Some(self.chat.clone()) };
        // A client that hangs up while there is nothing to be sent is noticed as well.
        let written = tokio::select! {
            written = self.say(&pieces) => written,
            () = pieces.closed() => None,
        };
        if written.is_some() {
            watch.answered();
        }
    }

    /// `None`: the client has gone.
    async fn say(&self, pieces: &Pieces) -> Option<()> {
        let send = async |text: String| pieces.send(Ok(Bytes::from(text))).await.ok();
        if self.openrouter {
            send(": OPENROUTER PROCESSING\n\n".to_owned()).await?;
        }
        sleep(self.after).await;
        send(self.chunk(&json!({"role": "assistant", "content": ""}), Value::Null)).await?;
        for piece in in_pieces(&self.said) {
            sleep(self.between).await;
            send(self.chunk(&json!({"content": piece}), Value::Null)).await?;
        }
        match self.end {
            End::Dropped => return pieces.send(Err(io::Error::other("dropped"))).await.ok(),
            End::Error => {
                let mut last = self.head(&json!([{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]));
                last["error"] = json!({"code": 502, "message": "Provider disconnected unexpectedly",
                    "metadata": {"error_type": "provider_unavailable"}});
                return send(format!("data: {last}\n\n")).await;
            }
            End::Whole => send(self.chunk(&json!({}), json!("stop"))).await?,
        }
        if self.openrouter || self.chat.asked().body["stream_options"]["include_usage"] == true {
            let mut last = self.head(&json!([]));
            last["usage"] = usage(&self.chat, &self.said);
            send(format!("data: {last}\n\n")).await?;
        }
        send("data: [DONE]\n\n".to_owned()).await
    }

    fn chunk(&self, delta: &Value, finish: Value) -> String {
        format!("data: {}\n\n", self.head(&json!([{"index": 0, "delta": delta, "finish_reason": finish}])))
    }

    fn head(&self, choices: &Value) -> Value {
        let asked = self.chat.asked();
        json!({"id": id(&self.chat), "object": "chat.completion.chunk", "created": CREATED, "model": asked.body["model"],
            "choices": choices})
    }
}

fn completion(chat: &Chat, said: &str) -> Value {
    json!({"id": id(chat), "object": "chat.completion", "created": CREATED, "model": chat.asked().body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said, "refusal": null},
            "logprobs": null, "finish_reason": "stop"}],
        "usage": usage(chat, said)})
}

/// About four letters are a token.
fn usage(chat: &Chat, said: &str) -> Value {
    let (prompt, completion) = (chat.asked().body["messages"].to_string().len() / 4, said.len() / 4);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn id(chat: &Chat) -> String {
    format!("gen-practice-{}", chat.asked().number)
}

fn in_pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.char_indices().nth(PIECE_CHARS).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(at);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn refusal(status: u16) -> ApiError {
    let (code, message) = match status {
        401 => ("invalid_api_key", "Incorrect API key provided."),
        402 => ("insufficient_quota", "Insufficient credits."),
        429 => ("rate_limit_exceeded", "Rate limit reached."),
        400..500 => ("invalid_request", "Refused."),
        _ => ("server_error", "The server had an error while processing your request."),
    };
    ApiError::new(code, message)
}

/// An error in the words of OpenRouter, or of OpenAI.
fn failure(status: u16, openrouter: bool, error: &ApiError) -> Response<Body> {
    let body = match openrouter {
        true => json!({"error": {"code": status, "message": error.message, "metadata": {}}}),
        false => json!({"error": {"message": error.message, "type": "invalid_request_error", "param": error.param,
            "code": error.code}}),
    };
    whole(status, body.to_string())
}

fn whole(status: u16, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body).map_err(|never: Infallible| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

fn streamed(pieces: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response<Body> {
    let frames = futures_util::StreamExt::map(pieces, |piece| piece.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/event-stream"));
    response
}

fn read_head(asked: &hyper::Request<Incoming>) -> Request {
    let headers = asked.headers().iter();
    Request {
        path: asked.uri().path().to_owned(),
        query: asked.uri().query().unwrap_or_default().to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect(),
    }
}

/// Where OpenRouter takes requests.
pub(crate) const OPENROUTER_PATH: &str = "/api/v1/chat/completions";
/// Where OpenAI and most compatible servers do.
pub(crate) const OPENAI_PATH: &str = "/v1/chat/completions";

/// Of a request. [bytes]
const LARGEST_BODY: usize = 4 << 20;

/// A model says a few letters at a time.
const PIECE_CHARS: usize = 6;

/// The same in every answer, so that answers can be compared. [s since 1970]
const CREATED: u64 = 1_790_000_000;
