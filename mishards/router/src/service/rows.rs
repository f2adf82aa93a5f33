//! Insert, upsert and delete.

use super::names::{Named, database_name, refuse_namespace};
use super::read::Read;
use super::read_point::Consistency;
use super::search::ROW_BYTES;
use super::{Router, unknown_outcome};
use crate::call::{Call, Subject};
use crate::error::{Failure, Kind, ok};
use crate::offload::{Left, off_workers};
use crate::plan::Filter;
use crate::wire::{Rows, check_rows, ids_of, keys_of, keys_of_column, take_rows, templates_from_wire};
use mishards_catalog::{Collection, DEFAULT_PARTITION, Snapshot};
use mishards_expr::{Comparison, Operand, Predicate};
use mishards_proto::milvus::{DeleteRequest, InsertRequest, MutationResult, UpsertRequest};
use mishards_proto::node::{PartitionRows, WriteRequest, WriteResponse};
use mishards_proto::schema::{FieldData, IDs};
use mishards_types::{
    Code, DataType, Error, Key, Result, Value, check_collection_name, check_partition_name, partition_slot,
};
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// How often a write is checked anew when the schema changes under it.
const TRIES: usize = 5;

impl Router {
    pub async fn insert(&self, db: &str, request: InsertRequest) -> Result<MutationResult> {
        check_names(&request.collection_name, &request.partition_name)?;
        refuse_namespace(request.namespace.as_deref())?;
        let database = database_name(&request.db_name, db);
        let rows = Arc::new(request.fields_data);
        let len = request.num_rows as usize;
        let mut last = None;
        for _ in 0..TRIES {
            let named = self.to_write(database, &request.collection_name, &request.partition_name).await?;
            check_schema_timestamp(&named.collection, request.schema_timestamp)?;
            let (known, given, partition) =
                (named.clone(), Arc::clone(&rows), request.partition_name.clone());
            let check = move |_: &Left| {
                let checked = check_rows(&known.collection.schema, given.to_vec(), len, false)?;
                split(&known.snapshot, &known.collection, &partition, &checked)
            };
            let inserts = off_workers(bytes_of(&rows), check).await??;
            let write =
                WriteRequest { inserts: inserts.parts, ..write_for(&named, &request.collection_name) };
            match self.write(write).await? {
                Sent::Again(why) => last = Some(why),
                Sent::Done(done) => {
                    return Ok(mutation(&named, inserts.order, len, done, |r, n| r.insert_cnt = n));
                }
            }
        }
        Err(not_written(last))
    }

    pub async fn upsert(&self, db: &str, request: UpsertRequest) -> Result<MutationResult> {
        if request.partial_update || !request.field_ops.is_empty() {
            return Err(Error::new(
                Code::UNIMPLEMENTED,
                "partial update is not supported: send whole rows: service unimplemented",
            ));
        }
        check_names(&request.collection_name, &request.partition_name)?;
        refuse_namespace(request.namespace.as_deref())?;
        let database = database_name(&request.db_name, db);
        let rows = Arc::new(request.fields_data);
        let len = request.num_rows as usize;
        let mut last = None;
        for _ in 0..TRIES {
            let named = self.to_write(database, &request.collection_name, &request.partition_name).await?;
            check_schema_timestamp(&named.collection, request.schema_timestamp)?;
            let (known, given, partition) =
                (named.clone(), Arc::clone(&rows), request.partition_name.clone());
            let check = move |_: &Left| check_upsert(&known, given.to_vec(), len, &partition);
            let (inserts, keys) = off_workers(bytes_of(&rows), check).await??;
            let deletes = Some(keys);
            let delete_partition = scope_of_deletes(&named, &request.partition_name)?;
            let write = WriteRequest {
                inserts: inserts.parts,
                deletes,
                delete_partition,
                ..write_for(&named, &request.collection_name)
            };
            match self.write(write).await? {
                Sent::Again(why) => last = Some(why),
                Sent::Done(done) => {
                    let counts =
                        |r: &mut MutationResult, n| (r.insert_cnt, r.upsert_cnt, r.delete_cnt) = (n, n, n);
                    return Ok(mutation(&named, inserts.order, len, done, counts));
                }
            }
        }
        Err(not_written(last))
    }

    pub async fn delete(&self, call: &Call, request: DeleteRequest) -> Result<MutationResult> {
        check_names(&request.collection_name, &request.partition_name)?;
        refuse_namespace(request.namespace.as_deref())?;
        let database = database_name(&request.db_name, &call.database);
        let values = templates_from_wire(request.expr_template_values)?;
        let partition = Some(request.partition_name.clone()).filter(|name| !name.is_empty());
        let read = Read {
            database,
            collection: &request.collection_name,
            partitions: partition.as_slice(),
            consistency: Consistency { level: 0, use_default: false, guarantee: 0, exactly: false },
        };
        let mut last = None;
        for _ in 0..TRIES {
            let named = self.to_write(database, &request.collection_name, &request.partition_name).await?;
            let plan_failed = |e: mishards_expr::Error| {
                Error::invalid(format!(
                    "failed to create delete plan: cannot parse expression: {}, error: {e}",
                    request.expr
                ))
            };
            if request.expr.trim().is_empty() {
                return Err(Error::invalid(
                    "failed to create delete plan: delete plan can't be empty or always true : expr cannot be empty",
                ));
            }
            let (known, text, given) = (named.clone(), request.expr.clone(), values.clone());
            let compile = move |left: &Left| {
                let schema = &known.collection.schema;
                let predicate = mishards_expr::compile_unless(left.flag(), &text, &given, schema)?;
                let listed = listed_keys(&known.collection, &predicate, left);
                Ok((predicate.is_all(), listed.map(|keys| (keys.len(), to_delete(keys, left)))))
            };
            let (is_all, listed) = off_workers(request.expr.len(), compile).await?.map_err(plan_failed)?;
            if is_all {
                return Err(Error::invalid(
                    "failed to create delete plan: delete plan can't be empty or always true",
                ));
            }
            let delete_partition = scope_of_deletes(&named, &request.partition_name)?;
            let ((count, keys), resolved_at) = match listed {
                Some(listed) => (listed, 0),
                None => {
                    let filter = Filter { text: request.expr.clone(), values: values.clone() };
                    self.matching_keys(call, read, &filter).await?
                }
            };
            let (count, deletes) = (count as i64, Some(keys));
            if count == 0 {
                // Nothing is written: the time is that of the read that found nothing, or of one that would.
                let timestamp = match resolved_at {
                    0 => self.read_point(named, read.collection, read.consistency).await?.0.timestamp.0,
                    at => at,
                };
                return Ok(MutationResult {
                    status: Some(ok()),
                    acknowledged: true,
                    timestamp,
                    ..Default::default()
                });
            }
            let write = WriteRequest {
                deletes,
                delete_partition,
                resolved_at,
                ..write_for(&named, &request.collection_name)
            };
            match self.write(write).await? {
                Sent::Again(why) => last = Some(why),
                Sent::Done(done) => {
                    return Ok(MutationResult {
                        status: Some(ok()),
                        acknowledged: true,
                        delete_cnt: count,
                        timestamp: done.timestamp,
                        ..Default::default()
                    });
                }
            }
        }
        Err(not_written(last))
    }

    /// A collection, and in it the partition named: whoever made either may have asked another router, so this one catches
    /// up before it refuses.
    async fn to_write(&self, database: &str, name: &str, partition: &str) -> Result<Named> {
        let named = self.collection(database, name).await?;
        if partition.is_empty() || named.snapshot.partition_named(named.collection.id, partition).is_some() {
            return Ok(named);
        }
        self.catch_up().await;
        self.known(database, name)
    }

    /// Sends a write. What it was checked against may have changed since.
    async fn write(&self, write: WriteRequest) -> Result<Sent> {
        let writer = self.topology.wait_for_writer().await?;
        match writer.client.write(write).await {
            Ok(done) => Ok(Sent::Done(done)),
            // Surely not stored: its successor is asked.
            Err(failure) if matches!(failure.kind, Kind::NotWriter | Kind::Unreached) => {
                self.topology.suspect(&writer.name);
                self.topology.wait_for_successor(&writer).await;
                Ok(Sent::Again(failure.error))
            }
            Err(failure) if failure.kind == Kind::SchemaChanged => {
                self.catch_up().await;
                Ok(Sent::Again(failure.error))
            }
            Err(failure) => {
                self.topology.suspect(&writer.name);
                // It may have been logged: sending it again could double it, so the client must decide.
                Err(unknown_outcome("write", failure))
            }
        }
    }

    /// The keys that a filter matches now and their number, and when now is.
    async fn matching_keys(
        &self,
        call: &Call,
        read: Read<'_>,
        filter: &Filter,
    ) -> Result<((usize, IDs), u64)> {
        call.is_about(Subject {
            collection: read.collection.to_owned(),
            filter: filter.text.clone(),
            ..Subject::default()
        });
        self.replanned(call, || async {
            let (_, plan) = self.route(call, read, filter).await?;
            call.plan(&plan);
            let rows = self.query_rows(call, &plan, u64::MAX >> 1).await.map_err(too_many_to_delete)?;
            let count = rows.len();
            let keys = move |left: &Left| to_delete(rows.into_iter().map(|row| row.key), left);
            let keys = off_workers(count * ROW_BYTES, keys).await?;
            Ok(((count, keys), plan.scope.timestamp))
        })
        .await
    }
}

/// Keys as a write names them.
fn to_delete(keys: impl IntoIterator<Item = Key>, left: &Left) -> IDs {
    let mut keys = left.watch(keys).peekable();
    let strings = matches!(keys.peek(), Some(Key::Str(_)));
    ids_of(keys, strings)
}

/// The keys that a delete's filter matches are bounded as an answer is.
fn too_many_to_delete(failure: Failure) -> Failure {
    if failure.kind != Kind::Refused || !failure.error.message.contains("maxOutputSize") {
        return failure;
    }
    let text = format!(
        "the filter of the delete matches too many rows at once, delete them in parts, by ranges of the key: {}",
        failure.error.message
    );
    Failure { error: Error::new(failure.error.code, text), ..failure }
}

/// The rows of an upsert by partition, and the keys that they take the place of.
fn check_upsert(named: &Named, given: Vec<FieldData>, len: usize, partition: &str) -> Result<(Split, IDs)> {
    let schema = &named.collection.schema;
    let mut checked = check_rows(schema, given, len, true)?;
    let keys = checked.keys.clone().unwrap_or_default();
    if keys.iter().collect::<HashSet<_>>().len() != keys.len() {
        return Err(Error::invalid("duplicate primary keys are not allowed in the same batch"));
    }
    let strings = keys.iter().any(|k| matches!(k, Key::Str(_)));
    // With automatic ids the old row goes and a new one, with a new id, comes.
    if let Some(primary) = schema.primary().filter(|f| f.auto_id) {
        checked.columns.retain(|c| c.field_id != primary.id.0);
    }
    let inserts = split(&named.snapshot, &named.collection, partition, &checked)?;
    Ok((inserts, ids_of(keys, strings)))
}

fn bytes_of(rows: &[FieldData]) -> usize {
    rows.iter().map(Message::encoded_len).sum()
}

/// What became of a write that was sent.
enum Sent {
    Done(WriteResponse),
    /// Surely not stored, for this reason: it is to be checked and sent again.
    Again(Error),
}

/// A write that was sent as often as it may be.
fn not_written(last: Option<Error>) -> Error {
    let why = last.map_or_else(String::new, |why| format!(": {}", why.message));
    Error::unavailable(format!("the write was sent {TRIES} times and was not taken{why}"))
}

/// The names of a write, of which that of the partition may be left out.
fn check_names(collection: &str, partition: &str) -> Result<()> {
    check_collection_name(collection)?;
    match partition {
        "" => Ok(()),
        partition => check_partition_name(partition),
    }
}

fn write_for(named: &Named, name: &str) -> WriteRequest {
    WriteRequest {
        database: named.database.name.clone(),
        collection: name.to_owned(),
        collection_id: named.collection.id.0,
        schema_version: named.collection.schema_version,
        ..Default::default()
    }
}

fn check_schema_timestamp(collection: &Collection, given: u64) -> Result<()> {
    if given == 0 || given == collection.updated_at.0 {
        return Ok(());
    }
    let text = format!(
        "collection {} was changed at {}, the client knows {given}: collection schema mismatch",
        collection.name, collection.updated_at
    );
    Err(Error::new(Code::SCHEMA_MISMATCH, text))
}

/// The partition that deletes are limited to; 0 for all.
fn scope_of_deletes(named: &Named, partition: &str) -> Result<i64> {
    if partition.is_empty() {
        return Ok(0);
    }
    if named.collection.key_partitions > 0 {
        return Err(Error::invalid(
            "not support manually specifying the partition names if partition key mode is used",
        ));
    }
    let found = named.snapshot.partition_named(named.collection.id, partition);
    found.map(|p| p.id.0).ok_or_else(|| Error::partition_not_found(partition))
}

/// The keys that a filter lists, when that is all that it does: `pk == x` or `pk in […]`.
fn listed_keys(collection: &Collection, predicate: &Predicate, left: &Left) -> Option<Vec<Key>> {
    let primary = collection.schema.primary()?;
    let is_key = |operand: &Operand| matches!(operand, Operand::Column { field, .. } if *field == primary.id);
    let key = |value: &Value| match (primary.data_type, value) {
        (DataType::Int64, Value::Int(v)) => Some(Key::Int(*v)),
        (DataType::VarChar, Value::Str(s)) => Some(Key::Str(s.as_str().into())),
        _ => None,
    };
    match predicate {
        Predicate::Compare(operand, Comparison::Eq, Operand::Literal(value)) if is_key(operand) => {
            Some(vec![key(value)?])
        }
        Predicate::In(operand, values) if is_key(operand) => left.watch(&**values).map(key).collect(),
        _ => None,
    }
}

struct Split {
    parts: Vec<PartitionRows>,
    /// For each row as the parts have them, its place in the request.
    order: Vec<usize>,
}

/// Rows by partition: the one named, the default one, or as the partition key says.
fn split(snapshot: &Snapshot, collection: &Collection, partition: &str, rows: &Rows) -> Result<Split> {
    let Some(key_field) = collection.schema.partition_key() else {
        let name = if partition.is_empty() { DEFAULT_PARTITION } else { partition };
        let found =
            snapshot.partition_named(collection.id, name).ok_or_else(|| Error::partition_not_found(name))?;
        let part =
            PartitionRows { partition_id: found.id.0, rows: rows.len as u32, columns: rows.columns.clone() };
        return Ok(Split { parts: vec![part], order: (0..rows.len).collect() });
    };
    if !partition.is_empty() {
        return Err(Error::invalid(
            "not support manually specifying the partition names if partition key mode is used",
        ));
    }
    let partitions: Vec<i64> = snapshot.partitions_of(collection.id).map(|p| p.id.0).collect();
    let column = rows.columns.iter().find(|c| c.field_id == key_field.id.0);
    let keys = column.map(keys_of_column).unwrap_or_default();
    let mut by_slot: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, key) in keys.iter().enumerate() {
        by_slot.entry(partition_slot(key, partitions.len())).or_default().push(row);
    }
    let mut out = Split { parts: Vec::new(), order: Vec::new() };
    for (slot, chosen) in by_slot {
        let partition_id =
            *partitions.get(slot).ok_or_else(|| Error::internal("a partition key has no partition"))?;
        let columns = rows.columns.iter().map(|c| take_rows(c, &chosen)).collect();
        out.parts.push(PartitionRows { partition_id, rows: chosen.len() as u32, columns });
        out.order.extend(chosen);
    }
    Ok(out)
}

/// The answer to an insert or upsert, with the keys in the order of the request.
fn mutation(
    named: &Named,
    order: Vec<usize>,
    rows: usize,
    done: WriteResponse,
    counts: impl FnOnce(&mut MutationResult, i64),
) -> MutationResult {
    let strings = named.collection.schema.primary().is_some_and(|f| f.data_type == DataType::VarChar);
    let mut keys: Vec<(usize, Key)> = order.into_iter().zip(keys_of(done.keys)).collect();
    keys.sort_by_key(|(place, _)| *place);
    let ids: IDs = ids_of(keys.into_iter().map(|(_, key)| key), strings);
    let mut result = MutationResult {
        status: Some(ok()),
        i_ds: Some(ids),
        succ_index: (0..rows as u32).collect(),
        acknowledged: true,
        timestamp: done.timestamp,
        ..Default::default()
    };
    counts(&mut result, rows as i64);
    result
}
