//! What index commands change.

use super::{Command, Planner, put_collection};
use crate::model::*;
use crate::snapshot::Change;
use mishards_types::{Code, Error, IndexId, Result, check_index_name};

impl Planner<'_> {
    pub(super) fn create_index(&mut self, command: &Command) -> Result<Vec<Change>> {
        let Command::CreateIndex { database, collection, field, name, kind, metric, params, user_params } =
            command
        else {
            return Ok(Vec::new());
        };
        let mut collection = (*self.resolve(database, collection)?).clone();
        let Some(target) = collection.schema.field(field) else {
            return Err(Error::invalid(format!("cannot create index on non-exist field: {field}")));
        };
        let name = if name.is_empty() { field.clone() } else { name.clone() };
        check_index_name(&name)?;
        if let Some(existing) = collection.index_on(target.id) {
            if existing.name != name {
                return Err(Error::invalid(
                    "CreateIndex failed: creating multiple indexes on same field is not supported",
                ));
            }
            let same = existing.kind == *kind && existing.metric == *metric && existing.params == *params;
            return if same {
                Ok(Vec::new())
            } else {
                Err(Error::invalid("CreateIndex failed: at most one distinct index is allowed per field"))
            };
        }
        if collection.indexes.iter().any(|i| i.name == name) {
            return Err(Error::invalid(format!(
                "CreateIndex failed: index name {name} is used by another field"
            )));
        }
        let index = IndexDef {
            id: IndexId((self.next_id)()),
            name,
            field: target.id,
            kind: kind.clone(),
            metric: *metric,
            params: params.clone(),
            user_params: user_params.clone(),
            created_at: self.now,
        };
        collection.indexes.push(index);
        Ok(vec![put_collection(collection)])
    }

    pub(super) fn drop_index(
        &self,
        database: &str,
        collection: &str,
        field: &str,
        name: &str,
    ) -> Result<Vec<Change>> {
        let mut collection = (*self.resolve(database, collection)?).clone();
        let matches = |index: &IndexDef| {
            let field_name = collection.schema.field_by_id(index.field).map_or("", |f| &f.name);
            (name.is_empty() || index.name == name) && (field.is_empty() || field_name == field)
        };
        let found: Vec<IndexDef> = collection.indexes.iter().filter(|i| matches(i)).cloned().collect();
        if found.is_empty() {
            return Ok(Vec::new());
        }
        if found.len() > 1 {
            return Err(Error::new(
                Code::INDEX_AMBIGUOUS,
                "index duplicates: there are several indexes, say which by index_name",
            ));
        }
        let index = &found[0];
        if index.metric.is_some() && collection.load.is_loaded() {
            return Err(Error::invalid(
                "vector index cannot be dropped on loaded collection, please release it first",
            ));
        }
        collection.indexes.retain(|i| i.id != index.id);
        let mut changes = Vec::new();
        for segment in self.snapshot.segments_of(collection.id) {
            if segment.indexes.iter().any(|f| f.index == index.id) {
                let mut bare = (**segment).clone();
                bare.indexes.retain(|f| f.index != index.id);
                changes.push(Change::Put(Entity::Segment(Box::new(bare))));
            }
        }
        changes.push(put_collection(collection));
        Ok(changes)
    }
}
