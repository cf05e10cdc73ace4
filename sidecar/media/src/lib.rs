//! Audio between a phone call and a voice AI: formats, G.711, resampling, the two sample rings and playout.
//!
//! Nothing here does I/O or reads a clock: time is a parameter, so every behaviour runs the same in a test and in
//! a call. The channel thread of the telephone exchange runs [`caller_stream::CallerStream`],
//! [`ring::CallerFeed`], [`barge_in::BargeIn`] and [`playout::Playout`]; the sidecar runs everything else.
//!
//! ```text
//!  ast_read ─► CallerStream ─► CallerFeed ─► ring ─► CallerTap ─► Transcoder ─► dialect     (caller speaks)
//!  ast_write ◄──────────────────── Playout ◄─ ring ◄─ AgentFeed ◄─ Transcoder ◄─ dialect    (agent speaks)
//!  └─────────── channel thread ───────────┘       └─────────── sidecar thread ─────────┘
//! ```

#![forbid(unsafe_code)]

pub mod background;
pub mod barge_in;
pub mod caller_stream;
pub mod catch_up;
pub mod continuity;
mod fade;
pub mod format;
pub mod g711;
pub mod grid;
pub mod order;
pub mod playout;
pub mod ring;
pub mod tap;
pub mod transcode;

pub use format::{Encoding, Format};
