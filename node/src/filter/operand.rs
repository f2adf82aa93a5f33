//! What an operand gives for a row.

use super::json;
use crate::unit::Unit;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType as Arrow;
use mishards_expr::{Arithmetic, Comparison, Operand, Step};
use mishards_types::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

/// One value of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Cow<'a, str>),
    List(Vec<Cell<'a>>),
    /// A JSON object: there, but equal to nothing.
    Object,
}

impl<'a> Cell<'a> {
    pub fn from_value(value: &'a Value) -> Cell<'a> {
        match value {
            Value::Bool(v) => Cell::Bool(*v),
            Value::Int(v) => Cell::Int(*v),
            Value::Float(v) => Cell::Float(*v),
            Value::Str(v) => Cell::Str(Cow::Borrowed(v)),
            Value::Array(v) => Cell::List(v.iter().map(Cell::from_value).collect()),
        }
    }

    /// Orders two values of one family (numbers are one); `None` for null and for values that do not compare.
    pub fn compare(&self, other: &Cell) -> Option<Ordering> {
        match (self, other) {
            (Cell::Bool(a), Cell::Bool(b)) => Some(a.cmp(b)),
            (Cell::Int(a), Cell::Int(b)) => Some(a.cmp(b)),
            (Cell::Float(a), Cell::Float(b)) => a.partial_cmp(b),
            (Cell::Int(a), Cell::Float(b)) => compare_int_float(*a, *b),
            (Cell::Float(a), Cell::Int(b)) => compare_int_float(*b, *a).map(Ordering::reverse),
            (Cell::Str(a), Cell::Str(b)) => Some(a.as_ref().cmp(b.as_ref())),
            _ => None,
        }
    }

    /// Whether a comparison holds; unknown for null and for values that do not compare. Lists are equal or not, and have no
    /// order.
    pub fn satisfies(&self, op: Comparison, other: &Cell) -> Option<bool> {
        match (self, other) {
            (Cell::List(a), Cell::List(b)) => {
                let same = |(x, y): (&Cell, &Cell)| x.satisfies(Comparison::Eq, y) == Some(true);
                let equal = a.len() == b.len() && a.iter().zip(b).all(same);
                match op {
                    Comparison::Eq => Some(equal),
                    Comparison::Ne => Some(!equal),
                    _ => None,
                }
            }
            _ => self.compare(other).map(|ordering| op.accepts(ordering)),
        }
    }
}

/// Exact, also where an i64 has no f64 of its own.
fn compare_int_float(a: i64, b: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        return None;
    }
    if b >= LIMIT {
        return Some(Ordering::Less);
    }
    if b < -LIMIT {
        return Some(Ordering::Greater);
    }
    let whole = b.trunc();
    Some(a.cmp(&(whole as i64)).then_with(|| 0.0.partial_cmp(&(b - whole)).unwrap_or(Ordering::Equal)))
}

/// An operand over the rows of a unit.
pub enum Cells<'a> {
    Constant(Cell<'a>),
    Column(&'a ArrayRef),
    Element(&'a ArrayRef, usize),
    Length(&'a ArrayRef),
    Json(&'a ArrayRef, &'a [Step]),
    JsonLength(&'a ArrayRef, &'a [Step]),
    Arithmetic(Arithmetic, Box<Cells<'a>>, Box<Cells<'a>>),
}

impl<'a> Cells<'a> {
    pub fn new(unit: &'a Unit, operand: &'a Operand) -> Cells<'a> {
        let column = |field| unit.rows.scalar(field);
        let found = match operand {
            Operand::Literal(value) => return Cells::Constant(Cell::from_value(value)),
            Operand::Arithmetic(op, left, right) => {
                return Cells::Arithmetic(
                    *op,
                    Box::new(Cells::new(unit, left)),
                    Box::new(Cells::new(unit, right)),
                );
            }
            Operand::Column { field, .. } => column(*field).map(Cells::Column),
            Operand::Element { field, index, .. } => column(*field).map(|a| Cells::Element(a, *index)),
            Operand::Length { field, json_path: None } => column(*field).map(Cells::Length),
            Operand::Length { field, json_path: Some(path) } => {
                column(*field).map(|a| Cells::JsonLength(a, path))
            }
            Operand::Json { field, path } => column(*field).map(|a| Cells::Json(a, path)),
        };
        found.unwrap_or(Cells::Constant(Cell::Null))
    }

    pub fn get(&self, row: usize) -> Cell<'a> {
        match self {
            Cells::Constant(cell) => cell.clone(),
            Cells::Column(array) => cell_of(array, row),
            Cells::Element(array, index) => {
                let list = array.as_list::<i32>();
                if list.is_null(row) || *index >= list.value_length(row) as usize {
                    return Cell::Null;
                }
                owned(cell_of(&list.value(row), *index))
            }
            Cells::Length(array) => {
                let list = array.as_list::<i32>();
                if list.is_null(row) { Cell::Null } else { Cell::Int(list.value_length(row).into()) }
            }
            Cells::Json(array, path) => {
                json_text(array, row).map_or(Cell::Null, |text| json::at_path(text, path))
            }
            Cells::JsonLength(array, path) => {
                match json_text(array, row).map(|text| json::at_path(text, path)) {
                    Some(Cell::List(items)) => Cell::Int(items.len() as i64),
                    _ => Cell::Null,
                }
            }
            Cells::Arithmetic(op, left, right) => arithmetic(*op, left.get(row), right.get(row)),
        }
    }

    /// Hands the elements of an array over, one after another; `None` when the row has no array.
    pub fn each_item(&self, row: usize, mut visit: impl FnMut(&Cell)) -> Option<()> {
        if let Cells::Column(array) = self
            && let Some(list) = array.as_list_opt::<i32>()
        {
            if list.is_null(row) {
                return None;
            }
            let (from, to) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            (from..to).for_each(|i| visit(&cell_of(list.values(), i)));
            return Some(());
        }
        match self.get(row) {
            Cell::List(items) => {
                items.iter().for_each(visit);
                Some(())
            }
            _ => None,
        }
    }
}

fn json_text(array: &ArrayRef, row: usize) -> Option<&str> {
    let texts = array.as_string_opt::<i32>()?;
    texts.is_valid(row).then(|| texts.value(row))
}

fn owned(cell: Cell<'_>) -> Cell<'static> {
    match cell {
        Cell::Str(s) => Cell::Str(Cow::Owned(s.into_owned())),
        Cell::List(items) => Cell::List(items.into_iter().map(owned).collect()),
        Cell::Null => Cell::Null,
        Cell::Bool(v) => Cell::Bool(v),
        Cell::Int(v) => Cell::Int(v),
        Cell::Float(v) => Cell::Float(v),
        Cell::Object => Cell::Object,
    }
}

pub fn cell_of(array: &ArrayRef, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        Arrow::Boolean => Cell::Bool(array.as_boolean().value(row)),
        Arrow::Int8 => Cell::Int(array.as_primitive::<Int8Type>().value(row).into()),
        Arrow::Int16 => Cell::Int(array.as_primitive::<Int16Type>().value(row).into()),
        Arrow::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
        Arrow::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        Arrow::Float32 => Cell::Float(array.as_primitive::<Float32Type>().value(row).into()),
        Arrow::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        Arrow::Utf8 => Cell::Str(Cow::Borrowed(array.as_string::<i32>().value(row))),
        Arrow::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Cell::List((0..items.len()).map(|i| owned(cell_of(&items, i))).collect())
        }
        _ => Cell::Null,
    }
}

/// Integers stay integers; overflow and division by zero give null.
fn arithmetic(op: Arithmetic, left: Cell, right: Cell) -> Cell<'static> {
    let number = |cell: &Cell| match cell {
        Cell::Int(v) => Some(*v as f64),
        Cell::Float(v) => Some(*v),
        _ => None,
    };
    if let (Cell::Int(a), Cell::Int(b)) = (&left, &right) {
        let out = match op {
            Arithmetic::Add => a.checked_add(*b),
            Arithmetic::Sub => a.checked_sub(*b),
            Arithmetic::Mul => a.checked_mul(*b),
            Arithmetic::Div => a.checked_div(*b),
            Arithmetic::Mod => a.checked_rem(*b),
        };
        return out.map_or(Cell::Null, Cell::Int);
    }
    match (number(&left), number(&right)) {
        (Some(a), Some(b)) => Cell::Float(match op {
            Arithmetic::Add => a + b,
            Arithmetic::Sub => a - b,
            Arithmetic::Mul => a * b,
            Arithmetic::Div if b == 0.0 => return Cell::Null,
            Arithmetic::Div => a / b,
            Arithmetic::Mod => a % b,
        }),
        _ => Cell::Null,
    }
}
