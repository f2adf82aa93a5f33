//! The one checksum of the project: XXH3, 64 bits, seed 0.

/// XXH3-64 of `bytes`. Used for log groups, segment blocks, index files and the epoch marker.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
