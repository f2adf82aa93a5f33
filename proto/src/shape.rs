//! How much memory a message takes once it is decoded, found out before it is: some bytes on the wire can be a hundred times as
//! many in memory.

use prost::encoding::decode_varint;

/// What a kind of message is made of.
struct Shape {
    /// With its package.
    name: &'static str,
    /// Of an empty one, about.
    bytes: usize,
    /// Numbers of the fields that are messages, and which.
    parts: &'static [(u32, usize)],
    /// Numbers of the fields that are lists of numbers, each of which may take one byte on the wire, and what one takes then.
    packed: &'static [(u32, usize)],
}

// `static SHAPES`, in the order of the names.
include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// A value of a list, or the place of a text.
const VALUE: usize = 24;
/// Messages within messages beyond this are left to the decoder, which refuses them.
const DEPTH: usize = 100;

/// Whether a message of this kind takes at most `most` bytes when it is decoded, about. What cannot be read (Protocol Buffers,
/// "Encoding") is left to the decoder.
pub fn fits(name: &str, bytes: &[u8], most: usize) -> bool {
    let Ok(kind) = SHAPES.binary_search_by(|shape| shape.name.cmp(name)) else { return true };
    let mut left = most;
    take(kind, bytes, &mut left, DEPTH)
}

/// Takes the memory of one message from what is left; false when that is not enough.
fn take(kind: usize, mut bytes: &[u8], left: &mut usize, depth: usize) -> bool {
    let shape = &SHAPES[kind];
    let Some(rest) = left.checked_sub(shape.bytes) else { return false };
    *left = rest;
    while !bytes.is_empty() {
        let Ok(key) = decode_varint(&mut bytes) else { return true };
        let length = match key & 7 {
            0 => decode_varint(&mut bytes).map(|_| 0),
            1 => Ok(8),
            2 => decode_varint(&mut bytes),
            5 => Ok(4),
            // The fields of a group count one by one.
            3 | 4 => Ok(0),
            _ => return true,
        };
        let Some(length) = length.ok().and_then(|length| usize::try_from(length).ok()) else { return true };
        let Some((value, rest)) = bytes.split_at_checked(length) else { return true };
        bytes = rest;
        let is_it = |(number, _): &&(u32, usize)| u64::from(*number) == key >> 3;
        let (part, packed) = (shape.parts.iter().find(is_it), shape.packed.iter().find(is_it));
        let numbers = packed.map_or(length, |(_, size)| size * value.iter().filter(|b| **b < 0x80).count());
        let is_enough = match part.filter(|_| key & 7 == 2 && depth > 0) {
            Some((_, part)) => take(*part, value, left, depth - 1),
            None => match left.checked_sub(VALUE + numbers) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => false,
            },
        };
        if !is_enough {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milvus::{HybridSearchRequest, InsertRequest, SearchRequest};
    use crate::schema::{FieldData, LongArray, ScalarField, StructArrayField, field_data, scalar_field};
    use prost::{Message, Name};

    fn takes<M: Message + Name>(message: &M) -> usize {
        let bytes = message.encode_to_vec();
        let (mut low, mut high) = (0, 1 << 40);
        while low < high {
            let middle = (low + high) / 2;
            match fits(&M::full_name(), &bytes, middle) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }

    fn column(field: field_data::Field) -> FieldData {
        FieldData { field: Some(field), ..Default::default() }
    }

    #[test]
    fn what_is_small_on_the_wire_and_large_in_memory_is_seen_at_any_depth() {
        let empty = vec![FieldData::default(); 1000];
        let within = StructArrayField { fields: empty.clone() };
        let nested = column(field_data::Field::StructArrays(within));
        for fields_data in [empty, vec![nested]] {
            let request = InsertRequest { fields_data, ..Default::default() };
            assert!(request.encoded_len() < 3000);
            let (takes, real) = (takes(&request), 1000 * size_of::<FieldData>());
            assert!(takes > real / 2 && takes < real * 2, "{takes} of {real}");
        }
        let parts = vec![SearchRequest::default(); 1000];
        let request = HybridSearchRequest { requests: parts, ..Default::default() };
        let (takes, real) = (takes(&request), 1000 * size_of::<SearchRequest>());
        assert!(takes > real / 2 && takes < real * 2, "{takes} of {real}");
    }

    #[test]
    fn plain_values_take_what_they_are() {
        let data = scalar_field::Data::LongData(LongArray { data: vec![7; 100_000] });
        let scalars = ScalarField { data: Some(data), ..Default::default() };
        let request = InsertRequest {
            fields_data: vec![column(field_data::Field::Scalars(scalars))],
            ..Default::default()
        };
        let takes = takes(&request);
        assert!((800_000..802_000).contains(&takes), "{takes} for 100,000 numbers");
    }

    #[test]
    fn what_cannot_be_read_is_left_to_the_decoder() {
        let name = InsertRequest::full_name();
        for bytes in [&[0xff][..], &[0x2a, 0x7f, 1], &[7], &[0x0b, 0x0c], &[8, 0x80, 1, 9, 1, 2]] {
            assert!(fits(&name, bytes, 1 << 20));
        }
        assert!(fits("of.Nobody", &[0x2a, 0].repeat(1000), 0));
    }
}
