//! Who answers for the rows that are in no file yet: the writable node, or a standby that follows its log. While neither
//! can, a read waits for a takeover.

use crate::error::{Failure, Kind};
use crate::plan::ReadPlan;
use crate::scatter::{Ask, BROKEN_NODES, Outcome, Scatter, breaks_nodes};
use crate::topology::Node;
use mishards_types::Error;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a read waits: the lease of a writable node that died, and the time to take over.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two rounds: longer and longer, for all who wait ask whoever takes over.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

impl Scatter<'_> {
    /// Asks the writable node and standbys in turn until one answers. `tried` is who just did not answer, and why.
    pub(crate) async fn growing_rows<T>(
        &self,
        plan: &ReadPlan,
        ask: &Ask<T>,
        tried: Option<(Node, Failure)>,
    ) -> Outcome<T> {
        let until = self.topology.now() + PATIENCE;
        // What a node said of a request stays so, unless another one is the writable node.
        if let Some((_, failure)) = tried.as_ref().filter(|(_, f)| f.kind == Kind::SnapshotTooOld) {
            return Outcome::Over(failure.clone());
        }
        // By term: one writable node that dies breaks off once, however often it is asked while it is dying.
        let mut broken: BTreeSet<(String, u64)> = BTreeSet::new();
        broken.extend(tried.iter().filter(|(_, f)| f.kind == Kind::Broken).map(|(node, _)| id_of(node)));
        let mut pause = SHORTEST_PAUSE;
        let mut ask_writer = tried.is_none();
        let mut last = tried.map(|(_, failure)| failure).unwrap_or_else(|| {
            let text = "no writable node answers for the rows that are not in files yet";
            Failure::new(Kind::Transport, Error::unavailable(text))
        });
        loop {
            let nodes = self.topology.nodes();
            let writer = nodes.writer().filter(|_| ask_writer);
            let standbys = nodes.by_name.values().filter(|node| node.tails(plan.scope.epoch));
            let asked: Vec<&Node> = writer.into_iter().chain(standbys).collect();
            for node in asked {
                match self.growing_of(node, plan, ask).await {
                    Ok(answer) => return Outcome::Answered(answer),
                    Err(failure) if !failure.is_retryable() => return Outcome::Over(failure),
                    // A standby remembers less than the writable node does.
                    Err(failure) if failure.kind == Kind::SnapshotTooOld && node.writable => {
                        return Outcome::Over(failure);
                    }
                    Err(failure) => {
                        if failure.kind == Kind::Broken {
                            broken.insert(id_of(node));
                        }
                        if broken.len() >= BROKEN_NODES {
                            let names: Vec<String> = broken.into_iter().map(|(name, _)| name).collect();
                            return Outcome::Over(breaks_nodes(&names.join(" and "), &failure));
                        }
                        last = failure;
                    }
                }
            }
            if plan.growing_optional {
                return Outcome::LeftOut;
            }
            if self.topology.now() > until {
                return Outcome::Over(last);
            }
            ask_writer = true;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A node in one term.
fn id_of(node: &Node) -> (String, u64) {
    (node.name.clone(), node.epoch)
}
