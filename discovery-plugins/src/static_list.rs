//! A fixed list of members, from the configuration.

use crate::{Discovery, Event, Member};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

/// See [`Discovery`].
pub struct StaticList {
    members: Vec<Member>,
}

/// An entry that is not `name=host:port` (a role before the address, `name=role@host:port`, is allowed and ignored).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("discovery.static_nodes: {0:?} is not of the form name=host:port or name=role@host:port")]
pub struct BadMember(String);

impl StaticList {
    pub fn parse(entries: &[String]) -> Result<StaticList, BadMember> {
        let member = |entry: &String| {
            let (name, rest) = entry.split_once('=')?;
            let address = rest.split_once('@').map_or(rest, |(_, address)| address);
            let (host, port) = address.rsplit_once(':')?;
            let valid = !name.is_empty() && !host.is_empty() && port.parse::<u16>().is_ok();
            valid.then(|| Member { name: name.to_owned(), address: address.to_owned() })
        };
        let members = entries
            .iter()
            .map(|e| member(e).ok_or_else(|| BadMember(e.clone())))
            .collect::<Result<_, _>>()?;
        Ok(StaticList { members })
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

impl Discovery for StaticList {
    fn watch(&self) -> BoxStream<'static, Event> {
        stream::iter([Event::Reset(self.members.clone())]).boxed()
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
    }
}
