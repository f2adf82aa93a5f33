//! The grammar, table by table: what each form of a filter becomes.

mod fields;

use fields::{check, dynamic, fixed, literal, read, templates, write};
use mishards_expr::{LikePattern, Operand, Predicate, Step, Templates, compile, parse_path};
use mishards_types::Value;

#[test]
fn operators_bind_as_in_the_table_of_the_language() {
    check(&[
        ("i64 > 1 and name == 'a' or flag", r#"(or (and (> i64 1) (== name "a")) (== flag true))"#),
        ("flag or i64 > 1 and i32 < 2", "(or (== flag true) (and (> i64 1) (< i32 2)))"),
        ("(flag or i64 > 1) and i32 < 2", "(and (or (== flag true) (> i64 1)) (< i32 2))"),
        ("not flag and i64 > 1", "(and (not (== flag true)) (> i64 1))"),
        ("not (flag and i64 > 1)", "(not (and (== flag true) (> i64 1)))"),
        ("not not flag", "(not (not (== flag true)))"),
        ("i64 + 2 * 3 == 7", "(== (+ i64 6) 7)"),
        ("i64 * 2 + 3 == 7", "(== (+ (* i64 2) 3) 7)"),
        ("(i64 + 2) * 3 == 9", "(== (* (+ i64 2) 3) 9)"),
        ("i64 - 1 - 2 == 0", "(== (- (- i64 1) 2) 0)"),
        ("i64 / 4 % 3 == 1", "(== (% (/ i64 4) 3) 1)"),
        ("-i64 + 1 < 3", "(< (+ (- 0 i64) 1) 3)"),
        ("i64 in [1] and i32 in [2] or flag", "(or (and (in i64 [1]) (in i32 [2])) (== flag true))"),
        ("name like 'a%' or not name like 'b%'", "(or (like name) (not (like name)))"),
        ("name is null or i64 > 1 and d is not null", "(or (null name) (and (> i64 1) (not (null d))))"),
        ("exists j['a'] and flag", r#"(and (exists j["a"]) (== flag true))"#),
    ]);
}

#[test]
fn words_and_signs_are_the_same_operators() {
    check(&[
        ("flag && i64 > 1 || i32 < 2", "(or (and (== flag true) (> i64 1)) (< i32 2))"),
        ("flag AND i64 > 1 OR NOT flag", "(or (and (== flag true) (> i64 1)) (not (== flag true)))"),
        ("!flag", "(not (== flag true))"),
        ("!(i64 > 1)", "(not (> i64 1))"),
        ("name LIKE 'x' && name IS NULL", "(and (like name) (null name))"),
        ("i64 IN [1] || i64 NOT IN [2]", "(or (in i64 [1]) (not (in i64 [2])))"),
        ("EXISTS j['a']", r#"(exists j["a"])"#),
        ("\tflag\n and  \r\n flag ", "(and (== flag true) (== flag true))"),
    ]);
    for mixed in ["flag And flag", "i64 In [1]", "flag Or flag", "name Like 'x'", "name Is null"] {
        assert!(read(mixed).is_err(), "{mixed}: keywords are all lower or all upper case");
    }
}

#[test]
fn comparisons_put_the_constant_last() {
    check(&[
        ("i64 == 1", "(== i64 1)"),
        ("1 == i64", "(== i64 1)"),
        ("1 != i64", "(!= i64 1)"),
        ("1 < i64", "(> i64 1)"),
        ("1 <= i64", "(>= i64 1)"),
        ("1 > i64", "(< i64 1)"),
        ("1 >= i64", "(<= i64 1)"),
        ("'a' < name", r#"(> name "a")"#),
        ("i64 == 1.5", "(== i64 1.5)"),
        ("f < 1", "(< f 1)"),
        ("i64 < i32", "(< i64 i32)"),
        ("f >= i8", "(>= f i8)"),
        ("name != name", "(!= name name)"),
        ("i64 + i32 > d", "(> (+ i64 i32) d)"),
        ("flag", "(== flag true)"),
        ("flag == false", "(== flag false)"),
        ("flag != TRUE and flag == True", "(and (!= flag true) (== flag true))"),
    ]);
}

#[test]
fn chained_ranges_are_two_comparisons() {
    check(&[
        ("1 < i64 < 5", "(and (> i64 1) (< i64 5))"),
        ("1 <= i64 < 5", "(and (>= i64 1) (< i64 5))"),
        ("1 < i64 <= 5", "(and (> i64 1) (<= i64 5))"),
        ("5 > i64 >= 1", "(and (< i64 5) (>= i64 1))"),
        ("'a' <= name <= 'z'", r#"(and (>= name "a") (<= name "z"))"#),
        ("0.5 < f < 1", "(and (> f 0.5) (< f 1))"),
        ("1 < j['a'] < 5", r#"(and (> j["a"] 1) (< j["a"] 5))"#),
        ("1 < nums[0] <= 5", "(and (> nums[0] 1) (<= nums[0] 5))"),
        ("1 < i64 + 1 < 2 + 3", "(and (> (+ i64 1) 1) (< (+ i64 1) 5))"),
        ("i8 < i64 < i32", "(and (< i8 i64) (< i64 i32))"),
    ]);
}

#[test]
fn in_takes_lists() {
    check(&[
        ("i64 in [1, 2, 3]", "(in i64 [1 2 3])"),
        ("i64 in [1, 2, 3, ]", "(in i64 [1 2 3])"),
        ("i64 in []", "(in i64 [])"),
        ("i64 not in []", "(not (in i64 []))"),
        ("not i64 in [1]", "(not (in i64 [1]))"),
        ("i64 in [1 + 1, -2, 0x10]", "(in i64 [2 -2 16])"),
        ("name in ['a', \"b\"]", r#"(in name ["a" "b"])"#),
        ("f in [1, 2.5]", "(in f [1 2.5])"),
        ("flag in [true, false]", "(in flag [true false])"),
        ("j['a'] in [1, 'x', true, 2.5]", r#"(in j["a"] [1 "x" true 2.5])"#),
        ("nums[1] in [1]", "(in nums[1] [1])"),
        ("colour not in ['red']", r#"(not (in $meta["colour"] ["red"]))"#),
    ]);
}

#[test]
fn numbers_in_every_base() {
    let value = |text: &str| match compile(&format!("j == {text}"), &Templates::new(), &fixed()) {
        Ok(Predicate::Compare(_, _, Operand::Literal(v))) => Some(literal(&v)),
        _ => None,
    };
    for (text, expected) in [
        ("0", "0"), ("42", "42"), ("+5", "5"), ("-5", "-5"), ("- 5", "-5"), ("--5", "5"),
        ("017", "15"), ("00", "0"), ("0x1F", "31"), ("0Xff", "255"), ("0b101", "5"), ("0B11", "3"),
        ("1.", "1.0"), (".5", "0.5"), ("1.25", "1.25"), ("01.5", "1.5"), ("1e3", "1000.0"), ("1E+3", "1000.0"),
        ("1.5e-2", "0.015"), ("-0.0", "-0.0"), ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"), ("0x7fffffffffffffff", "9223372036854775807"),
    ] {
        assert_eq!(value(text).as_deref(), Some(expected), "{text}");
    }
    for bad in [
        "08", "0x", "0xg", "0b2", "0b", "1e", "1e+", "1e999", "1_000", "12ab", "1.2.3", "9223372036854775808",
        "-9223372036854775809", "0x8000000000000000", "-(-9223372036854775808)", "9223372036854775808 - 1",
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
        (r"'a'", "a"), (r#""a""#, "a"), ("''", ""), (r#"'say "hi"'"#, "say \"hi\""), (r#""it's""#, "it's"),
        (r"'it\'s'", "it's"), (r#""\"""#, "\""), (r"'\\'", "\\"), (r"'\?'", "?"), (r"'\n\t\r'", "\n\t\r"),
        (r"'\a\b\f\v'", "\x07\x08\x0c\x0b"), (r"'\101'", "A"), (r"'\0'", "\0"), (r"'\1018'", "A8"), (r"'\x41'", "A"),
        (r"'\u00e9'", "é"), (r"'\U0001F600'", "😀"), (r"'100\%'", r"100\%"), (r"'a\qb'", r"a\qb"), ("'Grüße 日本'", "Grüße 日本"),
        (r"r'a\nb'", r"a\nb"), (r#"R"\d+""#, r"\d+"), ("u8'a'", "a"), ("u'a'", "a"), ("U\"a\"", "a"), ("L'a'", "a"),
    ] {
        assert_eq!(value(text).as_deref(), Some(expected), "{text}");
    }
    for bad in ["'", "'a", "\"a'", r"'\x4'", r"'\xzz'", r"'\u12'", r"'\UFFFFFFFF'", r"'\ud800'", "'a\\", "r'a"] {
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
        ("'a%_'", "a%_"), (r"'100\%'", r"100\%"), (r"'100\\%'", r"100\%"), (r"r'a\_b'", r"a\_b"), (r"'\u00e9%'", "é%"),
    ] {
        assert_eq!(pattern(literal), LikePattern::new(expected), "{literal}");
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
        ("json_contains(j['a'], {n})", r#"(has j["a"] 7)"#),
        ("colour == {s}", r#"(== $meta["colour"] "a\"b")"#),
    ] {
        let found = compile(text, &values, &schema).map(|p| write(&p, &schema));
        assert_eq!(found.as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn undeclared_names_are_keys_of_the_dynamic_field() {
    check(&[
        ("colour == 'red'", r#"(== $meta["colour"] "red")"#),
        ("$meta['colour'] == 'red'", r#"(== $meta["colour"] "red")"#),
        ("colour['deep'][0] > 1", r#"(> $meta["colour"]["deep"][0] 1)"#),
        ("exists colour", r#"(exists $meta["colour"])"#),
        ("colour is null", r#"(null $meta["colour"])"#),
        ("colour", r#"(== $meta["colour"] true)"#),
        ("array_length(sizes) > 2", r#"(> (length $meta["sizes"]) 2)"#),
        ("_x1 < 1", r#"(< $meta["_x1"] 1)"#),
        ("i64 == 1 and I64 == 1", r#"(and (== i64 1) (== $meta["I64"] 1))"#),
    ]);
}

#[test]
fn json_paths_and_array_elements() {
    check(&[
        ("j['a'] == 1", r#"(== j["a"] 1)"#),
        (r#"j["a"]["b c"][0]['d"e'] != 'x'"#, r#"(!= j["a"]["b c"][0]["d\"e"] "x")"#),
        ("j[0][12] > 1.5", "(> j[0][12] 1.5)"),
        ("j['a'] == true and j['b']", r#"(and (== j["a"] true) (== j["b"] true))"#),
        ("j['a'] + 1 > 2", r#"(> (+ j["a"] 1) 2)"#),
        ("j['a'] == [1, 2]", r#"(== j["a"] [1 2])"#),
        ("nums[3] >= 2 and tags[0] == 'x' and bits[0]", r#"(and (>= nums[3] 2) (== tags[0] "x") (== bits[0] true))"#),
        ("nums[0] * 2 == i64", "(== (* nums[0] 2) i64)"),
    ]);
}

#[test]
fn null_tests() {
    check(&[
        ("name is null", "(null name)"),
        ("name is not null", "(not (null name))"),
        ("tags is null", "(null tags)"),
        ("j is null", "(null j)"),
        ("j['a']['b'] IS NULL", r#"(null j["a"]["b"])"#),
        ("not (name is null)", "(not (null name))"),
    ]);
}

#[test]
fn contains_and_length() {
    check(&[
        ("json_contains(j['a'], 1)", r#"(has j["a"] 1)"#),
        ("JSON_CONTAINS(j, 'x')", r#"(has j "x")"#),
        ("json_contains(j['a'], [1, 2])", r#"(has j["a"] [1 2])"#),
        ("json_contains_all(j['a'], [1, 'x', true])", r#"(has-all j["a"] [1 "x" true])"#),
        ("json_contains_any(j['a'], [1])", r#"(has-any j["a"] [1])"#),
        ("json_contains(nums, 1)", "(has nums 1)"),
        ("array_contains(tags, 'x')", r#"(has tags "x")"#),
        ("ARRAY_CONTAINS_ALL(tags, ['x', 'y'])", r#"(has-all tags ["x" "y"])"#),
        ("array_contains_any(nums, [])", "(has-any nums [])"),
        ("not array_contains(bits, true)", "(not (has bits true))"),
        ("array_length(tags) == 2", "(== (length tags) 2)"),
        ("0 < array_length(j['a']) < 5", r#"(and (> (length j["a"]) 0) (< (length j["a"]) 5))"#),
        ("array_length(nums) + 1 > i64", "(> (+ (length nums) 1) i64)"),
    ]);
}

#[test]
fn constants_are_folded() {
    check(&[
        ("", "true"),
        ("  \n", "true"),
        ("true", "true"),
        ("not true", "false"),
        ("1 < 2", "true"),
        ("'a' >= 'b'", "false"),
        ("1 == 1.0 and 0.0 == -0.0 and 0 == -0.0", "true"),
        ("9007199254740993 != 9007199254740992", "true"),
        ("true == false", "false"),
        ("true and i64 > 1", "(> i64 1)"),
        ("false and i64 > 1", "false"),
        ("i64 > 1 or 2 > 1", "true"),
        ("i64 > 1 or false or i32 > 1", "(or (> i64 1) (> i32 1))"),
        ("false or false", "false"),
        ("i64 == 7 / 2", "(== i64 3)"),
        ("i64 == -7 / 2", "(== i64 -3)"),
        ("i64 == 7 % 4", "(== i64 3)"),
        ("d == 7 / 2.0", "(== d 3.5)"),
        ("i64 > 2 * (3 + 4) - 1", "(> i64 13)"),
    ]);
}

#[test]
fn a_filter_on_nothing_matches_all() {
    assert!(compile("", &Templates::new(), &fixed()).is_ok_and(|p| p.is_all()));
    assert!(compile("1 < 2", &Templates::new(), &fixed()).is_ok_and(|p| p.is_all()));
    assert!(compile("i64 > 1", &Templates::new(), &fixed()).is_ok_and(|p| !p.is_all()));
}

#[test]
fn paths_by_themselves() {
    let json = parse_path("j['a'][0]", &fixed());
    assert!(matches!(json, Ok(Operand::Json { path, .. }) if path == [Step::Key("a".to_owned()), Step::Index(0)]));
    assert!(matches!(parse_path("name", &fixed()), Ok(Operand::Column { .. })));
    assert!(matches!(parse_path("colour", &dynamic()), Ok(Operand::Json { .. })));
    for bad in ["", "1", "i64 + 1", "colour", "v", "name['a']", "(i64 > 1)", "j['a'] extra"] {
        assert!(parse_path(bad, &fixed()).is_err(), "{bad:?}");
    }
}
