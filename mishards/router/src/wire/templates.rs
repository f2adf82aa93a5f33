//! Template values of a filter.

use mishards_expr::Templates;
use mishards_proto::schema::{
    TemplateArrayValue, TemplateValue, template_array_value::Data, template_value::Val,
};
use mishards_types::{Error, Result, Value};
use std::collections::BTreeMap;

const DEPTH: usize = 16;

/// Values by name; one that no filter can use is refused by name.
pub fn templates_from_wire(wire: BTreeMap<String, TemplateValue>) -> Result<Templates> {
    let convert = |(name, value): (String, TemplateValue)| match one(value) {
        Some(value) => Ok((name, value)),
        None => Err(Error::invalid(format!(
            "the value of expression template variable {{{name}}} cannot be used in a filter"
        ))),
    };
    wire.into_iter().map(convert).collect()
}

fn one(value: TemplateValue) -> Option<Value> {
    Some(match value.val? {
        Val::BoolVal(v) => Value::Bool(v),
        Val::Int64Val(v) => Value::Int(v),
        Val::FloatVal(v) => Value::Float(v),
        Val::StringVal(v) => Value::Str(v),
        Val::ArrayVal(list) => Value::Array(items(list, 0)?),
        Val::BytesVal(_) => return None,
    })
}

fn items(list: TemplateArrayValue, depth: usize) -> Option<Vec<Value>> {
    if depth > DEPTH {
        return None;
    }
    match list.data {
        None => Some(Vec::new()),
        Some(Data::BoolData(v)) => Some(v.data.into_iter().map(Value::Bool).collect()),
        Some(Data::LongData(v)) => Some(v.data.into_iter().map(Value::Int).collect()),
        Some(Data::DoubleData(v)) => Some(v.data.into_iter().map(Value::Float).collect()),
        Some(Data::StringData(v)) => Some(v.data.into_iter().map(Value::Str).collect()),
        Some(Data::ArrayData(v)) => {
            v.data.into_iter().map(|l| items(l, depth + 1).map(Value::Array)).collect()
        }
        Some(Data::JsonData(v)) => v.data.iter().map(|b| json(serde_json::from_slice(b).ok()?)).collect(),
    }
}

fn json(value: serde_json::Value) -> Option<Value> {
    Some(match value {
        serde_json::Value::Bool(v) => Value::Bool(v),
        serde_json::Value::Number(n) => {
            n.as_i64().map(Value::Int).or_else(|| n.as_f64().map(Value::Float))?
        }
        serde_json::Value::String(s) => Value::Str(s),
        serde_json::Value::Array(list) => Value::Array(list.into_iter().map(json).collect::<Option<_>>()?),
        _ => return None,
    })
}
