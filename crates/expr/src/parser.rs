//! Tokens to a tree, by recursive descent from the loosest operator to the tightest.

use crate::ast::{Ast, Node};
use crate::lexer::{Token, tokenize};
use crate::predicate::{Arithmetic, Comparison, ContainsMode, Step};
use crate::{Error, Result, check_wanted};
use mishards_types::Value;
use std::sync::atomic::AtomicBool;

/// Nesting beyond this is refused, so that no input can exhaust the stack.
const DEPTH: usize = 250;
/// And so is a tree with more levels: a row of arithmetic operators or of `==` makes one level each.
const HEIGHT: usize = 512;

/// Parses a whole text.
pub fn parse(text: &str, stopped: &AtomicBool) -> Result<Ast> {
    let mut parser = Parser { tokens: tokenize(text, stopped)?, at: 0, depth: 0, stopped };
    let tree = parser.or()?;
    match parser.peek() {
        Token::End => Ok(tree),
        other => Err(parser.unexpected(&format!("{other:?}"))),
    }
}

struct Parser<'a> {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    stopped: &'a AtomicBool,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }

    fn column(&self) -> usize {
        self.tokens[self.at].0
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].1.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn unexpected(&self, what: &str) -> Error {
        let what = if what == "End" { "end of the expression" } else { what };
        Error::at(self.column(), format!("unexpected {what}"))
    }

    fn symbol(&mut self, symbols: &[&'static str]) -> Option<&'static str> {
        match self.peek() {
            Token::Symbol(s) if symbols.contains(s) => {
                let s = *s;
                self.advance();
                Some(s)
            }
            _ => None,
        }
    }

    fn expect(&mut self, symbol: &'static str) -> Result<()> {
        match self.symbol(&[symbol]) {
            Some(_) => Ok(()),
            None => Err(Error::at(self.column(), format!("expected {symbol:?}"))),
        }
    }

    /// Keywords are all lower or all upper case.
    fn is_keyword_at(&self, at: usize, word: &str) -> bool {
        matches!(self.tokens.get(at), Some((_, Token::Ident(s))) if s == word || *s == word.to_ascii_uppercase())
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword_at(self.at, word);
        if found {
            self.advance();
        }
        found
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH {
            return Err(Error::at(
                self.column(),
                format!("the expression is nested deeper than {DEPTH} levels"),
            ));
        }
        self.depth += 1;
        let out = parse(self);
        self.depth -= 1;
        out
    }

    /// Passes a tree on if it is not too high.
    fn level(&self, tree: Ast) -> Result<Ast> {
        match tree.height > HEIGHT {
            true => Err(Error::at(self.column(), format!("the expression has more than {HEIGHT} levels"))),
            false => Ok(tree),
        }
    }

    fn or(&mut self) -> Result<Ast> {
        let column = self.column();
        let mut parts = vec![self.and()?];
        while self.symbol(&["||"]).is_some() || self.keyword("or") {
            parts.push(self.and()?);
        }
        Ok(join(column, parts, Node::Or))
    }

    fn and(&mut self) -> Result<Ast> {
        let column = self.column();
        let mut parts = vec![self.null_test()?];
        while self.symbol(&["&&"]).is_some() || self.keyword("and") {
            parts.push(self.null_test()?);
        }
        Ok(join(column, parts, Node::And))
    }

    fn null_test(&mut self) -> Result<Ast> {
        let column = self.column();
        let value = self.equality()?;
        if !self.is_keyword_at(self.at, "is") {
            return Ok(value);
        }
        self.advance();
        let negated = self.keyword("not");
        if !self.keyword("null") {
            return Err(Error::at(self.column(), "expected null"));
        }
        Ok(Ast::new(column, Node::IsNull { value: Box::new(value), negated }))
    }

    fn equality(&mut self) -> Result<Ast> {
        let column = self.column();
        let mut left = self.relation()?;
        while let Some(symbol) = self.symbol(&["==", "!="]) {
            let right = self.relation()?;
            let op = if symbol == "==" { Comparison::Eq } else { Comparison::Ne };
            left = self.level(Ast::new(column, Node::Compare(op, Box::new(left), Box::new(right))))?;
        }
        Ok(left)
    }

    fn relation_operator(&mut self) -> Option<Comparison> {
        self.symbol(&["<", "<=", ">", ">="]).map(|symbol| match symbol {
            "<" => Comparison::Lt,
            "<=" => Comparison::Le,
            ">" => Comparison::Gt,
            _ => Comparison::Ge,
        })
    }

    fn relation(&mut self) -> Result<Ast> {
        let column = self.column();
        let first = Box::new(self.membership()?);
        let Some(op1) = self.relation_operator() else {
            return Ok(*first);
        };
        let middle = Box::new(self.membership()?);
        let Some(op2) = self.relation_operator() else {
            return Ok(Ast::new(column, Node::Compare(op1, first, middle)));
        };
        let last = Box::new(self.membership()?);
        Ok(Ast::new(column, Node::Chain { first, op1, middle, op2, last }))
    }

    fn membership(&mut self) -> Result<Ast> {
        let column = self.column();
        let value = self.sum()?;
        let negated = self.is_keyword_at(self.at, "not") && self.is_keyword_at(self.at + 1, "in");
        if negated {
            self.advance();
        }
        if self.keyword("in") {
            let list = Box::new(self.sum()?);
            return Ok(Ast::new(column, Node::In { value: Box::new(value), list, negated }));
        }
        Ok(value)
    }

    fn sum(&mut self) -> Result<Ast> {
        self.left_chain(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Result<Ast> {
        self.left_chain(&["*", "/", "%"], Self::unary)
    }

    fn left_chain(&mut self, symbols: &[&'static str], next: fn(&mut Self) -> Result<Ast>) -> Result<Ast> {
        let column = self.column();
        let mut left = next(self)?;
        while let Some(symbol) = self.symbol(symbols) {
            let op = match symbol {
                "+" => Arithmetic::Add,
                "-" => Arithmetic::Sub,
                "*" => Arithmetic::Mul,
                "/" => Arithmetic::Div,
                _ => Arithmetic::Mod,
            };
            let right = next(self)?;
            left = self.level(Ast::new(column, Node::Arithmetic(op, Box::new(left), Box::new(right))))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast> {
        let column = self.column();
        if self.symbol(&["!"]).is_some() || self.keyword("not") {
            // Looser than in other languages does no harm: `not a > 1` can only mean `not (a > 1)`.
            let inner = self.deeper(Self::equality)?;
            return Ok(Ast::new(column, Node::Not(Box::new(inner))));
        }
        if self.symbol(&["-"]).is_some() {
            if *self.peek() == Token::Smallest {
                self.advance();
                return Ok(Ast::new(column, Node::Literal(Value::Int(i64::MIN))));
            }
            let inner = self.deeper(Self::unary)?;
            return Ok(negate(column, inner));
        }
        if self.symbol(&["+"]).is_some() {
            return self.deeper(Self::unary);
        }
        if self.is_keyword_at(self.at, "exists") {
            self.advance();
            let inner = self.deeper(Self::unary)?;
            return Ok(Ast::new(column, Node::Exists(Box::new(inner))));
        }
        let value = self.primary()?;
        if self.keyword("like") {
            let pattern = Box::new(self.primary()?);
            return Ok(Ast::new(column, Node::Like { value: Box::new(value), pattern }));
        }
        if self.symbol(&["**"]).is_some() {
            let exponent = self.deeper(Self::unary)?;
            return Ok(Ast::new(column, Node::Power(Box::new(value), Box::new(exponent))));
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<Ast> {
        let column = self.column();
        let token = self.advance();
        let node = match token {
            Token::Int(v) => Node::Literal(Value::Int(v)),
            Token::Float(v) => Node::Literal(Value::Float(v)),
            Token::Str(v) => Node::Literal(Value::Str(v)),
            Token::Template(name) => Node::Template(name),
            Token::Symbol("(") => {
                let inner = self.deeper(Self::or)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Symbol("[") => Node::List(self.deeper(|p| p.items("]"))?),
            Token::Ident(word) => return self.word(column, word),
            Token::Smallest => {
                return Err(Error::at(column, "\"9223372036854775808\" is not a number, or is out of range"));
            }
            Token::End => return Err(Error::at(column, "unexpected end of the expression")),
            Token::Symbol(s) => return Err(Error::at(column, format!("unexpected {s:?}"))),
        };
        Ok(Ast::new(column, node))
    }

    /// A plain constant of a list, of which there may be millions: all that stands between two commas.
    fn constant(&mut self) -> Option<Ast> {
        let column = self.column();
        let Some((_, Token::Symbol("," | "]" | ")"))) = self.tokens.get(self.at + 1) else { return None };
        let value = match &mut self.tokens[self.at].1 {
            Token::Int(v) => Value::Int(*v),
            Token::Float(v) => Value::Float(*v),
            // No token is read twice.
            Token::Str(v) => Value::Str(std::mem::take(v)),
            _ => return None,
        };
        self.at += 1;
        Some(Ast::new(column, Node::Literal(value)))
    }

    fn items(&mut self, end: &'static str) -> Result<Vec<Ast>> {
        let mut items = Vec::new();
        loop {
            check_wanted(items.len(), self.stopped)?;
            if self.symbol(&[end]).is_some() {
                return Ok(items);
            }
            items.push(match self.constant() {
                Some(constant) => constant,
                None => self.or()?,
            });
            if self.symbol(&[","]).is_none() {
                self.expect(end)?;
                return Ok(items);
            }
        }
    }

    fn word(&mut self, column: usize, word: String) -> Result<Ast> {
        match word.as_str() {
            "true" | "True" | "TRUE" => return Ok(Ast::new(column, Node::Literal(Value::Bool(true)))),
            "false" | "False" | "FALSE" => return Ok(Ast::new(column, Node::Literal(Value::Bool(false)))),
            "null" | "NULL" | "Null" => {
                return Err(Error::at(column, "null is tested with `is null` or `is not null`"));
            }
            _ => {}
        }
        if self.symbol(&["("]).is_some() {
            let arguments = self.deeper(|p| p.items(")"))?;
            return call(column, &word, arguments);
        }
        let mut steps = Vec::new();
        while self.symbol(&["["]).is_some() {
            steps.push(match self.advance() {
                Token::Str(key) => Step::Key(key),
                Token::Int(index) if index >= 0 => Step::Index(index as usize),
                _ => {
                    return Err(Error::at(
                        column,
                        format!("{word}[…] takes a quoted key or an index from 0"),
                    ));
                }
            });
            self.expect("]")?;
        }
        Ok(Ast::new(column, Node::Name { name: word, steps }))
    }
}

fn join(column: usize, mut parts: Vec<Ast>, node: fn(Vec<Ast>) -> Node) -> Ast {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => Ast::new(column, node(parts)),
    }
}

/// The smallest integer has no opposite: that one is left to the check of constants, which refuses it.
fn negate(column: usize, inner: Ast) -> Ast {
    let node = match inner.node {
        Node::Literal(Value::Int(v)) if v != i64::MIN => Node::Literal(Value::Int(-v)),
        Node::Literal(Value::Float(v)) => Node::Literal(Value::Float(-v)),
        _ => Node::Negate(Box::new(inner)),
    };
    Ast::new(column, node)
}

fn call(column: usize, name: &str, mut arguments: Vec<Ast>) -> Result<Ast> {
    let lower = name.to_ascii_lowercase();
    let wanted = if lower == "array_length" { 1 } else { 2 };
    let mode = match lower.as_str() {
        "json_contains" | "array_contains" => Some(ContainsMode::One),
        "json_contains_all" | "array_contains_all" => Some(ContainsMode::All),
        "json_contains_any" | "array_contains_any" => Some(ContainsMode::Any),
        "array_length" => None,
        _ => return Err(Error::at(column, format!("function {name} is not supported"))),
    };
    if arguments.len() != wanted {
        return Err(Error::at(column, format!("{name} takes {wanted} arguments, got {}", arguments.len())));
    }
    let node = match (mode, arguments.pop(), arguments.pop()) {
        (Some(mode), Some(item), Some(value)) => {
            Node::Contains { mode, value: Box::new(value), item: Box::new(item) }
        }
        (None, Some(value), _) => Node::ArrayLength(Box::new(value)),
        _ => return Err(Error::at(column, format!("{name} takes {wanted} arguments"))),
    };
    Ok(Ast::new(column, node))
}
