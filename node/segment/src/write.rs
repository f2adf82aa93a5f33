//! Rows to the files of a segment.

use crate::footer::{FileSums, Footer};
use crate::{Column, Result, Rows, columns_file, key_index};
use mishards_types::{CollectionId, PartitionId, Schema, SegmentId};

/// Whose segment it is.
#[derive(Debug, Clone, Copy)]
pub struct SegmentMeta {
    pub segment: SegmentId,
    pub collection: CollectionId,
    pub partition: PartitionId,
}

/// A file to be written: the last part of its name, and its bytes.
pub struct NewFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The files of a segment; the footer is the last. Index and delete files come later, by themselves.
pub fn encode_segment(meta: SegmentMeta, schema: &Schema, rows: &Rows) -> Result<Vec<NewFile>> {
    let mut files = vec![
        NewFile { name: "columns.arrow".to_owned(), bytes: columns_file::encode(schema, rows)? },
        NewFile { name: "keys".to_owned(), bytes: key_index::encode(rows)? },
    ];
    for (id, column) in rows.columns() {
        if let Column::Vector { data, .. } = column {
            files.push(NewFile { name: vector_file(id.0), bytes: bytemuck::cast_slice(data).to_vec() });
        }
    }
    let footer = Footer {
        segment: meta.segment,
        collection: meta.collection,
        partition: meta.partition,
        rows: rows.len() as u32,
        files: files.iter().map(|f| FileSums::of(&f.name, &f.bytes)).collect(),
    };
    files.push(NewFile { name: "footer".to_owned(), bytes: footer.encode()? });
    Ok(files)
}

/// Name of a vector field's file.
pub fn vector_file(field: i64) -> String {
    format!("{field}.vectors")
}
