//! One request of a client, from its arrival to its answer: how long it may take, and what its answer covers.

use crate::plan::ReadPlan;
use mishards_proto::node::Served;
use mishards_trace::Span;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Sub-queries that are remembered of one call.
const MOST_SUBQUERIES: usize = 1000;
/// Nodes that a coverage line names: clients limit what they take as trailers (gRPC's C core 8 KiB in all).
const MOST_NAMES: usize = 32;

/// What sub-queries ask for.
pub const SEARCH: &str = "search";
pub const QUERY: &str = "query";
/// The groups of a search that wants several rows of each.
pub const GROUPS: &str = "groups";
/// Columns of rows that were found.
pub const FETCH: &str = "fetch";

/// See the file's head.
#[derive(Default)]
pub struct Call {
    /// The database of the connection; empty when it names none.
    pub database: String,
    /// When the client gives up, on the monotonic clock.
    pub deadline: Option<Duration>,
    pub span: Span,
    subject: OnceLock<Subject>,
    coverage: Mutex<Coverage>,
}

/// What a read asks for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Subject {
    pub collection: String,
    pub filter: String,
    /// Query vectors; 0 for a query by filter.
    pub nq: usize,
    pub limit: usize,
}

/// What the last plan of a request was about, and who has answered it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Coverage {
    /// V, as number and id; nothing was read without it.
    pub version: Option<String>,
    /// T.
    pub timestamp: u64,
    pub segments: usize,
    pub segments_searched: usize,
    /// Whether rows that are not in files were read too, each time that they should have been.
    pub growing: bool,
    left_out: bool,
    pub nodes: BTreeSet<String>,
    /// Sub-queries in the order of their answers.
    pub subqueries: Vec<Subquery>,
    /// Times that the read was planned anew because files moved under it.
    pub replans: usize,
}

/// One call on one node, as it ended.
#[derive(Debug, Clone, Serialize)]
pub struct Subquery {
    pub node: String,
    pub what: &'static str,
    pub segments: Vec<i64>,
    pub growing: bool,
    /// From sending to answer, as the router saw it.
    pub micros: u64,
    /// As the node says.
    pub node_micros: u64,
    pub rows_scanned: u64,
    /// Whether it was a second try because the first was slow.
    pub hedge: bool,
    /// Why it was not answered.
    pub failure: Option<String>,
}

impl Subquery {
    /// Takes over what the node says of its work.
    pub fn served(&mut self, served: &Served) {
        self.node_micros = served.micros;
        self.rows_scanned = served.rows_scanned;
    }
}

impl Call {
    pub fn of(database: impl Into<String>) -> Call {
        Call { database: database.into(), ..Call::default() }
    }

    /// Says what it asks for, once it is known.
    pub fn is_about(&self, subject: Subject) {
        self.span.set("collection", subject.collection.clone());
        if subject.nq > 0 {
            self.span.set("nq", subject.nq as i64);
            self.span.set("topk", subject.limit as i64);
        }
        let _ = self.subject.set(subject);
    }

    pub fn subject(&self) -> Option<&Subject> {
        self.subject.get()
    }

    /// Begins a try to answer: what was noted of an earlier one does not count.
    pub fn begin(&self) {
        let mut coverage = self.lock();
        let replans = coverage.replans + usize::from(coverage.version.is_some());
        *coverage = Coverage { replans, ..Coverage::default() };
    }

    /// Adds what a plan is about; a hybrid search has several at one V and T.
    pub fn plan(&self, plan: &ReadPlan) {
        let mut coverage = self.lock();
        let version = plan.scope.version.unwrap_or_default();
        coverage.version = Some(format!("{}:{:x}", version.commit_seq, version.commit_id));
        coverage.timestamp = plan.scope.timestamp;
        coverage.segments += plan.segments.len();
    }

    pub fn note(&self, subquery: Subquery) {
        let mut coverage = self.lock();
        if subquery.failure.is_none() {
            coverage.nodes.insert(subquery.node.clone());
            // Other calls are about rows that a search or query has found: it counted their segments.
            if matches!(subquery.what, SEARCH | QUERY) {
                coverage.segments_searched += subquery.segments.len();
                coverage.growing |= subquery.growing && !coverage.left_out;
            }
        }
        // A read that waits for a takeover asks again and again.
        if coverage.subqueries.len() < MOST_SUBQUERIES {
            coverage.subqueries.push(subquery);
        }
    }

    /// Rows that are in no file were left out of one of the reads.
    pub fn left_out(&self) {
        let mut coverage = self.lock();
        coverage.left_out = true;
        coverage.growing = false;
    }

    pub fn coverage(&self) -> Coverage {
        self.lock().clone()
    }

    /// The coverage in a line, for those who asked for a read; `None` when nothing was read.
    pub fn coverage_line(&self) -> Option<String> {
        let coverage = self.lock();
        coverage.version.as_ref().map(|_| coverage.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes: Vec<&str> = self.nodes.iter().map(String::as_str).take(MOST_NAMES).collect();
        let more = format!("+{}", self.nodes.len().saturating_sub(MOST_NAMES));
        if self.nodes.len() > MOST_NAMES {
            nodes.push(&more);
        }
        write!(
            f,
            "segments={}/{}; growing={}; version={}; nodes={}",
            self.segments_searched,
            self.segments,
            if self.growing { "yes" } else { "no" },
            self.version.as_deref().unwrap_or("none"),
            nodes.join(",")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(node: &str, what: &'static str, growing: bool) -> Subquery {
        Subquery {
            node: node.to_owned(),
            what,
            segments: vec![1],
            growing,
            micros: 1,
            node_micros: 1,
            rows_scanned: 1,
            hedge: false,
            failure: None,
        }
    }

    #[test]
    fn growing_rows_that_were_left_out_once_were_left_out() {
        let call = Call::default();
        call.note(answered("w", SEARCH, true));
        assert!(call.coverage().growing);
        call.left_out();
        call.note(answered("w", SEARCH, true));
        assert!(!call.coverage().growing);
        call.begin();
        call.note(answered("w", SEARCH, true));
        assert!(call.coverage().growing, "another try counts for itself");
    }

    #[test]
    fn a_line_is_short_however_many_nodes_there_are() {
        let call = Call::default();
        for i in 0..500 {
            call.note(answered(&format!("a-node-with-a-long-name-in-a-large-cluster-{i:03}"), SEARCH, false));
        }
        let line = call.coverage().to_string();
        assert!(line.len() < 4096 && line.ends_with(",+468"), "{line}");
        assert_eq!(call.coverage().nodes.len(), 500);
    }

    #[test]
    fn calls_about_rows_that_were_found_cover_nothing() {
        let call = Call::default();
        [GROUPS, FETCH].into_iter().for_each(|what| call.note(answered("a", what, true)));
        assert_eq!((call.coverage().segments_searched, call.coverage().growing), (0, false));
        (0..2 * MOST_SUBQUERIES).for_each(|_| call.note(answered("a", FETCH, false)));
        assert_eq!(call.coverage().subqueries.len(), MOST_SUBQUERIES);
    }
}
