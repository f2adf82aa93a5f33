//! A log that is shorter than the catalog knows, damaged or gone: said with figures, refused, and given up only where an
//! operator has said so. What one bad record says is no reason to refuse all others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_catalog::Takeover;
use mishards_node::{Kind, find_losses};
use mishards_proto::node::failure::Kind as Refusal;
use mishards_proto::node::{LogRecord, LogWrite, PartitionRows, log_record::Body};
use mishards_storage::Storage;
use mishards_types::{Epoch, Incarnation, LogId, Timestamp};
use mishards_wal::{Head, LogWriter, Options, Predecessor, Scan, read_log};
use prost::Message;
use world::*;

async fn refusal(world: &World) -> String {
    match world.try_start().await {
        Ok(_) => panic!("it started"),
        Err(failure) => {
            assert_eq!(failure.kind, Kind::Unreadable, "{failure}");
            failure.to_string()
        }
    }
}

fn accepting(world: &World) -> World {
    World { accept_losses: true, ..world.clone() }
}

fn remove(world: &World, dir: &str) {
    world
        .files(dir)
        .iter()
        .filter(|path| !path.ends_with("fence"))
        .for_each(|path| world.disk.remove(path).unwrap());
}

/// Rows and deletes in files, and a log that ends at some record.
async fn flushed(world: &World) -> u64 {
    let site = world.start_with_collection().await;
    site.insert(0..300).await.unwrap();
    site.flush().await.unwrap();
    let last = site.delete([7]).await.unwrap().sequence;
    site.kill(world).await;
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_is_said_and_what_comes_after_it_is_not_swallowed() {
    let world = World::new();
    flushed(&world).await;
    remove(&world, "log");
    let text = refusal(&world).await;
    assert!(text.contains("files are gone") && text.contains("mishards repair --accept-loss"), "{text}");
    assert_eq!(refusal(&world).await, text, "however often it is tried");
    let found = find_losses(&world.writer_parts()).await.unwrap();
    assert!(found.iter().any(|line| line.contains("records of the log")), "{found:?}");

    let site = accepting(&world).start().await;
    assert!(!site.writer.losses().is_empty());
    site.insert(1000..1100).await.unwrap();
    site.delete([8]).await.unwrap();
    let expected: Vec<i64> = (0..300).filter(|key| *key != 8).chain(1000..1100).collect();
    assert_eq!(site.keys().await, expected, "the delete of 7 is what was lost");
    site.writer.write_out().await.unwrap();
    let site = {
        site.kill(&world).await;
        world.start().await
    };
    assert_eq!(site.keys().await, expected);
}

/// A successor's head says where the log before it ended: what is missing up to there is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_end_that_is_not_reached_is_a_loss() {
    let mut world = World::new();
    world.ingest.log_file_bytes = 1 << 20;
    let site = world.start_with_collection().await;
    for key in 0..30 {
        site.insert([key]).await.unwrap();
    }
    let log = format!("log/{}/0000000001", site.writer.log_id());
    let site = world.restart(site).await;
    site.insert([100]).await.unwrap();
    site.kill(&world).await;
    // The log is cut somewhere, which reads as a torn tail: nothing but the recorded end tells.
    world.disk.tamper(&log, |bytes| bytes.truncate(bytes.len() / 2));
    let text = refusal(&world).await;
    assert!(text.contains("records of the log") && text.contains("are missing"), "{text}");
    let site = accepting(&world).start().await;
    let keys = site.keys().await;
    assert!(keys.len() < 31 && keys.contains(&0) && keys.contains(&100), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_behind_the_watermarks_is_refused_with_the_figures() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let dir = format!("log/{}", site.writer.log_id());
    let before: Vec<(String, usize)> = world
        .files(&dir)
        .into_iter()
        .map(|path| (path.clone(), world.disk.read(&path).unwrap().len()))
        .collect();
    site.insert(10..20).await.unwrap();
    site.flush().await.unwrap();
    let flushed = site.partition("_default").flushed_through.0;
    site.kill(&world).await;
    for path in world.files(&dir).iter().filter(|path| !path.ends_with("fence")) {
        match before.iter().find(|(known, _)| known == path) {
            Some((_, bytes)) => world.disk.tamper(path, |content| content.truncate(*bytes)),
            None => world.disk.remove(path).unwrap(),
        }
    }
    let text = refusal(&world).await;
    assert!(text.contains(&format!("to {flushed}, are missing")), "{text}");
    let site = accepting(&world).start().await;
    assert_eq!(site.keys().await, (0..20).collect::<Vec<_>>(), "files have them all");
    let next = site.insert(20..30).await.unwrap().sequence;
    assert!(next > flushed, "record {next} lies below the watermark {flushed}");
    assert_eq!(site.keys().await, (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_is_stepped_over_when_it_is_given_up() {
    let world = World::new();
    let site = world.start_with_collection().await;
    for key in 0..200 {
        site.insert([key]).await.unwrap();
    }
    let dir = format!("log/{}", site.writer.log_id());
    site.kill(&world).await;
    let files: Vec<String> = world.files(&dir).into_iter().filter(|path| !path.ends_with("fence")).collect();
    assert!(files.len() > 4, "{files:?}");
    world.flip(&files[2]);
    world.disk.remove(&files[4]).unwrap();
    let text = refusal(&world).await;
    assert!(text.contains("is corrupt in file 3") && text.contains("mishards repair"), "{text}");
    let site = accepting(&world).start().await;
    let keys = site.keys().await;
    assert!(keys.len() > 100 && keys.len() < 200, "{} rows are left", keys.len());
    assert_eq!((keys[0], *keys.last().unwrap()), (0, 199), "what lies behind the damage is there");
    let said = site.writer.losses().join("\n");
    assert!(said.contains("records") && said.contains("missing"), "{said}");
    // As `mishards repair` ends: then nothing of what was given up is asked for again.
    site.writer.write_out().await.unwrap();
    site.kill(&world).await;
    let site = world.start().await;
    assert_eq!(site.keys().await, keys);
    site.insert([200]).await.unwrap();
    let site = world.restart(site).await;
    assert_eq!(site.keys().await.len(), keys.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_a_partition_that_was_made_again_are_refused_before_they_are_logged() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.create_partition("p").await.unwrap();
    let old = site.partition("p").id.0;
    site.drop_partition("p").await.unwrap();
    site.create_partition("p").await.unwrap();
    let before = site.insert_into("p", 0..1).await.unwrap().sequence;
    for (insert, delete) in [(old, 0), (12345, 0), (site.partition("p").id.0, old)] {
        let rows = PartitionRows { partition_id: insert, ..site.rows_for("p", &[1, 2]) };
        let refused = site.write(|w| (w.inserts, w.delete_partition) = (vec![rows], delete)).await;
        assert_eq!(kind_of(refused), Refusal::SchemaChanged);
    }
    let ahead = site.write(|w| (w.deletes, w.resolved_at) = (Some(ids([1])), u64::MAX >> 1)).await;
    assert_eq!(kind_of(ahead), Refusal::Refused);
    assert_eq!(site.insert_into("p", 2..3).await.unwrap().sequence, before + 1, "nothing of it was logged");
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, [0, 2]);
}

/// As versions before this one logged them.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_something_that_never_was_stops_no_start() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let rows = PartitionRows { partition_id: 999, ..site.rows_for("_default", &[50]) };
    let collection = site.collection().id.0;
    let predecessor = site.writer.log_id();
    site.kill(&world).await;

    let log = LogId { epoch: Epoch(predecessor.epoch.0 + 1), incarnation: Incarnation(77) };
    let seen = world.catalog.lease().await.unwrap();
    world.catalog.take_over(&Takeover::new(seen, log, 5)).await.unwrap();
    let read = read_log(&*world.storage, predecessor, Scan::default(), &mut |_| {}).unwrap();
    let head = Head { predecessors: vec![Predecessor { log: predecessor, end: read.end, last: read.last }] };
    let mut writer = LogWriter::create(
        world.storage.clone(),
        log,
        Options::default(),
        &head,
        &read.last_group,
        read.last_timestamp.max(Timestamp(1)),
    )
    .unwrap();
    let write = LogWrite { collection_id: collection, inserts: vec![rows], ..Default::default() };
    let mut payload = vec![1];
    LogRecord { body: Some(Body::Write(write)) }.encode(&mut payload).unwrap();
    writer.append(vec![payload.into()], 0).unwrap();
    writer.close_group().unwrap();

    let site = world.start().await;
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
}
