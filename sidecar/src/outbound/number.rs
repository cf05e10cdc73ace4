//! Telephone numbers: what they are made of, and which of them a trunk takes.
//!
//! A number ends up in a dial string and in the dialplan. It holds digits and perhaps a plus before them, so that it can
//! mean nothing else there: no other channel technology (`/`), host (`@`), second target (`&`), argument (`,`) or variable
//! (`${…}`), and no feature code of a network (`*`, `#`).

use std::fmt;

/// Longest number: the 15 digits of E.164 and a carrier's prefix. [digits]
const DIGITS_MAX: usize = 24;
/// Digits of a number in E.164 (ITU-T E.164 of 11/2010, 6.2): 15 at most; in practice 7 at least (+683 1234).
const E164_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A number that can be dialled: digits, perhaps with a plus before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(String);

/// The text is no [`Number`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {DIGITS_MAX} digits, perhaps after a +, and nothing else")]
pub struct NotANumber;

impl Number {
    /// The number in `text`.
    ///
    /// # Errors
    /// When anything else than digits and a leading plus is in it.
    pub fn parse(text: &str) -> Result<Self, NotANumber> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let valid = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if valid { Ok(Self(text.to_owned())) } else { Err(NotANumber) }
    }

    /// As it is dialled.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which numbers a trunk takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberPattern {
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    E164,
    /// A place each, and whether more digits may follow.
    Places(Vec<Place>, bool),
}

/// What may stand at one place of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place(Vec<char>);

impl NumberPattern {
    /// The word for any number in E.164.
    pub const E164: &str = "e164";

    /// Any number in E.164, with or without its plus.
    pub fn e164() -> Self {
        Self { text: Self::E164.to_owned(), rule: Rule::E164 }
    }

    /// The pattern in `text`: `e164`, one number, or a pattern as in `extensions.conf` (`_X` a digit, `Z` 1 to 9, `N` 2 to 9,
    /// `[13-5]` one of these, `.` at the end: one digit or more).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rule = match text.strip_prefix('_') {
            None if text == Self::E164 => Rule::E164,
            None => {
                let number = Number::parse(text).map_err(|_| expected(text))?;
                Rule::Places(number.as_str().chars().map(|char| Place(vec![char])).collect(), false)
            }
            Some(pattern) => places(pattern).ok_or_else(|| expected(text))?,
        };
        Ok(Self { text: text.to_owned(), rule })
    }

    /// True if `number` is one of these.
    pub fn takes(&self, number: &Number) -> bool {
        match &self.rule {
            Rule::E164 => {
                let digits = number.as_str().trim_start_matches('+');
                E164_DIGITS.contains(&digits.len()) && !digits.starts_with('0')
            }
            Rule::Places(places, open) => {
                let number: Vec<char> = number.as_str().chars().collect();
                let long_enough = if *open { number.len() > places.len() } else { number.len() == places.len() };
                long_enough && places.iter().zip(number).all(|(Place(allowed), char)| allowed.contains(&char))
            }
        }
    }
}

impl fmt::Display for NumberPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn expected(text: &str) -> String {
    format!(
        "'{text}' is neither e164, nor a number, nor a pattern like _7XXXXXXXXXX out of 0-9 + X Z N [2-5] and a . at the end"
    )
}

/// The places of a pattern, without its underscore.
fn places(pattern: &str) -> Option<Rule> {
    let (pattern, open) = pattern.strip_suffix('.').map_or((pattern, false), |rest| (rest, true));
    let mut places = Vec::new();
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        let allowed = match char {
            'X' | 'x' => ('0'..='9').collect(),
            'Z' | 'z' => ('1'..='9').collect(),
            'N' | 'n' => ('2'..='9').collect(),
            '0'..='9' => vec![char],
            '+' if places.is_empty() => vec![char],
            '[' => {
                let (inner, rest) = chars.as_str().split_once(']')?;
                chars = rest.chars();
                set(inner)?
            }
            _ => return None,
        };
        places.push(Place(allowed));
    }
    (open || !places.is_empty()).then_some(Rule::Places(places, open))
}

/// The digits of a set: `13-5` is 1, 3, 4 and 5.
fn set(text: &str) -> Option<Vec<char>> {
    let mut digits = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        let last = if chars.next_if_eq(&'-').is_some() { chars.next()? } else { first };
        if !first.is_ascii_digit() || !last.is_ascii_digit() || last < first {
            return None;
        }
        digits.extend(first..=last);
    }
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, number: &str) -> bool {
        NumberPattern::parse(pattern).expect(pattern).takes(&Number::parse(number).expect(number))
    }

    #[test]
    fn a_number_is_digits_and_nothing_that_means_anything_to_a_dial_string_or_the_dialplan() {
        for number in ["79123456789", "+79123456789", "112"] {
            assert_eq!(Number::parse(number).expect(number).as_str(), number);
        }
        let injections = [
            "",
            "+",
            "7912@evil.example",
            "7912&PJSIP/1001",
            "7912/1001",
            "7912,30",
            "${SHELL(id)}",
            "7912\r\nX: y",
            "7912 ",
            "*72",
            "#31#7912",
            "7912;x=y",
            "79+12",
            "++7912",
            "7912(1)",
            "sip:7912",
            "٧٩١٢",
            "7912\0",
            "1234567890123456789012345",
        ];
        for text in injections {
            assert_eq!(Number::parse(text), Err(NotANumber), "{text:?}");
        }
    }

    #[test]
    fn e164_has_a_country_code_and_fifteen_digits_at_most() {
        for number in ["79123456789", "+79123456789", "6831234", "123456789012345"] {
            assert!(takes("e164", number), "{number}");
        }
        for number in ["0079123456789", "089123456", "112", "1234567890123456"] {
            assert!(!takes("e164", number), "{number}");
        }
    }

    #[test]
    fn patterns_are_those_of_the_dialplan() {
        assert!(takes("112", "112") && !takes("112", "1123"));
        assert!(takes("_7XXXXXXXXXX", "79123456789") && !takes("_7XXXXXXXXXX", "7912345678"));
        assert!(!takes("_+7N.", "+79") && takes("_+7N.", "+791"));
        assert!(takes("_[13-5]Z", "49") && !takes("_[13-5]Z", "29") && !takes("_[13-5]Z", "40"));
        assert!(takes("_X.", "12") && !takes("_X.", "1"));
        assert!(!takes("_X.", "+12"), "a plus is no digit");
    }

    #[test]
    fn a_pattern_that_could_mean_something_else_is_refused() {
        for pattern in [
            "", "_", "_7X!", "_7.X", "_[", "_[1", "_[]", "_[a-c]", "_[5-3]", "_7+", "_7 X", "_*X", "E164", "abc",
            "_[1-",
        ] {
            let problem = NumberPattern::parse(pattern).expect_err(pattern);
            assert!(problem.contains("_7XXXXXXXXXX"), "{problem}");
        }
    }
}
