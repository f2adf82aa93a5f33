//! The files of a segment to rows: every byte is verified, then used in place.

use crate::footer::Footer;
use crate::write::vector_file;
use crate::{Column, Error, KeyIndex, Result, Rows, columns_file};
use arrow_buffer::{Buffer, ScalarBuffer};
use bytes::Bytes;
use mishards_types::{FieldId, Schema};
use std::collections::BTreeMap;

/// An opened segment: rows and their key index, over mapped bytes.
#[derive(Debug, Clone)]
pub struct SegmentReader {
    pub footer: Footer,
    pub rows: Rows,
    pub keys: KeyIndex,
}

impl SegmentReader {
    /// Opens a segment. `files` gives the bytes of a file by the last part of its name. Every file's bytes are
    /// compared with the footer's checksums before anything is read from them.
    pub fn open(
        footer_name: &str,
        footer: &Bytes,
        schema: &Schema,
        files: &mut dyn FnMut(&str) -> Option<Bytes>,
    ) -> Result<SegmentReader> {
        let footer = Footer::decode(footer_name, footer)?;
        let mut found: BTreeMap<&str, Bytes> = BTreeMap::new();
        for sums in &footer.files {
            let bytes =
                files(&sums.name).ok_or_else(|| Error::corrupt(&sums.name, "the file was not given"))?;
            sums.verify(&bytes)?;
            found.insert(&sums.name, bytes);
        }
        let mut take = |name: &str| {
            found.remove(name).ok_or_else(|| Error::corrupt(footer_name, format!("{name} is not named")))
        };
        let (timestamps, mut columns) =
            columns_file::decode("columns.arrow", schema, take("columns.arrow")?)?;
        for field in schema.vectors() {
            let column = vector_column(field.id, field.dim.unwrap_or(0), take(&vector_file(field.id.0))?)?;
            columns.insert(field.id, column);
        }
        let key_bytes = take("keys")?;
        let rows = Rows::new(schema, timestamps, columns).map_err(|e| Error::corrupt(footer_name, e))?;
        if rows.len() != footer.rows as usize {
            return Err(Error::corrupt(footer_name, "the number of rows does not match"));
        }
        let key_column = rows.keys().cloned().ok_or_else(|| Error::corrupt(footer_name, "no key column"))?;
        let keys = KeyIndex::open("keys", key_bytes, key_column)?;
        Ok(SegmentReader { footer, rows, keys })
    }
}

fn vector_column(field: FieldId, dim: usize, bytes: Bytes) -> Result<Column> {
    let name = vector_file(field.0);
    if dim == 0 || !bytes.len().is_multiple_of(dim * 4) {
        return Err(Error::corrupt(&name, "its length is no multiple of a vector's"));
    }
    if bytes.is_empty() {
        // No bytes have no address of their own, so it may be any.
        return Ok(Column::Vector { dim, data: ScalarBuffer::from(Vec::new()) });
    }
    if !(bytes.as_ptr() as usize).is_multiple_of(4) {
        return Err(Error::corrupt(&name, "not aligned in memory"));
    }
    Ok(Column::Vector { dim, data: ScalarBuffer::from(Buffer::from(bytes)) })
}
