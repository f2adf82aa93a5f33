//! What each role is made of: build binds, run serves, drain ends.

use crate::config::Config;
use crate::parts::{Base, connect_grpc, connect_local};
use crate::peers::Peers;
use crate::{client_server, discovery, election, node_server, ops, shutdown};
use mishards_discovery::{Announced, Discovery};
use mishards_node::{Node, Others};
use mishards_proto::off_worker::OffWorker;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Everything in one process.
pub async fn standalone(config: Config) -> Result<(), String> {
    let base = Base::new(config, "standalone")?;
    let lock = base.lock.get()?;
    let (clients, ops_port) = (base.bind("server.listen").await?, base.bind("server.ops_listen").await?);
    let stop = shutdown::on_signal()?;
    let (node, mut parts) = base.node()?;
    if base.is_local()? {
        parts.others = Others::Lock(lock);
    }
    let name = base.config.text("node.name").to_owned();
    let (discovery, connect) = connect_local(&name, node.clone());
    let router = base.router(discovery, connect, None)?;
    tokio::spawn(ops::serve(
        ops_port,
        base.registry.clone(),
        ops::ready(&stop, Some(Arc::clone(&router)), Some(node.clone())),
        Some(Arc::clone(&router)),
        CancellationToken::new(),
    ));
    let writer = node.become_writer(parts.clone()).await.map_err(|e| e.to_string())?;
    tracing::info!(address = base.config.text("server.listen"), data_dir = %base.shared_dir().display(), "serving Milvus clients");
    let max = base.config.number("protocol.max_request_bytes")? as usize;
    let serve = client_server::serve(clients, router, max, stop.clone());
    let patience = base.config.duration("server.drain_seconds")?;
    let terms = election::stay_writer(&node, &parts, &base, None, writer);
    let served = until_done(serve, Some((&node, terms)), &stop, patience).await;
    node.drain().await;
    served
}

/// A router of a cluster.
pub async fn router(config: Config) -> Result<(), String> {
    let base = Base::new(config, "router")?;
    let (clients, ops_port) = (base.bind("server.listen").await?, base.bind("server.ops_listen").await?);
    let stop = shutdown::on_signal()?;
    let router = base.router(base.discovery()?, connect_grpc(), Some(base.catalog()?))?;
    let ready = ops::ready(&stop, Some(Arc::clone(&router)), None);
    let shown = Some(Arc::clone(&router));
    tokio::spawn(ops::serve(ops_port, base.registry.clone(), ready, shown, CancellationToken::new()));
    tracing::info!(address = base.config.text("server.listen"), "serving Milvus clients");
    let max = base.config.number("protocol.max_request_bytes")? as usize;
    let closing = after(stop, base.config.duration("server.leave_seconds")?);
    let serve = client_server::serve(clients, router, max, closing.clone());
    until_done(serve, READS_ONLY, &closing, base.config.duration("server.drain_seconds")?).await
}

/// The writable node of a cluster: stands by while another one writes, and answers like a read-only node until then.
pub async fn writable_node(config: Config) -> Result<(), String> {
    let base = Base::new(config, "node")?;
    let (api, ops_port) = (base.bind("server.listen").await?, base.bind("server.ops_listen").await?);
    let stop = shutdown::on_signal()?;
    let (node, parts) = base.node()?;
    let discovery = base.discovery()?;
    node.stand_by();
    let ready = ops::ready(&stop, None, Some(node.clone()));
    tokio::spawn(ops::serve(ops_port, base.registry.clone(), ready, None, CancellationToken::new()));
    node.look_at_directory().await.map_err(|e| e.to_string())?;
    if let Some(presence) = base.presence()? {
        node.found_by(presence);
    }
    let peers = base.peers(&discovery)?;
    let follow = tokio::spawn(node.follow_log(Arc::clone(&peers) as _, parts.ingest.window));
    tokio::spawn(node.tidy());
    let announced = announce(&base, discovery)?;
    let patience = base.config.duration("server.drain_seconds")?;
    let serve = tokio::spawn(leave_first(
        announced,
        stop.clone(),
        node_server::serve(api, node.clone(), stop.clone()),
    ));
    let served = async { serve.await.map_err(|e| e.to_string())? };
    tracing::info!(address = base.config.text("server.listen"), "standing by to be the writable node");
    let elected = async {
        let writer = election::become_writer(&node, &parts, &base).await;
        follow.abort();
        writer
    };
    let writer = tokio::select! {
        writer = elected => writer?,
        () = stop.cancelled() => return until_done(served, READS_ONLY, &stop, patience).await,
    };
    tracing::info!(address = base.config.text("server.listen"), "serving as the writable node");
    let terms = election::stay_writer(&node, &parts, &base, Some(peers), writer);
    let served = until_done(served, Some((&node, terms)), &stop, patience).await;
    node.drain().await;
    served
}

/// A read-only node of a cluster.
pub async fn readonly_node(config: Config) -> Result<(), String> {
    let base = Base::new(config, "node")?;
    let (api, ops_port) = (base.bind("server.listen").await?, base.bind("server.ops_listen").await?);
    let stop = shutdown::on_signal()?;
    let (node, _) = base.node()?;
    let discovery = base.discovery()?;
    if let Some(presence) = base.presence()? {
        node.found_by(presence);
    }
    start_reading(&node, base.peers(&discovery)?).await?;
    let ready = ops::ready(&stop, None, Some(node.clone()));
    tokio::spawn(ops::serve(ops_port, base.registry.clone(), ready, None, CancellationToken::new()));
    tracing::info!(address = base.config.text("server.listen"), "serving as a read-only node");
    let announced = announce(&base, discovery)?;
    // It says that it leaves, and goes on answering while others open what it holds.
    let closing = after(stop.clone(), base.config.duration("node.leave_seconds")?);
    let (leaving, asked) = (node.clone(), stop.clone());
    tokio::spawn(async move {
        asked.cancelled().await;
        leaving.leave();
    });
    let serve = node_server::serve(api, node, closing.clone());
    let serve = leave_first(announced, stop, serve);
    until_done(serve, READS_ONLY, &closing, base.config.duration("server.drain_seconds")?).await
}

/// Begins what a read-only node does besides answering.
pub async fn start_reading(node: &Node, peers: Arc<Peers>) -> Result<(), String> {
    // First of all: one that sees no mark, or that of another cluster, is not to answer.
    node.look_at_directory().await.map_err(|e| e.to_string())?;
    // Many deletes at once take their time to apply.
    tokio::spawn(OffWorker::new(node.follow(peers)));
    tokio::spawn(node.tidy());
    Ok(())
}

/// A token that is cancelled a while after another.
fn after(stop: CancellationToken, wait: Duration) -> CancellationToken {
    let later = CancellationToken::new();
    let cancelled = later.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        tokio::time::sleep(wait).await;
        cancelled.cancel();
    });
    later
}

/// Tells the others that this node is there.
fn announce(base: &Base, discovery: Arc<dyn Discovery>) -> Result<Announced, String> {
    Ok(Announced::start(discovery, discovery::advertised(&base.config)?, discovery::ttl(&base.config)?))
}

/// Takes the announcement back as soon as a stop is asked for, while the server drains.
async fn leave_first(
    announced: Announced,
    stop: CancellationToken,
    serve: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let leave = async {
        stop.cancelled().await;
        announced.leave().await;
    };
    let (served, ()) = tokio::join!(serve, leave);
    served
}

/// Of a process that never writes.
const READS_ONLY: Option<(&Node, std::future::Pending<String>)> = None;

/// Runs a server until it has drained, the drain has taken too long, or its node, which writes, cannot do so any more.
async fn until_done(
    serve: impl Future<Output = Result<(), String>>,
    writing: Option<(&Node, impl Future<Output = String>)>,
    stop: &CancellationToken,
    patience: Duration,
) -> Result<(), String> {
    let (node, terms) = writing.unzip();
    let overdue = async {
        stop.cancelled().await;
        if let Some(node) = node {
            node.end_streams();
        }
        tokio::time::sleep(patience).await;
    };
    let ended = async {
        match terms {
            // Whoever is asked to stop begins no new term.
            Some(terms) => stop.run_until_cancelled(terms).await,
            None => None,
        }
    };
    let ended = async {
        match ended.await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        served = serve => served,
        () = overdue => {
            tracing::warn!("some requests did not end in time and were cut off");
            Ok(())
        }
        why = ended => Err(why),
    }
}
