//! What the agent says when it converses: a patient parrot that tells how long it listened.

use serde_json::json;

use crate::engine::{Cue, Turn};
use crate::script::{Pace, Reply, Sound, Speech, ToolCall};

/// Decides on replies. It hears no words, so everything it says is about what happened.
#[derive(Debug)]
pub(crate) struct Persona {
    /// How fast audio is sent.
    pace: Pace,
    /// Say goodbye after this many turns; `None`: never.
    turns_left: Option<u32>,
    latest: Option<About>,
    wants_to_speak: bool,
}

#[derive(Debug)]
enum About {
    Turn(Turn),
    Text(String),
    ToolOutput(String),
    Instructions(String),
}

impl Persona {
    /// An agent that says goodbye after `turns` of the caller's turns.
    pub(crate) fn new(turns: Option<u32>, pace: Pace) -> Self {
        Self { pace, turns_left: turns, latest: None, wants_to_speak: false }
    }

    /// Takes note of something that happened.
    pub(crate) fn note(&mut self, cue: Cue) {
        match cue {
            Cue::Turn(turn) => {
                self.wants_to_speak |= turn.answer;
                self.latest = Some(About::Turn(turn));
            }
            Cue::Text(text) => self.latest = Some(About::Text(text)),
            Cue::ToolOutput(output) => self.latest = Some(About::ToolOutput(output)),
            Cue::Requested { instructions } => {
                self.wants_to_speak = true;
                if let Some(instructions) = instructions
                    && (self.latest.is_none() || wording(&instructions).is_some())
                {
                    self.latest = Some(About::Instructions(instructions));
                }
            }
        }
    }

    /// What to say now, if anything; `tools` are the functions the client declared.
    pub(crate) fn next_reply(&mut self, tools: &[String]) -> Option<Reply> {
        if !std::mem::take(&mut self.wants_to_speak) {
            return None;
        }
        let mut reply = Reply::default();
        let speech = match self.latest.take() {
            Some(About::Turn(turn)) => {
                let leaving = self.turns_left.as_mut().is_some_and(|left| {
                    *left = left.saturating_sub(1);
                    *left == 0
                });
                if leaving && tools.iter().any(|tool| tool == "hangup") {
                    let arguments = json!({"reason": "the conversation is over"}).to_string();
                    reply.tool_calls.push(ToolCall { name: "hangup".to_owned(), arguments });
                }
                answer(turn, leaving)
            }
            Some(About::Text(text)) => Speech::spoken(format!("You wrote: {text}")),
            Some(About::ToolOutput(output)) => Speech::spoken(format!("The tool answered: {output}")),
            Some(About::Instructions(text)) => Speech::spoken(wording(&text).unwrap_or(GREETING)),
            None => Speech::spoken(GREETING),
        };
        reply.speech = Some(speech.at(self.pace));
        Some(reply)
    }
}

fn answer(turn: Turn, leaving: bool) -> Speech {
    let seconds = turn.speech_ms as f64 / 1000.0;
    let opening = format!("I listened for {seconds:.1} seconds. You said:");
    let mut text = format!("{opening} ({seconds:.1} s of speech)");
    let mut sounds = vec![Sound::Spoken(opening), Sound::Recorded(turn.format, turn.audio.into())];
    if leaving {
        text = format!("{text} {GOODBYE}");
        sounds.push(Sound::Spoken(GOODBYE.to_owned()));
    }
    Speech::of(text, sounds)
}

/// What instructions say to say: the text after a last line that begins with `Greeting:` or `Text:`, else what stands
/// between the first pair of quotation marks.
fn wording(text: &str) -> Option<&str> {
    let labelled = ["\nGreeting:", "\nText:"].into_iter().find_map(|label| text.rsplit_once(label));
    if let Some((_, words)) = labelled {
        return Some(words.trim()).filter(|words| !words.is_empty());
    }
    let marks = ['"', '“', '”', '«', '»'];
    let (_, after) = text.split_once(marks)?;
    let (inside, _) = after.split_once(marks)?;
    Some(inside.trim()).filter(|words| !words.is_empty())
}

const GREETING: &str = "Hello, this is the practice agent. Say something, and I will say it back to you.";
const GOODBYE: &str = "Thank you for calling. Goodbye.";

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(answer: bool) -> Cue {
        Cue::Turn(Turn { speech_ms: 3210, audio: vec![0xFF; 80], format: ai_media::Format::ULAW, answer })
    }

    fn said(reply: Option<Reply>) -> String {
        reply.and_then(|reply| reply.speech).map(|speech| speech.text).unwrap_or_default()
    }

    #[test]
    fn a_turn_is_answered_at_once_or_when_asked() {
        let mut persona = Persona::new(None, Pace::Burst);
        persona.note(turn(true));
        assert!(said(persona.next_reply(&[])).starts_with("I listened for 3.2 seconds. You said:"));
        persona.note(turn(false));
        assert!(persona.next_reply(&[]).is_none());
        persona.note(Cue::Requested { instructions: None });
        assert!(said(persona.next_reply(&[])).starts_with("I listened"));
    }

    #[test]
    fn instructions_that_say_what_to_say_are_spoken() {
        let mut persona = Persona::new(None, Pace::Burst);
        persona.note(Cue::Requested { instructions: Some("Say exactly: \"Good morning!\"".to_owned()) });
        assert_eq!(said(persona.next_reply(&[])), "Good morning!");
        let directive = "You are \"Bob\".\n\nSpeak first.\n\nGreeting: Hello from Bob.";
        persona.note(Cue::Requested { instructions: Some(directive.to_owned()) });
        assert_eq!(said(persona.next_reply(&[])), "Hello from Bob.");
        persona.note(Cue::Requested { instructions: Some("Greet the caller.".to_owned()) });
        assert_eq!(said(persona.next_reply(&[])), GREETING);
    }

    #[test]
    fn the_last_turn_ends_with_goodbye_and_hangup_where_there_is_such_a_tool() {
        for (tools, calls) in [(vec!["hangup".to_owned()], 1), (vec![], 0)] {
            let mut persona = Persona::new(Some(2), Pace::Burst);
            persona.note(turn(true));
            assert!(persona.next_reply(&tools).unwrap().tool_calls.is_empty());
            persona.note(turn(true));
            let last = persona.next_reply(&tools).unwrap();
            assert_eq!(last.tool_calls.len(), calls);
            assert!(said(Some(last)).ends_with(GOODBYE));
        }
    }
}
