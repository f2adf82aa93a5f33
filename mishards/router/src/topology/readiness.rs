//! What keeps a router from answering, as far as nodes go: who is missing, and why.

use super::Topology;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Members that a reason names.
const NAMED: usize = 20;

impl Topology {
    /// Members that are not used: refused ones with the reason, and those that do not answer.
    pub fn unused(&self) -> BTreeMap<String, String> {
        let mut unused = self.refused();
        for member in self.unanswering() {
            unused.entry(member.name).or_insert_with(|| format!("{} does not answer", member.address));
        }
        unused
    }

    /// Why no request can be answered; empty once the whole cluster was there, as long as any node answers: searches do not
    /// need the writer.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.writer_seen.load(Ordering::Relaxed) {
            reasons.push("no writable node has answered since this process began".to_owned());
        }
        if self.nodes().by_name.is_empty() {
            reasons.push(match self.listed().len() {
                0 => "no node: discovery names none".to_owned(),
                named => format!("no node: none of the {named} that discovery names can be used"),
            });
        }
        if !reasons.is_empty() {
            let unused = self.unused();
            reasons.extend(unused.iter().take(NAMED).map(|(name, why)| format!("node {name}: {why}")));
        }
        reasons
    }
}
