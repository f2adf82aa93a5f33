//! Which names are allowed, and the texts that refuse the others.

use crate::{Code, Error, Result, limits::NAME_BYTES};

const RESERVED_FIELDS: [&str; 5] = ["RowID", "Timestamp", "$meta", "$namespace_id", "__virtual_pk__"];
const KEYWORDS: [&str; 18] = [
    "like",
    "exists",
    "and",
    "or",
    "not",
    "in",
    "json_contains",
    "json_contains_all",
    "json_contains_any",
    "array_contains",
    "array_contains_all",
    "array_contains_any",
    "array_length",
    "true",
    "false",
    "text_match",
    "phrase_match",
    "null",
];

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn check(kind: &str, name: &str) -> std::result::Result<(), String> {
    if name.is_empty() {
        return Err(format!("Invalid {kind} name: {name}. the {kind} name should not be empty"));
    }
    if name.len() > NAME_BYTES {
        return Err(format!(
            "Invalid {kind} name: {name}. the length of a {kind} name must be less than {NAME_BYTES} characters"
        ));
    }
    if !name.starts_with(is_word_start) {
        return Err(format!(
            "Invalid {kind} name: {name}. the first character of a {kind} name must be an underscore or letter"
        ));
    }
    if !name.chars().all(is_word) {
        return Err(format!(
            "Invalid {kind} name: {name}. {kind} name can only contain numbers, letters and underscores"
        ));
    }
    Ok(())
}

pub fn check_collection_name(name: &str) -> Result<()> {
    check("collection", name).map_err(Error::invalid)
}

pub fn check_alias_name(name: &str) -> Result<()> {
    check("collection alias", name).map_err(Error::invalid)
}

pub fn check_database_name(name: &str) -> Result<()> {
    check("database", name)
        .map_err(|m| Error::new(Code::DATABASE_NAME, format!("{m}: invalid database name")))
}

pub fn check_field_name(name: &str) -> Result<()> {
    let bad = |m: String| Error::new(Code::FIELD_NAME, format!("{m}: field name invalid"));
    check("field", name).map_err(bad)?;
    if RESERVED_FIELDS.contains(&name) {
        return Err(bad(format!("Invalid field name: {name}. the name is reserved by the system")));
    }
    if KEYWORDS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(bad(format!("Invalid field name: {name}. the name is a keyword of filter expressions")));
    }
    Ok(())
}

/// Partition names may start with a digit and contain `-`.
pub fn check_partition_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!(
            "Invalid partition name: {name}. Partition name should not be empty."
        )));
    }
    if name.len() > NAME_BYTES {
        return Err(Error::invalid(format!(
            "Invalid partition name: {name}. The length of a partition name must be less than {NAME_BYTES} characters."
        )));
    }
    if !name.starts_with(is_word) {
        return Err(Error::invalid(format!(
            "Invalid partition name: {name}. The first character of a partition name must be an underscore, letter or number."
        )));
    }
    if !name.chars().all(|c| is_word(c) || c == '-') {
        return Err(Error::invalid(format!(
            "Invalid partition name: {name}. Partition name can only contain numbers, letters, underscores and dashes."
        )));
    }
    Ok(())
}

pub fn check_index_name(name: &str) -> Result<()> {
    let ok = |c: char| is_word(c) || c == '[' || c == ']';
    if name.len() > NAME_BYTES || !name.starts_with(is_word_start) || !name.chars().all(ok) {
        return Err(Error::invalid(format!(
            "Invalid index name: {name}. it must start with a letter or underscore, hold only letters, numbers, \
             underscores and brackets, and have at most {NAME_BYTES} characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_collection_name("_a1").is_ok());
        assert!(
            check_collection_name("1a")
                .unwrap_err()
                .message
                .contains("the first character of a collection name")
        );
        assert!(
            check_collection_name(&"a".repeat(256)).unwrap_err().message.contains("must be less than 255")
        );
        assert_eq!(check_database_name("a-b").unwrap_err().code, Code::DATABASE_NAME);
        assert_eq!(check_field_name("LIKE").unwrap_err().code, Code::FIELD_NAME);
        assert!(check_partition_name("2024-01").is_ok());
    }
}
