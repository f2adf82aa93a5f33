//! Predicates that an inverted index answers without touching the column.

use super::Ternary;
use crate::cancel::{Cancel, STRIDE};
use crate::unit::Unit;
use arrow_array::Array;
use mishards_expr::{Comparison, ContainsMode, Operand, Predicate};
use mishards_index::{InvertedIndex, Term};
use mishards_types::{Bitmap, DataType, FieldId, Key, Value};
use std::ops::Bound;

/// The answer from an index, when the field has one that can give it exactly.
pub fn evaluate(unit: &Unit, predicate: &Predicate, cancel: &Cancel) -> Option<Ternary> {
    if let Some(found) = by_key(unit, predicate, cancel) {
        return Some(found);
    }
    let yes = match predicate {
        Predicate::Compare(Operand::Column { field, data_type }, op, Operand::Literal(value)) => {
            let index = index_of(unit, *field)?;
            range(index, *op, &term(*data_type, value)?, unit.rows.len())?
        }
        Predicate::In(Operand::Column { field, data_type }, values) => {
            let index = index_of(unit, *field)?;
            let mut out = Bitmap::zeros(unit.rows.len());
            for (i, value) in values.iter().enumerate() {
                if i % STRIDE == 0 && cancel.is_cancelled() {
                    break;
                }
                index.equal(&term(*data_type, value)?, &mut out);
            }
            out
        }
        Predicate::Like(Operand::Column { field, .. }, pattern) => {
            let index = index_of(unit, *field)?;
            let mut out = Bitmap::zeros(unit.rows.len());
            let prefix = pattern.prefix().map_or("", |(prefix, _)| prefix);
            index.matching(prefix, |text| pattern.matches_until(text, cancel.flag()), &mut out);
            out
        }
        Predicate::Contains(mode, Operand::Column { field, data_type: DataType::Array }, values) => {
            return contains(unit, *field, *mode, values, cancel);
        }
        _ => return None,
    };
    let field = match predicate {
        Predicate::Compare(Operand::Column { field, .. }, ..)
        | Predicate::In(Operand::Column { field, .. }, _)
        | Predicate::Like(Operand::Column { field, .. }, _) => *field,
        _ => return None,
    };
    with_nulls(unit, field, yes)
}

/// A key is found in the index in the time that so many rows take to be looked up in a set, about.
const KEYS_OF_SCAN: usize = 4;

/// Keys that are named: each is found in the key index, whatever the number of rows.
fn by_key(unit: &Unit, predicate: &Predicate, cancel: &Cancel) -> Option<Ternary> {
    let (operand, values) = match predicate {
        Predicate::Compare(operand, Comparison::Eq, Operand::Literal(value)) => {
            (operand, std::slice::from_ref(value))
        }
        // Many keys are looked up in a set sooner than each in the index.
        Predicate::In(operand, values) if values.len() * KEYS_OF_SCAN <= unit.rows.len() => {
            (operand, &values[..])
        }
        _ => return None,
    };
    if !matches!(operand, Operand::Column { field, .. } if *field == unit.rows.primary()) {
        return None;
    }
    let keys = unit.by_key()?;
    let mut out = Bitmap::zeros(unit.rows.len());
    for (i, value) in values.iter().enumerate() {
        if i % STRIDE == 0 && cancel.is_cancelled() {
            break;
        }
        let key = match value {
            Value::Int(v) => Key::Int(*v),
            Value::Str(v) => Key::Str(v.as_str().into()),
            _ => return None,
        };
        keys.rows_of(&key).for_each(|row| out.set(row as usize));
    }
    Some(Ternary::known(out))
}

fn index_of(unit: &Unit, field: FieldId) -> Option<&InvertedIndex> {
    unit.inverted.get(&field).map(|index| &**index)
}

/// The term of a constant; `None` when the column's values and the constant do not compare exactly as terms.
fn term(data_type: DataType, value: &Value) -> Option<Term> {
    match (data_type, value) {
        (DataType::Bool, Value::Bool(v)) => Some(Term::Int((*v).into())),
        (t, Value::Int(v)) if t.is_integer() => Some(Term::Int(*v)),
        // Constants are in the column's type already, and values of a Float column were widened.
        (t, Value::Float(v)) if t.is_float() => Some(Term::Float(if *v == 0.0 { 0.0 } else { *v })),
        (t, Value::Int(v)) if t.is_float() && v.unsigned_abs() < 1 << 53 => Some(Term::Float(*v as f64)),
        (DataType::VarChar, Value::Str(v)) => Some(Term::Str(v.clone())),
        _ => None,
    }
}

fn range(index: &InvertedIndex, op: Comparison, term: &Term, rows: usize) -> Option<Bitmap> {
    let mut out = Bitmap::zeros(rows);
    let (from, to) = match op {
        Comparison::Eq => (Bound::Included(term), Bound::Included(term)),
        Comparison::Lt => (Bound::Unbounded, Bound::Excluded(term)),
        Comparison::Le => (Bound::Unbounded, Bound::Included(term)),
        Comparison::Gt => (Bound::Excluded(term), Bound::Unbounded),
        Comparison::Ge => (Bound::Included(term), Bound::Unbounded),
        Comparison::Ne => {
            index.range(Bound::Unbounded, Bound::Excluded(term), &mut out);
            (Bound::Excluded(term), Bound::Unbounded)
        }
    };
    index.range(from, to, &mut out);
    Some(out)
}

fn contains(
    unit: &Unit,
    field: FieldId,
    mode: ContainsMode,
    values: &[Value],
    cancel: &Cancel,
) -> Option<Ternary> {
    let index = index_of(unit, field)?;
    let element = unit.schema.field_by_id(field)?.element?;
    let rows = unit.rows.len();
    let all = mode == ContainsMode::All;
    let mut yes = if all { Bitmap::ones(rows) } else { Bitmap::zeros(rows) };
    for value in values {
        if cancel.is_cancelled() {
            break;
        }
        let term = term(element, value)?;
        if all {
            let mut has = Bitmap::zeros(rows);
            index.equal(&term, &mut has);
            yes.and(&has);
        } else {
            index.equal(&term, &mut yes);
        }
    }
    with_nulls(unit, field, yes)
}

fn with_nulls(unit: &Unit, field: FieldId, mut yes: Bitmap) -> Option<Ternary> {
    let array = unit.rows.scalar(field)?;
    let unknown = match array.null_count() {
        0 => Bitmap::zeros(array.len()),
        _ => Bitmap::from_fn(array.len(), |i| array.is_null(i)),
    };
    yes.and_not(&unknown);
    Some(Ternary { yes, unknown })
}
