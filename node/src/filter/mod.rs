//! Evaluates a typed predicate over columns, into bitmaps. Three-valued: a row is true, false or unknown; only true
//! rows match.

mod json;
mod operand;
mod set;
mod with_index;

use crate::cancel::{Cancel, STRIDE};
use crate::unit::Unit;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_schema::DataType as Arrow;
use mishards_expr::{Comparison, Constants, ContainsMode, LikePattern, Operand, Predicate};
use mishards_types::{Bitmap, Value};
use operand::{Cell, Cells};
use set::ValueSet;

/// Rows for which a predicate is true, and rows for which it is unknown.
#[derive(Debug, Clone)]
pub struct Ternary {
    yes: Bitmap,
    unknown: Bitmap,
}

impl Ternary {
    fn known(yes: Bitmap) -> Ternary {
        let unknown = Bitmap::zeros(yes.len());
        Ternary { yes, unknown }
    }

    /// From one answer a row: `None` is unknown. Once it is cancelled the rest is left as it is.
    fn from_fn(rows: usize, cancel: &Cancel, mut answer: impl FnMut(usize) -> Option<bool>) -> Ternary {
        let (mut yes, mut unknown) = (Bitmap::zeros(rows), Bitmap::zeros(rows));
        for row in 0..rows {
            if row % STRIDE == 0 && cancel.is_cancelled() {
                break;
            }
            match answer(row) {
                Some(true) => yes.set(row),
                Some(false) => {}
                None => unknown.set(row),
            }
        }
        Ternary { yes, unknown }
    }

    fn not(mut self) -> Ternary {
        self.yes.or(&self.unknown);
        self.yes.not();
        self
    }

    fn and(&mut self, other: &Ternary) {
        // Unknown where neither is false and not both are true.
        let mut possible = self.yes.clone();
        possible.or(&self.unknown);
        let mut other_possible = other.yes.clone();
        other_possible.or(&other.unknown);
        possible.and(&other_possible);
        self.yes.and(&other.yes);
        possible.and_not(&self.yes);
        self.unknown = possible;
    }

    fn or(&mut self, other: &Ternary) {
        self.yes.or(&other.yes);
        self.unknown.or(&other.unknown);
        self.unknown.and_not(&self.yes);
    }
}

/// The rows of a unit that match; `None` means all of them. What it answers once it is cancelled means nothing.
pub fn matching_rows(unit: &Unit, predicate: &Predicate, cancel: &Cancel) -> Option<Bitmap> {
    if predicate.is_all() {
        return None;
    }
    Some(evaluate(unit, predicate, cancel).yes)
}

fn evaluate(unit: &Unit, predicate: &Predicate, cancel: &Cancel) -> Ternary {
    let rows = unit.rows.len();
    if cancel.is_cancelled() {
        return Ternary::known(Bitmap::zeros(rows));
    }
    if let Some(found) = with_index::evaluate(unit, predicate, cancel) {
        return found;
    }
    match predicate {
        Predicate::Const(true) => Ternary::known(Bitmap::ones(rows)),
        Predicate::Const(false) => Ternary::known(Bitmap::zeros(rows)),
        Predicate::Not(inner) => evaluate(unit, inner, cancel).not(),
        Predicate::And(parts) => fold(unit, parts, Ternary::and, cancel),
        Predicate::Or(parts) => fold(unit, parts, Ternary::or, cancel),
        Predicate::Compare(left, op, right) => compare(unit, left, *op, right, cancel),
        Predicate::In(operand, values) => in_set(unit, operand, values, cancel),
        Predicate::Like(operand, pattern) => like(unit, operand, pattern, cancel),
        Predicate::IsNull(operand) => is_null(unit, operand, cancel),
        Predicate::Exists(operand) => {
            let mut found = is_null(unit, operand, cancel).yes;
            found.not();
            Ternary::known(found)
        }
        Predicate::Contains(mode, operand, values) => contains(unit, *mode, operand, values, cancel),
    }
}

fn fold(unit: &Unit, parts: &[Predicate], join: fn(&mut Ternary, &Ternary), cancel: &Cancel) -> Ternary {
    let mut parts = parts.iter().map(|p| evaluate(unit, p, cancel));
    let Some(mut out) = parts.next() else { return Ternary::known(Bitmap::ones(unit.rows.len())) };
    parts.for_each(|p| join(&mut out, &p));
    out
}

fn compare(unit: &Unit, left: &Operand, op: Comparison, right: &Operand, cancel: &Cancel) -> Ternary {
    let rows = unit.rows.len();
    if let (Operand::Column { field, .. }, Operand::Literal(value)) = (left, right)
        && let Some(fast) = compare_column(unit, *field, op, value)
    {
        return fast;
    }
    let (left, right) = (Cells::new(unit, left), Cells::new(unit, right));
    Ternary::from_fn(rows, cancel, |row| left.get(row).satisfies(op, &right.get(row)))
}

/// The common case without a value per row: a typed column against a constant.
fn compare_column(
    unit: &Unit,
    field: mishards_types::FieldId,
    op: Comparison,
    value: &Value,
) -> Option<Ternary> {
    use arrow_array::types::*;
    let array = unit.rows.scalar(field)?;
    let yes = match value {
        Value::Bool(v) => {
            let bits = array.as_boolean_opt()?.values();
            Bitmap::from_fn(array.len(), |i| op.accepts(bits.value(i).cmp(v)))
        }
        Value::Int(v) => match array.data_type() {
            Arrow::Int8 => compare_ints::<Int8Type>(array, op, *v),
            Arrow::Int16 => compare_ints::<Int16Type>(array, op, *v),
            Arrow::Int32 => compare_ints::<Int32Type>(array, op, *v),
            Arrow::Int64 => compare_ints::<Int64Type>(array, op, *v),
            Arrow::Float32 if is_exact(*v) => compare_floats::<Float32Type>(array, op, *v as f64),
            Arrow::Float64 if is_exact(*v) => compare_floats::<Float64Type>(array, op, *v as f64),
            _ => return None,
        },
        Value::Float(v) => match array.data_type() {
            Arrow::Float32 => compare_floats::<Float32Type>(array, op, *v),
            Arrow::Float64 => compare_floats::<Float64Type>(array, op, *v),
            _ => return None,
        },
        Value::Str(v) => {
            let texts = array.as_string_opt::<i32>()?;
            Bitmap::from_fn(array.len(), |i| op.accepts(texts.value(i).cmp(v.as_str())))
        }
        Value::Array(_) => return None,
    };
    Some(mask_nulls(array.as_ref(), yes))
}

/// Whether an integer has a float of its own.
fn is_exact(value: i64) -> bool {
    value.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS
}

fn compare_ints<T: ArrowPrimitiveType>(array: &ArrayRef, op: Comparison, value: i64) -> Bitmap
where
    T::Native: Into<i64>,
{
    let column = array.as_primitive::<T>().values();
    Bitmap::from_fn(column.len(), |i| op.accepts(column[i].into().cmp(&value)))
}

/// NaN compares to nothing.
fn compare_floats<T: ArrowPrimitiveType>(array: &ArrayRef, op: Comparison, value: f64) -> Bitmap
where
    T::Native: Into<f64>,
{
    let column = array.as_primitive::<T>().values();
    Bitmap::from_fn(column.len(), |i| column[i].into().partial_cmp(&value).is_some_and(|o| op.accepts(o)))
}

fn mask_nulls(array: &dyn Array, mut yes: Bitmap) -> Ternary {
    if array.null_count() == 0 {
        return Ternary::known(yes);
    }
    let unknown = Bitmap::from_fn(array.len(), |i| array.is_null(i));
    yes.and_not(&unknown);
    Ternary { yes, unknown }
}

fn in_set(unit: &Unit, operand: &Operand, values: &Constants, cancel: &Cancel) -> Ternary {
    let (cells, set) = (Cells::new(unit, operand), values.made(ValueSet::new));
    Ternary::from_fn(unit.rows.len(), cancel, |row| set.contains(&cells.get(row)))
}

fn like(unit: &Unit, operand: &Operand, pattern: &LikePattern, cancel: &Cancel) -> Ternary {
    let cells = Cells::new(unit, operand);
    Ternary::from_fn(unit.rows.len(), cancel, |row| match cells.get(row) {
        // One text may take long.
        Cell::Str(text) => Some(!cancel.is_cancelled() && pattern.matches_until(&text, cancel.flag())),
        _ => None,
    })
}

fn is_null(unit: &Unit, operand: &Operand, cancel: &Cancel) -> Ternary {
    if let Operand::Column { field, .. } = operand
        && let Some(array) = unit.rows.scalar(*field)
    {
        return Ternary::known(Bitmap::from_fn(array.len(), |row| array.is_null(row)));
    }
    let cells = Cells::new(unit, operand);
    Ternary::from_fn(unit.rows.len(), cancel, |row| Some(matches!(cells.get(row), Cell::Null)))
}

/// One look-up for each element of a row, whatever the number of values.
fn contains(
    unit: &Unit,
    mode: ContainsMode,
    operand: &Operand,
    values: &Constants,
    cancel: &Cancel,
) -> Ternary {
    let (cells, set) = (Cells::new(unit, operand), values.made(ValueSet::new));
    let mut seen = vec![0usize; set.len()];
    Ternary::from_fn(unit.rows.len(), cancel, |row| {
        let (mut any, mut distinct) = (false, 0);
        cells.each_item(row, |item| {
            let Some(number) = set.number_of(item) else { return };
            any = true;
            // Marks are row numbers, so that none has to be wiped off.
            distinct += usize::from(std::mem::replace(&mut seen[number], row + 1) != row + 1);
        })?;
        Some(if mode == ContainsMode::All { distinct == set.len() } else { any })
    })
}

/// The group key of a row as JSON text; empty for null.
pub fn group_key(unit: &Unit, operand: &Operand, row: u32) -> String {
    match Cells::new(unit, operand).get(row as usize) {
        Cell::Null | Cell::Object | Cell::List(_) => String::new(),
        Cell::Bool(v) => v.to_string(),
        Cell::Int(v) => v.to_string(),
        Cell::Float(v) => v.to_string(),
        Cell::Str(v) => serde_json::Value::String(v.into_owned()).to_string(),
    }
}

/// A value as a term of an inverted index; null has none.
pub fn index_term(array: &arrow_array::ArrayRef, row: usize) -> Option<mishards_index::Term> {
    use mishards_index::Term;
    match operand::cell_of(array, row) {
        Cell::Bool(v) => Some(Term::Int(v.into())),
        Cell::Int(v) => Some(Term::Int(v)),
        Cell::Float(v) => Some(Term::Float(v)),
        Cell::Str(v) => Some(Term::Str(v.into_owned())),
        Cell::Null | Cell::List(_) | Cell::Object => None,
    }
}
