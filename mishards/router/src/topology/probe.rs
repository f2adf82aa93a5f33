//! Asking members who they are, each by itself: one that hangs holds up nobody else.

use super::members::{Contact, Peer};
use super::{Node, Topology, hurry};
use crate::health::Health;
use crate::node_client::Result;
use mishards_proto::node::DescribeResponse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(500);
/// While nobody writes: requests wait for whoever takes over.
const FOR_WRITER_EVERY: Duration = Duration::from_millis(100);
/// Many failures at once are one reason to look.
const PAUSE: Duration = Duration::from_millis(20);
/// A node that is silent for so long is asked after others until it is heard again.
const SILENT: Duration = Duration::from_millis(300);
/// An answer that takes so long is late.
const TIMEOUT: Duration = Duration::from_secs(1);
/// A node that was late so often does not answer any more.
const LATE_PROBES: u32 = 2;

/// What came of a probe.
pub(super) enum Probe {
    Answers(Box<Node>),
    /// It answers and is not ours to ask, for this reason.
    Refused(String),
    /// Nothing was heard in time.
    Late,
    Fails,
}

impl Topology {
    /// Asks a member again and again, until it is one no more.
    pub(super) async fn keep_asking(&self, contact: Arc<Contact>) {
        loop {
            let probe = self.probe(&contact).await;
            let Some(again_at_once) = self.note(&contact, probe) else { return };
            if again_at_once {
                continue;
            }
            let every = if self.writer().is_ok() { EVERY } else { FOR_WRITER_EVERY };
            let _ = tokio::time::timeout(every, contact.hurry.notified()).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn probe(&self, contact: &Contact) -> Probe {
        match self.describe(contact).await {
            None => Probe::Late,
            Some(Err(_)) => {
                contact.proof.forget();
                Probe::Fails
            }
            Some(Ok(said)) => match self.belongs(contact, &said).await {
                Ok(()) => Probe::Answers(Box::new(Node {
                    key: contact.name.clone(),
                    name: said.name.clone(),
                    address: contact.address.clone(),
                    writable: said.writable,
                    standby: said.standby,
                    epoch: said.epoch,
                    said: Arc::new(said),
                    client: Arc::clone(&contact.client),
                    gone: CancellationToken::new(),
                    health: Arc::default(),
                })),
                Err(why) => Probe::Refused(why),
            },
        }
    }

    /// Whether a member is ours to ask: by what it says, and by the catalog that it writes to.
    async fn belongs(&self, contact: &Contact, said: &DescribeResponse) -> std::result::Result<(), String> {
        self.is_ours(said)?;
        match &self.identity {
            Some(identity) => {
                let member = (contact.name.as_str(), &*contact.client);
                contact.proof.check(identity, member, said, self.now()).await
            }
            None => Ok(()),
        }
    }

    /// What a member says of itself, unless that takes too long.
    async fn describe(&self, contact: &Contact) -> Option<Result<DescribeResponse>> {
        let mut answer = contact.client.describe();
        if let Ok(said) = tokio::time::timeout(SILENT, &mut answer).await {
            self.of_contact(contact, Health::note_heard);
            return Some(said);
        }
        self.of_contact(contact, Health::note_silence);
        let said = tokio::time::timeout(TIMEOUT - SILENT, answer).await.ok()?;
        self.of_contact(contact, Health::note_heard);
        Some(said)
    }

    /// Notes something of the node that is called by this contact now, if one is.
    fn of_contact(&self, contact: &Contact, note: fn(&Health)) {
        let nodes = self.nodes();
        let called = nodes.by_name.values().find(|node| Arc::ptr_eq(&node.client, &contact.client));
        called.into_iter().for_each(|node| note(&node.health));
    }

    /// Notes what came of a probe, and whether another is due at once; nothing when it is no member any more. One that is
    /// late once may only have much to do: it stays as it was.
    pub(super) fn note(&self, contact: &Arc<Contact>, probe: Probe) -> Option<bool> {
        let key = &contact.name;
        let mut members = self.members();
        let peer = members.get_mut(key).filter(|peer| Arc::ptr_eq(&peer.contact, contact))?;
        peer.asked = true;
        let is_late = matches!(probe, Probe::Late);
        match probe {
            Probe::Answers(node) => {
                peer.late = 0;
                // Whether its directory is ours is looked at next.
                if !self.sees_another_directory(&node) {
                    self.refusals().remove(key);
                }
                peer.node = Some(*node);
            }
            Probe::Refused(why) => {
                self.refuse(key, why);
                peer.node = None;
            }
            Probe::Fails => peer.node = None,
            Probe::Late => {
                peer.late += 1;
                peer.node.take_if(|_| peer.late >= LATE_PROBES);
            }
        }
        let answers = peer.node.is_some();
        let (listed, past) = (peer.is_listed(), peer.is_past_grace(self.now()));
        self.publish(&members);
        let is_refused = self.refusals().contains_key(key);
        if past || !listed && (!answers || is_refused) {
            members.remove(key);
            self.refusals().remove(key);
            self.publish(&members);
            return None;
        }
        Some(is_late && answers)
    }

    /// Makes the nodes that answer, and see our directory, those that are asked.
    pub(super) fn publish(&self, members: &BTreeMap<String, Peer>) {
        let before = self.nodes();
        // All or none of those that are there from the beginning: whoever answers first is not to have all the work.
        if before.by_name.is_empty() && members.values().any(|peer| !peer.asked) {
            return;
        }
        let found = members.values().filter_map(|peer| peer.node.clone()).collect();
        let found = self.of_one_directory(found);
        // Who a node is, it says itself: discovery may know it by its address only, or by two of them.
        let mut by_name: BTreeMap<String, Node> = found.into_iter().map(|n| (n.name.clone(), n)).collect();
        for node in by_name.values_mut() {
            match before.by_name.get(&node.name) {
                Some(known) if known.address == node.address => {
                    node.gone = known.gone.clone();
                    node.health = Arc::clone(&known.health);
                }
                // What it was asked where it was before is asked again.
                Some(known) => known.gone.cancel(),
                None => {}
            }
            // It may have been there before, and gone.
            if node.gone.is_cancelled() {
                node.gone = CancellationToken::new();
            }
        }
        let writes = |nodes: &BTreeMap<String, Node>| nodes.values().any(|node| node.writable);
        let writer_lost = writes(&before.by_name) && !writes(&by_name);
        self.take(by_name, &before);
        if writer_lost {
            hurry(members, |node| node.standby);
        }
    }
}
