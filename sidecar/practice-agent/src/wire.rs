//! The connection: TCP or TLS, a WebSocket on it, and the ways in which it can be made to misbehave.
//!
//! Runs on the connection's task. Writing never waits for reading nor the other way round, so a client that does
//! not read can still be heard.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_openssl::SslStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A WebSocket with an unbounded queue of outgoing messages.
pub(crate) struct Wire {
    socket: WebSocketStream<Line>,
    pub(crate) queue: VecDeque<Message>,
    unflushed: bool,
    stalled: bool,
}

/// The byte stream under the WebSocket.
pub(crate) struct Line {
    stream: Stream,
    /// Read already, to be read again.
    replay: Vec<u8>,
    ration: Option<Ration>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

/// A limit on reading: a few bytes at a time.
struct Ration {
    bytes: usize,
    every: Duration,
    next: Pin<Box<Sleep>>,
}

impl Wire {
    pub(crate) fn new(socket: WebSocketStream<Line>) -> Self {
        Self { socket, queue: VecDeque::new(), unflushed: false, stalled: false }
    }

    /// The next message from the client, while the queue is written; `None` at the end of the connection. May be
    /// dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Neither reads nor writes from here on.
    pub(crate) fn stall(&mut self) {
        self.stalled = true;
    }

    /// Reads at most this many bytes a second from here on.
    pub(crate) fn read_slowly(&mut self, bytes_per_s: u32) {
        let bytes_per_s = bytes_per_s.max(1);
        let bytes = (bytes_per_s / 10).clamp(1, RATION_MAX as u32);
        let every = Duration::from_secs(1) * bytes / bytes_per_s;
        let next = Box::pin(tokio::time::sleep(every));
        self.socket.get_mut().ration = Some(Ration { bytes: bytes as usize, every, next });
    }

    /// Drops the connection with a TCP reset.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.socket.get_ref().tcp().set_zero_linger()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if self.stalled {
            return Poll::Pending;
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        self.socket.poll_next_unpin(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.queue.is_empty() {
            ready!(self.socket.poll_ready_unpin(cx))?;
            if let Some(message) = self.queue.pop_front() {
                self.socket.start_send_unpin(message)?;
                self.unflushed = true;
            }
        }
        if self.unflushed {
            ready!(self.socket.poll_flush_unpin(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Line {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), replay: Vec::new(), ration: None }
    }

    pub(crate) fn tls(stream: SslStream<TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), replay: Vec::new(), ration: None }
    }

    /// Whether what comes begins with `head`; it will still be read.
    pub(crate) async fn begins_with(&mut self, head: &[u8]) -> io::Result<bool> {
        while self.replay.len() < head.len() && head.starts_with(&self.replay) {
            if self.stream.read_buf(&mut self.replay).await? == 0 {
                break;
            }
        }
        Ok(self.replay.starts_with(head))
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref(),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self;
        if !line.replay.is_empty() {
            let few = line.replay.len().min(buf.remaining());
            buf.put_slice(&line.replay[..few]);
            line.replay.drain(..few);
            return Poll::Ready(Ok(()));
        }
        let Some(ration) = &mut line.ration else {
            return Pin::new(&mut line.stream).poll_read(cx, buf);
        };
        ready!(ration.next.as_mut().poll(cx));
        let mut few = [0; RATION_MAX];
        let mut few = ReadBuf::new(&mut few[..ration.bytes.min(buf.remaining())]);
        ready!(Pin::new(&mut line.stream).poll_read(cx, &mut few))?;
        ration.next.as_mut().reset(tokio::time::Instant::now() + ration.every);
        buf.put_slice(few.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Largest ration, in bytes. Above 10 kB/s the rations only come more often.
const RATION_MAX: usize = 1024;
