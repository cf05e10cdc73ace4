//! The AI of the bench: the server side of a realtime session, with a notebook. It tells when it heard and said what, and
//! can do three things:
//!
//! ```text
//!  echo                        every message's audio straight back
//!  turns                       silence, a turn of 3 s sent at once, after 500 ms "the caller speaks", silence, …
//!  stream sparse|dense PPM,…   endless audio at its own clock, which for caller n goes wrong by the n-th of PPM
//! ```
//!
//! These are lines on standard input; `report` prints the notes as one line of JSON, the end of input ends the program.
//! Nothing is checked: what a client may send is the practice agent's affair. One thread, in the real-time class.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::BufRead as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ai_media::transcode::Transcoder;
use ai_media::{Format, g711};
use anyhow::{Context, Result, bail};
use bench_common::audio::{self, Burst, Ear, Loop, Number, PACKET_BYTES};
use bench_common::clock;
use bench_common::record::{Record, What};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

const PTIME: Duration = Duration::from_millis(20);
/// A turn: its audio, sent faster than it plays, as providers do.
const TURN_MS: usize = 3000;
const TURN_CHUNK_MS: usize = 200;
/// None of the bursts' frequencies.
const TURN_HZ: f64 = 300.0;
/// From a turn to the interruption, and from there to the next turn.
const UNTIL_INTERRUPT: Duration = Duration::from_millis(500);
const UNTIL_TURN: Duration = Duration::from_millis(1000);
/// More than that, differently for each turn and caller: the packets of a turn are in step with its beginning, and an
/// interruption must not be in step with them.
const STEPS_MS: u32 = 20;
const STEP_MS: u32 = 7;
/// A stream that is later than this starts a new grid: what was not said in time is not said.
const LATE_MAX: Duration = Duration::from_millis(100);
const PCM24: Format = Format::slin(24_000);

#[derive(Clone, PartialEq)]
enum Mode {
    Echo,
    Turns,
    Stream { dense: bool, ppm: Vec<f64> },
}

/// What all sessions share.
struct Shared {
    notes: Mutex<Vec<Record>>,
    sparse: Said,
    dense: Said,
}

/// A loop in both formats.
struct Said {
    audio: Loop,
    pcm24: Vec<u8>,
}

fn main() -> Result<()> {
    let listen = std::env::args().nth(1).context("usage: bench-ai ADDRESS:PORT")?;
    let shared = Arc::new(Shared {
        notes: Mutex::default(),
        sparse: Said::new(Loop::sparse()?)?,
        dense: Said::new(Loop::dense())?,
    });
    let (modes, mode) = watch::channel(Mode::Echo);
    let notes = shared.clone();
    std::thread::spawn(move || {
        if let Err(error) = obey(&modes, &notes) {
            eprintln!("bench-ai: {error:#}");
        }
        std::process::exit(0);
    });
    clock::in_real_time();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(&listen, shared, mode))
}

/// Standard input.
fn obey(modes: &watch::Sender<Mode>, shared: &Shared) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["report"] => {
                let notes = std::mem::take(&mut *shared.notes.lock().unwrap_or_else(PoisonError::into_inner));
                println!("{}", serde_json::to_string(&notes)?);
            }
            ["echo"] => drop(modes.send(Mode::Echo)),
            ["turns"] => drop(modes.send(Mode::Turns)),
            ["stream", pattern @ ("sparse" | "dense"), ppm] => {
                let ppm = ppm.split(',').map(str::parse).collect::<Result<_, _>>()?;
                drop(modes.send(Mode::Stream { dense: pattern == "dense", ppm }));
            }
            _ => bail!("{line:?} is none of: echo, turns, stream sparse|dense PPM,…, report"),
        }
    }
    Ok(())
}

async fn serve(listen: &str, shared: Arc<Shared>, mode: watch::Receiver<Mode>) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (shared, mode) = (shared.clone(), mode.clone());
        tokio::spawn(async move {
            // A client that goes away says so, or not.
            let _ = Session::run(stream, shared, mode).await;
        });
    }
}

struct Session {
    socket: WebSocketStream<TcpStream>,
    shared: Arc<Shared>,
    mode: Mode,
    alaw: bool,
    ear: Ear,
    number: Number,
    line: Option<u16>,
    /// When the next turn, interruption or packet is due.
    due: Option<Instant>,
    /// Of a stream: when it began, packets sent since, and the place in the loop.
    grid: Instant,
    sent: u32,
    place: usize,
    response: u32,
    speaking: bool,
}

/// What the bench reads of a client's message.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    audio: Option<Cow<'a, str>>,
}

impl Session {
    async fn run(stream: TcpStream, shared: Arc<Shared>, mut mode: watch::Receiver<Mode>) -> Result<()> {
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().write_buffer_size(0);
        let socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
        let now = Instant::now();
        let mut session = Self {
            socket,
            shared,
            mode: mode.borrow_and_update().clone(),
            alaw: true,
            ear: Ear::default(),
            number: Number::default(),
            line: None,
            due: None,
            grid: now,
            sent: 0,
            place: 0,
            response: 0,
            speaking: false,
        };
        session.send(r#"{"type":"session.created","session":{"type":"realtime"}}"#.to_owned()).await?;
        loop {
            let due = session.due.unwrap_or(session.grid);
            tokio::select! {
                message = session.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => session.handle(&text).await?,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                    Some(Ok(_)) => {}
                },
                changed = mode.changed() => {
                    changed?;
                    session.mode = mode.borrow_and_update().clone();
                    session.begin();
                }
                () = sleep_until(due), if session.due.is_some() => session.act().await?,
            }
        }
    }

    async fn handle(&mut self, text: &str) -> Result<()> {
        let event: Event<'_> = serde_json::from_str(text)?;
        match (&*event.kind, event.audio) {
            ("input_audio_buffer.append", Some(base64)) => {
                let at_ns = clock::now_ns()?;
                if self.mode == Mode::Echo {
                    self.send(delta("echo", &base64)).await?;
                }
                self.listen(&base64_simd::forgiving_decode_to_vec(base64.as_bytes())?, at_ns);
            }
            ("session.update", _) => {
                let settings: serde_json::Value = serde_json::from_str(text)?;
                let input = &settings["session"]["audio"]["input"]["format"]["type"];
                self.alaw = input == "audio/pcma";
                let updated = serde_json::json!({"type": "session.updated", "session": settings["session"]});
                self.send(updated.to_string()).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn listen(&mut self, audio: &[u8], at_ns: i64) {
        let mut heard: Option<Burst> = None;
        let hear = |burst| heard = Some(burst);
        if self.alaw {
            self.ear.listen(audio.iter().map(|&code| g711::alaw_decode(code)), at_ns, 0, hear);
        } else {
            // Every third sample of 24 kHz: nothing loud in there is above 4 kHz.
            let samples = audio.as_chunks().0.iter().step_by(3).map(|&pair| i16::from_le_bytes(pair));
            self.ear.listen(samples, at_ns, 0, hear);
        }
        let Some(burst) = heard else { return };
        match (self.line, burst.tone) {
            (None, _) => {
                self.line = self.number.listen(burst);
                self.begin();
            }
            (Some(_), Some(tone)) => self.note(burst.at_ns, What::Heard { tone, position: burst.position }),
            (Some(_), None) => {}
        }
    }

    /// Begins what the mode asks for, once it is known for whom.
    fn begin(&mut self) {
        let now = Instant::now();
        self.due = match (&self.mode, self.line) {
            (Mode::Echo, _) | (_, None) => None,
            (Mode::Turns, Some(line)) => {
                self.speaking = false;
                Some(now + UNTIL_TURN + Duration::from_millis(u64::from(line) * 37 % 1500))
            }
            (Mode::Stream { .. }, Some(line)) => {
                self.grid = now + Duration::from_millis(u64::from(line) * 7 % 20);
                (self.sent, self.place) = (0, usize::from(line) * 3);
                Some(self.grid)
            }
        };
    }

    async fn act(&mut self) -> Result<()> {
        match &self.mode {
            Mode::Echo => self.due = None,
            Mode::Turns if self.speaking => {
                self.note(clock::now_ns()?, What::Interrupt);
                self.send(r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":0}"#.to_owned()).await?;
                self.speaking = false;
                self.due = Some(Instant::now() + UNTIL_TURN);
            }
            Mode::Turns => {
                let step_ms = (self.response + u32::from(self.line.unwrap_or(0))) * STEP_MS % STEPS_MS;
                self.due = Some(Instant::now() + UNTIL_INTERRUPT + Duration::from_millis(step_ms.into()));
                self.speaking = true;
                self.speak_turn().await?;
            }
            Mode::Stream { dense, ppm } => {
                let wrong = ppm[usize::from(self.line.unwrap_or(0)) % ppm.len()];
                let dense = *dense;
                self.stream(dense, wrong).await?;
            }
        }
        Ok(())
    }

    async fn speak_turn(&mut self) -> Result<()> {
        self.response += 1;
        let response = format!("turn{}", self.response);
        let created =
            format!(r#"{{"type":"response.created","response":{{"id":"{response}","status":"in_progress"}}}}"#);
        self.send(created).await?;
        let rate_hz = if self.alaw { 8000 } else { 24_000 };
        let samples = audio::tone(TURN_HZ, rate_hz, rate_hz as usize * TURN_MS / 1000);
        let audio: Vec<u8> = match self.alaw {
            true => samples.map(g711::alaw_encode).collect(),
            false => samples.flat_map(i16::to_le_bytes).collect(),
        };
        let pieces = audio.chunks(audio.len() * TURN_CHUNK_MS / TURN_MS);
        let messages: Vec<_> = pieces.map(|piece| delta(&response, &base64(piece))).collect();
        self.note(clock::now_ns()?, What::Turn);
        for message in messages {
            self.send(message).await?;
        }
        Ok(())
    }

    /// Sends the packet that is due, and says when the next will be.
    async fn stream(&mut self, dense: bool, wrong_ppm: f64) -> Result<()> {
        let now = Instant::now();
        if self.due.is_some_and(|due| now > due + LATE_MAX) {
            (self.grid, self.sent) = (now, 0);
        }
        let shared = self.shared.clone();
        let said = if dense { &shared.dense } else { &shared.sparse };
        let place = self.place % said.audio.packets();
        let message = delta("stream", &base64(said.packet(place, self.alaw)));
        if let Some(tone) = said.audio.burst_at(place) {
            self.note(clock::now_ns()?, What::Said(tone));
        }
        self.place += 1;
        self.sent += 1;
        self.due = Some(self.grid + PTIME.mul_f64(f64::from(self.sent) / (1.0 + wrong_ppm / 1e6)));
        self.send(message).await
    }

    fn note(&self, at_ns: i64, what: What) {
        if let Some(line) = self.line {
            let mut notes = self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(Record { line, at_ns, what });
        }
    }

    async fn send(&mut self, text: String) -> Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }
}

impl Said {
    fn new(audio: Loop) -> Result<Self> {
        let mut pcm24 = Vec::new();
        Transcoder::new(Format::ALAW, PCM24)?.push(audio.alaw(), &mut pcm24);
        // The filter holds a little back.
        pcm24.resize(audio.packets() * PCM24.bytes_in_ms(20), 0);
        Ok(Self { audio, pcm24 })
    }

    fn packet(&self, place: usize, alaw: bool) -> &[u8] {
        let (audio, bytes) = if alaw { (self.audio.alaw(), PACKET_BYTES) } else { (&self.pcm24[..], 6 * PACKET_BYTES) };
        &audio[place * bytes..][..bytes]
    }
}

fn base64(audio: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(audio)
}

fn delta(response: &str, base64: &str) -> String {
    format!(
        r#"{{"type":"response.output_audio.delta","response_id":"{response}","item_id":"item_{response}","output_index":0,"content_index":0,"delta":"{base64}"}}"#
    )
}
