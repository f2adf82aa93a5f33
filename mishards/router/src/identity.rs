//! Whether a node belongs to the catalog that this process sees. A name in a file is copied along with the file, and so is
//! a table of nodes; what a node writes to its catalog now is not. The node writes, says what, and here it is looked for: in
//! a copy it does not come.

use crate::error::Kind;
use crate::node_client::NodeClient;
use mishards_catalog::{Catalog, Heartbeats};
use mishards_proto::node::{DescribeResponse, HeldLease, ProveResponse};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long what was written may take to be seen: a replica of the database may lag.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
/// How long what was found is believed where it may change: no proof could be had, or it was a false one.
const AGAIN: Duration = Duration::from_secs(5);

/// The catalog that nodes must belong to.
pub struct Identity {
    pub catalog: Arc<dyn Catalog>,
    /// Where nodes are found by their heartbeats in it.
    pub heartbeats: Option<Arc<dyn Heartbeats>>,
}

/// What was seen of one node.
#[derive(Default)]
pub struct Proof(Mutex<Seen>);

#[derive(Default, Clone)]
enum Seen {
    #[default]
    Nothing,
    /// Its heartbeat, or the lease that it holds; in this term.
    Beat(u64),
    Lease(u64),
    /// That it may be ours, in this term: the database does not answer, or it writes nothing to one. Until then.
    Unknown(Duration, u64),
    /// That it is not, and why. Until then.
    Foreign(String, Duration),
}

const UNKNOWN: Seen = Seen::Unknown(AGAIN, 0);

impl Proof {
    /// Refuses a node that was shown to belong to another catalog. `name` is the one that discovery has, `now` is of the
    /// monotonic clock.
    pub async fn check(
        &self,
        identity: &Identity,
        (name, client): (&str, &dyn NodeClient),
        said: &DescribeResponse,
        now: Duration,
    ) -> Result<(), String> {
        match &*self.lock() {
            Seen::Beat(epoch) if *epoch == said.epoch => return Ok(()),
            Seen::Lease(epoch) if *epoch == said.epoch && said.writable => return Ok(()),
            Seen::Unknown(until, epoch) if now < *until && *epoch == said.epoch => return Ok(()),
            Seen::Foreign(why, until) if now < *until => return Err(why.clone()),
            _ => {}
        }
        if identity.heartbeats.is_none() && !said.writable {
            return Ok(());
        }
        let looked = tokio::time::timeout(2 * PATIENCE, identity.look_for(name, client)).await;
        let seen = match looked.unwrap_or(UNKNOWN) {
            Seen::Beat(_) => Seen::Beat(said.epoch),
            Seen::Unknown(wait, _) => Seen::Unknown(now + wait, said.epoch),
            Seen::Foreign(why, wait) => Seen::Foreign(why, now + wait),
            seen => seen,
        };
        *self.lock() = seen.clone();
        if let Seen::Foreign(why, _) = seen { Err(why) } else { Ok(()) }
    }

    /// Whoever answers there next may be another process.
    pub fn forget(&self) {
        *self.lock() = Seen::Nothing;
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    /// Has a node write to its catalog, and looks for that in ours.
    async fn look_for(&self, name: &str, client: &dyn NodeClient) -> Seen {
        let proof = match client.prove().await {
            Ok(proof) => proof,
            // It does not answer: that is not a question of whose it is.
            Err(failure) if failure.is_of_the_node() || failure.kind == Kind::NotWriter => {
                return Seen::Unknown(Duration::ZERO, 0);
            }
            // Its database takes no writes; that may be so of ours as well.
            Err(_) => return UNKNOWN,
        };
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut first = None;
        loop {
            let Some((seen, ours)) = self.compare(name, &proof).await else { return UNKNOWN };
            if !matches!(seen, Seen::Foreign(..)) {
                return seen;
            }
            let first = *first.get_or_insert(ours);
            if tokio::time::Instant::now() >= end {
                // A copy stands still; a replica that lags does not.
                return if ours > first { UNKNOWN } else { seen };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What our database says of a proof, and how far it is; nothing when it does not answer.
    async fn compare(&self, name: &str, proof: &ProveResponse) -> Option<(Seen, u64)> {
        if let (Some(heartbeats), Some(beat)) = (&self.heartbeats, proof.beat) {
            let rows = heartbeats.heartbeats().await.ok()?;
            let ours = rows.iter().find(|row| row.name == name).map(|row| row.beat);
            let seen = match ours {
                Some(ours) if ours >= beat => Seen::Beat(0),
                Some(ours) => {
                    foreign(&format!("its heartbeat is at {beat}, and stands still at {ours} in ours"))
                }
                None => foreign("its heartbeat is not in ours"),
            };
            return Some((seen, ours.unwrap_or(0)));
        }
        let Some(HeldLease { epoch, incarnation, counter }) = proof.lease else {
            return Some((UNKNOWN, 0));
        };
        let ours = self.catalog.lease().await.ok()?;
        let same = (ours.epoch.0, ours.incarnation.0) == (epoch, incarnation) && ours.counter >= counter;
        let seen = match same {
            true => Seen::Lease(epoch),
            false => foreign(&format!(
                "it holds the lease of term {epoch} at renewal {counter}; ours is of term {} at renewal {}",
                ours.epoch, ours.counter
            )),
        };
        Some((seen, ours.counter))
    }
}

fn foreign(what: &str) -> Seen {
    let why = format!(
        "it belongs to another catalog than ours: {what}. One of the two is a copy: correct cluster.catalog, or give the \
         copy a name of its own with `mishards rename`"
    );
    Seen::Foreign(why, AGAIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use mishards_catalog::{Memory, Takeover};
    use mishards_types::{Epoch, Incarnation, LogId};

    const TERM: LogId = LogId { epoch: Epoch(1), incarnation: Incarnation(0xa) };

    /// A catalog with a node and a writer.
    async fn catalog() -> Memory {
        let catalog = Memory::new();
        catalog.migrate("c").await.unwrap();
        let seen = catalog.lease().await.unwrap();
        catalog.take_over(&Takeover::new(seen, TERM, 1)).await.unwrap();
        catalog.beat("ro1", "h:1").await.unwrap();
        catalog
    }

    fn identity(of: &Memory, by_heartbeats: bool) -> Identity {
        let heartbeats = by_heartbeats.then(|| Arc::new(of.clone()) as Arc<dyn Heartbeats>);
        Identity { catalog: Arc::new(of.clone()), heartbeats }
    }

    async fn beat(of: &Memory) -> ProveResponse {
        ProveResponse { beat: Some(of.beat("ro1", "h:1").await.unwrap()), lease: None }
    }

    async fn lease(of: &Memory) -> ProveResponse {
        let held = of.renew(TERM.epoch, TERM.incarnation).await.unwrap();
        let lease = HeldLease { epoch: 1, incarnation: 0xa, counter: held.counter };
        ProveResponse { beat: None, lease: Some(lease) }
    }

    #[tokio::test]
    async fn what_was_written_to_the_original_does_not_come_in_a_copy() {
        // The same calls: equal in every row.
        let (original, copy) = (catalog().await, catalog().await);
        let proof = beat(&original).await;
        let seen = identity(&original, true).compare("ro1", &proof).await;
        assert!(matches!(seen, Some((Seen::Beat(_), 2))));
        let Some((Seen::Foreign(why, _), 1)) = identity(&copy, true).compare("ro1", &proof).await else {
            panic!("it is taken for ours")
        };
        assert!(why.contains("at 2, and stands still at 1") && why.contains("mishards rename"), "{why}");
        copy.clear().await.unwrap();
        assert!(matches!(identity(&copy, true).compare("ro1", &proof).await, Some((Seen::Foreign(..), _))));

        let proof = lease(&original).await;
        assert!(matches!(identity(&original, false).compare("w", &proof).await, Some((Seen::Lease(1), _))));
        assert!(matches!(identity(&copy, false).compare("w", &proof).await, Some((Seen::Foreign(..), _))));
    }

    #[tokio::test]
    async fn the_lease_of_another_term_is_no_proof() {
        let (original, copy) = (catalog().await, catalog().await);
        let proof = lease(&original).await;
        let log = LogId { epoch: Epoch(2), incarnation: Incarnation(0xb) };
        let seen = copy.lease().await.unwrap();
        copy.take_over(&Takeover::new(seen, log, 2)).await.unwrap();
        assert!(matches!(identity(&copy, false).compare("w", &proof).await, Some((Seen::Foreign(..), _))));
        // It writes to no catalog.
        let nothing = ProveResponse::default();
        assert!(matches!(identity(&copy, true).compare("ro1", &nothing).await, Some((Seen::Unknown(..), _))));
    }
}
