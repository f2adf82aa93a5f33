//! Goes over the tables: none of them can lose a row, and each row does what it says.

use super::*;
use mishards_types::Code;
use std::collections::BTreeSet;

const PLACES: [Place; 9] = [
    Place::Search,
    Place::SubSearch,
    Place::Ranking,
    Place::Query,
    Place::CollectionProperty,
    Place::FieldParam,
    Place::IndexParam,
    Place::DatabaseProperty,
    Place::LoadParam,
];

/// Where parameters that have an effect are read.
const READERS: [&str; 8] = [
    include_str!("../../service/search_request.rs"),
    include_str!("../../service/query.rs"),
    include_str!("../../service/hybrid.rs"),
    include_str!("../../service/indexes.rs"),
    include_str!("../../service/isolation.rs"),
    include_str!("../schema.rs"),
    include_str!("../../service/databases.rs"),
    include_str!("../../../../../crates/catalog/src/command/collections.rs"),
];

/// What Milvus reads from the parameters of each call.
fn names_of_milvus(place: Place) -> &'static str {
    match place {
        Place::Search | Place::SubSearch => {
            "anns_field topk limit metric_type round_decimal offset ignore_growing group_by_field group_by_fields \
             group_size strict_group_size iterator collection_id search_iter_v2 search_iter_batch_size \
             search_iter_last_bound search_iter_id order_by_fields json_path json_type strict_cast hints analyzer_name \
             timezone time_fields cluster_id rank_group_scorer ef nprobe search_list reorder_k itopk_size \
             drop_ratio_search dim_max_score_ratio refine_k level radius range_filter page_retain_order \
             max_empty_result_buckets reduce_stop_for_best"
        }
        Place::Ranking => {
            "strategy k weights norm_score limit offset round_decimal group_by_field group_by_fields group_size \
             strict_group_size rank_group_scorer order_by_fields timezone time_fields cluster_id"
        }
        Place::Query => {
            "limit offset ignore_growing reduce_stop_for_best iterator collection_id timezone time_fields \
             group_by_fields order_by_fields query_iter_last_pk query_iter_last_element_offset cluster_id"
        }
        Place::CollectionProperty => {
            "collection.ttl.seconds ttl_field collection.autocompaction.enabled mmap.enabled warmup.scalarField \
             warmup.scalarIndex warmup.vectorField warmup.vectorIndex partitionkey.isolation query_mode \
             allow_insert_auto_id dynamicfield.enabled timezone collection.description collection.replica.number \
             collection.resource_groups collection.insertRate.max.mb collection.insertRate.min.mb \
             collection.upsertRate.max.mb collection.deleteRate.max.mb collection.bulkLoadRate.max.mb \
             collection.queryRate.max.qps collection.searchRate.max.vps collection.diskProtection.diskQuota.mb \
             lazyload.enabled namespace.enabled"
        }
        Place::FieldParam => {
            "max_length dim max_capacity mmap.enabled enable_analyzer enable_match analyzer_params \
             multi_analyzer_params field.skipLoad warmup"
        }
        Place::IndexParam => {
            "index_type metric_type M efConstruction nlist m nbits mmap.enabled warmup json_path json_cast_type"
        }
        Place::DatabaseProperty => {
            "database.replica.number database.resource_groups database.diskQuota.mb database.max.collections \
             database.force.deny.writing database.force.deny.reading database.force.deny.ddl \
             database.force.deny.collectionDDL database.force.deny.partitionDDL database.force.deny.index \
             database.force.deny.flush database.force.deny.compaction timezone"
        }
        Place::LoadParam => "load_priority",
    }
}

fn refusal(place: Place, name: &str, value: &str) -> Option<Error> {
    check_known(place, [(name, value)]).err()
}

#[test]
fn every_name_of_milvus_has_one_row() {
    for place in PLACES {
        let rows: Vec<&str> = known(place).map(|(name, _)| *name).collect();
        let distinct: BTreeSet<&str> = rows.iter().copied().collect();
        assert_eq!(distinct.len(), rows.len(), "{place} has a name twice: {rows:?}");
        let missing: Vec<&str> =
            names_of_milvus(place).split(' ').filter(|n| !distinct.contains(n)).collect();
        assert!(missing.is_empty(), "{place} lacks {missing:?}");
    }
}

#[test]
fn every_row_does_what_it_says() {
    for place in PLACES {
        for (name, treatment) in known(place) {
            let refused = refusal(place, name, "nonsense");
            match treatment {
                Treatment::Used => {
                    assert!(refused.is_none(), "{name} of {place}");
                    let quoted = format!("\"{name}\"");
                    assert!(
                        READERS.iter().any(|text| text.contains(&quoted)),
                        "nobody reads {name} of {place}"
                    );
                }
                Treatment::Ignored(why) => assert!(refused.is_none() && !why.is_empty(), "{name} of {place}"),
                Treatment::Only(values) => {
                    let refused = refused.unwrap_or_else(|| panic!("{name} of {place} is accepted"));
                    assert_eq!(refused.code, Code::INVALID);
                    assert!(refused.message.contains(name), "{refused}");
                    for value in *values {
                        assert_eq!(refusal(place, name, value), None);
                        assert_eq!(refusal(place, name, &value.to_uppercase()), None);
                    }
                }
                Treatment::Checked(_) => assert!(refused.is_some(), "{name} of {place}"),
            }
        }
    }
}

#[test]
fn a_name_that_milvus_does_not_know_is_left_to_the_caller() {
    for place in PLACES {
        assert_eq!(refusal(place, "some.new.name", "whatever"), None, "{place}");
    }
}

#[test]
fn an_empty_value_is_none_to_a_read_but_not_to_a_definition() {
    assert_eq!(refusal(Place::Search, "order_by_fields", ""), None);
    assert!(refusal(Place::FieldParam, "warmup", "").is_some());
}

#[test]
fn values_are_checked_in_the_words_of_milvus() {
    let of_collection = |name, value| refusal(Place::CollectionProperty, name, value);
    let ttl = |value| of_collection("collection.ttl.seconds", value);
    assert_eq!((ttl("-1"), ttl("0")), (None, None));
    let texts = [
        (ttl("-7 apples"), "collection TTL is not a valid positive integer"),
        (ttl("-2"), "collection TTL is out of range, expect [-1, 3155760000], got -2"),
        (ttl("3155760001"), "collection TTL is out of range, expect [-1, 3155760000], got 3155760001"),
        (ttl("3155760000"), "collection.ttl.seconds of a collection is not supported"),
        (
            of_collection("warmup.vectorField", "async"),
            "invalid warmup policy: async, must be 'disable' or 'sync'",
        ),
        (of_collection("warmup.vectorIndex", "disable"), "warmup=disable is not supported"),
        (
            of_collection("query_mode", "fast"),
            "invalid query_mode value \"fast\", valid values: [large_topk]",
        ),
        (of_collection("query_mode", "large_topk"), "large_topk of a collection is not supported"),
        (refusal(Place::FieldParam, "warmup", ""), "invalid warmup policy"),
    ];
    for (refused, text) in texts {
        let refused = refused.unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(refused.message.contains(text), "{refused} is not {text}");
    }
    assert_eq!(of_collection("warmup.vectorField", "sync"), None);
}
