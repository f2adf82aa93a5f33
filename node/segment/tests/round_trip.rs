//! What is written is what is read: every type, nulls, arrays, several vectors, both kinds of key; and rows that are
//! taken, put together and found by key.

mod samples;

use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_buffer::ScalarBuffer;
use bytes::Bytes;
use mishards_segment::{
    Column, Delete, Error, Footer, Rows, SegmentReader, Tombstone, decode_deletes, decode_delta,
    encode_deletes, encode_delta, key_at,
};
use mishards_types::{DataType, Key, PartitionId, Schema, Sequence, Timestamp};
use samples::{FOOTER, Files, KEY, META, NAME, NARROW, Nulls, Random, WIDE, rows, schema};
use std::collections::BTreeMap;
use std::sync::Arc;

const KEYS: [DataType; 2] = [DataType::Int64, DataType::VarChar];

/// Equal bit for bit: floats hold NaN.
fn assert_same(found: &Rows, expected: &Rows) {
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.timestamps(), expected.timestamps());
    assert_eq!(found.primary(), expected.primary());
    assert_eq!(found.columns().count(), expected.columns().count());
    for ((id, a), (other, b)) in found.columns().zip(expected.columns()) {
        assert_eq!(id, other);
        match (a, b) {
            (Column::Scalar(a), Column::Scalar(b)) => {
                assert_eq!(bits(a).as_ref(), bits(b).as_ref(), "field {id}")
            }
            (Column::Vector { dim, data }, Column::Vector { dim: d, data: b }) => {
                assert!(
                    dim == d && bytemuck::cast_slice::<f32, u32>(data) == bytemuck::cast_slice::<f32, u32>(b),
                    "field {id}"
                );
            }
            _ => panic!("field {id} became another kind of column"),
        }
    }
}

/// A column with NaN made comparable: floats as their bits in decimal.
fn bits(array: &ArrayRef) -> ArrayRef {
    use arrow_array::{Float32Array, Float64Array};
    if let Some(floats) = array.as_any().downcast_ref::<Float32Array>() {
        return Arc::new(floats.iter().map(|v| v.map(|v| i64::from(v.to_bits()))).collect::<Int64Array>());
    }
    if let Some(floats) = array.as_any().downcast_ref::<Float64Array>() {
        return Arc::new(floats.iter().map(|v| v.map(|v| v.to_bits() as i64)).collect::<Int64Array>());
    }
    Arc::clone(array)
}

#[test]
fn every_type_with_and_without_nulls() {
    for key in KEYS {
        let schema = schema(key);
        for count in [0, 1, 2, 63, 64, 65, 1_000] {
            for nulls in [Nulls::None, Nulls::Some, Nulls::All] {
                let rows = rows(&schema, count, nulls, count as u64);
                let reader = Files::of(&schema, &rows).open(&schema);
                let reader = reader.unwrap_or_else(|e| panic!("{count} rows, {nulls:?} null: {e}"));
                assert_same(&reader.rows, &rows);
                assert_eq!(reader.keys.in_key_order().len(), count);
            }
        }
    }
}

#[test]
fn a_column_that_is_a_part_of_a_longer_one() {
    let schema = schema(DataType::Int64);
    let whole = rows(&schema, 500, Nulls::Some, 1);
    let cut = |column: &Column| match column {
        Column::Scalar(array) => Column::Scalar(array.slice(37, 301)),
        Column::Vector { dim, data } => Column::Vector { dim: *dim, data: data.slice(37 * dim, 301 * dim) },
    };
    let columns: BTreeMap<_, _> = whole.columns().map(|(id, column)| (id, cut(column))).collect();
    let timestamps = ScalarBuffer::from(whole.timestamps()[37..338].to_vec());
    let part = Rows::new(&schema, timestamps, columns).expect("rows");
    let numbers: Vec<u32> = (37..338).collect();
    assert_same(&part, &whole.take(&numbers).expect("taken"));
    assert_same(&Files::of(&schema, &part).open(&schema).expect("opened").rows, &part);
}

#[test]
fn the_footer_says_what_is_there() {
    let schema = schema(DataType::Int64);
    let rows = rows(&schema, 100, Nulls::Some, 2);
    let files = Files::of(&schema, &rows);
    let footer = Footer::decode(FOOTER, &Bytes::from(files.0[FOOTER].clone())).expect("a footer");
    assert_eq!(
        (footer.segment, footer.collection, footer.partition),
        (META.segment, META.collection, META.partition)
    );
    assert_eq!(footer.rows, 100);
    let names: Vec<&str> = footer.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["columns.arrow", "keys", "120.vectors", "121.vectors"]);
    for sums in &footer.files {
        assert_eq!(sums.bytes as usize, files.0[&sums.name].len());
        assert_eq!(sums.blocks.len(), files.0[&sums.name].len().div_ceil(1 << 20));
        sums.verify(&files.0[&sums.name]).expect("the checksums of what was written");
    }
    assert_eq!(files.0["120.vectors"].len(), 100 * 16 * 4);
    assert_eq!(files.0["keys"].len(), 100 * 4 + 16);
    assert_eq!(&files.0["columns.arrow"][..6], b"ARROW1");
}

#[test]
fn equal_rows_make_equal_files() {
    let schema = schema(DataType::VarChar);
    let rows = rows(&schema, 300, Nulls::Some, 3);
    assert!(Files::of(&schema, &rows).0 == Files::of(&schema, &rows.clone()).0);
}

/// Bytes at an address that is a multiple of 64, as a map has it.
fn aligned(bytes: &[u8]) -> Bytes {
    let mut padded = vec![0u8; bytes.len() + 64];
    let start = padded.as_ptr().align_offset(64);
    padded[start..start + bytes.len()].copy_from_slice(bytes);
    Bytes::from(padded).slice(start..start + bytes.len())
}

#[test]
fn aligned_bytes_are_used_in_place() {
    let schema = schema(DataType::Int64);
    let files = Files::of(&schema, &rows(&schema, 200, Nulls::Some, 4));
    let held: BTreeMap<String, Bytes> =
        files.0.iter().map(|(name, bytes)| (name.clone(), aligned(bytes))).collect();
    let reader = SegmentReader::open(FOOTER, &held[FOOTER], &schema, &mut |name| held.get(name).cloned())
        .expect("opened");
    let inside = |name: &str, at: *const u8| held[name].as_ptr_range().contains(&at);
    assert!(inside("columns.arrow", reader.rows.timestamps().as_ptr().cast()));
    assert!(inside("120.vectors", reader.rows.vector(WIDE).expect("a vector").0.as_ptr().cast()));
    assert!(inside("121.vectors", reader.rows.vector(NARROW).expect("a vector").0.as_ptr().cast()));
    assert!(inside("keys", reader.keys.in_key_order().as_ptr().cast()));
    let names = reader.rows.scalar(NAME).expect("a column").to_data();
    assert!(names.buffers().iter().all(|b| inside("columns.arrow", b.as_ptr())));
}

#[test]
fn rows_that_are_taken() {
    let schema = schema(DataType::Int64);
    let whole = rows(&schema, 50, Nulls::Some, 5);
    let picked = [49, 0, 7, 7, 7, 48, 1];
    let taken = whole.take(&picked).expect("taken");
    for (at, from) in picked.iter().enumerate() {
        let one = taken.take(&[at as u32]).expect("taken");
        assert_same(&one, &whole.take(&[*from]).expect("taken"));
        assert_eq!(one.timestamps()[0], whole.timestamps()[*from as usize]);
    }
    let none = whole.take(&[]).expect("taken");
    assert!(none.is_empty() && none.min_timestamp() == Timestamp(0));
    assert_same(&Files::of(&schema, &none).open(&schema).expect("opened").rows, &none);
}

#[test]
fn rows_that_are_put_together() {
    for key in KEYS {
        let schema = schema(key);
        let whole = rows(&schema, 90, Nulls::Some, 6);
        let part = |from: u32, to: u32| whole.take(&(from..to).collect::<Vec<_>>()).expect("taken");
        let parts = [part(0, 13), part(13, 13), part(13, 64), part(64, 90)];
        let joined = Rows::concat(&parts).expect("joined");
        assert_same(&joined, &whole);
        assert_eq!(joined.min_timestamp().0, *whole.timestamps().iter().min().expect("rows"));
        assert_eq!(joined.max_timestamp().0, *whole.timestamps().iter().max().expect("rows"));
        assert_same(&Rows::concat(&parts[..1]).expect("joined"), &parts[0]);
        assert!(whole.bytes() >= 90 * (8 + 19 * 4), "at least its vectors and timestamps");
    }
    assert!(matches!(Rows::concat(&[]), Err(Error::Mismatch(_))));
}

#[test]
fn parts_of_different_shapes_are_refused() {
    let (ints, texts) = (schema(DataType::Int64), schema(DataType::VarChar));
    let parts = [rows(&ints, 3, Nulls::None, 7), rows(&texts, 3, Nulls::None, 7)];
    assert!(matches!(Rows::concat(&parts), Err(Error::Mismatch(_))));
    let mut fewer = schema(DataType::Int64);
    fewer.fields.retain(|f| f.id != NAME);
    let parts = [rows(&ints, 3, Nulls::None, 7), rows(&fewer, 3, Nulls::None, 7)];
    assert!(matches!(Rows::concat(&parts), Err(Error::Mismatch(what)) if what.contains("108")));
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let schema = schema(DataType::Int64);
    let good = rows(&schema, 4, Nulls::None, 8);
    let columns = || good.columns().map(|(id, c)| (id, c.clone())).collect::<BTreeMap<_, _>>();
    let timestamps = || ScalarBuffer::from(good.timestamps().to_vec());
    let refused = |columns, timestamps| match Rows::new(&schema, timestamps, columns) {
        Err(e @ Error::Mismatch(_)) => {
            assert!(!e.is_retryable());
            e.to_string()
        }
        other => panic!("accepted, or refused otherwise: {other:?}"),
    };
    let mut missing = columns();
    missing.remove(&NAME);
    assert!(refused(missing, timestamps()).contains("field name has no column"));
    let mut longer = columns();
    longer.insert(NAME, Column::Scalar(Arc::new(StringArray::from(vec!["a"; 5]))));
    assert!(refused(longer, timestamps()).contains("field name has 5 values for 4 rows"));
    let mut other = columns();
    other.insert(NAME, Column::Scalar(Arc::new(Int64Array::from(vec![1; 4]))));
    assert!(refused(other, timestamps()).contains("field name has a column of another type"));
    let mut swapped = columns();
    swapped.insert(WIDE, Column::Vector { dim: 3, data: ScalarBuffer::from(vec![0.0; 12]) });
    assert!(refused(swapped, timestamps()).contains("field wide has a column of another type"));
    assert!(refused(columns(), ScalarBuffer::from(vec![1u64; 3])).contains("4 values for 3 rows"));
}

/// Rows by key, the slow way.
fn by_key(rows: &Rows) -> BTreeMap<Key, Vec<u32>> {
    let mut out: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
    let keys = rows.keys().expect("keys");
    (0..rows.len()).for_each(|row| out.entry(key_at(keys, row)).or_default().push(row as u32));
    out
}

fn assert_finds_all(schema: &Schema, rows: &Rows) {
    let reader = Files::of(schema, rows).open(schema).expect("opened");
    let expected = by_key(rows);
    for (key, places) in &expected {
        assert_eq!(reader.keys.rows_of(key).collect::<Vec<_>>(), *places, "{key}");
    }
    let order: Vec<u32> = expected.into_values().flatten().collect();
    assert_eq!(reader.keys.in_key_order(), order);
    let others = [
        Key::Int(i64::MIN),
        Key::Int(i64::MAX),
        Key::Str("".into()),
        Key::Str("key".into()),
        Key::Str("z".into()),
    ];
    others.iter().for_each(|key| assert_eq!(reader.keys.rows_of(key).count(), 0, "{key}"));
}

#[test]
fn keys_are_found_with_all_their_rows() {
    for key in KEYS {
        let schema = schema(key);
        for count in [0, 1, 10, 500] {
            assert_finds_all(&schema, &rows(&schema, count, Nulls::None, 9));
        }
    }
    let schema = schema(DataType::Int64);
    let good = rows(&schema, 6, Nulls::None, 9);
    let mut columns: BTreeMap<_, _> = good.columns().map(|(id, c)| (id, c.clone())).collect();
    let keys = vec![i64::MAX, 5, i64::MIN, 5, i64::MAX - 1, 5];
    columns.insert(KEY, Column::Scalar(Arc::new(Int64Array::from(keys))));
    let rows = Rows::new(&schema, ScalarBuffer::from(good.timestamps().to_vec()), columns).expect("rows");
    let reader = Files::of(&schema, &rows).open(&schema).expect("opened");
    assert_eq!(reader.keys.rows_of(&Key::Int(5)).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(reader.keys.rows_of(&Key::Int(i64::MIN)).collect::<Vec<_>>(), [2]);
    assert_eq!(reader.keys.in_key_order(), [2, 1, 3, 5, 4, 0]);
    assert_eq!(reader.keys.rows_of(&Key::Str("5".into())).count(), 0, "another kind of key");
}

#[test]
fn delete_files() {
    let stone = |row, at| Tombstone { row, visible_at: Timestamp(at) };
    let file = encode_deletes(&[stone(9, 5), stone(2, 8), stone(2, 3), stone(0, u64::MAX), stone(2, 9)]);
    assert_eq!(file.len(), 3 * 12 + 16);
    let read = decode_deletes("d", Bytes::from(file.clone()), 10).expect("decoded");
    assert_eq!(read, [stone(0, u64::MAX), stone(2, 3), stone(9, 5)], "by row, each with its earliest");
    let outside = decode_deletes("d", Bytes::from(file), 9);
    assert!(
        matches!(outside, Err(Error::Corrupt { file, what }) if file == "d" && what.contains("out of range"))
    );
    assert_eq!(decode_deletes("d", Bytes::from(encode_deletes(&[])), 0), Ok(Vec::new()));
}

#[test]
fn delta_files_keep_the_order() {
    let mut random = Random(10);
    let delete = |key, r: &mut Random| Delete {
        sequence: Sequence(r.bits()),
        partition: PartitionId(r.bits() as i64),
        visible_at: Timestamp(r.bits()),
        resolved_at: Timestamp(r.bits()),
        key,
    };
    let keys = [
        Key::Int(7),
        Key::Str("".into()),
        Key::Int(i64::MIN),
        Key::Str("schlüssel\u{0}語".into()),
        Key::Int(-1),
    ];
    let deletes: Vec<Delete> = keys.into_iter().map(|key| delete(key, &mut random)).collect();
    assert_eq!(decode_delta("d", Bytes::from(encode_delta(&deletes))), Ok(deletes));
    assert_eq!(decode_delta("d", Bytes::from(encode_delta(&[]))), Ok(Vec::new()));
}
