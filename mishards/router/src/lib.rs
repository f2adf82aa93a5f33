//! The stateless router: speaks the Milvus protocol, plans, places, scatters, gathers. It owns nothing that it cannot
//! rebuild.

mod call;
mod candidates;
mod catalog_view;
mod error;
mod gather;
mod growing_rows;
mod grpc;
mod health;
mod hedge;
mod identity;
mod metrics;
mod node_client;
mod offload;
mod open;
mod placement;
mod placer;
mod plan;
mod rank;
mod scatter;
mod service;
mod topology;
mod wire;

pub use call::{Call, Coverage, Subquery};
pub use catalog_view::{CatalogView, Sources, StateFile};
pub use error::{Failure, Kind};
pub use grpc::{COVERAGE, MilvusAdapter, Unserved, answer_unserved_rpc};
pub use identity::{Identity, Proof};
pub use metrics::Metrics;
pub use node_client::{GrpcNode, NodeClient};
pub use placement::{POLICIES, PlacementPolicy, policy};
pub use service::{
    ClusterStatus, CollectionStatus, ExplainRequest, Explained, NodeStatus, Router, RouterOptions,
    RouterParts,
};
pub use topology::{Connect, Topology};
