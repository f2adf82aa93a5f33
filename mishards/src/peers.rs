//! The other nodes of the cluster, as discovery names them: a node follows whichever of them is the writer now.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_discovery::{Discovery, Event, Member};
use mishards_node::{DeleteSource, LogSource};
use mishards_proto::node::{DeletesUpdate, LogUpdate, WatchDeletesRequest, WatchLogRequest};
use mishards_router::{GrpcNode, NodeClient};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Clients = BTreeMap<String, (String, Arc<GrpcNode>)>;

const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked who the writer is.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// See the file's head. Clones share the clients.
#[derive(Clone)]
pub struct Peers {
    /// This node's name: it does not follow itself.
    own: String,
    /// Address and client of each.
    clients: Arc<Mutex<Clients>>,
}

impl Peers {
    /// Follows discovery until the runtime ends.
    pub fn follow(discovery: &Arc<dyn Discovery>, own: &str) -> Arc<Peers> {
        let peers = Arc::new(Peers { own: own.to_owned(), clients: Arc::default() });
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

/// The writable node of the highest term: its client and term.
async fn writer_of(peers: Vec<Arc<GrpcNode>>) -> Option<(Arc<GrpcNode>, u64)> {
    let asked = peers.into_iter().map(|peer| async move {
        let answer = tokio::time::timeout(PATIENCE, peer.describe()).await.ok()?.ok()?;
        answer.writable.then_some((peer, answer.epoch))
    });
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().flatten().max_by_key(|(_, epoch)| *epoch)
}

impl Peers {
    /// Who writes now, or why nobody can be followed.
    async fn writer(&self) -> Result<(Arc<GrpcNode>, u64), tonic::Status> {
        let none = || tonic::Status::unavailable("no other node that discovery names is the writer");
        writer_of(self.all()).await.ok_or_else(none)
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
                if writer_of(peers.all()).await.is_some_and(|(_, newest)| newest > epoch) {
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
        let stream = writer.client().watch_deletes(WatchDeletesRequest { epoch }).await?.into_inner();
        Ok(self.until_overtaken(stream, epoch))
    }
}

#[tonic::async_trait]
impl LogSource for Peers {
    async fn watch_log(&self) -> Result<BoxStream<'static, Result<LogUpdate, tonic::Status>>, tonic::Status> {
        let (writer, epoch) = self.writer().await?;
        let stream = writer.client().watch_log(WatchLogRequest { epoch }).await?.into_inner();
        Ok(self.until_overtaken(stream, epoch))
    }
}
