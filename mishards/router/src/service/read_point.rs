//! Where a read stands in time, by consistency level.

use super::Router;
use super::names::Named;
use crate::error::{Failure, Kind};
use crate::plan::ReadPoint;
use crate::topology::Node;
use mishards_proto::node::{ReadPointRequest, ReadPointResponse};
use mishards_types::{CollectionId, Error, Result, Timestamp, Version};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How old a read point may be for a bounded read, counted from its sending.
const BOUNDED: Duration = Duration::from_secs(5);
const SESSION: i32 = 1;
/// Level numbers from here on do not ask for fresh rows.
const EVENTUALLY: i32 = 3;
/// How long a node has to give a read point.
const ANSWER: Duration = Duration::from_secs(2);
/// How old the last read point may be for an eventual read that gets no other: well below the window, beyond which rows
/// that were hidden since are gone.
const EVENTUAL: Duration = Duration::from_secs(60);
/// How long a read waits for a read point: the lease of a writable node that died, and the time to take over.
const PATIENCE: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(50);

/// Guarantee timestamps below this are marks of levels, not times.
const LAST_MARK: u64 = 2;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Consistency {
    /// Strong 0, Session 1, Bounded 2, Eventually 3, Customized 4.
    pub level: i32,
    pub use_default: bool,
    pub guarantee: u64,
    /// Read exactly at `guarantee` (pages of an iterator).
    pub exactly: bool,
}

#[derive(Clone, Copy)]
struct Known {
    point: ReadPoint,
    sent: Duration,
    past: u64,
}

/// The last read point of each collection.
#[derive(Default)]
pub struct ReadPoints {
    known: Mutex<HashMap<CollectionId, Known>>,
}

impl Router {
    /// The read point of a request, and the collection at a V that has every schema change before it.
    pub(super) async fn read_point(
        &self,
        named: Named,
        name: &str,
        asked: Consistency,
    ) -> Result<(ReadPoint, Named)> {
        let level = match asked {
            Consistency { use_default: true, .. } => named.collection.consistency,
            // Clients from before the levels said them in the timestamp alone.
            Consistency { level: 0, guarantee: 1, .. } => 3,
            Consistency { level: 0, guarantee: 2, .. } => 2,
            Consistency { level, .. } => level,
        };
        let wanted = if asked.guarantee > LAST_MARK { Timestamp(asked.guarantee) } else { Timestamp::ZERO };
        let fresh_needed = level == 0 || level == 1 || asked.exactly;
        let known = self.known_point(named.collection.id, wanted).filter(|_| !fresh_needed);
        if let Some(point) = known {
            let named = self.of_term(named, point.epoch, 0);
            return Ok((ReadPoint { growing_optional: level >= EVENTUALLY, ..point }, named));
        }
        let (sent, past) = (self.clock.elapsed(), self.catalog.past());
        let asking = Asking {
            database: &named.database.name,
            collection: name,
            once: level >= EVENTUALLY && !asked.exactly && wanted == Timestamp::ZERO,
            standby_from: (level == SESSION || level >= EVENTUALLY)
                .then_some(wanted)
                .filter(|_| !asked.exactly),
        };
        let answer = self.ask_writer(asking).await;
        let (answer, newest) = match answer {
            Ok(answer) => answer,
            // Without the writer an eventual read takes what there is.
            Err(error) if level >= EVENTUALLY && !asked.exactly => {
                let last = self.last_point(named.collection.id);
                let named = self.of_term(named, last.epoch, 0);
                return if last.timestamp >= wanted { Ok((last, named)) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        let v = answer.version.unwrap_or_default();
        self.catalog.wait_for(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }).await?;
        let mut point = ReadPoint {
            timestamp: Timestamp(answer.timestamp),
            delete_sequence: answer.delete_sequence,
            epoch: answer.epoch,
            growing_optional: level >= EVENTUALLY && !asked.exactly,
        };
        // Of a standby nobody knows how far behind it is.
        if newest {
            self.remember(CollectionId(answer.collection_id), Known { point, sent, past });
        }
        if asked.exactly && wanted != Timestamp::ZERO {
            if wanted > point.timestamp {
                return Err(Error::new(
                    mishards_types::Code(11),
                    "the guarantee timestamp is in the future: time tick long delay",
                ));
            }
            point.timestamp = wanted;
        }
        let named = self.of_term(self.known(&named.database.name, name)?, point.epoch, v.commit_seq);
        // The name is an alias that was switched meanwhile: the last delete is another collection's.
        if named.collection.id.0 != answer.collection_id {
            return Err(Error::unavailable(format!(
                "{name} means another collection than a moment ago, ask again"
            )));
        }
        Ok((point, named))
    }

    fn known_point(&self, collection: CollectionId, wanted: Timestamp) -> Option<ReadPoint> {
        let known = *self.lock().get(&collection)?;
        let young = self.clock.elapsed().saturating_sub(known.sent) < BOUNDED;
        (known.point.timestamp >= wanted && young && self.is_of_now(&known)).then_some(known.point)
    }

    fn last_point(&self, collection: CollectionId) -> ReadPoint {
        let nothing =
            ReadPoint { timestamp: Timestamp::MAX, delete_sequence: 0, epoch: 0, growing_optional: true };
        let now = self.clock.elapsed();
        let young = |known: &&Known| now.saturating_sub(known.sent) < EVENTUAL && self.is_of_now(known);
        let last = self.lock().get(&collection).filter(young).map_or(nothing, |k| k.point);
        ReadPoint { growing_optional: true, ..last }
    }

    /// Whether a read point is of whoever writes now, if anybody does: the writer of another term may have taken over an older
    /// copy, in which the last delete is another one.
    fn is_of_now(&self, known: &Known) -> bool {
        let writer = self.topology.writer().ok();
        known.past == self.catalog.past() && writer.is_none_or(|writer| writer.epoch == known.point.epoch)
    }

    fn remember(&self, collection: CollectionId, known: Known) {
        let mut all = self.lock();
        let newer = all.get(&collection).is_none_or(|old| old.sent <= known.sent);
        if newer {
            all.insert(collection, known);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CollectionId, Known>> {
        self.read_points.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the writable node, waiting through a takeover. While nobody writes, standbys are asked: their word must be enough,
    /// or proven. The second value says that the answer is proven to be the newest.
    async fn ask_writer(&self, asking: Asking<'_>) -> Result<(ReadPointResponse, bool)> {
        let mut last;
        let until = self.clock.elapsed() + PATIENCE;
        loop {
            match self.topology.writer() {
                Ok(writer) => {
                    match until_gone(&writer, writer.client.read_point(asking.request(false))).await {
                        Ok(answer) => return Ok((answer, true)),
                        Err(failure) if failure.kind == Kind::Refused => return Err(failure.error),
                        Err(failure) => {
                            self.topology.suspect(&writer.name);
                            last = failure.error;
                        }
                    }
                }
                Err(error) => last = error,
            }
            if let Some(answer) = self.ask_standby(&asking).await {
                let newest = answer.newest;
                return Ok((answer, newest));
            }
            if asking.once || self.clock.elapsed() >= until {
                return Err(last);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_standby(&self, asking: &Asking<'_>) -> Option<ReadPointResponse> {
        let is_enough = |answer: &ReadPointResponse| {
            answer.newest || asking.standby_from.is_some_and(|from| answer.timestamp >= from.0)
        };
        let nodes = self.topology.nodes();
        // Where a standby's word is not enough, only one can prove anything that has written itself.
        let may_know = |node: &&Node| node.said.has_written || asking.standby_from.is_some();
        let standbys = nodes.by_name.values().filter(|node| node.standby && node.said.tails_epoch != 0);
        for standby in standbys.filter(may_know) {
            if let Ok(answer) = until_gone(standby, standby.client.read_point(asking.request(true))).await
                && is_enough(&answer)
            {
                return Some(answer);
            }
        }
        None
    }
}

/// An answer, or that the node does not answer any more, or not in time: it may live while its disk hangs.
pub(super) async fn until_gone<T>(
    node: &Node,
    answer: impl Future<Output = std::result::Result<T, Failure>>,
) -> std::result::Result<T, Failure> {
    tokio::select! {
        answer = answer => answer,
        () = node.gone.cancelled() => {
            let text = format!("node {} does not answer any more", node.name);
            Err(Failure::new(Kind::Transport, Error::unavailable(text)))
        }
        () = tokio::time::sleep(ANSWER) => {
            let text = format!("node {} has not given a read point within {} s", node.name, ANSWER.as_secs());
            Err(Failure::new(Kind::Transport, Error::unavailable(text)))
        }
    }
}

/// A read point that is asked for.
struct Asking<'a> {
    database: &'a str,
    collection: &'a str,
    once: bool,
    /// A standby's word is enough when it has applied this; without it, only one that is proven.
    standby_from: Option<Timestamp>,
}

impl Asking<'_> {
    fn request(&self, from_standby: bool) -> ReadPointRequest {
        ReadPointRequest {
            database: self.database.to_owned(),
            collection: self.collection.to_owned(),
            from_standby,
        }
    }
}
