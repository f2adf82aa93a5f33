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
    /// Asks the writable node and standbys in turn until one answers. `last` is why the writable node just did not.
    pub(crate) async fn growing_rows<T>(
        &self,
        plan: &ReadPlan,
        ask: &Ask<T>,
        last: Option<Failure>,
    ) -> Outcome<T> {
        let until = self.topology.now() + PATIENCE;
        // What a node said of a request stays so, unless another one is the writable node.
        if let Some(failure) = last.as_ref().filter(|f| f.kind == Kind::SnapshotTooOld) {
            return Outcome::Over(failure.clone());
        }
        let mut broken: BTreeSet<String> = BTreeSet::new();
        let broke_writer = last.as_ref().is_some_and(|failure| failure.kind == Kind::Broken);
        let mut pause = SHORTEST_PAUSE;
        let mut ask_writer = last.is_none();
        let mut last = last.unwrap_or_else(|| {
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
                            broken.insert(node.name.clone());
                        }
                        if broken.len() + usize::from(broke_writer) >= BROKEN_NODES {
                            broken.extend(broke_writer.then(|| "that writes".to_owned()));
                            let names: Vec<String> = broken.into_iter().collect();
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
