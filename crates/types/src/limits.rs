//! Documented maxima; a request above one is refused with its figure.

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
