//! Files that are not as they were written: a bit that flipped, a file cut off, swapped or missing. Each is refused
//! as corrupt, by the name of the file that is damaged.

mod samples;

use bytes::Bytes;
use mishards_segment::{
    Delete, Error, Footer, SegmentReader, Tombstone, add_trailer, check_trailer, decode_deletes,
    decode_delta, encode_deletes, encode_delta,
};
use mishards_types::{DataType, Key, PartitionId, Schema, Sequence, Timestamp, checksum};
use samples::{FOOTER, Files, Nulls, rows, schema};

/// Bytes between two flipped bits.
const STEP: usize = 97;

fn segment() -> (Schema, Files) {
    let schema = schema(DataType::Int64);
    let files = Files::of(&schema, &rows(&schema, 400, Nulls::Some, 1));
    (schema, files)
}

fn assert_names<T: std::fmt::Debug>(found: Result<T, Error>, name: &str, what: &str) {
    match found {
        Err(e @ Error::Corrupt { .. }) => {
            assert!(matches!(&e, Error::Corrupt { file, .. } if file == name), "{what}: {e}");
            assert!(e.is_retryable(), "another copy may be whole");
            assert!(e.to_string().starts_with(&format!("{name} is corrupt: ")));
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn open(files: &Files, schema: &Schema) -> Result<(), Error> {
    files.open(schema).map(|_| ())
}

#[test]
fn a_flipped_bit_in_any_file() {
    let (schema, files) = segment();
    open(&files, &schema).expect("whole");
    for (name, bytes) in &files.0 {
        for at in (0..bytes.len()).step_by(STEP).chain([bytes.len() - 1]) {
            let mut damaged = files.clone();
            if let Some(bytes) = damaged.0.get_mut(name) {
                bytes[at] ^= 1 << (at % 8);
            }
            assert_names(open(&damaged, &schema), name, &format!("byte {at} of {name}"));
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_footer() {
    let (schema, files) = segment();
    for bit in 0..files.0[FOOTER].len() * 8 {
        let mut damaged = files.0[FOOTER].clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let footer = Footer::decode(FOOTER, &Bytes::from(damaged));
        assert_names(footer, FOOTER, &format!("bit {bit}"));
    }
    open(&files, &schema).expect("whole");
}

#[test]
fn a_file_that_is_cut_off_or_too_long() {
    let (schema, files) = segment();
    for (name, bytes) in &files.0 {
        for length in (0..bytes.len()).step_by(STEP).chain([bytes.len() - 1]) {
            let mut damaged = files.clone();
            damaged.0.insert(name.clone(), bytes[..length].to_vec());
            assert_names(open(&damaged, &schema), name, &format!("{length} bytes of {name}"));
        }
        let mut damaged = files.clone();
        damaged.0.insert(name.clone(), [bytes.as_slice(), &[0]].concat());
        assert_names(open(&damaged, &schema), name, &format!("one byte more of {name}"));
    }
}

#[test]
fn a_file_that_is_missing_or_of_another_segment() {
    let (schema, files) = segment();
    let other = Files::of(&schema, &rows(&schema, 400, Nulls::Some, 2));
    for name in files.0.keys() {
        let mut damaged = files.clone();
        damaged.0.remove(name);
        assert_names(open(&damaged, &schema), name, &format!("without {name}"));
        if name != FOOTER {
            let mut swapped = files.clone();
            swapped.0.insert(name.clone(), other.0[name].clone());
            assert_names(open(&swapped, &schema), name, &format!("{name} of another segment"));
        }
    }
}

#[test]
fn a_later_block_is_named_by_its_place() {
    let schema = schema(DataType::Int64);
    let mut files = Files::of(&schema, &rows(&schema, 40_000, Nulls::None, 3));
    let name = "120.vectors";
    assert!(files.0[name].len() > 2 << 20);
    if let Some(bytes) = files.0.get_mut(name) {
        bytes[(2 << 20) + 5] ^= 16;
    }
    let refused = open(&files, &schema);
    assert!(
        matches!(&refused, Err(Error::Corrupt { what, .. }) if what.contains("block 2 (from byte 2097152)")),
        "{refused:?}"
    );
    assert_names(refused, name, "the third block");
}

#[test]
fn files_under_right_checksums_that_do_not_belong_together() {
    let (schema, files) = segment();
    let fewer = Files::of(&schema, &rows(&schema, 399, Nulls::Some, 1));
    for name in ["columns.arrow", "keys", "120.vectors"] {
        let mixed = files.with_sealed(name, fewer.0[name].clone());
        assert!(matches!(open(&mixed, &schema), Err(Error::Corrupt { .. })), "{name} with a row less");
    }
    let cut = files.0["121.vectors"][..files.0["121.vectors"].len() - 4].to_vec();
    assert_names(
        open(&files.with_sealed("121.vectors", cut), &schema),
        "121.vectors",
        "two thirds of a vector",
    );
    let texts = samples::schema(DataType::VarChar);
    assert_names(open(&files, &texts), "columns.arrow", "another schema");
    let mut more = schema.clone();
    let vector = more.fields.iter_mut().find(|f| f.id == samples::WIDE).expect("a vector");
    vector.id = mishards_types::FieldId(999);
    assert_names(open(&files, &more), FOOTER, "a vector that the footer does not name");
}

#[test]
fn a_newer_footer_says_so() {
    let (schema, mut files) = segment();
    let footer = files.0.get_mut(FOOTER).expect("a footer");
    footer[8..12].copy_from_slice(&2u32.to_le_bytes());
    let sum = checksum(&[&footer[..16], &footer[24..]].concat());
    footer[16..24].copy_from_slice(&sum.to_le_bytes());
    let refused = open(&files, &schema);
    assert_eq!(refused, Err(Error::NewerFormat { file: FOOTER.to_owned(), found: 2, known: 1 }));
    assert!(refused.is_err_and(|e| !e.is_retryable() && e.to_string().contains("use a newer mishards")));
}

#[test]
fn a_reader_asks_only_for_files_that_the_footer_names() {
    let (schema, files) = segment();
    let mut asked = Vec::new();
    let footer = Bytes::from(files.0[FOOTER].clone());
    let mut give = |name: &str| {
        asked.push(name.to_owned());
        files.0.get(name).map(|b| Bytes::from(b.clone()))
    };
    SegmentReader::open(FOOTER, &footer, &schema, &mut give).expect("opened");
    assert_eq!(asked, ["columns.arrow", "keys", "120.vectors", "121.vectors"]);
}

fn tombstones() -> Vec<u8> {
    let stones: Vec<_> =
        (0..50).map(|row| Tombstone { row: row * 3, visible_at: Timestamp(u64::from(row) << 30) }).collect();
    encode_deletes(&stones)
}

fn delta() -> Vec<u8> {
    let key = |i: u64| {
        if i.is_multiple_of(2) { Key::Int(i as i64) } else { Key::Str(format!("key {i}").into()) }
    };
    let delete = |i: u64| Delete {
        sequence: Sequence(i),
        partition: PartitionId(0),
        visible_at: Timestamp(i << 20),
        resolved_at: Timestamp(i << 20),
        key: key(i),
    };
    encode_delta(&(0..30).map(delete).collect::<Vec<_>>())
}

#[test]
fn any_flipped_bit_in_delete_and_delta_files() {
    let (deletes, delta) = (tombstones(), delta());
    for bit in 0..deletes.len() * 8 {
        let mut damaged = deletes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_names(
            decode_deletes("7.deletes", Bytes::from(damaged), 1_000),
            "7.deletes",
            &format!("bit {bit}"),
        );
    }
    for bit in 0..delta.len() * 8 {
        let mut damaged = delta.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_names(decode_delta("8.delta", Bytes::from(damaged)), "8.delta", &format!("bit {bit}"));
    }
}

#[test]
fn delete_and_delta_files_that_are_cut_off() {
    let (deletes, delta) = (tombstones(), delta());
    for length in 0..deletes.len() {
        let cut = Bytes::from(deletes[..length].to_vec());
        assert_names(decode_deletes("7.deletes", cut, 1_000), "7.deletes", &format!("{length} bytes"));
    }
    for length in 0..delta.len() {
        let cut = Bytes::from(delta[..length].to_vec());
        assert_names(decode_delta("8.delta", cut), "8.delta", &format!("{length} bytes"));
    }
}

#[test]
fn entries_that_are_malformed_under_a_right_trailer() {
    let payload = |file: &[u8]| file[..file.len() - 16].to_vec();
    let (deletes, delta) = (payload(&tombstones()), payload(&delta()));
    let cut = Bytes::from(add_trailer(deletes[..deletes.len() - 1].to_vec()));
    assert_names(decode_deletes("d", cut, 1_000), "d", "part of an entry");
    for length in 1..60 {
        let cut = decode_delta("d", Bytes::from(add_trailer(delta[..delta.len() - length].to_vec())));
        assert!(cut.is_err() || length == 42 || length == 43, "{length} bytes fewer: {cut:?}");
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = delta.clone();
        bytes[at] = to;
        decode_delta("d", Bytes::from(add_trailer(bytes)))
    };
    assert_names(changed(32, 2), "d", "a kind of key that is not known");
    assert_names(changed(33, 9), "d", "an integer of nine bytes");
    assert_names(changed(36, 255), "d", "a key longer than the file");
    let text = delta.len() - 2;
    assert_names(changed(text, 0xff), "d", "a key that is not UTF-8");
}

#[test]
fn the_trailer_covers_all_before_it() {
    for length in [0, 1, 15, 16, 17, 100] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let file = add_trailer(payload.clone());
        assert_eq!(file.len(), length + 16);
        assert_eq!(check_trailer("t", Bytes::from(file.clone())), Ok(Bytes::from(payload)));
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_names(check_trailer("t", Bytes::from(damaged)), "t", &format!("bit {bit} of {length}"));
        }
    }
}
