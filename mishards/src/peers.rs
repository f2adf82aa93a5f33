//! The other nodes of the cluster, as discovery names them: a node follows whichever of them is the writer now.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_discovery::{Discovery, Event, Member};
use mishards_node::{DeleteSource, LogSource};
use mishards_proto::node::{DeletesUpdate, LogUpdate, WatchDeletesRequest, WatchLogRequest};
use mishards_router::{GrpcNode, Identity, NodeClient, Proof};
use mishards_types::Clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Clients = BTreeMap<String, Arc<Peer>>;

/// Another node.
struct Peer {
    name: String,
    address: String,
    client: GrpcNode,
    proof: Proof,
}

const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked who the writer is.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// See the file's head. Clones share the clients.
#[derive(Clone)]
pub struct Peers {
    /// This node's name: it does not follow itself.
    own: String,
    clients: Arc<Mutex<Clients>>,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
}

impl Peers {
    /// Follows discovery until the runtime ends.
    pub fn follow(
        discovery: &Arc<dyn Discovery>,
        own: &str,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Arc<Peers> {
        let identity = Arc::new(identity);
        let peers = Arc::new(Peers { own: own.to_owned(), clients: Arc::default(), identity, clock });
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
                    match kept.remove(&member.name).filter(|peer| peer.address == member.address) {
                        Some(same) => drop(clients.insert(member.name, same)),
                        None => add(&mut clients, member),
                    }
                }
            }
            Event::Add(member) => add(&mut clients, member),
            Event::Remove(name) => drop(clients.remove(&name)),
        }
    }

    fn all(&self) -> Vec<Arc<Peer>> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.values().filter(|peer| peer.name != self.own).cloned().collect()
    }
}

fn add(clients: &mut Clients, Member { name, address }: Member) {
    match GrpcNode::new(&name, &address) {
        Ok(client) => {
            let peer = Peer { name: name.clone(), address, client, proof: Proof::default() };
            clients.insert(name, Arc::new(peer));
        }
        Err(e) => {
            tracing::error!(node = %name, %address, error = %e, "this address cannot be used");
        }
    }
}

impl Peers {
    /// The writable node of the highest term: its client and term.
    async fn newest(&self) -> Option<(Arc<Peer>, u64)> {
        let asked = self.all().into_iter().map(|peer| async move {
            let said = tokio::time::timeout(PATIENCE, peer.client.describe()).await.ok()?.ok()?;
            if !said.writable {
                return None;
            }
            let member: (&str, &dyn NodeClient) = (&peer.name, &peer.client);
            match peer.proof.check(&self.identity, member, &said, self.clock.elapsed()).await {
                Ok(()) => Some((peer, said.epoch)),
                Err(why) => {
                    tracing::warn!(node = %peer.name, why, "this writer is not followed");
                    None
                }
            }
        });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().flatten().max_by_key(|(_, epoch)| *epoch)
    }

    /// Who writes now, or why nobody can be followed.
    async fn writer(&self) -> Result<(Arc<Peer>, u64), tonic::Status> {
        let none = || tonic::Status::unavailable("no other node that discovery names is the writer");
        self.newest().await.ok_or_else(none)
    }

    /// Ends a stream of the writer of an epoch when another one has taken over.
    fn until_overtaken<T: Send + 'static>(
        &self,
        stream: tonic::Streaming<T>,
        epoch: u64,
    ) -> BoxStream<'static, Result<T, tonic::Status>> {
        let peers = self.clone();
        let overtaken = async move {
            loop {
                tokio::time::sleep(CHECK_EVERY).await;
                if peers.newest().await.is_some_and(|(_, newest)| newest > epoch) {
                    return;
                }
            }
        };
        stream.take_until(Box::pin(overtaken)).boxed()
    }
}

#[tonic::async_trait]
impl DeleteSource for Peers {
    async fn watch_deletes(
        &self,
    ) -> Result<BoxStream<'static, Result<DeletesUpdate, tonic::Status>>, tonic::Status> {
        let (writer, epoch) = self.writer().await?;
        let stream = writer.client.client().watch_deletes(WatchDeletesRequest { epoch }).await?.into_inner();
        Ok(self.until_overtaken(stream, epoch))
    }
}

#[tonic::async_trait]
impl LogSource for Peers {
    async fn watch_log(&self) -> Result<BoxStream<'static, Result<LogUpdate, tonic::Status>>, tonic::Status> {
        let (writer, epoch) = self.writer().await?;
        let stream = writer.client.client().watch_log(WatchLogRequest { epoch }).await?.into_inner();
        Ok(self.until_overtaken(stream, epoch))
    }
}
