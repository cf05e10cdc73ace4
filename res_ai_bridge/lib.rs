//! res_ai_bridge: an Asterisk module whose dialplan application `AI()` lets a phone call talk to a realtime voice AI.
//!
//! This crate is the Asterisk side, and the only place with `unsafe`: it is what Asterisk loads, it runs on the
//! channel threads, and it hands everything else to `ai-sidecar`.
//!
//! ```text
//!  RTP ─► ast_read ─► conversation ─► caller ring ─► sidecar ─► AI
//!  RTP ◄─ ast_write ◄─ conversation ◄─ agent ring ◄─ sidecar ◄─ AI
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `shim.c`, `ffi.rs` | Asterisk's macros as functions, and the bindings |
//! | `guard.rs` | the one door from C into Rust |
//! | `module.rs` | load, unload, reload, and what lives in between |
//! | `app.rs` | the application `AI()`, from arguments to variables |
//! | `conversation.rs` | the media loop of one call, on its channel thread |
//! | `assist.rs` | the applications `AIAssist()` and `StopAIAssist()` |
//! | `tap.rs` | a call between two people, listened to on whatever thread services its channel |
//! | `originate.rs` | outbound calls: dialling, and the thread that a call lives on |
//! | `machine.rs` | whether a person or an answering machine has answered |
//! | `exchange.rs`, `surrogate.rs`, `keys.rs` | what tools do here: variables, routines of the dialplan, keys for the phone |
//! | `channel.rs`, `wake.rs`, `realtime.rs` | safe wrappers: channel and frames, the doorbell, the no-allocation zone |
//! | `config.rs`, `cli.rs`, `log.rs` | Asterisk's configuration loader, command line and logger |
//! | `ami.rs` | the manager interface: actions and events |

mod ami;
mod app;
mod assist;
mod channel;
mod cli;
mod config;
mod conversation;
mod exchange;
mod ffi;
mod guard;
mod keys;
mod log;
mod machine;
mod module;
mod originate;
mod realtime;
mod surrogate;
mod tap;
mod wake;
