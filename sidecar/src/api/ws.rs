//! `/ws`: the events as they happen, and those a client missed while it was away.
//!
//! A client that does not read is let go: nobody waits for it, least of all a call.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Desk;
use super::problem::{Problem, Query};
use crate::feed::{Following, Line, News};

/// The subprotocol of the events.
const SUBPROTOCOL: &str = "ai-bridge.events";
/// What a subprotocol begins with that is the token, in base64url without padding: browsers can set no header.
pub(super) const SUBPROTOCOL_TOKEN: &str = "ai-bridge.token.";
/// What an event source of browsers sends, and proxies let through.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(20);
/// A client that has not been heard for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest a client may take to make room for a message.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Longest it may take to say goodbye.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Largest message of a client; none is expected. [bytes]
const MESSAGE_MAX: usize = 4096;

/// What a client wants to be told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Begin after this event.
    after: Option<u64>,
    /// Only of this session.
    session: Option<String>,
    /// Also pieces of what a later event tells as a whole.
    pieces: Option<bool>,
    /// Looked at elsewhere.
    #[serde(rename = "token")]
    _token: Option<String>,
}

impl Wish {
    fn includes(&self, line: &Line) -> bool {
        let session = self.session.as_ref().is_none_or(|session| *session == line.session);
        session && (self.pieces != Some(false) || !line.piece)
    }
}

/// Opens the WebSocket.
pub(super) async fn open(
    State(desk): State<Arc<Desk>>,
    Query(mut wish): Query<Wish>,
    mut request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        let id = id.to_str().ok().and_then(|id| id.parse().ok());
        wish.after = Some(id.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "Last-Event-ID: expected a number"))?);
    }
    let key = handshake(headers)?;
    let protocol = offers(headers, SUBPROTOCOL);
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "this connection cannot become a WebSocket"));
    };
    let place = desk.followers.clone().try_acquire_owned().map_err(|_| {
        let detail = "as many WebSockets are open as there may be";
        Problem::later(StatusCode::SERVICE_UNAVAILABLE, detail, SILENCE_MAX)
    })?;
    tokio::spawn(async move {
        // Fails when the client is gone already.
        if let Ok(stream) = upgrade.await {
            let following = desk.feed.follow(wish.after);
            let (socket, ending) = (websocket(stream).await, desk.ending.clone());
            Follower { socket, wish, ending }.run(following).await;
        }
        drop(place);
    });
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(&key));
    if protocol {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    }
    response.body(Body::empty()).map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no handshake"))
}

/// The key of a WebSocket handshake, RFC 6455 §4.2.1.
fn handshake(headers: &HeaderMap) -> Result<Vec<u8>, Problem> {
    let upgrade = |detail| Problem::new(StatusCode::UPGRADE_REQUIRED, detail);
    if !lists(headers, CONNECTION, "upgrade") || !lists(headers, UPGRADE, "websocket") {
        return Err(upgrade("here is a WebSocket: expected 'Connection: Upgrade' and 'Upgrade: websocket'"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(upgrade("expected 'Sec-WebSocket-Version: 13'"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().to_vec());
    key.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"))
}

fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    lists(headers, SEC_WEBSOCKET_PROTOCOL, protocol)
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn websocket(stream: Upgraded) -> Socket {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await
}

/// One client.
struct Follower {
    socket: Socket,
    wish: Wish,
    ending: watch::Receiver<()>,
}

/// Why a client is let go.
enum Farewell {
    /// It is gone, or said goodbye.
    Gone,
    /// It does not read fast enough.
    TooSlow,
    /// There is nothing more to tell.
    Over,
}

impl Follower {
    async fn run(mut self, following: Following) {
        let frame = match self.follow(following).await {
            Farewell::Gone => None,
            Farewell::TooSlow => Some((CloseCode::Again, "events came faster than they were read")),
            Farewell::Over => Some((CloseCode::Away, "the control API is closed")),
        };
        let frame = frame.map(|(code, reason)| CloseFrame { code, reason: Utf8Bytes::from_static(reason) });
        // A client that does not read does not hear why, either.
        let _ = timeout(CLOSE_MAX, self.socket.close(frame)).await;
    }

    async fn follow(&mut self, following: Following) -> Farewell {
        let Following { gap, past, mut live } = following;
        if gap && self.send(missed(past.first().map(|line| line.id))).await.is_err() {
            return Farewell::Gone;
        }
        for line in past {
            if let Err(farewell) = self.tell(&line).await {
                return farewell;
            }
        }
        let mut ping = interval_at(Instant::now() + PING, PING);
        let mut heard = Instant::now();
        loop {
            let told = tokio::select! {
                // What happened before the end is told before it.
                biased;
                news = live.recv() => match news {
                    Ok(News::Line(line)) => self.tell(&line).await,
                    Ok(News::Gap) => self.send(missed(None)).await,
                    Err(RecvError::Lagged(_)) => Err(Farewell::TooSlow),
                    Err(RecvError::Closed) => Err(Farewell::Over),
                },
                said = self.socket.next() => match said {
                    // Whatever it says: it is there.
                    Some(Ok(message)) if !message.is_close() => {
                        heard = Instant::now();
                        Ok(())
                    }
                    _ => Err(Farewell::Gone),
                },
                _ = self.ending.changed() => Err(Farewell::Over),
                now = ping.tick() => {
                    if now - heard > SILENCE_MAX { Err(Farewell::Gone) } else { self.send(Message::Ping("".into())).await }
                }
            };
            if let Err(farewell) = told {
                return farewell;
            }
        }
    }

    async fn tell(&mut self, line: &Line) -> Result<(), Farewell> {
        if self.wish.includes(line) { self.send(Message::text(line.text.as_str())).await } else { Ok(()) }
    }

    async fn send(&mut self, message: Message) -> Result<(), Farewell> {
        match timeout(SEND_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Farewell::Gone),
            Err(_) => Err(Farewell::TooSlow),
        }
    }
}

/// Says that events are missing before the next.
fn missed(next: Option<u64>) -> Message {
    Message::text(serde_json::json!({"event": "missed", "next": next}).to_string())
}
