//! A catalog that is built from commands, and short forms of the commands.
#![allow(dead_code, reason = "each test file uses a part of it")]

use crate::sample::{self, schema};
use mishards_catalog::*;
use mishards_types::{Epoch, Metric, Schema, Timestamp, Version};
use std::collections::BTreeMap;

pub const OK: i32 = 0;

/// The writable node as far as commands go: a snapshot, and ids that are never given twice.
pub struct World {
    pub snapshot: Snapshot,
    pub next: i64,
}

pub fn name(text: &str) -> String {
    text.to_owned()
}

pub fn world() -> World {
    let default = Database {
        id: mishards_types::DatabaseId(1),
        name: name("default"),
        properties: BTreeMap::new(),
        created_at: Timestamp(0),
    };
    let row = Row { added_at: 0, removed_at: None, entity: Entity::Database(default) };
    World { snapshot: Snapshot::from_rows(Version::default(), Epoch(1), vec![row]), next: 100 }
}

impl World {
    pub fn plan(&mut self, command: &Command) -> mishards_types::Result<Vec<Change>> {
        let next = &mut self.next;
        let mut id = || {
            *next += 1;
            *next
        };
        plan_command(&self.snapshot, command, &mut id, Timestamp(5))
    }

    /// Plans and applies; the plan must pass the invariants. Returns the code and the number of changes.
    pub fn run(&mut self, command: &Command) -> (i32, usize) {
        match self.plan(command) {
            Err(error) => (error.code.0, 0),
            Ok(changes) => {
                check_invariants(&self.snapshot, &changes).unwrap();
                self.apply(&changes);
                (OK, changes.len())
            }
        }
    }

    pub fn apply(&mut self, changes: &[Change]) {
        let v = self.snapshot.version;
        let next = Version { commit_seq: v.commit_seq + 1, commit_id: v.commit_id + 7 };
        self.snapshot = self.snapshot.apply(next, changes);
    }

    pub fn with(mut self, commands: impl IntoIterator<Item = Command>) -> World {
        for command in commands {
            assert_eq!(self.run(&command).0, OK, "{command:?}");
        }
        self
    }

    pub fn collection(&self, name: &str) -> Collection {
        (**self.snapshot.resolve(mishards_types::DatabaseId(1), name).unwrap()).clone()
    }

    pub fn partitions(&self, collection: &str) -> Vec<String> {
        let id = self.collection(collection).id;
        self.snapshot.partitions_of(id).map(|p| p.name.clone()).collect()
    }

    pub fn loaded(&self, collection: &str) -> Vec<String> {
        let c = self.collection(collection);
        let partitions = self.snapshot.partitions_of(c.id);
        partitions.filter(|p| c.load.has(p.id)).map(|p| p.name.clone()).collect()
    }
}

/// Each command on a fresh copy of the world: the code, and whether anything changes.
pub fn table(make: impl Fn() -> World, rows: impl IntoIterator<Item = (Command, i32, bool)>) {
    for (command, code, changes) in rows {
        let mut world = make();
        let before = sample::rows(&world.snapshot);
        let (found, count) = world.run(&command);
        assert_eq!((found, count > 0), (code, changes), "{command:?}");
        // What is sent again after an answer was lost finds nothing more to do, or says why.
        if code == OK && !changes {
            assert_eq!(sample::rows(&world.snapshot), before);
        }
    }
}

pub fn database(database: &str) -> Command {
    Command::CreateDatabase { name: name(database), properties: BTreeMap::new() }
}

pub fn drop_database(database: &str) -> Command {
    Command::DropDatabase { name: name(database) }
}

pub fn create_with(collection: &str, schema: Schema, shards: i32, key_partitions: i64) -> Command {
    let (database, schema) = (name("default"), Box::new(schema));
    let properties = BTreeMap::new();
    Command::CreateCollection {
        database,
        name: name(collection),
        schema,
        shards,
        consistency: 2,
        key_partitions,
        properties,
    }
}

pub fn create(collection: &str) -> Command {
    create_with(collection, schema(), 1, 0)
}

pub fn keyed() -> Schema {
    let mut schema = schema();
    schema.fields[2].partition_key = true;
    schema
}

pub fn drop_collection(collection: &str) -> Command {
    Command::DropCollection { database: name("default"), name: name(collection) }
}

pub fn rename(from: &str, to: &str, database: &str) -> Command {
    Command::RenameCollection {
        database: name("default"),
        name: name(from),
        new_name: name(to),
        new_database: name(database),
    }
}

pub fn partition(collection: &str, partition: &str) -> Command {
    Command::CreatePartition {
        database: name("default"),
        collection: name(collection),
        name: name(partition),
    }
}

pub fn drop_partition(collection: &str, partition: &str) -> Command {
    Command::DropPartition { database: name("default"), collection: name(collection), name: name(partition) }
}

pub fn alias(collection: &str, alias: &str) -> Command {
    Command::CreateAlias { database: name("default"), collection: name(collection), alias: name(alias) }
}

pub fn alter_alias(collection: &str, alias: &str) -> Command {
    Command::AlterAlias { database: name("default"), collection: name(collection), alias: name(alias) }
}

pub fn drop_alias(alias: &str) -> Command {
    Command::DropAlias { database: name("default"), alias: name(alias) }
}

pub fn index(collection: &str, field: &str, index: &str, m: &str) -> Command {
    let vector = field.starts_with("vec");
    Command::CreateIndex {
        database: name("default"),
        collection: name(collection),
        field: name(field),
        name: name(index),
        kind: name(if vector { "HNSW" } else { "INVERTED" }),
        metric: vector.then_some(Metric::L2),
        params: BTreeMap::from([(name("M"), name(m))]),
        user_params: Vec::new(),
    }
}

pub fn drop_index(collection: &str, field: &str, index: &str) -> Command {
    Command::DropIndex {
        database: name("default"),
        collection: name(collection),
        field: name(field),
        name: name(index),
    }
}

pub fn load(collection: &str, partitions: &[&str]) -> Command {
    let partitions = partitions.iter().map(|p| name(p)).collect();
    Command::Load { database: name("default"), collection: name(collection), partitions, replicas: 1 }
}

pub fn release(collection: &str, partitions: &[&str]) -> Command {
    let partitions = partitions.iter().map(|p| name(p)).collect();
    Command::Release { database: name("default"), collection: name(collection), partitions }
}
