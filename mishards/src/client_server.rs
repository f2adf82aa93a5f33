//! The clients' port: the Milvus service, gRPC health and reflection, on one port; REST can join them there.

use crate::node_server::incoming;
use axum::extract::Request;
use axum::response::IntoResponse;
use http_body::Frame;
use http_body_util::BodyExt;
use mishards_proto::FILE_DESCRIPTOR_SET;
use mishards_proto::milvus::milvus_service_server::MilvusServiceServer;
use mishards_router::{COVERAGE, MilvusAdapter, Router, Unserved, answer_unserved_rpc};
use mishards_types::limits;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

const HTTP2_PING: Duration = Duration::from_secs(30);

/// Serves until the token is cancelled and the running requests have ended.
pub async fn serve(
    listener: TcpListener,
    router: Arc<Router>,
    max_request: usize,
    stop: CancellationToken,
) -> Result<(), String> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MilvusServiceServer<MilvusAdapter>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|e| format!("cannot build the reflection service: {e}"))?;
    let milvus = MilvusServiceServer::new(MilvusAdapter::new(router))
        .max_decoding_message_size(max_request)
        .max_encoding_message_size(limits::SEND_BYTES);
    let app = Routes::new(milvus)
        .add_service(health_service)
        .add_service(reflection)
        .into_axum_router()
        .layer(axum::middleware::from_fn(answer_in_milvus_terms));
    let incoming = incoming(listener);
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(HTTP2_PING))
        .accept_http1(true)
        .add_routes(Routes::from(app));
    server
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .map_err(|e| format!("the clients' port failed: {e}"))
}

/// RPCs that no service answers are refused by name, in the message where it has a status, and what the transport itself refuses gets a code that
/// clients do not repeat: a message too large or cut off stays so.
async fn answer_in_milvus_terms(request: Request, next: axum::middleware::Next) -> axum::response::Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let code =
        response.headers().get("grpc-status").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    // A call that is served may be refused as UNIMPLEMENTED too, for its compression, and then says why.
    let said = response.headers().contains_key("grpc-message");
    let status = match code.as_str() {
        "12" if said => return response,
        "12" => match answer_unserved_rpc(&path) {
            Unserved::Answer(message) => return one_message(message),
            Unserved::Status(status) => status,
        },
        // OUT_OF_RANGE from the decoder means larger than the limit, INTERNAL that it could not be decoded.
        "11" => {
            let said = tonic::Status::from_header_map(response.headers());
            let figures = said.map_or_else(String::new, |status| status.message().to_owned());
            let text = format!("the message is larger than protocol.max_request_bytes allows: {figures}");
            tonic::Status::resource_exhausted(text)
        }
        "13" => tonic::Status::invalid_argument("the message cannot be decoded"),
        _ => return with_coverage_behind(response),
    };
    status.into_http::<axum::body::Body>().into_response()
}

/// A successful answer of one message, as gRPC over HTTP/2 frames it: not compressed, the length, the message.
fn one_message(message: Vec<u8>) -> axum::response::Response {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let body = axum::body::Body::from(frame).with_trailers(async { Some(Ok(trailers)) });
    let content_type = (http::header::CONTENT_TYPE, "application/grpc");
    ([content_type], axum::body::Body::new(body)).into_response()
}

/// Moves what an answer says of its coverage from its head to its trailers.
fn with_coverage_behind(mut response: axum::response::Response) -> axum::response::Response {
    let Some(coverage) = response.headers_mut().remove(COVERAGE) else { return response };
    response.map(|body| {
        axum::body::Body::new(body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers.insert(COVERAGE, coverage.clone());
                Frame::trailers(trailers)
            }
            Err(data) => data,
        }))
    })
}
