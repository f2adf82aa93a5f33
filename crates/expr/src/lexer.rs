//! Text to tokens.

use crate::{Error, Result, check_wanted};
use std::str::Chars;
use std::sync::atomic::AtomicBool;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Int(i64),
    /// 9223372036854775808, which only a minus sign in front makes an integer.
    Smallest,
    Float(f64),
    Str(String),
    Ident(String),
    Template(String),
    Symbol(&'static str),
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 27] = [
    "**", "==", "!=", "<=", ">=", "=~", "!~", "<<", ">>", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "(",
    ")", "[", "]", ",", "!", "&", "|", "^",
];

/// Splits a filter into tokens, each with its column.
pub fn tokenize(text: &str, stopped: &AtomicBool) -> Result<Vec<(usize, Token)>> {
    let mut lexer = Lexer { rest: text.chars(), column: 1 };
    let mut tokens = Vec::new();
    loop {
        check_wanted(tokens.len(), stopped)?;
        while lexer.peek().is_some_and(char::is_whitespace) {
            lexer.next();
        }
        let column = lexer.column;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((column, token));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: Chars<'a>,
    column: usize,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        self.column += 1;
        self.rest.next()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|c| accept(*c)) {
            out.push(c);
            self.next();
        }
        out
    }

    fn token(&mut self) -> Result<Token> {
        let column = self.column;
        let Some(c) = self.peek() else {
            return Ok(Token::End);
        };
        if c == '"' || c == '\'' {
            return self.string(false);
        }
        if c.is_ascii_digit() || (c == '.' && self.rest.clone().nth(1).is_some_and(|d| d.is_ascii_digit())) {
            return self.number();
        }
        if c.is_ascii_alphabetic() || c == '_' || c == '$' {
            return self.word();
        }
        if c == '{' {
            return self.template();
        }
        for symbol in SYMBOLS {
            if self.rest.as_str().starts_with(symbol) {
                for _ in 0..symbol.len() {
                    self.next();
                }
                return Ok(Token::Symbol(symbol));
            }
        }
        Err(Error::at(column, format!("unexpected character {c:?}")))
    }

    fn word(&mut self) -> Result<Token> {
        let mut word = String::new();
        if self.peek() == Some('$') {
            word.push('$');
            self.next();
        }
        word += &self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let quoted = matches!(self.peek(), Some('"' | '\''));
        match word.as_str() {
            "r" | "R" if quoted => self.string(true),
            "u8" | "u" | "U" | "L" if quoted => self.string(false),
            _ => Ok(Token::Ident(word)),
        }
    }

    fn template(&mut self) -> Result<Token> {
        let column = self.column;
        self.next();
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || self.next() != Some('}') {
            return Err(Error::at(column, "a template is written {name}"));
        }
        Ok(Token::Template(name))
    }

    fn number(&mut self) -> Result<Token> {
        let column = self.column;
        let text = self.rest.as_str();
        let bad = |t: &str| Error::at(column, format!("{t:?} is not a number, or is out of range"));
        for (prefix, radix) in [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2)] {
            if let Some(body) = text.strip_prefix(prefix) {
                let digits: String = body.chars().take_while(char::is_ascii_alphanumeric).collect();
                for _ in 0..prefix.len() + digits.len() {
                    self.next();
                }
                return i64::from_str_radix(&digits, radix).map(Token::Int).map_err(|_| bad(&digits));
            }
        }
        let mut digits = self.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        if self.peek() == Some('.') {
            float = true;
            digits.push('.');
            self.next();
            digits += &self.take_while(|c| c.is_ascii_digit());
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            float = true;
            digits.push('e');
            self.next();
            if let Some(sign) = self.peek().filter(|c| *c == '+' || *c == '-') {
                digits.push(sign);
                self.next();
            }
            digits += &self.take_while(|c| c.is_ascii_digit());
        }
        if self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(bad(&digits));
        }
        if float {
            return digits
                .parse()
                .ok()
                .filter(|v: &f64| v.is_finite())
                .map(Token::Float)
                .ok_or_else(|| bad(&digits));
        }
        let octal = digits.len() > 1 && digits.starts_with('0');
        let parsed = if octal { i64::from_str_radix(&digits, 8) } else { digits.parse() };
        match parsed {
            Ok(v) => Ok(Token::Int(v)),
            Err(_) if digits == "9223372036854775808" => Ok(Token::Smallest),
            Err(_) => Err(bad(&digits)),
        }
    }

    fn string(&mut self, raw: bool) -> Result<Token> {
        let column = self.column;
        let quote = self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                None => return Err(Error::at(column, "the string has no end")),
                c if c == quote => return Ok(Token::Str(out)),
                Some('\\') if !raw => self.escape(&mut out)?,
                Some(c) => out.push(c),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<()> {
        let column = self.column;
        let bad = || Error::at(column, "a malformed escape in a string");
        let Some(c) = self.next() else { return Err(bad()) };
        let plain = match c {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\'' | '"' | '?' | '\\' => c,
            'x' => self.code(2, 16).ok_or_else(bad)?,
            'u' => self.code(4, 16).ok_or_else(bad)?,
            'U' => self.code(8, 16).ok_or_else(bad)?,
            '0'..='7' => {
                let mut value = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(d) = self.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + d;
                    self.next();
                }
                char::from_u32(value).ok_or_else(bad)?
            }
            other => {
                // Unknown escapes are kept: `\%` and `\_` mean something to `like`.
                out.push('\\');
                other
            }
        };
        out.push(plain);
        Ok(())
    }

    fn code(&mut self, digits: usize, radix: u32) -> Option<char> {
        let mut value = 0u32;
        for _ in 0..digits {
            value = value.checked_mul(radix)?.checked_add(self.next()?.to_digit(radix)?)?;
        }
        char::from_u32(value)
    }
}
