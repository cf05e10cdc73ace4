//! The tools agents have: those that are built in, and the operator's own.
//!
//! ```text
//!  call task ── decide ─► the end of the call
//!                     └─► Work ── run, beside the call ─► an answer for the agent
//! ```

mod routine;
mod schema;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use ai_dialect::Tool as Declaration;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

pub(crate) use self::schema::Schema;
use crate::Outcome;
use crate::Status;
use crate::exchange::Exchange;
use crate::link::{DIGITS_MAX, Shared};
use crate::settings::{Action, Profile, Tool};

const HANGUP: &str = "hangup";
const TRANSFER: &str = "transfer";
/// Sends keys to the phone.
pub(crate) const SEND_DTMF: &str = "send_dtmf";
const SET_VARIABLE: &str = "set_variable";
/// Names that no other tool may have.
pub(crate) const BUILT_IN: &[&str] = &[HANGUP, TRANSFER, SEND_DTMF, SET_VARIABLE];

/// Longest extension an agent may name.
const EXTENSION_MAX: usize = 40;
/// Longest value of a variable an agent may set. [bytes]
const VALUE_MAX: usize = 1024;
/// Longest answer an agent is given. [bytes]
const ANSWER_MAX: usize = 32 * 1024;
/// What is built in must be done by then.
const BUILT_IN_TIMEOUT: Duration = Duration::from_secs(30);

/// The tools that agents of `profile` may call.
pub(crate) fn declared(profile: &Profile) -> Vec<Declaration> {
    let mut tools = vec![declaration(
        HANGUP,
        "Ends the phone call. Say goodbye first: the caller hears it to the end.",
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
    )];
    if !profile.transfer_contexts.is_empty() {
        tools.push(declaration(
            TRANSFER,
            "Transfers the caller to another extension. Announce it first: the caller hears it to the end.",
            json!({
                "type": "object",
                "properties": {
                    "extension": {"type": "string", "description": "Extension to transfer to, for example 200"},
                    "context": {"type": "string", "enum": profile.transfer_contexts},
                },
                "required": ["extension"],
                "additionalProperties": false,
            }),
        ));
    }
    if profile.send_dtmf {
        tools.push(declaration(
            SEND_DTMF,
            "Presses keys of the telephone, for example to choose from a phone menu at the other end.",
            json!({
                "type": "object",
                "properties": {"digits": {
                    "type": "string",
                    "pattern": format!("^[0-9*#A-Dw]{{1,{DIGITS_MAX}}}$"),
                    "description": "The keys, in order: 0-9, *, #, A-D; w waits for half a second",
                }},
                "required": ["digits"],
                "additionalProperties": false,
            }),
        ));
    }
    if !profile.settable_variables.is_empty() {
        tools.push(declaration(
            SET_VARIABLE,
            "Notes a value for those who handle the call after you.",
            json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "enum": profile.settable_variables},
                    "value": {"type": "string", "maxLength": VALUE_MAX},
                },
                "required": ["name", "value"],
                "additionalProperties": false,
            }),
        ));
    }
    let own = profile.tools.iter().map(|tool| declaration(&tool.name, &tool.description, tool.parameters.clone()));
    tools.extend(own);
    tools
}

fn declaration(name: &str, description: &str, parameters: Value) -> Declaration {
    Declaration { name: name.to_owned(), description: description.to_owned(), parameters }
}

/// What a tool call leads to.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The end of the conversation.
    End(Outcome),
    /// Something to be done while it goes on.
    Run(Work),
}

/// Something to be done while the conversation goes on. Its arguments have been checked.
#[derive(Debug)]
pub(crate) enum Work {
    /// Send keys to the phone.
    Digits(String),
    /// Set a channel variable.
    Variable {
        /// One the profile allows.
        name: String,
        /// Its value.
        value: String,
    },
    /// A tool of the operator's own, with its arguments.
    Own(Arc<Tool>, Value),
}

/// What the call of tool `name` with `arguments` leads to.
///
/// # Errors
/// What is wrong with it, for the agent.
pub(crate) fn decide(profile: &Profile, name: &str, arguments: &str) -> Result<Plan, String> {
    match name {
        HANGUP => Ok(Plan::End(Outcome::new(Status::Complete, "the agent hung up"))),
        TRANSFER => transfer(profile, &schema::arguments(arguments)?).map(|to| Plan::End(Outcome::transfer(to))),
        SEND_DTMF if profile.send_dtmf => digits(&schema::arguments(arguments)?).map(Work::Digits).map(Plan::Run),
        SET_VARIABLE if !profile.settable_variables.is_empty() => {
            variable(profile, &schema::arguments(arguments)?).map(Plan::Run)
        }
        _ => {
            let tool = profile.tools.iter().find(|tool| tool.name == name).ok_or("there is no such tool")?;
            let arguments = schema::arguments(arguments)?;
            tool.schema.check(&arguments)?;
            Ok(Plan::Run(Work::Own(tool.clone(), arguments)))
        }
    }
}

/// Where work is done, and for whom.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) exchange: &'static dyn Exchange,
    pub(crate) session: Arc<Shared>,
    /// The provider's name of this tool call.
    pub(crate) call_id: String,
}

impl Work {
    /// The longest it may take.
    fn timeout(&self) -> Duration {
        match self {
            Self::Own(tool, _) => tool.timeout,
            Self::Digits(_) | Self::Variable { .. } => BUILT_IN_TIMEOUT,
        }
    }

    /// Does it, beside the call. Dropped halfway, it is undone or ended.
    ///
    /// # Errors
    /// What went wrong, for the agent.
    pub(crate) async fn run(self, place: Place) -> Result<Value, String> {
        let limit = self.timeout();
        let done = tokio::time::timeout(limit, self.act(place)).await;
        let value = done.unwrap_or_else(|_| Err(format!("not done within {} ms", limit.as_millis())))?;
        if value.to_string().len() > ANSWER_MAX {
            return Err(format!("the answer is longer than {ANSWER_MAX} bytes"));
        }
        Ok(value)
    }

    async fn act(self, place: Place) -> Result<Value, String> {
        match self {
            Self::Digits(digits) => {
                tokio::time::sleep(place.session.send_digits(&digits)?).await;
                Ok(Value::Null)
            }
            Self::Variable { name, value } => {
                let set = move || place.exchange.set_variable(&place.session.info.id, &name, &value);
                let set = spawn_blocking(set).await.map_err(|_| "an error in the module")?;
                set.map(|()| Value::Null).map_err(|problem| problem.to_string())
            }
            Self::Own(tool, arguments) => match &tool.action {
                Action::Webhook(webhook) => webhook::ask(webhook, &tool, arguments, &place).await,
                Action::Dialplan { routine, arguments: names } => {
                    routine::run(routine, names, &tool, arguments, &place).await
                }
            },
        }
    }
}

fn digits(arguments: &Value) -> Result<String, String> {
    keys(arguments["digits"].as_str().unwrap_or_default()).map_err(|problem| format!("digits: {problem}"))
}

/// `digits` as they are sent to a phone.
///
/// # Errors
/// What is allowed.
pub(crate) fn keys(digits: &str) -> Result<String, String> {
    let digits = digits.to_ascii_uppercase().replace('W', "w");
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.chars().all(|key| "0123456789*#ABCDw".contains(key)) {
        return Err(format!("expected 1 to {DIGITS_MAX} of 0-9, *, #, A-D, and w for a pause"));
    }
    Ok(digits)
}

fn variable(profile: &Profile, arguments: &Value) -> Result<Work, String> {
    let allowed = &profile.settable_variables;
    let name = allowed.iter().find(|name| Some(name.as_str()) == arguments["name"].as_str());
    let name = name.ok_or_else(|| format!("name: allowed are {}", allowed.join(", ")))?;
    let value = arguments["value"].as_str().filter(|value| value.len() <= VALUE_MAX);
    let value = value.ok_or_else(|| format!("value: expected a text of at most {VALUE_MAX} bytes"))?;
    Ok(Work::Variable { name: name.clone(), value: value.to_owned() })
}

/// The target that the agent asks for, checked.
fn transfer(profile: &Profile, arguments: &Value) -> Result<String, String> {
    let context = match &arguments["context"] {
        Value::Null => None,
        asked => Some(asked.as_str().unwrap_or_default()),
    };
    target(&profile.transfer_contexts, arguments["extension"].as_str().unwrap_or_default(), context)
}

/// `exten@context`, checked: it reaches the dialplan, so it must be nothing but an extension in one of `contexts`; in the
/// first of them unless told otherwise.
pub(crate) fn target(contexts: &[String], extension: &str, context: Option<&str>) -> Result<String, String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "*#+_-.".contains(character);
    if extension.is_empty() || extension.len() > EXTENSION_MAX || !extension.chars().all(allowed) {
        return Err("extension: expected digits or letters, for example 200".to_owned());
    }
    let context = match context {
        None => contexts.first(),
        Some(asked) => contexts.iter().find(|context| *context == asked),
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
        let target = |arguments: &str| {
            decide(&profile, "transfer", arguments).map(|plan| match plan {
                Plan::End(outcome) => outcome.transfer,
                Plan::Run(work) => panic!("{work:?}"),
            })
        };
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
        let refused = decide(&profile(&[]), "launch", "{}").expect_err("there is none");
        assert_eq!(refused, "there is no such tool");
    }
}
