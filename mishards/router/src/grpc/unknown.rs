//! RPCs of the Milvus service that we do not have are refused by name.

use tonic::Status;

/// The status for a path that no service answers: UNIMPLEMENTED, naming the RPC.
pub fn refuse_unknown_rpc(path: &str) -> Status {
    let name = path.rsplit('/').next().unwrap_or(path);
    if mishards_proto::is_milvus_rpc(name) {
        return Status::unimplemented(format!("{name} is not implemented by this version of Mishards"));
    }
    Status::unimplemented(format!("there is no method {path}"))
}
