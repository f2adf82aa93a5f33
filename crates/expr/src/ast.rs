//! The tree that the parser makes: names are not resolved yet.

use crate::predicate::{Arithmetic, Comparison, ContainsMode, Step};
use mishards_types::Value;

/// A node with the column where it starts and the number of levels below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ast {
    pub column: usize,
    pub height: usize,
    pub node: Node,
}

impl Ast {
    pub fn new(column: usize, node: Node) -> Ast {
        Ast { column, height: node.height(), node }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Literal(Value),
    Template(String),
    List(Vec<Ast>),
    Name {
        name: String,
        steps: Vec<Step>,
    },
    Negate(Box<Ast>),
    Not(Box<Ast>),
    And(Vec<Ast>),
    Or(Vec<Ast>),
    Arithmetic(Arithmetic, Box<Ast>, Box<Ast>),
    /// Constants only.
    Power(Box<Ast>, Box<Ast>),
    Compare(Comparison, Box<Ast>, Box<Ast>),
    /// `low < middle <= high`, with the operators as written.
    Chain {
        first: Box<Ast>,
        op1: Comparison,
        middle: Box<Ast>,
        op2: Comparison,
        last: Box<Ast>,
    },
    In {
        value: Box<Ast>,
        list: Box<Ast>,
        negated: bool,
    },
    Like {
        value: Box<Ast>,
        pattern: Box<Ast>,
    },
    IsNull {
        value: Box<Ast>,
        negated: bool,
    },
    Exists(Box<Ast>),
    Contains {
        mode: ContainsMode,
        value: Box<Ast>,
        item: Box<Ast>,
    },
    ArrayLength(Box<Ast>),
}

impl Node {
    /// One more than the highest child: none of them is walked again.
    fn height(&self) -> usize {
        let highest = |parts: &[Ast]| parts.iter().map(|p| p.height).max().unwrap_or(0);
        let below = match self {
            Node::Literal(_) | Node::Template(_) | Node::Name { .. } => return 0,
            Node::List(parts) | Node::And(parts) | Node::Or(parts) => highest(parts),
            Node::Negate(a) | Node::Not(a) | Node::Exists(a) | Node::ArrayLength(a) => a.height,
            Node::IsNull { value, .. } => value.height,
            Node::Arithmetic(_, a, b) | Node::Compare(_, a, b) | Node::Power(a, b) => a.height.max(b.height),
            Node::In { value, list, .. } => value.height.max(list.height),
            Node::Like { value, pattern } => value.height.max(pattern.height),
            Node::Contains { value, item, .. } => value.height.max(item.height),
            Node::Chain { first, middle, last, .. } => first.height.max(middle.height).max(last.height),
        };
        below + 1
    }
}
