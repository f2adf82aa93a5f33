//! The marker file of the shared directory: by it a node knows that what is mounted is the directory of its cluster, and a
//! router that all nodes see the same one.

use crate::{Failure, Result};
use mishards_storage::{Kind, Storage};
use mishards_types::{Entropy, checksum};

/// Its name. Written once, by the first writer of a cluster.
pub const MARKER: &str = "cluster";
const TITLE: &str = "mishards shared directory, format 1";

/// The id of the directory; `None` when it has no marker yet. One of another cluster, or a damaged one, is an error.
pub fn directory_id(storage: &dyn Storage, cluster: &str) -> Result<Option<u64>> {
    let bytes = match storage.read(MARKER) {
        Ok(bytes) => bytes,
        Err(e) if e.kind == Kind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let (theirs, id) = parse(&text).ok_or_else(|| {
        Failure::unreadable(format!(
            "{MARKER}: the marker of the shared directory cannot be read: restore the file from a copy"
        ))
    })?;
    if theirs != cluster {
        return Err(Failure::internal(format!(
            "the shared directory belongs to cluster {theirs:?}, this node to {cluster:?}: correct cluster.shared_dir or \
             cluster.id"
        )));
    }
    Ok(Some(id))
}

/// Makes sure that the directory is marked. One without a marker is taken only when nothing of the catalog is to be in it
/// (`is_new`).
pub fn mark_directory(
    storage: &dyn Storage,
    cluster: &str,
    is_new: bool,
    entropy: &dyn Entropy,
) -> Result<u64> {
    if let Some(id) = directory_id(storage, cluster)? {
        return Ok(id);
    }
    if !is_new {
        return Err(Failure::internal(format!(
            "the shared directory has no file {MARKER:?}, though the catalog names files in it: it is not the directory of \
             this cluster. Mount the right one, or correct cluster.shared_dir"
        )));
    }
    // Never 0, which says that there is none.
    let text = text_of(cluster, entropy.next_u64() | 1);
    // Whole or not at all, for other nodes look at it any time. Of two writers that start a cluster at once the later one
    // names the directory; who has seen the earlier name looks again.
    storage.replace(MARKER, text.as_bytes())?;
    directory_id(storage, cluster)?.ok_or_else(|| {
        Failure::unreadable(format!("{MARKER}: the marker of the shared directory has gone again"))
    })
}

fn text_of(cluster: &str, id: u64) -> String {
    let body = format!("{TITLE}\ncluster: {cluster}\nid: {id:016x}\n");
    let sum = checksum(body.as_bytes());
    format!("{body}checksum: {sum:016x}\n")
}

fn parse(text: &str) -> Option<(&str, u64)> {
    let (body, sum) = text.split_at_checked(text.rfind("checksum: ")?)?;
    let sum = u64::from_str_radix(sum.strip_prefix("checksum: ")?.trim_end(), 16).ok()?;
    if sum != checksum(body.as_bytes()) {
        return None;
    }
    let rest = body.strip_prefix(TITLE)?.strip_prefix("\ncluster: ")?;
    let (cluster, id) = rest.rsplit_once("\nid: ")?;
    Some((cluster, u64::from_str_radix(id.trim_end(), 16).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use mishards_storage::Memory;
    use mishards_types::Code;

    struct Sevens;

    impl Entropy for Sevens {
        fn next_u64(&self) -> u64 {
            0x7777
        }
    }

    #[test]
    fn a_new_directory_is_marked_once_and_another_cluster_s_is_refused() {
        let disk = Memory::new();
        assert_eq!(directory_id(&disk, "a b").unwrap(), None);
        assert_eq!(mark_directory(&disk, "a b", true, &Sevens).unwrap(), 0x7777);
        assert_eq!(mark_directory(&disk, "a b", false, &Sevens).unwrap(), 0x7777);
        let refused = mark_directory(&disk, "other", true, &Sevens).unwrap_err();
        assert!(refused.error.message.contains("\"a b\"") && refused.error.message.contains("\"other\""));
    }

    #[test]
    fn a_directory_without_a_marker_is_not_the_one_that_the_catalog_means() {
        let disk = Memory::new();
        let refused = mark_directory(&disk, "c", false, &Sevens).unwrap_err();
        assert!(refused.error.message.contains("Mount the right one"), "{refused}");
        assert!(disk.read(MARKER).is_err(), "nothing is changed");
    }

    #[test]
    fn a_damaged_marker_is_named() {
        let text = text_of("c", 5);
        assert_eq!(parse(&text), Some(("c", 5)));
        for i in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[i] ^= 1;
            let disk = Memory::new();
            disk.put(MARKER, &[&bytes]).unwrap();
            let failure = directory_id(&disk, "c").unwrap_err();
            assert_eq!(failure.error.code, Code::INTEGRITY, "byte {i}");
            assert!(failure.error.message.contains(MARKER));
        }
    }
}
