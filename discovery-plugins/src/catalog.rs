//! Heartbeats in the metadata database: no other server is needed. A member counts as there as long as its heartbeat
//! moves, by the watcher's own clock, so that clocks need not agree.

use crate::poll::poll;
use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use mishards_catalog::Heartbeats;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const PLUGIN: &str = "catalog";

/// See [`Discovery`].
#[derive(Clone)]
pub struct FromCatalog {
    heartbeats: Arc<dyn Heartbeats>,
    ttl: Duration,
}

/// The last movement that was seen of each member.
#[derive(Default)]
struct Seen {
    last: HashMap<String, (u64, Instant)>,
    asked: Option<Instant>,
}

impl Seen {
    /// While the database was away nobody could beat: who was alive then has the time to do so now.
    fn answered(&mut self, ttl: Duration, now: Instant) {
        let Some(before) = self.asked.replace(now) else { return };
        if now.duration_since(before) > ttl / 2 {
            let alive = self.last.values_mut().filter(|(_, at)| before.duration_since(*at) < ttl);
            alive.for_each(|(_, at)| *at = now);
        }
    }

    /// Whether a heartbeat has moved within the TTL. One that is seen for the first time counts as moving: it is
    /// probed before it is used.
    fn is_alive(&mut self, name: &str, beat: u64, ttl: Duration, now: Instant) -> bool {
        let entry = self.last.entry(name.to_owned()).or_insert((beat, now));
        if entry.0 != beat {
            *entry = (beat, now);
        }
        now.duration_since(entry.1) < ttl
    }
}

impl FromCatalog {
    pub fn new(heartbeats: Arc<dyn Heartbeats>, ttl: Duration) -> FromCatalog {
        FromCatalog { heartbeats, ttl }
    }
}

#[async_trait]
impl Discovery for FromCatalog {
    fn watch(&self) -> BoxStream<'static, Event> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (heartbeats, ttl) = (Arc::clone(&self.heartbeats), self.ttl);
        poll(ttl / 3, move || {
            let (heartbeats, seen) = (Arc::clone(&heartbeats), Arc::clone(&seen));
            async move {
                let beats = heartbeats.heartbeats().await.map_err(|e| Error::new(PLUGIN, e))?;
                let now = Instant::now();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.answered(ttl, now);
                seen.last.retain(|name, _| beats.iter().any(|b| b.name == *name));
                let alive = beats.into_iter().filter(|b| seen.is_alive(&b.name, b.beat, ttl, now));
                Ok(alive.map(|b| Member { name: b.name, address: b.address }).collect())
            }
        })
    }

    async fn register(&self, member: &Member) -> Result<()> {
        self.heartbeats.beat(&member.name, &member.address).await.map(drop).map_err(|e| Error::new(PLUGIN, e))
    }

    async fn deregister(&self, name: &str) -> Result<()> {
        self.heartbeats.stop(name).await.map_err(|e| Error::new(PLUGIN, e))
    }
}
