//! The properties of collections and databases, and the parameters of fields, indexes and loads.

use super::Treatment::{Checked, Ignored, Only, Used};
use super::{Known, ONLY_FALSE, ONLY_TRUE, REFUSED};
use mishards_types::{Error, Result};

const FOR_OTHER_INDEXES: &str = "it belongs to index types that cannot be built here";
const NO_LIMIT: super::Treatment = Only(&["-1"]);
const MAX_TTL_SECONDS: i64 = 3_155_760_000;

pub const COLLECTION: &[Known] = &[
    ("partitionkey.isolation", Used),
    ("collection.ttl.seconds", Checked(no_ttl)),
    ("ttl_field", REFUSED),
    ("collection.description", REFUSED),
    // Files are merged when they are small or have many dead rows.
    ("collection.autocompaction.enabled", ONLY_TRUE),
    // Files are mapped.
    ("mmap.enabled", ONLY_TRUE),
    ("warmup.scalarField", Checked(warmed_by_load)),
    ("warmup.scalarIndex", Checked(warmed_by_load)),
    ("warmup.vectorField", Checked(warmed_by_load)),
    ("warmup.vectorIndex", Checked(warmed_by_load)),
    ("lazyload.enabled", ONLY_FALSE),
    ("indexoffsetcache.enabled", ONLY_FALSE),
    ("query_mode", Checked(no_query_mode)),
    ("allow_insert_auto_id", ONLY_FALSE),
    ("dynamicfield.enabled", REFUSED),
    ("namespace.enabled", ONLY_FALSE),
    ("timezone", Only(&["UTC"])),
    // Of a load that does not say it itself.
    ("collection.replica.number", Only(&["1"])),
    ("collection.resource_groups", Only(&["__default_resource_group"])),
    ("collection.insertRate.max.mb", NO_LIMIT),
    ("collection.insertRate.min.mb", NO_LIMIT),
    ("collection.upsertRate.max.mb", NO_LIMIT),
    ("collection.upsertRate.min.mb", NO_LIMIT),
    ("collection.deleteRate.max.mb", NO_LIMIT),
    ("collection.deleteRate.min.mb", NO_LIMIT),
    ("collection.bulkLoadRate.max.mb", NO_LIMIT),
    ("collection.bulkLoadRate.min.mb", NO_LIMIT),
    ("collection.queryRate.max.qps", NO_LIMIT),
    ("collection.queryRate.min.qps", NO_LIMIT),
    ("collection.searchRate.max.vps", NO_LIMIT),
    ("collection.searchRate.min.vps", NO_LIMIT),
    ("collection.diskProtection.diskQuota.mb", NO_LIMIT),
    ("partition.diskProtection.diskQuota.mb", NO_LIMIT),
    ("collection.function.allowInsertNonBM25FunctionOutputs", ONLY_FALSE),
    ("disable_func_runtime_check", Ignored("there are no functions")),
    ("index.nonEncoding", ONLY_FALSE),
    ("replicate.id", REFUSED),
    ("replicate.endTS", REFUSED),
    ("rls.enabled", ONLY_FALSE),
    ("rls.force", ONLY_FALSE),
    ("cipher.enabled", ONLY_FALSE),
    ("cipher.key", REFUSED),
    ("cipher.ezID", REFUSED),
];

pub const DATABASE: &[Known] = &[
    ("database.max.collections", Used),
    ("database.replica.number", Only(&["1"])),
    ("database.resource_groups", Only(&["__default_resource_group"])),
    ("database.diskQuota.mb", NO_LIMIT),
    ("database.force.deny.writing", ONLY_FALSE),
    ("database.force.deny.reading", ONLY_FALSE),
    ("database.force.deny.ddl", ONLY_FALSE),
    ("database.force.deny.collectionDDL", ONLY_FALSE),
    ("database.force.deny.partitionDDL", ONLY_FALSE),
    ("database.force.deny.index", ONLY_FALSE),
    ("database.force.deny.flush", ONLY_FALSE),
    ("database.force.deny.compaction", ONLY_FALSE),
    ("timezone", Only(&["UTC"])),
    ("replicate.id", REFUSED),
    ("replicate.endTS", REFUSED),
    ("cipher.enabled", ONLY_FALSE),
    ("cipher.key", REFUSED),
    ("cipher.ezID", REFUSED),
];

pub const FIELD: &[Known] = &[
    ("dim", Used),
    ("max_length", Used),
    ("max_capacity", Used),
    ("mmap.enabled", ONLY_TRUE),
    ("warmup", Checked(warmed_by_load)),
    ("field.skipLoad", ONLY_FALSE),
    ("field.description", REFUSED),
    ("enable_analyzer", ONLY_FALSE),
    ("enable_match", ONLY_FALSE),
    ("analyzer_params", REFUSED),
    ("multi_analyzer_params", REFUSED),
];

pub const INDEX: &[Known] = &[
    ("index_type", Used),
    ("metric_type", Used),
    ("M", Used),
    ("efConstruction", Used),
    ("mmap.enabled", ONLY_TRUE),
    ("warmup", Checked(warmed_by_load)),
    ("lazyload.enabled", ONLY_FALSE),
    ("indexoffsetcache.enabled", ONLY_FALSE),
    ("index.nonEncoding", ONLY_FALSE),
    ("json_path", REFUSED),
    ("json_cast_type", REFUSED),
    ("json_cast_function", REFUSED),
    ("load_priority", Ignored("an index is opened together with its segment")),
    ("nlist", Ignored(FOR_OTHER_INDEXES)),
    ("m", Ignored(FOR_OTHER_INDEXES)),
    ("nbits", Ignored(FOR_OTHER_INDEXES)),
    ("sq_type", Ignored(FOR_OTHER_INDEXES)),
    ("refine", Ignored(FOR_OTHER_INDEXES)),
    ("refine_type", Ignored(FOR_OTHER_INDEXES)),
    ("with_raw_data", Ignored(FOR_OTHER_INDEXES)),
    ("drop_ratio_build", Ignored(FOR_OTHER_INDEXES)),
    ("inverted_index_algo", Ignored(FOR_OTHER_INDEXES)),
    ("bm25_k1", Ignored(FOR_OTHER_INDEXES)),
    ("bm25_b", Ignored(FOR_OTHER_INDEXES)),
    ("search_list_size", Ignored(FOR_OTHER_INDEXES)),
    ("max_degree", Ignored(FOR_OTHER_INDEXES)),
    ("intermediate_graph_degree", Ignored(FOR_OTHER_INDEXES)),
    ("graph_degree", Ignored(FOR_OTHER_INDEXES)),
    ("build_algo", Ignored(FOR_OTHER_INDEXES)),
    ("cache_dataset_on_device", Ignored(FOR_OTHER_INDEXES)),
    ("adapt_for_cpu", Ignored(FOR_OTHER_INDEXES)),
    ("bitmap_cardinality_limit", Ignored(FOR_OTHER_INDEXES)),
    ("hybrid_low_cardinality_index_type", Ignored(FOR_OTHER_INDEXES)),
    ("hybrid_high_cardinality_index_type", Ignored(FOR_OTHER_INDEXES)),
    ("min_gram", Ignored(FOR_OTHER_INDEXES)),
    ("max_gram", Ignored(FOR_OTHER_INDEXES)),
];

pub const LOAD: &[Known] = &[("load_priority", Ignored("loads do not wait for one another"))];

/// A lifetime of rows is not kept: what says "for ever" is accepted.
fn no_ttl(value: &str) -> Result<()> {
    let seconds: i64 =
        value.parse().map_err(|_| Error::invalid("collection TTL is not a valid positive integer"))?;
    match seconds {
        -1 | 0 => Ok(()),
        1..=MAX_TTL_SECONDS => Err(Error::invalid(format!(
            "collection.ttl.seconds of a collection is not supported: rows do not expire here, got {seconds}"
        ))),
        _ => Err(Error::invalid(format!(
            "collection TTL is out of range, expect [-1, {MAX_TTL_SECONDS}], got {seconds}"
        ))),
    }
}

/// A load opens the files, and reads all of them to compare the checksums.
fn warmed_by_load(value: &str) -> Result<()> {
    match value {
        "sync" => Ok(()),
        "disable" => Err(Error::invalid("warmup=disable is not supported: a load reads all files here")),
        _ => Err(Error::invalid(format!("invalid warmup policy: {value}, must be 'disable' or 'sync'"))),
    }
}

fn no_query_mode(value: &str) -> Result<()> {
    match value {
        "large_topk" => Err(Error::invalid("query_mode large_topk of a collection is not supported")),
        _ => Err(Error::invalid(format!("invalid query_mode value \"{value}\", valid values: [large_topk]"))),
    }
}
