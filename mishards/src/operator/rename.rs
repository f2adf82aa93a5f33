//! `mishards rename`: makes a copy of a cluster one of its own.

use crate::config::Config;
use crate::parts::Base;
use mishards_node::rename_cluster;

/// Gives the catalog and the shared directory of the settings another name, and forgets the nodes that were copied along.
pub async fn rename(config: Config, name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name != name.trim() {
        return Err("the new name must not be empty, and must not begin or end with a space".to_owned());
    }
    let base = Base::new(config, "rename")?;
    let _lock = base.lock.get()?;
    let (_, parts) = base.node()?;
    println!("waiting for {:.0} s to see that no node writes", parts.ingest.lease_ttl.as_secs_f64() + 1.0);
    let before = rename_cluster(&parts, name).await.map_err(|e| e.to_string())?;
    base.forget_nodes().await?;
    println!(
        "the cluster {before:?} of this catalog and directory is {name:?} now: set cluster.id = {name:?} for its routers and \
         nodes, and start them"
    );
    Ok(())
}
