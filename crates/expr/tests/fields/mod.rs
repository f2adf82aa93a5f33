//! A schema with a field of every type, and predicates written as text, so that tables of expectations stay readable.
#![allow(dead_code, reason = "each test program uses a part of it")]

use mishards_expr::{
    Arithmetic, Comparison, ContainsMode, Error, Operand, Predicate, Step, Templates, compile,
};
use mishards_types::{DYNAMIC_FIELD, DataType, Field, FieldId, Schema, Value};

fn field(id: i64, name: &str, data_type: DataType) -> Field {
    Field { nullable: true, ..Field::new(FieldId(id), name, data_type) }
}

/// One field of each type and no dynamic field.
pub fn fixed() -> Schema {
    let array =
        |id, name: &str, element| Field { element: Some(element), ..field(id, name, DataType::Array) };
    let fields = vec![
        Field { primary: true, nullable: false, ..field(100, "id", DataType::Int64) },
        field(101, "flag", DataType::Bool),
        field(102, "i8", DataType::Int8),
        field(103, "i16", DataType::Int16),
        field(104, "i32", DataType::Int32),
        field(105, "i64", DataType::Int64),
        field(106, "f", DataType::Float),
        field(107, "d", DataType::Double),
        Field { max_length: Some(100), ..field(108, "name", DataType::VarChar) },
        array(109, "tags", DataType::VarChar),
        array(110, "nums", DataType::Int32),
        field(111, "j", DataType::Json),
        Field { dim: Some(4), nullable: false, ..field(112, "v", DataType::FloatVector) },
        array(113, "bits", DataType::Bool),
    ];
    Schema { description: String::new(), fields, enable_dynamic: false }
}

/// The same with a dynamic field.
pub fn dynamic() -> Schema {
    let mut schema = fixed();
    schema.fields.push(Field { dynamic: true, ..field(120, DYNAMIC_FIELD, DataType::Json) });
    schema.enable_dynamic = true;
    schema
}

pub fn templates(values: &[(&str, Value)]) -> Templates {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// Compiles against the schema with a dynamic field and writes the predicate down.
pub fn read(text: &str) -> Result<String, Error> {
    let schema = dynamic();
    compile(text, &Templates::new(), &schema).map(|p| write(&p, &schema))
}

/// Every line is a filter and the predicate that it must become.
pub fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        match read(text) {
            Ok(found) => assert_eq!(found, *expected, "of {text}"),
            Err(e) => panic!("{text}: {e}"),
        }
    }
}

/// A predicate as text: operators first, like Lisp.
pub fn write(predicate: &Predicate, schema: &Schema) -> String {
    let operand = |o: &Operand| write_operand(o, schema);
    let all = |head: &str, parts: &[Predicate]| {
        let parts: Vec<String> = parts.iter().map(|p| write(p, schema)).collect();
        format!("({head} {})", parts.join(" "))
    };
    match predicate {
        Predicate::Const(v) => v.to_string(),
        Predicate::Compare(l, op, r) => format!("({} {} {})", comparison(*op), operand(l), operand(r)),
        Predicate::In(o, values) => format!("(in {} {})", operand(o), list(values)),
        Predicate::Like(o, _) => format!("(like {})", operand(o)),
        Predicate::IsNull(o) => format!("(null {})", operand(o)),
        Predicate::Exists(o) => format!("(exists {})", operand(o)),
        Predicate::Contains(mode, o, values) => {
            format!("({} {} {})", contains(*mode), operand(o), list(values))
        }
        Predicate::And(parts) => all("and", parts),
        Predicate::Or(parts) => all("or", parts),
        Predicate::Not(inner) => format!("(not {})", write(inner, schema)),
    }
}

fn write_operand(operand: &Operand, schema: &Schema) -> String {
    let name = |id: &FieldId| schema.field_by_id(*id).map_or("?", |f| f.name.as_str()).to_owned();
    match operand {
        Operand::Literal(v) => literal(v),
        Operand::Column { field, .. } => name(field),
        Operand::Json { field, path } => name(field) + &steps(path),
        Operand::Element { field, index, .. } => format!("{}[{index}]", name(field)),
        Operand::Length { field, json_path } => {
            format!("(length {}{})", name(field), json_path.as_deref().map_or(String::new(), steps))
        }
        Operand::Arithmetic(op, l, r) => {
            format!("({} {} {})", arithmetic(*op), write_operand(l, schema), write_operand(r, schema))
        }
    }
}

fn steps(path: &[Step]) -> String {
    let step = |s: &Step| match s {
        Step::Key(key) => format!("[{key:?}]"),
        Step::Index(index) => format!("[{index}]"),
    };
    path.iter().map(step).collect()
}

/// Floats always show a point or an exponent, so that 1 and 1.0 differ.
pub fn literal(value: &Value) -> String {
    match value {
        Value::Float(v) => format!("{v:?}"),
        Value::Array(values) => list(values),
        other => other.to_string(),
    }
}

fn list(values: &[Value]) -> String {
    let values: Vec<String> = values.iter().map(literal).collect();
    format!("[{}]", values.join(" "))
}

fn comparison(op: Comparison) -> &'static str {
    match op {
        Comparison::Eq => "==",
        Comparison::Ne => "!=",
        Comparison::Lt => "<",
        Comparison::Le => "<=",
        Comparison::Gt => ">",
        Comparison::Ge => ">=",
    }
}

fn arithmetic(op: Arithmetic) -> &'static str {
    match op {
        Arithmetic::Add => "+",
        Arithmetic::Sub => "-",
        Arithmetic::Mul => "*",
        Arithmetic::Div => "/",
        Arithmetic::Mod => "%",
    }
}

fn contains(mode: ContainsMode) -> &'static str {
    match mode {
        ContainsMode::One => "has",
        ContainsMode::All => "has-all",
        ContainsMode::Any => "has-any",
    }
}
