//! The inverted index against a plain look at every row: integers, floats with their odd values, strings, and rows
//! with several terms or none.

mod vectors;

use mishards_index::{InvertedBuilder, InvertedIndex, Term};
use mishards_types::Bitmap;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::ops::Bound;
use vectors::aligned;

/// The terms of each row; a row without terms is null.
type Table = Vec<Vec<Term>>;

fn open(table: &Table) -> InvertedIndex {
    let mut builder = InvertedBuilder::default();
    for (row, terms) in table.iter().enumerate() {
        terms.iter().for_each(|term| builder.add(row as u32, term.clone()));
    }
    InvertedIndex::open(aligned(&builder.finish(table.len() as u32))).expect("opened")
}

/// How a filter compares: NaN with nothing, both zeros as one.
fn compare(a: &Term, b: &Term) -> Option<Ordering> {
    match (a, b) {
        (Term::Int(a), Term::Int(b)) => Some(a.cmp(b)),
        (Term::Float(a), Term::Float(b)) => a.partial_cmp(b),
        (Term::Str(a), Term::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => None,
    }
}

fn inside(term: &Term, from: Bound<&Term>, to: Bound<&Term>) -> bool {
    let above = match from {
        Bound::Unbounded => true,
        Bound::Included(b) => compare(term, b).is_some_and(Ordering::is_ge),
        Bound::Excluded(b) => compare(term, b).is_some_and(Ordering::is_gt),
    };
    let below = match to {
        Bound::Unbounded => true,
        Bound::Included(b) => compare(term, b).is_some_and(Ordering::is_le),
        Bound::Excluded(b) => compare(term, b).is_some_and(Ordering::is_lt),
    };
    above && below
}

fn reference(table: &Table, accept: impl Fn(&Term) -> bool) -> Vec<usize> {
    (0..table.len()).filter(|row| table[*row].iter().any(&accept)).collect()
}

fn found(index: &InvertedIndex, fill: impl Fn(&InvertedIndex, &mut Bitmap)) -> Vec<usize> {
    let mut out = Bitmap::zeros(index.rows());
    fill(index, &mut out);
    out.iter().collect()
}

/// All ranges between two terms, and each of the two by itself.
fn check_ranges(table: &Table, a: &Term, b: &Term) {
    let index = open(table);
    assert_eq!(index.rows(), table.len());
    let ends = |t| [Bound::Unbounded, Bound::Included(t), Bound::Excluded(t)];
    for from in ends(a) {
        for to in ends(b) {
            if let (Bound::Unbounded, Bound::Unbounded) = (from, to) {
                continue;
            }
            let rows = found(&index, |i, out| i.range(from, to, out));
            assert_eq!(rows, reference(table, |t| inside(t, from, to)), "{from:?} to {to:?}");
        }
    }
    for term in [a, b] {
        let rows = found(&index, |i, out| i.equal(term, out));
        assert_eq!(rows, reference(table, |t| compare(t, term).is_some_and(Ordering::is_eq)), "{term:?}");
    }
}

fn int() -> impl Strategy<Value = Term> {
    prop_oneof![4 => -5i64..5, 1 => any::<i64>(), 1 => prop::sample::select(vec![i64::MIN, i64::MAX])]
        .prop_map(Term::Int)
}

fn float() -> impl Strategy<Value = Term> {
    let odd = vec![
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
    ];
    prop_oneof![2 => prop::sample::select(odd), 1 => any::<f64>(), 2 => (-4i8..4).prop_map(|v| f64::from(v) / 2.0)].prop_map(Term::Float)
}

fn text() -> impl Strategy<Value = Term> {
    prop_oneof![3 => "[ab%é]{0,4}", 1 => any::<String>()].prop_map(Term::Str)
}

fn table(term: impl Strategy<Value = Term>) -> impl Strategy<Value = Table> {
    prop::collection::vec(prop::collection::vec(term, 0..3), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers(table in table(int()), a in int(), b in int()) {
        check_ranges(&table, &a, &b);
    }

    #[test]
    fn floats(table in table(float()), a in float(), b in float()) {
        check_ranges(&table, &a, &b);
    }

    #[test]
    fn strings(table in table(text()), a in text(), b in text()) {
        check_ranges(&table, &a, &b);
    }

    #[test]
    fn matching(table in table(text()), prefix in "[ab%é]{0,2}", end in "[abé]") {
        let index = open(&table);
        let rows = found(&index, |i, out| i.matching(&prefix, |text| text.ends_with(&end), out));
        let fits = |t: &Term| matches!(t, Term::Str(s) if s.starts_with(&prefix) && s.ends_with(&end));
        prop_assert_eq!(rows, reference(&table, fits));
    }

    #[test]
    fn a_file_of_noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..1_000)) {
        prop_assert!(InvertedIndex::open(aligned(&bytes)).is_err());
    }
}

#[test]
fn zeros_are_one_value_and_nan_is_none() {
    let floats = |values: &[f64]| -> Table { values.iter().map(|v| vec![Term::Float(*v)]).collect() };
    let index = open(&floats(&[0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]));
    for zero in [Term::Float(0.0), Term::Float(-0.0)] {
        assert_eq!(found(&index, |i, out| i.equal(&zero, out)), [0, 1]);
        assert_eq!(found(&index, |i, out| i.range(Bound::Excluded(&zero), Bound::Unbounded, out)), [2, 4]);
        assert_eq!(found(&index, |i, out| i.range(Bound::Unbounded, Bound::Included(&zero), out)), [0, 1, 5]);
        assert_eq!(found(&index, |i, out| i.range(Bound::Unbounded, Bound::Excluded(&zero), out)), [5]);
    }
    for nan in [Term::Float(f64::NAN), Term::Float(-f64::NAN)] {
        assert!(found(&index, |i, out| i.equal(&nan, out)).is_empty());
        assert!(found(&index, |i, out| i.range(Bound::Unbounded, Bound::Included(&nan), out)).is_empty());
        assert!(found(&index, |i, out| i.range(Bound::Included(&nan), Bound::Unbounded, out)).is_empty());
    }
    assert!(found(&open(&floats(&[f64::NAN; 3])), |i, out| i.equal(&Term::Float(1.0), out)).is_empty());
}

#[test]
fn terms_of_another_kind_match_nothing() {
    let index = open(&vec![vec![Term::Int(1)], vec![Term::Int(2)], Vec::new()]);
    assert!(
        index.holds(&Term::Int(7))
            && !index.holds(&Term::Float(1.0))
            && !index.holds(&Term::Str(String::new()))
    );
    for other in [Term::Float(1.0), Term::Str("1".to_owned())] {
        assert!(found(&index, |i, out| i.equal(&other, out)).is_empty());
        assert!(found(&index, |i, out| i.range(Bound::Unbounded, Bound::Included(&other), out)).is_empty());
    }
    assert!(found(&index, |i, out| i.matching("", |_| true, out)).is_empty());
    assert_eq!(found(&index, |i, out| i.range(Bound::Unbounded, Bound::Unbounded, out)), [0, 1]);
}

#[test]
fn no_rows_and_only_nulls() {
    for table in [Vec::new(), vec![Vec::new(); 70]] {
        let index = open(&table);
        assert_eq!(index.rows(), table.len());
        for term in [Term::Int(0), Term::Float(0.0), Term::Str(String::new())] {
            assert!(
                found(&index, |i, out| i.range(Bound::Included(&term), Bound::Unbounded, out)).is_empty()
            );
        }
        assert!(found(&index, |i, out| i.matching("", |_| true, out)).is_empty());
    }
}

#[test]
fn bits_that_are_set_stay_set() {
    let index = open(&(0..200).map(|row| vec![Term::Int(row % 10)]).collect());
    let mut out = Bitmap::zeros(200);
    index.equal(&Term::Int(3), &mut out);
    index.equal(&Term::Int(4), &mut out);
    index.equal(&Term::Int(99), &mut out);
    assert_eq!(out.count(), 40);
    assert!(out.get(3) && out.get(194) && !out.get(5));
}

#[test]
fn one_term_in_every_row() {
    let index = open(
        &(0..10_000).map(|_| vec![Term::Str("same".to_owned()), Term::Str("same".to_owned())]).collect(),
    );
    assert_eq!(found(&index, |i, out| i.equal(&Term::Str("same".to_owned()), out)).len(), 10_000);
    assert_eq!(found(&index, |i, out| i.matching("sa", |_| true, out)).len(), 10_000);
    assert!(found(&index, |i, out| i.matching("sb", |_| true, out)).is_empty());
}
