//! The node API's port.

use mishards_node::Node;
use mishards_proto::node::node_server::NodeServer;
use mishards_types::limits;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until the token is cancelled and the running requests have ended.
pub async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) -> Result<(), String> {
    let service = NodeServer::new(node)
        .max_decoding_message_size(limits::SEND_BYTES)
        .max_encoding_message_size(limits::SEND_BYTES);
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .map_err(|e| format!("the node API's port failed: {e}"))
}
