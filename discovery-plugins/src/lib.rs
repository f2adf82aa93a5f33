//! Who is there. A plugin is one file that implements [`Discovery`]; whether a member is healthy is not its business.

mod static_list;

pub use static_list::{BadMember, StaticList};

use futures_util::stream::BoxStream;

/// A node that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// host:port of the node API.
    pub address: String,
}

/// A change of membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These are all members.
    Reset(Vec<Member>),
    Add(Member),
    /// The member of this name is gone.
    Remove(String),
}

/// A source of membership.
pub trait Discovery: Send + Sync + 'static {
    /// Events from now on; the first is a [`Event::Reset`]. A stream that ends keeps its last state.
    fn watch(&self) -> BoxStream<'static, Event>;
}
