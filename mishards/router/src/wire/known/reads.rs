//! The parameters of searches, hybrid searches and queries.

use super::Treatment::{Ignored, Only, Used};
use super::{Known, ONLY_FALSE, REFUSED};

const FOR_OTHER_INDEXES: &str = "it belongs to index types that cannot be built here";
const NOTHING_GROUPED: &str = "without a field to group by there are no groups";
const REPEATED: &str = "clients repeat here what they ask of the whole, where it is read";

/// Of a search that stands alone.
pub const SEARCH: &[Known] = &[
    ("offset", Used),
    ("round_decimal", Used),
    ("group_by_field", Used),
    ("group_size", Used),
    ("strict_group_size", Used),
    ("json_path", Used),
    ("iterator", Used),
    ("search_iter_v2", Used),
    ("search_iter_batch_size", Used),
    ("search_iter_last_bound", Used),
    ("search_iter_id", Used),
];

/// Of a search inside a hybrid search. Groups and iterators are those of the whole, and not supported.
pub const SUB_SEARCH: &[Known] = &[
    ("offset", Ignored(REPEATED)),
    ("round_decimal", Ignored(REPEATED)),
    ("group_by_field", REFUSED),
    ("group_size", Ignored(NOTHING_GROUPED)),
    ("strict_group_size", Ignored(NOTHING_GROUPED)),
    ("json_path", Ignored(NOTHING_GROUPED)),
    ("iterator", ONLY_FALSE),
    ("search_iter_v2", ONLY_FALSE),
    ("search_iter_batch_size", REFUSED),
    ("search_iter_last_bound", REFUSED),
    ("search_iter_id", REFUSED),
];

/// Of both kinds of search.
pub const ANY_SEARCH: &[Known] = &[
    ("anns_field", Used),
    ("topk", Used),
    ("limit", Used),
    ("metric_type", Used),
    ("collection_id", Used),
    ("ef", Used),
    ("radius", Used),
    ("range_filter", Used),
    // How a filter is carried out, not which rows it lets through.
    ("hints", Only(&["iterative_filter", "disable"])),
    (
        "page_retain_order",
        Ignored("each page is in the order of distances, and goes on where the last one ended"),
    ),
    ("json_type", REFUSED),
    ("strict_cast", ONLY_FALSE),
    ("analyzer_name", REFUSED),
    ("rank_group_scorer", REFUSED),
];

/// Of a search, for index types that are refused when an index is created.
pub const OTHER_INDEXES: &[Known] = &[
    ("nprobe", Ignored(FOR_OTHER_INDEXES)),
    ("max_empty_result_buckets", Ignored(FOR_OTHER_INDEXES)),
    ("reorder_k", Ignored(FOR_OTHER_INDEXES)),
    ("refine_k", Ignored(FOR_OTHER_INDEXES)),
    ("search_list", Ignored(FOR_OTHER_INDEXES)),
    ("beamwidth", Ignored(FOR_OTHER_INDEXES)),
    ("drop_ratio_search", Ignored(FOR_OTHER_INDEXES)),
    ("dim_max_score_ratio", Ignored(FOR_OTHER_INDEXES)),
    ("bm25_k1", Ignored(FOR_OTHER_INDEXES)),
    ("bm25_b", Ignored(FOR_OTHER_INDEXES)),
    ("itopk_size", Ignored(FOR_OTHER_INDEXES)),
    ("search_width", Ignored(FOR_OTHER_INDEXES)),
    ("min_iterations", Ignored(FOR_OTHER_INDEXES)),
    ("max_iterations", Ignored(FOR_OTHER_INDEXES)),
    ("team_size", Ignored(FOR_OTHER_INDEXES)),
    ("level", Ignored("it names an effort, which ef does here")),
];

/// What a hybrid search says of the whole.
pub const RANKING: &[Known] = &[
    ("strategy", Used),
    ("k", Used),
    ("weights", Used),
    ("norm_score", Used),
    ("limit", Used),
    ("topk", Used),
    ("offset", Used),
    ("round_decimal", Used),
    ("group_by_field", REFUSED),
    ("group_size", Ignored(NOTHING_GROUPED)),
    ("strict_group_size", Ignored(NOTHING_GROUPED)),
    ("rank_group_scorer", REFUSED),
];

/// Of a query.
pub const QUERY: &[Known] = &[
    ("limit", Used),
    ("offset", Used),
    ("iterator", Used),
    ("collection_id", Used),
    ("query_iter_last_pk", REFUSED),
    ("query_iter_last_element_offset", REFUSED),
];

/// Of every read.
pub const ANY_READ: &[Known] = &[
    ("ignore_growing", ONLY_FALSE),
    ("group_by_fields", REFUSED),
    ("order_by_fields", REFUSED),
    ("timezone", REFUSED),
    ("time_fields", REFUSED),
    ("cluster_id", REFUSED),
    ("reduce_stop_for_best", Ignored("every node answers for the whole page")),
    ("expr_use_json_stats", Ignored("it says how a filter is carried out, not which rows it lets through")),
    ("pipeline_trace", ONLY_FALSE),
];
