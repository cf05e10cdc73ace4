//! The call as two tracks on one time axis, which begins with the answer.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rig::{Recording, write_wav};

use super::RATE_HZ;

/// What the caller said, placed in time; the agent's track comes from what the phone heard.
pub(crate) struct Tape {
    /// Time zero of both tracks.
    pub(crate) start: Instant,
    caller: Vec<i16>,
}

impl Tape {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, caller: Vec::new() }
    }

    /// The caller said this from `began` on.
    pub(crate) fn caller(&mut self, began: Instant, samples: &[i16]) {
        place(&mut self.caller, samples_until(self.start, began), samples);
    }

    /// Both tracks, equally long: caller, agent.
    pub(crate) fn tracks(&self, heard: &Recording) -> (Vec<i16>, Vec<i16>) {
        let mut agent = Vec::new();
        if let Some(first) = heard.audio().next() {
            place(&mut agent, samples_until(self.start, first.at), &heard.pcm());
        }
        let mut caller = self.caller.clone();
        let length = caller.len().max(agent.len());
        caller.resize(length, 0);
        agent.resize(length, 0);
        (caller, agent)
    }

    /// Writes the stereo recording: caller left, agent right.
    pub(crate) fn write(&self, heard: &Recording, path: &Path) -> Result<()> {
        let (caller, agent) = self.tracks(heard);
        write_wav(path, RATE_HZ, &[&caller, &agent])
    }
}

fn samples_until(start: Instant, at: Instant) -> usize {
    (at.saturating_duration_since(start).as_secs_f64() * f64::from(RATE_HZ)) as usize
}

fn place(track: &mut Vec<i16>, at: usize, samples: &[i16]) {
    track.resize(track.len().max(at + samples.len()), 0);
    track[at..at + samples.len()].copy_from_slice(samples);
}
