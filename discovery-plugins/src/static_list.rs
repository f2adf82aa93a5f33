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

/// What the host names stand for now; those that cannot be looked up are left out.
async fn look_up(members: &[Member]) -> Found {
    let mut found = Found::new();
    for member in members {
        if let Ok(addresses) = tokio::net::lookup_host(&member.address).await {
            found.insert(member.name.clone(), addresses.map(|a| a.ip()).collect());
        }
    }
    found
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
        let changes = stream::unfold((named, Found::new(), VecDeque::new()), move |state| async move {
            let (named, mut known, mut waiting) = state;
            loop {
                if let Some(event) = waiting.pop_front() {
                    return Some((event, (named, known, waiting)));
                }
                for (name, addresses) in look_up(&named).await {
                    let before = known.insert(name.clone(), addresses.clone());
                    if before.is_some_and(|before| before != addresses) {
                        waiting.extend(named.iter().find(|m| m.name == name).cloned().map(Event::Add));
                    }
                }
                if waiting.is_empty() {
                    tokio::time::sleep(every).await;
                }
            }
        });
        first.chain(changes).boxed()
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
}
