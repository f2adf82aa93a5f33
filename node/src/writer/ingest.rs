//! Writes of rows: names are resolved, ids assigned, columns decoded; then the log.

use super::Writer;
use super::ddl::encode_record;
use super::state::{PreparedRows, PreparedWrite};
use crate::columns::{column_from_wire, keys_from_wire, keys_to_wire};
use crate::{Failure, Kind, Result};
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use mishards_catalog::Collection;
use mishards_proto::node::{
    LogRecord, LogWrite, PartitionRows, WriteRequest, WriteResponse, log_record::Body,
};
use mishards_proto::schema::{
    FieldData, LongArray, ScalarField, StringArray as WireStrings, field_data, scalar_field,
};
use mishards_segment::{Column, key_at};
use mishards_types::{DataType, Error, Field, Key, PartitionId, Timestamp};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a pending delete costs in memory, about.
const DELETE_BYTES: usize = 96;

impl Writer {
    /// Writes rows, all or nothing.
    pub async fn write(self: &Arc<Writer>, request: WriteRequest) -> Result<WriteResponse> {
        self.check_serving()?;
        let _in_flight = self.enter(request.encoded_len())?;
        self.check_disk()?;
        let collection = self.resolve(&request)?;
        let writer = Arc::clone(self);
        let prepared = self.parts.pools.search(move || writer.prepare(&collection, request)).await?;
        let logged = self.log.log(prepared.payload, Some(prepared.write)).await?;
        Ok(WriteResponse {
            timestamp: logged.timestamp.0,
            sequence: logged.sequence.0,
            keys: Some(prepared.keys),
        })
    }

    /// Lets a write of so many bytes in. Past the limit writes are refused with a code that clients retry, until a flush has
    /// made room; those that are under way count too.
    fn enter(&self, bytes: usize) -> Result<InFlight<'_>> {
        let before = self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        let entered = InFlight { writer: self, bytes };
        let (growing, limit) = (self.unpublished_bytes() + before, self.parts.ingest.growing_limit_bytes);
        if growing < limit {
            return Ok(entered);
        }
        self.seal(&mut self.state(), |g| g.rows() > 0);
        self.flush_wanted.notify_one();
        Err(Error::rate_limit(format!(
            "{growing} bytes are growing or on their way, the limit is {limit}: flushing, try again"
        ))
        .into())
    }

    /// Memory of what is in no file yet: rows and deletes.
    pub(super) fn unpublished_bytes(&self) -> usize {
        self.growing_bytes.load(Ordering::Relaxed) + self.unpublished_delete_bytes()
    }

    pub(super) fn unpublished_delete_bytes(&self) -> usize {
        self.deletes.entries().0 * DELETE_BYTES
    }

    /// Memory of the deletes that are in delta files too, kept for plans that do not know these.
    pub(super) fn published_delete_bytes(&self) -> usize {
        self.deletes.entries().1 * DELETE_BYTES
    }

    /// The collection that a request's name means now; it must be the one that the router checked against.
    fn resolve(&self, request: &WriteRequest) -> Result<Arc<Collection>> {
        let snapshot = Arc::clone(&self.view().snapshot);
        let database = snapshot
            .database(&request.database)
            .ok_or_else(|| Error::database_not_found(&request.database))?;
        let collection = snapshot
            .resolve(database.id, &request.collection)
            .ok_or_else(|| Error::collection_not_found(&request.database, &request.collection))?;
        let changed = |what: &str| Err(Failure::new(Kind::SchemaChanged, Error::unavailable(what)));
        if collection.id.0 != request.collection_id || collection.schema_version != request.schema_version {
            return changed("the collection has changed, check again");
        }
        // A partition that was dropped, and perhaps made again, has another id now.
        let is_its = |id: i64| {
            snapshot.partition(PartitionId(id)).is_some_and(|partition| partition.collection == collection.id)
        };
        let of_deletes = Some(request.delete_partition).filter(|id| *id != 0);
        if !request.inserts.iter().map(|part| part.partition_id).chain(of_deletes).all(is_its) {
            return changed("a partition has been dropped or made again, check again");
        }
        if request.resolved_at > self.view().applied_timestamp.0 {
            return Err(Failure::internal(format!(
                "a delete was resolved at {}, which lies ahead of the log",
                request.resolved_at
            )));
        }
        Ok(Arc::clone(collection))
    }

    fn prepare(&self, collection: &Collection, mut request: WriteRequest) -> Result<Prepared> {
        for part in &mut request.inserts {
            self.assign_ids(collection, part);
        }
        let record = LogRecord {
            body: Some(Body::Write(LogWrite {
                collection_id: collection.id.0,
                inserts: request.inserts,
                deletes: request.deletes,
                delete_partition: request.delete_partition,
                resolved_at: request.resolved_at,
            })),
        };
        let payload = encode_record(&record);
        let Some(Body::Write(logged)) = record.body else {
            return Err(Failure::internal("a write without rows"));
        };
        let write = prepare_write(collection, logged)?;
        let keys =
            write.inserts.iter().flat_map(|rows| keys_of(collection, &rows.columns)).collect::<Vec<_>>();
        Ok(Prepared { payload, write, keys: keys_to_wire(keys) })
    }

    /// Adds the key column when the client left it to us.
    fn assign_ids(&self, collection: &Collection, part: &mut PartitionRows) {
        let Some(primary) = collection.schema.primary().filter(|f| f.auto_id) else { return };
        if part.columns.iter().any(|c| c.field_id == primary.id.0) {
            return;
        }
        let ids = (0..part.rows).map(|_| self.next_id());
        let data = if primary.data_type == DataType::VarChar {
            scalar_field::Data::StringData(WireStrings { data: ids.map(|id| id.to_string()).collect() })
        } else {
            scalar_field::Data::LongData(LongArray { data: ids.collect() })
        };
        part.columns.push(key_column(primary, data));
    }
}

/// A write that was let in, until it is applied or refused.
struct InFlight<'a> {
    writer: &'a Writer,
    bytes: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.writer.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Prepared {
    payload: bytes::Bytes,
    write: PreparedWrite,
    keys: mishards_proto::schema::IDs,
}

fn key_column(field: &Field, data: scalar_field::Data) -> FieldData {
    FieldData {
        r#type: field.data_type as i32,
        field_name: field.name.clone(),
        field_id: field.id.0,
        field: Some(field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

/// A logged or incoming write, ready to be applied.
pub fn prepare_write(collection: &Collection, write: LogWrite) -> Result<PreparedWrite> {
    Ok(PreparedWrite {
        collection: collection.id,
        inserts: write
            .inserts
            .into_iter()
            .map(|part| prepare_rows(collection, part))
            .collect::<Result<_>>()?,
        deletes: keys_from_wire(write.deletes),
        delete_partition: PartitionId(write.delete_partition),
        resolved_at: Timestamp(write.resolved_at),
    })
}

pub fn prepare_rows(collection: &Collection, part: PartitionRows) -> Result<PreparedRows> {
    let rows = part.rows as usize;
    let mut columns = BTreeMap::new();
    for data in part.columns {
        let id = mishards_types::FieldId(data.field_id);
        let field =
            collection.schema.field_by_id(id).ok_or_else(|| Failure::internal(format!("no field {id}")))?;
        columns.insert(id, column_from_wire(field, data, rows)?);
    }
    if let Some(missing) = collection.schema.fields.iter().find(|f| !columns.contains_key(&f.id)) {
        return Err(Failure::internal(format!("field {} has no column", missing.name)));
    }
    Ok(PreparedRows { partition: PartitionId(part.partition_id), rows, columns })
}

fn keys_of(collection: &Collection, columns: &BTreeMap<mishards_types::FieldId, Column>) -> Vec<Key> {
    let column = collection.schema.primary().and_then(|f| columns.get(&f.id));
    match column {
        Some(Column::Scalar(array)) if is_key(array) => (0..array.len()).map(|i| key_at(array, i)).collect(),
        _ => Vec::new(),
    }
}

fn is_key(array: &ArrayRef) -> bool {
    array.as_any().is::<Int64Array>() || array.as_any().is::<StringArray>()
}
