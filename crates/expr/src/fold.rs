//! Constants of a filter, worked out once.

use crate::predicate::{Arithmetic, Comparison, Predicate};
use crate::{Error, Result};
use mishards_types::Value;

pub fn fold_and(parts: Vec<Predicate>) -> Predicate {
    fold(parts, true, Predicate::And)
}

pub fn fold_or(parts: Vec<Predicate>) -> Predicate {
    fold(parts, false, Predicate::Or)
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

pub fn fold_compare(column: usize, a: &Value, op: Comparison, b: &Value) -> Result<Predicate> {
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

pub fn fold_arithmetic(column: usize, op: Arithmetic, a: &Value, b: &Value) -> Result<Value> {
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

pub fn fold_power(column: usize, a: &Value, b: &Value) -> Result<Value> {
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
