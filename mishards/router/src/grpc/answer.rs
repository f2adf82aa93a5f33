//! Answers that can say that the request failed.

use mishards_proto::common::Status;
use mishards_proto::milvus::*;

/// A message with a status.
pub trait Answer {
    /// The answer that carries nothing but a failure.
    fn failed(status: Status) -> Self;
}

impl Answer for Status {
    fn failed(status: Status) -> Status {
        status
    }
}

macro_rules! answers {
    ($($name:ident)*) => {
        $(impl Answer for $name {
            fn failed(status: Status) -> $name {
                $name { status: Some(status), ..Default::default() }
            }
        })*
    };
}

answers! {
    AllocTimestampResponse
    BoolResponse
    CheckHealthResponse
    ConnectResponse
    DescribeAliasResponse
    DescribeCollectionResponse
    DescribeDatabaseResponse
    DescribeIndexResponse
    FlushAllResponse
    FlushResponse
    GetCollectionStatisticsResponse
    GetFlushAllStateResponse
    GetFlushStateResponse
    GetIndexBuildProgressResponse
    GetIndexStateResponse
    GetIndexStatisticsResponse
    GetLoadStateResponse
    GetLoadingProgressResponse
    GetPartitionStatisticsResponse
    GetPersistentSegmentInfoResponse
    GetQuerySegmentInfoResponse
    GetVersionResponse
    ListAliasesResponse
    ListDatabasesResponse
    MutationResult
    QueryResults
    SearchResults
    ShowCollectionsResponse
    ShowPartitionsResponse
}

/// The database of a connection, from its metadata; empty when it names none.
pub fn connection_database<T>(request: &tonic::Request<T>) -> String {
    let name = request.metadata().get("dbname").and_then(|v| v.to_str().ok());
    name.unwrap_or_default().to_owned()
}
