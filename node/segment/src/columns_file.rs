//! The scalar columns as one Arrow IPC file with one record batch: pyarrow, DuckDB or polars read it as it is.

use crate::{Column, Error, Result, Rows, arrow_type};
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{MetadataVersion, root_as_footer, root_as_message};
use arrow_schema::{DataType as Arrow, Field as ArrowField, Schema as ArrowSchema};
use bytes::Bytes;
use mishards_types::{FieldId, Schema};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const TIMESTAMP_COLUMN: &str = "$timestamp";
const TRAILER: usize = 10;
/// What every message starts with; its length follows.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Encodes the scalar columns and the timestamps.
pub fn encode(schema: &Schema, rows: &Rows) -> Result<Vec<u8>> {
    let fail = |e: arrow_schema::ArrowError| Error::Mismatch(e.to_string());
    let mut fields = vec![ArrowField::new(TIMESTAMP_COLUMN, Arrow::UInt64, false)];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(rows.timestamps().to_vec()))];
    for field in schema.fields.iter().filter(|f| !f.data_type.is_vector()) {
        let array = rows
            .scalar(field.id)
            .ok_or_else(|| Error::Mismatch(format!("field {} has no column", field.name)))?;
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
pub fn decode(
    file: &str,
    schema: &Schema,
    bytes: Bytes,
) -> Result<(ScalarBuffer<u64>, BTreeMap<FieldId, Column>)> {
    // The decoder panics on some malformed files; the checksums rule out damage, but not a file made so.
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
    let number = |n: i64| usize::try_from(n).map_err(|_| "a length is negative".to_owned());
    let (offset, meta) = (number(block.offset())?, number(block.metaDataLength().into())?);
    let body = number(block.bodyLength())?;
    let length =
        meta.checked_add(body).filter(|n| offset.checked_add(*n).is_some_and(|end| end <= buffer.len()));
    let data = buffer.slice_with_length(offset, length.ok_or("the record batch lies outside of the file")?);
    check_batch(&data[..meta], body)?;
    decoder
        .read_record_batch(&block, &data)
        .map_err(|e| e.to_string())?
        .ok_or_else(|| "no record batch".to_owned())
}

/// The decoder takes for granted that every buffer of a batch lies in its body of `body` bytes.
fn check_batch(message: &[u8], body: usize) -> std::result::Result<(), String> {
    let flat = message.strip_prefix(&CONTINUATION).and_then(|m| m.get(4..)).ok_or("no message")?;
    let message = root_as_message(flat).map_err(|e| e.to_string())?;
    let batch = message.header_as_record_batch().ok_or("no record batch")?;
    let body = body as i64;
    let inside = |offset: i64, length: i64| {
        offset >= 0 && length >= 0 && offset.checked_add(length).is_some_and(|end| end <= body)
    };
    // No type of ours takes less than a bit for a value.
    let count = |values: i64| (0..=body.saturating_mul(8)).contains(&values);
    let fits = count(batch.length())
        && batch.buffers().is_some_and(|b| b.iter().all(|b| inside(b.offset(), b.length())))
        && batch.nodes().is_some_and(|n| {
            n.iter().all(|n| count(n.length()) && (0..=n.length()).contains(&n.null_count()))
        });
    if fits { Ok(()) } else { Err("a buffer lies outside of the record batch".to_owned()) }
}
