//! A web service for tools to ask.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::X509;

use super::common::certificate::Certificate;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// First line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A whole answer in HTTP, or `None`: silence.
pub(crate) type Answer = Option<String>;

/// A service on loopback; it runs until the test ends.
pub(crate) struct Service {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// An answer with this status and body.
pub(crate) fn answer(status: u16, body: &str) -> Answer {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
}

impl Service {
    /// Answers the request of that number, from 0, with what `respond` makes of it.
    pub(crate) fn start(respond: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(None, respond)
    }

    /// The same over TLS.
    pub(crate) fn secure(
        certificate: &Certificate,
        respond: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("OpenSSL");
        let key = PKey::private_key_from_pem(&certificate.key_pem()).expect("a key");
        let public = X509::from_pem(certificate.pem().as_bytes()).expect("a certificate");
        builder.set_private_key(&key).expect("it is taken");
        builder.set_certificate(&public).expect("it is taken");
        Self::serve(Some(builder.build()), respond)
    }

    fn serve(tls: Option<SslAcceptor>, respond: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("bound"));
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, respond) = (requests.clone(), Arc::new(respond));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, respond, tls) = (seen.clone(), respond.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => converse(stream, &seen, &*respond),
                    Some(tls) => drop(tls.accept(stream).map(|stream| converse(stream, &seen, &*respond))),
                });
            }
        });
        Self { url, requests }
    }

    /// The address of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn converse(
    mut stream: impl Read + Write,
    seen: &Mutex<Vec<Request>>,
    respond: &(dyn Fn(usize, &Request) -> Answer + Send + Sync),
) {
    let Some(request) = read(&mut stream) else { return };
    let number = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(request.clone());
        seen.len() - 1
    };
    match respond(number, &request) {
        Some(answer) => drop(stream.write_all(answer.as_bytes())),
        // Until the other side gives up.
        None => drop(stream.read(&mut [0; 16])),
    }
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut text = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).ok().filter(|&count| count > 0)?;
        text.extend_from_slice(&chunk[..count]);
        let whole = String::from_utf8_lossy(&text);
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(Request { at: Instant::now(), head: head.to_owned(), body: body.to_owned() });
            }
        }
    }
}

/// Times between the requests.
pub(crate) fn pauses(requests: &[Request]) -> Vec<Duration> {
    requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

/// A port on which nobody listens.
pub(crate) fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("bound").port()
}
