//! The conversation so far, as a session that takes over from another one is told of it.

use std::collections::VecDeque;

use ai_dialect::{Speaker, Turn};

use crate::route::Legacy;

/// Most text that is kept; what is older is forgotten. [bytes]
const TEXT_MAX: usize = 64 << 10;
/// Most turns that are kept.
const TURNS_MAX: usize = 400;
/// Most of one text that is kept. [bytes]
const TURN_MAX: usize = 8 << 10;

/// What was said in a call, as far as the provider has told, and who has the floor.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Oldest first. A caller's turn without words waits for its transcript, which may come after the agent's answer.
    turns: VecDeque<Turn>,
    /// What the agent is saying, as far as it was told in pieces.
    saying: String,
    /// The last thing the agent said was cut off, and its whole text may still come.
    cut: bool,
    /// The provider tells when the caller stops speaking.
    tells_speech_end: bool,
    agent_owes_answer: bool,
    agent_heard: bool,
    sessions: u32,
    resumption: String,
}

impl Memory {
    /// The agent's voice comes: until [`Memory::agent_done`] it is in the middle of saying something.
    pub(super) fn agent_speaks(&mut self) {
        self.agent_heard = true;
        self.agent_owes_answer = true;
    }

    /// The agent has said all it wanted to.
    pub(super) fn agent_done(&mut self) {
        self.agent_owes_answer = false;
    }

    /// The caller has stopped speaking.
    pub(super) fn caller_done(&mut self) {
        self.tells_speech_end = true;
        self.agent_owes_answer = true;
        // A noise is never transcribed: its turn must not get the words of the next one.
        self.turns.retain(|turn| !is_awaited(turn));
        self.push(said(Speaker::Caller, ""));
    }

    /// Another session is ready.
    pub(super) fn session_begins(&mut self) {
        self.sessions += 1;
    }

    /// The provider calls the session by `handle`.
    pub(super) fn resumable(&mut self, handle: String) {
        self.resumption = handle;
    }

    /// What the provider calls the session by is of no use: it is another provider, or was refused.
    pub(super) fn forget_resumption(&mut self) {
        self.resumption.clear();
    }

    /// Somebody said this, all of it (`complete`) or the next piece.
    pub(super) fn said(&mut self, speaker: Speaker, text: &str, complete: bool) {
        match speaker {
            Speaker::Caller if complete => self.caller_said(text),
            Speaker::Caller => {}
            Speaker::Agent if complete => self.agent_said(text),
            Speaker::Agent => {
                self.cut = false;
                self.saying.push_str(&text[..end_within(text, TURN_MAX.saturating_sub(self.saying.len()))]);
            }
        }
    }

    fn caller_said(&mut self, words: &str) {
        match self.turns.iter_mut().find(|turn| is_awaited(turn)) {
            Some(Turn::Said { text, .. }) => clone_within(words, text),
            _ => self.push(said(Speaker::Caller, words)),
        }
        // Where the end of speech is told, the transcript may come after the answer.
        self.agent_owes_answer |= !self.tells_speech_end;
    }

    fn agent_said(&mut self, words: &str) {
        self.saying.clear();
        if std::mem::take(&mut self.cut) {
            // All that was made of an answer says more than was heard of it; a correction says just that.
            if let Some(text) = self.last_of_agent().filter(|text| words.len() <= text.len()) {
                clone_within(words, text);
            }
            return;
        }
        match self.last_of_agent().filter(|text| text.starts_with(words)) {
            Some(text) => clone_within(words, text),
            None => self.push(said(Speaker::Agent, words)),
        }
    }

    /// The caller interrupted the agent after `heard_ms` of the `received_ms` that it had said.
    pub(super) fn interrupted(&mut self, heard_ms: u64, received_ms: u64) {
        if received_ms == 0 {
            return;
        }
        self.agent_owes_answer = false;
        if heard_ms >= received_ms {
            return;
        }
        if !self.saying.is_empty() {
            let words = std::mem::take(&mut self.saying);
            self.push(said(Speaker::Agent, &words));
        }
        if let Some(text) = self.last_of_agent() {
            let share = u128::from(heard_ms) * text.len() as u128 / u128::from(received_ms);
            text.truncate(end_within(text, share as usize));
            text.push('…');
            self.cut = true;
        }
    }

    /// The agent was given `result` by tool `name`, and will speak about it.
    pub(super) fn tool_ran(&mut self, name: &str, arguments: &str, result: &str) {
        let [name, arguments, result] =
            [name, arguments, result].map(|text| text[..end_within(text, TURN_MAX)].to_owned());
        self.push(Turn::ToolRan { name, arguments, result });
        self.agent_owes_answer = true;
    }

    /// The agent was told `text`; `answer`: it will speak about it.
    pub(super) fn told(&mut self, text: &str, answer: bool) {
        self.push(Turn::Told { text: text[..end_within(text, TURN_MAX)].to_owned() });
        self.agent_owes_answer |= answer;
    }

    /// What a session has to know that takes over now.
    pub(super) fn legacy(&self) -> Legacy {
        let mut history: Vec<_> = self.turns.iter().filter(|turn| !is_awaited(turn)).cloned().collect();
        if !self.saying.is_empty() {
            history.push(Turn::Said { speaker: Speaker::Agent, text: format!("{}…", self.saying) });
        }
        Legacy {
            agent_owes_answer: self.agent_owes_answer,
            resumption: self.resumption.clone(),
            greeted: self.agent_heard || !history.is_empty(),
            earlier_sessions: self.sessions,
            history,
        }
    }

    /// What the agent said last, if nobody said anything since.
    fn last_of_agent(&mut self) -> Option<&mut String> {
        match self.turns.back_mut() {
            Some(Turn::Said { speaker: Speaker::Agent, text }) => Some(text),
            _ => None,
        }
    }

    fn push(&mut self, turn: Turn) {
        self.turns.push_back(turn);
        while self.turns.len() > TURNS_MAX || self.turns.iter().map(bytes).sum::<usize>() > TEXT_MAX {
            self.turns.pop_front();
        }
    }
}

/// True for a turn of the caller whose words have not been told yet.
fn is_awaited(turn: &Turn) -> bool {
    matches!(turn, Turn::Said { speaker: Speaker::Caller, text } if text.is_empty())
}

fn said(speaker: Speaker, text: &str) -> Turn {
    Turn::Said { speaker, text: text[..end_within(text, TURN_MAX)].to_owned() }
}

fn clone_within(words: &str, text: &mut String) {
    text.clear();
    text.push_str(&words[..end_within(words, TURN_MAX)]);
}

/// Where `text` may be cut to have no more than `most` bytes.
fn end_within(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn bytes(turn: &Turn) -> usize {
    match turn {
        Turn::Said { text, .. } | Turn::Told { text } => text.len(),
        Turn::ToolRan { name, arguments, result } => name.len() + arguments.len() + result.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::Speaker::{Agent, Caller};
    use super::*;

    fn history(memory: &Memory) -> Vec<(Speaker, String)> {
        let turns = memory.legacy().history.into_iter();
        turns
            .map(|turn| match turn {
                Turn::Said { speaker, text } => (speaker, text),
                Turn::Told { text } => (Agent, text),
                Turn::ToolRan { name, arguments, result } => (Agent, format!("{name}{arguments}{result}")),
            })
            .collect()
    }

    fn lines(expected: &[(Speaker, &str)]) -> Vec<(Speaker, String)> {
        expected.iter().map(|(speaker, text)| (*speaker, (*text).to_owned())).collect()
    }

    #[test]
    fn what_was_said_is_told_in_the_order_in_which_it_was_said() {
        let mut memory = Memory::default();
        memory.said(Agent, "Hello", true);
        memory.caller_done();
        memory.said(Agent, "Nine to five.", true);
        memory.said(Caller, "When are you open?", true);
        memory.tool_ran("weather", "{}", "rain");
        memory.told("no umbrellas left", false);
        memory.said(Agent, "It will ", false);
        memory.said(Agent, "rain", false);
        let expected = [
            (Agent, "Hello"),
            (Caller, "When are you open?"),
            (Agent, "Nine to five."),
            (Agent, "weather{}rain"),
            (Agent, "no umbrellas left"),
            (Agent, "It will rain…"),
        ];
        assert_eq!(history(&memory), lines(&expected));
    }

    #[test]
    fn of_an_answer_that_was_cut_off_only_what_was_heard_is_told() {
        let mut memory = Memory::default();
        memory.said(Agent, "0123456789", false);
        memory.interrupted(500, 1000);
        assert_eq!(history(&memory), lines(&[(Agent, "01234…")]));
        memory.said(Agent, "0123456789", true);
        assert_eq!(history(&memory), lines(&[(Agent, "01234…")]), "its whole text comes all the same");
        memory.said(Agent, "Next", true);
        memory.interrupted(3, 4);
        memory.said(Agent, "Ne", true);
        assert_eq!(history(&memory), lines(&[(Agent, "01234…"), (Agent, "Ne")]), "a correction is exact");
        memory.said(Agent, "Мир и труд", true);
        memory.interrupted(1, 2);
        assert_eq!(history(&memory)[2], (Agent, "Мир и…".to_owned()));
    }

    #[test]
    fn an_answer_is_owed_from_the_callers_last_word_to_the_agents() {
        let mut memory = Memory::default();
        let owes = |memory: &Memory| memory.legacy().agent_owes_answer;
        assert!(!owes(&memory));
        memory.agent_speaks();
        assert!(owes(&memory), "it is in the middle of something");
        memory.agent_done();
        assert!(!owes(&memory));
        memory.said(Caller, "Well?", true);
        assert!(owes(&memory));
        memory.agent_speaks();
        memory.interrupted(1, 2);
        assert!(!owes(&memory), "the caller speaks");
        memory.caller_done();
        assert!(owes(&memory));
        memory.agent_speaks();
        memory.agent_done();
        memory.said(Caller, "late transcript", true);
        assert!(!owes(&memory));
    }

    #[test]
    fn a_noise_that_is_never_transcribed_takes_no_turn() {
        let mut memory = Memory::default();
        memory.caller_done();
        memory.said(Agent, "Sorry?", true);
        memory.caller_done();
        memory.said(Agent, "Nine to five.", true);
        memory.said(Caller, "When are you open?", true);
        let expected = [(Agent, "Sorry?"), (Caller, "When are you open?"), (Agent, "Nine to five.")];
        assert_eq!(history(&memory), lines(&expected));
        (0..TURNS_MAX * 2).for_each(|_| memory.caller_done());
        assert_eq!(history(&memory), lines(&expected));
    }

    #[test]
    fn who_speaks_when_nothing_is_heard_of_the_agent_is_still_owed_an_answer() {
        let mut memory = Memory::default();
        memory.caller_done();
        memory.interrupted(0, 0);
        assert!(memory.legacy().agent_owes_answer);
    }

    #[test]
    fn an_endless_conversation_is_remembered_as_far_as_there_is_room() {
        let mut memory = Memory::default();
        for n in 0..2000 {
            memory.said(Caller, &format!("line {n}"), true);
        }
        memory.said(Agent, &"ü".repeat(TURN_MAX), true);
        (0..200_000).for_each(|_| memory.said(Agent, "word ", false));
        let told = history(&memory);
        assert!(told.len() <= TURNS_MAX + 1, "{}", told.len());
        assert!(told.iter().map(|(_, text)| text.len()).sum::<usize>() <= TEXT_MAX + TURN_MAX + 3);
        assert_eq!(told[told.len() - 3].1, "line 1999");
    }

    #[test]
    fn who_has_spoken_does_not_greet_again() {
        let mut memory = Memory::default();
        assert!(!memory.legacy().greeted);
        memory.agent_speaks();
        assert!(memory.legacy().greeted);
    }
}
