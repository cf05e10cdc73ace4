//! The strongest out-of-process rival: AudioSocket on one side, a realtime AI on the other, made of this project's own
//! parts. One thread; G.711 to the AI, so nothing is resampled.
//!
//! ```text
//!  Asterisk ─ AudioSocket (slin, 8 kHz) ─► A-law ─► dialect ─► WebSocket ─► AI
//!  Asterisk ◄─ 20 ms pacer ◄─ slin ◄─ A-law ◄───── dialect ◄─ WebSocket ◄─ AI
//! ```

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use ai_dialect::{AudioChoice, Dialect, Message, Output, Payload, Session, TurnDetection};
use ai_media::Format;
use ai_media::transcode::Transcoder;
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message as WsMessage, protocol::WebSocketConfig};

/// AudioSocket's message kinds: <https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/>, 2026-11.
const HANGUP: u8 = 0x00;
const SLIN8: u8 = 0x10;
/// Bytes before each AudioSocket message's body: kind, length.
const HEADER: usize = 3;
const SLIN: Format = Format::slin(8000);
const PTIME: Duration = Duration::from_millis(20);
/// A pacer that is later than this starts a new grid.
const LATE_MAX: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, url] = &arguments[..] else { bail!("usage: rust-bridge ADDRESS:PORT WS-URL") };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let url = url.clone();
        tokio::spawn(async move {
            if let Err(error) = bridge(stream, url).await {
                eprintln!("{error:#}");
            }
        });
    }
}

/// One call.
struct Call {
    dialect: Box<dyn Dialect>,
    ai: WebSocketStream<TcpStream>,
    caller: Transcoder,
    agent: Transcoder,
    /// Agent audio waiting for its time, slin.
    queue: VecDeque<u8>,
    due: Instant,
    ready: bool,
    converted: Vec<u8>,
}

async fn bridge(asterisk: TcpStream, url: String) -> Result<()> {
    asterisk.set_nodelay(true)?;
    let (mut from_asterisk, mut to_asterisk) = asterisk.into_split();
    let mut call = Call::open(url).await?;
    let mut received = Received::default();
    let mut frame = Vec::with_capacity(HEADER + 320);
    loop {
        let audible = !call.queue.is_empty();
        if audible && call.due <= Instant::now() {
            // A timer rounds up to its next millisecond.
            call.play(&mut to_asterisk, &mut frame).await?;
            continue;
        }
        tokio::select! {
            more = received.fill(&mut from_asterisk) => {
                if !more? || !call.handle_asterisk(&mut received).await? {
                    let _ = call.ai.close(None).await;
                    return Ok(());
                }
            }
            message = call.ai.next() => match message {
                Some(message) => call.handle_ai(&message?).await?,
                None => return Ok(()),
            },
            () = sleep_until(call.due), if audible => call.play(&mut to_asterisk, &mut frame).await?,
        }
    }
}

impl Call {
    async fn open(url: String) -> Result<Self> {
        let dialect = ai_dialect::provider("openai").context("no dialect")?.create(session(url), Format::ALAW);
        let handshake = dialect.handshake();
        let address = handshake.url.split('/').nth(2).context("the URL has no host")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().write_buffer_size(0);
        let (ai, _) = tokio_tungstenite::client_async_with_config(handshake.url.as_str(), stream, Some(config)).await?;
        let mut call = Self {
            caller: Transcoder::new(SLIN, dialect.caller_format())?,
            agent: Transcoder::new(dialect.agent_format(), SLIN)?,
            dialect,
            ai,
            queue: VecDeque::new(),
            due: Instant::now(),
            ready: false,
            converted: Vec::new(),
        };
        call.dialect.handle_open(Instant::now().into());
        call.act().await?;
        Ok(call)
    }

    /// False when Asterisk has hung up.
    async fn handle_asterisk(&mut self, received: &mut Received) -> Result<bool> {
        while let Some((kind, body)) = received.message() {
            match kind {
                SLIN8 if self.ready => {
                    self.converted.clear();
                    self.caller.push(body, &mut self.converted);
                    self.dialect.handle_caller_audio(&self.converted);
                }
                HANGUP => return Ok(false),
                _ => {}
            }
        }
        self.act().await?;
        Ok(true)
    }

    async fn handle_ai(&mut self, message: &WsMessage) -> Result<()> {
        if let WsMessage::Text(text) = message {
            self.dialect.handle_message(Message::Text(text));
        }
        self.act().await
    }

    async fn act(&mut self) -> Result<()> {
        while let Some(output) = self.dialect.poll_output() {
            match output {
                Output::Send(text) | Output::SendAudio { message: Payload::Text(text), .. } => {
                    self.ai.send(WsMessage::text(text)).await?;
                }
                Output::Ready => self.ready = true,
                Output::AgentAudio { audio, .. } => self.queue_audio(&audio),
                Output::CallerSpeechStarted => self.queue.clear(),
                _ => {}
            }
        }
        Ok(())
    }

    fn queue_audio(&mut self, audio: &[u8]) {
        let now = Instant::now();
        if now > self.due + LATE_MAX {
            self.due = now;
        }
        self.converted.clear();
        self.agent.push(audio, &mut self.converted);
        self.queue.extend(&self.converted);
    }

    /// Sends what is due: one frame, or what there is of one.
    async fn play(&mut self, to_asterisk: &mut OwnedWriteHalf, frame: &mut Vec<u8>) -> Result<()> {
        let bytes = self.queue.len().min(SLIN.bytes_in_ms(PTIME.as_millis() as u64));
        frame.clear();
        frame.push(SLIN8);
        frame.extend_from_slice(&(bytes as u16).to_be_bytes());
        frame.extend(self.queue.drain(..bytes));
        self.due += PTIME;
        to_asterisk.write_all(frame).await?;
        Ok(())
    }
}

/// What has come from Asterisk and was not looked at yet.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    taken: usize,
}

impl Received {
    /// Reads what there is. False at the end.
    async fn fill(&mut self, from_asterisk: &mut OwnedReadHalf) -> Result<bool> {
        self.bytes.drain(..std::mem::take(&mut self.taken));
        self.bytes.reserve(4096);
        Ok(from_asterisk.read_buf(&mut self.bytes).await? > 0)
    }

    fn message(&mut self) -> Option<(u8, &[u8])> {
        let rest = &self.bytes[self.taken..];
        let &[kind, high, low, ..] = rest else { return None };
        let end = HEADER + usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(HEADER..end)?;
        self.taken += end;
        Some((kind, body))
    }
}

fn session(url: String) -> Session {
    Session {
        url,
        model: "bench".to_owned(),
        audio: AudioChoice::Alaw,
        turn_detection: TurnDetection::None,
        ..Session::default()
    }
}
