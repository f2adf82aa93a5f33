//! The Milvus service over gRPC: reads the connection's database, calls the router, puts errors into the answer's
//! status. User errors travel with gRPC OK, as clients expect.

mod answer;
mod unknown;

pub use unknown::refuse_unknown_rpc;

use crate::service::Router;
use answer::{Answer, connection_database};
use mishards_proto::common;
use mishards_proto::milvus::milvus_service_server::MilvusService;
use mishards_proto::milvus::*;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// See the file's head.
#[derive(Clone)]
pub struct MilvusAdapter {
    router: Arc<Router>,
}

impl MilvusAdapter {
    pub fn new(router: Arc<Router>) -> MilvusAdapter {
        MilvusAdapter { router }
    }

    async fn answer<T: Answer>(
        &self,
        operation: &'static str,
        call: impl Future<Output = mishards_types::Result<T>>,
    ) -> Result<Response<T>, Status> {
        let timer = self.router.metrics.request_seconds.with_label_values(&[operation]).start_timer();
        let done = call.await;
        drop(timer);
        Ok(Response::new(done.unwrap_or_else(|error| {
            self.router
                .metrics
                .failures_total
                .with_label_values(&[operation, &error.code.0.to_string()])
                .inc();
            tracing::debug!(operation, code = error.code.0, error = %error, "request refused");
            T::failed(crate::error::status_of(&error))
        })))
    }
}

/// One method of the service a line: its name, its messages, and the router's method for it.
macro_rules! rpcs {
    ($($name:ident($request:ty) -> $answer:ty = |$router:ident, $db:pat_param, $message:pat_param| $call:expr;)*) => {
        #[tonic::async_trait]
        impl MilvusService for MilvusAdapter {
            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                let database = connection_database(&request);
                let ($router, $db, $message) = (&self.router, database.as_str(), request.into_inner());
                self.answer(stringify!($name), $call).await
            })*
        }
    };
}

rpcs! {
    create_collection(CreateCollectionRequest) -> common::Status = |router, db, r| router.create_collection(db, r);
    drop_collection(DropCollectionRequest) -> common::Status = |router, db, r| router.drop_collection(db, r);
    has_collection(HasCollectionRequest) -> BoolResponse = |router, db, r| router.has_collection(db, r);
    rename_collection(RenameCollectionRequest) -> common::Status = |router, db, r| router.rename_collection(db, r);
    describe_collection(DescribeCollectionRequest) -> DescribeCollectionResponse = |router, db, r| router.describe_collection(db, r);
    show_collections(ShowCollectionsRequest) -> ShowCollectionsResponse = |router, db, r| router.show_collections(db, r);
    get_collection_statistics(GetCollectionStatisticsRequest) -> GetCollectionStatisticsResponse = |router, db, r| router.collection_statistics(db, r);
    load_collection(LoadCollectionRequest) -> common::Status = |router, db, r| router.load_collection(db, r);
    release_collection(ReleaseCollectionRequest) -> common::Status = |router, db, r| router.release_collection(db, r);
    load_partitions(LoadPartitionsRequest) -> common::Status = |router, db, r| router.load_partitions(db, r);
    release_partitions(ReleasePartitionsRequest) -> common::Status = |router, db, r| router.release_partitions(db, r);
    get_loading_progress(GetLoadingProgressRequest) -> GetLoadingProgressResponse = |router, db, r| router.loading_progress(db, r);
    get_load_state(GetLoadStateRequest) -> GetLoadStateResponse = |router, db, r| router.load_state(db, r);
    create_partition(CreatePartitionRequest) -> common::Status = |router, db, r| router.create_partition(db, r);
    drop_partition(DropPartitionRequest) -> common::Status = |router, db, r| router.drop_partition(db, r);
    has_partition(HasPartitionRequest) -> BoolResponse = |router, db, r| router.has_partition(db, r);
    show_partitions(ShowPartitionsRequest) -> ShowPartitionsResponse = |router, db, r| router.show_partitions(db, r);
    get_partition_statistics(GetPartitionStatisticsRequest) -> GetPartitionStatisticsResponse = |router, db, r| router.partition_statistics(db, r);
    create_alias(CreateAliasRequest) -> common::Status = |router, db, r| router.create_alias(db, r);
    drop_alias(DropAliasRequest) -> common::Status = |router, db, r| router.drop_alias(db, r);
    alter_alias(AlterAliasRequest) -> common::Status = |router, db, r| router.alter_alias(db, r);
    describe_alias(DescribeAliasRequest) -> DescribeAliasResponse = |router, db, r| router.describe_alias(db, r);
    list_aliases(ListAliasesRequest) -> ListAliasesResponse = |router, db, r| router.list_aliases(db, r);
    create_index(CreateIndexRequest) -> common::Status = |router, db, r| router.create_index(db, r);
    describe_index(DescribeIndexRequest) -> DescribeIndexResponse = |router, db, r| router.describe_index(db, r);
    get_index_statistics(GetIndexStatisticsRequest) -> GetIndexStatisticsResponse = |router, db, r| router.index_statistics(db, r);
    get_index_state(GetIndexStateRequest) -> GetIndexStateResponse = |router, db, r| router.index_state(db, r);
    get_index_build_progress(GetIndexBuildProgressRequest) -> GetIndexBuildProgressResponse = |router, db, r| router.index_build_progress(db, r);
    drop_index(DropIndexRequest) -> common::Status = |router, db, r| router.drop_index(db, r);
    insert(InsertRequest) -> MutationResult = |router, db, r| router.insert(db, r);
    upsert(UpsertRequest) -> MutationResult = |router, db, r| router.upsert(db, r);
    delete(DeleteRequest) -> MutationResult = |router, db, r| router.delete(db, r);
    search(SearchRequest) -> SearchResults = |router, db, r| router.search(db, r);
    hybrid_search(HybridSearchRequest) -> SearchResults = |router, db, r| router.hybrid_search(db, r);
    query(QueryRequest) -> QueryResults = |router, db, r| router.query(db, r);
    flush(FlushRequest) -> FlushResponse = |router, db, r| router.flush(db, r);
    flush_all(FlushAllRequest) -> FlushAllResponse = |router, _, r| router.flush_all(r);
    get_flush_state(GetFlushStateRequest) -> GetFlushStateResponse = |router, db, r| router.flush_state(db, r);
    get_flush_all_state(GetFlushAllStateRequest) -> GetFlushAllStateResponse = |router, _, _| router.flush_all_state();
    get_persistent_segment_info(GetPersistentSegmentInfoRequest) -> GetPersistentSegmentInfoResponse = |router, db, r| router.persistent_segments(db, r);
    get_query_segment_info(GetQuerySegmentInfoRequest) -> GetQuerySegmentInfoResponse = |router, db, r| router.query_segments(db, r);
    get_version(GetVersionRequest) -> GetVersionResponse = |router, _, _| router.version();
    check_health(CheckHealthRequest) -> CheckHealthResponse = |router, _, _| router.health();
    connect(ConnectRequest) -> ConnectResponse = |router, db, r| router.connect(db, r);
    alloc_timestamp(AllocTimestampRequest) -> AllocTimestampResponse = |router, _, _| router.alloc_timestamp();
    create_database(CreateDatabaseRequest) -> common::Status = |router, _, r| router.create_database(r);
    drop_database(DropDatabaseRequest) -> common::Status = |router, _, r| router.drop_database(r);
    alter_database(AlterDatabaseRequest) -> common::Status = |router, _, r| router.alter_database(r);
    list_databases(ListDatabasesRequest) -> ListDatabasesResponse = |router, _, _| router.list_databases();
    describe_database(DescribeDatabaseRequest) -> DescribeDatabaseResponse = |router, db, r| router.describe_database(db, r);
}
