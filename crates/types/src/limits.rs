//! Documented maxima; a request above one is refused with its figure.

use crate::{Error, Result};

pub const NAME_BYTES: usize = 255;
pub const FIELDS: usize = 64;
pub const VECTOR_FIELDS: usize = 10;
pub const SHARDS: i32 = 16;
pub const PARTITIONS: usize = 1024;
pub const DEFAULT_PARTITION_KEY_PARTITIONS: i64 = 16;
pub const COLLECTIONS: usize = 65536;
pub const DATABASES: usize = 64;
pub const DIM_MIN: i64 = 2;
pub const DIM_MAX: i64 = 32768;
pub const VARCHAR_BYTES: i64 = 65535;
pub const ARRAY_CAPACITY: i64 = 4096;
pub const JSON_BYTES: usize = 65536;
/// Largest `limit`, and largest `offset + limit`, of a search or query.
pub const TOP_K: i64 = 16384;
pub const NQ: usize = 16384;
pub const HYBRID_REQUESTS: usize = 1024;
pub const GROUP_SIZE: i64 = 10;
/// Largest serialized result of one search or query.
pub const RESULT_BYTES: usize = 104_857_600;
/// Largest gRPC message that a client may send.
pub const RECV_BYTES: usize = 67_108_864;
/// Largest gRPC message that we send.
pub const SEND_BYTES: usize = 268_435_456;
pub const INDEX_PARAM_BYTES: usize = 102_400;
/// Of the names and values of a definition's properties together, and of a description: all routers hold them.
pub const DEFINITION_BYTES: usize = 102_400;
/// What a hit costs on its way from node to router: key, timestamp, segment, row, score.
pub const HIT_BYTES: usize = 32;

/// Rows of all segments and nodes together, from which an answer is chosen.
pub const GATHER_BYTES: usize = 4 * RESULT_BYTES;

/// Refuses a search or query whose answer may have too many rows, before any work begins: `queries` lists of up to `rows`.
pub fn check_answer(queries: usize, rows: usize) -> Result<()> {
    let most = RESULT_BYTES / HIT_BYTES;
    if queries.saturating_mul(rows) <= most {
        return Ok(());
    }
    Err(too_large(format!(
        "up to {} rows are asked for (queries {queries}, rows of each {rows}), an answer may have {most}: ask for fewer at once",
        queries.saturating_mul(rows)
    )))
}

/// Refuses an answer whose keys take too much: `bytes` of all keys that are texts.
pub fn check_keys(rows: usize, bytes: usize) -> Result<()> {
    if bytes <= RESULT_BYTES {
        return Ok(());
    }
    Err(too_large(format!(
        "the keys of {rows} rows are {bytes} bytes, an answer may have {RESULT_BYTES}: ask for fewer rows at once"
    )))
}

/// Refuses to hold more rows than [`GATHER_BYTES`] before the best of them are chosen.
pub fn check_gathered(rows: usize, bytes: usize) -> Result<()> {
    if bytes <= GATHER_BYTES {
        return Ok(());
    }
    Err(too_large(format!(
        "{rows} rows of all segments and nodes, {bytes} bytes, compete for the answer, at most {GATHER_BYTES} bytes of them are \
         held: ask for fewer queries or rows at once"
    )))
}

/// Refuses a part of a definition that is larger than [`DEFINITION_BYTES`].
pub fn check_definition(what: &str, bytes: usize) -> Result<()> {
    if bytes <= DEFINITION_BYTES {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} has {bytes} bytes, the most is {DEFINITION_BYTES}")))
}

/// Refuses output fields that take too much: `rows` rows of `row_bytes` each.
pub fn check_output(rows: usize, row_bytes: usize) -> Result<()> {
    check_columns(rows, rows.saturating_mul(row_bytes))
}

/// Refuses output fields that take too much: `bytes` in all.
pub fn check_columns(rows: usize, bytes: usize) -> Result<()> {
    if bytes <= RESULT_BYTES {
        return Ok(());
    }
    Err(too_large(format!(
        "the output fields of {rows} rows are {bytes} bytes, an answer may have {RESULT_BYTES}: ask for fewer rows or fields at \
         once"
    )))
}

fn too_large(figures: String) -> Error {
    Error::invalid(format!("query results exceed the maxOutputSize Limit {RESULT_BYTES}: {figures}"))
}
