//! `like` patterns: `%` is any run of characters, `_` is one character, a backslash escapes.

use std::sync::atomic::{AtomicBool, Ordering};

/// Steps between two looks at whether anybody still waits.
const STRIDE: u32 = 1 << 16;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikePattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(String),
    One,
    Run,
}

impl LikePattern {
    /// Compiles a pattern; `None` when its last character is a backslash that escapes nothing.
    pub fn new(pattern: &str) -> Option<LikePattern> {
        let mut tokens: Vec<Token> = Vec::new();
        let mut text = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '%' => Token::Run,
                '_' => Token::One,
                '\\' => {
                    text.push(chars.next()?);
                    continue;
                }
                c => {
                    text.push(c);
                    continue;
                }
            };
            if !text.is_empty() {
                tokens.push(Token::Text(std::mem::take(&mut text)));
            }
            if token != Token::Run || tokens.last() != Some(&Token::Run) {
                tokens.push(token);
            }
        }
        if !text.is_empty() {
            tokens.push(Token::Text(text));
        }
        Some(LikePattern { tokens })
    }

    /// The text that every match starts with, and whether that is all that is asked (`abc%`).
    pub fn prefix(&self) -> Option<(&str, bool)> {
        match self.tokens.as_slice() {
            [Token::Text(prefix), Token::Run] => Some((prefix, true)),
            [Token::Text(prefix), ..] => Some((prefix, false)),
            _ => None,
        }
    }

    /// Whether `text` matches, whole. A mismatch goes back to the last run only; the text after a run is looked for by the
    /// two-way search of the standard library, so that long patterns cost no product of lengths.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_until(text, &AtomicBool::new(false))
    }

    /// The same, given up once `stop` is set: then the answer means nothing. Single characters after a run are tried place
    /// by place, which for long patterns is a product of lengths.
    pub fn matches_until(&self, text: &str, stop: &AtomicBool) -> bool {
        let (mut at, mut token) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        let mut steps = 0u32;
        loop {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(STRIDE) && stop.load(Ordering::Relaxed) {
                return false;
            }
            let step = match self.tokens.get(token) {
                None if at == text.len() => return true,
                None => None,
                Some(Token::Run) if token + 1 == self.tokens.len() => return true,
                Some(Token::Run) => {
                    // The first place that the text after the run may stand at.
                    if let Some(Token::Text(next)) = self.tokens.get(token + 1) {
                        if token + 2 == self.tokens.len() {
                            return text[at..].ends_with(next.as_str());
                        }
                        match text[at..].find(next.as_str()) {
                            Some(found) => at += found,
                            None => return false,
                        }
                    }
                    retry = Some((token, at));
                    Some(0)
                }
                Some(Token::One) => text[at..].chars().next().map(char::len_utf8),
                Some(Token::Text(t)) => text[at..].starts_with(t.as_str()).then_some(t.len()),
            };
            match (step, retry) {
                (Some(length), _) => {
                    at += length;
                    token += 1;
                }
                (None, Some((run, from))) => {
                    let Some(c) = text[from..].chars().next() else {
                        return false;
                    };
                    // The run takes one more character, and looks again from there.
                    at = from + c.len_utf8();
                    token = run;
                    retry = None;
                }
                (None, None) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    #![allow(clippy::disallowed_methods, reason = "it measures real time")]

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("lib%", "libfoo", true),
            ("lib%", "alib", false),
            ("%foo%", "a foo b", true),
            ("a_c", "abc", true),
            ("a_c", "aüc", true),
            ("a_c", "ac", false),
            ("%a%b", "xxaxxab", true),
            ("%a%b", "xxaxxa", false),
            ("100\\%", "100%", true),
            ("100\\%", "1000", false),
            ("", "", true),
            ("", "x", false),
            ("%", "", true),
            ("%%", "x", true),
            ("%_", "", false),
        ] {
            assert_eq!(LikePattern::new(pattern).unwrap().matches(text), expected, "{pattern:?} on {text:?}");
        }
        assert_eq!(LikePattern::new("abc\\"), None, "nothing is escaped");
    }

    /// The product of the lengths would be 400 million steps each.
    #[test]
    fn long_patterns_on_long_texts() {
        let pattern = LikePattern::new(&format!("%a{}b%c%", "a".repeat(20_000))).unwrap();
        let text = "a".repeat(40_000);
        let began = std::time::Instant::now();
        for _ in 0..20 {
            assert!(!pattern.matches(&text));
        }
        assert!(pattern.matches(&format!("{text}bc")));
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
