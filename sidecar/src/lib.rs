//! The sidecar of res_ai_bridge: everything a call to a voice AI needs that is not Asterisk.
//!
//! ```text
//!  channel thread (Asterisk's)          sidecar thread (tokio)
//!  ChannelEnd ◄── rings, events ──► TaskEnd ─► Call ─► Dialect ─► Transport ─► WebSocket
//! ```
//!
//! [`Sidecar`] owns the threads and the table of sessions. A call begins with [`Sidecar::begin`], which answers with
//! the channel thread's [`ChannelEnd`](link::ChannelEnd); it ends when that is dropped or when an
//! [`Outcome`] comes out of it. No Asterisk type appears here: the whole crate runs and is
//! tested without a telephone exchange.

#![forbid(unsafe_code)]

mod agent_line;
mod api;
pub mod assist;
mod call;
mod call_log;
mod connector;
pub mod control;
pub mod events;
pub mod exchange;
mod feed;
mod http;
pub mod link;
mod moderation;
mod observers;
pub mod options;
pub mod outbound;
mod outcome;
mod recovery;
mod report;
mod route;
mod runtime;
mod session;
pub mod settings;
mod sound;
mod stats;
mod tools;
mod transport;
mod webhooks;

pub use api::OPENAPI;
pub use observers::{Homes, Observers, ThreadHooks};
pub use outcome::{Outcome, Status};
pub use report::Totals;
pub use runtime::{CallPlan, LimitReached, Seat, Sidecar, SidecarConfig};
pub use stats::{CallStats, Distribution, Figure, Latencies, SessionInfo, describe};

/// `tracing` target of events that show what was said; they belong to a higher verbosity than the rest.
pub const TRANSCRIPT: &str = "ai_transcript";
