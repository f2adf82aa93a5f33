//! The scalar columns as one Arrow IPC file with one record batch: pyarrow, DuckDB or polars read it as it is.

use crate::{Column, Error, Result, Rows, arrow_type};
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{MetadataVersion, root_as_footer};
use arrow_schema::{DataType as Arrow, Field as ArrowField, Schema as ArrowSchema};
use bytes::Bytes;
use mishards_types::{FieldId, Schema};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const TIMESTAMP_COLUMN: &str = "$timestamp";
const TRAILER: usize = 10;

/// Encodes the scalar columns and the timestamps.
pub fn encode(schema: &Schema, rows: &Rows) -> Result<Vec<u8>> {
    let fail = |e: arrow_schema::ArrowError| Error::Mismatch(e.to_string());
    let mut fields = vec![ArrowField::new(TIMESTAMP_COLUMN, Arrow::UInt64, false)];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(rows.timestamps().to_vec()))];
    for field in schema.fields.iter().filter(|f| !f.data_type.is_vector()) {
        let array = rows.scalar(field.id).ok_or_else(|| Error::Mismatch(format!("field {} has no column", field.name)))?;
        fields.push(ArrowField::new(field.name.as_str(), arrow_type(field), true));
        arrays.push(Arc::clone(array));
    }
    let arrow_schema = Arc::new(ArrowSchema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&arrow_schema), arrays).map_err(fail)?;
    let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5).map_err(fail)?;
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &arrow_schema, options).map_err(fail)?;
    writer.write(&batch).map_err(fail)?;
    writer.into_inner().map_err(fail)
}

/// Timestamps and scalar columns over the bytes themselves: nothing is copied when they are aligned.
pub fn decode(file: &str, schema: &Schema, bytes: Bytes) -> Result<(ScalarBuffer<u64>, BTreeMap<FieldId, Column>)> {
    // The decoder panics on lengths that it does not expect; the checksums rule out damage, not a malformed file.
    let read = catch_unwind(AssertUnwindSafe(|| read_batch(bytes)));
    let batch = read.unwrap_or_else(|_| Err("it is no Arrow file of ours".to_owned()));
    let batch = batch.map_err(|e| Error::corrupt(file, e))?;
    let missing = |name: &str| Error::corrupt(file, format!("column {name} is missing or of another type"));
    let timestamps = batch
        .column_by_name(TIMESTAMP_COLUMN)
        .and_then(|a| a.as_any().downcast_ref::<UInt64Array>())
        .ok_or_else(|| missing(TIMESTAMP_COLUMN))?;
    let mut columns = BTreeMap::new();
    for field in schema.fields.iter().filter(|f| !f.data_type.is_vector()) {
        let array = batch.column_by_name(&field.name).filter(|a| *a.data_type() == arrow_type(field));
        columns.insert(field.id, Column::Scalar(Arc::clone(array.ok_or_else(|| missing(&field.name))?)));
    }
    Ok((timestamps.values().clone(), columns))
}

fn read_batch(bytes: Bytes) -> std::result::Result<RecordBatch, String> {
    let buffer = Buffer::from(bytes);
    let start = buffer.len().checked_sub(TRAILER).ok_or("too short")?;
    let mut trailer = [0u8; TRAILER];
    trailer.copy_from_slice(&buffer[start..]);
    let length = read_footer_length(trailer).map_err(|e| e.to_string())?;
    let from = start.checked_sub(length).ok_or("the Arrow footer is longer than the file")?;
    let footer = root_as_footer(&buffer[from..start]).map_err(|e| e.to_string())?;
    let schema = try_fb_to_schema(footer.schema().ok_or("no schema")?).map_err(|e| e.to_string())?;
    let decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let block = footer.recordBatches().and_then(|b| b.iter().next().copied()).ok_or("no record batch")?;
    let length = (block.bodyLength() as u64).saturating_add(block.metaDataLength() as u64) as usize;
    let offset = block.offset() as usize;
    if offset.checked_add(length).is_none_or(|end| end > buffer.len()) {
        return Err("the record batch lies outside of the file".to_owned());
    }
    let data = buffer.slice_with_length(offset, length);
    decoder.read_record_batch(&block, &data).map_err(|e| e.to_string())?.ok_or_else(|| "no record batch".to_owned())
}
