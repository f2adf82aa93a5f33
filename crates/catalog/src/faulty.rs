//! A wrapper that makes chosen calls fail, before they happen or after.

use crate::catalog::*;
use crate::{Error, Kind, Result};
use async_trait::async_trait;
use mishards_types::{Epoch, Incarnation};
use std::sync::Arc;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database was not reached: nothing happened.
    Before,
    /// It happened, and the answer was lost.
    After,
}

type Plan = dyn Fn(&'static str) -> Option<Fault> + Send + Sync;

/// See [`Catalog`]; asks `plan` before each call with its name.
pub struct Faulty<C> {
    inner: C,
    plan: Arc<Plan>,
}

impl<C: Catalog> Faulty<C> {
    pub fn new(inner: C, plan: impl Fn(&'static str) -> Option<Fault> + Send + Sync + 'static) -> Faulty<C> {
        Faulty { inner, plan: Arc::new(plan) }
    }

    async fn call<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        match (self.plan)(name) {
            None => call.await,
            Some(Fault::Before) => Err(Error::new(Kind::Unavailable, format!("{name}: injected fault"))),
            Some(Fault::After) => {
                call.await?;
                Err(Error::new(Kind::UnknownOutcome, format!("{name}: injected fault, the answer was lost")))
            }
        }
    }
}

#[async_trait]
impl<C: Catalog> Catalog for Faulty<C> {
    async fn migrate(&self, cluster_id: &str) -> Result<()> {
        self.call("migrate", self.inner.migrate(cluster_id)).await
    }

    async fn rename(&self, cluster_id: &str) -> Result<()> {
        self.call("rename", self.inner.rename(cluster_id)).await
    }

    async fn load(&self) -> Result<Option<Loaded>> {
        self.call("load", self.inner.load()).await
    }

    async fn lease(&self) -> Result<Lease> {
        self.call("lease", self.inner.lease()).await
    }

    async fn take_over(&self, takeover: &Takeover) -> Result<Lease> {
        self.call("take_over", self.inner.take_over(takeover)).await
    }

    async fn renew(&self, epoch: Epoch, incarnation: Incarnation) -> Result<Lease> {
        self.call("renew", self.inner.renew(epoch, incarnation)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        self.call("commit", self.inner.commit(commit)).await
    }

    async fn outcome(&self, commit: &Commit) -> Result<Outcome> {
        self.call("outcome", self.inner.outcome(commit)).await
    }

    async fn purge(&self, removed_through: u64) -> Result<()> {
        self.call("purge", self.inner.purge(removed_through)).await
    }
}
