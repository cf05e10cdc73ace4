//! The arguments of the dialplan application: `AIAssist([profile[,options]])`.

use crate::events::Speaker;
use crate::options::{self, OptionsError};

/// Who of the two somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// The one who is helped by the other, and never sees a hint.
    #[default]
    Caller,
    /// The one whom the assistant helps.
    Operator,
}

impl Side {
    /// The other of the two.
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Operator,
            Self::Operator => Self::Caller,
        }
    }
}

impl From<Side> for Speaker {
    fn from(side: Side) -> Self {
        match side {
            Side::Caller => Self::Caller,
            Side::Operator => Self::Operator,
        }
    }
}

/// What one call asks for, beyond its profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssistOptions {
    /// Profile name; `None` for the default one.
    pub profile: Option<String>,
    /// Whose channel is tapped; `o`: the operator's.
    pub side: Side,
    /// `l`: language.
    pub language: Option<String>,
    /// `x`: variables for the instructions.
    pub variables: Vec<(String, String)>,
}

const KNOWN: &str = "l o x";

impl AssistOptions {
    /// Reads the application's whole argument text.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(arguments: &str) -> Result<Self, OptionsError> {
        let (profile, options) = options::split(arguments)?;
        let mut parsed = Self { profile, ..Self::default() };
        for (option, value) in options {
            match (option, value) {
                ('o', None) => parsed.side = Side::Operator,
                ('o', Some(_)) => return Err(OptionsError::UnexpectedValue(option)),
                ('l', Some(language)) => parsed.language = Some(language),
                ('x', Some(value)) => parsed.variables = options::variables(&value)?,
                ('l' | 'x', None) => return Err(OptionsError::NoValue(option)),
                _ => return Err(OptionsError::Unknown { option, known: KNOWN }),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_read_and_a_wrong_one_says_what_is_wrong() {
        assert_eq!(AssistOptions::parse(" "), Ok(AssistOptions::default()));
        let parsed = AssistOptions::parse("desk,ol(de)x(name=Ann^tier=gold)").expect("valid");
        assert_eq!((parsed.profile.as_deref(), parsed.side), (Some("desk"), Side::Operator));
        assert_eq!(parsed.language.as_deref(), Some("de"));
        assert_eq!(parsed.variables, [("name".into(), "Ann".into()), ("tier".into(), "gold".into())]);
        let error = |text: &str| AssistOptions::parse(text).expect_err(text).to_string();
        assert_eq!(error("p,g(Hi)"), "unknown option 'g'; known are l o x");
        assert_eq!(error("p,o(yes)"), "option 'o' takes no value");
        assert_eq!(error("p,l"), "option 'l' needs a value in parentheses");
        assert_eq!(error("p,x(hunter2)"), "option 'x(…)': expected 'name=value', more of them joined by ^");
        assert_eq!(error("p,l(ru"), "option 'l' has no closing parenthesis");
    }
}
