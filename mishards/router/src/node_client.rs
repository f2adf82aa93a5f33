//! One node, as the router calls it: over gRPC, or in the same process.

use crate::error::Failure;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_proto::node::node_client::NodeClient as Generated;
use mishards_proto::node::*;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

pub type Result<T> = std::result::Result<T, Failure>;

/// The node API. Dropping a future cancels the call.
#[tonic::async_trait]
pub trait NodeClient: Send + Sync + 'static {
    async fn describe(&self) -> Result<DescribeResponse>;
    async fn prove(&self) -> Result<ProveResponse>;
    async fn search(&self, request: SearchRequest) -> Result<RowBatch>;
    async fn query(&self, request: QueryRequest) -> Result<RowBatch>;
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse>;
    async fn read_point(&self, request: ReadPointRequest) -> Result<ReadPointResponse>;
    async fn write(&self, request: WriteRequest) -> Result<WriteResponse>;
    async fn change(&self, request: ChangeRequest) -> Result<ChangeResponse>;
    async fn flush(&self, request: FlushRequest) -> Result<FlushResponse>;
    async fn growing(&self, request: GrowingRequest) -> Result<GrowingResponse>;
    async fn open(&self, request: OpenRequest) -> Result<OpenResponse>;
    async fn close(&self, request: CloseRequest) -> Result<CloseResponse>;
    async fn watch_catalog(&self) -> Result<BoxStream<'static, Result<CatalogUpdate>>>;
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a connection for answers may be busy with one that is large: probes, which have a connection of their own, tell
/// much sooner of a node that is gone.
const BUSY: Duration = Duration::from_secs(10);
/// Requests for more rows, or for the columns of more rows, than these may have answers of megabytes.
const BULK_ROWS: u64 = 16_384;
const BULK_FETCH: usize = 1_024;

/// A node behind a connection, which is made when it is first used and again when it broke.
pub struct GrpcNode {
    name: String,
    client: Generated<Channel>,
    /// A connection of its own for large answers, which others would wait behind.
    bulk: Generated<Channel>,
    /// A connection of its own for what must not wait behind answers of many megabytes: probes, read points, the catalog.
    control: Generated<Channel>,
}

impl GrpcNode {
    /// `address` is host:port.
    pub fn new(name: &str, address: &str) -> std::result::Result<GrpcNode, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let connect = |patience| {
            Generated::new(endpoint.clone().keep_alive_timeout(patience).connect_lazy())
                .max_decoding_message_size(mishards_types::limits::SEND_BYTES)
                .max_encoding_message_size(mishards_types::limits::SEND_BYTES)
        };
        let name = name.to_owned();
        Ok(GrpcNode { name, client: connect(BUSY), bulk: connect(BUSY), control: connect(KEEP_ALIVE) })
    }

    /// The generated client, for streams between nodes.
    pub fn client(&self) -> Generated<Channel> {
        self.client.clone()
    }

    fn failure(&self, status: &tonic::Status) -> Failure {
        Failure::from_status(&self.name, status)
    }
}

macro_rules! unary {
    ($self:ident, $method:ident, $request:expr) => {
        unary!($self, client, $method, $request)
    };
    ($self:ident, $channel:ident, $method:ident, $request:expr) => {
        $self
            .$channel
            .clone()
            .$method($request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|s| $self.failure(&s))
    };
}

#[tonic::async_trait]
impl NodeClient for GrpcNode {
    async fn describe(&self) -> Result<DescribeResponse> {
        unary!(self, control, describe, DescribeRequest {})
    }

    async fn prove(&self) -> Result<ProveResponse> {
        match self.control.clone().prove(ProveRequest {}).await {
            Ok(proof) => Ok(proof.into_inner()),
            // An older version writes nothing when it is asked to.
            Err(status) if status.code() == tonic::Code::Unimplemented => Ok(ProveResponse::default()),
            Err(status) => Err(self.failure(&status)),
        }
    }

    async fn search(&self, request: SearchRequest) -> Result<RowBatch> {
        match u64::from(request.nq) * u64::from(request.k) > BULK_ROWS {
            true => unary!(self, bulk, search, request),
            false => unary!(self, search, request),
        }
    }

    async fn query(&self, request: QueryRequest) -> Result<RowBatch> {
        match !request.count && request.limit > BULK_ROWS {
            true => unary!(self, bulk, query, request),
            false => unary!(self, query, request),
        }
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse> {
        match request.rows.len() > BULK_FETCH {
            true => unary!(self, bulk, fetch, request),
            false => unary!(self, fetch, request),
        }
    }

    async fn read_point(&self, request: ReadPointRequest) -> Result<ReadPointResponse> {
        unary!(self, control, read_point, request)
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteResponse> {
        unary!(self, write, request)
    }

    async fn change(&self, request: ChangeRequest) -> Result<ChangeResponse> {
        unary!(self, change, request)
    }

    async fn flush(&self, request: FlushRequest) -> Result<FlushResponse> {
        unary!(self, flush, request)
    }

    async fn growing(&self, request: GrowingRequest) -> Result<GrowingResponse> {
        unary!(self, growing, request)
    }

    async fn open(&self, request: OpenRequest) -> Result<OpenResponse> {
        unary!(self, open, request)
    }

    async fn close(&self, request: CloseRequest) -> Result<CloseResponse> {
        unary!(self, close, request)
    }

    async fn watch_catalog(&self) -> Result<BoxStream<'static, Result<CatalogUpdate>>> {
        let stream = unary!(self, control, watch_catalog, WatchCatalogRequest {})?;
        let name = self.name.clone();
        Ok(stream.map(move |update| update.map_err(|s| Failure::from_status(&name, &s))).boxed())
    }
}
