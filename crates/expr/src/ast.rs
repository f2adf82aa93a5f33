//! The tree that the parser makes: names are not resolved yet.

use crate::predicate::{Arithmetic, Comparison, ContainsMode, Step};
use mishards_types::Value;

/// A node with the column where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Ast {
    pub column: usize,
    pub node: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Literal(Value),
    Template(String),
    List(Vec<Ast>),
    Name { name: String, steps: Vec<Step> },
    Negate(Box<Ast>),
    Not(Box<Ast>),
    And(Vec<Ast>),
    Or(Vec<Ast>),
    Arithmetic(Arithmetic, Box<Ast>, Box<Ast>),
    Compare(Comparison, Box<Ast>, Box<Ast>),
    /// `low < middle <= high`, with the operators as written.
    Chain { first: Box<Ast>, op1: Comparison, middle: Box<Ast>, op2: Comparison, last: Box<Ast> },
    In { value: Box<Ast>, list: Box<Ast>, negated: bool },
    Like { value: Box<Ast>, pattern: Box<Ast> },
    IsNull { value: Box<Ast>, negated: bool },
    Exists(Box<Ast>),
    Contains { mode: ContainsMode, value: Box<Ast>, item: Box<Ast> },
    ArrayLength(Box<Ast>),
}
