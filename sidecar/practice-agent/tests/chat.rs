//! The practice server for chat completions, asked in plain HTTP.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use practice_agent::{ChatAnswer, Server};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

fn server() -> Server {
    Server::builder().api_key("sk-1").start().expect("a port is free")
}

fn question(said: &str) -> Value {
    json!({"model": "practice/hints", "messages": [
            {"role": "system", "content": "Help the operator."}, {"role": "user", "content": said}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "hint", "strict": true, "schema": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["objection", "question", "other", "none"]},
                "title": {"type": "string"},
                "content": {"type": "string"},
                "priority": {"type": "string", "enum": ["high", "medium", "low"]}},
            "required": ["type", "title", "content", "priority"], "additionalProperties": false}}}})
}

/// An answer on the wire.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// What the model said, whole or in pieces.
    fn said(&self) -> String {
        if let Ok(whole) = serde_json::from_str::<Value>(&self.body) {
            return whole["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
        }
        self.chunks().iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
    }

    /// The chunks of a streamed answer.
    fn chunks(&self) -> Vec<Value> {
        let data = self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).expect("JSON")).collect()
    }
}

fn send(server: &Server, path: &str, key: &str, body: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(server.address()).expect("the server listens");
    tcp.set_read_timeout(Some(SOON)).expect("a timeout");
    write!(
        tcp,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the server reads");
    tcp
}

fn receive(mut tcp: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    tcp.read_to_end(&mut bytes).expect("the server answers");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: if chunked { dechunked(body) } else { body.to_owned() } }
}

/// RFC 9112 §7.1; what was cut off is left out.
fn dechunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        whole.push_str(&rest[..size.min(rest.len())]);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

fn ask(server: &Server, body: &Value) -> Answer {
    receive(send(server, "/api/v1/chat/completions", "sk-1", &body.to_string()))
}

fn streamed(said: &str) -> Value {
    let mut body = question(said);
    body["stream"] = json!(true);
    body
}

#[test]
fn a_hint_is_about_the_last_line_of_the_caller() {
    let server = server();
    for (dialogue, kind, priority, about) in [
        ("Caller: Алло\nCaller: Сколько стоит перегородка?\nOperator: Минуту", "objection", "high", "Сколько стоит"),
        ("Operator: Hi\nCaller: When can you deliver?", "question", "medium", "When can you"),
        // The schema does not know a warning.
        ("Caller: I want a refund", "other", "high", "refund"),
    ] {
        let answer = ask(&server, &question(dialogue));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let hint: Value = serde_json::from_str(&answer.said()).expect("a hint is JSON");
        assert_eq!((&hint["type"], &hint["priority"]), (&json!(kind), &json!(priority)));
        assert!(hint["content"].as_str().is_some_and(|content| content.contains(about)), "{hint}");
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "stop");
    }
    let chats = server.chats();
    assert_eq!(chats.len(), 3);
    assert!(chats[1].asked().question().ends_with("When can you deliver?") && chats[1].answered_at().is_some());
    assert_eq!(chats[1].asked().request.header("content-type"), Some("application/json"));
}

#[test]
fn a_streamed_answer_is_the_same_in_pieces() {
    let server = server();
    let whole = ask(&server, &question("Caller: Дорого!")).said();
    let answer = ask(&server, &streamed("Caller: Дорого!"));
    assert!(answer.head.contains("text/event-stream"));
    assert!(answer.body.starts_with(": OPENROUTER PROCESSING\n\n") && answer.body.ends_with("data: [DONE]\n\n"));
    assert_eq!(answer.said(), whole);
    let chunks = answer.chunks();
    let last = &chunks[chunks.len() - 1];
    assert!(last["choices"].as_array().is_some_and(Vec::is_empty) && last["usage"]["total_tokens"].is_number());
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    // As OpenAI has it: usage for those who ask.
    let mut body = streamed("Caller: Дорого!");
    let answer = receive(send(&server, "/v1/chat/completions", "sk-1", &body.to_string()));
    assert!(!answer.body.contains("OPENROUTER") && !answer.body.contains("usage"));
    body["stream_options"] = json!({"include_usage": true});
    let answer = receive(send(&server, "/v1/chat/completions", "sk-1", &body.to_string()));
    assert!(answer.body.contains("usage"));
}

#[test]
fn a_request_that_is_not_right_is_refused() {
    let server = server();
    let with = |place: &str, value: Value| {
        let mut body = question("Caller: Hi");
        *body.pointer_mut(place).expect("a place in it") = value;
        body
    };
    let format = "/response_format/json_schema";
    let mut twice = question("Caller: Hi");
    twice["stream_option"] = json!({});
    for (wrong, words) in [
        (with("/model", json!("")), "model"),
        (with("/messages", json!([])), "messages"),
        (with("/messages", json!([{"role": "caller", "content": "Hi"}])), "caller"),
        (with(&format!("{format}/name"), json!("a hint")), "name"),
        (with(&format!("{format}/schema/required"), json!(["type"])), "Missing 'content'"),
        (with(&format!("{format}/schema/additionalProperties"), json!(true)), "additionalProperties"),
        (
            with(&format!("{format}/schema/properties/title"), json!({"type": "object", "properties": {}})),
            "additionalProperties",
        ),
        (twice, "stream_option"),
    ] {
        let answer = ask(&server, &wrong);
        let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert!(answer.status == 400 && message.contains(words), "{} {message}", answer.status);
    }
    assert_eq!(receive(send(&server, "/api/v1/chat/completions", "sk-1", "{")).status, 400);
    let body = question("Caller: Hi").to_string();
    assert_eq!(receive(send(&server, "/api/v1/chat/completions", "sk-2", &body)).status, 401);
    assert_eq!(receive(send(&server, "/v1/completions", "sk-1", &body)).status, 404);
    // Only one of the two can choose between providers.
    let mut routed = question("Caller: Hi");
    routed["provider"] = json!({"require_parameters": true});
    assert_eq!(ask(&server, &routed).status, 200);
    let answer = receive(send(&server, "/v1/chat/completions", "sk-1", &routed.to_string()));
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("provider")));
    assert_eq!(server.chats().len(), 1, "no other was as it must be");
}

#[test]
fn a_test_decides_what_is_answered_and_when() {
    let server = Server::builder().chat(|asked| ChatAnswer::says(asked.question())).start().expect("a port is free");
    assert_eq!(ask(&server, &question("echo")).said(), "echo");
    let wait = Duration::from_millis(300);
    server.set_chat(move |_| ChatAnswer::says("later").after(wait));
    let since = Instant::now();
    assert_eq!(ask(&server, &question("?")).said(), "later");
    assert!(since.elapsed() >= wait);
    server.set_chat(move |_| ChatAnswer::says("x".repeat(30)).slowly(wait / 5));
    let since = Instant::now();
    assert_eq!(ask(&server, &streamed("?")).said(), "x".repeat(30));
    assert!(since.elapsed() >= wait);
    server.set_chat(|_| ChatAnswer::is("<html>"));
    let answer = ask(&server, &question("?"));
    assert_eq!((answer.status, answer.body.as_str()), (200, "<html>"));
    for status in [401, 402, 500, 503] {
        server.set_chat(move |_| ChatAnswer::refuses(status));
        let answer = ask(&server, &question("?"));
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(status)));
    }
    server.set_chat(|_| ChatAnswer::limits(7));
    let answer = ask(&server, &question("?"));
    assert!(answer.status == 429 && answer.head.contains("retry-after: 7"));
}

#[test]
fn an_answer_can_break_off() {
    let server = server();
    server.set_chat(|_| ChatAnswer::fails_after("half of "));
    let answer = ask(&server, &streamed("?"));
    let chunks = answer.chunks();
    let last = &chunks[chunks.len() - 1];
    assert_eq!((answer.status, answer.said().as_str()), (200, "half of "));
    assert_eq!((&last["error"]["code"], &last["choices"][0]["finish_reason"]), (&json!(502), &json!("error")));
    assert!(!answer.body.contains("[DONE]"));
    assert_eq!(ask(&server, &question("?")).status, 502);
    server.set_chat(|_| ChatAnswer::drops_after("half of "));
    let answer = ask(&server, &streamed("?"));
    assert_eq!(answer.said(), "half of ");
    assert!(!answer.body.contains("[DONE]") && !answer.body.contains("error"));
}

#[test]
fn who_hangs_up_is_noticed() {
    let server = server();
    for (number, body) in [question("?"), streamed("?")].into_iter().enumerate() {
        for (nth, answer) in [ChatAnswer::hangs(), ChatAnswer::says("late").after(SOON)].into_iter().enumerate() {
            server.set_chat(move |_| answer.clone());
            let mut tcp = send(&server, "/api/v1/chat/completions", "sk-1", &body.to_string());
            let chat = server.wait_chat(2 * number + nth, SOON).expect("the request");
            tcp.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
            let problem = tcp.read_to_end(&mut Vec::new()).expect_err("no end of it");
            assert!(matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{problem}");
            assert_eq!((chat.answered_at(), chat.cancelled_at()), (None, None));
            drop(tcp);
            chat.wait_cancelled(SOON / 3).expect("it is noticed long before anything was to be sent");
            assert_eq!(chat.answered_at(), None);
        }
    }
    assert!(server.wait_chat(4, Duration::ZERO).is_err());
}

#[test]
fn one_connection_serves_many_requests() {
    let server = server();
    let mut tcp = TcpStream::connect(server.address()).expect("the server listens");
    tcp.set_read_timeout(Some(SOON)).expect("a timeout");
    let body = question("Caller: Hi").to_string();
    for number in 0..3 {
        // The first bytes of a connection decide what it is for; they may come one by one.
        let head = "POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-1\r\n";
        for byte in head.as_bytes().chunks(1) {
            tcp.write_all(byte).expect("the server reads");
        }
        write!(tcp, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("the server reads");
        let chat = server.wait_chat(number, SOON).expect("the request");
        chat.wait_answered(SOON).expect("the answer");
        let mut answer = [0; 4096];
        assert!(tcp.read(&mut answer).expect("an answer") > 0 && answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(server.attempts().len(), 1);
}
