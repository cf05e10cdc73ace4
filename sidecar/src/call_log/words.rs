//! What is looked for in the log: a number, or words that were said.

/// Characters that people write between the digits of a number.
const PUNCTUATION: [char; 6] = ['+', '-', '(', ')', '.', ' '];

/// Something to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sought {
    /// Part of a number.
    number: String,
    /// For FTS5; `None`: there is no word in it.
    words: Option<String>,
}

impl Sought {
    /// Takes apart what somebody has typed; `None`: nothing to look for.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let is_number = text.chars().all(|letter| letter.is_ascii_digit() || PUNCTUATION.contains(&letter));
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let number = if is_number && !digits.is_empty() { digits } else { text.to_owned() };
        let words: Vec<_> = text
            .split(|letter: char| !letter.is_alphanumeric())
            // One letter begins too many words to look them all up.
            .filter(|word| word.chars().count() > 1)
            // In quotation marks nothing of it is a command; the star is for its endings.
            .map(|word| format!("\"{}\"*", word.replace('ё', "е").replace('Ё', "Е")))
            .collect();
        Some(Self { number, words: (!words.is_empty()).then(|| words.join(" ")) })
    }

    /// True if it is part of `number`.
    pub(crate) fn is_in_number(&self, number: &str) -> bool {
        number.to_lowercase().contains(&self.number.to_lowercase())
    }

    /// It as part of a number, for LIKE with the escape character `\`.
    pub(super) fn number_pattern(&self) -> String {
        let mut pattern = String::from("%");
        for letter in self.number.chars() {
            if matches!(letter, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern + "%"
    }

    /// Its words, each with any ending, for FTS5's MATCH. Without a word it matches nothing.
    pub(super) fn words_query(&self) -> &str {
        self.words.as_deref().unwrap_or("\"\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sought(text: &str) -> Sought {
        Sought::new(text).expect("something")
    }

    #[test]
    fn a_number_is_found_however_it_is_written() {
        assert!(sought("+7 (912) 345-67").is_in_number("79123456789"));
        assert!(sought("1001").is_in_number("+1001"));
        assert!(sought("Desk").is_in_number("desk-1"));
        assert!(!sought("%").is_in_number("1001"));
        assert_eq!(sought("50%_\\").number_pattern(), "%50\\%\\_\\\\%");
        assert_eq!(sought("+7 912").number_pattern(), "%7912%");
    }

    #[test]
    fn words_are_words_whatever_stands_between_them() {
        assert_eq!(sought("заказ  доставк").words_query(), "\"заказ\"* \"доставк\"*");
        assert_eq!(sought("\" OR text:* NEAR(").words_query(), "\"OR\"* \"text\"* \"NEAR\"*");
        assert_eq!(sought("Ёлка ещё").words_query(), "\"Елка\"* \"еще\"*", "as migration 5 has it");
        assert_eq!(sought("?!").words_query(), "\"\"");
        assert_eq!(sought("а").words_query(), "\"\"", "it begins too many words");
        assert_eq!(sought("в офис").words_query(), "\"офис\"*");
        assert_eq!(Sought::new("  "), None);
    }
}
