//! The router's metrics.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

/// Registered once per process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    /// By operation: search, query, insert, upsert, delete.
    pub request_seconds: HistogramVec,
    /// By operation and Milvus code.
    pub failures_total: IntCounterVec,
    pub subquery_retries_total: IntCounter,
    pub hedged_subqueries_total: IntCounter,
    pub gather_seconds: Histogram,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let buckets = || prometheus::exponential_buckets(0.0001, 2.0, 18);
        let request = HistogramOpts::new("mishards_router_request_seconds", "Time of a client's request")
            .buckets(buckets()?);
        let gather = HistogramOpts::new("mishards_router_gather_seconds", "Time to merge sub-results")
            .buckets(buckets()?);
        let failures = Opts::new("mishards_router_failures_total", "Requests that were refused or failed");
        let metrics = Metrics {
            request_seconds: HistogramVec::new(request, &["operation"])?,
            failures_total: IntCounterVec::new(failures, &["operation", "code"])?,
            subquery_retries_total: IntCounter::new(
                "mishards_router_subquery_retries_total",
                "Sub-queries tried on a further node",
            )?,
            hedged_subqueries_total: IntCounter::new(
                "mishards_router_hedged_subqueries_total",
                "Sub-queries that were slow and sent to a second node",
            )?,
            gather_seconds: Histogram::with_opts(gather)?,
        };
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.failures_total.clone()))?;
        registry.register(Box::new(metrics.subquery_retries_total.clone()))?;
        registry.register(Box::new(metrics.hedged_subqueries_total.clone()))?;
        registry.register(Box::new(metrics.gather_seconds.clone()))?;
        Ok(metrics)
    }
}
