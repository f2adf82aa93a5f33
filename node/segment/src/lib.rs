//! The on-disk segment format, over bytes that it is handed and bytes that it hands back. FORMAT.md describes
//! each byte. Also the columns themselves, which growing rows share.

mod columns_file;
mod delete_file;
mod delta_file;
mod error;
mod footer;
mod key_index;
mod read;
mod rows;
mod trailer;
mod write;

pub use delete_file::{Tombstone, decode_deletes, encode_deletes};
pub use delta_file::{Delete, decode_delta, encode_delta};
pub use error::{Error, Result};
pub use footer::{Block, FileSums, Footer};
pub use key_index::{KeyIndex, key_at};
pub use read::SegmentReader;
pub use rows::{Column, Rows, arrow_type};
pub use trailer::{add_trailer, check_trailer};
pub use write::{NewFile, SegmentMeta, encode_segment};
