//! The other nodes of the cluster, as discovery names them: a node follows whichever of them is the writer now.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_discovery::{Discovery, Event, Member};
use mishards_node::DeleteSource;
use mishards_proto::node::{DeletesUpdate, WatchDeletesRequest};
use mishards_router::GrpcNode;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type Clients = BTreeMap<String, (String, Arc<GrpcNode>)>;

/// See the file's head.
pub struct Peers {
    /// This node's name: it does not follow itself.
    own: String,
    /// Address and client of each.
    clients: Mutex<Clients>,
}

impl Peers {
    /// Follows discovery until the runtime ends.
    pub fn follow(discovery: &Arc<dyn Discovery>, own: &str) -> Arc<Peers> {
        let peers = Arc::new(Peers { own: own.to_owned(), clients: Mutex::default() });
        let (following, mut events) = (Arc::clone(&peers), discovery.watch());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                following.apply(event);
            }
        });
        peers
    }

    fn apply(&self, event: Event) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Reset(members) => {
                let mut kept = std::mem::take(&mut *clients);
                for member in members {
                    match kept.remove(&member.name).filter(|(address, _)| *address == member.address) {
                        Some(same) => drop(clients.insert(member.name, same)),
                        None => add(&mut clients, member),
                    }
                }
            }
            Event::Add(member) => add(&mut clients, member),
            Event::Remove(name) => drop(clients.remove(&name)),
        }
    }

    fn all(&self) -> Vec<Arc<GrpcNode>> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let others = clients.iter().filter(|(name, _)| **name != self.own);
        others.map(|(_, (_, client))| Arc::clone(client)).collect()
    }
}

fn add(clients: &mut Clients, member: Member) {
    match GrpcNode::new(&member.name, &member.address) {
        Ok(client) => drop(clients.insert(member.name, (member.address, Arc::new(client)))),
        Err(e) => {
            tracing::error!(node = %member.name, address = %member.address, error = %e, "this address cannot be used");
        }
    }
}

#[tonic::async_trait]
impl DeleteSource for Peers {
    async fn watch_deletes(
        &self,
    ) -> Result<BoxStream<'static, Result<DeletesUpdate, tonic::Status>>, tonic::Status> {
        let mut last = tonic::Status::unavailable("discovery names no other node");
        for peer in self.all() {
            match peer.client().watch_deletes(WatchDeletesRequest { epoch: 0 }).await {
                Ok(stream) => return Ok(Box::pin(stream.into_inner())),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}
