//! Every parameter and property that Milvus knows, call by call, and what becomes of it here. What is accepted has an
//! effect, or cannot change the answer, or asks for what is done anyway; everything else is refused by name. A name that
//! Milvus does not know either is left to the caller: reads ignore it, definitions keep it and show it again.

mod definitions;
mod reads;
#[cfg(test)]
mod tests;

use mishards_types::{Error, Result, limits};
use std::fmt;

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Search,
    /// One of the searches of a hybrid search.
    SubSearch,
    /// What a hybrid search says of the whole.
    Ranking,
    Query,
    CollectionProperty,
    FieldParam,
    IndexParam,
    DatabaseProperty,
    LoadParam,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Search => "a search",
            Place::SubSearch => "a search inside a hybrid search",
            Place::Ranking => "a hybrid search",
            Place::Query => "a query",
            Place::CollectionProperty => "a collection",
            Place::FieldParam => "a field",
            Place::IndexParam => "an index",
            Place::DatabaseProperty => "a database",
            Place::LoadParam => "a load",
        })
    }
}

/// What becomes of a parameter.
#[derive(Clone, Copy)]
enum Treatment {
    /// It is read, and has its effect.
    Used,
    /// It is not read, for the answer is the same whatever it says; with the reason.
    Ignored(&'static str),
    /// Accepted with these values alone, in any case of letters: they ask for what is done anyway. With none, always refused.
    Only(&'static [&'static str]),
    /// As this says.
    Checked(fn(&str) -> Result<()>),
}

/// A parameter that Milvus knows.
type Known = (&'static str, Treatment);

const REFUSED: Treatment = Treatment::Only(&[]);
const ONLY_FALSE: Treatment = Treatment::Only(&["false", "f", "0"]);
const ONLY_TRUE: Treatment = Treatment::Only(&["true", "t", "1"]);

/// The parameters that Milvus knows in a place; none is there twice.
fn known(place: Place) -> impl Iterator<Item = &'static Known> {
    let tables: &[&'static [Known]] = match place {
        Place::Search => &[reads::SEARCH, reads::ANY_SEARCH, reads::OTHER_INDEXES, reads::ANY_READ],
        Place::SubSearch => &[reads::SUB_SEARCH, reads::ANY_SEARCH, reads::OTHER_INDEXES, reads::ANY_READ],
        Place::Ranking => &[reads::RANKING, reads::ANY_READ],
        Place::Query => &[reads::QUERY, reads::ANY_READ],
        Place::CollectionProperty => &[definitions::COLLECTION],
        Place::FieldParam => &[definitions::FIELD],
        Place::IndexParam => &[definitions::INDEX],
        Place::DatabaseProperty => &[definitions::DATABASE],
        Place::LoadParam => &[definitions::LOAD],
    };
    tables.iter().flat_map(|table| table.iter())
}

/// Refuses the first parameter that would be accepted without the effect that Milvus gives it.
pub fn check_known<K: AsRef<str>, V: AsRef<str>>(
    place: Place,
    params: impl IntoIterator<Item = (K, V)>,
) -> Result<()> {
    let mut bytes = 0;
    for (name, value) in params {
        check_one(place, name.as_ref(), value.as_ref())?;
        bytes += name.as_ref().len() + value.as_ref().len();
    }
    match place {
        Place::CollectionProperty | Place::FieldParam | Place::DatabaseProperty | Place::LoadParam => {
            limits::check_definition(&format!("the list of properties of {place}"), bytes)
        }
        _ => Ok(()),
    }
}

fn check_one(place: Place, name: &str, value: &str) -> Result<()> {
    // To a read, an empty value is none; a definition keeps it.
    let reads = matches!(place, Place::Search | Place::SubSearch | Place::Ranking | Place::Query);
    if reads && value.is_empty() {
        return Ok(());
    }
    let Some((_, treatment)) = known(place).find(|(known, _)| *known == name) else { return Ok(()) };
    match treatment {
        Treatment::Used => Ok(()),
        Treatment::Ignored(why) => {
            tracing::trace!(name, %place, why, "a parameter is not read");
            Ok(())
        }
        Treatment::Checked(check) => check(value),
        Treatment::Only(values) if values.iter().any(|v| v.eq_ignore_ascii_case(value.trim())) => Ok(()),
        Treatment::Only([]) => Err(Error::invalid(format!("{name} of {place} is not supported"))),
        Treatment::Only([value_here, ..]) => Err(Error::invalid(format!(
            "{name} of {place} is not supported: it can only be {value_here} here, got {value}"
        ))),
    }
}
