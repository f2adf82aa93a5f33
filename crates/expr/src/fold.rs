//! Constants of a filter, worked out once.

use crate::Error;
use crate::predicate::{Arithmetic, Comparison, Operand, Predicate};
use mishards_types::Value;
use std::collections::HashMap;

pub fn fold_and(parts: Vec<Predicate>) -> Predicate {
    let flat = flattened(parts, |p| if let Predicate::And(inner) = p { Ok(inner) } else { Err(p) });
    let list_of = |p: &Predicate| match p {
        Predicate::Compare(operand, Comparison::Ne, Operand::Literal(value)) => {
            Some((operand.clone(), vec![value.clone()]))
        }
        Predicate::Not(inner) => listed(inner),
        _ => None,
    };
    let join = |operand, values: Vec<Value>| Predicate::Not(Box::new(Predicate::In(operand, values.into())));
    fold(lists_joined(flat, list_of, join), true, Predicate::And)
}

pub fn fold_or(parts: Vec<Predicate>) -> Predicate {
    let flat = flattened(parts, |p| if let Predicate::Or(inner) = p { Ok(inner) } else { Err(p) });
    let list_of = |p: &Predicate| match p {
        Predicate::Compare(operand, Comparison::Eq, Operand::Literal(value)) => {
            Some((operand.clone(), vec![value.clone()]))
        }
        p => listed(p),
    };
    let join = |operand, values: Vec<Value>| Predicate::In(operand, values.into());
    fold(lists_joined(flat, list_of, join), false, Predicate::Or)
}

fn listed(p: &Predicate) -> Option<(Operand, Vec<Value>)> {
    match p {
        Predicate::In(operand, values) => Some((operand.clone(), values.to_vec())),
        _ => None,
    }
}

/// Conditions of one kind within each other, side by side: frameworks nest hundreds of them.
fn flattened(
    parts: Vec<Predicate>,
    inner_of: impl Fn(Predicate) -> Result<Vec<Predicate>, Predicate>,
) -> Vec<Predicate> {
    let mut out = Vec::with_capacity(parts.len());
    for part in parts {
        match inner_of(part) {
            // What is inside has been folded, and so is flat.
            Ok(inner) => out.extend(inner),
            Err(part) => out.push(part),
        }
    }
    out
}

/// A condition, or constants that one operand is compared with.
enum Joined {
    Other(Predicate),
    /// With the condition as it stood, for when no other joins it.
    List(Operand, Vec<Value>, Predicate),
}

/// Collects the conditions that `list_of` takes apart, each operand's where the first of them stood. Constants of different
/// kinds stay apart: of a JSON value of a kind that its list has none of, nothing is known.
fn lists_joined(
    parts: Vec<Predicate>,
    list_of: impl Fn(&Predicate) -> Option<(Operand, Vec<Value>)>,
    join: impl Fn(Operand, Vec<Value>) -> Predicate,
) -> Vec<Predicate> {
    let mut joined: Vec<Joined> = Vec::with_capacity(parts.len());
    let mut places: HashMap<(String, &'static str), usize> = HashMap::new();
    for part in parts {
        let list = list_of(&part).filter(|(operand, values)| is_simple(operand) && is_of_one_kind(values));
        let Some((operand, values)) = list else {
            joined.push(Joined::Other(part));
            continue;
        };
        let kind = values.first().map_or("", number_or_kind);
        let place = *places.entry((format!("{operand:?}"), kind)).or_insert(joined.len());
        match joined.get_mut(place) {
            Some(Joined::List(_, list, _)) => list.extend(values),
            _ => joined.push(Joined::List(operand, values, part)),
        }
    }
    let whole = |part| match part {
        Joined::Other(part) => part,
        Joined::List(_, values, part) if values.len() == 1 => part,
        Joined::List(operand, values, _) => join(operand, values),
    };
    joined.into_iter().map(whole).collect()
}

fn is_simple(operand: &Operand) -> bool {
    matches!(operand, Operand::Column { .. } | Operand::Json { .. } | Operand::Element { .. })
}

fn number_or_kind(value: &Value) -> &'static str {
    match value {
        Value::Int(_) | Value::Float(_) => "number",
        other => other.kind(),
    }
}

fn is_of_one_kind(values: &[Value]) -> bool {
    let is_plain = |v: &Value| !matches!(v, Value::Array(_));
    values.windows(2).all(|w| number_or_kind(&w[0]) == number_or_kind(&w[1])) && values.iter().all(is_plain)
}

/// Drops the neutral constant and stops at the absorbing one.
fn fold(parts: Vec<Predicate>, neutral: bool, join: fn(Vec<Predicate>) -> Predicate) -> Predicate {
    if parts.contains(&Predicate::Const(!neutral)) {
        return Predicate::Const(!neutral);
    }
    let mut rest: Vec<Predicate> = parts.into_iter().filter(|p| *p != Predicate::Const(neutral)).collect();
    match rest.len() {
        0 => Predicate::Const(neutral),
        1 => rest.swap_remove(0),
        _ => join(rest),
    }
}

pub fn fold_compare(column: usize, a: &Value, op: Comparison, b: &Value) -> crate::Result<Predicate> {
    let ordering = match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => match a.partial_cmp(&b) {
                Some(ordering) => ordering,
                // NaN, from a template: no comparison holds.
                None => return Ok(Predicate::Const(false)),
            },
            _ => {
                return Err(Error::at(
                    column,
                    format!("comparisons between {} and {} are not supported", a.kind(), b.kind()),
                ));
            }
        },
    };
    Ok(Predicate::Const(op.accepts(ordering)))
}

pub fn fold_arithmetic(column: usize, op: Arithmetic, a: &Value, b: &Value) -> crate::Result<Value> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        let out = match op {
            Arithmetic::Add => a.checked_add(*b),
            Arithmetic::Sub => a.checked_sub(*b),
            Arithmetic::Mul => a.checked_mul(*b),
            Arithmetic::Div => a.checked_div(*b),
            Arithmetic::Mod => a.checked_rem(*b),
        };
        return out.map(Value::Int).ok_or_else(|| Error::at(column, "the constant is out of range"));
    }
    let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else {
        return Err(Error::at(column, "arithmetic takes numbers"));
    };
    let out = match op {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div => a / b,
        Arithmetic::Mod => a % b,
    };
    match out.is_finite() {
        true => Ok(Value::Float(out)),
        false => Err(Error::at(column, "the constant is out of range")),
    }
}

pub fn fold_power(column: usize, a: &Value, b: &Value) -> crate::Result<Value> {
    if let (Value::Int(base), Value::Int(exponent)) = (a, b)
        && let Ok(exponent) = u32::try_from(*exponent)
    {
        return base
            .checked_pow(exponent)
            .map(Value::Int)
            .ok_or_else(|| Error::at(column, "the constant is out of range"));
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => Ok(Value::Float(a.powf(b))),
        _ => Err(Error::at(column, "arithmetic takes numbers")),
    }
}
