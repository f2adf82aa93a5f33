//! Partition key isolation: each search of such a collection keeps to one value of the partition key, or is refused.

use super::names::Named;
use crate::plan::Filter;
use mishards_expr::{Comparison, Operand, Predicate};
use mishards_types::{Code, Error, FieldId, Result, Schema};
use std::collections::BTreeMap;

const PROPERTY: &str = "partitionkey.isolation";

/// Whether a collection with these properties is isolated.
fn is_on(properties: &BTreeMap<String, String>) -> Result<bool> {
    match properties.get(PROPERTY).map(|v| v.to_ascii_lowercase()).as_deref() {
        None | Some("false" | "f" | "0") => Ok(false),
        Some("true" | "t" | "1") => Ok(true),
        Some(other) => Err(Error::invalid(format!("failed to parse partition key isolation: {other}"))),
    }
}

/// Refuses a new collection that cannot be isolated as it asks.
pub fn check_property(schema: &Schema, properties: &BTreeMap<String, String>) -> Result<()> {
    if !is_on(properties)? || schema.partition_key().is_some() {
        return Ok(());
    }
    Err(Error::new(
        Code(105),
        "partition key isolation mode is enabled but no partition key field is set. Please set the partition key \
         first: illegal collection schema",
    ))
}

/// Refuses a search of an isolated collection whose filter does not keep to one key. The filter must have been checked.
pub fn check_search(named: &Named, filter: &Filter) -> Result<()> {
    let collection = &named.collection;
    let Some(key) = collection.schema.partition_key() else { return Ok(()) };
    if !is_on(&collection.properties)? {
        return Ok(());
    }
    let predicate = mishards_expr::compile(&filter.text, &filter.values, &collection.schema)
        .map_err(|e| Error::invalid(format!("failed to create query plan: {e}")))?;
    if keeps_to_one(&predicate, key.id)? {
        return Ok(());
    }
    Err(Error::invalid(
        "partition key not found in expr or the expr is invalid when validating partition key isolation",
    ))
}

/// Whether every row that matches has one and the same key. A key in any other place than `key == value` is an error.
fn keeps_to_one(predicate: &Predicate, key: FieldId) -> Result<bool> {
    let is_key = |operand: &Operand| matches!(operand, Operand::Column { field, .. } if *field == key);
    let unsupported =
        |what: &str| Err(Error::invalid(format!("partition key isolation does not support {what}")));
    match predicate {
        Predicate::Compare(left, comparison, right) if is_key(left) || is_key(right) => {
            let literal = matches!(left, Operand::Literal(_)) || matches!(right, Operand::Literal(_));
            match comparison {
                Comparison::Eq if literal => Ok(true),
                _ => unsupported("other comparisons of the key than with =="),
            }
        }
        Predicate::In(operand, _) if is_key(operand) => unsupported("IN"),
        Predicate::And(parts) => {
            let parts: Vec<bool> = parts.iter().map(|p| keeps_to_one(p, key)).collect::<Result<_>>()?;
            Ok(parts.contains(&true))
        }
        Predicate::Or(parts) => {
            for part in parts {
                if keeps_to_one(part, key)? {
                    return unsupported("OR");
                }
            }
            Ok(false)
        }
        Predicate::Not(part) if keeps_to_one(part, key)? => unsupported("NOT"),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mishards_types::{DataType, Field};

    fn schema() -> Schema {
        let mut tenant = Field::new(FieldId(101), "tenant", DataType::VarChar);
        tenant.partition_key = true;
        let fields = vec![Field::new(FieldId(100), "id", DataType::Int64), tenant];
        Schema { description: String::new(), fields, enable_dynamic: false }
    }

    fn verdict(filter: &str) -> Result<bool> {
        let schema = schema();
        let predicate = mishards_expr::compile(filter, &BTreeMap::new(), &schema).unwrap();
        keeps_to_one(&predicate, FieldId(101))
    }

    #[test]
    fn one_key_and_what_narrows_it_further() {
        for good in [
            "tenant == 'a'",
            "'a' == tenant",
            "id > 3 and tenant == 'a'",
            "tenant == 'a' and (id == 1 or id == 2)",
        ] {
            assert_eq!(verdict(good), Ok(true), "{good}");
        }
        for none in ["", "id > 0", "id == 1 or id == 2", "not (id == 1)"] {
            assert_eq!(verdict(none), Ok(false), "{none}");
        }
        for bad in [
            "tenant in ['a', 'b']",
            "tenant == 'a' or tenant == 'b'",
            "tenant == 'a' or id > 1",
            "tenant != 'a'",
            "tenant > 'a'",
            "not (tenant == 'a')",
            "id == 1 and not (tenant == 'a')",
        ] {
            assert!(verdict(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_property() {
        let with = |value: &str| BTreeMap::from([(PROPERTY.to_owned(), value.to_owned())]);
        assert_eq!(
            (is_on(&BTreeMap::new()), is_on(&with("TRUE")), is_on(&with("f"))),
            (Ok(false), Ok(true), Ok(false))
        );
        assert!(
            is_on(&with("perhaps")).unwrap_err().message.contains("failed to parse partition key isolation")
        );
        assert!(check_property(&schema(), &with("true")).is_ok());
        let mut keyless = schema();
        keyless.fields.pop();
        assert_eq!(check_property(&keyless, &with("true")).unwrap_err().code, Code(105));
        assert!(check_property(&keyless, &with("false")).is_ok());
    }
}
