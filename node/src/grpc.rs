//! The node's API over gRPC: translates and nothing else. Routers in the same process call the same methods.

use crate::{Failure, Node};
use futures_util::stream::BoxStream;
use mishards_proto::node::node_server;
use mishards_proto::node::*;
use mishards_proto::off_worker::{OffWorker, sized};
use prost::Message;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> std::result::Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(self.run_describe()))
    }

    async fn prove(&self, _: Request<ProveRequest>) -> std::result::Result<Response<ProveResponse>, Status> {
        Ok(Response::new(self.run_prove().await?))
    }

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> std::result::Result<Response<RowBatch>, Status> {
        Ok(Response::new(self.run_search(request.into_inner()).await?))
    }

    async fn query(&self, request: Request<QueryRequest>) -> std::result::Result<Response<RowBatch>, Status> {
        Ok(Response::new(self.run_query(request.into_inner()).await?))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> std::result::Result<Response<FetchResponse>, Status> {
        Ok(Response::new(self.run_fetch(request.into_inner()).await?))
    }

    async fn read_point(
        &self,
        request: Request<ReadPointRequest>,
    ) -> std::result::Result<Response<ReadPointResponse>, Status> {
        Ok(Response::new(self.run_read_point(request.into_inner()).await?))
    }

    async fn write(
        &self,
        request: Request<WriteRequest>,
    ) -> std::result::Result<Response<WriteResponse>, Status> {
        // In a task of its own: a caller that goes away must not leave a write half prepared.
        let writer = self.writer()?;
        let bytes = request.get_ref().encoded_len();
        let task = tokio::spawn(sized(bytes, async move { writer.write(request.into_inner()).await }));
        let done = task.await.map_err(|e| Status::from(Failure::unknown_outcome(e)))?;
        Ok(Response::new(done?))
    }

    async fn change(
        &self,
        request: Request<ChangeRequest>,
    ) -> std::result::Result<Response<ChangeResponse>, Status> {
        let node = self.clone();
        let task = tokio::spawn(OffWorker::new(async move { node.run_change(request.into_inner()).await }));
        let done = task.await.map_err(|e| Status::from(Failure::unknown_outcome(e)))?;
        Ok(Response::new(done?))
    }

    async fn flush(
        &self,
        request: Request<FlushRequest>,
    ) -> std::result::Result<Response<FlushResponse>, Status> {
        Ok(Response::new(OffWorker::new(self.run_flush(request.into_inner())).await?))
    }

    async fn growing(
        &self,
        request: Request<GrowingRequest>,
    ) -> std::result::Result<Response<GrowingResponse>, Status> {
        Ok(Response::new(self.run_growing(request.into_inner())?))
    }

    async fn open(
        &self,
        request: Request<OpenRequest>,
    ) -> std::result::Result<Response<OpenResponse>, Status> {
        Ok(Response::new(self.run_open(request.into_inner()).await?))
    }

    async fn close(
        &self,
        request: Request<CloseRequest>,
    ) -> std::result::Result<Response<CloseResponse>, Status> {
        Ok(Response::new(self.run_close(request.into_inner()).await?))
    }

    type WatchLogStream = BoxStream<'static, std::result::Result<LogUpdate, Status>>;

    async fn watch_log(
        &self,
        _: Request<WatchLogRequest>,
    ) -> std::result::Result<Response<Self::WatchLogStream>, Status> {
        Ok(Response::new(self.writer()?.watch_log()))
    }

    type WatchCatalogStream = BoxStream<'static, std::result::Result<CatalogUpdate, Status>>;

    async fn watch_catalog(
        &self,
        _: Request<WatchCatalogRequest>,
    ) -> std::result::Result<Response<Self::WatchCatalogStream>, Status> {
        Ok(Response::new(self.writer()?.watch_catalog()))
    }

    type WatchDeletesStream = BoxStream<'static, std::result::Result<DeletesUpdate, Status>>;

    async fn watch_deletes(
        &self,
        _: Request<WatchDeletesRequest>,
    ) -> std::result::Result<Response<Self::WatchDeletesStream>, Status> {
        Ok(Response::new(self.writer()?.watch_deletes()))
    }
}
