//! A real Asterisk and real SIP phones, for the integration tests and the demo.
//!
//! ```text
//!  Phone ── SIP ──► SIPp ──► relay ──► Asterisk (a process, directory and ports of its own)
//!        └─ RTP ◄──────────────────────► the same Asterisk
//! ```
//!
//! [`Rig`] runs one Asterisk; any number of rigs run at once. [`Phone`] dials into it: SIPp speaks SIP, this crate
//! speaks RTP, so that what was sent and heard is known to the sample and to the millisecond. Every process started
//! here ends with the process that started it.
//!
//! ```no_run
//! use std::time::Duration;
//! use rig::{Codec, Phone, Rig};
//!
//! # fn main() -> anyhow::Result<()> {
//! let rig = Rig::builder().append("extensions.conf", "exten => 100,1,Answer()\n same => n,Echo()\n").start()?;
//! let call = Phone::new(&rig).codec(Codec::Alaw).dial("100")?;
//! call.wait_answered(Duration::from_secs(5))?;
//! call.play(&rig::speech("Can you hear me?", 8000)?);
//! call.hang_up();
//! call.wait_ended(Duration::from_secs(5))?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod ami;
mod asterisk;
mod baresip;
mod browser;
mod codec;
mod config;
mod crowd;
pub mod http;
mod mortal;
mod phone;
mod ports;
mod recording;
mod rtp;
mod sip;
mod speech;
mod wait;
mod wav;

pub use ami::{Ami, Message};
pub use asterisk::{Builder, ProcessFigures, Rig};
pub use baresip::Baresip;
pub use browser::{Browser, Page, Screen};
pub use codec::Codec;
pub use crowd::Crowd;
pub use phone::{Phone, PhoneCall};
pub use ports::Ports;
pub use recording::{Gap, Packet, Recording};
pub use rtp::Network;
pub use sip::{CallEvent, Direction, Ended, Event};
pub use speech::{speech, speech_of};
pub use wav::{read_wav, write_wav};

use std::path::{Path, PathBuf};

/// The checkout this crate was built in.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in tests/rig").into()
}
