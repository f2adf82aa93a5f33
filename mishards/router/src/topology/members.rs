//! What discovery names, and a copy of it on disk for a start while discovery's source is away.

use super::{Connect, Node, Topology};
use crate::catalog_view::StateFile;
use crate::identity::Proof;
use crate::node_client::NodeClient;
use mishards_discovery::{Event, Member};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a member that discovery no longer names is still called, as long as it answers.
const UNLISTED_GRACE: Duration = Duration::from_secs(30);

/// How a member is reached.
pub(super) struct Contact {
    /// As discovery has it.
    pub name: String,
    pub address: String,
    pub client: Arc<dyn NodeClient>,
    /// Whether it belongs to our catalog.
    pub proof: Proof,
    /// A probe is due now.
    pub hurry: Notify,
}

/// A member that discovery names.
pub(super) struct Peer {
    pub(super) contact: Arc<Contact>,
    /// Since when discovery does not name it any more. It stays for a while as long as it answers: a list that is empty
    /// for a moment must not take the cluster away.
    unlisted: Option<Duration>,
    /// Probes in a row that were not answered in time.
    pub(super) late: u32,
    /// It was asked who it is, and has answered or has had the time to.
    pub(super) asked: bool,
    /// Who it is, while it answers and is ours.
    pub(super) node: Option<Node>,
}

impl Peer {
    /// Whether discovery has let go of it for so long that it is called no more. `now` is of the monotonic clock.
    pub(super) fn is_past_grace(&self, now: Duration) -> bool {
        self.unlisted.is_some_and(|since| now.saturating_sub(since) >= UNLISTED_GRACE)
    }

    pub(super) fn is_listed(&self) -> bool {
        self.unlisted.is_none()
    }
}

impl Topology {
    /// Takes an event of discovery. The answer are the members to begin asking.
    pub(super) fn apply(&self, event: Event, connect: &Connect) -> Vec<Arc<Contact>> {
        let mut members = self.members();
        let now = self.now();
        let unlist = |peer: &mut Peer| {
            peer.unlisted.get_or_insert(now);
        };
        // A list says who is there. One member by itself is to be connected to anew, also at the same address.
        let (named, anew) = match event {
            Event::Reset(all) => {
                let names: BTreeSet<&str> = all.iter().map(|m| m.name.as_str()).collect();
                members
                    .iter_mut()
                    .filter(|(name, _)| !names.contains(name.as_str()))
                    .for_each(|(_, p)| unlist(p));
                (all, false)
            }
            Event::Add(member) => (vec![member], true),
            Event::Remove(name) => {
                members.get_mut(&name).into_iter().for_each(unlist);
                (Vec::new(), false)
            }
        };
        let mut added = Vec::new();
        for member in named {
            let known =
                members.get_mut(&member.name).filter(|p| !anew && p.contact.address == member.address);
            if let Some(known) = known {
                known.unlisted = None;
                continue;
            }
            let before = members.remove(&member.name);
            let Some(client) = connect(&member) else {
                // An address that cannot be used: whoever had the name before has it no more.
                self.refusals().remove(&member.name);
                continue;
            };
            let Member { name, address } = member;
            let contact =
                Arc::new(Contact { name, address, client, proof: Proof::default(), hurry: Notify::new() });
            // Until the new connection has been asked, the old one is used.
            let node = before.and_then(|before| before.node);
            let peer = Peer { contact: Arc::clone(&contact), unlisted: None, late: 0, asked: false, node };
            members.insert(contact.name.clone(), peer);
            added.push(contact);
        }
        self.publish(&members);
        added
    }

    /// What discovery names now.
    pub(super) fn listed(&self) -> Vec<Member> {
        let members = self.members();
        let listed = members.values().filter(|peer| peer.is_listed()).map(|peer| &peer.contact);
        listed.map(|c| Member { name: c.name.clone(), address: c.address.clone() }).collect()
    }
}

/// The members that were kept, if any were.
pub(super) async fn read(file: Option<Arc<dyn StateFile>>) -> Option<Vec<Member>> {
    let file = file?;
    let bytes = tokio::task::spawn_blocking(move || file.read()).await.ok()??;
    serde_json::from_slice(&bytes)
        .inspect_err(|e| tracing::warn!(error = %e, "the kept members cannot be read"))
        .ok()
}

/// Keeps members, unless there are none.
pub(super) async fn write(file: Option<Arc<dyn StateFile>>, members: Vec<Member>) {
    let Some(file) = file.filter(|_| !members.is_empty()) else { return };
    let write =
        move || serde_json::to_vec(&members).map_err(|e| e.to_string()).and_then(|bytes| file.write(&bytes));
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::warn!(error = %e, "the members could not be kept on disk"),
        Err(e) => tracing::warn!(error = %e, "the members could not be kept on disk"),
    }
}
