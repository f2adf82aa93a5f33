//! Refusals: each names the thing that is wrong and the column where it stands. The texts that clients match on are
//! here letter by letter.

mod fields;

use fields::{dynamic, fixed};
use mishards_expr::{Templates, compile};
use mishards_types::Schema;

/// Every line is a filter, the column of the fault, and what the text says.
fn refused_by(schema: &Schema, table: &[(&str, usize, &str)]) {
    for (text, column, says) in table {
        match compile(text, &Templates::new(), schema) {
            Ok(p) => panic!("{text} was accepted as {p:?}"),
            Err(e) => {
                assert!(e.message.contains(says), "{text}: {e}, expected {says}");
                assert_eq!(e.column, *column, "{text}: {e}");
                assert_eq!(e.to_string(), format!("{} (at column {column})", e.message));
                assert!(!e.is_retryable());
            }
        }
    }
}

fn refused(table: &[(&str, usize, &str)]) {
    refused_by(&fixed(), table);
}

#[test]
fn unknown_fields() {
    refused(&[
        ("tag == 1", 1, "field tag not exist"),
        ("i64 > 1 and event_time > 2", 13, "field event_time not exist"),
        ("i64 in [tag]", 9, "field tag not exist"),
        ("array_contains(tag, 1)", 16, "field tag not exist"),
        ("tag['a'] == 1", 1, "field tag not exist"),
        ("tag is null", 1, "field tag not exist"),
        ("$meta['a'] == 1", 1, "field $meta not exist"),
        ("I64 == 1", 1, "field I64 not exist"),
        ("'é' == name and größe == 1", 19, "unexpected character 'ö'"),
    ]);
}

#[test]
fn comparisons_of_unlike_types() {
    refused(&[
        ("name == 1", 1, "comparisons between VarChar and Int64 are not supported"),
        ("1 == name", 1, "comparisons between VarChar and Int64 are not supported"),
        ("i64 == 'a'", 1, "comparisons between Int64 and VarChar are not supported"),
        ("i8 == 'a'", 1, "comparisons between Int8 and VarChar are not supported"),
        ("f < true", 1, "comparisons between Float and Bool are not supported"),
        ("d == name", 1, "comparisons between Double and VarChar are not supported"),
        ("flag == 1", 1, "comparisons between Bool and Int64 are not supported"),
        ("j['a']", 1, "predicate is not a boolean expression: it gives JSON"),
        ("not j['a']", 5, "predicate is not a boolean expression"),
        ("tags < ['a']", 1, "comparisons between Array and Array are not supported"),
        ("tags == [1]", 1, "comparisons between Array and Array are not supported"),
        ("tags == 'a'", 1, "comparisons between Array and VarChar are not supported"),
        ("i64 == [1]", 1, "comparisons between Int64 and Array are not supported"),
        ("nums[0] == 'a'", 1, "comparisons between Int32 and VarChar are not supported"),
        ("tags[0] > 1", 1, "comparisons between VarChar and Int64 are not supported"),
        ("array_length(tags) == 'a'", 1, "comparisons between Int64 and VarChar are not supported"),
        ("i32 > 1 and name < 5", 13, "comparisons between VarChar and Int64 are not supported"),
        ("1 == 'a'", 1, "comparisons between Int64 and VarChar are not supported"),
        ("[1] == [1]", 1, "comparisons between Array and Array are not supported"),
        ("flag > false", 1, "a Bool can be compared only by == and !="),
    ]);
}

#[test]
fn json_is_compared_with_constants_only() {
    refused(&[
        ("j['a'] == j['b']", 1, "two column comparison with JSON type is not supported"),
        ("j['a'] < i64", 1, "two column comparison with JSON type is not supported"),
        ("i64 < j['a']", 1, "two column comparison with JSON type is not supported"),
        ("name == j['a']", 1, "two column comparison with JSON type is not supported"),
    ]);
    refused_by(&dynamic(), &[("colour == size", 1, "two column comparison with JSON type is not supported")]);
}

#[test]
fn what_is_no_condition() {
    refused(&[
        ("i64", 1, "predicate is not a boolean expression: it gives Int64"),
        ("name", 1, "predicate is not a boolean expression: it gives VarChar"),
        ("i64 + 1", 1, "predicate is not a boolean expression"),
        ("flag and 1", 10, "predicate is not a boolean expression: it gives Int64"),
        ("not 'a'", 5, "predicate is not a boolean expression: it gives VarChar"),
        ("[1]", 1, "predicate is not a boolean expression: it gives Array"),
        ("array_length(tags)", 1, "predicate is not a boolean expression"),
        ("(i64 > 1) == flag", 2, "a condition cannot be used as a value"),
        ("(flag and flag) + 1 == 2", 2, "a condition cannot be used as a value"),
        ("null", 1, "`is null` or `is not null`"),
        ("i64 == null", 8, "`is null` or `is not null`"),
    ]);
}

#[test]
fn vectors_and_accessors() {
    refused(&[
        ("v == [1, 2]", 1, "field v is a vector"),
        ("v is null", 1, "field v is a vector"),
        ("v[0] > 1", 1, "field v is a vector"),
        ("name['a'] == 1", 1, "VarChar data type not supported accessed with []: field name"),
        ("i64[0] == 1", 1, "Int64 data type not supported accessed with []: field i64"),
        ("tags['a'] == 'x'", 1, "Array data type not supported accessed with []: field tags"),
        ("j[-1] == 1", 1, "j[…] takes a quoted key or an index from 0"),
        ("j[a] == 1", 1, "j[…] takes a quoted key or an index from 0"),
        ("j['a' == 1", 7, "expected \"]\""),
        ("exists i64", 1, "exists takes a path into a JSON field"),
        ("j[0] is null", 1, "is null is not supported on an element of a JSON array"),
        ("tags[0] is null", 1, "is null takes a field or a path"),
        ("1 is null", 1, "is null takes a field or a path"),
    ]);
}

#[test]
fn lists() {
    refused(&[
        ("i64 in [1, 'a']", 8, "value \"a\" in list cannot be casted to Int64"),
        ("i64 in [1.5]", 8, "value 1.5 in list cannot be casted to Int64"),
        ("name in [1]", 9, "value 1 in list cannot be casted to VarChar"),
        ("flag in [0]", 9, "value 0 in list cannot be casted to Bool"),
        ("f in ['1']", 6, "cannot be casted to Float"),
        ("i64 in 1", 8, "the right side of in must be a list"),
        ("i64 in (1, 2)", 10, "expected \")\""),
        ("i64 in [i32]", 9, "a list can hold only constants"),
        ("tags in ['a']", 1, "in takes a field on its left, not Array"),
        ("1 in [1]", 1, "in takes a field on its left, not Int64"),
        ("i64 + 1 in [1]", 1, "in takes a field on its left"),
        ("i64 in [1", 10, "expected \"]\""),
        ("i64 in [,]", 9, "unexpected \",\""),
        ("i64 not 1", 5, "unexpected"),
    ]);
}

#[test]
fn like_wants_text() {
    refused(&[
        ("i64 like 'a'", 1, "like operation on non-string or no-json field is unsupported: Int64"),
        ("tags like 'a'", 1, "like operation on non-string or no-json field is unsupported: Array"),
        ("'a' like 'a'", 1, "like operation on non-string or no-json field is unsupported"),
        ("name like 1", 11, "must be a string literal or template variable"),
        ("name like name", 11, "must be a string literal or template variable"),
        ("name like", 10, "unexpected end of the expression"),
    ]);
}

#[test]
fn arithmetic() {
    refused(&[
        ("name + 1 == 2", 1, "arithmetic takes numbers, not VarChar"),
        ("i64 + flag == 2", 1, "arithmetic takes numbers, not Bool"),
        ("tags * 2 == 2", 1, "arithmetic takes numbers, not Array"),
        ("-name == 2", 1, "arithmetic takes numbers, not VarChar"),
        ("i64 / 0 == 1", 1, "division or modulus by zero"),
        ("i64 % 0 == 1", 1, "division or modulus by zero"),
        ("d / 0.0 == 1", 1, "division or modulus by zero"),
        ("i64 == 1 / (2 - 2)", 8, "division or modulus by zero"),
        ("d % 2 == 1", 1, "modulus can only apply on integer types"),
        ("i64 % 2.5 == 1", 1, "modulus can only apply on integer types"),
        ("i64 == 9223372036854775807 + 1", 8, "the constant is out of range"),
        ("i64 == -9223372036854775808 / -1", 8, "the constant is out of range"),
        ("d == 1e308 * 10", 6, "the constant is out of range"),
        ("d == 1e308 * 10 - 1e308 * 10", 6, "the constant is out of range"),
        ("i64 == 9223372036854775808", 8, "is not a number, or is out of range"),
        ("i64 == 1e999", 8, "is not a number, or is out of range"),
    ]);
}

#[test]
fn ranges() {
    refused(&[
        ("1 < i64 > 0", 1, "both sides of a range must point the same way"),
        ("1 < 2 < i64", 1, "the middle of a range must be a field"),
        ("1 < i64 < 'a'", 1, "comparisons between Int64 and VarChar are not supported"),
        ("1 < i64 < 2 < 3", 13, "unexpected"),
    ]);
}

#[test]
fn functions() {
    refused(&[
        ("json_contains(i64, 1)", 15, "contains operation is only supported on json or array fields"),
        ("array_contains(tags, 1)", 22, "value 1 does not have the type of the array's elements"),
        (
            "array_contains_all(nums, [1, 'a'])",
            26,
            "value \"a\" does not have the type of the array's elements",
        ),
        ("array_contains_any(nums, 1)", 26, "contains operation takes a constant"),
        ("json_contains(j, i64)", 18, "contains operation takes a constant"),
        ("array_contains(tags)", 1, "array_contains takes 2 arguments, got 1"),
        ("array_contains(tags, 'a', 'b')", 1, "array_contains takes 2 arguments, got 3"),
        ("array_length()", 1, "array_length takes 1 arguments, got 0"),
        ("array_length(name) == 1", 1, "array_length operation are only supported on array or json fields"),
        ("text_match(name, 'a')", 1, "function text_match is not supported"),
        ("random_sample(0.5)", 1, "function random_sample is not supported"),
        ("i64(1)", 1, "function i64 is not supported"),
    ]);
}

#[test]
fn malformed_text() {
    refused(&[
        ("i64 ==", 7, "unexpected end of the expression"),
        ("== 1", 1, "unexpected \"==\""),
        ("(i64 == 1", 10, "expected \")\""),
        ("i64 == 1)", 9, "unexpected"),
        ("i64 == 1 1", 10, "unexpected"),
        ("i64 = 1", 5, "unexpected character '='"),
        ("i64 == 1;", 9, "unexpected character ';'"),
        ("name == 'a", 9, "the string has no end"),
        ("name == '\\xq'", 11, "a malformed escape in a string"),
        ("i64 == 12ab", 8, "is not a number, or is out of range"),
        ("i64 & 1 == 1", 5, "unexpected"),
        ("i64 ** 2 == 1", 1, "power can only apply on constants"),
        ("flag and", 9, "unexpected end of the expression"),
        ("i64 is", 7, "expected null"),
        ("i64 is not 1", 12, "expected null"),
        ("\u{0}", 1, "unexpected character '\\0'"),
    ]);
}
