//! Logs: one line an event, readable at a terminal, or JSON. Traces: by OTLP, to Jaeger or whoever else speaks it.

use crate::config::Config;
use mishards_trace::Tracer;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Longest time for sending what is left at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts logging to standard error.
pub fn start(config: &Config) -> Result<(), String> {
    let level = config.list("log.level").join(",");
    let filter =
        EnvFilter::try_new(&level).map_err(|e| format!("log.level {level:?} is no log filter: {e}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.text("log.format") {
        "json" => lines.json().flatten_event(true).try_init(),
        _ => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    started.map_err(|e| format!("cannot start logging: {e}"))
}

/// Where spans go; sends what is left when it is dropped.
#[derive(Default)]
pub struct Traces {
    provider: Option<SdkTracerProvider>,
}

impl Traces {
    /// Starts sending, if the settings say where to. `role` becomes a part of the service's name. Needs the runtime.
    pub fn start(config: &Config, role: &str) -> Result<Traces, String> {
        let endpoint = config.text("trace.endpoint");
        if endpoint.is_empty() {
            return Ok(Traces::default());
        }
        let ratio = config.ratio("trace.sample_ratio")?;
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|e| format!("trace.endpoint {endpoint:?} cannot be used: {e}"))?;
        let resource = Resource::builder()
            .with_service_name(format!("mishards-{role}"))
            .with_attribute(KeyValue::new("service.instance.id", config.text("node.name").to_owned()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("mishards.cluster", config.text("cluster.id").to_owned()))
            .build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        Ok(Traces { provider: Some(provider) })
    }

    pub fn tracer(&self) -> Tracer {
        self.provider
            .as_ref()
            .map_or_else(Tracer::default, |provider| Tracer::to(provider.tracer("mishards")))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(e) = provider.shutdown_with_timeout(LAST_WORDS)
        {
            tracing::warn!(error = %e, "the last spans could not be sent");
        }
    }
}
