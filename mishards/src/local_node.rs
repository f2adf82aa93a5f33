//! A node in the same process, called without a connection: the same API, nothing encoded.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_node::Node;
use mishards_proto::node::node_server::Node as Api;
use mishards_proto::node::*;
use mishards_router::{Failure, NodeClient};
use tonic::{Request, Response, Status};

type Result<T> = std::result::Result<T, Failure>;

/// See the file's head.
pub struct LocalNode {
    pub name: String,
    pub node: Node,
}

impl LocalNode {
    fn read<T>(&self, answer: std::result::Result<Response<T>, Status>) -> Result<T> {
        answer.map(Response::into_inner).map_err(|s| Failure::from_status(&self.name, &s))
    }
}

#[tonic::async_trait]
impl NodeClient for LocalNode {
    async fn describe(&self) -> Result<DescribeResponse> {
        self.read(self.node.describe(Request::new(DescribeRequest {})).await)
    }

    async fn prove(&self) -> Result<ProveResponse> {
        self.read(self.node.prove(Request::new(ProveRequest {})).await)
    }

    async fn search(&self, request: SearchRequest) -> Result<RowBatch> {
        self.read(self.node.search(Request::new(request)).await)
    }

    async fn query(&self, request: QueryRequest) -> Result<RowBatch> {
        self.read(self.node.query(Request::new(request)).await)
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse> {
        self.read(self.node.fetch(Request::new(request)).await)
    }

    async fn read_point(&self, request: ReadPointRequest) -> Result<ReadPointResponse> {
        self.read(self.node.read_point(Request::new(request)).await)
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteResponse> {
        self.read(self.node.write(Request::new(request)).await)
    }

    async fn change(&self, request: ChangeRequest) -> Result<ChangeResponse> {
        self.read(self.node.change(Request::new(request)).await)
    }

    async fn flush(&self, request: FlushRequest) -> Result<FlushResponse> {
        self.read(self.node.flush(Request::new(request)).await)
    }

    async fn growing(&self, request: GrowingRequest) -> Result<GrowingResponse> {
        self.read(self.node.growing(Request::new(request)).await)
    }

    async fn open(&self, request: OpenRequest) -> Result<OpenResponse> {
        self.read(self.node.open(Request::new(request)).await)
    }

    async fn close(&self, request: CloseRequest) -> Result<CloseResponse> {
        self.read(self.node.close(Request::new(request)).await)
    }

    async fn watch_catalog(&self) -> Result<BoxStream<'static, Result<CatalogUpdate>>> {
        let stream = self.read(self.node.watch_catalog(Request::new(WatchCatalogRequest {})).await)?;
        let name = self.name.clone();
        Ok(stream.map(move |update| update.map_err(|s| Failure::from_status(&name, &s))).boxed())
    }
}
