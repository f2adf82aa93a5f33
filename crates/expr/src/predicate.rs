//! The typed predicate: what a node evaluates over columns. Three-valued: a comparison with null is unknown.

use crate::constants::Constants;
use crate::like::LikePattern;
use mishards_types::{DataType, FieldId, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    /// The operator with its sides exchanged.
    pub fn flip(self) -> Comparison {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::Le => Comparison::Ge,
            Comparison::Gt => Comparison::Lt,
            Comparison::Ge => Comparison::Le,
            same => same,
        }
    }

    /// Whether an ordering satisfies the operator.
    pub fn accepts(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Eq => ordering.is_eq(),
            Comparison::Ne => ordering.is_ne(),
            Comparison::Lt => ordering.is_lt(),
            Comparison::Le => ordering.is_le(),
            Comparison::Gt => ordering.is_gt(),
            Comparison::Ge => ordering.is_ge(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainsMode {
    One,
    All,
    Any,
}

/// A step of a JSON path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// What a row gives to a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Literal(Value),
    Column {
        field: FieldId,
        data_type: DataType,
    },
    /// A place inside a JSON field (the dynamic field included); an empty path is the whole value.
    Json {
        field: FieldId,
        path: Vec<Step>,
    },
    /// An element of an Array field; past the end is null.
    Element {
        field: FieldId,
        element: DataType,
        index: usize,
    },
    /// Number of elements of an Array field (no path) or of a JSON array; null for what is no array.
    Length {
        field: FieldId,
        json_path: Option<Vec<Step>>,
    },
    Arithmetic(Arithmetic, Box<Operand>, Box<Operand>),
}

/// A filter, checked against a schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    Const(bool),
    Compare(Operand, Comparison, Operand),
    /// The operand equals one of the values.
    In(Operand, Constants),
    Like(Operand, LikePattern),
    IsNull(Operand),
    /// The JSON path is there and not null.
    Exists(Operand),
    /// An array (field or JSON) has one, all or any of the values.
    Contains(ContainsMode, Operand, Constants),
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Not(Box<Predicate>),
}

impl Predicate {
    /// Whether every row matches, whatever it holds.
    pub fn is_all(&self) -> bool {
        *self == Predicate::Const(true)
    }
}
