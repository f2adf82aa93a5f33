//! Constants as they are written: numbers, strings, patterns, and templates that stand for them.

mod fields;

use fields::{check, dynamic, fixed, literal, templates, write};
use mishards_expr::{LikePattern, Operand, Predicate, Templates, compile};
use mishards_types::Value;

#[test]
fn numbers_in_every_base() {
    let value = |text: &str| match compile(&format!("j == {text}"), &Templates::new(), &fixed()) {
        Ok(Predicate::Compare(_, _, Operand::Literal(v))) => Some(literal(&v)),
        _ => None,
    };
    for (text, expected) in [
        ("0", "0"),
        ("42", "42"),
        ("+5", "5"),
        ("-5", "-5"),
        ("- 5", "-5"),
        ("--5", "5"),
        ("017", "15"),
        ("00", "0"),
        ("0x1F", "31"),
        ("0Xff", "255"),
        ("0b101", "5"),
        ("0B11", "3"),
        ("1.", "1.0"),
        (".5", "0.5"),
        ("1.25", "1.25"),
        ("01.5", "1.5"),
        ("1e3", "1000.0"),
        ("1E+3", "1000.0"),
        ("1.5e-2", "0.015"),
        ("-0.0", "-0.0"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x7fffffffffffffff", "9223372036854775807"),
    ] {
        assert_eq!(value(text).as_deref(), Some(expected), "{text}");
    }
    for bad in [
        "08",
        "0x",
        "0xg",
        "0b2",
        "0b",
        "1e",
        "1e+",
        "1e999",
        "1_000",
        "12ab",
        "1.2.3",
        "9223372036854775808",
        "-9223372036854775809",
        "0x8000000000000000",
        "-(-9223372036854775808)",
        "9223372036854775808 - 1",
    ] {
        assert_eq!(value(bad), None, "{bad}");
    }
}

#[test]
fn strings_and_their_escapes() {
    let value = |text: &str| match compile(&format!("name == {text}"), &Templates::new(), &fixed()) {
        Ok(Predicate::Compare(_, _, Operand::Literal(Value::Str(s)))) => Some(s),
        _ => None,
    };
    for (text, expected) in [
        (r"'a'", "a"),
        (r#""a""#, "a"),
        ("''", ""),
        (r#"'say "hi"'"#, "say \"hi\""),
        (r#""it's""#, "it's"),
        (r"'it\'s'", "it's"),
        (r#""\"""#, "\""),
        (r"'\\'", "\\"),
        (r"'\?'", "?"),
        (r"'\n\t\r'", "\n\t\r"),
        (r"'\a\b\f\v'", "\x07\x08\x0c\x0b"),
        (r"'\101'", "A"),
        (r"'\0'", "\0"),
        (r"'\1018'", "A8"),
        (r"'\x41'", "A"),
        (r"'\u00e9'", "é"),
        (r"'\U0001F600'", "😀"),
        (r"'100\%'", r"100\%"),
        (r"'a\qb'", r"a\qb"),
        ("'Grüße 日本'", "Grüße 日本"),
        (r"r'a\nb'", r"a\nb"),
        (r#"R"\d+""#, r"\d+"),
        ("u8'a'", "a"),
        ("u'a'", "a"),
        ("U\"a\"", "a"),
        ("L'a'", "a"),
    ] {
        assert_eq!(value(text).as_deref(), Some(expected), "{text}");
    }
    for bad in
        ["'", "'a", "\"a'", r"'\x4'", r"'\xzz'", r"'\u12'", r"'\UFFFFFFFF'", r"'\ud800'", "'a\\", "r'a"]
    {
        assert_eq!(value(bad), None, "{bad}");
    }
}

#[test]
fn like_on_text_json_and_elements() {
    check(&[
        ("name like 'a%'", "(like name)"),
        ("j['a']['b'] like 'a%'", r#"(like j["a"]["b"])"#),
        ("tags[0] like '%x'", "(like tags[0])"),
        ("colour like '_'", r#"(like $meta["colour"])"#),
        ("not (name like 'a')", "(not (like name))"),
    ]);
    let pattern = |text: &str| match compile(&format!("name like {text}"), &Templates::new(), &fixed()) {
        Ok(Predicate::Like(_, pattern)) => pattern,
        other => panic!("{text}: {other:?}"),
    };
    for (literal, expected) in [
        ("'a%_'", "a%_"),
        (r"'100\%'", r"100\%"),
        (r"'100\\%'", r"100\%"),
        (r"r'a\_b'", r"a\_b"),
        (r"'\u00e9%'", "é%"),
    ] {
        assert_eq!(pattern(literal), LikePattern::new(expected).unwrap(), "{literal}");
    }
    assert!(pattern(r"'100\%'").matches("100%") && !pattern(r"'100\%'").matches("1000"));
    assert!(pattern(r"'a\_b%'").matches("a_bc") && !pattern(r"'a\_b%'").matches("axbc"));
    assert!(pattern(r"'\\\\'").matches("\\"), "an escaped backslash is a backslash");
    assert!(pattern("'%ß_'").matches("Grüße") && !pattern("'%ß_'").matches("Grüß"));
}

#[test]
fn templates_stand_for_constants() {
    let values = templates(&[
        ("n", Value::Int(7)),
        ("x", Value::Float(0.5)),
        ("s", Value::Str("a\"b".to_owned())),
        ("b", Value::Bool(true)),
        ("ids", Value::Array(vec![Value::Int(1), Value::Int(2)])),
        ("like", Value::Str("a%".to_owned())),
        ("none", Value::Array(Vec::new())),
    ]);
    let schema = dynamic();
    for (text, expected) in [
        ("i64 == {n}", "(== i64 7)"),
        ("{n} < i64 <= {n} + 1", "(and (> i64 7) (<= i64 8))"),
        ("d > -{x}", "(> d -0.5)"),
        ("name == {s}", r#"(== name "a\"b")"#),
        ("flag == {b}", "(== flag true)"),
        ("{b}", "true"),
        ("i64 in {ids} and i64 not in {none}", "(and (in i64 [1 2]) (not (in i64 [])))"),
        ("i64 in [{n}, 8]", "(in i64 [7 8])"),
        ("name like {like}", "(like name)"),
        ("array_contains_any(nums, {ids})", "(has-any nums [1 2])"),
        ("json_contains(j['a'], {n})", r#"(has j["a"] [7])"#),
        ("colour == {s}", r#"(== $meta["colour"] "a\"b")"#),
    ] {
        let found = compile(text, &values, &schema).map(|p| write(&p, &schema));
        assert_eq!(found.as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn templates_must_have_values_that_fit() {
    let values = templates(&[("s", Value::Str("x".to_owned())), ("nan", Value::Float(f64::NAN))]);
    let says = |text: &str| compile(text, &values, &fixed()).map_err(|e| (e.column, e.message));
    let missing = "the value of expression template variable name {n} is not found".to_owned();
    assert_eq!(says("i64 == {n}"), Err((8, missing)));
    let unlike = "comparisons between Int64 and VarChar are not supported".to_owned();
    assert_eq!(says("i64 == {s}"), Err((1, unlike)));
    assert!(says("i64 in {s}").is_err());
    assert!(says("name like {nan}").is_err());
    // NaN equals nothing, itself included.
    assert_eq!(says("{nan} == {nan} or {nan} < 1 or {nan} > 1"), Ok(mishards_expr::Predicate::Const(false)));
    for bad in ["i64 == {}", "i64 == {n", "i64 == { n }", "i64 == {a b}"] {
        assert_eq!(says(bad), Err((8, "a template is written {name}".to_owned())), "{bad}");
    }
}
