//! Looks up a path in a JSON text. What is not on the path is skipped and never built.

use super::operand::Cell;
use mishards_expr::Step;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// The value at a path; null when it is not there.
pub fn at_path(text: &str, path: &[Step]) -> Cell<'static> {
    let mut json = serde_json::Deserializer::from_str(text);
    match Seek(path).deserialize(&mut json) {
        Ok(Some(value)) => cell(value),
        _ => Cell::Null,
    }
}

/// Reads the value at a path; nothing when the path leads nowhere.
struct Seek<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Value>, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(json).map(Some),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<str>>()? {
            match &self.0[0] {
                // Of a key that stands there twice the last counts.
                Step::Key(wanted) if *wanted == key => found = map.next_value_seed(Seek(&self.0[1..]))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Value>, A::Error> {
        let mut found = None;
        if let Step::Index(index) = &self.0[0] {
            for _ in 0..*index {
                if items.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            found = items.next_element_seed(Seek(&self.0[1..]))?.flatten();
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }
}

fn cell(value: Value) -> Cell<'static> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(v) => Cell::Bool(v),
        Value::Number(n) => match n.as_i64() {
            Some(v) => Cell::Int(v),
            None => n.as_f64().map_or(Cell::Null, Cell::Float),
        },
        Value::String(s) => Cell::Str(Cow::Owned(s)),
        Value::Array(items) => Cell::List(items.into_iter().map(cell).collect()),
        Value::Object(_) => Cell::Object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn paths_lead_to_values_or_nowhere() {
        let text = r#"{"a": {"b": [1, {"c": "x"}, 2.5], "": true}, "n": 1, "a2": [[3]], "a": {"b": [7, 8]}}"#;
        let at = |path: &[Step]| at_path(text, path);
        assert_eq!(at(&[key("n")]), Cell::Int(1));
        assert_eq!(at(&[key("a"), key("b"), Step::Index(1)]), Cell::Int(8), "the last of two keys counts");
        assert_eq!(at(&[key("a"), key("b"), Step::Index(2)]), Cell::Null);
        assert_eq!(at(&[key("a2"), Step::Index(0), Step::Index(0)]), Cell::Int(3));
        assert_eq!(at(&[key("a2"), Step::Index(1)]), Cell::Null);
        assert_eq!(at(&[key("n"), key("x")]), Cell::Null);
        assert_eq!(at(&[key("a"), Step::Index(0)]), Cell::Null);
        assert_eq!(at(&[]), Cell::Object);
        assert_eq!(at_path("{\"k\u{e9}\\n\": 1e3}", &[key("k\u{e9}\n")]), Cell::Float(1000.0));
        for broken in ["", "{", "{\"a\": }", "[1, 2", "nope"] {
            assert_eq!(at_path(broken, &[key("a")]), Cell::Null, "{broken}");
        }
    }
}
