//! Query vectors out of a placeholder group.

use mishards_proto::common::{PlaceholderGroup, PlaceholderType};
use mishards_types::{Error, Field, Result, limits};
use prost::Message;

/// The query vectors of a field, row-major, and how many they are. Each must be finite and of the field's dimension.
pub fn query_vectors(bytes: &[u8], field: &Field) -> Result<(Vec<f32>, usize)> {
    let group = PlaceholderGroup::decode(bytes)
        .map_err(|e| Error::invalid(format!("the placeholder group cannot be read: {e}")))?;
    let dim = field.dim.unwrap_or(0);
    let (mut vectors, mut nq) = (Vec::new(), 0);
    for placeholder in group.placeholders {
        if placeholder.r#type != PlaceholderType::FloatVector as i32 {
            let got = PlaceholderType::try_from(placeholder.r#type).map_or("unknown", |t| t.as_str_name());
            return Err(Error::invalid(format!(
                "vector type must be the same, field {} - type FloatVector, search info type {got}",
                field.name
            )));
        }
        for value in placeholder.values {
            if value.len() != dim * 4 {
                return Err(Error::invalid(format!(
                    "vector dimension mismatch: field {} has dim {dim} ({} bytes), the query vector has {} bytes",
                    field.name,
                    dim * 4,
                    value.len()
                )));
            }
            vectors.extend(value.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            nq += 1;
        }
    }
    if nq == 0 || nq > limits::NQ {
        return Err(Error::invalid(format!(
            "nq (number of search vector per search request) should be in range [1, {}], but got {nq}",
            limits::NQ
        )));
    }
    match vectors.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::invalid(format!(
            "value '{}' is not a number or infinity: component {} of query vector {}",
            vectors[i],
            i % dim,
            i / dim
        ))),
        None => Ok((vectors, nq)),
    }
}
