//! What the AI's end tells the phones' end after a measurement.

use serde::{Deserialize, Serialize};

/// Something that happened at the AI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the caller, which its voice has told.
    pub line: u16,
    /// [ns] of the real-time clock
    pub at_ns: i64,
    /// What it was.
    pub what: What,
}

/// Kinds of [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A message came in which the caller's burst `tone` begins, with the `position`-th sample of the session.
    Heard {
        /// Index of the tone.
        tone: u8,
        /// [samples of 8 kHz]
        position: u64,
    },
    /// A message in which the agent's burst of that tone begins was about to be sent.
    Said(u8),
    /// The first message of a turn was about to be sent, after silence.
    Turn,
    /// "The caller speaks" was about to be sent, in the middle of a turn.
    Interrupt,
}
