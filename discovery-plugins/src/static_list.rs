//! A fixed list of members, from the configuration. Host names are looked up again and again: when one stands for
//! another host, its member is connected to anew.

use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

const PLUGIN: &str = "static";
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);

/// See [`Discovery`].
#[derive(Clone)]
pub struct StaticList {
    members: Vec<Member>,
    every: Duration,
}

impl StaticList {
    /// Entries are `name=host:port`; a role before the address, `name=role@host:port`, is allowed and ignored.
    pub fn parse(entries: &[String]) -> Result<StaticList> {
        let member = |entry: &String| {
            let (name, rest) = entry.split_once('=')?;
            let address = rest.split_once('@').map_or(rest, |(_, address)| address);
            let (host, port) = address.rsplit_once(':')?;
            let valid = !name.is_empty() && !host.is_empty() && port.parse::<u16>().is_ok();
            valid.then(|| Member { name: name.to_owned(), address: address.to_owned() })
        };
        let bad = |entry: &String| {
            let what =
                format!("static_nodes: {entry:?} is not of the form name=host:port or name=role@host:port");
            Error::new(PLUGIN, what)
        };
        let members: Vec<Member> =
            entries.iter().map(|e| member(e).ok_or_else(|| bad(e))).collect::<Result<_>>()?;
        let names: BTreeSet<&str> = members.iter().map(|m| m.name.as_str()).collect();
        if names.len() < members.len() {
            return Err(Error::new(PLUGIN, "static_nodes: a name stands there twice"));
        }
        Ok(StaticList { members, every: LOOK_UP_EVERY })
    }

    /// Looks host names up at this interval.
    pub fn looked_up_every(self, every: Duration) -> StaticList {
        StaticList { every, ..self }
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

type Found = BTreeMap<String, BTreeSet<IpAddr>>;

/// What host:port stands for.
async fn look_up(address: String) -> std::io::Result<BTreeSet<IpAddr>> {
    Ok(tokio::net::lookup_host(address).await?.map(|a| a.ip()).collect())
}

/// A member each time that its host name stands for something else.
fn changes<F>(
    named: Vec<Member>,
    every: Duration,
    look_up: impl Fn(String) -> F + Send + 'static,
) -> BoxStream<'static, Event>
where
    F: Future<Output = std::io::Result<BTreeSet<IpAddr>>> + Send + 'static,
{
    let start = (named, look_up, Found::new(), VecDeque::new());
    let changes = stream::unfold(start, move |(named, look_up, mut known, mut waiting)| async move {
        loop {
            if let Some(event) = waiting.pop_front() {
                return Some((event, (named, look_up, known, waiting)));
            }
            for member in &named {
                // What cannot be looked up stays as it is.
                let Ok(addresses) = look_up(member.address.clone()).await else { continue };
                let before = known.insert(member.name.clone(), addresses.clone());
                if before.is_some_and(|before| before != addresses) {
                    waiting.push_back(Event::Add(member.clone()));
                }
            }
            if waiting.is_empty() {
                tokio::time::sleep(every).await;
            }
        }
    });
    changes.boxed()
}

#[async_trait]
impl Discovery for StaticList {
    fn watch(&self) -> BoxStream<'static, Event> {
        let (members, every) = (self.members.clone(), self.every);
        let first = stream::iter([Event::Reset(members.clone())]);
        // Numbers stand for themselves.
        let is_name = |m: &Member| m.address.parse::<std::net::SocketAddr>().is_err();
        let named: Vec<Member> = members.into_iter().filter(is_name).collect();
        if named.is_empty() {
            return first.boxed();
        }
        first.chain(changes(named, every, look_up)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let list = StaticList::parse(&["w=writable@127.0.0.1:1".to_owned(), "r=[::1]:2".to_owned()]).unwrap();
        assert_eq!(list.members()[0], Member { name: "w".to_owned(), address: "127.0.0.1:1".to_owned() });
        assert_eq!(list.members()[1].address, "[::1]:2");
        for bad in ["", "x", "=h:1", "n=h", "n=h:99999", "n=:1"] {
            assert!(StaticList::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(StaticList::parse(&["n=a:1".to_owned(), "n=b:1".to_owned()]).is_err());
    }

    /// A name server of a test: what names stand for, by name.
    type Names = std::sync::Arc<std::sync::Mutex<BTreeMap<String, Vec<u8>>>>;

    fn watch(names: &Names, members: &[&str]) -> BoxStream<'static, Event> {
        let names = Names::clone(names);
        let named = members.iter().map(|name| member(name)).collect();
        changes(named, Duration::from_millis(5), move |address| {
            let found = names.lock().unwrap().get(&address).cloned();
            async move {
                let found = found.ok_or_else(|| std::io::Error::other("no such name"))?;
                Ok(found.into_iter().map(|last| IpAddr::from([10, 0, 0, last])).collect())
            }
        })
    }

    fn member(name: &str) -> Member {
        Member { name: name.to_owned(), address: format!("{name}.test:1") }
    }

    fn set(names: &Names, name: &str, to: &[u8]) {
        names.lock().unwrap().insert(format!("{name}.test:1"), to.to_vec());
    }

    async fn is_quiet(events: &mut BoxStream<'static, Event>) {
        let event = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
        assert!(event.is_err(), "{event:?}");
    }

    #[tokio::test]
    async fn a_name_that_stands_for_another_host_is_connected_to_anew() {
        let names = Names::default();
        set(&names, "a", &[1, 2]);
        set(&names, "b", &[3]);
        let mut events = watch(&names, &["a", "b"]);
        is_quiet(&mut events).await;
        set(&names, "b", &[4]);
        assert_eq!(events.next().await, Some(Event::Add(member("b"))));
        is_quiet(&mut events).await;
        // The order says nothing.
        set(&names, "a", &[2, 1]);
        is_quiet(&mut events).await;
        set(&names, "a", &[5]);
        set(&names, "b", &[5]);
        assert_eq!(events.next().await, Some(Event::Add(member("a"))));
        assert_eq!(events.next().await, Some(Event::Add(member("b"))));
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_stays() {
        let names = Names::default();
        let mut events = watch(&names, &["a"]);
        is_quiet(&mut events).await;
        set(&names, "a", &[1]);
        is_quiet(&mut events).await;
        names.lock().unwrap().clear();
        is_quiet(&mut events).await;
        set(&names, "a", &[1]);
        is_quiet(&mut events).await;
        names.lock().unwrap().clear();
        set(&names, "a", &[2]);
        assert_eq!(events.next().await, Some(Event::Add(member("a"))));
    }

    #[tokio::test]
    async fn numbers_end_the_stream_and_names_do_not() {
        let numbers = StaticList::parse(&["a=127.0.0.1:1".to_owned(), "b=[::1]:2".to_owned()]).unwrap();
        assert_eq!(numbers.watch().collect::<Vec<_>>().await.len(), 1);
        let list = StaticList::parse(&["a=localhost:1".to_owned()]).unwrap();
        let mut events = list.looked_up_every(Duration::from_millis(5)).watch();
        let localhost = Member { name: "a".to_owned(), address: "localhost:1".to_owned() };
        assert_eq!(events.next().await, Some(Event::Reset(vec![localhost])));
        is_quiet(&mut events).await;
    }
}
