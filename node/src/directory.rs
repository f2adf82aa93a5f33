//! The marker file of the shared directory: by it a node knows that what is mounted is the directory of its cluster, and a
//! router that all nodes see the same one.

use crate::{Failure, Result};
use mishards_storage::{Kind, Storage};
use mishards_types::{Entropy, Incarnation, checksum};

/// Its name. Written once, by the first writer of a cluster.
pub const MARKER: &str = "cluster";
const TITLE: &str = "mishards shared directory, format ";
/// The newest format that is read here, and the one that is written. It is that of all files of the directory which have
/// none of their own, such as the epoch marker.
const FORMAT: u32 = 1;

/// The id of the directory; `None` when it has no marker yet. One of another cluster, or a damaged one, is an error.
pub fn directory_id(storage: &dyn Storage, cluster: &str) -> Result<Option<u64>> {
    let bytes = match storage.read(MARKER) {
        Ok(bytes) => bytes,
        Err(e) if e.kind == Kind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let damaged = || {
        Failure::unreadable(format!(
            "{MARKER}: the marker of the shared directory cannot be read: restore the file from a copy"
        ))
    };
    let (format, rest) = body_of(&text).ok_or_else(damaged)?;
    if format > FORMAT {
        return Err(Failure::internal(format!(
            "{MARKER}: the shared directory was written by a newer version (format {format}, this version reads up to \
             {FORMAT}): use a newer mishards"
        )));
    }
    let (theirs, id) = parse(rest).ok_or_else(damaged)?;
    if theirs != cluster {
        return Err(Failure::internal(format!(
            "the shared directory belongs to cluster {theirs:?}, this node to {cluster:?}: correct cluster.shared_dir or \
             cluster.id"
        )));
    }
    Ok(Some(id))
}

/// The file that says that a writer is about to mark the directory: should it die in between, its successor knows by its
/// incarnation, which the catalog has, that this is the directory.
fn intent(incarnation: Incarnation) -> String {
    format!("{MARKER}-{incarnation}")
}

/// Before the lease is taken: sees that the directory is that of this cluster. One without a marker is accepted only when
/// the catalog has had no writer, or has one that was about to mark this very directory. `incarnation` is that of the
/// writer to be, `logs` those of the writers that the catalog knows.
pub fn claim_directory(
    storage: &dyn Storage,
    cluster: &str,
    is_new: bool,
    logs: &[Incarnation],
    incarnation: Incarnation,
) -> Result<()> {
    if directory_id(storage, cluster)?.is_some() {
        return Ok(());
    }
    let was_claimed = || logs.iter().any(|log| storage.read(&intent(*log)).is_ok());
    if !is_new && !was_claimed() {
        return Err(Failure::internal(format!(
            "the shared directory has no file {MARKER:?}, though this cluster has written to its directory before: it is another \
             one. Mount the right one, or correct cluster.shared_dir"
        )));
    }
    Ok(storage.put(&intent(incarnation), &[])?)
}

/// After the lease was taken: marks the directory, unless it is marked.
pub fn mark_directory(
    storage: &dyn Storage,
    cluster: &str,
    incarnation: Incarnation,
    entropy: &dyn Entropy,
) -> Result<()> {
    if directory_id(storage, cluster)?.is_none() {
        // Never 0, which says that there is none. Whole or not at all, for other nodes look at it any time.
        let text = text_of(cluster, entropy.next_u64() | 1);
        storage.replace(MARKER, text.as_bytes())?;
    }
    Ok(storage.remove(&intent(incarnation))?)
}

/// Marks the directory as another cluster's, with another id: a copy becomes a directory of its own.
pub fn rename_directory(storage: &dyn Storage, cluster: &str, entropy: &dyn Entropy) -> Result<()> {
    let text = text_of(cluster, entropy.next_u64() | 1);
    Ok(storage.replace(MARKER, text.as_bytes())?)
}

fn text_of(cluster: &str, id: u64) -> String {
    with_checksum(&format!("{TITLE}{FORMAT}\ncluster: {cluster}\nid: {id:016x}\n"))
}

fn with_checksum(body: &str) -> String {
    let sum = checksum(body.as_bytes());
    format!("{body}checksum: {sum:016x}\n")
}

/// The format and what stands behind it; `None` when the checksum does not fit. Title and checksum are the same in every
/// format.
fn body_of(text: &str) -> Option<(u32, &str)> {
    let (body, sum) = text.split_at_checked(text.rfind("checksum: ")?)?;
    let sum = u64::from_str_radix(sum.strip_prefix("checksum: ")?.trim_end(), 16).ok()?;
    if sum != checksum(body.as_bytes()) {
        return None;
    }
    let (format, rest) = body.strip_prefix(TITLE)?.split_once('\n')?;
    Some((format.parse().ok()?, rest))
}

/// Cluster and id, of our format.
fn parse(rest: &str) -> Option<(&str, u64)> {
    let (cluster, id) = rest.strip_prefix("cluster: ")?.rsplit_once("\nid: ")?;
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

    const A: Incarnation = Incarnation(0xa);
    const B: Incarnation = Incarnation(0xb);

    #[test]
    fn a_new_directory_is_marked_once_and_another_cluster_s_is_refused() {
        let disk = Memory::new();
        assert_eq!(directory_id(&disk, "a b").unwrap(), None);
        claim_directory(&disk, "a b", true, &[], A).unwrap();
        mark_directory(&disk, "a b", A, &Sevens).unwrap();
        claim_directory(&disk, "a b", false, &[A], B).unwrap();
        mark_directory(&disk, "a b", B, &Sevens).unwrap();
        assert_eq!(directory_id(&disk, "a b").unwrap(), Some(0x7777));
        assert!([A, B].iter().all(|i| disk.read(&intent(*i)).is_err()), "nothing but the marker is left");
        let refused = claim_directory(&disk, "other", true, &[], B).unwrap_err();
        assert!(refused.error.message.contains("\"a b\"") && refused.error.message.contains("\"other\""));
    }

    #[test]
    fn a_renamed_directory_is_another_cluster_s() {
        let disk = Memory::new();
        mark_directory(&disk, "original", A, &Sevens).unwrap();
        rename_directory(&disk, "copy", &Sevens).unwrap();
        assert_eq!(directory_id(&disk, "copy").unwrap(), Some(0x7777));
        assert!(directory_id(&disk, "original").unwrap_err().to_string().contains("\"copy\""));
    }

    #[test]
    fn a_directory_without_a_marker_is_not_the_one_that_the_catalog_means() {
        let disk = Memory::new();
        let refused = claim_directory(&disk, "c", false, &[A], B).unwrap_err();
        assert!(refused.error.message.contains("Mount the right one"), "{refused}");
        assert!(disk.read(MARKER).is_err() && disk.read(&intent(B)).is_err(), "nothing is changed");
    }

    #[test]
    fn a_writer_that_died_before_it_marked_the_directory_has_a_successor() {
        let (disk, wrong) = (Memory::new(), Memory::new());
        claim_directory(&disk, "c", true, &[], A).unwrap();
        // Another one claims another directory, and does not get the lease.
        claim_directory(&wrong, "c", true, &[], B).unwrap();
        assert!(claim_directory(&wrong, "c", false, &[A], Incarnation(0xc)).is_err());
        claim_directory(&disk, "c", false, &[A], Incarnation(0xc)).unwrap();
    }

    #[test]
    fn a_marker_of_a_newer_version_is_not_called_damaged() {
        let disk = Memory::new();
        disk.put(MARKER, &[with_checksum(&format!("{TITLE}2\nnothing: known\n")).as_bytes()]).unwrap();
        for refused in [
            directory_id(&disk, "c").map(drop).unwrap_err(),
            claim_directory(&disk, "c", true, &[], A).unwrap_err(),
        ] {
            let text = &refused.error.message;
            assert!(text.contains("newer version (format 2, this version reads up to 1)"), "{text}");
            assert!(text.contains("use a newer mishards") && !text.contains("restore"), "{text}");
        }
        // Ours without what belongs to it is damage, whatever its checksum says.
        disk.replace(MARKER, with_checksum(&format!("{TITLE}1\nnothing: known\n")).as_bytes()).unwrap();
        assert_eq!(directory_id(&disk, "c").unwrap_err().error.code, Code::INTEGRITY);
    }

    #[test]
    fn a_damaged_marker_is_named() {
        let text = text_of("c", 5);
        assert_eq!(parse(body_of(&text).unwrap().1), Some(("c", 5)));
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
