//! The vocabulary that routers and nodes share: ids, schema, values, metrics, timestamps, ordered hits,
//! and the one error that reaches a client. No I/O and no async.

mod bitmap;
mod checksum;
mod clock;
mod error;
mod hit;
mod ids;
mod metric;
mod names;
mod partition_key;
mod schema;
mod schema_rules;
mod timestamp;
mod value;

pub mod limits;

pub use bitmap::Bitmap;
pub use checksum::checksum;
pub use clock::{Clock, Entropy};
pub use error::{Code, Error, Result};
pub use hit::{Hit, TopK};
pub use ids::{
    CollectionId, DatabaseId, Epoch, FieldId, Incarnation, IndexId, LogId, PartitionId, SegmentId, Sequence,
    Version,
};
pub use metric::Metric;
pub use names::{
    check_alias_name, check_collection_name, check_database_name, check_field_name, check_index_name,
    check_partition_name,
};
pub use partition_key::partition_slot;
pub use schema::{DYNAMIC_FIELD, DataType, FIRST_FIELD_ID, Field, Schema};
pub use timestamp::Timestamp;
pub use value::{Key, Value};
