//! Whether this router can answer, and why not; what needs a look though it can.

use super::Router;
use crate::topology::Node;
use std::time::Duration;

/// A copy of the catalog that nobody has confirmed for so long, and a node that has not heard the writable node for so long,
/// are old.
const OLD: Duration = Duration::from_secs(60);

impl Router {
    /// Why requests cannot be answered now, each reason a line; empty when they can.
    pub fn not_ready(&self) -> Vec<String> {
        let unread =
            "the catalog has not been read yet: neither the writable node nor the database has given it"
                .to_owned();
        let mut reasons: Vec<String> = (!self.catalog.is_ready()).then_some(unread).into_iter().collect();
        reasons.extend(self.topology.not_ready());
        reasons
    }

    /// Whether requests can be answered now.
    pub fn is_ready(&self) -> bool {
        self.not_ready().is_empty()
    }

    /// What needs a look, though requests are answered.
    pub fn warnings(&self) -> Vec<String> {
        let nodes = self.topology.nodes();
        let writes = nodes.writer().is_some();
        let waits = "no writable node answers: writes, and reads that need the newest rows, wait".to_owned();
        let mut warnings: Vec<String> = (!writes).then_some(waits).into_iter().collect();
        warnings.extend(self.catalog_warning());
        warnings.extend(nodes.by_name.values().flat_map(|node| of_node(node, writes)));
        warnings
    }

    fn catalog_warning(&self) -> Option<String> {
        if !self.catalog.is_ready() {
            return None;
        }
        match self.catalog.age(self.clock.elapsed()) {
            None => Some("the catalog is the one kept on disk: nobody has confirmed it yet".to_owned()),
            Some(age) if age > OLD => Some(format!(
                "the catalog is old: neither the writable node nor the database has confirmed it for {} s",
                age.as_secs()
            )),
            Some(_) => None,
        }
    }
}

/// What a node says of itself that needs a look. `writes` says that a writable node answers.
fn of_node(node: &Node, writes: bool) -> Vec<String> {
    let (name, said) = (&node.name, &node.said);
    let mut warnings = Vec::new();
    for (what, segments) in
        [("damaged", said.quarantined_segments), ("without a file", said.incomplete_segments)]
    {
        if segments > 0 {
            warnings
                .push(format!("node {name} has segments that are {what}: {segments}; its log names them"));
        }
    }
    let silent = said.heard_ago_ms.map(Duration::from_millis).filter(|ago| *ago > OLD);
    if let Some(ago) = silent.filter(|_| writes && !node.writable) {
        warnings.push(format!(
            "node {name} has not heard the writable node for {} s: reads that need newer deletes go elsewhere",
            ago.as_secs()
        ));
    }
    warnings
}
