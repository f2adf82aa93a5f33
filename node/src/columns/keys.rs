//! Primary keys on the wire.

use mishards_proto::schema::{IDs, LongArray, StringArray, i_ds::IdField};
use mishards_types::Key;

pub fn keys_from_wire(ids: Option<IDs>) -> Vec<Key> {
    match ids.and_then(|ids| ids.id_field) {
        Some(IdField::IntId(list)) => list.data.into_iter().map(Key::Int).collect(),
        Some(IdField::StrId(list)) => list.data.into_iter().map(|s| Key::Str(s.into())).collect(),
        _ => Vec::new(),
    }
}

/// All keys are of one kind; an empty list is one of integers.
pub fn keys_to_wire(keys: impl IntoIterator<Item = Key>) -> IDs {
    let (mut ints, mut texts) = (Vec::new(), Vec::new());
    for key in keys {
        match key {
            Key::Int(v) => ints.push(v),
            Key::Str(s) => texts.push(s.into_string()),
        }
    }
    let id_field = if texts.is_empty() {
        IdField::IntId(LongArray { data: ints })
    } else {
        IdField::StrId(StringArray { data: texts })
    };
    IDs { id_field: Some(id_field) }
}
