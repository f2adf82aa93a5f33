//! Between Milvus messages and our own types: schemas, rows, parameters, templates.

mod columns;
mod describe;
mod known;
mod params;
mod placeholder;
mod rows;
mod schema;
mod templates;

pub use columns::{empty_column, project_dynamic, take_rows};
pub use describe::describe_collection;
pub use known::{Place, check_known};
pub use params::Params;
pub use placeholder::query_vectors;
pub use rows::{Rows, check_rows, keys_of_column};
pub use schema::{field_to_wire, schema_from_wire};
pub use templates::templates_from_wire;

use mishards_proto::schema::{IDs, LongArray, StringArray, i_ds::IdField};
use mishards_types::Key;

/// The keys of a list of ids.
pub fn keys_of(ids: Option<IDs>) -> Vec<Key> {
    match ids.and_then(|ids| ids.id_field) {
        Some(IdField::IntId(list)) => list.data.into_iter().map(Key::Int).collect(),
        Some(IdField::StrId(list)) => list.data.into_iter().map(|s| Key::Str(s.into())).collect(),
        _ => Vec::new(),
    }
}

/// A list of ids; `strings` says of which kind an empty one is.
pub fn ids_of(keys: impl IntoIterator<Item = Key>, strings: bool) -> IDs {
    let (mut ints, mut texts) = (Vec::new(), Vec::new());
    for key in keys {
        match key {
            Key::Int(v) => ints.push(v),
            Key::Str(s) => texts.push(s.into_string()),
        }
    }
    let id_field = if strings {
        IdField::StrId(StringArray { data: texts })
    } else {
        IdField::IntId(LongArray { data: ints })
    };
    IDs { id_field: Some(id_field) }
}
