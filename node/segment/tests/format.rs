//! A second encoder, written from FORMAT.md, compared with the first one byte by byte.

mod samples;

use bytes::Bytes;
use mishards_segment::{Delete, Footer, Tombstone, encode_deletes, encode_delta, key_at};
use mishards_types::{DataType, Key, PartitionId, Sequence, Timestamp, checksum};
use samples::{FOOTER, Files, Nulls, WIDE, rows, schema};

fn with_trailer(payload: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&payload).to_le_bytes();
    [payload.as_slice(), b"\x4d\x53\x48\x53\x55\x4d\x31\x0a", &sum].concat()
}

#[test]
fn delete_file() {
    let stones = [(3u32, 9u64), (70_000, u64::MAX), (4_000_000_000, 1 << 40)];
    let payload = stones.iter().flat_map(|(row, at)| [&row.to_le_bytes()[..], &at.to_le_bytes()].concat());
    let stone = |(row, at): (u32, u64)| Tombstone { row, visible_at: Timestamp(at) };
    assert_eq!(encode_deletes(&stones.map(stone)), with_trailer(payload.collect()));
}

#[test]
fn delta_file() {
    let delete = |n: u64, partition, key| Delete {
        sequence: Sequence(n),
        partition: PartitionId(partition),
        visible_at: Timestamp(n << 20),
        resolved_at: Timestamp((n << 20) - 1),
        key,
    };
    let entry = |n: u64, partition: i64, kind: u8, key: &[u8]| {
        let length = key.len() as u32;
        [
            &n.to_le_bytes()[..],
            &partition.to_le_bytes(),
            &(n << 20).to_le_bytes(),
            &((n << 20) - 1).to_le_bytes(),
            &[kind],
            &length.to_le_bytes(),
            key,
        ]
        .concat()
    };
    let found = encode_delta(&[delete(5, 0, Key::Int(-2)), delete(6, 450, Key::Str("é".into()))]);
    let payload = [entry(5, 0, 0, &(-2i64).to_le_bytes()), entry(6, 450, 1, "é".as_bytes())].concat();
    assert_eq!(found, with_trailer(payload));
}

#[test]
fn keys_file() {
    for kind in [DataType::Int64, DataType::VarChar] {
        let schema = schema(kind);
        let rows = rows(&schema, 300, Nulls::None, 1);
        let keys = rows.keys().expect("keys");
        let mut order: Vec<u32> = (0..300).collect();
        order.sort_by_key(|row| (key_at(keys, *row as usize), *row));
        let payload = order.iter().flat_map(|row| row.to_le_bytes()).collect();
        assert!(Files::of(&schema, &rows).0["keys"] == with_trailer(payload));
    }
}

#[test]
fn vectors_file() {
    let schema = schema(DataType::Int64);
    let rows = rows(&schema, 20, Nulls::None, 2);
    let (data, dim) = rows.vector(WIDE).expect("a vector");
    let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(dim, 16);
    assert_eq!(Files::of(&schema, &rows).0["120.vectors"], bytes);
}

#[test]
fn footer() {
    let schema = schema(DataType::Int64);
    let files = Files::of(&schema, &rows(&schema, 30_000, Nulls::None, 3));
    let blocks = |name: &str| {
        let sums: Vec<String> = files.0[name].chunks(1_048_576).map(|b| checksum(b).to_string()).collect();
        format!(r#"{{"name":"{name}","bytes":{},"blocks":[{}]}}"#, files.0[name].len(), sums.join(","))
    };
    let names = ["columns.arrow", "keys", "120.vectors", "121.vectors"];
    let listed: Vec<String> = names.iter().map(|name| blocks(name)).collect();
    let head = r#"{"segment":7,"collection":5,"partition":6,"rows":30000,"files":"#;
    let json = format!("{head}[{}]}}", listed.join(","));
    let start =
        [&b"\x4d\x53\x48\x53\x45\x47\x31\x0a\x01\0\0\0"[..], &(json.len() as u32).to_le_bytes()].concat();
    let sum = checksum(&[&start, json.as_bytes()].concat()).to_le_bytes();
    let expected = [&start, &sum[..], json.as_bytes()].concat();
    assert!(files.0[FOOTER] == expected, "the footer differs");
    // Keys of later versions are ignored.
    let later = json.replace("{\"segment\"", "{\"later\":[1],\"segment\"");
    let start = [&start[..12], &(later.len() as u32).to_le_bytes()].concat();
    let sum = checksum(&[&start, later.as_bytes()].concat()).to_le_bytes();
    let read = Footer::decode(FOOTER, &Bytes::from([&start, &sum[..], later.as_bytes()].concat()));
    assert!(read.is_ok_and(|f| f.rows == 30_000));
}

#[test]
fn columns_file_is_aligned_arrow() {
    let schema = schema(DataType::Int64);
    let bytes = &Files::of(&schema, &rows(&schema, 100, Nulls::Some, 4)).0["columns.arrow"];
    assert!(bytes.starts_with(b"ARROW1\0\0") && bytes.ends_with(b"ARROW1"));
    let end = bytes.len() - 10;
    let length = u32::from_le_bytes([bytes[end], bytes[end + 1], bytes[end + 2], bytes[end + 3]]) as usize;
    let footer = arrow_ipc::root_as_footer(&bytes[end - length..end]).expect("a footer");
    assert_eq!(footer.version(), arrow_ipc::MetadataVersion::V5);
    let names: Vec<&str> =
        footer.schema().and_then(|s| s.fields()).expect("fields").iter().filter_map(|f| f.name()).collect();
    assert_eq!(names[..4], ["$timestamp", "id", "flag", "i8"]);
    assert_eq!(names.last(), Some(&"$meta"));
    let blocks = footer.recordBatches().expect("batches");
    assert_eq!((blocks.len(), footer.dictionaries().map_or(0, |d| d.len())), (1, 0));
    let body = blocks.get(0).offset() + i64::from(blocks.get(0).metaDataLength());
    assert_eq!(body % 64, 0, "the body is aligned");
}
