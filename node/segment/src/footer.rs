//! The footer of a segment: what it holds, and a checksum for each block of its column files.

use crate::{Error, Result};
use bytes::Bytes;
use mishards_types::{CollectionId, PartitionId, SegmentId, checksum};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"MSHSEG1\n";
const FORMAT: u32 = 1;
const HEADER: usize = 24;
/// Bytes that one checksum covers.
const BLOCK: usize = 1 << 20;

/// A checksum of one block.
pub type Block = u64;

/// One file of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSums {
    /// Last part of the path.
    pub name: String,
    pub bytes: u64,
    /// XXH3-64 of each MiB, the last one shorter.
    pub blocks: Vec<Block>,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub segment: SegmentId,
    pub collection: CollectionId,
    pub partition: PartitionId,
    pub rows: u32,
    pub files: Vec<FileSums>,
}

impl FileSums {
    pub fn of(name: &str, bytes: &[u8]) -> FileSums {
        FileSums {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            blocks: bytes.chunks(BLOCK).map(checksum).collect(),
        }
    }

    /// Compares all bytes of the file with the checksums.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 != self.bytes {
            return Err(Error::corrupt(
                &self.name,
                format!("{} bytes, {} were written", bytes.len(), self.bytes),
            ));
        }
        match bytes.chunks(BLOCK).map(checksum).zip(&self.blocks).position(|(a, b)| a != *b) {
            Some(i) => Err(Error::corrupt(
                &self.name,
                format!("block {i} (from byte {}) differs from what was written", i * BLOCK),
            )),
            None if self.blocks.len() != bytes.len().div_ceil(BLOCK) => {
                Err(Error::corrupt(&self.name, "checksums are missing"))
            }
            None => Ok(()),
        }
    }
}

impl Footer {
    /// Magic, format, length of the JSON, checksum of all the others, the JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(self).map_err(|e| Error::Mismatch(e.to_string()))?;
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&body);
        let sum = checksum_around(&out);
        out[16..HEADER].copy_from_slice(&sum.to_le_bytes());
        Ok(out)
    }

    pub fn decode(file: &str, bytes: &Bytes) -> Result<Footer> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC {
            return Err(Error::corrupt(file, "not a segment footer"));
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let body = &bytes[HEADER..];
        if body.len() != word(12) as usize || bytes[16..HEADER] != checksum_around(bytes).to_le_bytes() {
            return Err(Error::corrupt(file, "the footer's checksum does not match"));
        }
        if word(8) > FORMAT {
            return Err(Error::NewerFormat { file: file.to_owned(), found: word(8), known: FORMAT });
        }
        serde_json::from_slice(body).map_err(|e| Error::corrupt(file, e))
    }
}

/// Checksum of a footer file without the eight bytes that hold it.
fn checksum_around(bytes: &[u8]) -> u64 {
    checksum(&[&bytes[..16], &bytes[HEADER..]].concat())
}
