//! A watcher of the suite: applies the events to a map, as every user of a plugin does.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_discovery::{Discovery, Event, Member};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(25);

pub struct Watch {
    events: BoxStream<'static, Event>,
    members: BTreeMap<String, String>,
    has_begun: bool,
    /// For the message of a failure.
    seen: Vec<Event>,
}

impl Watch {
    pub fn of(plugin: &dyn Discovery) -> Watch {
        Watch { events: plugin.watch(), members: BTreeMap::new(), has_begun: false, seen: Vec::new() }
    }

    /// The next event within a time.
    pub async fn event(&mut self, within: Duration) -> Option<Event> {
        let next = async {
            match self.events.next().await {
                Some(event) => event,
                // Nothing can change any more.
                None => std::future::pending().await,
            }
        };
        let event = tokio::time::timeout(within, next).await.ok()?;
        self.seen.push(event.clone());
        match event.clone() {
            Event::Reset(members) => {
                self.has_begun = true;
                let count = members.len();
                self.members = members.into_iter().map(|m| (m.name, m.address)).collect();
                assert_eq!(self.members.len(), count, "one name twice: {event:?}");
            }
            _ if !self.has_begun => panic!("the first event is {event:?}"),
            Event::Add(member) => drop(self.members.insert(member.name, member.address)),
            Event::Remove(name) => drop(self.members.remove(&name)),
        }
        Some(event)
    }

    /// The first event, which must name exactly these.
    pub async fn begins_with(&mut self, members: &[Member]) {
        let event = self.event(PATIENCE).await.expect("no first event");
        assert!(matches!(event, Event::Reset(_)), "the first event is {event:?}");
        assert_eq!(self.members, map(members));
    }

    /// Waits until exactly these are seen.
    pub async fn until(&mut self, members: &[Member]) {
        let wanted = map(members);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.has_begun || self.members != wanted {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if self.event(left).await.is_none() {
                panic!("wanted {wanted:?}, seen {:?} by {:#?}", self.members, self.seen);
            }
        }
    }

    /// Nothing is said for this long.
    pub async fn is_quiet(&mut self, time: Duration) {
        if let Some(event) = self.event(time).await {
            panic!("{event:?} was said, after {:#?}", self.seen);
        }
    }

    /// These are seen for this long, whatever is said.
    pub async fn stays(&mut self, members: &[Member], time: Duration) {
        let wanted = map(members);
        let deadline = tokio::time::Instant::now() + time;
        assert_eq!(self.members, wanted);
        while self.event(deadline.saturating_duration_since(tokio::time::Instant::now())).await.is_some() {
            assert_eq!(self.members, wanted, "by {:#?}", self.seen);
        }
    }

    pub fn events(&self) -> &[Event] {
        &self.seen
    }
}

fn map(members: &[Member]) -> BTreeMap<String, String> {
    members.iter().map(|m| (m.name.clone(), m.address.clone())).collect()
}
