//! The node API's port.

use futures_util::{Stream, StreamExt};
use mishards_node::Node;
use mishards_proto::node::node_server::NodeServer;
use mishards_types::limits;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the token is cancelled and the running requests have ended.
pub async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) -> Result<(), String> {
    let service = NodeServer::new(node)
        .max_decoding_message_size(limits::SEND_BYTES)
        .max_encoding_message_size(limits::SEND_BYTES);
    let incoming = incoming(listener);
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .map_err(|e| format!("the node API's port failed: {e}"))
}

/// Connections as they come. One that cannot be accepted, for want of descriptors, is looked at again after a pause.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = std::io::Result<TcpStream>> {
    TcpIncoming::from(listener).with_nodelay(Some(true)).then(|connection| async {
        if connection.is_err() {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        connection
    })
}
