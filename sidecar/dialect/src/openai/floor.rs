//! Whose turn it is to speak.
//!
//! The server makes one answer at a time and refuses a request for another. So a request waits here until the answer
//! that is being made is done, and until the caller has finished: nobody likes to be talked over.

use std::collections::VecDeque;

/// Decides when the agent may be asked to speak, and remembers which answers were cut off.
pub(super) struct Floor {
    answer: Answer,
    /// A request to speak as it likes waits to be sent.
    owed: bool,
    /// Texts that wait to be said.
    texts: VecDeque<String>,
    /// The latest request that was sent, in case it has to be sent again.
    asked: Option<Request>,
    /// The caller has just finished, and the server is about to begin its answer.
    answer_due: bool,
    caller_speaking: bool,
    /// Responses whose remains must not be heard, latest last.
    cancelled: VecDeque<String>,
    server_answers: bool,
    server_interrupts: bool,
}

/// What the agent is asked for.
#[derive(Clone)]
pub(super) enum Request {
    /// To speak about what it knows.
    Answer,
    /// To say this, word for word.
    Say(String),
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
            texts: VecDeque::new(),
            asked: None,
            answer_due: false,
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

    /// The agent shall say `text` as soon as that is possible. False if too many texts wait.
    pub(super) fn say(&mut self, text: &str) -> bool {
        let room = self.texts.len() < MAX_TEXTS;
        if room {
            self.texts.push_back(text.to_owned());
        }
        room
    }

    /// What the agent is to be asked for now, if anything; counts as [`Floor::asked`].
    pub(super) fn take_due(&mut self) -> Option<Request> {
        if self.answer != Answer::None || self.caller_speaking {
            return None;
        }
        // A text that came before the answer to the caller would take its place.
        let text = if self.answer_due { None } else { self.texts.pop_front() };
        let request = match text {
            Some(text) => Request::Say(text),
            None if std::mem::take(&mut self.owed) => Request::Answer,
            None => return None,
        };
        self.asked();
        self.asked = Some(request.clone());
        Some(request)
    }

    /// The agent was asked to speak.
    pub(super) fn asked(&mut self) {
        self.answer = Answer::Asked;
        self.asked = None;
    }

    /// The server refused what we asked, perhaps because it was `busy` with an answer of its own; then it is asked again
    /// after that one, if it was a [`Request`].
    pub(super) fn ask_failed(&mut self, busy: bool) {
        if self.answer == Answer::Asked {
            self.answer = if busy { Answer::Running(String::new()) } else { Answer::None };
        }
        match self.asked.take().filter(|_| busy) {
            Some(Request::Answer) => self.owed = true,
            Some(Request::Say(text)) => self.texts.push_front(text),
            None => {}
        }
    }

    /// The server makes `response`.
    pub(super) fn created(&mut self, response: &str) {
        if self.answer == Answer::None {
            // Not asked for, hence the server's own idea: it knows all that our request would have been about.
            self.owed = false;
        }
        self.caller_speaking = false;
        self.answer_due = false;
        self.answer = Answer::Running(response.to_owned());
    }

    /// `response` is done; an empty one is whichever was being made.
    pub(super) fn done(&mut self, response: &str) {
        self.answer_due = false;
        if let Answer::Running(running) = &self.answer
            && (running == response || running.is_empty() || response.is_empty())
        {
            self.answer = Answer::None;
        }
    }

    /// The server heard the caller start to speak.
    pub(super) fn caller_started(&mut self) {
        self.caller_speaking = true;
        self.answer_due = false;
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
            self.answer_due = true;
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

/// More than anybody wants to be said at once.
const MAX_TEXTS: usize = 32;
