//! A writer that is stopped in the middle of something, for longer than its lease, and goes on when another one has taken
//! over: it acknowledges nothing that its successor does not have, publishes nothing and deletes nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_catalog::{Catalog, Commit, Lease, Loaded, Outcome, Takeover};
use mishards_storage::{Faulty, Storage};
use mishards_types::{Epoch, Incarnation};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use world::*;

/// Holds whoever comes, once it is closed, until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    closed: bool,
    held: usize,
}

impl Gate {
    fn close(&self) {
        self.0.0.lock().unwrap().closed = true;
    }

    fn open(&self) {
        self.0.0.lock().unwrap().closed = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        if state.closed {
            state.held += 1;
            drop(self.0.1.wait_while(state, |state| state.closed).unwrap());
        }
    }

    async fn holds_somebody(&self) {
        eventually("somebody is at the gate", async || self.0.0.lock().unwrap().held > 0).await;
    }
}

/// A world in which the first process is stopped at chosen calls on the shared directory; later ones are not.
fn stopped_at(world: &World, gate: &Gate, at: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> World {
    let gate = gate.clone();
    let fault = move |op: &'static str, path: &str| {
        if at(op, path) {
            gate.pass();
        }
        false
    };
    World { storage: Arc::new(Faulty::new(world.disk.clone(), fault)), ..world.clone() }
}

/// A catalog whose commits wait at a gate, before or after they have happened.
struct Gated {
    inner: mishards_catalog::Memory,
    gate: Gate,
    after: bool,
}

#[tonic::async_trait]
impl Catalog for Gated {
    async fn migrate(&self, cluster_id: &str) -> mishards_catalog::Result<()> {
        self.inner.migrate(cluster_id).await
    }

    async fn rename(&self, cluster_id: &str) -> mishards_catalog::Result<()> {
        self.inner.rename(cluster_id).await
    }

    async fn load(&self) -> mishards_catalog::Result<Option<Loaded>> {
        self.inner.load().await
    }

    async fn lease(&self) -> mishards_catalog::Result<Lease> {
        self.inner.lease().await
    }

    async fn take_over(&self, takeover: &Takeover) -> mishards_catalog::Result<Lease> {
        self.inner.take_over(takeover).await
    }

    async fn renew(&self, epoch: Epoch, incarnation: Incarnation) -> mishards_catalog::Result<Lease> {
        self.inner.renew(epoch, incarnation).await
    }

    async fn commit(&self, commit: &Commit) -> mishards_catalog::Result<()> {
        let early = if self.after { Some(self.inner.commit(commit).await) } else { None };
        let gate = self.gate.clone();
        tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
        match early {
            Some(done) => done,
            None => self.inner.commit(commit).await,
        }
    }

    async fn outcome(&self, commit: &Commit) -> mishards_catalog::Result<Outcome> {
        self.inner.outcome(commit).await
    }

    async fn purge(&self, removed_through: u64) -> mishards_catalog::Result<()> {
        self.inner.purge(removed_through).await
    }
}

/// The old writer's term ends by itself, and it acknowledges nothing more.
async fn ends(old: &Site) {
    tokio::time::timeout(Duration::from_secs(20), old.writer.ended()).await.expect("its term has not ended");
    assert!(old.insert([999]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_writing_a_segment() {
    let world = World::new();
    let gate = Gate::default();
    let first = stopped_at(&world, &gate, |op, path| op == "create" && path.starts_with("segments/"));
    let old = first.start_with_collection().await;
    old.insert(0..20).await.unwrap();
    gate.close();
    let flush = {
        let node = old.node.clone();
        tokio::spawn(async move {
            use mishards_proto::node::{FlushRequest, node_server::Node as _};
            let request = FlushRequest { collection_ids: Vec::new(), wait: true };
            node.flush(tonic::Request::new(request)).await
        })
    };
    gate.holds_somebody().await;
    let new = world.start().await;
    let rows = new.rows().await;
    assert_eq!(rows.len(), 20);
    new.insert(20..30).await.unwrap();
    gate.open();
    ends(&old).await;
    assert!(flush.await.unwrap().is_err(), "a flush was acknowledged whose segment nobody has");
    assert!(
        new.segments().is_empty()
            && world.catalog.load().await.unwrap().unwrap().snapshot.segments().next().is_none()
    );
    assert_eq!(new.keys().await, (0..30).collect::<Vec<_>>());
}

async fn in_the_middle_of_a_commit(after: bool) {
    let mut world = World::new();
    let inner = mishards_catalog::Memory::new();
    world.catalog = Arc::new(inner.clone());
    let gate = Gate::default();
    let first = World { catalog: Arc::new(Gated { inner, gate: gate.clone(), after }), ..world.clone() };
    let old = first.start_with_collection().await;
    old.insert(0..20).await.unwrap();
    gate.close();
    let (node, partition) = (old.node.clone(), "late".to_owned());
    let site = Site { node, writer: Arc::clone(&old.writer) };
    let change = tokio::spawn(async move { site.create_partition(&partition).await });
    gate.holds_somebody().await;
    let new = world.start().await;
    let has_it = |site: &Site| site.snapshot().partition_named(site.collection().id, "late").is_some();
    assert_eq!(has_it(&new), after, "what had happened is there, what had not is not");
    new.insert(20..30).await.unwrap();
    gate.open();
    let answer = tokio::time::timeout(Duration::from_secs(20), change).await.unwrap().unwrap();
    ends(&old).await;
    assert!(answer.is_err() || has_it(&new), "a change was acknowledged that the successor does not have");
    let stored = world.catalog.load().await.unwrap().unwrap();
    assert_eq!(stored.lease.version, new.snapshot().version, "the old writer has committed");
    assert_eq!(has_it(&new), after);
    assert_eq!(new.keys().await, (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_commit_has_happened() {
    in_the_middle_of_a_commit(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_commit_has_happened() {
    in_the_middle_of_a_commit(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_deleting_files() {
    let world = World::with_short_window();
    let gate = Gate::default();
    let first = stopped_at(&world, &gate, |op, path| op == "remove" && path.starts_with("segments/"));
    let old = first.start_with_collection().await;
    // Four segments that a merge replaces: many files to remove.
    for from in [0, 10, 20, 30] {
        old.insert(from..from + 10).await.unwrap();
        old.flush().await.unwrap();
    }
    gate.close();
    gate.holds_somebody().await;
    // The successor itself removes nothing: its window is long.
    let mut later = world.clone();
    later.ingest.window = Duration::from_secs(600);
    let new = later.start().await;
    let before = world.files("segments");
    gate.open();
    ends(&old).await;
    // The file that it was about to remove when it was stopped goes; it had been let go of a window ago.
    let gone = before.iter().filter(|file| world.disk.read(file).is_err()).count();
    assert!(gone <= 1, "{gone} files were removed by a writer that has been fenced");
    assert_eq!(new.keys().await, (0..40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_log_group() {
    let world = World::new();
    let gate = Gate::default();
    let first = stopped_at(&world, &gate, |op, path| op == "sync" && path.starts_with("log/"));
    let old = first.start_with_collection().await;
    old.insert(0..20).await.unwrap();
    gate.close();
    let site = Site { node: old.node.clone(), writer: Arc::clone(&old.writer) };
    let write = tokio::spawn(async move { site.insert([20]).await });
    gate.holds_somebody().await;
    let new = world.start().await;
    gate.open();
    let answer = tokio::time::timeout(Duration::from_secs(20), write).await.unwrap().unwrap();
    ends(&old).await;
    assert!(answer.is_err(), "a write was acknowledged after the successor had begun");
    let keys = new.keys().await;
    assert_eq!(keys[..20], (0..20).collect::<Vec<_>>());
}
