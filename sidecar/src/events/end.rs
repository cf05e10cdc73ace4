//! What is told of a session when it is over.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::Status;
use crate::outbound::Cause;
use crate::stats::{CallStats, Distribution};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallEnd {
    /// `AISTATUS`.
    #[serde(serialize_with = "status")]
    pub status: Status,
    /// `AIREASON`.
    pub reason: String,
    /// How long it lasted; an outbound call since its answer. [ms]
    pub duration_ms: u64,
    /// `AITRANSFER`, after a transfer.
    pub transfer: Option<String>,
    /// `AIDIGIT`, when a key ended it.
    pub digit: Option<char>,
    /// Why the line of an outbound call ended.
    pub cause: Option<Cause>,
    /// Its figures.
    pub figures: Figures,
}

/// The figures of a session. Times that were never taken are `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// From the start of the application until the AI was ready. [ms]
    pub connect_ms: Option<f64>,
    /// From then until the agent's first audio was on the line. [ms]
    pub first_audio_ms: Option<f64>,
    /// Turns the agent began to speak.
    pub turns: u32,
    /// Times the caller interrupted the agent.
    pub barge_ins: u32,
    /// Times playback was held for what turned out to be noise.
    pub taken_back: u32,
    /// Times the agent's audio ran dry in mid-turn.
    pub underruns: u64,
    /// Caller audio that never reached the AI. [ms]
    pub dropped_ms: u64,
    /// Times a lost connection to the AI was set up again.
    pub reconnects: u32,
    /// Times the AI's session was followed by a new one before it would end.
    pub roll_overs: u32,
    /// From a caller's frame read until its bytes were written to the socket.
    pub uplink: Option<Distribution>,
    /// From the first agent audio of a turn received until it was on the line.
    pub turn_start: Option<Distribution>,
    /// From the caller's last word until the agent was on the line.
    pub response: Option<Distribution>,
    /// From an interruption noticed until the agent was off the line.
    pub barge_in_stop: Option<Distribution>,
    /// In assist: from the end of what somebody said until its final text.
    pub transcription: Option<Distribution>,
    /// In assist: from a line of the caller until the hint that answers it.
    pub hint: Option<Distribution>,
    /// In assist: hints that were asked for and did not come, for any reason but a newer line.
    pub hint_failures: u32,
}

impl From<&CallStats> for Figures {
    fn from(stats: &CallStats) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
        let latencies = stats.latencies();
        Self {
            connect_ms: stats.connect.get().map(ms),
            first_audio_ms: stats.first_audio.get().map(ms),
            turns: stats.turns.load(Relaxed),
            barge_ins: stats.barge_ins.load(Relaxed),
            taken_back: stats.taken_back.load(Relaxed),
            underruns: stats.underruns.load(Relaxed),
            dropped_ms: stats.dropped_ms.load(Relaxed),
            reconnects: stats.reconnects.load(Relaxed),
            roll_overs: stats.roll_overs.load(Relaxed),
            uplink: Distribution::of(&latencies.uplink),
            turn_start: Distribution::of(&latencies.turn_start),
            response: Distribution::of(&latencies.response),
            barge_in_stop: Distribution::of(&latencies.barge_in_stop),
            transcription: Distribution::of(&latencies.transcription),
            hint: Distribution::of(&latencies.hint),
            hint_failures: stats.hint_failures.load(Relaxed),
        }
    }
}

fn status<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.name())
}
