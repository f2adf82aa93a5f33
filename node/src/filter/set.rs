//! The values of an `in` list, for many look-ups: lists of hundreds of thousands of keys are common.

use super::operand::Cell;
use mishards_types::Value;
use std::cmp::Ordering;
use std::collections::HashSet;

/// Values by type.
pub struct ValueSet<'a> {
    ints: HashSet<i64>,
    texts: HashSet<&'a str>,
    floats: Vec<f64>,
    bools: [bool; 2],
    lists: Vec<Cell<'a>>,
    kinds: [bool; 4],
}

impl<'a> ValueSet<'a> {
    pub fn new(values: &'a [Value]) -> ValueSet<'a> {
        let mut set = ValueSet {
            ints: HashSet::new(),
            texts: HashSet::new(),
            floats: Vec::new(),
            bools: [false; 2],
            lists: Vec::new(),
            kinds: [false; 4],
        };
        for value in values {
            match value {
                Value::Bool(v) => set.bools[usize::from(*v)] = true,
                Value::Int(v) => drop(set.ints.insert(*v)),
                Value::Float(v) => set.floats.push(*v),
                Value::Str(v) => drop(set.texts.insert(v.as_str())),
                Value::Array(_) => set.lists.push(Cell::from_value(value)),
            }
        }
        set.kinds = [
            set.bools != [false; 2],
            !set.ints.is_empty() || !set.floats.is_empty(),
            !set.texts.is_empty(),
            !set.lists.is_empty(),
        ];
        set
    }

    /// Unknown for null, and for a value of a type that the list has none of (unless the list is empty).
    pub fn contains(&self, cell: &Cell) -> Option<bool> {
        let (kind, found) = match cell {
            Cell::Null => return None,
            Cell::Object => (4, false),
            Cell::Bool(v) => (0, self.bools[usize::from(*v)]),
            Cell::Int(v) => (1, self.ints.contains(v) || self.equals_a_float(cell)),
            Cell::Float(v) => {
                let whole = *v as i64;
                let as_int = v.fract() == 0.0 && Cell::Int(whole).compare(cell) == Some(Ordering::Equal);
                (1, (as_int && self.ints.contains(&whole)) || self.equals_a_float(cell))
            }
            Cell::Str(v) => (2, self.texts.contains(v.as_ref())),
            Cell::List(_) => (3, self.lists.iter().any(|l| l.compare(cell) == Some(Ordering::Equal))),
        };
        let empty = self.kinds == [false; 4];
        if empty || self.kinds.get(kind).copied().unwrap_or(false) { Some(found) } else { None }
    }

    fn equals_a_float(&self, cell: &Cell) -> bool {
        self.floats.iter().any(|f| Cell::Float(*f).compare(cell) == Some(Ordering::Equal))
    }
}
