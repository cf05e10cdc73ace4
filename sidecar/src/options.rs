//! The arguments of the dialplan application: `AI([profile[,options]])`.
//!
//! Options are letters, most with an argument in parentheses: `ng(Good morning)t(300)`. Parentheses nest, and a
//! backslash takes the next character as it is.

use std::time::Duration;

use crate::outbound::Line;
use crate::settings::BargeInMode;

/// What one call asks for, beyond its profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// Profile name; `None` for the default one.
    pub profile: Option<String>,
    /// `n`: do not answer.
    pub no_answer: bool,
    /// `e`: connect to the AI before answering.
    pub early_connect: bool,
    /// `a`: find out whether a person or an answering machine has answered.
    pub detect_machine: bool,
    /// `v`: voice.
    pub voice: Option<String>,
    /// `m`: model.
    pub model: Option<String>,
    /// `l`: language.
    pub language: Option<String>,
    /// `u`: URL.
    pub url: Option<String>,
    /// `p`: instructions.
    pub instructions: Option<String>,
    /// `g`: greeting.
    pub greeting: Option<String>,
    /// `H`: extra headers of the handshake.
    pub headers: Vec<(String, String)>,
    /// `x`: variables for the agent.
    pub variables: Vec<(String, String)>,
    /// `b`: who may interrupt the agent.
    pub barge_in: Option<BargeInMode>,
    /// `d`: digits that end the conversation.
    pub end_digits: String,
    /// `t`: longest conversation.
    pub max_duration: Option<Duration>,
    /// `i`: end after that long without a word.
    pub idle_timeout: Option<Duration>,
}

/// What is wrong with the arguments; the operator's to mend in the dialplan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No such option.
    #[error("unknown option '{option}'; known are {known}")]
    Unknown {
        /// The option's letter.
        option: char,
        /// Those that there are.
        known: &'static str,
    },
    /// The option needs an argument and has none.
    #[error("option '{0}' needs a value in parentheses")]
    NoValue(char),
    /// The option takes no argument.
    #[error("option '{0}' takes no value")]
    UnexpectedValue(char),
    /// A parenthesis is open at the end.
    #[error("option '{0}' has no closing parenthesis")]
    Unclosed(char),
    /// The value is not what the option takes.
    #[error("option '{option}({value})': expected {expected}")]
    Value {
        /// The option's letter.
        option: char,
        /// What stands in its parentheses, unless that may be a secret.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// `n` and `e` exclude each other.
    #[error("options 'n' (do not answer) and 'e' (answer once connected) exclude each other")]
    AnswerConflict,
}

const KNOWN: &str = "a b d e g H i l m n p t u v x";

impl CallOptions {
    /// What of these options counts for a profile that stands in for the one they were written for: not its address,
    /// nor headers, which may hold its key, nor what is named in its provider's words.
    pub(crate) fn for_fallback(&self) -> Self {
        Self { url: None, model: None, voice: None, headers: Vec::new(), ..self.clone() }
    }

    /// Fills in what the outbound call `line` was ordered with, where these options do not say otherwise.
    pub fn complete(&mut self, line: &Line) {
        self.profile.get_or_insert_with(|| line.profile().to_owned());
        self.detect_machine |= line.detect_machine();
        // The last of a name counts.
        self.variables.splice(0..0, line.variables().iter().cloned());
    }

    /// Reads the application's whole argument text.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(arguments: &str) -> Result<Self, OptionsError> {
        let (profile, options) = split(arguments)?;
        let mut parsed = Self { profile, ..Self::default() };
        for (option, value) in options {
            parsed.apply(option, value)?;
        }
        if parsed.no_answer && parsed.early_connect {
            return Err(OptionsError::AnswerConflict);
        }
        Ok(parsed)
    }

    fn apply(&mut self, option: char, value: Option<String>) -> Result<(), OptionsError> {
        let flag = match option {
            'a' => &mut self.detect_machine,
            'n' => &mut self.no_answer,
            'e' => &mut self.early_connect,
            _ => return self.apply_value(option, value),
        };
        *flag = true;
        value.map_or(Ok(()), |_| Err(OptionsError::UnexpectedValue(option)))
    }

    fn apply_value(&mut self, option: char, value: Option<String>) -> Result<(), OptionsError> {
        if !KNOWN.contains(option) || option == ' ' {
            return Err(OptionsError::Unknown { option, known: KNOWN });
        }
        let value = value.ok_or(OptionsError::NoValue(option))?;
        let bad = |expected| {
            // What stands in these may be a secret.
            let value = if "Hu".contains(option) { "…".to_owned() } else { value.clone() };
            OptionsError::Value { option, value, expected }
        };
        match option {
            'v' => self.voice = Some(value),
            'm' => self.model = Some(value),
            'l' => self.language = Some(value),
            'u' => {
                if !value.starts_with("ws://") && !value.starts_with("wss://") {
                    return Err(bad("a URL that starts with ws:// or wss://"));
                }
                self.url = Some(value);
            }
            'p' => self.instructions = Some(value),
            'g' => self.greeting = Some(value),
            'H' => self.headers = pairs(&value, ':').ok_or(bad("'name: value', more of them joined by ^"))?,
            'x' => self.variables = variables(&value)?,
            'b' => {
                let word = BargeInMode::WORDS.iter().find(|(word, _)| *word == value);
                self.barge_in = Some(word.ok_or(bad("one of server, local, both, off"))?.1);
            }
            'd' => {
                if value.is_empty() || !value.chars().all(is_digit) {
                    return Err(bad("digits out of 0-9 * # A-D"));
                }
                self.end_digits = value;
            }
            't' => self.max_duration = Some(seconds(&value).ok_or(bad("seconds, more than 0"))?),
            _ => self.idle_timeout = Some(seconds(&value).ok_or(bad("seconds, more than 0"))?),
        }
        Ok(())
    }
}

/// What option `x` gives.
pub(crate) fn variables(value: &str) -> Result<Vec<(String, String)>, OptionsError> {
    pairs(value, '=').ok_or(OptionsError::Value {
        option: 'x',
        // It may be a secret.
        value: "…".to_owned(),
        expected: "'name=value', more of them joined by ^",
    })
}

/// True for a key of a telephone.
pub fn is_digit(key: char) -> bool {
    matches!(key, '0'..='9' | '*' | '#' | 'A'..='D')
}

/// `name<separator>value^name<separator>value` as pairs; `None` if a name is missing.
fn pairs(text: &str, separator: char) -> Option<Vec<(String, String)>> {
    text.split('^')
        .map(|pair| {
            let (name, value) = pair.split_once(separator)?;
            let name = name.trim();
            (!name.is_empty()).then(|| (name.to_owned(), value.trim().to_owned()))
        })
        .collect()
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse::<f64>().ok().filter(|&seconds| seconds > 0.0)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// An option's letter, and what stands in its parentheses if it has some.
type Lettered = (char, Option<String>);

/// The profile's name, if there is one, and the options of an application's argument text.
pub(crate) fn split(arguments: &str) -> Result<(Option<String>, Vec<Lettered>), OptionsError> {
    let (profile, options) = arguments.split_once(',').unwrap_or((arguments, ""));
    let profile = Some(profile.trim()).filter(|profile| !profile.is_empty());
    let mut parsed = Vec::new();
    let mut rest = options.trim();
    while let Some(option) = rest.chars().next() {
        let (value, after) = split_value(option, &rest[option.len_utf8()..])?;
        parsed.push((option, value));
        rest = after.trim_start();
    }
    Ok((profile.map(str::to_owned), parsed))
}

/// The parenthesised value at the start of `text`, unescaped, and what follows it.
fn split_value(option: char, text: &str) -> Result<(Option<String>, &str), OptionsError> {
    let Some(inner) = text.strip_prefix('(') else {
        return Ok((None, text));
    };
    let mut value = String::new();
    let mut depth = 0;
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.extend(chars.next().map(|(_, char)| char)),
            ')' if depth == 0 => return Ok((Some(value), &inner[at + 1..])),
            _ => {
                depth += i32::from(char == '(') - i32::from(char == ')');
                value.push(char);
            }
        }
    }
    Err(OptionsError::Unclosed(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arguments_mean_the_default_profile() {
        assert_eq!(CallOptions::parse(""), Ok(CallOptions::default()));
        assert_eq!(CallOptions::parse(" , "), Ok(CallOptions::default()));
    }

    #[test]
    fn every_option_is_read() {
        let text = "sales,aev(alloy)m(gpt-realtime)l(ru)u(wss://example.com/x)b(off)p(Be kind (always), please)g(Hi \\) there)\
                    H(X-Team: a^X-Id: 7)x(name=Ann^tier=gold)d(0#)t(90)i(2.5)";
        let parsed = CallOptions::parse(text).expect("all valid");
        assert_eq!(parsed.profile.as_deref(), Some("sales"));
        assert!(parsed.early_connect && !parsed.no_answer && parsed.detect_machine);
        assert_eq!(parsed.instructions.as_deref(), Some("Be kind (always), please"));
        assert_eq!(parsed.greeting.as_deref(), Some("Hi ) there"));
        assert_eq!(parsed.headers, [("X-Team".into(), "a".into()), ("X-Id".into(), "7".into())]);
        assert_eq!(parsed.variables, [("name".into(), "Ann".into()), ("tier".into(), "gold".into())]);
        assert_eq!(parsed.barge_in, Some(BargeInMode::Off));
        assert_eq!(parsed.end_digits, "0#");
        assert_eq!(parsed.max_duration, Some(Duration::from_secs(90)));
        assert_eq!(parsed.idle_timeout, Some(Duration::from_millis(2500)));
    }

    #[test]
    fn a_wrong_option_says_what_is_wrong() {
        let error = |text: &str| CallOptions::parse(text).expect_err(text).to_string();
        assert_eq!(error("p,z"), "unknown option 'z'; known are a b d e g H i l m n p t u v x");
        assert_eq!(error("p,g"), "option 'g' needs a value in parentheses");
        assert_eq!(error("p,n(yes)"), "option 'n' takes no value");
        assert_eq!(error("p,g(Hi"), "option 'g' has no closing parenthesis");
        assert_eq!(error("p,t(-1)"), "option 't(-1)': expected seconds, more than 0");
        assert_eq!(error("p,t(1e300)"), "option 't(1e300)': expected seconds, more than 0");
        assert_eq!(error("p,d(x)"), "option 'd(x)': expected digits out of 0-9 * # A-D");
        assert_eq!(error("p,u(http://x)"), "option 'u(…)': expected a URL that starts with ws:// or wss://");
        assert_eq!(error("p,b(loud)"), "option 'b(loud)': expected one of server, local, both, off");
        assert!(error("p,ne").contains("exclude each other"));
    }
}
