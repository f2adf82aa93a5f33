//! Flush: answers when what was acknowledged before is in published files.

use super::Router;
use super::names::database_name;
use crate::error::ok;
use mishards_proto::milvus::flush_response::*;
use mishards_proto::milvus::*;
use mishards_proto::node::{FlushRequest as NodeFlush, FlushResponse as NodeFlushed};
use mishards_proto::schema::LongArray;
use mishards_types::{Error, Result, Timestamp, Version};
use std::collections::HashSet;

impl Router {
    async fn flush_collections(&self, collection_ids: Vec<i64>) -> Result<NodeFlushed> {
        let writer = self.topology.wait_for_writer().await?;
        let done =
            writer.client.flush(NodeFlush { collection_ids, wait: true }).await.map_err(Error::from)?;
        let v = done.version.unwrap_or_default();
        self.catalog.wait_for(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }).await?;
        Ok(done)
    }

    pub async fn flush(&self, db: &str, request: FlushRequest) -> Result<FlushResponse> {
        let database = database_name(&request.db_name, db);
        let mut ids = Vec::new();
        let mut names = request.collection_names;
        names.sort_unstable();
        names.dedup();
        for name in &names {
            ids.push(self.collection(database, name).await?.collection.id);
        }
        let done = self.flush_collections(ids.iter().map(|id| id.0).collect()).await?;
        let snapshot = self.catalog.get()?;
        let mut answer =
            FlushResponse { status: Some(ok()), db_name: database.to_owned(), ..Default::default() };
        for (name, id) in names.into_iter().zip(ids) {
            let segments = snapshot.segments_of(id).map(|s| s.id.0).collect();
            let sealed = (Timestamp(done.timestamp).unix_ms() / 1000) as i64;
            let key = || Some(name.clone());
            answer.coll_seg_i_ds.push(CollSegIDsEntry { key: key(), value: Some(LongArray::default()) });
            answer
                .flush_coll_seg_i_ds
                .push(FlushCollSegIDsEntry { key: key(), value: Some(LongArray { data: segments }) });
            answer.coll_seal_times.push(CollSealTimesEntry { key: key(), value: Some(sealed) });
            answer.coll_flush_ts.push(CollFlushTsEntry { key: key(), value: Some(done.timestamp) });
        }
        Ok(answer)
    }

    pub async fn flush_all(&self, request: FlushAllRequest) -> Result<FlushAllResponse> {
        let mut ids = Vec::new();
        for target in &request.flush_targets {
            let (snapshot, database) = self.database(database_name(&target.db_name, ""))?;
            let asked: HashSet<&str> = target.collection_names.iter().map(String::as_str).collect();
            for c in snapshot.collections_of(database.id) {
                if asked.is_empty() || asked.contains(c.name.as_str()) {
                    ids.push(c.id.0);
                }
            }
        }
        if ids.is_empty() && !request.flush_targets.is_empty() {
            let flush_all_ts = Timestamp::from_unix_ms(self.clock.unix_ms()).0;
            return Ok(FlushAllResponse { status: Some(ok()), flush_all_ts, ..Default::default() });
        }
        let done = self.flush_collections(ids).await?;
        Ok(FlushAllResponse { status: Some(ok()), flush_all_ts: done.timestamp, ..Default::default() })
    }

    /// Flush answers when it is done, so whoever asks later is told so.
    pub async fn flush_state(
        &self,
        db: &str,
        request: GetFlushStateRequest,
    ) -> Result<GetFlushStateResponse> {
        if !request.collection_name.is_empty() {
            self.collection(database_name(&request.db_name, db), &request.collection_name).await?;
        }
        Ok(GetFlushStateResponse { status: Some(ok()), flushed: true })
    }

    pub async fn flush_all_state(&self) -> Result<GetFlushAllStateResponse> {
        self.catalog.get()?;
        Ok(GetFlushAllStateResponse { status: Some(ok()), flushed: true, ..Default::default() })
    }
}
