//! `/proxy/metrics`: what the proxy counts.

use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder, core::Collector,
};
use server::{
    rpc::Method,
    status::{Code, Status},
};

/// The series, by etcd's names.
pub(super) struct Metrics {
    registry: Registry,
    pub(super) watchers_coalescing: IntGauge,
    pub(super) events_coalescing: IntCounter,
    pub(super) cache_keys: IntGauge,
    pub(super) cache_hits: IntGauge,
    pub(super) cache_misses: IntGauge,
    started: IntCounterVec,
    handled: IntCounterVec,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let registry = Registry::new();
        let gauge = |name, help| keep(&registry, IntGauge::new(name, help));
        let counters = |name, help, labels: &[&str]| {
            keep(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let by_method = ["grpc_type", "grpc_service", "grpc_method"];
        let by_code = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
        Metrics {
            watchers_coalescing: gauge(
                "etcd_grpc_proxy_watchers_coalescing_total",
                "Total number of current watchers coalescing",
            ),
            events_coalescing: keep(
                &registry,
                IntCounter::new(
                    "etcd_grpc_proxy_events_coalescing_total",
                    "Total number of events coalescing",
                ),
            ),
            cache_keys: gauge(
                "etcd_grpc_proxy_cache_keys_total",
                "Total number of keys/ranges cached",
            ),
            cache_hits: gauge(
                "etcd_grpc_proxy_cache_hits_total",
                "Total number of cache hits",
            ),
            cache_misses: gauge(
                "etcd_grpc_proxy_cache_misses_total",
                "Total number of cache misses",
            ),
            started: counters(
                "grpc_server_started_total",
                "Total number of RPCs started on the server.",
                &by_method,
            ),
            handled: counters(
                "grpc_server_handled_total",
                "Total number of RPCs completed on the server, regardless of success or failure.",
                &by_code,
            ),
            registry,
        }
    }

    /// A call begins.
    pub(super) fn started(&self, method: Method) {
        let (service, name) = names(method);
        let labels = [method.kind(), service, name];
        self.started.with_label_values(&labels).inc();
    }

    /// A call has its answer, or the first part of it.
    pub(super) fn handled<T>(&self, method: Method, outcome: &Result<T, Status>) {
        let code = outcome
            .as_ref()
            .err()
            .map_or(Code::Ok, |status| status.code);
        let (service, name) = names(method);
        let labels = [method.kind(), service, name, code.name()];
        self.handled.with_label_values(&labels).inc();
    }

    /// The page.
    pub(super) fn page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        // Writing into memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut page);
        page
    }
}

fn names(method: Method) -> (&'static str, &'static str) {
    let path = method.path();
    let name = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    name.unwrap_or(("", path))
}

fn keep<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    // Names are constants of this file: a refusal is a defect, found by the first test.
    let metric = made.expect("metric names are valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("metric names are unique");
    metric
}
