//! Key-value parameters: flat pairs, with the JSON object under `params` merged in.

use mishards_proto::common::KeyValuePair;
use mishards_types::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Parameters by name, as JSON values. A plain pair wins over the same name inside `params`.
pub struct Params {
    values: BTreeMap<String, Value>,
}

impl Params {
    pub fn new(pairs: &[KeyValuePair]) -> Result<Params> {
        let mut values = BTreeMap::new();
        let mut nested = Vec::new();
        for pair in pairs {
            if pair.key == "params" && !pair.value.trim().is_empty() {
                let parsed: Value = serde_json::from_str(&pair.value).map_err(|e| {
                    Error::invalid(format!("params is not a JSON object: {e}: {}", pair.value))
                })?;
                match parsed {
                    Value::Object(map) => nested.extend(map),
                    _ => return Err(Error::invalid(format!("params is not a JSON object: {}", pair.value))),
                }
            } else if pair.key != "params" {
                values.insert(pair.key.clone(), Value::String(pair.value.clone()));
            }
        }
        for (key, value) in nested {
            values.entry(key).or_insert(value);
        }
        Ok(Params { values })
    }

    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value as text; empty when it is not given.
    pub fn text(&self, key: &str) -> String {
        match self.values.get(key) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(s)) => s.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// An integer, given as a number or as text.
    pub fn integer(&self, key: &str) -> Result<Option<i64>> {
        let bad =
            |v: &Value| Error::invalid(format!("{key} [{}] is invalid, it must be an integer", plain(v)));
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) if s.is_empty() => Ok(None),
            Some(v @ Value::String(s)) => s.trim().parse().map(Some).map_err(|_| bad(v)),
            Some(v) => v
                .as_i64()
                .or_else(|| v.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))
                .map(Some)
                .ok_or_else(|| bad(v)),
        }
    }

    /// A finite number, given as a number or as text.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let bad = |v: &Value| Error::invalid(format!("{key} [{}] is invalid, it must be a number", plain(v)));
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(v @ Value::String(s)) => match s.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Some(number)),
                _ => Err(bad(v)),
            },
            Some(v) => v.as_f64().map(Some).ok_or_else(|| bad(v)),
        }
    }

    /// A score that a page of an iterator ended with, as we gave it: it may be infinite, where distances overflow.
    pub fn bound(&self, key: &str) -> Result<Option<f64>> {
        match self.text(key).trim().parse::<f64>() {
            Ok(bound) if bound.is_infinite() => Ok(Some(bound)),
            _ => self.number(key),
        }
    }

    /// A flag; absent is false.
    pub fn flag(&self, key: &str) -> bool {
        match self.values.get(key) {
            Some(Value::Bool(v)) => *v,
            Some(Value::String(s)) => s.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }

    /// The JSON value of a parameter that may have come as text.
    pub fn json(&self, key: &str) -> Option<Value> {
        match self.values.get(key)? {
            Value::String(s) => serde_json::from_str(s).ok().or_else(|| Some(Value::String(s.clone()))),
            other => Some(other.clone()),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        self.values.keys().map(|k| (k.as_str(), self.text(k)))
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
