//! Wire types, servers and clients generated from the `.proto` files of this crate.

pub mod codec;
pub mod columns;
pub mod off_worker;
mod shape;

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    rustdoc::all,
    reason = "generated"
)]
mod generated {
    // The nesting follows the packages, because generated code names other packages through `super`.
    pub mod milvus {
        pub mod proto {
            pub mod common {
                tonic::include_proto!("milvus.proto.common");
            }
            pub mod schema {
                tonic::include_proto!("milvus.proto.schema");
            }
            pub mod msg {
                tonic::include_proto!("milvus.proto.msg");
            }
            #[allow(clippy::module_inception, reason = "the package is named so")]
            pub mod milvus {
                tonic::include_proto!("milvus.proto.milvus");
            }
        }
    }
    pub mod mishards {
        pub mod node {
            pub mod v1 {
                tonic::include_proto!("mishards.node.v1");
            }
        }
    }
}

pub use generated::milvus::proto::{common, milvus, msg, schema};
pub use generated::mishards::node::v1 as node;

/// Encoded `FileDescriptorSet` of all the `.proto` files, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Full name of the public service, as it stands in the path of a call.
pub const MILVUS_SERVICE: &str = "milvus.proto.milvus.MilvusService";

/// Names of all calls of the public service, also of those this project does not serve.
pub fn milvus_rpcs() -> impl Iterator<Item = &'static str> {
    include_str!("../facts/milvus-rpcs.tsv").lines().skip(1).filter_map(|line| line.split('\t').next())
}

/// Where the answer of a call has its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusIn {
    /// The answer is a status.
    Whole,
    /// It is in the field of this number.
    Field(u32),
    /// The answer has none.
    Nowhere,
}

/// Where a call of the public service, served here or not, has its status; `None` when there is no such call.
pub fn status_in_answer(rpc: &str) -> Option<StatusIn> {
    let mut lines = include_str!("../facts/milvus-rpcs.tsv").lines().skip(1).map(|l| l.split('\t'));
    let mut cells = lines.find_map(|mut cells| (cells.next() == Some(rpc)).then_some(cells))?;
    Some(match cells.nth(1)? {
        "whole" => StatusIn::Whole,
        number => number.parse().map_or(StatusIn::Nowhere, StatusIn::Field),
    })
}

/// Whether the public service has a call of this name, served here or not.
pub fn is_milvus_rpc(name: &str) -> bool {
    milvus_rpcs().any(|rpc| rpc == name)
}
