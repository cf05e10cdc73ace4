//! A chat service that answers as it is told to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How a request is answered.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) after: Duration,
    pub(crate) status: &'static str,
    pub(crate) headers: &'static str,
    pub(crate) body: String,
}

/// A hint called `title`.
pub(crate) fn hint(title: &str) -> Reply {
    let content = json!({"type": "objection", "title": title, "content": "Say so.", "priority": "high"}).to_string();
    let body = json!({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).to_string();
    Reply { after: Duration::from_millis(50), status: "200 OK", headers: "", body }
}

/// The same piece by piece.
pub(crate) fn streamed(title: &str) -> Reply {
    let content = json!({"type": "answer", "title": title, "content": "Say so.", "priority": "low"}).to_string();
    let (one, two) = content.split_at(20);
    let piece = |delta: Value, end: Value| {
        format!("data: {}\n\n", json!({"choices": [{"delta": delta, "finish_reason": end}]}))
    };
    let body = [
        ": working\n\n".to_owned(),
        piece(json!({"content": one}), Value::Null),
        piece(json!({"content": two}), Value::Null),
        piece(json!({}), json!("stop")),
        "data: [DONE]\n\n".to_owned(),
    ];
    Reply { body: body.concat(), headers: "Content-Type: text/event-stream\r\n", ..hint("") }
}

/// The server.
#[derive(Default)]
pub(crate) struct Adviser {
    /// What it was asked.
    pub(crate) requests: Mutex<Vec<Value>>,
    /// Connections that were closed before the answer.
    pub(crate) cancelled: AtomicU32,
    /// The answers to come; the last is for all that follow.
    pub(crate) replies: Mutex<VecDeque<Reply>>,
}

impl Adviser {
    /// Serves at the address it answers with.
    pub(crate) fn start(runtime: &tokio::runtime::Handle) -> (Arc<Self>, String) {
        let adviser = Arc::<Self>::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("it can be");
        let url = format!("http://{}/v1/chat/completions", listener.local_addr().expect("it is bound"));
        let serving = adviser.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("tokio takes it");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (adviser, url)
    }

    pub(crate) fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.replies.lock().expect("no panic") = replies.into_iter().collect();
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests.lock().expect("no panic").clone()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut text = Vec::new();
        let body = loop {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await.unwrap_or(0);
            if count == 0 {
                return;
            }
            text.extend_from_slice(&chunk[..count]);
            let whole = String::from_utf8_lossy(&text).into_owned();
            let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if body.len() >= length.parse().expect("a number") {
                assert!(head.contains("authorization: bearer sk-hint"), "{head}");
                break body.to_owned();
            }
        };
        self.requests.lock().expect("no panic").push(serde_json::from_str(&body).expect("JSON"));
        let reply = {
            let mut replies = self.replies.lock().expect("no panic");
            if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
        };
        let reply = reply.unwrap_or_else(|| hint("Price"));
        let mut nothing = [0; 16];
        tokio::select! {
            () = tokio::time::sleep(reply.after) => {}
            _ = stream.read(&mut nothing) => {
                self.cancelled.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let Reply { status, headers, body, .. } = reply;
        let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
