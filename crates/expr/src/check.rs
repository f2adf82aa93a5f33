//! Tree to typed predicate: names are resolved, types are checked, constants are folded.

use crate::ast::{Ast, Node};
use crate::fold::{fold_and, fold_arithmetic, fold_compare, fold_or, fold_power};
use crate::like::LikePattern;
use crate::predicate::{Arithmetic, Comparison, Operand, Predicate, Step};
use crate::{Error, Result, Templates, check_wanted};
use mishards_types::{DYNAMIC_FIELD, DataType, Field, Schema, Value};
use std::sync::atomic::AtomicBool;

/// Checks a whole filter: it must be boolean.
pub fn check(tree: &Ast, templates: &Templates, schema: &Schema, stopped: &AtomicBool) -> Result<Predicate> {
    Checker { templates, schema, stopped }.predicate(tree)
}

/// Checks a lone name or path.
pub fn check_path(tree: &Ast, schema: &Schema) -> Result<Operand> {
    match &tree.node {
        Node::Name { .. } => {
            Checker { templates: &Templates::new(), schema, stopped: &AtomicBool::new(false) }.operand(tree)
        }
        _ => Err(Error::at(tree.column, "expected a field name or a path into a JSON field")),
    }
}

struct Checker<'a> {
    templates: &'a Templates,
    schema: &'a Schema,
    stopped: &'a AtomicBool,
}

/// What kind of values an operand gives. JSON gives any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Bool,
    Number,
    Text,
    Any,
    Array,
}

fn family_of(data_type: DataType) -> Family {
    match data_type {
        DataType::Bool => Family::Bool,
        DataType::VarChar => Family::Text,
        DataType::Json => Family::Any,
        DataType::Array | DataType::FloatVector => Family::Array,
        _ => Family::Number,
    }
}

fn value_family(value: &Value) -> Family {
    match value {
        Value::Bool(_) => Family::Bool,
        Value::Int(_) | Value::Float(_) => Family::Number,
        Value::Str(_) => Family::Text,
        Value::Array(_) => Family::Array,
    }
}

fn family(operand: &Operand) -> Family {
    match operand {
        Operand::Literal(v) => value_family(v),
        Operand::Column { data_type, .. } => family_of(*data_type),
        Operand::Element { element, .. } => family_of(*element),
        Operand::Json { .. } => Family::Any,
        Operand::Length { .. } | Operand::Arithmetic(..) => Family::Number,
    }
}

/// A number as a column of this type holds it; any other value as it is.
fn in_type(data_type: DataType, value: Value) -> Value {
    match (data_type, value.as_f64()) {
        (DataType::Float, Some(number)) => Value::Float(f64::from(number as f32)),
        (DataType::Double, Some(number)) => Value::Float(number),
        _ => value,
    }
}

fn type_name(operand: &Operand) -> &'static str {
    match operand {
        Operand::Literal(v) => v.kind(),
        Operand::Column { data_type, .. } => data_type.name(),
        Operand::Element { element, .. } => element.name(),
        Operand::Json { .. } => "JSON",
        Operand::Length { .. } | Operand::Arithmetic(..) => "Int64",
    }
}

impl Checker<'_> {
    fn predicate(&self, tree: &Ast) -> Result<Predicate> {
        let column = tree.column;
        match &tree.node {
            Node::And(parts) => Ok(fold_and(self.predicates(parts)?)),
            Node::Or(parts) => Ok(fold_or(self.predicates(parts)?)),
            Node::Not(inner) => Ok(match self.predicate(inner)? {
                Predicate::Const(v) => Predicate::Const(!v),
                p => Predicate::Not(Box::new(p)),
            }),
            Node::Compare(op, left, right) => {
                self.compare(column, self.operand(left)?, *op, self.operand(right)?)
            }
            Node::Chain { first, op1, middle, op2, last } => {
                self.chain(column, first, *op1, middle, *op2, last)
            }
            Node::In { value, list, negated } => {
                let inner = self.membership(column, value, list)?;
                Ok(if *negated { Predicate::Not(Box::new(inner)) } else { inner })
            }
            Node::Like { value, pattern } => self.like(value, pattern),
            Node::IsNull { value, negated } => {
                let inner = self.null_test(value)?;
                Ok(if *negated { Predicate::Not(Box::new(inner)) } else { inner })
            }
            Node::Exists(inner) => match self.operand(inner)? {
                path @ Operand::Json { .. } => Ok(Predicate::Exists(path)),
                _ => Err(Error::at(column, "exists takes a path into a JSON field")),
            },
            Node::Contains { mode, value, item } => {
                let values = self.contained(value, item, *mode)?;
                Ok(Predicate::Contains(*mode, values.0, values.1.into()))
            }
            _ => self.boolean_operand(tree),
        }
    }

    fn predicates(&self, parts: &[Ast]) -> Result<Vec<Predicate>> {
        parts.iter().map(|p| self.predicate(p)).collect()
    }

    /// A Bool column or a constant that stands alone. A JSON path does not: a misspelt name would match nothing in silence.
    fn boolean_operand(&self, tree: &Ast) -> Result<Predicate> {
        match self.operand(tree)? {
            Operand::Literal(Value::Bool(v)) => Ok(Predicate::Const(v)),
            operand if family(&operand) == Family::Bool => {
                Ok(Predicate::Compare(operand, Comparison::Eq, Operand::Literal(Value::Bool(true))))
            }
            operand => Err(Error::at(
                tree.column,
                format!("predicate is not a boolean expression: it gives {}", type_name(&operand)),
            )),
        }
    }

    fn chain(
        &self,
        column: usize,
        first: &Ast,
        op1: Comparison,
        middle: &Ast,
        op2: Comparison,
        last: &Ast,
    ) -> Result<Predicate> {
        let rising = |op| matches!(op, Comparison::Lt | Comparison::Le);
        if rising(op1) != rising(op2) {
            return Err(Error::at(column, "both sides of a range must point the same way"));
        }
        let middle = self.operand(middle)?;
        if matches!(middle, Operand::Literal(_)) {
            return Err(Error::at(column, "the middle of a range must be a field"));
        }
        let low = self.compare(column, self.operand(first)?, op1, middle.clone())?;
        let high = self.compare(column, middle, op2, self.operand(last)?)?;
        Ok(fold_and(vec![low, high]))
    }

    fn compare(&self, column: usize, left: Operand, op: Comparison, right: Operand) -> Result<Predicate> {
        let (left, op, right) = match (&left, &right) {
            (Operand::Literal(a), Operand::Literal(b)) => return fold_compare(column, a, op, b),
            (Operand::Literal(_), _) => (right, op.flip(), left),
            _ => (left, op, right),
        };
        let right = self.typed(&left, right);
        let (l, r) = (family(&left), family(&right));
        let json_pair = l == Family::Any && r == Family::Any;
        if json_pair
            || (matches!(right, Operand::Json { .. }) && !matches!(left, Operand::Literal(_)))
            || (l == Family::Any && !matches!(right, Operand::Literal(_)))
        {
            return Err(Error::at(column, "two column comparison with JSON type is not supported"));
        }
        if self.is_whole_array(&left, op, &right) {
            return Ok(Predicate::Compare(left, op, right));
        }
        let whole_array = l == Family::Array || (r == Family::Array && l != Family::Any);
        if whole_array {
            return Err(Error::at(
                column,
                format!(
                    "comparisons between {} and {} are not supported",
                    type_name(&left),
                    type_name(&right)
                ),
            ));
        }
        if l != r && l != Family::Any {
            return Err(Error::at(
                column,
                format!(
                    "comparisons between {} and {} are not supported",
                    type_name(&left),
                    type_name(&right)
                ),
            ));
        }
        if l == Family::Bool && !matches!(op, Comparison::Eq | Comparison::Ne) {
            return Err(Error::at(column, "a Bool can be compared only by == and !="));
        }
        Ok(Predicate::Compare(left, op, right))
    }

    /// A constant in the type of what it is compared with, so that scans and indexes see the same number: a Float column
    /// holds the float that is nearest to the decimal that was inserted.
    fn typed(&self, operand: &Operand, constant: Operand) -> Operand {
        let Operand::Literal(value) = constant else { return constant };
        Operand::Literal(self.typed_value(operand, value))
    }

    fn typed_value(&self, operand: &Operand, value: Value) -> Value {
        let data_type = match operand {
            Operand::Column { field, data_type: DataType::Array } => {
                let element = self.schema.field_by_id(*field).and_then(|f| f.element);
                return match (element, value) {
                    (Some(element), Value::Array(items)) => {
                        Value::Array(items.into_iter().map(|item| in_type(element, item)).collect())
                    }
                    (Some(element), item) => in_type(element, item),
                    (None, value) => value,
                };
            }
            Operand::Column { data_type, .. } => *data_type,
            Operand::Element { element, .. } => *element,
            _ => return value,
        };
        in_type(data_type, value)
    }

    /// Whether an Array field is compared, as a whole, with a list of its elements' type.
    fn is_whole_array(&self, left: &Operand, op: Comparison, right: &Operand) -> bool {
        let (Operand::Column { field, data_type: DataType::Array }, Operand::Literal(Value::Array(items))) =
            (left, right)
        else {
            return false;
        };
        let element = self.schema.field_by_id(*field).and_then(|f| f.element);
        let fits = |item: &Value| element.is_some_and(|element| family_of(element) == value_family(item));
        matches!(op, Comparison::Eq | Comparison::Ne) && items.iter().all(fits)
    }

    fn membership(&self, column: usize, value: &Ast, list: &Ast) -> Result<Predicate> {
        let operand = self.operand(value)?;
        let Operand::Literal(Value::Array(mut values)) = self.operand(list)? else {
            return Err(Error::at(list.column, "the right side of in must be a list"));
        };
        let wanted = family(&operand);
        if matches!(wanted, Family::Array) || matches!(operand, Operand::Literal(_) | Operand::Arithmetic(..))
        {
            return Err(Error::at(
                column,
                format!("in takes a field on its left, not {}", type_name(&operand)),
            ));
        }
        let integer = matches!(&operand, Operand::Column { data_type, .. } if data_type.is_integer());
        for v in &mut values {
            if wanted != Family::Any && value_family(v) != wanted {
                return Err(Error::at(
                    list.column,
                    format!("value {v} in list cannot be casted to {}", type_name(&operand)),
                ));
            }
            if integer && let Value::Float(_) = v {
                return Err(Error::at(
                    list.column,
                    format!("value {v} in list cannot be casted to {}", type_name(&operand)),
                ));
            }
        }
        let values: Vec<Value> = values.into_iter().map(|v| self.typed_value(&operand, v)).collect();
        Ok(Predicate::In(operand, values.into()))
    }

    fn like(&self, value: &Ast, pattern: &Ast) -> Result<Predicate> {
        let operand = self.operand(value)?;
        if !matches!(family(&operand), Family::Text | Family::Any) || matches!(operand, Operand::Literal(_)) {
            return Err(Error::at(
                value.column,
                format!(
                    "like operation on non-string or no-json field is unsupported: {}",
                    type_name(&operand)
                ),
            ));
        }
        match self.operand(pattern)? {
            Operand::Literal(Value::Str(text)) => {
                let compiled = LikePattern::new(&text).ok_or_else(|| {
                    Error::at(
                        pattern.column,
                        "the pattern of like ends with a backslash, which has nothing to escape",
                    )
                })?;
                Ok(Predicate::Like(operand, compiled))
            }
            _ => Err(Error::at(
                pattern.column,
                "the pattern of like must be a string literal or template variable",
            )),
        }
    }

    fn null_test(&self, value: &Ast) -> Result<Predicate> {
        match self.operand(value)? {
            Operand::Json { path, .. } if matches!(path.last(), Some(Step::Index(_))) => {
                Err(Error::at(value.column, "is null is not supported on an element of a JSON array"))
            }
            Operand::Column { data_type, .. } if data_type.is_vector() => {
                Err(Error::at(value.column, "is null is not supported on a vector field"))
            }
            operand @ (Operand::Column { .. } | Operand::Json { .. }) => Ok(Predicate::IsNull(operand)),
            _ => Err(Error::at(value.column, "is null takes a field or a path into a JSON field")),
        }
    }

    fn contained(&self, value: &Ast, item: &Ast, mode: crate::ContainsMode) -> Result<(Operand, Vec<Value>)> {
        let operand = self.operand(value)?;
        let element = match &operand {
            Operand::Json { .. } => Family::Any,
            Operand::Column { field, data_type: DataType::Array } => {
                self.schema.field_by_id(*field).and_then(|f| f.element).map_or(Family::Any, family_of)
            }
            _ => {
                return Err(Error::at(
                    value.column,
                    "contains operation is only supported on json or array fields",
                ));
            }
        };
        let values = match (mode, self.operand(item)?) {
            (crate::ContainsMode::One, Operand::Literal(v)) => vec![v],
            (_, Operand::Literal(Value::Array(values))) => values,
            _ => {
                return Err(Error::at(
                    item.column,
                    "contains operation takes a constant, and _all and _any a list of constants",
                ));
            }
        };
        if let Some(bad) = values.iter().find(|v| element != Family::Any && value_family(v) != element) {
            return Err(Error::at(
                item.column,
                format!("value {bad} does not have the type of the array's elements"),
            ));
        }
        let values = values.into_iter().map(|v| self.typed_value(&operand, v)).collect();
        Ok((operand, values))
    }

    fn operand(&self, tree: &Ast) -> Result<Operand> {
        let column = tree.column;
        match &tree.node {
            Node::Literal(v) => Ok(Operand::Literal(v.clone())),
            Node::Template(name) => match self.templates.get(name) {
                Some(v) => Ok(Operand::Literal(v.clone())),
                None => Err(Error::at(
                    column,
                    format!("the value of expression template variable name {{{name}}} is not found"),
                )),
            },
            Node::List(items) => {
                let literal = |(number, item): (usize, &Ast)| {
                    check_wanted(number, self.stopped)?;
                    match self.operand(item)? {
                        Operand::Literal(v) => Ok(v),
                        _ => Err(Error::at(item.column, "a list can hold only constants")),
                    }
                };
                let values = items.iter().enumerate().map(literal).collect::<Result<_>>()?;
                Ok(Operand::Literal(Value::Array(values)))
            }
            Node::Name { name, steps } => self.name(column, name, steps),
            Node::Negate(inner) => self.arithmetic(
                column,
                Arithmetic::Sub,
                Operand::Literal(Value::Int(0)),
                self.operand(inner)?,
            ),
            Node::Arithmetic(op, left, right) => {
                self.arithmetic(column, *op, self.operand(left)?, self.operand(right)?)
            }
            Node::Power(base, exponent) => match (self.operand(base)?, self.operand(exponent)?) {
                (Operand::Literal(a), Operand::Literal(b)) => {
                    fold_power(column, &a, &b).map(Operand::Literal)
                }
                _ => Err(Error::at(column, "power can only apply on constants")),
            },
            Node::ArrayLength(inner) => match self.operand(inner)? {
                Operand::Column { field, data_type: DataType::Array } => {
                    Ok(Operand::Length { field, json_path: None })
                }
                Operand::Json { field, path } => Ok(Operand::Length { field, json_path: Some(path) }),
                _ => Err(Error::at(
                    column,
                    "array_length operation are only supported on array or json fields",
                )),
            },
            _ => Ok(match self.predicate(tree)? {
                Predicate::Const(v) => Operand::Literal(Value::Bool(v)),
                _ => return Err(Error::at(column, "a condition cannot be used as a value")),
            }),
        }
    }

    fn name(&self, column: usize, name: &str, steps: &[Step]) -> Result<Operand> {
        if let Some(field) = self.schema.field(name) {
            return self.field(column, field, steps);
        }
        match self.schema.dynamic() {
            Some(dynamic) if name != DYNAMIC_FIELD => {
                let mut path = vec![Step::Key(name.to_owned())];
                path.extend_from_slice(steps);
                Ok(Operand::Json { field: dynamic.id, path })
            }
            _ => Err(Error::at(column, format!("field {name} not exist"))),
        }
    }

    fn field(&self, column: usize, field: &Field, steps: &[Step]) -> Result<Operand> {
        match (field.data_type, steps) {
            (DataType::FloatVector, _) => Err(Error::at(
                column,
                format!("field {} is a vector: it cannot be used in a filter", field.name),
            )),
            (DataType::Json, steps) => Ok(Operand::Json { field: field.id, path: steps.to_vec() }),
            (DataType::Array, [Step::Index(index)]) => {
                let element = field.element.unwrap_or(DataType::Int64);
                Ok(Operand::Element { field: field.id, element, index: *index })
            }
            (data_type, []) => Ok(Operand::Column { field: field.id, data_type }),
            _ => Err(Error::at(
                column,
                format!(
                    "{} data type not supported accessed with []: field {}",
                    field.data_type.name(),
                    field.name
                ),
            )),
        }
    }

    fn arithmetic(&self, column: usize, op: Arithmetic, left: Operand, right: Operand) -> Result<Operand> {
        for side in [&left, &right] {
            if !matches!(family(side), Family::Number | Family::Any) {
                return Err(Error::at(column, format!("arithmetic takes numbers, not {}", type_name(side))));
            }
        }
        if matches!(op, Arithmetic::Div | Arithmetic::Mod)
            && matches!(&right, Operand::Literal(v) if v.as_f64() == Some(0.0))
        {
            return Err(Error::at(column, "division or modulus by zero"));
        }
        if op == Arithmetic::Mod {
            let float = |o: &Operand| {
                matches!(o, Operand::Literal(Value::Float(_)))
                    || matches!(o, Operand::Column { data_type, .. } | Operand::Element { element: data_type, .. } if data_type.is_float())
            };
            if float(&left) || float(&right) {
                return Err(Error::at(column, "modulus can only apply on integer types"));
            }
        }
        if let (Operand::Literal(a), Operand::Literal(b)) = (&left, &right) {
            return fold_arithmetic(column, op, a, b).map(Operand::Literal);
        }
        Ok(Operand::Arithmetic(op, Box::new(left), Box::new(right)))
    }
}
