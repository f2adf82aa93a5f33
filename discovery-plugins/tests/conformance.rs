//! One suite for every plugin: what is said of a source of membership while it changes, is away, and comes back.
//!
//! `conformance/` has what concerns one plugin only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "conformance/announcing.rs"]
mod announcing;
#[path = "conformance/catalog.rs"]
mod catalog;
#[path = "conformance/consul.rs"]
mod consul;
#[path = "conformance/dns.rs"]
mod dns;
#[path = "conformance/etcd.rs"]
mod etcd;
#[path = "conformance/etcd_watch.rs"]
mod etcd_watch;
#[path = "conformance/exec.rs"]
mod exec;
#[path = "conformance/kubernetes.rs"]
mod kubernetes;
#[path = "conformance/slices.rs"]
mod slices;
mod sources;
#[path = "conformance/tls.rs"]
mod tls;
#[path = "conformance/zookeeper.rs"]
mod zookeeper;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use mishards_discovery::Member;
use sources::api_server::ApiServer;
use sources::name_server::Names;
use sources::registry::{Server, Tables};
use sources::simple::{Files, Lines, List};
use sources::watch::Watch;
use sources::{Source, TTL, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

/// What a plugin can do besides naming members.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Can {
    /// The source is a text of the configuration: it never changes.
    NotChange,
    Change,
    /// Members announce themselves by the plugin.
    Register,
}

type Open = fn() -> BoxFuture<'static, Option<Box<dyn Source>>>;

macro_rules! open {
    ($source:expr) => {
        || Box::pin(async { Some(Box::new($source) as Box<dyn Source>) })
    };
}

/// Every plugin, under the name of its file in `src`, and the kind of source; the last is the example of the README.
const PLUGINS: [(&str, &str, Can, Open); 13] = [
    ("static_list", "numbers", Can::NotChange, open!(List::default())),
    ("catalog", "memory", Can::Register, open!(Tables::memory().await)),
    ("catalog", "sqlite", Can::Register, open!(Tables::sqlite().await)),
    ("consul", "scripted", Can::Register, open!(Server::agent().await)),
    ("consul", "real", Can::Register, || Box::pin(async { Some(Box::new(Server::consul().await?) as _) })),
    ("etcd", "real", Can::Register, open!(Server::etcd().await)),
    ("zookeeper", "real", Can::Register, open!(Server::zookeeper().await)),
    ("kubernetes", "scripted", Can::Change, open!(ApiServer::start().await)),
    ("dns", "addresses", Can::Change, open!(Names::addresses().await)),
    ("dns", "services", Can::Change, open!(Names::services().await)),
    ("exec", "python", Can::Change, open!(Lines::python())),
    ("exec", "shell", Can::Change, open!(Lines::shell())),
    ("own", "example", Can::Change, open!(Files::new())),
];

/// Runs `test` on those plugins, all at once: most of the time they wait.
async fn on(wanted: impl Fn(&str, Can) -> bool, test: impl AsyncFn(&dyn Source)) {
    let runs = PLUGINS.iter().filter(|(file, _, can, _)| wanted(file, *can)).map(|(file, kind, _, open)| {
        let test = &test;
        async move {
            let Some(source) = open().await else {
                println!("{file} ({kind}) is left out: there is no such server on this machine");
                return None;
            };
            let result = AssertUnwindSafe(test(&*source)).catch_unwind().await;
            result.err().map(|_| format!("{file} ({kind})"))
        }
    });
    let failed: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "failed on {failed:?}");
}

async fn on_all(test: impl AsyncFn(&dyn Source)) {
    on(|_, _| true, test).await;
}

async fn on_changing(test: impl AsyncFn(&dyn Source)) {
    on(|_, can| can != Can::NotChange, test).await;
}

/// The members that there should be.
#[derive(Default)]
struct Model {
    members: BTreeMap<String, Member>,
}

impl Model {
    async fn join(&mut self, source: &dyn Source, who: &str, at: u16) {
        self.members.insert(who.to_owned(), source.join(who, at).await);
    }

    async fn leave(&mut self, source: &dyn Source, who: &str) {
        source.leave(who).await;
        self.members.remove(who);
    }

    async fn with(source: &dyn Source, whose: &[&str]) -> Model {
        let mut model = Model::default();
        for (who, at) in whose.iter().zip(1..) {
            model.join(source, who, at).await;
        }
        model
    }

    fn all(&self) -> Vec<Member> {
        self.members.values().cloned().collect()
    }
}

#[test]
fn every_plugin_is_in_the_table() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::from(["own".to_owned()]);
    for entry in std::fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        if std::fs::read_to_string(&path).unwrap().contains("impl Discovery for ") {
            found.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    assert_eq!(found, PLUGINS.iter().map(|(file, ..)| (*file).to_owned()).collect());
}

#[test]
fn the_readme_has_the_example_that_is_tested() {
    assert_eq!(sources::readme("rust"), include_str!("sources/own.rs"));
}

#[tokio::test]
async fn the_first_event_is_all_members() {
    on_all(async |source| {
        let model = Model::with(source, &["a", "b", "c"]).await;
        let plugin = source.plugin();
        Watch::of(&*plugin).begins_with(&model.all()).await;
    })
    .await;
}

/// Not so for DNS: whether a name has no addresses any more, or the name server knows nothing yet, looks the same.
#[tokio::test]
async fn that_nobody_is_there_is_said_too() {
    on(
        |file, _| file != "dns",
        async |source| {
            let plugin = source.plugin();
            Watch::of(&*plugin).begins_with(&[]).await;
        },
    )
    .await;
}

#[tokio::test]
async fn who_joins_is_seen_and_who_leaves_goes() {
    on_changing(async |source| {
        let mut model = Model::with(source, &["a"]).await;
        let plugin = source.plugin();
        let mut watch = Watch::of(&*plugin);
        watch.begins_with(&model.all()).await;
        for (who, at) in [("b", 2), ("c", 3)] {
            model.join(source, who, at).await;
            watch.until(&model.all()).await;
        }
        for who in ["b", "a"] {
            model.leave(source, who).await;
            watch.until(&model.all()).await;
        }
        model.join(source, "b", 2).await;
        watch.until(&model.all()).await;
    })
    .await;
}

#[tokio::test]
async fn who_moves_is_seen_at_the_new_address() {
    on_changing(async |source| {
        let mut model = Model::with(source, &["a", "b"]).await;
        let plugin = source.plugin();
        let mut watch = Watch::of(&*plugin);
        watch.begins_with(&model.all()).await;
        for at in [11, 1] {
            model.join(source, "a", at).await;
            watch.until(&model.all()).await;
        }
        // Moved while it was gone.
        model.leave(source, "a").await;
        watch.until(&model.all()).await;
        model.join(source, "a", 13).await;
        watch.until(&model.all()).await;
    })
    .await;
}

#[tokio::test]
async fn of_many_changes_all_watchers_see_the_end() {
    let seed = std::process::id();
    println!("seed {seed}");
    on_changing(async |source| {
        let mut model = Model::with(source, &["z"]).await;
        let plugins = [source.plugin(), source.plugin()];
        let mut watches = [Watch::of(&*plugins[0]), Watch::of(&*plugins[0]), Watch::of(&*plugins[1])];
        let mut random = u64::from(seed);
        for step in 0..30u16 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let who = ["a", "b", "c", "d", "e"][(random >> 33) as usize % 5];
            match (random >> 40) % 3 {
                0 if model.members.contains_key(who) => model.leave(source, who).await,
                _ => model.join(source, who, 100 + step).await,
            }
            if step % 10 == 9 {
                for watch in &mut watches {
                    watch.until(&model.all()).await;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_said_while_nothing_changes() {
    on_all(async |source| {
        let model = Model::with(source, &["a", "b"]).await;
        let plugin = source.plugin();
        let mut watch = Watch::of(&*plugin);
        watch.begins_with(&model.all()).await;
        watch.is_quiet(TTL * 3 / 2).await;
    })
    .await;
}

#[tokio::test]
async fn while_the_source_is_away_the_members_stay() {
    on_changing(async |source| {
        let mut model = Model::with(source, &["a", "b", "c"]).await;
        let plugin = source.plugin();
        let mut watch = Watch::of(&*plugin);
        watch.begins_with(&model.all()).await;
        source.interrupt().await;
        watch.is_quiet(TTL / 2).await;
        model.leave(source, "b").await;
        model.join(source, "d", 4).await;
        model.join(source, "c", 33).await;
        watch.is_quiet(TTL / 2).await;
        source.restore().await;
        watch.until(&model.all()).await;
        model.leave(source, "a").await;
        model.join(source, "e", 5).await;
        watch.until(&model.all()).await;
    })
    .await;
}

#[tokio::test]
async fn a_watch_may_begin_while_the_source_is_away() {
    on_changing(async |source| {
        let model = Model::with(source, &["a", "b"]).await;
        source.interrupt().await;
        let plugin = source.plugin();
        let mut watch = Watch::of(&*plugin);
        watch.is_quiet(TTL / 2).await;
        source.restore().await;
        watch.begins_with(&model.all()).await;
    })
    .await;
}

#[tokio::test]
async fn an_outage_that_ends_takes_nobody_away() {
    on_changing(async |source| {
        let mut model = Model::with(source, &["a", "b"]).await;
        let plugin = source.plugin();
        let mut watch = Watch::of(&*plugin);
        watch.begins_with(&model.all()).await;
        source.interrupt().await;
        watch.is_quiet(TTL * 3 / 2).await;
        source.restore().await;
        watch.stays(&model.all(), TTL / 2).await;
        model.join(source, "c", 3).await;
        watch.until(&model.all()).await;
    })
    .await;
}

#[tokio::test]
async fn a_dropped_watch_ends_its_work() {
    on_changing(async |source| {
        let model = Model::with(source, &["a"]).await;
        let plugin = source.plugin();
        let mut watch = Watch::of(&*plugin);
        watch.begins_with(&model.all()).await;
        let mut other = Watch::of(&*plugin);
        other.begins_with(&model.all()).await;
        drop((watch, other, plugin));
        eventually("its work ends", async || source.running().await == 0).await;
    })
    .await;
}
