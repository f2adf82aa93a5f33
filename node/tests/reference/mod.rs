//! A naive interpreter of typed predicates, one row and one value at a time: what filters are compared with.

use mishards_expr::{Arithmetic, ContainsMode, Operand, Predicate, Step};
use mishards_types::{FieldId, Value};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A row by field.
pub type Row = BTreeMap<FieldId, Val>;

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Val>),
    Object,
    Json(&'static str),
}

/// Whether a row matches: unknown is not true.
pub fn is_true(predicate: &Predicate, row: &Row) -> bool {
    truth(predicate, row) == Some(true)
}

fn truth(predicate: &Predicate, row: &Row) -> Option<bool> {
    match predicate {
        Predicate::Const(v) => Some(*v),
        Predicate::Not(inner) => truth(inner, row).map(|v| !v),
        Predicate::And(parts) => all_of(parts.iter().map(|p| truth(p, row)).collect(), true),
        Predicate::Or(parts) => all_of(parts.iter().map(|p| truth(p, row)).collect(), false),
        Predicate::Compare(left, op, right) => {
            compare(&value(left, row), &value(right, row)).map(|o| op.accepts(o))
        }
        Predicate::In(operand, values) => one_of(&value(operand, row), values),
        Predicate::Like(operand, pattern) => match value(operand, row) {
            Val::Str(text) => Some(pattern.matches(&text)),
            _ => None,
        },
        Predicate::IsNull(operand) => Some(value(operand, row) == Val::Null),
        Predicate::Exists(operand) => Some(value(operand, row) != Val::Null),
        Predicate::Contains(mode, operand, values) => {
            let Val::List(items) = value(operand, row) else { return None };
            let has = |v: &Value| items.iter().any(|i| compare(i, &constant(v)) == Some(Ordering::Equal));
            Some(if *mode == ContainsMode::All { values.iter().all(has) } else { values.iter().any(has) })
        }
    }
}

/// `and` when all are to be true; `or` is its mirror image.
fn all_of(parts: Vec<Option<bool>>, wanted: bool) -> Option<bool> {
    if parts.contains(&Some(!wanted)) {
        return Some(!wanted);
    }
    if parts.contains(&None) { None } else { Some(wanted) }
}

/// Unknown when no value of the list is of the same kind.
fn one_of(found: &Val, values: &[Value]) -> Option<bool> {
    if *found == Val::Null {
        return None;
    }
    let comparisons: Vec<Ordering> = values.iter().filter_map(|v| compare(found, &constant(v))).collect();
    if comparisons.is_empty() && !values.is_empty() {
        return None;
    }
    Some(comparisons.contains(&Ordering::Equal))
}

fn constant(value: &Value) -> Val {
    match value {
        Value::Bool(v) => Val::Bool(*v),
        Value::Int(v) => Val::Int(*v),
        Value::Float(v) => Val::Float(*v),
        Value::Str(v) => Val::Str(v.clone()),
        Value::Array(v) => Val::List(v.iter().map(constant).collect()),
    }
}

fn value(operand: &Operand, row: &Row) -> Val {
    match operand {
        Operand::Literal(v) => constant(v),
        Operand::Column { field, .. } => row[field].clone(),
        Operand::Json { field, path } => at_path(&row[field], path),
        Operand::Element { field, index, .. } => match &row[field] {
            Val::List(items) => items.get(*index).cloned().unwrap_or(Val::Null),
            _ => Val::Null,
        },
        Operand::Length { field, json_path } => {
            let found =
                json_path.as_ref().map_or_else(|| row[field].clone(), |path| at_path(&row[field], path));
            if let Val::List(items) = found { Val::Int(items.len() as i64) } else { Val::Null }
        }
        Operand::Arithmetic(op, left, right) => arithmetic(*op, value(left, row), value(right, row)),
    }
}

fn at_path(document: &Val, path: &[Step]) -> Val {
    let Val::Json(text) = document else { return Val::Null };
    let root: serde_json::Value = serde_json::from_str(text).unwrap();
    let step = |at: serde_json::Value, step: &Step| match step {
        Step::Key(key) => at.as_object().and_then(|o| o.get(key)).cloned(),
        Step::Index(index) => at.as_array().and_then(|a| a.get(*index)).cloned(),
    };
    path.iter().try_fold(root, step).map_or(Val::Null, from_json)
}

fn from_json(value: serde_json::Value) -> Val {
    use serde_json::Value as J;
    match value {
        J::Null => Val::Null,
        J::Bool(v) => Val::Bool(v),
        J::Number(n) => n.as_i64().map_or_else(|| Val::Float(n.as_f64().unwrap()), Val::Int),
        J::String(s) => Val::Str(s),
        J::Array(items) => Val::List(items.into_iter().map(from_json).collect()),
        J::Object(_) => Val::Object,
    }
}

/// Values of one kind are ordered; all others, and null, do not compare.
fn compare(left: &Val, right: &Val) -> Option<Ordering> {
    match (left, right) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Str(a), Val::Str(b)) => Some(a.cmp(b)),
        (Val::Float(a), Val::Float(b)) => a.partial_cmp(b),
        // Constants are small here, so that the nearest float orders as the integer does.
        (Val::Int(a), Val::Float(b)) => (*a as f64).partial_cmp(b),
        (Val::Float(a), Val::Int(b)) => a.partial_cmp(&(*b as f64)),
        _ => None,
    }
}

fn arithmetic(op: Arithmetic, left: Val, right: Val) -> Val {
    if let (Val::Int(a), Val::Int(b)) = (&left, &right) {
        let (a, b) = (i128::from(*a), i128::from(*b));
        let exact = match op {
            Arithmetic::Add => Some(a + b),
            Arithmetic::Sub => Some(a - b),
            Arithmetic::Mul => Some(a * b),
            Arithmetic::Div => a.checked_div(b),
            Arithmetic::Mod => a.checked_rem(b),
        };
        return exact.and_then(|v| i64::try_from(v).ok()).map_or(Val::Null, Val::Int);
    }
    let number = |v: Val| match v {
        Val::Int(v) => Some(v as f64),
        Val::Float(v) => Some(v),
        _ => None,
    };
    let (Some(a), Some(b)) = (number(left), number(right)) else { return Val::Null };
    Val::Float(match op {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div => a / b,
        Arithmetic::Mod => a % b,
    })
}
