//! Columns between the wire (Milvus `FieldData`) and memory (Arrow).

mod from_wire;
mod keys;
mod to_wire;

pub use from_wire::column_from_wire;
pub use keys::{keys_from_wire, keys_to_wire};
pub use to_wire::column_to_wire;
