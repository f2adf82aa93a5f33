//! Spans at the borders of a request's phases, over OpenTelemetry. A span is passed on to whoever works for it, never
//! taken from the air; between processes it travels as a W3C `traceparent`
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>). Without a tracer, or in a trace that is not sampled,
//! nothing is built.

use opentelemetry::global::{BoxedTracer, ObjectSafeTracer};
use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Makes spans, or none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<BoxedTracer>>);

impl Tracer {
    /// Spans go to `tracer`.
    pub fn to(tracer: impl ObjectSafeTracer + Send + Sync + 'static) -> Tracer {
        Tracer(Some(Arc::new(BoxedTracer::new(Box::new(tracer)))))
    }

    /// The first span of this process for a request that came with `traceparent`. One that cannot be read counts as none.
    pub fn serve(&self, name: &'static str, traceparent: Option<&str>) -> Span {
        let Some(tracer) = &self.0 else { return Span(None) };
        let parent = match traceparent.and_then(parse) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        Span::start(tracer, name.into(), SpanKind::Server, &parent)
    }
}

/// A phase of a request; ends when its last clone is dropped.
#[derive(Clone, Default)]
pub struct Span(Option<Inner>);

#[derive(Clone)]
struct Inner {
    tracer: Arc<BoxedTracer>,
    context: Context,
}

impl Span {
    fn start(tracer: &Arc<BoxedTracer>, name: Cow<'static, str>, kind: SpanKind, parent: &Context) -> Span {
        let span = tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), parent);
        Span(Some(Inner { tracer: Arc::clone(tracer), context: parent.with_span(span) }))
    }

    /// A phase of this one.
    pub fn child(&self, name: &'static str) -> Span {
        self.begin(SpanKind::Internal, || name.into())
    }

    /// A call on another process, for which it works.
    pub fn call(&self, name: impl FnOnce() -> String) -> Span {
        self.begin(SpanKind::Client, || name().into())
    }

    fn begin(&self, kind: SpanKind, name: impl FnOnce() -> Cow<'static, str>) -> Span {
        match self.0.as_ref().filter(|_| self.is_recorded()) {
            Some(inner) => Span::start(&inner.tracer, name(), kind, &inner.context),
            None => self.clone(),
        }
    }

    /// Whether anybody will see it.
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.context.span().is_recording())
    }

    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(inner) = self.0.as_ref().filter(|_| self.is_recorded()) {
            inner.context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Says that the phase did not do what it was for.
    pub fn fail(&self, why: &str) {
        if let Some(inner) = self.0.as_ref().filter(|_| self.is_recorded()) {
            inner.context.span().set_status(Status::error(why.to_owned()));
        }
    }

    /// What a process that works for this span is told; `None` when there is no trace.
    pub fn traceparent(&self) -> Option<String> {
        let inner = self.0.as_ref()?;
        let span = inner.context.span();
        let context = span.span_context();
        context.is_valid().then(|| {
            format!(
                "00-{}-{}-{:02x}",
                context.trace_id(),
                context.span_id(),
                context.trace_flags() & TraceFlags::SAMPLED
            )
        })
    }
}

/// Reads version 00, and of later versions what 00 has.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if !(is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) || version == "ff" {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};

    fn tracer(sampler: Sampler) -> (Tracer, InMemorySpanExporter, SdkTracerProvider) {
        let exporter = InMemorySpanExporter::default();
        let sampler = Sampler::ParentBased(Box::new(sampler));
        let provider =
            SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(exporter.clone()).build();
        (Tracer::to(provider.tracer("test")), exporter, provider)
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_from_its_client_through_processes() {
        let (router, spans, _provider) = tracer(Sampler::AlwaysOff);
        let request = router.serve("search", Some(PARENT));
        let search = request.child("do_search");
        let call = search.call(|| "search_ro1".to_owned());
        call.set("segments", 3);
        let told = call.traceparent().unwrap();
        let (node, at_node, _node_provider) = tracer(Sampler::AlwaysOff);
        drop(node.serve("node search", Some(&told)));
        drop((call, search, request));
        let (spans, at_node) = (spans.get_finished_spans().unwrap(), at_node.get_finished_spans().unwrap());
        let names: Vec<&str> = spans.iter().map(|s| s.name.as_ref()).collect();
        assert_eq!(names, ["search_ro1", "do_search", "search"]);
        assert_eq!(spans[2].parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap());
        assert_eq!(spans[1].parent_span_id, spans[2].span_context.span_id());
        assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
        assert_eq!(at_node[0].parent_span_id, spans[0].span_context.span_id());
        let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
        assert!(spans.iter().chain(&at_node).all(|s| s.span_context.trace_id() == trace));
        assert_eq!(spans[0].attributes, [KeyValue::new("segments", 3)]);
    }

    #[test]
    fn what_is_not_sampled_is_not_sampled_anywhere() {
        let (tracer_off, spans, _provider) = tracer(Sampler::AlwaysOff);
        let request = tracer_off.serve("search", None);
        assert!(!request.is_recorded());
        let call = request.call(|| unreachable!("no name is made for a span that nobody sees"));
        let told = call.traceparent().unwrap();
        assert!(told.ends_with("-00"), "{told}");
        let (node, at_node, _node_provider) = tracer(Sampler::AlwaysOn);
        drop((node.serve("node search", Some(&told)), call, request));
        assert!(spans.get_finished_spans().unwrap().is_empty());
        assert!(at_node.get_finished_spans().unwrap().is_empty());
    }

    #[test]
    fn without_a_tracer_there_is_nothing() {
        let request = Tracer::default().serve("search", Some(PARENT));
        assert!(request.child("get_routing").traceparent().is_none());
        assert!(Span::default().call(|| unreachable!()).traceparent().is_none());
    }

    #[test]
    fn a_traceparent_that_cannot_be_read_counts_as_none() {
        assert!(parse(PARENT).is_some());
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}
