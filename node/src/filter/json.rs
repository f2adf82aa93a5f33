//! Looks up a path in a JSON text. Only the parts on the path are kept.

use super::operand::Cell;
use mishards_expr::Step;
use serde_json::Value;
use std::borrow::Cow;

/// The value at a path; null when it is not there.
pub fn at_path(text: &str, path: &[Step]) -> Cell<'static> {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return Cell::Null };
    for step in path {
        let next = match (step, &mut value) {
            (Step::Key(key), Value::Object(map)) => map.remove(key),
            (Step::Index(index), Value::Array(items)) if *index < items.len() => {
                Some(items.swap_remove(*index))
            }
            _ => None,
        };
        match next {
            Some(found) => value = found,
            None => return Cell::Null,
        }
    }
    cell(value)
}

fn cell(value: Value) -> Cell<'static> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(v) => Cell::Bool(v),
        Value::Number(n) => match n.as_i64() {
            Some(v) => Cell::Int(v),
            None => n.as_f64().map_or(Cell::Null, Cell::Float),
        },
        Value::String(s) => Cell::Str(Cow::Owned(s)),
        Value::Array(items) => Cell::List(items.into_iter().map(cell).collect()),
        Value::Object(_) => Cell::Object,
    }
}
