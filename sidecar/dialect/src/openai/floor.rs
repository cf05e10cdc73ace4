//! Whose turn it is to speak.
//!
//! The server makes one answer at a time and refuses a request for another. So a request waits here until the answer
//! that is being made is done, and until the caller has finished: nobody likes to be talked over.

use std::collections::VecDeque;

/// Decides when the agent may be asked to speak, and remembers which answers were cut off.
pub(super) struct Floor {
    answer: Answer,
    /// A request waits to be sent.
    owed: bool,
    caller_speaking: bool,
    /// Responses whose remains must not be heard, latest last.
    cancelled: VecDeque<String>,
    server_answers: bool,
    server_interrupts: bool,
}

/// What the server is making.
#[derive(PartialEq)]
enum Answer {
    None,
    /// Asked for; the server has not begun.
    Asked,
    /// This response; empty if we only know that there is one.
    Running(String),
}

impl Floor {
    /// Nobody speaks. `server_answers`: by itself, when the caller has finished; `server_interrupts`: it cancels its
    /// answer when the caller starts.
    pub(super) fn new(server_answers: bool, server_interrupts: bool) -> Self {
        Self {
            answer: Answer::None,
            owed: false,
            caller_speaking: false,
            cancelled: VecDeque::new(),
            server_answers,
            server_interrupts,
        }
    }

    /// The agent shall speak as soon as that is possible. Several requests that wait become one.
    pub(super) fn request(&mut self) {
        self.owed = true;
    }

    /// True if the agent is to be asked now; counts as [`Floor::asked`].
    pub(super) fn take_due(&mut self) -> bool {
        let due = self.owed && self.answer == Answer::None && !self.caller_speaking;
        if due {
            self.owed = false;
            self.asked();
        }
        due
    }

    /// The agent was asked to speak.
    pub(super) fn asked(&mut self) {
        self.answer = Answer::Asked;
    }

    /// The server refused what we asked, perhaps because it was `busy` with an answer of its own; then it is asked
    /// `again` after that one.
    pub(super) fn ask_failed(&mut self, busy: bool, again: bool) {
        if self.answer == Answer::Asked {
            self.answer = if busy { Answer::Running(String::new()) } else { Answer::None };
        }
        self.owed |= busy && again;
    }

    /// The server makes `response`.
    pub(super) fn created(&mut self, response: &str) {
        if self.answer == Answer::None {
            // Not asked for, hence the server's own idea: it knows all that our request would have been about.
            self.owed = false;
        }
        self.caller_speaking = false;
        self.answer = Answer::Running(response.to_owned());
    }

    /// `response` is done; an empty one is whichever was being made.
    pub(super) fn done(&mut self, response: &str) {
        if let Answer::Running(running) = &self.answer
            && (running == response || running.is_empty() || response.is_empty())
        {
            self.answer = Answer::None;
        }
    }

    /// The server heard the caller start to speak.
    pub(super) fn caller_started(&mut self) {
        self.caller_speaking = true;
        if self.server_interrupts {
            // It has just cancelled. What is still under way was made before, and would be heard in pieces.
            self.cancel();
        }
    }

    /// The server heard the caller stop.
    pub(super) fn caller_stopped(&mut self) {
        self.caller_speaking = false;
        if self.server_answers && self.answer == Answer::None {
            // The answer it now makes is about all it has been told.
            self.owed = false;
        }
    }

    /// What is being made must not be heard. The response, unless there is none or it was cancelled before.
    pub(super) fn cancel(&mut self) -> Option<String> {
        let Answer::Running(response) = &self.answer else { return None };
        if self.cancelled.contains(response) {
            return None;
        }
        let response = response.clone();
        if !response.is_empty() {
            if self.cancelled.len() == MAX_CANCELLED {
                self.cancelled.pop_front();
            }
            self.cancelled.push_back(response.clone());
        }
        Some(response)
    }

    /// True if nothing of `response` must be heard; an empty one is whichever is being made.
    pub(super) fn is_cancelled(&self, response: &str) -> bool {
        let response = match &self.answer {
            Answer::Running(running) if response.is_empty() => running,
            _ => response,
        };
        self.cancelled.iter().any(|cancelled| cancelled == response)
    }
}

/// Responses do not overlap: remains of more than a few cannot be under way.
const MAX_CANCELLED: usize = 8;
