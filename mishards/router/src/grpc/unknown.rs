//! Calls of the Milvus service that are not served here. Clients expect a status in the message, so that is what they get.

use mishards_proto::{MILVUS_SERVICE, StatusIn, common, status_in_answer};
use mishards_types::{Code, Error};
use prost::Message;
use tonic::Status;

/// What a call that no service answers gets.
#[derive(Debug)]
pub enum Unserved {
    /// An answer that says so in its status, encoded.
    Answer(Vec<u8>),
    /// The call is none of Milvus, or its answer has no status.
    Status(Status),
}

/// Lists that are empty here, since nobody can put anything into them: there are no users, groups, imports or snapshots.
/// Their answers are right with nothing but the status of success.
const EMPTY_LISTS: [&str; 9] = [
    "ListCredUsers",
    "ListFileResources",
    "ListImportTasks",
    "ListPrivilegeGroups",
    "ListRefreshExternalCollectionJobs",
    "ListResourceGroups",
    "ListRestoreSnapshotJobs",
    "ListRowPolicies",
    "ListSnapshots",
];

/// The answer for a path that no service answers; it names the call.
pub fn answer_unserved_rpc(path: &str) -> Unserved {
    let name =
        path.strip_prefix('/').and_then(|p| p.strip_prefix(MILVUS_SERVICE)).and_then(|p| p.strip_prefix('/'));
    let Some((name, place)) = name.and_then(|name| Some((name, status_in_answer(name)?))) else {
        return Unserved::Status(Status::unimplemented(format!("there is no method {path}")));
    };
    let text = format!("{name} is not supported by this version of Mishards");
    let status = match EMPTY_LISTS.contains(&name) {
        true => crate::error::ok(),
        false => {
            tracing::debug!(call = name, "a call that is not supported");
            crate::error::status_of(&Error::new(
                Code::UNIMPLEMENTED,
                format!("{text}: service unimplemented"),
            ))
        }
    };
    match place {
        StatusIn::Whole => Unserved::Answer(status.encode_to_vec()),
        StatusIn::Field(number) => Unserved::Answer(in_field(number, &status)),
        StatusIn::Nowhere => Unserved::Status(Status::unimplemented(text)),
    }
}

/// A message that has nothing but a status.
fn in_field(number: u32, status: &common::Status) -> Vec<u8> {
    let mut message = Vec::new();
    prost::encoding::message::encode(number, status, &mut message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use mishards_proto::{milvus, milvus_rpcs};

    fn path(name: &str) -> String {
        format!("/{MILVUS_SERVICE}/{name}")
    }

    /// The status of an answer, taken out of the bytes as a client does.
    fn status(name: &str) -> Option<common::Status> {
        let Unserved::Answer(bytes) = answer_unserved_rpc(&path(name)) else { return None };
        match status_in_answer(name)? {
            StatusIn::Whole => common::Status::decode(bytes.as_slice()).ok(),
            // The head is one byte, the number and the kind, then the length.
            StatusIn::Field(number) => {
                assert_eq!(u32::from(bytes[0]), number << 3 | 2, "{name}");
                common::Status::decode_length_delimited(&bytes[1..]).ok()
            }
            StatusIn::Nowhere => None,
        }
    }

    #[test]
    fn every_call_that_has_a_status_says_in_it_that_it_is_not_supported() {
        let (mut refused, mut without) = (0, Vec::new());
        for name in milvus_rpcs() {
            match status(name) {
                None => without.push(name),
                Some(status) if EMPTY_LISTS.contains(&name) => {
                    assert_eq!(status, crate::error::ok(), "{name}")
                }
                Some(status) => {
                    assert_eq!((status.code, status.retriable), (10, false), "{name}");
                    assert!(
                        status.reason.contains(name) && status.error_code != 0,
                        "{name}: {}",
                        status.reason
                    );
                    refused += 1;
                }
            }
        }
        assert_eq!(without, ["Dummy", "GetReplicateInfo", "CreateReplicateStream"]);
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn an_answer_decodes_as_the_message_that_the_call_has() {
        let Unserved::Answer(bytes) = answer_unserved_rpc(&path("HasCollection")) else {
            panic!("no answer")
        };
        let answer = milvus::BoolResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!((answer.value, answer.status.unwrap().code), (false, 10));
    }

    #[test]
    fn what_is_no_call_of_milvus_is_refused_by_the_transport() {
        for path in [path("Serach"), "/other.Service/ManualCompaction".to_owned(), "/".to_owned()] {
            let Unserved::Status(status) = answer_unserved_rpc(&path) else { panic!("{path} is answered") };
            assert_eq!(status.code(), tonic::Code::Unimplemented);
            assert!(status.message().contains(&path));
        }
        let Unserved::Status(status) = answer_unserved_rpc(&path("CreateReplicateStream")) else { panic!() };
        assert!(status.message().contains("CreateReplicateStream is not supported"));
    }
}
