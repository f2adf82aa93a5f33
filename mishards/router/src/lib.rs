//! The stateless router: speaks the Milvus protocol, plans, places, scatters, gathers. It owns nothing that it cannot
//! rebuild.

mod catalog_view;
mod error;
mod gather;
mod grpc;
mod hedge;
mod metrics;
mod node_client;
mod placement;
mod plan;
mod rank;
mod scatter;
mod service;
mod topology;
mod wire;

pub use catalog_view::{CatalogView, Sources, StateFile};
pub use error::{Failure, Kind};
pub use grpc::{MilvusAdapter, refuse_unknown_rpc};
pub use metrics::Metrics;
pub use node_client::{GrpcNode, NodeClient};
pub use service::{Router, RouterOptions, RouterParts};
pub use topology::{Connect, Topology};
