//! What somebody says until the next pause, as tokens.

use serde_json::{Value, json};

/// One utterance in progress.
#[derive(Debug)]
pub(super) struct Utterance {
    /// Parts of words; `None`: nobody knows what is said.
    tokens: Option<Vec<String>>,
    /// How many of them were told, guesses among them.
    told: usize,
    /// How many of them were told for good.
    fixed: usize,
    from_ms: u64,
    /// Where the last word ended, once that is known.
    pub(super) stopped_ms: Option<u64>,
}

impl Utterance {
    /// Somebody began to say `text` at `from_ms`.
    pub(super) fn new(text: Option<String>, from_ms: u64) -> Self {
        Self { tokens: text.as_deref().map(tokens), told: 0, fixed: 0, from_ms, stopped_ms: None }
    }

    /// What is heard of it at `at_ms`: the tokens that became final, and the guesses. `None`: no news.
    pub(super) fn guess(&mut self, at_ms: u64) -> Option<Vec<Value>> {
        let spoken_ms = at_ms.saturating_sub(self.from_ms);
        let Some(tokens) = &self.tokens else {
            let first = std::mem::replace(&mut self.told, 1) == 0;
            return first.then(|| vec![token("…", self.from_ms, at_ms, false)]);
        };
        let told = (1 + spoken_ms / TOKEN_MS).min(tokens.len() as u64) as usize;
        let fixed = (spoken_ms.saturating_sub(DOUBT_MS) / TOKEN_MS).min(tokens.len().saturating_sub(1) as u64) as usize;
        if (told, fixed) == (self.told, self.fixed) {
            return None;
        }
        let heard = (self.fixed..told).map(|number| {
            let start_ms = self.from_ms + number as u64 * TOKEN_MS;
            token(&tokens[number], start_ms, start_ms + TOKEN_MS, number < fixed)
        });
        let heard = heard.collect();
        (self.told, self.fixed) = (told, fixed);
        Some(heard)
    }

    /// Final tokens reach so far. [ms]
    pub(super) fn final_ms(&self) -> u64 {
        self.from_ms + self.fixed as u64 * TOKEN_MS
    }

    /// All that was not told for good yet; the speech ended at `at_ms` at the latest.
    pub(super) fn finish(self, at_ms: u64) -> Vec<Value> {
        let end_ms = self.stopped_ms.unwrap_or(at_ms);
        let from_ms = self.final_ms().min(end_ms);
        let tokens = self.tokens.unwrap_or_else(|| tokens(&crate::words::unknown(end_ms - self.from_ms)));
        let left = &tokens[self.fixed.min(tokens.len())..];
        let place = |number: usize| from_ms + (end_ms - from_ms) * number as u64 / left.len() as u64;
        left.iter().enumerate().map(|(number, text)| token(text, place(number), place(number + 1), true)).collect()
    }
}

/// A token that is no word.
pub(super) fn mark(text: &str) -> Value {
    json!({"text": text, "is_final": true})
}

fn token(text: &str, start_ms: u64, end_ms: u64, is_final: bool) -> Value {
    json!({"text": text, "start_ms": start_ms, "end_ms": end_ms, "confidence": 0.95, "is_final": is_final})
}

/// `text` in words, the longer ones in two. Together they are `text` to the last space.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // A token begins with the space before its word.
        let word = rest.char_indices().skip(1).find(|(_, c)| c.is_whitespace()).map_or(rest.len(), |(at, _)| at);
        let (word, after) = rest.split_at(word);
        let middle = word.char_indices().nth(LONG_WORD_CHARS / 2).filter(|_| word.chars().count() > LONG_WORD_CHARS);
        let (first, second) = word.split_at(middle.map_or(word.len(), |(at, _)| at));
        tokens.extend([first, second].into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
        rest = after;
    }
    tokens
}

/// People say about four parts of words a second.
const TOKEN_MS: u64 = 250;

/// So long a guess may still change.
const DOUBT_MS: u64 = 1500;

const LONG_WORD_CHARS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[Value], is_final: bool) -> String {
        tokens
            .iter()
            .filter(|token| token["is_final"] == is_final)
            .map(|token| token["text"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn tokens_are_the_text_in_parts() {
        let text = "Сколько стоит перегородка из дуба?";
        assert_eq!(tokens(text).concat(), text);
        assert_eq!(tokens(text), ["Сколько", " стоит", " пер", "егородка", " из", " дуба?"]);
    }

    #[test]
    fn guesses_become_final_once_and_the_times_do_not_overlap() {
        let mut utterance = Utterance::new(Some("раз два три четыре пять шесть семь восемь".to_owned()), 1000);
        let mut last = String::new();
        let mut told = Vec::new();
        for at_ms in (1000..3600).step_by(100) {
            if let Some(tokens) = utterance.guess(at_ms) {
                last = texts(&tokens, false);
                told.extend(tokens.into_iter().filter(|token| token["is_final"] == true));
            }
        }
        assert!(texts(&told, true).starts_with("раз два") && !last.contains("раз"), "{told:?} {last}");
        utterance.stopped_ms = Some(3500);
        told.extend(utterance.finish(4100));
        assert_eq!(texts(&told, true), "раз два три четыре пять шесть семь восемь");
        let times: Vec<_> = told.iter().flat_map(|token| [&token["start_ms"], &token["end_ms"]]).collect();
        assert!(times.is_sorted_by_key(|time| time.as_u64()), "{times:?}");
        assert_eq!((times[0].as_u64(), times[times.len() - 1].as_u64()), (Some(1000), Some(3500)));
    }

    #[test]
    fn what_nobody_knows_is_told_by_its_length() {
        let mut utterance = Utterance::new(None, 500);
        assert!(utterance.guess(600).is_some() && utterance.guess(700).is_none());
        utterance.stopped_ms = Some(3600);
        assert_eq!(texts(&utterance.finish(4200), true), "(3.1 s of speech)");
    }
}
