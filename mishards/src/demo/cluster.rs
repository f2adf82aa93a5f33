//! The demo's cluster: four parts in one process, each behind its own port, found by the static plugin.

use super::Client;
use crate::config;
use crate::parts::{Base, connect_grpc};
use crate::{client_server, node_server, roles};
use mishards_discovery::{Discovery, StaticList};
use mishards_node::Others;
use mishards_proto::milvus::milvus_service_client::MilvusServiceClient;
use mishards_proto::milvus::{SearchRequest, SearchResults};
use mishards_router::{Call, Coverage, Router};
use mishards_types::{Clock, limits};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running cluster; ends with the process.
pub struct DemoCluster {
    pub address: String,
    pub clock: Arc<dyn Clock>,
    router: Arc<Router>,
}

impl DemoCluster {
    pub async fn start(dir: &Path) -> Result<DemoCluster, String> {
        let names = ["writer", "reader-1", "reader-2"];
        let mut ports = Vec::new();
        for _ in 0..=names.len() {
            ports.push(
                TcpListener::bind("127.0.0.1:0")
                    .await
                    .map_err(|e| format!("cannot listen on loopback: {e}"))?,
            );
        }
        let address_of =
            |port: &TcpListener| port.local_addr().map(|a| a.to_string()).map_err(|e| e.to_string());
        let clients = ports.pop().ok_or("no port")?;
        let address = address_of(&clients)?;
        let entries: Vec<String> = names
            .iter()
            .zip(&ports)
            .map(|(n, p)| Ok(format!("{n}={}", address_of(p)?)))
            .collect::<Result<_, String>>()?;
        let list: Arc<dyn Discovery> = Arc::new(StaticList::parse(&entries).map_err(|e| e.to_string())?);
        for (name, port) in names.into_iter().zip(ports) {
            start_node(dir, name, port, &list).await?;
        }
        let base = base(dir, "router")?;
        let router = base.router(list, connect_grpc(), Some(base.catalog()?))?;
        let serving = Arc::clone(&router);
        tokio::spawn(client_server::serve(clients, serving, limits::RECV_BYTES, CancellationToken::new()));
        let started = base.clock.elapsed();
        let whole = |router: &Router| {
            let status = router.status();
            status.nodes.len() == names.len() && status.nodes.iter().all(|node| node.state == "serving")
        };
        while !router.is_ready() || !whole(&router) {
            if base.clock.elapsed().saturating_sub(started) > READY_WITHIN {
                let unused = router.status().unused;
                return Err(format!("the demo's cluster did not become ready; not used: {unused:?}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(DemoCluster { address, clock: base.clock, router })
    }

    pub async fn client(&self) -> Result<Client, String> {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.address)).map_err(|e| e.to_string())?;
        let channel =
            endpoint.connect().await.map_err(|e| format!("cannot connect to the demo's router: {e}"))?;
        Ok(MilvusServiceClient::new(channel).max_decoding_message_size(limits::SEND_BYTES))
    }

    /// A search as the router runs it for a client, and who did what for it.
    pub async fn search(&self, request: SearchRequest) -> Result<(SearchResults, Coverage), String> {
        let call = Call::default();
        let results = self.router.search(&call, request).await.map_err(|e| format!("searching: {e}"))?;
        Ok((results, call.coverage()))
    }
}

fn base(dir: &Path, name: &str) -> Result<Base, String> {
    let shared = dir.to_string_lossy().into_owned();
    // Small segments, so that both readers have something to do.
    let settings = [
        ("cluster.shared_dir", Some(shared)),
        ("node.name", Some(name.to_owned())),
        ("ingest.seal_rows", Some("1250".to_owned())),
        ("ingest.merge_max_rows", Some("0".to_owned())),
    ];
    Base::new(config::load(None, &settings)?, "demo")
}

async fn start_node(
    dir: &Path,
    name: &str,
    port: TcpListener,
    list: &Arc<dyn Discovery>,
) -> Result<(), String> {
    let base = base(dir, name)?;
    let (node, mut parts) = base.node()?;
    if name == "writer" {
        // The directory is this demo's own.
        parts.others = Others::Dead;
        node.become_writer(parts).await.map_err(|e| e.to_string())?;
    } else {
        roles::start_reading(&node, base.peers(list)?).await?;
    }
    tokio::spawn(node_server::serve(port, node, CancellationToken::new()));
    Ok(())
}
