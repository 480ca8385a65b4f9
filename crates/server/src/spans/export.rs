//! The queue of spans, and who sends them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::config::Tracing;
use client::Collector;
use proto::tracepb::{
    AnyValue, ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans,
    Span, any_value,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// Spans that wait; the bounds are those of OpenTelemetry's library for Go.
const QUEUE_MAX: usize = 2048;
/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long a span waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(5);
const EXPORT_LIMIT: Duration = Duration::from_secs(10);

/// Where spans are put.
pub(super) struct Tracer {
    queue: mpsc::Sender<Span>,
    rate: u64,
    /// Spans that found the queue full.
    dropped: AtomicU64,
}

/// There is one server in a process, and spans begin in all of its threads.
static TRACER: OnceLock<Tracer> = OnceLock::new();

pub(super) fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

impl Tracer {
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    pub(super) fn send(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Begins to record spans, and to send them from the runtime at hand.
///
/// # Errors
/// The address of the collector is none.
pub fn start(settings: &Tracing) -> Result<(), client::EndpointError> {
    let collector = Collector::new(&settings.address, EXPORT_LIMIT)?;
    let (queue, waiting) = mpsc::channel(QUEUE_MAX);
    let tracer = Tracer {
        queue,
        rate: settings.rate,
        dropped: AtomicU64::new(0),
    };
    if TRACER.set(tracer).is_ok() {
        tokio::spawn(send_all(collector, waiting, resource(settings)));
        tracing::info!("distributed tracing setup enabled");
    }
    Ok(())
}

/// Whose spans they are.
fn resource(settings: &Tracing) -> Resource {
    let mut attributes = vec![("service.name", &settings.service)];
    if !settings.instance.is_empty() {
        attributes.push(("service.instance.id", &settings.instance));
    }
    let attributes = attributes.into_iter().map(|(key, text)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(text.clone())),
        }),
    });
    Resource {
        attributes: attributes.collect(),
    }
}

async fn send_all(mut collector: Collector, mut waiting: mpsc::Receiver<Span>, resource: Resource) {
    let mut is_failing = false;
    let mut told = 0;
    while let Some(first) = waiting.recv().await {
        let mut spans = vec![first];
        let deadline = Instant::now() + BATCH_WAIT;
        while spans.len() < BATCH_MAX {
            match timeout_at(deadline, waiting.recv()).await {
                Ok(Some(span)) => spans.push(span),
                Ok(None) | Err(_) => break,
            }
        }
        let outcome = collector.export(request(&resource, spans)).await;
        // One line when it begins to fail: it may go on for days.
        if let Err(error) = &outcome
            && !is_failing
        {
            tracing::warn!(error = %error, "failed to export spans");
        }
        is_failing = outcome.is_err();
        let dropped = TRACER
            .get()
            .map_or(0, |tracer| tracer.dropped.load(Ordering::Relaxed));
        if dropped > told {
            tracing::warn!(
                spans = dropped - told,
                "spans were dropped: too many at once"
            );
            told = dropped;
        }
    }
}

fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = Scope {
        name: "pintle".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
            }],
        }],
    }
}
