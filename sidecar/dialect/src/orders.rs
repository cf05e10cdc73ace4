//! Orders to an agent in words, for what a provider has no message of its own.

use crate::{Speaker, Turn};

/// To open the conversation with `greeting`, which may be a text or an instruction.
pub(crate) fn greet(greeting: &str) -> String {
    format!(
        "The call has just been connected and you speak first. Open the conversation with the greeting below: if it is a \
         text, say it exactly as it stands, in its own language, and nothing else; if it is an instruction, follow it.\
         \n\nGreeting: {greeting}"
    )
}

/// To go on after a pause that the agent knows nothing of.
pub(crate) const GO_ON: &str = "The line to you was interrupted in the middle of this call and is back now. The caller \
                                heard nothing but silence and waits for you: answer what the caller said last, or finish \
                                what you were saying. Do not greet again, and do not repeat what you have said already.";

/// To say `text` word for word.
pub(crate) fn say(text: &str) -> String {
    format!(
        "Say the text below to the caller now, exactly as it stands, in its own language, and nothing else.\n\nText: {text}"
    )
}

/// To speak about what the agent has been told.
pub(crate) const SPEAK_NOW: &str = "The caller waits for you to speak now.";

/// Which keys the caller pressed.
pub(crate) fn keys_pressed(digits: &str) -> String {
    format!("(The caller pressed these keys on the telephone: {digits})")
}

/// `text` for the caller's place in the conversation, where a provider has no other: not to be taken for the caller's words.
pub(crate) fn aside(text: &str) -> String {
    format!("(The caller did not say this, the telephone system does: {text})")
}

/// What was said before, for an agent that can only be told.
pub(crate) fn history(turns: &[Turn]) -> String {
    let mut text = "This call goes on after an interruption. What was said and done before:".to_owned();
    for turn in turns {
        text.push('\n');
        text.push_str(&match turn {
            Turn::Said { speaker: Speaker::Caller, text } => format!("Caller: {text}"),
            Turn::Said { speaker: Speaker::Agent, text } => format!("You: {text}"),
            Turn::Told { text } => format!("(You were told: {text})"),
            Turn::ToolRan { name, arguments, result } => tool_ran(name, arguments, result),
        });
    }
    text
}

/// A tool call of the past, for an agent that can only be told.
pub(crate) fn tool_ran(name: &str, arguments: &str, result: &str) -> String {
    format!("(You called the tool {name} with {arguments}; its result was {result})")
}
