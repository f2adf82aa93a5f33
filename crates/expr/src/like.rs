//! `like` patterns: `%` is any run of characters, `_` is one character, a backslash escapes.

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
    pub fn new(pattern: &str) -> LikePattern {
        let mut tokens: Vec<Token> = Vec::new();
        let mut text = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '%' => Token::Run,
                '_' => Token::One,
                '\\' => {
                    text.push(chars.next().unwrap_or('\\'));
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
        LikePattern { tokens }
    }

    /// The text that every match starts with, and whether that is all that is asked (`abc%`).
    pub fn prefix(&self) -> Option<(&str, bool)> {
        match self.tokens.as_slice() {
            [Token::Text(prefix), Token::Run] => Some((prefix, true)),
            [Token::Text(prefix), ..] => Some((prefix, false)),
            _ => None,
        }
    }

    /// Whether `text` matches, whole. Linear in the text for each run: a mismatch goes back to the last run only.
    pub fn matches(&self, text: &str) -> bool {
        let (mut at, mut token) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match self.tokens.get(token) {
                None if at == text.len() => return true,
                None => None,
                Some(Token::Run) if token + 1 == self.tokens.len() => return true,
                Some(Token::Run) => {
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
                    at = from + c.len_utf8();
                    token = run + 1;
                    retry = Some((run, at));
                }
                (None, None) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(LikePattern::new(pattern).matches(text), expected, "{pattern:?} on {text:?}");
        }
    }
}
