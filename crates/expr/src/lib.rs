//! The filter language: text to tokens to tree to a typed predicate over the fields of a schema. Pure.
//!
//! Grammar and semantics: Milvus boolean expressions, for the types that we have.

mod ast;
mod check;
mod error;
mod fold;
mod lexer;
mod like;
mod parser;
mod predicate;

pub use error::{Error, Result};
pub use like::LikePattern;
pub use predicate::{Arithmetic, Comparison, ContainsMode, Operand, Predicate, Step};

use mishards_types::{Schema, Value};
use std::collections::BTreeMap;

/// Values for `{name}` in a filter.
pub type Templates = BTreeMap<String, Value>;

/// Parses and type-checks a filter. An empty text matches every row.
pub fn compile(text: &str, templates: &Templates, schema: &Schema) -> Result<Predicate> {
    if text.trim().is_empty() {
        return Ok(Predicate::Const(true));
    }
    let tree = parser::parse(text)?;
    check::check(&tree, templates, schema)
}

/// Reads the name of a group-by or output field that may be a path into JSON: `field["a"]["b"]`.
pub fn parse_path(text: &str, schema: &Schema) -> Result<Operand> {
    let tree = parser::parse(text)?;
    check::check_path(&tree, schema)
}
