//! Rows of every type under a seed, and the files of a segment held in memory.
#![allow(dead_code, reason = "each test program uses a part of it")]

use arrow_array::builder::{BooleanBuilder, Int32Builder, ListBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int64Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, StringArray,
};
use arrow_buffer::ScalarBuffer;
use bytes::Bytes;
use mishards_segment::{
    Column, FileSums, Footer, NewFile, Result, Rows, SegmentMeta, SegmentReader, encode_segment,
};
use mishards_types::{CollectionId, DataType, Field, FieldId, PartitionId, Schema, SegmentId};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const META: SegmentMeta =
    SegmentMeta { segment: SegmentId(7), collection: CollectionId(5), partition: PartitionId(6) };
pub const FOOTER: &str = "footer";
pub const KEY: FieldId = FieldId(100);
pub const NAME: FieldId = FieldId(108);
pub const WIDE: FieldId = FieldId(120);
pub const NARROW: FieldId = FieldId(121);

fn field(id: i64, name: &str, data_type: DataType) -> Field {
    Field { nullable: true, ..Field::new(FieldId(id), name, data_type) }
}

/// A field of each type, arrays of five types, two vectors; the key is Int64 or VarChar.
pub fn schema(key: DataType) -> Schema {
    let array =
        |id, name: &str, element| Field { element: Some(element), ..field(id, name, DataType::Array) };
    let vector =
        |id: FieldId, name: &str, dim| Field { dim: Some(dim), ..field(id.0, name, DataType::FloatVector) };
    let fields = vec![
        Field { primary: true, ..field(KEY.0, "id", key) },
        field(101, "flag", DataType::Bool),
        field(102, "i8", DataType::Int8),
        field(103, "i16", DataType::Int16),
        field(104, "i32", DataType::Int32),
        field(105, "i64", DataType::Int64),
        field(106, "f", DataType::Float),
        field(107, "d", DataType::Double),
        field(NAME.0, "name", DataType::VarChar),
        field(109, "j", DataType::Json),
        array(110, "flags", DataType::Bool),
        array(111, "small", DataType::Int8),
        array(112, "middle", DataType::Int32),
        array(113, "floats", DataType::Float),
        array(114, "tags", DataType::VarChar),
        vector(WIDE, "wide", 16),
        vector(NARROW, "narrow", 3),
        Field { dynamic: true, ..field(130, "$meta", DataType::Json) },
    ];
    Schema { description: String::new(), fields, enable_dynamic: true }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'ß', '語', '"', '\u{0}', '😀'];
        (0..self.below(9)).map(|_| letters[self.below(6) as usize]).collect()
    }
}

/// Which values are null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nulls {
    None,
    Some,
    All,
}

/// `count` rows. Keys repeat: there are about a third fewer keys than rows.
pub fn rows(schema: &Schema, count: usize, nulls: Nulls, seed: u64) -> Rows {
    let mut random = Random(seed);
    let timestamps: Vec<u64> = (0..count).map(|i| (1 << 40) + random.below(50) + i as u64).collect();
    let column = |f: &Field| (f.id, values(f, count, nulls, &mut random));
    let columns: BTreeMap<FieldId, Column> = schema.fields.iter().map(column).collect();
    Rows::new(schema, ScalarBuffer::from(timestamps), columns).expect("rows that fit the schema")
}

fn values(field: &Field, count: usize, nulls: Nulls, r: &mut Random) -> Column {
    if let Some(dim) = field.dim {
        let data: Vec<f32> = (0..count * dim).map(|_| f32::from_bits(r.bits() as u32)).collect();
        return Column::Vector { dim, data: ScalarBuffer::from(data) };
    }
    if field.primary {
        return Column::Scalar(keys(field, count, r));
    }
    let mut null = |r: &mut Random| match nulls {
        Nulls::None => false,
        Nulls::Some => r.below(3) == 0,
        Nulls::All => true,
    };
    macro_rules! column {
        ($array:ty, $value:expr) => {
            Arc::new((0..count).map(|_| if null(r) { None } else { Some($value(r)) }).collect::<$array>())
        };
    }
    Column::Scalar(match field.data_type {
        DataType::Bool => column!(BooleanArray, |r: &mut Random| r.below(2) == 0),
        DataType::Int8 => column!(Int8Array, |r: &mut Random| r.bits() as i8),
        DataType::Int16 => column!(Int16Array, |r: &mut Random| r.bits() as i16),
        DataType::Int32 => column!(Int32Array, |r: &mut Random| r.bits() as i32),
        DataType::Int64 => column!(Int64Array, |r: &mut Random| r.bits() as i64),
        DataType::Float => column!(Float32Array, |r: &mut Random| f32::from_bits(r.bits() as u32)),
        DataType::Double => column!(Float64Array, |r: &mut Random| f64::from_bits(r.bits())),
        DataType::VarChar => column!(StringArray, Random::text),
        DataType::Array => lists(field, count, &mut null, r),
        _ => column!(StringArray, |r: &mut Random| format!("{{\"a\": [{}, null]}}", r.below(100))),
    })
}

fn keys(field: &Field, count: usize, r: &mut Random) -> ArrayRef {
    let limit = (count as u64 * 2 / 3).max(1);
    let numbers: Vec<i64> = (0..count).map(|_| r.below(limit) as i64 - 3).collect();
    match field.data_type {
        DataType::Int64 => Arc::new(Int64Array::from(numbers)),
        _ => Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| format!("key-é-{n}")))),
    }
}

fn lists(field: &Field, count: usize, null: &mut dyn FnMut(&mut Random) -> bool, r: &mut Random) -> ArrayRef {
    match field.element {
        Some(DataType::Bool) => {
            let mut lists = ListBuilder::new(BooleanBuilder::new());
            fill(
                count,
                null,
                r,
                &mut lists,
                |b, r| b.append_value(r.below(2) == 0),
                |b, valid| b.append(valid),
            )
        }
        Some(DataType::Int8) => numbers::<Int8Type>(count, null, r, |r| r.bits() as i8),
        Some(DataType::Int32) => {
            let mut lists = ListBuilder::new(Int32Builder::new());
            fill(
                count,
                null,
                r,
                &mut lists,
                |b, r| b.append_value(r.bits() as i32),
                |b, valid| b.append(valid),
            )
        }
        Some(DataType::Float) => numbers::<Float32Type>(count, null, r, |r| r.below(100) as f32 / 8.0),
        Some(DataType::Double) => numbers::<Float64Type>(count, null, r, |r| r.below(100) as f64 / 8.0),
        Some(DataType::VarChar) => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            fill(count, null, r, &mut lists, |b, r| b.append_value(r.text()), |b, valid| b.append(valid))
        }
        _ => numbers::<Int64Type>(count, null, r, |r| r.bits() as i64),
    }
}

fn numbers<T: ArrowPrimitiveType>(
    count: usize,
    null: &mut dyn FnMut(&mut Random) -> bool,
    r: &mut Random,
    value: fn(&mut Random) -> T::Native,
) -> ArrayRef {
    let mut lists = ListBuilder::new(PrimitiveBuilder::<T>::new());
    fill(count, null, r, &mut lists, |b, r| b.append_value(value(r)), |b, valid| b.append(valid))
}

/// Lists of 0 to 4 elements.
fn fill<B: arrow_array::builder::ArrayBuilder>(
    count: usize,
    null: &mut dyn FnMut(&mut Random) -> bool,
    r: &mut Random,
    lists: &mut ListBuilder<B>,
    add: impl Fn(&mut B, &mut Random),
    close: impl Fn(&mut ListBuilder<B>, bool),
) -> ArrayRef {
    for _ in 0..count {
        let valid = !null(r);
        if valid {
            (0..r.below(5)).for_each(|_| add(lists.values(), r));
        }
        close(lists, valid);
    }
    Arc::new(lists.finish())
}

/// The files of a segment by name.
#[derive(Clone)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    pub fn of(schema: &Schema, rows: &Rows) -> Files {
        let files = encode_segment(META, schema, rows).expect("encoded");
        Files(files.into_iter().map(|NewFile { name, bytes }| (name, bytes)).collect())
    }

    pub fn open(&self, schema: &Schema) -> Result<SegmentReader> {
        let give = |name: &str| self.0.get(name).map(|bytes| Bytes::from(bytes.clone()));
        let footer = give(FOOTER).unwrap_or_default();
        SegmentReader::open(FOOTER, &footer, schema, &mut |name| give(name))
    }

    /// The same with another file in place of one, under a footer with right checksums.
    pub fn with_sealed(&self, name: &str, bytes: Vec<u8>) -> Files {
        let mut files = self.clone();
        let mut footer = Footer::decode(FOOTER, &Bytes::from(files.0[FOOTER].clone())).expect("a footer");
        let sums = footer.files.iter_mut().find(|f| f.name == name).expect("a file of the segment");
        *sums = FileSums::of(name, &bytes);
        files.0.insert(name.to_owned(), bytes);
        files.0.insert(FOOTER.to_owned(), footer.encode().expect("encoded"));
        files
    }
}

/// Reads something from every column, as a search does.
pub fn use_all(reader: &SegmentReader) {
    let rows = &reader.rows;
    if rows.is_empty() {
        return;
    }
    let last = rows.len() as u32 - 1;
    let ends = rows.take(&[0, last]).expect("taken");
    assert_eq!(ends.len(), 2);
    assert!(format!("{ends:?}").len() > 10);
    let key = mishards_segment::key_at(rows.keys().expect("keys"), 0);
    reader.keys.rows_of(&key).for_each(|row| assert!(row <= last));
}
