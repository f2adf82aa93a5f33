//! The grammar, table by table: what each form of a filter becomes.

mod fields;

use fields::{check, dynamic, fixed, read};
use mishards_expr::{Operand, Step, Templates, compile, parse_path};

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
        ("f < 1", "(< f 1.0)"),
        // The literal in the column's type: the float that is nearest to the decimal.
        ("f == 0.1", "(== f 0.10000000149011612)"),
        ("d == 0.1", "(== d 0.1)"),
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
        ("0.5 < f < 1", "(and (> f 0.5) (< f 1.0))"),
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
        ("f in [1, 2.5]", "(in f [1.0 2.5])"),
        ("flag in [true, false]", "(in flag [true false])"),
        ("j['a'] in [1, 'x', true, 2.5]", r#"(in j["a"] [1 "x" true 2.5])"#),
        ("nums[1] in [1]", "(in nums[1] [1])"),
        ("colour not in ['red']", r#"(not (in $meta["colour"] ["red"]))"#),
    ]);
}

#[test]
fn undeclared_names_are_keys_of_the_dynamic_field() {
    check(&[
        ("colour == 'red'", r#"(== $meta["colour"] "red")"#),
        ("$meta['colour'] == 'red'", r#"(== $meta["colour"] "red")"#),
        ("colour['deep'][0] > 1", r#"(> $meta["colour"]["deep"][0] 1)"#),
        ("exists colour", r#"(exists $meta["colour"])"#),
        ("colour is null", r#"(null $meta["colour"])"#),
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
        ("j['a'] == true and j['b'] != 1", r#"(and (== j["a"] true) (!= j["b"] 1))"#),
        ("tags == ['a', 'b']", r#"(== tags ["a" "b"])"#),
        ("nums != [1]", "(!= nums [1])"),
        ("j['a'] + 1 > 2", r#"(> (+ j["a"] 1) 2)"#),
        ("j['a'] == [1, 2]", r#"(== j["a"] [1 2])"#),
        (
            "nums[3] >= 2 and tags[0] == 'x' and bits[0]",
            r#"(and (>= nums[3] 2) (== tags[0] "x") (== bits[0] true))"#,
        ),
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
        ("json_contains(j['a'], 1)", r#"(has j["a"] [1])"#),
        ("JSON_CONTAINS(j, 'x')", r#"(has j ["x"])"#),
        ("json_contains(j['a'], [1, 2])", r#"(has j["a"] [[1 2]])"#),
        ("json_contains_all(j['a'], [1, 'x', true])", r#"(has-all j["a"] [1 "x" true])"#),
        ("json_contains_any(j['a'], [1])", r#"(has-any j["a"] [1])"#),
        ("json_contains(nums, 1)", "(has nums [1])"),
        ("array_contains(tags, 'x')", r#"(has tags ["x"])"#),
        ("ARRAY_CONTAINS_ALL(tags, ['x', 'y'])", r#"(has-all tags ["x" "y"])"#),
        ("array_contains_any(nums, [])", "(has-any nums [])"),
        ("not array_contains(bits, true)", "(not (has bits [true]))"),
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
    assert!(
        matches!(json, Ok(Operand::Json { path, .. }) if path == [Step::Key("a".to_owned()), Step::Index(0)])
    );
    assert!(matches!(parse_path("name", &fixed()), Ok(Operand::Column { .. })));
    assert!(matches!(parse_path("colour", &dynamic()), Ok(Operand::Json { .. })));
    for bad in ["", "1", "i64 + 1", "colour", "v", "name['a']", "(i64 > 1)", "j['a'] extra"] {
        assert!(parse_path(bad, &fixed()).is_err(), "{bad:?}");
    }
}

#[test]
fn comparisons_of_one_operand_with_constants_are_a_list() {
    check(&[
        ("i64 == 1 or i64 == 2 or i64 in [3, 4]", "(in i64 [1 2 3 4])"),
        ("((i64 == 1 or flag) or i64 == 2) or i32 > 1", "(or (in i64 [1 2]) (== flag true) (> i32 1))"),
        ("i64 != 1 and i64 not in [2, 3]", "(not (in i64 [1 2 3]))"),
        ("i64 == 1 or i32 == 2", "(or (== i64 1) (== i32 2))"),
        ("i64 == 1 and i64 == 2", "(and (== i64 1) (== i64 2))"),
        // Of a JSON value of another kind than its list has, nothing is known: the lists stay apart.
        ("j['a'] == 1 or j['a'] == 'x' or j['a'] == 2", r#"(or (in j["a"] [1 2]) (== j["a"] "x"))"#),
    ]);
}

#[test]
fn frameworks_nest_two_hundred_parentheses() {
    let mut text = "i64 == 0".to_owned();
    for i in 1..=200 {
        text = format!("({text} or i64 == {i})");
    }
    let read = read(&text).unwrap();
    assert!(read.starts_with("(in i64 [0 1 2") && read.ends_with("199 200])"), "{read}");
}
