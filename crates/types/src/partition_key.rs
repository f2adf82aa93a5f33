//! Which partition a partition key's value belongs to. The functions are Milvus's, so that partition
//! statistics agree: murmur3-32 (Appleby, x86_32, seed 0) of the integer's 8 little-endian bytes, or CRC-32
//! (IEEE) of the string's first 100 bytes, modulo the number of partitions.

use crate::Key;

/// The slot in `0..partitions` of a key.
pub fn partition_slot(key: &Key, partitions: usize) -> usize {
    let hash = match key {
        Key::Int(v) => murmur3_32(&v.to_le_bytes()) & 0x7fff_ffff,
        Key::Str(s) => crc32(&s.as_bytes()[..s.len().min(100)]),
    };
    hash as usize % partitions.max(1)
}

fn murmur3_32(data: &[u8]) -> u32 {
    let mut h = 0u32;
    for block in data.chunks_exact(4) {
        let mut k = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        k = k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        h = (h ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    h ^= data.len() as u32;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(murmur3_32(b""), 0);
        assert_eq!(murmur3_32(b"test"), 0xba6b_d213);
    }
}
