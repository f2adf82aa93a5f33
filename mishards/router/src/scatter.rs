//! Sub-queries to nodes: each segment to its first candidate; on failure each to its own next one, until all have
//! been answered for.

use crate::error::{Failure, Kind};
use crate::hedge::{Winner, race};
use crate::metrics::Metrics;
use crate::node_client::NodeClient;
use crate::plan::ReadPlan;
use crate::topology::{Node, Topology};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use mishards_catalog::Segment;
use mishards_proto::node::Scope;
use mishards_types::{Error, SegmentId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A call on a node with a scope.
pub type Call<T> = dyn Fn(Arc<dyn NodeClient>, Scope) -> BoxFuture<'static, Result<T, Failure>> + Send + Sync;

/// Rounds of "not caught up" by the writer before giving up: it is the last candidate for growing rows.
const WRITER_ROUNDS: usize = 600;
const WRITER_PAUSE: Duration = Duration::from_millis(20);

/// One thing to be answered for.
struct Task {
    segment: Option<Arc<Segment>>,
    tried: Vec<String>,
    rounds: usize,
    /// Why the last node did not answer; "snapshot too old" stays, for a new plan mends it.
    last: Option<Failure>,
}

/// What a node said about some segments.
pub struct Part<T> {
    pub answer: T,
}

/// Scatters a plan over the nodes that answer now.
pub struct Scatter<'a> {
    pub topology: &'a Topology,
    pub metrics: &'a Metrics,
}

impl Scatter<'_> {
    /// Calls nodes until every segment of the plan, and the growing rows when asked, have been answered for once.
    pub async fn run<T: Send + 'static>(
        &self,
        plan: &ReadPlan,
        segments: &[Arc<Segment>],
        growing: bool,
        call: &Call<T>,
    ) -> Result<Vec<Part<T>>, Failure> {
        let mut waiting: Vec<Task> = segments
            .iter()
            .map(|s| Task { segment: Some(Arc::clone(s)), tried: Vec::new(), rounds: 0, last: None })
            .collect();
        if growing {
            waiting.push(Task { segment: None, tried: Vec::new(), rounds: 0, last: None });
        }
        let mut parts = Vec::new();
        let mut running = FuturesUnordered::new();
        loop {
            if !plan.growing_optional && waiting.iter().any(|task| task.segment.is_none()) {
                // One that restarts or is taken over from is back soon: better late than refused.
                let _ = self.topology.wait_for_writer().await;
            }
            for (node, tasks) in self.assign(plan, std::mem::take(&mut waiting))? {
                let spare = self.spare(&node, &tasks);
                running.push(async move {
                    let (node, answer) = self.call(node, spare, plan, &tasks, call).await;
                    (node, tasks, answer)
                });
            }
            let Some((node, mut tasks, answer)) = running.next().await else { return Ok(parts) };
            match answer {
                Ok(answer) => parts.push(Part { answer }),
                Err(failure) if !failure.is_retryable() => return Err(failure),
                Err(failure) => {
                    self.note(&node, &failure);
                    if plan.growing_optional && failure.kind == Kind::Transport {
                        tasks.retain(|task| task.segment.is_some());
                    }
                    for task in &mut tasks {
                        self.retry(task, &node, &failure).await?;
                    }
                    waiting = tasks;
                }
            }
        }
    }

    /// A second node for a sub-query, should the first be slow. Growing rows have no other.
    fn spare(&self, node: &Node, tasks: &[Task]) -> Option<Node> {
        let segment = tasks.iter().map(|t| t.segment.as_ref()).collect::<Option<Vec<_>>>()?;
        let nodes = self.topology.nodes();
        let tried = |name: &str| tasks.iter().any(|t| t.tried.iter().any(|t| t == name));
        let mut candidates = nodes.candidates(segment.first()?.id);
        let name = candidates.find(|name| *name != node.name && !tried(name))?.to_owned();
        drop(candidates);
        nodes.by_name.get(&name).filter(|n| !n.writable).cloned()
    }

    /// One sub-query, hedged where there is a spare node. Answers who answered, or failed first.
    async fn call<T: Send + 'static>(
        &self,
        node: Node,
        spare: Option<Node>,
        plan: &ReadPlan,
        tasks: &[Task],
        call: &Call<T>,
    ) -> (Node, Result<T, Failure>) {
        let hedging = &self.topology.hedging;
        hedging.earn();
        let began = self.topology.now();
        let (winner, answer) = match &spare {
            None => (Winner::First, answer_of(&node, plan, tasks, call).await),
            Some(spare) => {
                let begin = || {
                    let may = hedging.spend();
                    self.metrics.hedged_subqueries_total.inc_by(u64::from(may));
                    may
                };
                let (first, second) =
                    (answer_of(&node, plan, tasks, call), answer_of(spare, plan, tasks, call));
                race(first, hedging.patience(), begin, second).await
            }
        };
        if answer.is_ok() {
            hedging.note(self.topology.now().saturating_sub(began));
        }
        match (winner, spare) {
            (Winner::Second, Some(spare)) => (spare, answer),
            _ => (node, answer),
        }
    }

    fn note(&self, node: &Node, failure: &Failure) {
        self.metrics.subquery_retries_total.inc();
        tracing::debug!(node = %node.name, kind = ?failure.kind, error = %failure.error, "a sub-query failed, trying the next candidate");
        if matches!(failure.kind, Kind::Transport | Kind::NotWriter) {
            self.topology.suspect(&node.name);
        }
    }

    /// Growing rows have the writer alone: wait for it a little. Segments go on to the next node.
    async fn retry(&self, task: &mut Task, node: &Node, failure: &Failure) -> Result<(), Failure> {
        if task.segment.is_some() {
            task.tried.push(node.name.clone());
            if task.last.as_ref().is_none_or(|last| last.kind != Kind::SnapshotTooOld) {
                task.last = Some(failure.clone());
            }
            return Ok(());
        }
        task.rounds += 1;
        if failure.kind == Kind::SnapshotTooOld || task.rounds > WRITER_ROUNDS {
            return Err(failure.clone());
        }
        tokio::time::sleep(WRITER_PAUSE).await;
        Ok(())
    }

    /// Groups tasks by the node that is next for each.
    fn assign(&self, plan: &ReadPlan, tasks: Vec<Task>) -> Result<Vec<(Node, Vec<Task>)>, Failure> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let nodes = self.topology.nodes();
        let mut groups: BTreeMap<String, Vec<Task>> = BTreeMap::new();
        let unavailable = |what: String| Failure::new(Kind::Transport, Error::unavailable(what));
        for task in tasks {
            let writer = nodes.writer().map(|w| w.name.as_str());
            let name = match &task.segment {
                None if writer.is_none() && plan.growing_optional => continue,
                None => writer
                    .ok_or_else(|| unavailable("no writable node answers for the growing rows".to_owned()))?,
                Some(segment) => {
                    let mut order = nodes.candidates(segment.id);
                    let next = order.find(|name| !task.tried.iter().any(|t| t == name));
                    next.ok_or_else(|| {
                        let what = format!("segment {} could not be read on any node", segment.id);
                        match &task.last {
                            Some(Failure { kind: Kind::SnapshotTooOld | Kind::Unreadable, .. }) => {
                                task.last.clone()
                            }
                            Some(last) => Some(unavailable(format!("{what}: {}", last.error))),
                            None => None,
                        }
                        .unwrap_or_else(|| unavailable(what))
                    })?
                }
            };
            groups.entry(name.to_owned()).or_default().push(task);
        }
        Ok(groups
            .into_iter()
            .filter_map(|(name, tasks)| nodes.by_name.get(&name).map(|n| (n.clone(), tasks)))
            .collect())
    }
}

/// A call that is given up when its node turns out to be gone.
async fn answer_of<T>(node: &Node, plan: &ReadPlan, tasks: &[Task], call: &Call<T>) -> Result<T, Failure> {
    let scope = scope_for(plan, tasks)?;
    tokio::select! {
        answer = call(Arc::clone(&node.client), scope) => answer,
        () = node.gone.cancelled() => {
            let text = format!("node {} does not answer any more", node.name);
            Err(Failure::new(Kind::Transport, Error::unavailable(text)))
        }
    }
}

fn scope_for(plan: &ReadPlan, tasks: &[Task]) -> Result<Scope, Failure> {
    let mut scope = plan.scope.clone();
    scope.growing = tasks.iter().any(|t| t.segment.is_none());
    let descriptors = tasks.iter().filter_map(|t| t.segment.as_ref()).map(|s| serde_json::to_vec(&**s));
    let encoded: Result<Vec<Vec<u8>>, _> = descriptors.collect();
    scope.segments = encoded
        .map_err(|e| Failure::new(Kind::Refused, Error::internal(format!("cannot encode a segment: {e}"))))?;
    Ok(scope)
}

/// The segments of a plan that some rows stand in, and whether some are growing.
pub fn segments_of_rows(plan: &ReadPlan, rows: impl Iterator<Item = SegmentId>) -> (Vec<Arc<Segment>>, bool) {
    let ids: std::collections::BTreeSet<SegmentId> = rows.collect();
    let segments = plan.segments.iter().filter(|s| ids.contains(&s.id)).cloned().collect();
    (segments, ids.contains(&SegmentId(0)))
}
