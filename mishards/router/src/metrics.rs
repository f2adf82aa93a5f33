//! The router's metrics.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Registered once per process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    /// By operation: search, query, insert, upsert, delete.
    pub request_seconds: HistogramVec,
    /// By operation and Milvus code.
    pub failures_total: IntCounterVec,
    pub slow_requests_total: IntCounter,
    pub subquery_seconds: Histogram,
    pub subquery_retries_total: IntCounter,
    pub hedged_subqueries_total: IntCounter,
    pub busy_total: IntCounter,
    pub gather_seconds: Histogram,
    /// By role: readonly, standby, writable.
    pub nodes: IntGaugeVec,
    pub nodes_avoided: IntGauge,
    pub catalog_commit: IntGauge,
    pub lost_files_total: IntCounter,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let buckets = || prometheus::exponential_buckets(0.0001, 2.0, 18);
        let request = HistogramOpts::new("mishards_router_request_seconds", "Time of a client's request");
        let subquery = HistogramOpts::new("mishards_router_subquery_seconds", "Time of one call on one node");
        let gather = HistogramOpts::new("mishards_router_gather_seconds", "Time to merge sub-results");
        let failures = Opts::new("mishards_router_failures_total", "Requests that were refused or failed");
        let nodes = Opts::new("mishards_router_nodes", "Nodes that answer");
        let metrics = Metrics {
            request_seconds: HistogramVec::new(request.buckets(buckets()?), &["operation"])?,
            failures_total: IntCounterVec::new(failures, &["operation", "code"])?,
            slow_requests_total: IntCounter::new(
                "mishards_router_slow_requests_total",
                "Reads that took longer than log.slow_query_ms",
            )?,
            subquery_seconds: Histogram::with_opts(subquery.buckets(buckets()?))?,
            subquery_retries_total: IntCounter::new(
                "mishards_router_subquery_retries_total",
                "Sub-queries tried on a further node",
            )?,
            hedged_subqueries_total: IntCounter::new(
                "mishards_router_hedged_subqueries_total",
                "Sub-queries that were slow and sent to a second node",
            )?,
            busy_total: IntCounter::new(
                "mishards_router_busy_total",
                "Requests that were refused because every node had too much to do",
            )?,
            gather_seconds: Histogram::with_opts(gather.buckets(buckets()?))?,
            nodes: IntGaugeVec::new(nodes, &["role"])?,
            nodes_avoided: IntGauge::new(
                "mishards_router_nodes_avoided",
                "Nodes that are asked last because calls on them failed, or nothing is heard of them",
            )?,
            catalog_commit: IntGauge::new("mishards_router_catalog_commit", "Commit number of V")?,
            lost_files_total: IntCounter::new(
                "mishards_router_lost_files_total",
                "Reads that failed because a file is missing that the catalog names",
            )?,
        };
        let all: [Box<dyn Collector>; 12] = [
            Box::new(metrics.request_seconds.clone()),
            Box::new(metrics.failures_total.clone()),
            Box::new(metrics.slow_requests_total.clone()),
            Box::new(metrics.subquery_seconds.clone()),
            Box::new(metrics.subquery_retries_total.clone()),
            Box::new(metrics.hedged_subqueries_total.clone()),
            Box::new(metrics.busy_total.clone()),
            Box::new(metrics.gather_seconds.clone()),
            Box::new(metrics.nodes.clone()),
            Box::new(metrics.nodes_avoided.clone()),
            Box::new(metrics.catalog_commit.clone()),
            Box::new(metrics.lost_files_total.clone()),
        ];
        for collector in all {
            registry.register(collector)?;
        }
        Ok(metrics)
    }
}
