//! A realtime voice agent that needs no account and no network: the server side of the OpenAI Realtime protocol, for
//! demonstration, tests and benches. It is also a bot for Twilio Media Streams and for the protocol `raw` ([`Api`]).
//!
//! On the same port it writes down what it hears as Soniox does ([`Server::soniox_url`]) and as OpenAI's transcription
//! sessions do, with the words of [`Builder::words`], and answers requests for chat completions ([`Server::chat_url`],
//! [`ChatAnswer`]). Streams of speech are [`Session`]s like any other; [`Server::stream`] finds them by name.
//!
//! It checks clients as strictly as the vendor does, finds turns by loudness, and answers with what it heard. In
//! tests a [`Script`] replaces the conversation, and [`faults`] make the server misbehave:
//!
//! ```text
//!  TCP ─► Door ─► TLS ─┬─► handshake ─► Wire ─┬─► Engine ─► Persona or Script ─► Engine ─► Wire
//!                      │                      └─► soniox ─► Wire      └─► record ─► Session (any thread)
//!                      └─► POST ─► chat ─► Chat (any thread)
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//! use practice_agent::{Script, Server, Speech};
//!
//! let tone = vec![0xD5; 8000];
//! let script = Script::new().greet(Speech::wire("Hello", tone), Duration::from_secs(5));
//! let server = Server::builder().script(script).start()?;
//! // … a client connects to server.url() …
//! let session = server.next_session(Duration::from_secs(5))?;
//! session.wait_caller_audio(Duration::from_secs(1), Duration::from_secs(5))?;
//! assert_eq!(session.request().query_parameter("model"), Some("practice"));
//! session.perform(Script::new().close(1001, "going away"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod audio;
mod call;
mod chat;
mod engine;
pub mod faults;
mod foreign;
mod outbox;
mod persona;
mod schema;
mod script;
mod server;
mod session;
mod settings;
mod shapes;
mod soniox;
mod vad;
mod voice;
mod wire;
mod words;

pub use chat::{Chat, ChatAnswer, ChatRequest};
pub use engine::Api;
pub use script::{Frame, Mode, Pace, Reply, Script, Sound, Speech, Step, ToolCall, Until};
pub use server::{Attempt, Builder, Door, Server};
pub use session::{Append, Closed, Keep, Received, Request, Sent, Session, TimedOut};
