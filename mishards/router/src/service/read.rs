//! What all reads begin with: names and a consistency level become a plan at one V and one T. A plan under which files have
//! moved is made anew.

use super::Router;
use super::names::Named;
use super::read_point::Consistency;
use crate::call::Call;
use crate::error::{Failure, Kind};
use crate::plan::{Filter, ReadPlan, choose_partitions, plan_read};
use mishards_types::{Error, Result};
use std::time::Duration;

/// How often a read is planned anew, and the pause before: the newer catalog is on its way.
const REPLANS: usize = 20;
const REPLAN_PAUSE: Duration = Duration::from_millis(25);

/// What a read is about, and as of when.
#[derive(Clone, Copy)]
pub struct Read<'a> {
    pub database: &'a str,
    pub collection: &'a str,
    /// None means all that are loaded.
    pub partitions: &'a [String],
    pub consistency: Consistency,
}

impl Router {
    /// Plans a read. `filter` must have been checked against the schema.
    pub(super) async fn route(
        &self,
        call: &Call,
        read: Read<'_>,
        filter: &Filter,
    ) -> Result<(Named, ReadPlan)> {
        let routing = call.span.child("get_routing");
        let named = self.loaded(read.database, read.collection, read.partitions).await?;
        let (point, named) = self.read_point(named, read.collection, read.consistency).await?;
        let partitions = choose_partitions(&named.snapshot, &named.collection, read.partitions)?;
        let plan = plan_read(&named.snapshot, &named.collection, &partitions, filter, point)?;
        routing.set("segments", plan.segments.len() as i64);
        Ok((named, plan))
    }

    /// The answer of `once`, which is to plan a read and carry it out, and again as often as files have moved under its plan.
    /// A file that is missing to the end although the newest catalog names it is lost.
    pub(super) async fn replanned<T, F>(&self, call: &Call, once: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        let mut last = Failure::new(Kind::SnapshotTooOld, Error::unavailable("the read was not planned"));
        for _ in 0..REPLANS {
            call.begin();
            match once().await {
                Err(failure) if failure.kind == Kind::SnapshotTooOld => last = failure,
                done => return Ok(done?),
            }
            tokio::time::sleep(REPLAN_PAUSE).await;
        }
        Err(self.lost_file(&last).unwrap_or(last.error))
    }
}
