//! Any text ends in a predicate or an error, soon and within an ordinary stack: strings of any kind, strings made of
//! the language's own pieces, and filters that are very deep, very wide or very long.

mod fields;

use fields::dynamic;
use mishards_expr::{Error, LikePattern, Predicate, Templates, compile, parse_path};
use mishards_types::Value;
use proptest::prelude::*;
use std::sync::mpsc::channel;
use std::time::Duration;

/// What an asynchronous worker's thread has.
const STACK: usize = 2 << 20;
const SOON: Duration = Duration::from_secs(20);

/// Compiles on a thread with an ordinary stack, and uses the predicate as its readers do: copied, compared, dropped.
fn compile_soon(text: String) -> Result<Predicate, Error> {
    let (send, receive) = channel();
    let work = move || {
        let out = compile(&text, &Templates::new(), &dynamic());
        let copy = out.clone();
        assert_eq!(copy, out);
        send.send(copy).ok();
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread");
    let out = receive.recv_timeout(SOON).expect("neither a panic nor a hang");
    thread.join().expect("no panic while dropping");
    out
}

fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "i64",
        "f",
        "name",
        "flag",
        "tags",
        "nums",
        "j",
        "v",
        "colour",
        "$meta",
        "and",
        "or",
        "not",
        "in",
        "like",
        "is",
        "null",
        "exists",
        "true",
        "FALSE",
        "array_length",
        "json_contains",
        "array_contains_all",
        "{t}",
        "AND",
        "IS NOT NULL",
    ]);
    let signs = prop::sample::select(vec![
        "(", ")", "[", "]", ",", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "!", "&&", "||",
        "**", "&", "[0]", "['a']", "{", "}", "'", "\"", "\\", "r'", "0x", ".", "=~",
    ]);
    prop_oneof![
        4 => words.prop_map(str::to_owned),
        4 => signs.prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|v| v.to_string()),
        1 => any::<f64>().prop_map(|v| format!("{v:?}")),
        1 => "'[a-z%_\\\\]{0,6}'",
    ]
}

/// Filters that are right more often than not.
fn condition() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("i64".to_owned()),
        Just("d".to_owned()),
        Just("nums[0]".to_owned()),
        Just("array_length(tags)".to_owned()),
        (-9i64..9).prop_map(|v| v.to_string()),
        Just("2.5".to_owned()),
        Just("colour".to_owned()),
    ];
    let sum = number.clone().prop_recursive(3, 12, 2, |inner| {
        (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%"]), inner)
            .prop_map(|(a, op, b)| format!("({a} {op} {b})"))
    });
    let comparison = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (sum.clone(), comparison, sum.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (sum, prop::collection::vec(any::<i32>(), 0..4)).prop_map(|(a, list)| format!("{a} in {list:?}")),
        Just("name like 'a%'".to_owned()),
        Just("flag".to_owned()),
        Just("j['a'] is not null".to_owned()),
    ];
    leaf.prop_recursive(5, 32, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("not ({a})")),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner, 1..4).prop_map(|parts| parts.join(" or ")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_string_ends(text in any::<String>()) {
        compile(&text, &Templates::new(), &dynamic()).ok();
        parse_path(&text, &dynamic()).ok();
    }

    #[test]
    fn any_run_of_pieces_ends(pieces in prop::collection::vec(piece(), 0..40), spaced in any::<bool>()) {
        let text = pieces.join(if spaced { " " } else { "" });
        let templates = Templates::from([("t".to_owned(), Value::Int(1))]);
        if let Err(e) = compile(&text, &templates, &dynamic()) {
            prop_assert!(!e.message.is_empty());
            prop_assert!((1..=text.chars().count() + 2).contains(&e.column), "{}: {}", text, e);
        }
    }

    #[test]
    fn any_condition_ends(text in condition()) {
        compile(&text, &Templates::new(), &dynamic()).ok();
    }

    #[test]
    fn parentheses_and_spaces_change_nothing(text in condition()) {
        let plain = compile(&text, &Templates::new(), &dynamic());
        let wrapped = compile(&format!("  (\n({text}) )\t"), &Templates::new(), &dynamic());
        match (plain, wrapped) {
            (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
            (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
        }
    }

    #[test]
    fn like_agrees_with_its_definition(pattern in "[ab%_\\\\é]{0,8}", text in "[ab%_\\\\é]{0,10}") {
        let tokens = reference_tokens(&pattern);
        let text_chars: Vec<char> = text.chars().collect();
        let Some(compiled) = LikePattern::new(&pattern) else {
            let escaping = pattern.chars().rev().take_while(|c| *c == '\\').count();
            prop_assert!(escaping % 2 == 1, "{:?} is refused", pattern);
            return Ok(());
        };
        prop_assert_eq!(compiled.matches(&text), reference_like(&tokens, &text_chars), "{:?} on {:?}", pattern, text);
    }
}

/// A character of a pattern, and whether it was escaped.
fn reference_tokens(pattern: &str) -> Vec<(char, bool)> {
    let mut out = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { (chars.next().unwrap_or('\\'), true) } else { (c, false) });
    }
    out
}

fn reference_like(pattern: &[(char, bool)], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((('%', false), rest)) => (0..=text.len()).any(|from| reference_like(rest, &text[from..])),
        Some((('_', false), rest)) => !text.is_empty() && reference_like(rest, &text[1..]),
        Some(((c, _), rest)) => text.first() == Some(c) && reference_like(rest, &text[1..]),
    }
}

#[test]
fn moderate_nesting_is_accepted() {
    for (open, close) in [("(", ")"), ("not (", ")"), ("flag and (i64 > 1 or ", ")"), ("-i64 < 1 or (", ")")]
    {
        let text = format!("{}flag{}", open.repeat(48), close.repeat(48));
        assert!(compile_soon(text).is_ok(), "48 of {open}");
    }
    let sum = format!("i64{} > 0", " + 1".repeat(100));
    assert!(compile_soon(sum).is_ok());
}

#[test]
fn any_depth_is_refused_and_not_a_stack_overflow() {
    for (open, middle, close) in [
        ("(", "flag", ")"),
        ("not ", "flag", ""),
        ("!", "flag", ""),
        ("-", "i64", " < 1"),
        ("+", "i64", " < 1"),
        ("[", "1", "]"),
        ("exists ", "j['a']", ""),
        ("flag and (", "flag", ")"),
        ("array_length(", "tags", ")"),
        ("i64 in [", "1", "]"),
        ("not (flag or ", "flag", ")"),
        ("json_contains(j, [", "1", "])"),
        ("1 < (", "i64", ") < 2"),
    ] {
        let text = format!("{}{middle}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(compile_soon(text).is_err(), "100,000 of {open}");
        compile_soon(open.repeat(100_000)).expect_err("it has no end");
    }
}

#[test]
fn operators_in_a_row_do_not_make_a_deep_tree() {
    for link in [
        " == 1",
        " == flag",
        " != true",
        " + 1",
        " - i64",
        " * 2",
        " % 3",
        " < 1",
        " like 'a'",
        " is null",
        " in [1]",
    ] {
        let text = format!("i64{} == 1", link.repeat(100_000));
        assert!(compile_soon(text).is_err(), "100,000 of {link}");
    }
}

#[test]
fn rows_of_operators_in_nested_parentheses_do_not_add_up() {
    let mut text = "i64".to_owned();
    for _ in 0..90 {
        text = format!("({text}{}{})", " * 1".repeat(120), " + 1".repeat(120));
    }
    assert!(compile_soon(format!("{text} > 1")).is_err(), "a tree of 21,000 levels");
}

#[test]
fn wide_filters_are_fast() {
    let ors = vec!["i64 == 1"; 100_000].join(" or ");
    assert!(matches!(compile_soon(ors), Ok(Predicate::In(_, values)) if values.len() == 100_000));
    let ands = vec!["(name != 'x' or i64 + 1 > 2)"; 100_000].join(" and ");
    assert!(matches!(compile_soon(ands), Ok(Predicate::And(parts)) if parts.len() == 100_000));
    let list: Vec<String> = (0..100_000).map(|i| i.to_string()).collect();
    let text = format!("i64 not in [{}]", list.join(", "));
    assert!(
        matches!(compile_soon(text), Ok(Predicate::Not(inner)) if matches!(&*inner, Predicate::In(_, v) if v.len() == 100_000))
    );
    let path = format!("j{} == 1", "['a']".repeat(100_000));
    assert!(compile_soon(path).is_ok());
    let string = format!("name == '{}'", "\\u00e9".repeat(100_000));
    assert!(compile_soon(string).is_ok());
    let name = format!("{} == 1", "x".repeat(1_000_000));
    assert!(compile_soon(name).is_ok());
    assert!(compile_soon(" ".repeat(1_000_000)).is_ok());
}

#[test]
fn hard_patterns_are_fast() {
    let pattern = LikePattern::new(&format!("{}b", "%a".repeat(2_000))).unwrap();
    assert!(!pattern.matches(&"a".repeat(20_000)));
    let pattern = LikePattern::new(&"%_".repeat(1_000)).unwrap();
    assert!(!pattern.matches(&"a".repeat(999)) && pattern.matches(&"é".repeat(1_000)));
}
