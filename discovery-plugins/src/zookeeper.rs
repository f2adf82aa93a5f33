//! ZooKeeper: nodes are ephemeral znodes, watchers list them and are told of changes.

use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use zookeeper_client::{
    Acl, Acls, AuthId, Client, CreateMode, Error as ZkError, EventType, OneshotWatcher, Permission,
    WatchedEvent,
};

const PLUGIN: &str = "zookeeper";
const CONNECT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);

/// Where ZooKeeper is and which znodes are members.
#[derive(Debug, Clone)]
pub struct ZooKeeperOptions {
    /// `host:port,host:port`.
    pub servers: String,
    /// Members are `<folder>/<name>` with `host:port` as data.
    pub folder: String,
    /// `user:password` of the digest scheme. The znodes that we make then belong to that user; all may read them.
    pub digest: Option<String>,
    /// The session's timeout: an announcement lives this long without us.
    pub ttl: Duration,
}

/// See [`Discovery`].
#[derive(Clone)]
pub struct ZooKeeper {
    options: Arc<ZooKeeperOptions>,
    client: Arc<Mutex<Option<Client>>>,
}

fn fail(e: &ZkError) -> Error {
    Error::new(PLUGIN, e)
}

/// A call with a deadline, for the library waits as long as its session lives.
async fn bounded<T>(
    call: impl Future<Output = std::result::Result<T, ZkError>>,
) -> std::result::Result<T, ZkError> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or(Err(ZkError::Timeout))
}

impl ZooKeeper {
    pub fn new(options: ZooKeeperOptions) -> Result<ZooKeeper> {
        let folder = &options.folder;
        if !folder.starts_with('/') || folder.ends_with('/') || folder.contains("//") {
            return Err(Error::new(PLUGIN, format!("{folder:?} is no path like /mishards/nodes")));
        }
        Ok(ZooKeeper { options: Arc::new(options), client: Arc::default() })
    }

    /// The session that lives, or a new one.
    async fn client(&self) -> Result<Client> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|c| !c.state().is_terminated()) {
            return Ok(client.clone());
        }
        let mut connector =
            Client::connector().with_session_timeout(self.options.ttl).with_connection_timeout(CONNECT);
        if let Some(digest) = &self.options.digest {
            connector = connector.with_auth("digest", digest.as_bytes());
        }
        let connect = tokio::time::timeout(CONNECT, connector.connect(&self.options.servers)).await;
        let late = |_| Error::new(PLUGIN, format!("{} does not answer in {CONNECT:?}", self.options.servers));
        let new = connect
            .map_err(late)?
            .map_err(|e| Error::new(PLUGIN, format!("{}: {e}", self.options.servers)))?;
        self.make_folder(&new).await?;
        Ok(client.insert(new).clone())
    }

    /// Who may do what with our znodes.
    fn acls(&self) -> Vec<Acl> {
        match &self.options.digest {
            None => Acls::anyone_all().to_vec(),
            Some(_) => vec![
                Acl::new(Permission::ALL, AuthId::authed()),
                Acl::new(Permission::READ, AuthId::anyone()),
            ],
        }
    }

    async fn make_folder(&self, client: &Client) -> Result<()> {
        let acls = self.acls();
        let persistent = CreateMode::Persistent.with_acls(Acls::new(&acls));
        match bounded(client.mkdir(&self.options.folder, &persistent)).await {
            // It may be there, and we may still read it.
            Ok(()) | Err(ZkError::NoAuth) => Ok(()),
            Err(e) => Err(fail(&e)),
        }
    }

    /// All members, and what tells that they have changed: one for the folder and one for each member.
    async fn members(&self) -> Result<(Vec<Member>, Vec<OneshotWatcher>)> {
        let client = self.client().await?;
        let mut listed = bounded(client.list_and_watch_children(&self.options.folder)).await;
        if matches!(listed, Err(ZkError::NoNode)) {
            self.make_folder(&client).await?;
            listed = bounded(client.list_and_watch_children(&self.options.folder)).await;
        }
        let (names, folder) = listed.map_err(|e| fail(&e))?;
        let (mut members, mut changed) = (Vec::new(), vec![folder]);
        for name in names {
            match bounded(client.get_and_watch_data(&self.path(&name))).await {
                Ok((data, _, watcher)) => {
                    changed.push(watcher);
                    members.extend(String::from_utf8(data).ok().map(|address| Member { name, address }))
                }
                // Gone meanwhile: the watcher knows.
                Err(ZkError::NoNode) => {}
                Err(e) => return Err(fail(&e)),
            }
        }
        members.sort();
        Ok((members, changed))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.options.folder)
    }
}

/// The first event of these.
async fn any(watchers: Vec<OneshotWatcher>) -> Option<WatchedEvent> {
    let mut waiting: FuturesUnordered<_> = watchers.into_iter().map(OneshotWatcher::changed).collect();
    waiting.next().await
}

#[async_trait]
impl Discovery for ZooKeeper {
    fn watch(&self) -> BoxStream<'static, Event> {
        let start = (self.clone(), None::<Vec<Member>>, Vec::<OneshotWatcher>::new());
        stream::unfold(start, |(zookeeper, mut known, mut changed)| async move {
            loop {
                if any(std::mem::take(&mut changed)).await.is_some_and(|e| e.event_type == EventType::Session)
                {
                    // The session has ended, or its connection is away.
                    tokio::time::sleep(AGAIN / 10).await;
                }
                match zookeeper.members().await {
                    Ok((members, watchers)) => {
                        changed = watchers;
                        if known.as_ref() != Some(&members) {
                            known = Some(members.clone());
                            return Some((Event::Reset(members), (zookeeper, known, changed)));
                        }
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "members could not be read, the last ones stay");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        })
        .boxed()
    }

    async fn register(&self, member: &Member) -> Result<()> {
        if member.name.is_empty() || member.name.contains('/') {
            return Err(Error::new(PLUGIN, format!("{:?} cannot be the name of a znode", member.name)));
        }
        let (client, path) = (self.client().await?, self.path(&member.name));
        match bounded(client.get_data(&path)).await {
            Ok((data, stat)) => {
                if stat.ephemeral_owner == client.session_id().0 && data == member.address.as_bytes() {
                    return Ok(());
                }
                // It is an earlier session's, which would take it away when it expires.
                match bounded(client.delete(&path, None)).await {
                    Ok(()) | Err(ZkError::NoNode) => {}
                    Err(e) => return Err(fail(&e)),
                }
            }
            Err(ZkError::NoNode) => {}
            Err(e) => return Err(fail(&e)),
        }
        let acls = self.acls();
        let ephemeral = CreateMode::Ephemeral.with_acls(Acls::new(&acls));
        let mut created = bounded(client.create(&path, member.address.as_bytes(), &ephemeral)).await;
        if matches!(created, Err(ZkError::NoNode)) {
            self.make_folder(&client).await?;
            created = bounded(client.create(&path, member.address.as_bytes(), &ephemeral)).await;
        }
        created.map(drop).map_err(|e| fail(&e))
    }

    async fn deregister(&self, name: &str) -> Result<()> {
        match bounded(self.client().await?.delete(&self.path(name), None)).await {
            Ok(()) | Err(ZkError::NoNode) => Ok(()),
            Err(e) => Err(fail(&e)),
        }
    }
}
