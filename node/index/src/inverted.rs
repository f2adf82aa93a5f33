//! Inverted index over a scalar field: sorted distinct terms, each with the rows that have it. Rows with null are
//! in no list, and neither is NaN, which no comparison matches. FORMAT.md describes the bytes.

use crate::bytes_layout::{Reader, Section, Writer};
use crate::{Error, Result};
use bytes::Bytes;
use mishards_types::Bitmap;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

const MAGIC: [u8; 8] = *b"MSHINVT\n";
const FORMAT: u32 = 1;

/// A term. One index holds one kind only; booleans are the integers 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    Int(i64),
    Float(f64),
    Str(String),
}

impl Eq for Term {}

impl PartialOrd for Term {
    fn partial_cmp(&self, other: &Term) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Term {
    fn cmp(&self, other: &Term) -> Ordering {
        match (self, other) {
            (Term::Int(a), Term::Int(b)) => a.cmp(b),
            (Term::Float(a), Term::Float(b)) => a.total_cmp(b),
            (Term::Str(a), Term::Str(b)) => a.cmp(b),
            (a, b) => a.kind().cmp(&b.kind()),
        }
    }
}

impl Term {
    fn kind(&self) -> u32 {
        match self {
            Term::Int(_) => 1,
            Term::Float(_) => 2,
            Term::Str(_) => 3,
        }
    }

    fn is_nan(&self) -> bool {
        matches!(self, Term::Float(v) if v.is_nan())
    }
}

/// Collects terms of rows, in row order.
#[derive(Default)]
pub struct InvertedBuilder {
    lists: BTreeMap<Term, Vec<u32>>,
}

impl InvertedBuilder {
    /// Adds a term of a row; a row may have several (an array's elements).
    pub fn add(&mut self, row: u32, term: Term) {
        if term.is_nan() {
            return;
        }
        // Both zeros are one value to a filter.
        let term = if term == Term::Float(-0.0) { Term::Float(0.0) } else { term };
        let list = self.lists.entry(term).or_default();
        if list.last() != Some(&row) {
            list.push(row);
        }
    }

    /// The file, over `rows` rows.
    pub fn finish(self, rows: u32) -> Vec<u8> {
        let kind = self.lists.keys().next().map_or(1, Term::kind);
        let (mut numbers, mut text, mut text_at) = (Vec::new(), Vec::new(), vec![0u32]);
        let (mut at, mut postings) = (vec![0u32], Vec::new());
        for (term, list) in self.lists {
            match term {
                Term::Int(v) => numbers.push(v as u64),
                Term::Float(v) => numbers.push(v.to_bits()),
                Term::Str(s) => {
                    text.extend_from_slice(s.as_bytes());
                    text_at.push(text.len() as u32);
                }
            }
            postings.extend(list);
            at.push(postings.len() as u32);
        }
        let terms = at.len() as u32 - 1;
        Writer::new(MAGIC, FORMAT, [kind, rows, terms, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .section(&numbers)
            .section(&text_at)
            .section(&text)
            .section(&at)
            .section(&postings)
            .finish()
    }
}

/// An index over mapped bytes.
pub struct InvertedIndex {
    kind: u32,
    rows: usize,
    terms: usize,
    numbers: Section<u64>,
    text_at: Section<u32>,
    text: Section<u8>,
    at: Section<u32>,
    postings: Section<u32>,
}

impl InvertedIndex {
    /// Opens a file; every offset in it is checked.
    pub fn open(bytes: Bytes) -> Result<InvertedIndex> {
        let reader = Reader::open(bytes, MAGIC, FORMAT)?;
        let [kind, rows, terms, ..] = reader.words;
        let text_terms = if kind == 3 { terms as usize } else { 0 };
        let index = InvertedIndex {
            kind,
            rows: rows as usize,
            terms: terms as usize,
            numbers: reader.section(0, Some(terms as usize - text_terms))?,
            text_at: reader.section(1, Some(text_terms + 1))?,
            text: reader.section(2, None)?,
            at: reader.section(3, Some(terms as usize + 1))?,
            postings: reader.section(4, None)?,
        };
        let rising = |list: &[u32], end: usize| {
            list.first() == Some(&0)
                && list.windows(2).all(|w| w[0] <= w[1])
                && list.last() == Some(&(end as u32))
        };
        let valid = (1..=3).contains(&kind)
            && rising(index.text_at.items(), index.text.items().len())
            && rising(index.at.items(), index.postings.items().len())
            && index.postings.items().iter().all(|row| (*row as usize) < index.rows);
        if valid { Ok(index) } else { Err(Error::Invalid("an offset is out of range".to_owned())) }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether its terms are of this kind.
    pub fn holds(&self, term: &Term) -> bool {
        term.kind() == self.kind
    }

    fn compare(&self, i: usize, term: &Term) -> Ordering {
        match term {
            Term::Int(v) => (self.numbers.items()[i] as i64).cmp(v),
            // Adding zero makes -0.0 the 0.0 that is stored.
            Term::Float(v) => f64::from_bits(self.numbers.items()[i]).total_cmp(&(v + 0.0)),
            Term::Str(s) => self.text_of(i).cmp(s.as_bytes()),
        }
    }

    fn text_of(&self, i: usize) -> &[u8] {
        let at = self.text_at.items();
        &self.text.items()[at[i] as usize..at[i + 1] as usize]
    }

    /// The first term for which `before` is false.
    fn partition(&self, before: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, self.terms);
        while low < high {
            let middle = (low + high) / 2;
            if before(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Sets the bits of rows with a term in the range. Terms of another kind match nothing, and neither does NaN.
    pub fn range(&self, from: Bound<&Term>, to: Bound<&Term>, out: &mut Bitmap) {
        for bound in [from, to] {
            if let Bound::Included(t) | Bound::Excluded(t) = bound
                && (!self.holds(t) || t.is_nan())
            {
                return;
            }
        }
        let start = match from {
            Bound::Unbounded => 0,
            Bound::Included(t) => self.partition(|i| self.compare(i, t).is_lt()),
            Bound::Excluded(t) => self.partition(|i| self.compare(i, t).is_le()),
        };
        let end = match to {
            Bound::Unbounded => self.terms,
            Bound::Included(t) => self.partition(|i| self.compare(i, t).is_le()),
            Bound::Excluded(t) => self.partition(|i| self.compare(i, t).is_lt()),
        };
        self.set_terms(start, end, out);
    }

    /// Sets the bits of rows with exactly this term.
    pub fn equal(&self, term: &Term, out: &mut Bitmap) {
        self.range(Bound::Included(term), Bound::Included(term), out);
    }

    /// Sets the bits of rows with a string term that `accept`s, among those that start with `prefix`.
    pub fn matching(&self, prefix: &str, accept: impl Fn(&str) -> bool, out: &mut Bitmap) {
        if self.kind != 3 {
            return;
        }
        let start = self.partition(|i| self.text_of(i) < prefix.as_bytes());
        for i in start..self.terms {
            let text = self.text_of(i);
            if !text.starts_with(prefix.as_bytes()) {
                break;
            }
            if std::str::from_utf8(text).is_ok_and(&accept) {
                self.set_terms(i, i + 1, out);
            }
        }
    }

    fn set_terms(&self, start: usize, end: usize, out: &mut Bitmap) {
        if start < end {
            let at = self.at.items();
            let rows = &self.postings.items()[at[start] as usize..at[end] as usize];
            rows.iter().for_each(|row| out.set(*row as usize));
        }
    }
}
