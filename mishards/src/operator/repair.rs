//! `mishards repair`: what is missing of the log of a cluster whose writable node is stopped, and how it is given up.

use crate::config::Config;
use crate::parts::Base;
use mishards_node::{Others, WriterParts, find_losses};
use std::sync::Arc;

/// Prints what is missing, a line each. With `accept_loss` it is given up: a writer takes over, writes everything that is
/// left to files, and ends.
pub async fn repair(config: Config, accept_loss: bool) -> Result<(), String> {
    let base = Base::new(config, "repair")?;
    // A writable node of this host that still runs has the lock.
    let lock = base.lock.get()?;
    let (node, parts) = base.node()?;
    let found = find_losses(&parts).await.map_err(|e| e.to_string())?;
    if found.is_empty() {
        println!("nothing is missing: the writable node can be started");
        return Ok(());
    }
    found.iter().for_each(|line| println!("missing: {line}"));
    if !accept_loss {
        return Err(format!(
            "{} findings, nothing was changed. Put back what is missing and run this again, or give it up with \
             `mishards repair --accept-loss`",
            found.len()
        ));
    }
    let others = if base.is_local()? { Others::Lock(Arc::clone(&lock)) } else { Others::Unknown };
    println!("taking over; elsewhere than on a local file system this waits for the lease");
    let parts = WriterParts { others, accept_losses: true, ..parts };
    let writer = node.become_writer(parts).await.map_err(|e| e.to_string())?;
    writer.losses().iter().for_each(|line| println!("given up: {line}"));
    writer.write_out().await.map_err(|e| e.to_string())?;
    let rows: u64 = writer.view().snapshot.segments().map(|s| u64::from(s.rows)).sum();
    writer.drain().await;
    println!("everything that is left is in files ({rows} rows): start the writable node as usual");
    Ok(())
}
