//! What clients and tools ask about the service itself.

use super::Router;
use super::names::database_name;
use crate::candidates::holders;
use crate::error::ok;
use mishards_proto::common::{SegmentLevel, SegmentState, ServerInfo};
use mishards_proto::milvus::*;
use mishards_types::{Result, Timestamp};
use std::sync::atomic::Ordering;

impl Router {
    pub async fn connect(&self, db: &str, _request: ConnectRequest) -> Result<ConnectResponse> {
        self.database(database_name("", db))?;
        let server_info = ServerInfo {
            build_tags: self.options.version.clone(),
            build_time: String::new(),
            git_commit: String::new(),
            go_version: String::new(),
            deploy_mode: "CLUSTER".to_owned(),
            ..Default::default()
        };
        let identifier = self.next_identifier.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectResponse { status: Some(ok()), server_info: Some(server_info), identifier })
    }

    pub async fn version(&self) -> Result<GetVersionResponse> {
        Ok(GetVersionResponse { status: Some(ok()), version: self.options.version.clone() })
    }

    pub async fn health(&self) -> Result<CheckHealthResponse> {
        let reasons = match self.topology.writer() {
            Ok(_) => Vec::new(),
            Err(e) => vec![e.message],
        };
        Ok(CheckHealthResponse {
            status: Some(ok()),
            is_healthy: reasons.is_empty(),
            reasons,
            quota_states: Vec::new(),
        })
    }

    pub async fn alloc_timestamp(&self) -> Result<AllocTimestampResponse> {
        Ok(AllocTimestampResponse {
            status: Some(ok()),
            timestamp: Timestamp::from_unix_ms(self.clock.unix_ms()).0,
        })
    }

    pub async fn persistent_segments(
        &self,
        db: &str,
        request: GetPersistentSegmentInfoRequest,
    ) -> Result<GetPersistentSegmentInfoResponse> {
        let named = self.collection(database_name(&request.db_name, db), &request.collection_name).await?;
        let infos = named.snapshot.segments_of(named.collection.id).map(|s| PersistentSegmentInfo {
            segment_id: s.id.0,
            collection_id: s.collection.0,
            partition_id: s.partition.0,
            num_rows: s.rows.into(),
            state: SegmentState::Flushed.into(),
            level: SegmentLevel::L1.into(),
            ..Default::default()
        });
        Ok(GetPersistentSegmentInfoResponse { status: Some(ok()), infos: infos.collect() })
    }

    pub async fn query_segments(
        &self,
        db: &str,
        request: GetQuerySegmentInfoRequest,
    ) -> Result<GetQuerySegmentInfoResponse> {
        let named = self.collection(database_name(&request.db_name, db), &request.collection_name).await?;
        let (nodes, placement) = (self.topology.nodes(), self.placer.placement());
        let number = |name: &str| nodes.by_name.keys().position(|n| n == name).map_or(0, |i| i as i64 + 1);
        let loaded = named
            .snapshot
            .segments_of(named.collection.id)
            .filter(|s| named.collection.load.has(s.partition));
        let infos = loaded.map(|s| {
            let index = s.indexes.first();
            QuerySegmentInfo {
                segment_id: s.id.0,
                collection_id: s.collection.0,
                partition_id: s.partition.0,
                mem_size: s.bytes() as i64,
                num_rows: s.rows.into(),
                index_id: index.map_or(0, |i| i.index.0),
                node_ids: holders(&nodes, &placement, s.id).into_iter().map(number).collect(),
                state: SegmentState::Sealed.into(),
                level: SegmentLevel::L1.into(),
                ..Default::default()
            }
        });
        Ok(GetQuerySegmentInfoResponse { status: Some(ok()), infos: infos.collect() })
    }
}
