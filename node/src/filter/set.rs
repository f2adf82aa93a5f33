//! Constants for many look-ups: lists of hundreds of thousands of values are common, of every type. A look-up is one hash,
//! whatever the list's length.

use super::operand::Cell;
use mishards_types::Value;
use std::collections::HashMap;

/// Distinct constants by type, numbered. Numbers are one family: 1 and 1.0 are one value.
#[derive(Default)]
pub struct ValueSet {
    ints: HashMap<i64, usize>,
    /// Those that no integer equals, by their bits.
    floats: HashMap<u64, usize>,
    texts: HashMap<Box<str>, usize>,
    bools: [Option<usize>; 2],
    lists: HashMap<String, usize>,
    len: usize,
}

/// The integer that a float equals, if one does.
fn as_int(v: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (v.fract() == 0.0 && (-LIMIT..LIMIT).contains(&v)).then_some(v as i64)
}

/// A list as a text that is the same for equal lists.
fn canonical(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Object => "{}".to_owned(),
        Cell::Bool(v) => v.to_string(),
        Cell::Int(v) => v.to_string(),
        Cell::Float(v) => as_int(*v).map_or_else(|| format!("f{:x}", v.to_bits()), |v| v.to_string()),
        Cell::Str(v) => format!("{v:?}"),
        Cell::List(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
    }
}

impl ValueSet {
    pub fn new(values: &[Value]) -> ValueSet {
        let mut set = ValueSet::default();
        for value in values {
            let next = set.len;
            let number = match value {
                Value::Bool(v) => *set.bools[usize::from(*v)].get_or_insert(next),
                Value::Int(v) => *set.ints.entry(*v).or_insert(next),
                Value::Float(v) => match as_int(*v) {
                    Some(v) => *set.ints.entry(v).or_insert(next),
                    None => *set.floats.entry(v.to_bits()).or_insert(next),
                },
                Value::Str(v) => *set.texts.entry(v.as_str().into()).or_insert(next),
                Value::Array(_) => *set.lists.entry(canonical(&Cell::from_value(value))).or_insert(next),
            };
            set.len += usize::from(number == next);
        }
        set
    }

    /// How many distinct values it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of a value, if it is there. NaN equals nothing.
    pub fn number_of(&self, cell: &Cell) -> Option<usize> {
        match cell {
            Cell::Null | Cell::Object => None,
            Cell::Bool(v) => self.bools[usize::from(*v)],
            Cell::Int(v) => self.ints.get(v).copied(),
            Cell::Float(v) if v.is_nan() => None,
            Cell::Float(v) => match as_int(*v) {
                Some(v) => self.ints.get(&v).copied(),
                None => self.floats.get(&v.to_bits()).copied(),
            },
            Cell::Str(v) => self.texts.get(v.as_ref()).copied(),
            Cell::List(_) if self.lists.is_empty() => None,
            Cell::List(_) => self.lists.get(&canonical(cell)).copied(),
        }
    }

    /// Unknown for null, and for a value of a type that the list has none of (unless the list is empty).
    pub fn contains(&self, cell: &Cell) -> Option<bool> {
        let has_kind = match cell {
            Cell::Null => return None,
            Cell::Object => false,
            Cell::Bool(_) => self.bools != [None; 2],
            Cell::Int(_) | Cell::Float(_) => !self.ints.is_empty() || !self.floats.is_empty(),
            Cell::Str(_) => !self.texts.is_empty(),
            Cell::List(_) => !self.lists.is_empty(),
        };
        (has_kind || self.len == 0).then(|| self.number_of(cell).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_family_and_lists_compare_as_wholes() {
        let values = [
            Value::Int(1),
            Value::Float(2.0),
            Value::Float(0.5),
            Value::Float(-0.0),
            Value::Float(1.0),
            Value::Int(i64::MAX),
            Value::Array(vec![Value::Int(1), Value::Str("a".to_owned())]),
        ];
        let set = ValueSet::new(&values);
        assert_eq!(set.len(), 6, "1 and 1.0 are one");
        let has = |cell: Cell| set.contains(&cell);
        assert_eq!(has(Cell::Float(1.0)), Some(true));
        assert_eq!(has(Cell::Int(2)), Some(true));
        assert_eq!(has(Cell::Float(0.0)), Some(true));
        assert_eq!(has(Cell::Int(0)), Some(true));
        assert_eq!(has(Cell::Float(0.25)), Some(false));
        assert_eq!(has(Cell::Float(f64::NAN)), Some(false));
        // No float equals the largest integer.
        assert_eq!(has(Cell::Float(9_223_372_036_854_775_807.0)), Some(false));
        assert_eq!(has(Cell::Str("a".into())), None);
        let list = |first| Cell::List(vec![first, Cell::Str("a".into())]);
        assert_eq!(has(list(Cell::Float(1.0))), Some(true));
        assert_eq!(has(list(Cell::Int(2))), Some(false));
        assert_eq!(ValueSet::new(&[]).contains(&Cell::Int(1)), Some(false));
    }
}
