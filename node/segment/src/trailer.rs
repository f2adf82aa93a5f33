//! The 16 bytes at the end of index, key, delete and delta files: a magic number and the checksum of all before.

use crate::{Error, Result};
use bytes::Bytes;
use mishards_types::checksum;

const MAGIC: [u8; 8] = *b"MSHSUM1\n";
const LEN: usize = 16;

/// Appends the trailer to a payload.
pub fn add_trailer(mut payload: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&payload);
    payload.extend_from_slice(&MAGIC);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

/// The payload, if its checksum matches.
pub fn check_trailer(file: &str, bytes: Bytes) -> Result<Bytes> {
    let Some(end) = bytes.len().checked_sub(LEN) else {
        return Err(Error::corrupt(file, format!("{} bytes are too few for a trailer", bytes.len())));
    };
    if bytes[end..end + 8] != MAGIC {
        return Err(Error::corrupt(
            file,
            "the trailer is missing: the file was cut off or is of another kind",
        ));
    }
    if bytes[end + 8..] != checksum(&bytes[..end]).to_le_bytes() {
        return Err(Error::corrupt(file, "the checksum does not match"));
    }
    Ok(bytes.slice(..end))
}
