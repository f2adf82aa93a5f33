//! Which names are allowed, and the texts that refuse the others.

use crate::{Code, Error, Result, limits::NAME_BYTES};

const RESERVED_FIELDS: [&str; 5] = ["RowID", "Timestamp", "$meta", "$namespace_id", "__virtual_pk__"];
/// Words of the filter language, in any case.
const KEYWORDS: [&str; 19] = [
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
    "random_sample",
    "null",
];

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Checks a name of the ordinary kind; `what` is "collection name", "collection alias" or the like. The text goes on behind
/// "Invalid <what>: <name>. ".
fn check(what: &str, name: &str) -> std::result::Result<(), String> {
    if name.len() > NAME_BYTES {
        return Err(format!("the length of a {what} must be less than {NAME_BYTES} characters"));
    }
    if !name.starts_with(is_word_start) {
        return Err(format!("the first character of a {what} must be an underscore or letter"));
    }
    if !name.chars().all(is_word) {
        return Err(format!("{what} can only contain numbers, letters and underscores"));
    }
    Ok(())
}

fn check_of_collection(what: &str, name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid(format!("{what} should not be empty")));
    }
    check(what, name).map_err(|why| Error::invalid(format!("Invalid {what}: {name}. {why}")))
}

pub fn check_collection_name(name: &str) -> Result<()> {
    check_of_collection("collection name", name)
}

pub fn check_alias_name(name: &str) -> Result<()> {
    check_of_collection("collection alias", name)
}

pub fn check_database_name(name: &str) -> Result<()> {
    let checked = match name.is_empty() {
        true => Err("database name couldn't be empty".to_owned()),
        false => check("database name", name),
    };
    checked.map_err(|why| {
        Error::new(Code::DATABASE_NAME, format!("{why}: invalid database name[database={name}]"))
    })
}

pub fn check_field_name(name: &str) -> Result<()> {
    let bad = |why: String| {
        let text = format!("Invalid field name: {name}. {why}: field name invalid[field={name}]");
        Err(Error::new(Code::FIELD_NAME, text))
    };
    if name.trim().is_empty() {
        return bad("field name should not be empty".to_owned());
    }
    if RESERVED_FIELDS.contains(&name) {
        return bad("the name is reserved by the system".to_owned());
    }
    if KEYWORDS.contains(&name.to_ascii_lowercase().as_str()) {
        return bad(format!("{name} is keyword in milvus"));
    }
    check("field name", name).or_else(bad)
}

/// Partition names may start with a digit and contain `-`.
pub fn check_partition_name(name: &str) -> Result<()> {
    let why = if name.trim().is_empty() {
        "Partition name should not be empty.".to_owned()
    } else if name.len() > NAME_BYTES {
        format!("The length of a partition name must be less than {NAME_BYTES} characters.")
    } else if !name.starts_with(is_word) {
        "The first character of a partition name must be an underscore or letter.".to_owned()
    } else if !name.chars().all(|c| is_word(c) || c == '-') {
        "Partition name can only contain numbers, letters and underscores.".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("Invalid partition name: {}. {why}", name.trim())))
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

    fn text(checked: Result<()>) -> String {
        checked.unwrap_err().message
    }

    #[test]
    fn good_names() {
        assert!(check_collection_name("_a1").is_ok());
        assert!(check_alias_name("A_1").is_ok());
        assert!(check_database_name("d").is_ok());
        assert!(check_field_name("random_samples").is_ok());
        assert!(check_partition_name("2024-01").is_ok());
    }

    /// The texts are those of Milvus: clients and its own tests look for them.
    #[test]
    fn texts_of_bad_names() {
        let invalid = "invalid parameter";
        let first = "the first character of a";
        let wanted = [
            (
                check_collection_name("1a"),
                format!(
                    "Invalid collection name: 1a. {first} collection name must be an underscore or letter: {invalid}"
                ),
            ),
            (
                check_alias_name("1a"),
                format!(
                    "Invalid collection alias: 1a. {first} collection alias must be an underscore or letter: {invalid}"
                ),
            ),
            (check_collection_name(" "), format!("collection name should not be empty: {invalid}")),
            (
                check_alias_name("a b"),
                format!(
                    "Invalid collection alias: a b. collection alias can only contain numbers, letters and underscores: {invalid}"
                ),
            ),
            (
                check_database_name("  "),
                format!(
                    "{first} database name must be an underscore or letter: invalid database name[database=  ]"
                ),
            ),
            (
                check_database_name(""),
                "database name couldn't be empty: invalid database name[database=]".to_owned(),
            ),
            (
                check_partition_name(" "),
                format!("Invalid partition name: . Partition name should not be empty.: {invalid}"),
            ),
            (
                check_partition_name("12 s"),
                format!(
                    "Invalid partition name: 12 s. Partition name can only contain numbers, letters and underscores.: {invalid}"
                ),
            ),
        ];
        for (checked, text) in wanted {
            assert_eq!(checked.unwrap_err().message, text);
        }
        let long = "a".repeat(256);
        assert!(
            text(check_collection_name(&long))
                .contains("the length of a collection name must be less than 255")
        );
        assert!(
            text(check_alias_name(&long)).contains("the length of a collection alias must be less than 255")
        );
        assert!(
            text(check_partition_name(&long))
                .contains("The length of a partition name must be less than 255")
        );
    }

    #[test]
    fn codes() {
        assert_eq!(check_database_name("a-b").unwrap_err().code, Code::DATABASE_NAME);
        for word in ["LIKE", "random_sample", "Text_Match", "NULL", "$meta", "RowID", "a b", ""] {
            let refused = check_field_name(word).unwrap_err();
            assert_eq!(refused.code, Code::FIELD_NAME, "{word}");
            assert!(refused.message.starts_with(&format!("Invalid field name: {word}.")), "{word}");
        }
    }
}
