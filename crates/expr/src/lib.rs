//! The filter language: text to tokens to tree to a typed predicate over the fields of a schema. Pure.
//!
//! Grammar and semantics: Milvus boolean expressions, for the types that we have.

mod ast;
mod check;
mod constants;
mod error;
mod fold;
mod lexer;
mod like;
mod parser;
mod predicate;

pub use constants::Constants;
pub use error::{Error, Result};
pub use like::LikePattern;
pub use predicate::{Arithmetic, Comparison, ContainsMode, Operand, Predicate, Step};

use mishards_types::{Schema, Value};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Values for `{name}` in a filter.
pub type Templates = BTreeMap<String, Value>;

/// Parses and type-checks a filter. An empty text matches every row.
pub fn compile(text: &str, templates: &Templates, schema: &Schema) -> Result<Predicate> {
    compile_unless(&AtomicBool::new(false), text, templates, schema)
}

/// [`compile`], which ends early with an error when `stopped` is set: nobody waits for it any more.
pub fn compile_unless(
    stopped: &AtomicBool,
    text: &str,
    templates: &Templates,
    schema: &Schema,
) -> Result<Predicate> {
    if text.trim().is_empty() {
        return Ok(Predicate::Const(true));
    }
    let work = || check::check(&parser::parse(text, stopped)?, templates, schema, stopped);
    if nesting(text) < DEEP {
        return work();
    }
    // Each level takes a dozen calls: a thread's own stack may be too small for what frameworks nest.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(DEEP_STACK).spawn_scoped(scope, work);
        let thread =
            thread.map_err(|e| Error::at(1, format!("no thread for a filter that is nested deeply: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::at(1, "the filter could not be read")))
    })
}

/// Filters that may be nested deeper than this are read on a stack of their own.
const DEEP: usize = 40;
const DEEP_STACK: usize = 16 << 20;

/// Tokens or constants between two looks at whether anybody still waits.
const STRIDE: usize = 4096;

/// Looked at for each token and constant; an error at some of them when nobody waits any more.
fn check_wanted(count: usize, stopped: &AtomicBool) -> Result<()> {
    match count.is_multiple_of(STRIDE) && stopped.load(Ordering::Relaxed) {
        true => Err(Error::at(1, "nobody waits for this filter any more")),
        false => Ok(()),
    }
}

/// No filter is nested deeper than it has of these.
fn nesting(text: &str) -> usize {
    let signs = text.bytes().filter(|b| matches!(b, b'(' | b'[' | b'!' | b'-' | b'+' | b'*')).count();
    let words = ["not", "NOT", "exists", "EXISTS"];
    signs + words.iter().map(|word| text.matches(word).count()).sum::<usize>()
}

/// Reads the name of a group-by or output field that may be a path into JSON: `field["a"]["b"]`.
pub fn parse_path(text: &str, schema: &Schema) -> Result<Operand> {
    let tree = parser::parse(text, &AtomicBool::new(false))?;
    check::check_path(&tree, schema)
}
