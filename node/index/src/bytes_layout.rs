//! Index files: a header, then sections of little-endian numbers at 64-byte boundaries.

use crate::{Error, Result};
use bytemuck::{AnyBitPattern, NoUninit, PodCastError};
use bytes::Bytes;
use mishards_types::checksum;
use std::marker::PhantomData;

pub const HEADER: usize = 256;
const ALIGN: usize = 64;
const SECTIONS: usize = 8;

/// Numbers in the header that a kind of index gives meaning to.
pub type Words = [u32; 12];

/// Builds a file.
pub struct Writer {
    magic: [u8; 8],
    format: u32,
    words: Words,
    sections: Vec<(u64, u64)>,
    body: Vec<u8>,
}

impl Writer {
    pub fn new(magic: [u8; 8], format: u32, words: Words) -> Writer {
        Writer { magic, format, words, sections: Vec::new(), body: Vec::new() }
    }

    /// Appends a section.
    pub fn section<T: NoUninit>(mut self, items: &[T]) -> Writer {
        debug_assert!(self.sections.len() < SECTIONS);
        self.body.resize(self.body.len().next_multiple_of(ALIGN), 0);
        let bytes: &[u8] = bytemuck::cast_slice(items);
        self.sections.push(((HEADER + self.body.len()) as u64, bytes.len() as u64));
        self.body.extend_from_slice(bytes);
        self
    }

    /// The whole file.
    pub fn finish(self) -> Vec<u8> {
        let mut out = vec![0u8; HEADER];
        out[..8].copy_from_slice(&self.magic);
        out[8..12].copy_from_slice(&self.format.to_le_bytes());
        out[16..64].copy_from_slice(bytemuck::cast_slice(&self.words));
        for (i, (offset, len)) in self.sections.iter().enumerate() {
            out[64 + i * 16..72 + i * 16].copy_from_slice(&offset.to_le_bytes());
            out[72 + i * 16..80 + i * 16].copy_from_slice(&len.to_le_bytes());
        }
        let sum = checksum(&out[..HEADER - 8]);
        out[HEADER - 8..].copy_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&self.body);
        out
    }
}

/// A file whose header was verified.
pub struct Reader {
    bytes: Bytes,
    pub words: Words,
}

impl Reader {
    pub fn open(bytes: Bytes, magic: [u8; 8], known: u32) -> Result<Reader> {
        let invalid = |what: &str| Error::Invalid(what.to_owned());
        if bytes.len() < HEADER {
            return Err(invalid("shorter than its header"));
        }
        if bytes[..8] != magic {
            return Err(invalid("another kind of file"));
        }
        if checksum(&bytes[..HEADER - 8]) != word64(&bytes, HEADER - 8) {
            return Err(invalid("the header's checksum does not match"));
        }
        let found = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if found > known {
            return Err(Error::NewerFormat { found, known });
        }
        if !(bytes.as_ptr() as usize).is_multiple_of(ALIGN) {
            return Err(invalid("not aligned in memory"));
        }
        let mut words = [0u32; 12];
        bytemuck::cast_slice_mut::<u32, u8>(&mut words).copy_from_slice(&bytes[16..64]);
        Ok(Reader { bytes, words })
    }

    /// Section `i`, which must hold exactly `count` items when that is known.
    pub fn section<T: AnyBitPattern>(&self, i: usize, count: Option<usize>) -> Result<Section<T>> {
        let invalid = |what: &str| Error::Invalid(format!("section {i} {what}"));
        let offset = word64(&self.bytes, 64 + i * 16) as usize;
        let len = word64(&self.bytes, 72 + i * 16) as usize;
        let end = offset.checked_add(len).filter(|end| *end <= self.bytes.len());
        let Some(end) = end.filter(|_| offset >= HEADER && offset.is_multiple_of(ALIGN)) else {
            return Err(invalid("lies outside of the file"));
        };
        if count.is_some_and(|n| n.checked_mul(size_of::<T>()) != Some(len))
            || !len.is_multiple_of(size_of::<T>())
        {
            return Err(invalid("has another length than the header says"));
        }
        let section = Section { bytes: self.bytes.slice(offset..end), item: PhantomData };
        section.try_items().map_err(|_| invalid("is not aligned"))?;
        Ok(section)
    }
}

/// A verified, aligned run of numbers in a file.
#[derive(Debug, Clone)]
pub struct Section<T> {
    bytes: Bytes,
    item: PhantomData<T>,
}

impl<T: AnyBitPattern> Section<T> {
    fn try_items(&self) -> std::result::Result<&[T], PodCastError> {
        bytemuck::try_cast_slice(&self.bytes)
    }

    #[inline]
    pub fn items(&self) -> &[T] {
        bytemuck::cast_slice(&self.bytes)
    }
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
