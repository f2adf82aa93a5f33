//! Sub-queries to nodes: each segment to its first candidate; on failure each to its own next one, until all have
//! been answered for.

use crate::call::{Call, Subquery};
use crate::candidates;
use crate::error::{Failure, Kind};
use crate::hedge::race;
use crate::metrics::Metrics;
use crate::node_client::NodeClient;
use crate::placement::Placement;
use crate::plan::ReadPlan;
use crate::topology::{Node, Nodes, Topology};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mishards_catalog::Segment;
use mishards_proto::node::{Scope, Served};
use mishards_trace::Span;
use mishards_types::{Error, SegmentId};
use std::collections::{BTreeMap, HashSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

/// What a node answered to one sub-query, checked, and what it says of its work.
pub struct Answer<T> {
    pub value: T,
    pub served: Option<Served>,
}

/// What a node is asked about.
pub struct Question {
    pub scope: Scope,
    pub about: About,
}

/// The parts of a plan that one sub-query is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    pub segments: Vec<i64>,
    /// Also the rows that are in no file yet.
    pub growing: bool,
}

/// A call on a node. An answer that does not fit its question is a failure.
pub type Ask<T> =
    dyn Fn(Arc<dyn NodeClient>, Question) -> BoxFuture<'static, Result<Answer<T>, Failure>> + Send + Sync;

/// A sub-query during which this many nodes broke off goes no further: it may be what breaks them.
pub(crate) const BROKEN_NODES: usize = 2;

/// A sub-query may take as long again for each so many rows of its answer.
const PATIENT_ROWS: usize = 1 << 18;
/// Answers of more rows take long on every node: nobody else is asked because they do.
const HEDGED_ROWS: usize = 1 << 15;

/// A sub-query gets at least this, however little time its client has left.
const SHORTEST: Duration = Duration::from_millis(50);

/// One thing to be answered for: a segment, or (`None`) the rows that are in no file yet.
struct Task {
    segment: Option<Arc<Segment>>,
    tried: Vec<String>,
    /// Nodes that broke off while they had it.
    broken: usize,
    /// Why the last node did not answer; "snapshot too old" stays, for a new plan mends it.
    last: Option<Failure>,
}

impl Task {
    fn of(segment: Option<Arc<Segment>>) -> Task {
        Task { segment, tried: Vec::new(), broken: 0, last: None }
    }
}

/// How a sub-query ended.
pub enum Outcome<T> {
    Answered(T),
    /// The growing rows were optional, and nobody answers for them.
    LeftOut,
    Failed(Box<Failed>),
    /// Nothing more can be done.
    Over(Failure),
}

/// A sub-query that others may answer.
pub struct Failed {
    /// Who was asked, and why each did not answer: one, or two of whom the second was asked because the first was slow.
    tries: Vec<(Node, Failure)>,
    tasks: Vec<Task>,
}

fn outcome<T>(answer: Result<T, Vec<(Node, Failure)>>, tasks: Vec<Task>) -> Outcome<T> {
    let tries = match answer {
        Ok(value) => return Outcome::Answered(value),
        Err(tries) => tries,
    };
    match tries.iter().find(|(_, failure)| !failure.is_retryable()) {
        Some((_, failure)) => Outcome::Over(failure.clone()),
        None => Outcome::Failed(Box::new(Failed { tries, tasks })),
    }
}

/// Scatters a plan over the nodes that answer now, for one call.
pub struct Scatter<'a> {
    pub topology: &'a Topology,
    pub placement: Arc<Placement>,
    pub metrics: &'a Metrics,
    pub call: &'a Call,
    /// What is asked, by a name of `call`.
    pub what: &'static str,
    pub span: Span,
    /// Rows that a node's answer may have, where that is known; 0 where not.
    pub rows: usize,
    /// Longest time for one sub-query of few rows, as long as another node can be asked.
    pub patience: Duration,
    /// Longest time for the last one, where the client gives no deadline.
    pub request_patience: Duration,
}

impl Scatter<'_> {
    /// Calls nodes until every segment of the plan, and the growing rows when asked, have been answered for once.
    pub async fn run<T: Send + 'static>(
        &self,
        plan: &ReadPlan,
        segments: &[Arc<Segment>],
        growing: bool,
        ask: &Ask<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut waiting: Vec<Task> = segments.iter().map(|s| Task::of(Some(Arc::clone(s)))).collect();
        if growing {
            waiting.push(Task::of(None));
        }
        let mut answers = Vec::new();
        let mut running: FuturesUnordered<BoxFuture<'_, Outcome<T>>> = FuturesUnordered::new();
        loop {
            let (groups, homeless) = self.assign(std::mem::take(&mut waiting))?;
            for (node, spare, tasks) in groups {
                running.push(self.subquery(node, spare, plan, tasks, ask).boxed());
            }
            if homeless {
                running.push(self.growing_rows(plan, ask, None).boxed());
            }
            match running.next().await {
                None => return Ok(answers),
                Some(Outcome::Answered(answer)) => answers.push(answer),
                Some(Outcome::LeftOut) => self.call.left_out(),
                Some(Outcome::Over(failure)) => return Err(failure),
                Some(Outcome::Failed(failed)) => {
                    let Failed { tries, tasks } = *failed;
                    self.metrics.subquery_retries_total.inc();
                    for (node, failure) in &tries {
                        tracing::debug!(node = %node.name, kind = ?failure.kind, error = %failure.error, "a sub-query failed, trying the next candidate");
                    }
                    for task in tasks {
                        let task = tries
                            .iter()
                            .try_fold(task, |task, (node, failure)| noted(task, node, failure))?;
                        match task.segment {
                            None => {
                                running.push(self.growing_rows(plan, ask, tries.first().cloned()).boxed());
                            }
                            Some(_) => waiting.push(task),
                        }
                    }
                }
            }
        }
    }

    /// Groups tasks by the node that is next for each, with a second node for those that can be asked of one. The
    /// second value says that the growing rows have nobody to ask yet.
    #[expect(clippy::type_complexity, reason = "a plain list, used once")]
    fn assign(&self, tasks: Vec<Task>) -> Result<(Vec<(Node, Option<Node>, Vec<Task>)>, bool), Failure> {
        let nodes = self.topology.nodes();
        let mut groups: BTreeMap<String, Vec<Task>> = BTreeMap::new();
        let mut homeless = false;
        for task in tasks {
            let node = match &task.segment {
                None => nodes.writer(),
                Some(segment) => Some(self.next_for(&nodes, segment.id, &task)?),
            };
            match node {
                Some(node) => groups.entry(node.name.clone()).or_default().push(task),
                None => homeless = true,
            }
        }
        let with_nodes = |(name, tasks): (String, Vec<Task>)| {
            let node = nodes.by_name.get(&name)?.clone();
            let spare = self.spare(&nodes, &node, &tasks);
            Some((node, spare, tasks))
        };
        Ok((groups.into_iter().filter_map(with_nodes).collect(), homeless))
    }

    /// The first candidate that has not been tried; an error says why the last one did not answer.
    fn next_for<'n>(&self, nodes: &'n Nodes, segment: SegmentId, task: &Task) -> Result<&'n Node, Failure> {
        let untried = |node: &Node| !task.tried.contains(&node.name);
        let next = candidates::first(nodes, &self.placement, segment, self.topology.now(), untried);
        next.ok_or_else(|| match &task.last {
            Some(failure) if matches!(failure.kind, Kind::SnapshotTooOld | Kind::Unreadable) => {
                failure.clone()
            }
            Some(Failure { kind: Kind::Busy, error, .. }) => {
                self.metrics.busy_total.inc();
                Failure::new(Kind::Busy, Error::rate_limit(&error.message))
            }
            last => {
                let mut text = format!("segment {segment} could not be read on any node");
                match last {
                    Some(last) => text = format!("{text}: {}", last.error),
                    None => text.push_str(": none answers"),
                }
                Failure::new(Kind::Transport, Error::unavailable(text))
            }
        })
    }

    /// A second node for a sub-query, should the first be slow or fall silent.
    fn spare(&self, nodes: &Nodes, node: &Node, tasks: &[Task]) -> Option<Node> {
        let well = |n: &&Node| !n.health.is_avoided(self.topology.now());
        let growing = tasks.iter().any(|task| task.segment.is_none());
        if growing {
            return nodes.by_name.values().filter(well).find(|n| n.tails(node.epoch)).cloned();
        }
        let segment = tasks.iter().find_map(|task| task.segment.as_ref())?;
        let tried = |name: &String| tasks.iter().any(|task| task.tried.contains(name));
        let other = |n: &Node| n.name != node.name && !n.writable && !tried(&n.name) && well(&n);
        candidates::first(nodes, &self.placement, segment.id, self.topology.now(), other).cloned()
    }

    /// Whether a node has all segments of some tasks open, as far as a router knows: they are placed on it. A slow search
    /// is no reason to have them opened elsewhere.
    fn has_open(&self, node: &Node, tasks: &[Task]) -> bool {
        let mut segments = tasks.iter().filter_map(|task| task.segment.as_ref());
        segments.all(|segment| self.placement.owners(segment.id).contains(&node.name.as_str()))
    }

    /// One sub-query, hedged where there is a spare node.
    async fn subquery<T: Send + 'static>(
        &self,
        node: Node,
        spare: Option<Node>,
        plan: &ReadPlan,
        tasks: Vec<Task>,
        ask: &Ask<T>,
    ) -> Outcome<T> {
        let hedging = &self.topology.hedging;
        hedging.earn();
        let Some(spare) = spare else {
            let answer = self.one_try(&node, plan, &tasks, ask, false).await;
            return outcome(answer.map_err(|failure| vec![(node, failure)]), tasks);
        };
        let has_open = self.has_open(&spare, &tasks);
        let slow = async {
            tokio::time::sleep(hedging.patience()).await;
            match has_open && self.rows <= HEDGED_ROWS && hedging.spend() {
                true => self.metrics.hedged_subqueries_total.inc(),
                false => pending().await,
            }
        };
        // Not out of the budget: it would be tried again anyway, once the node is given up.
        let silent = async {
            node.health.silence().await;
            match spare.health.is_avoided(self.topology.now()) {
                true => pending().await,
                false => self.metrics.subquery_retries_total.inc(),
            }
        };
        let begin = async {
            tokio::select! {
                biased;
                () = silent => {}
                () = slow => {}
            }
        };
        let first = self.one_try(&node, plan, &tasks, ask, false);
        let second = self.one_try(&spare, plan, &tasks, ask, true);
        let answer = race(first, begin, second).await;
        let tries = |(first, second): (Failure, Option<Failure>)| {
            let second = second.map(|failure| (spare, failure));
            std::iter::once((node.clone(), first)).chain(second).collect()
        };
        outcome(answer.map_err(tries), tasks)
    }

    /// One call on one node, given up when it takes too long or the node turns out to be gone.
    async fn one_try<T>(
        &self,
        node: &Node,
        plan: &ReadPlan,
        tasks: &[Task],
        ask: &Ask<T>,
        hedge: bool,
    ) -> Result<T, Failure> {
        let mut question = question(plan, tasks)?;
        // The names that users of the first Mishards know.
        let span = self.span.call(|| format!("search_{}", node.name));
        span.set("segments", question.about.segments.len() as i64);
        question.scope.traceparent = span.traceparent().unwrap_or_default();
        let mut report = Subquery {
            node: node.name.clone(),
            what: self.what,
            segments: question.about.segments.clone(),
            growing: question.about.growing,
            micros: 0,
            node_micros: 0,
            rows_scanned: 0,
            hedge,
            failure: None,
        };
        let _outstanding = node.health.begin();
        let began = self.topology.now();
        let lost = |text: String| Err(Failure::new(Kind::Transport, Error::unavailable(text)));
        let patience = self.patience_left(self.is_last(node, tasks));
        let answer = tokio::select! {
            biased;
            // Known to be gone before it was asked: this request is not what silenced it.
            () = std::future::ready(()), if node.gone.is_cancelled() => {
                lost(format!("node {} does not answer", node.name))
            }
            answer = ask(Arc::clone(&node.client), question) => answer,
            // Whatever silenced it, this request was there: it may be what did.
            () = node.gone.cancelled() => {
                let text = format!("node {} does not answer any more", node.name);
                Err(Failure::new(Kind::Broken, Error::unavailable(text)))
            }
            () = tokio::time::sleep(patience) => {
                lost(format!("node {} has not answered within {:.1} s", node.name, patience.as_secs_f64()))
            }
        };
        let took = self.topology.now().saturating_sub(began);
        report.micros = took.as_micros() as u64;
        self.metrics.subquery_seconds.observe(took.as_secs_f64());
        match &answer {
            Ok(answer) => {
                node.health.note_success();
                if self.rows <= HEDGED_ROWS {
                    self.topology.hedging.note(took);
                }
                answer.served.iter().for_each(|served| report.served(served));
                span.set("rows", report.rows_scanned as i64);
            }
            Err(failure) => {
                // A client that is in a hurry says nothing of the node.
                let hurried =
                    failure.kind == Kind::Transport && patience < self.patience && !node.gone.is_cancelled();
                if failure.is_of_the_node() && !hurried {
                    node.health.note_failure(self.topology.now());
                }
                if (failure.is_of_the_node() && !hurried) || failure.kind == Kind::NotWriter {
                    self.topology.suspect(&node.name);
                }
                span.fail(&failure.error.message);
                report.failure = Some(failure.error.message.clone());
            }
        }
        self.call.note(report);
        answer.map(|answer| answer.value)
    }

    /// How long a sub-query may take. The last node that can be asked has all that is left of the request's time; else a
    /// part is kept, so that another one can still be asked.
    fn patience_left(&self, is_last: bool) -> Duration {
        let left = self.call.deadline.map(|deadline| deadline.saturating_sub(self.topology.now()));
        let left = left.unwrap_or(self.request_patience);
        let share = if is_last { left } else { (left / 2).min(self.longest()) };
        share.max(SHORTEST)
    }

    /// Longest time for one sub-query: work that others wait for too is not begun anew elsewhere because it is much.
    fn longest(&self) -> Duration {
        let times = u32::try_from(self.rows / PATIENT_ROWS).unwrap_or(u32::MAX);
        self.patience.saturating_mul(times.saturating_add(1))
    }

    /// Whether nobody else is left to ask for one of these tasks.
    fn is_last(&self, node: &Node, tasks: &[Task]) -> bool {
        let nodes = self.topology.nodes();
        let is_other = |other: &Node| other.name != node.name;
        let of = |task: &Task| match &task.segment {
            None => !nodes.by_name.values().any(|other| is_other(other) && other.tails(node.epoch)),
            Some(_) => {
                !nodes.by_name.values().any(|other| is_other(other) && !task.tried.contains(&other.name))
            }
        };
        tasks.iter().any(of)
    }

    /// The growing rows alone, of one node.
    pub(crate) async fn growing_of<T>(
        &self,
        node: &Node,
        plan: &ReadPlan,
        ask: &Ask<T>,
    ) -> Result<T, Failure> {
        self.one_try(node, plan, &[Task::of(None)], ask, false).await
    }
}

/// Notes a failed try. A task that has broken too many nodes is at its end.
fn noted(mut task: Task, node: &Node, failure: &Failure) -> Result<Task, Failure> {
    task.tried.push(node.name.clone());
    task.broken += usize::from(failure.kind == Kind::Broken);
    if task.broken >= BROKEN_NODES {
        return Err(breaks_nodes(&task.tried.join(" and "), failure));
    }
    if task.last.as_ref().is_none_or(|last| last.kind != Kind::SnapshotTooOld) {
        task.last = Some(failure.clone());
    }
    Ok(task)
}

/// A request during which nodes broke off goes no further.
pub(crate) fn breaks_nodes(names: &str, failure: &Failure) -> Failure {
    let text = format!(
        "nodes {names} broke off while they answered this request, so it is not tried on others: {}",
        failure.error
    );
    Failure::new(Kind::Refused, Error::internal(text))
}

fn question(plan: &ReadPlan, tasks: &[Task]) -> Result<Question, Failure> {
    let segments = || tasks.iter().filter_map(|task| task.segment.as_ref());
    let growing = tasks.iter().any(|t| t.segment.is_none());
    let about = About { segments: segments().map(|s| s.id.0).collect(), growing };
    let encoded: Result<Vec<Vec<u8>>, _> = segments().map(|s| serde_json::to_vec(&**s)).collect();
    let segments = encoded
        .map_err(|e| Failure::new(Kind::Refused, Error::internal(format!("cannot encode a segment: {e}"))))?;
    Ok(Question { scope: Scope { segments, growing, ..plan.scope.clone() }, about })
}

/// Those segments that some rows stand in, and whether some rows are growing.
pub fn segments_of_rows(
    segments: &[Arc<Segment>],
    rows: impl Iterator<Item = SegmentId>,
) -> (Vec<Arc<Segment>>, bool) {
    let ids: HashSet<SegmentId> = rows.collect();
    let segments = segments.iter().filter(|s| ids.contains(&s.id)).cloned().collect();
    (segments, ids.contains(&SegmentId(0)))
}
