//! The tools every agent has: to hang up, and to hand the caller over.

use ai_dialect::Tool;
use serde_json::{Value, json};

use crate::Outcome;
use crate::Status;
use crate::settings::Profile;

const HANGUP: &str = "hangup";
const TRANSFER: &str = "transfer";

/// Longest arguments of a tool call. [bytes]
const ARGUMENTS_MAX: usize = 16 * 1024;
/// Longest extension an agent may name.
const EXTENSION_MAX: usize = 40;

/// The tools that agents of `profile` may call.
pub(crate) fn declared(profile: &Profile) -> Vec<Tool> {
    let mut tools = vec![Tool {
        name: HANGUP.to_owned(),
        description: "Ends the phone call. Say goodbye first: the caller hears it to the end.".to_owned(),
        parameters: json!({"type": "object", "properties": {}, "additionalProperties": false}),
    }];
    if !profile.transfer_contexts.is_empty() {
        tools.push(Tool {
            name: TRANSFER.to_owned(),
            description: "Transfers the caller to another extension. Announce it first: the caller hears it to the \
                          end."
                .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "extension": {"type": "string", "description": "Extension to transfer to, for example 200"},
                    "context": {"type": "string", "enum": profile.transfer_contexts},
                },
                "required": ["extension"],
                "additionalProperties": false,
            }),
        });
    }
    tools
}

/// What a tool call leads to: the end of the conversation, or an answer that tells the agent what is wrong.
pub(crate) fn decide(profile: &Profile, name: &str, arguments: &str) -> Result<Outcome, String> {
    match name {
        HANGUP => Ok(Outcome::new(Status::Complete, "the agent hung up")),
        TRANSFER => transfer(profile, arguments).map(Outcome::transfer),
        _ => Err("there is no such tool".to_owned()),
    }
}

/// `exten[@context]`, checked: it reaches the dialplan, so it must be nothing but an extension in an allowed context.
fn transfer(profile: &Profile, arguments: &str) -> Result<String, String> {
    if arguments.len() > ARGUMENTS_MAX {
        return Err(format!("the arguments have more than {ARGUMENTS_MAX} bytes"));
    }
    let arguments: Value = serde_json::from_str(arguments).map_err(|_| "the arguments are not JSON".to_owned())?;
    let extension = arguments["extension"].as_str().unwrap_or_default();
    let allowed = |character: char| character.is_ascii_alphanumeric() || "*#+_-.".contains(character);
    if extension.is_empty() || extension.len() > EXTENSION_MAX || !extension.chars().all(allowed) {
        return Err("extension: expected digits or letters, for example 200".to_owned());
    }
    let contexts = &profile.transfer_contexts;
    let context = match &arguments["context"] {
        Value::Null => contexts.first(),
        asked => contexts.iter().find(|context| Some(context.as_str()) == asked.as_str()),
    };
    let context = context.ok_or_else(|| format!("context: transfers are allowed to {}", contexts.join(", ")))?;
    Ok(format!("{extension}@{context}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::{RawEntry, RawSection, Settings};

    fn profile(contexts: &[&str]) -> Profile {
        let entry = |key: &str, value: &str| RawEntry {
            file: String::new(),
            line: 0,
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let mut entries = vec![entry("url", "ws://127.0.0.1")];
        entries.extend(contexts.iter().map(|context| entry("transfer_context", context)));
        let section = RawSection { name: "p".to_owned(), entries };
        let settings = Settings::parse(&[section], Path::new("/")).expect("valid");
        (*settings.profiles["p"]).clone()
    }

    #[test]
    fn a_transfer_goes_only_where_the_profile_allows() {
        let profile = profile(&["queues", "staff"]);
        let target = |arguments: &str| decide(&profile, "transfer", arguments).map(|outcome| outcome.transfer);
        assert_eq!(target(r#"{"extension":"200"}"#), Ok(Some("200@queues".to_owned())));
        assert_eq!(target(r#"{"extension":"200","context":"staff"}"#), Ok(Some("200@staff".to_owned())));
        let refused = target(r#"{"extension":"200","context":"trunk"}"#);
        assert_eq!(refused, Err("context: transfers are allowed to queues, staff".to_owned()));
        for extension in ["", "1,1)&System(id", "${X}", "200@trunk", &"1".repeat(41)] {
            let arguments = json!({"extension": extension}).to_string();
            assert!(target(&arguments).is_err(), "{extension}");
        }
        assert!(target("not json").is_err());
        assert!(target(r#"{"extension":200}"#).is_err());
    }

    #[test]
    fn without_an_allowed_context_there_is_no_transfer() {
        let profile = profile(&[]);
        assert_eq!(declared(&profile).len(), 1);
        assert!(decide(&profile, "transfer", r#"{"extension":"200"}"#).is_err());
    }

    #[test]
    fn an_unknown_tool_is_an_error_the_agent_gets_to_know() {
        assert_eq!(decide(&profile(&[]), "launch", "{}"), Err("there is no such tool".to_owned()));
    }
}
