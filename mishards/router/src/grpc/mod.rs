//! The Milvus service over gRPC: reads the connection's database, calls the router, puts errors into the answer's
//! status. User errors travel with gRPC OK, as clients expect.

mod answer;
mod unknown;

pub use unknown::{Unserved, answer_unserved_rpc};

use crate::call::Call;
use crate::service::Router;
use answer::{Answer, connection_database};
use mishards_proto::common;
use mishards_proto::milvus::milvus_service_server::MilvusService;
use mishards_proto::milvus::*;
use mishards_proto::off_worker::sized;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
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
        call: &Call,
        answer: impl Future<Output = mishards_types::Result<T>>,
    ) -> Result<Response<T>, Status> {
        let timer = self.router.metrics.request_seconds.with_label_values(&[operation]).start_timer();
        if !FOLLOWS_BY_ITSELF.contains(&operation) {
            self.router.catch_up().await;
        }
        let done = answer.await;
        self.router.note_time(operation, call, timer.stop_and_record());
        let mut response = Response::new(done.unwrap_or_else(|error| {
            self.router
                .metrics
                .failures_total
                .with_label_values(&[operation, &error.code.0.to_string()])
                .inc();
            tracing::debug!(operation, code = error.code.0, error = %error, "request refused");
            call.span.fail(&error.message);
            T::failed(crate::error::status_of(&error))
        }));
        if let Some(line) = call.coverage_line().and_then(|line| line.parse().ok()) {
            response.metadata_mut().insert(COVERAGE, line);
        }
        Ok(response)
    }

    /// What a request says of itself beside its message.
    fn call<T>(&self, operation: &'static str, request: &Request<T>) -> Call {
        let text = |key: &str| request.metadata().get(key).and_then(|v| v.to_str().ok());
        let patience = text("grpc-timeout").and_then(grpc_timeout);
        let mut call = Call::of(connection_database(request));
        call.deadline = patience.map(|patience| self.router.clock.elapsed() + patience);
        call.span = self.router.tracer.serve(operation, text("traceparent"));
        call
    }
}

/// Calls that ask the writable node as far as they must, or are not about the catalog. All others catch up first.
const FOLLOWS_BY_ITSELF: [&str; 10] = [
    "search",
    "hybrid_search",
    "query",
    "insert",
    "upsert",
    "delete",
    "connect",
    "get_version",
    "check_health",
    "alloc_timestamp",
];

/// Of an answer: which segments it covers, at which V, and who answered. Sent as a trailer.
pub const COVERAGE: &str = "mishards-coverage";

/// Reads the time that a client waits. (gRPC over HTTP/2, "Timeout": at most eight digits, then a unit.)
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// One method of the service a line: its name, its messages, and the router's method for it.
macro_rules! rpcs {
    ($($name:ident($request:ty) -> $answer:ty = |$router:ident, $call:pat_param, $message:pat_param| $answering:expr;)*) => {
        #[tonic::async_trait]
        impl MilvusService for MilvusAdapter {
            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                let call = self.call(stringify!($name), &request);
                let bytes = request.get_ref().encoded_len();
                let ($router, $call, $message) = (&self.router, &call, request.into_inner());
                // Whatever is done with a large request leaves the async workers.
                sized(bytes, self.answer(stringify!($name), &call, $answering)).await
            })*
        }
    };
}

rpcs! {
    create_collection(CreateCollectionRequest) -> common::Status = |router, call, r| router.create_collection(&call.database, r);
    drop_collection(DropCollectionRequest) -> common::Status = |router, call, r| router.drop_collection(&call.database, r);
    has_collection(HasCollectionRequest) -> BoolResponse = |router, call, r| router.has_collection(&call.database, r);
    rename_collection(RenameCollectionRequest) -> common::Status = |router, call, r| router.rename_collection(&call.database, r);
    describe_collection(DescribeCollectionRequest) -> DescribeCollectionResponse = |router, call, r| router.describe_collection(&call.database, r);
    show_collections(ShowCollectionsRequest) -> ShowCollectionsResponse = |router, call, r| router.show_collections(&call.database, r);
    get_collection_statistics(GetCollectionStatisticsRequest) -> GetCollectionStatisticsResponse = |router, call, r| router.collection_statistics(&call.database, r);
    load_collection(LoadCollectionRequest) -> common::Status = |router, call, r| router.load_collection(&call.database, r);
    release_collection(ReleaseCollectionRequest) -> common::Status = |router, call, r| router.release_collection(&call.database, r);
    load_partitions(LoadPartitionsRequest) -> common::Status = |router, call, r| router.load_partitions(&call.database, r);
    release_partitions(ReleasePartitionsRequest) -> common::Status = |router, call, r| router.release_partitions(&call.database, r);
    get_loading_progress(GetLoadingProgressRequest) -> GetLoadingProgressResponse = |router, call, r| router.loading_progress(&call.database, r);
    get_load_state(GetLoadStateRequest) -> GetLoadStateResponse = |router, call, r| router.load_state(&call.database, r);
    create_partition(CreatePartitionRequest) -> common::Status = |router, call, r| router.create_partition(&call.database, r);
    drop_partition(DropPartitionRequest) -> common::Status = |router, call, r| router.drop_partition(&call.database, r);
    has_partition(HasPartitionRequest) -> BoolResponse = |router, call, r| router.has_partition(&call.database, r);
    show_partitions(ShowPartitionsRequest) -> ShowPartitionsResponse = |router, call, r| router.show_partitions(&call.database, r);
    get_partition_statistics(GetPartitionStatisticsRequest) -> GetPartitionStatisticsResponse = |router, call, r| router.partition_statistics(&call.database, r);
    create_alias(CreateAliasRequest) -> common::Status = |router, call, r| router.create_alias(&call.database, r);
    drop_alias(DropAliasRequest) -> common::Status = |router, call, r| router.drop_alias(&call.database, r);
    alter_alias(AlterAliasRequest) -> common::Status = |router, call, r| router.alter_alias(&call.database, r);
    describe_alias(DescribeAliasRequest) -> DescribeAliasResponse = |router, call, r| router.describe_alias(&call.database, r);
    list_aliases(ListAliasesRequest) -> ListAliasesResponse = |router, call, r| router.list_aliases(&call.database, r);
    create_index(CreateIndexRequest) -> common::Status = |router, call, r| router.create_index(&call.database, r);
    describe_index(DescribeIndexRequest) -> DescribeIndexResponse = |router, call, r| router.describe_index(&call.database, r);
    get_index_statistics(GetIndexStatisticsRequest) -> GetIndexStatisticsResponse = |router, call, r| router.index_statistics(&call.database, r);
    get_index_state(GetIndexStateRequest) -> GetIndexStateResponse = |router, call, r| router.index_state(&call.database, r);
    get_index_build_progress(GetIndexBuildProgressRequest) -> GetIndexBuildProgressResponse = |router, call, r| router.index_build_progress(&call.database, r);
    drop_index(DropIndexRequest) -> common::Status = |router, call, r| router.drop_index(&call.database, r);
    insert(InsertRequest) -> MutationResult = |router, call, r| router.insert(&call.database, r);
    upsert(UpsertRequest) -> MutationResult = |router, call, r| router.upsert(&call.database, r);
    delete(DeleteRequest) -> MutationResult = |router, call, r| router.delete(call, r);
    search(SearchRequest) -> SearchResults = |router, call, r| router.search(call, r);
    hybrid_search(HybridSearchRequest) -> SearchResults = |router, call, r| router.hybrid_search(call, r);
    query(QueryRequest) -> QueryResults = |router, call, r| router.query(call, r);
    flush(FlushRequest) -> FlushResponse = |router, call, r| router.flush(&call.database, r);
    flush_all(FlushAllRequest) -> FlushAllResponse = |router, _, r| router.flush_all(r);
    get_flush_state(GetFlushStateRequest) -> GetFlushStateResponse = |router, call, r| router.flush_state(&call.database, r);
    get_flush_all_state(GetFlushAllStateRequest) -> GetFlushAllStateResponse = |router, _, _| router.flush_all_state();
    get_persistent_segment_info(GetPersistentSegmentInfoRequest) -> GetPersistentSegmentInfoResponse = |router, call, r| router.persistent_segments(&call.database, r);
    get_query_segment_info(GetQuerySegmentInfoRequest) -> GetQuerySegmentInfoResponse = |router, call, r| router.query_segments(&call.database, r);
    get_version(GetVersionRequest) -> GetVersionResponse = |router, _, _| router.version();
    check_health(CheckHealthRequest) -> CheckHealthResponse = |router, _, _| router.health();
    connect(ConnectRequest) -> ConnectResponse = |router, call, r| router.connect(&call.database, r);
    alloc_timestamp(AllocTimestampRequest) -> AllocTimestampResponse = |router, _, _| router.alloc_timestamp();
    create_database(CreateDatabaseRequest) -> common::Status = |router, _, r| router.create_database(r);
    drop_database(DropDatabaseRequest) -> common::Status = |router, _, r| router.drop_database(r);
    alter_database(AlterDatabaseRequest) -> common::Status = |router, _, r| router.alter_database(r);
    list_databases(ListDatabasesRequest) -> ListDatabasesResponse = |router, _, _| router.list_databases();
    describe_database(DescribeDatabaseRequest) -> DescribeDatabaseResponse = |router, call, r| router.describe_database(&call.database, r);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_clients_are_read() {
        let read =
            [("1500m", 1_500_000), ("2S", 2_000_000), ("1H", 3_600_000_000), ("99999999u", 99_999_999)];
        for (text, micros) in read {
            assert_eq!(grpc_timeout(text), Some(Duration::from_micros(micros)), "{text}");
        }
        for bad in ["", "5", "S", "-1S", "123456789S", "1.5S", "1x", "1é"] {
            assert_eq!(grpc_timeout(bad), None, "{bad:?}");
        }
    }
}
