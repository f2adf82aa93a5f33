//! The node's metrics.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// Registered once per process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    pub search_seconds: Histogram,
    pub query_seconds: Histogram,
    pub log_sync_seconds: Histogram,
    pub rows_written_total: IntCounter,
    pub growing_rows: IntGauge,
    pub growing_bytes: IntGauge,
    pub segments_flushed_total: IntCounter,
    pub segments_merged_total: IntCounter,
    pub indexes_built_total: IntCounter,
    pub files_removed_total: IntCounter,
    pub open_segments: IntGauge,
    pub quarantined_segments: IntGauge,
    pub incomplete_segments: IntGauge,
    pub missing_files_total: IntCounter,
    pub is_writer: IntGauge,
    pub is_standby: IntGauge,
    pub epoch: IntGauge,
    pub applied_sequence: IntGauge,
    pub busy_total: IntCounter,
    pub lease_renewal_failures_total: IntCounter,
    pub orphan_files: IntGauge,
    pub orphan_bytes: IntGauge,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let histogram = |name: &str, help: &str| {
            let buckets = prometheus::exponential_buckets(0.0001, 2.0, 18)?;
            let h = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(h.clone())).map(|()| h)
        };
        let counter = |name: &str, help: &str| {
            let c = IntCounter::new(name, help)?;
            registry.register(Box::new(c.clone())).map(|()| c)
        };
        let gauge = |name: &str, help: &str| {
            let g = IntGauge::new(name, help)?;
            registry.register(Box::new(g.clone())).map(|()| g)
        };
        Ok(Metrics {
            search_seconds: histogram("mishards_node_search_seconds", "Time of a sub-query's search")?,
            query_seconds: histogram("mishards_node_query_seconds", "Time of a sub-query's filter query")?,
            log_sync_seconds: histogram(
                "mishards_node_log_sync_seconds",
                "Time to make a log group durable",
            )?,
            rows_written_total: counter("mishards_node_rows_written_total", "Rows acknowledged")?,
            growing_rows: gauge("mishards_node_growing_rows", "Rows that are not in files yet")?,
            growing_bytes: gauge("mishards_node_growing_bytes", "Memory of the growing rows")?,
            segments_flushed_total: counter(
                "mishards_node_segments_flushed_total",
                "Segments written from growing rows",
            )?,
            segments_merged_total: counter(
                "mishards_node_segments_merged_total",
                "Segments that merges replaced",
            )?,
            indexes_built_total: counter("mishards_node_indexes_built_total", "Index files built")?,
            files_removed_total: counter(
                "mishards_node_files_removed_total",
                "Files unlinked after their window",
            )?,
            open_segments: gauge("mishards_node_open_segments", "Segments held open")?,
            is_writer: gauge("mishards_node_is_writer", "1 while this node is the writable node")?,
            is_standby: gauge("mishards_node_is_standby", "1 while this node waits to be the writable node")?,
            epoch: gauge("mishards_node_epoch", "Term of this node as the writable node, 0 otherwise")?,
            applied_sequence: gauge(
                "mishards_node_applied_sequence",
                "Last log record whose rows or deletes are applied here",
            )?,
            busy_total: counter(
                "mishards_node_busy_total",
                "Sub-queries that were refused because too many were under way",
            )?,
            lease_renewal_failures_total: counter(
                "mishards_node_lease_renewal_failures_total",
                "Renewals of the lease that the database did not answer",
            )?,
            quarantined_segments: gauge(
                "mishards_node_quarantined_segments",
                "Segments found damaged, named in the log, and not served",
            )?,
            incomplete_segments: gauge(
                "mishards_node_incomplete_segments",
                "Segments that were found to lack a file, named in the log",
            )?,
            missing_files_total: counter(
                "mishards_node_missing_files_total",
                "How often a segment could not be opened because a file of it is missing",
            )?,
            orphan_files: gauge(
                "mishards_node_orphan_files",
                "Files that no catalog row names and that were kept",
            )?,
            orphan_bytes: gauge("mishards_node_orphan_bytes", "Bytes of these files")?,
        })
    }
}
