//! The series of calls, for every method: resolved once, and kept.

use std::{
    sync::{OnceLock, PoisonError, RwLock},
    time::Instant,
};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec};
use rustc_hash::FxHashMap;

use super::maker::Maker;
use crate::{rpc::Method, status::Code};

/// Distinct texts of clients that get a series of their own. A client names its version before it
/// is known who it is, and a series is never given up.
const CLIENT_VERSIONS_MAX: usize = 64;
/// Bytes of such a text; `3.5.30-rc.1` is a long one.
const CLIENT_VERSION_LEN_MAX: usize = 32;
/// The version of a client that names none, and of all beyond these bounds.
const UNKNOWN: &str = "unknown";

struct PerMethod {
    started: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    handled_ok: IntCounter,
    handling: Option<Histogram>,
}

/// All series of calls.
pub(super) struct Calls {
    methods: Vec<PerMethod>,
    handled: IntCounterVec,
    client_requests: IntCounterVec,
    client_requests_unknown: [IntCounter; 2],
    client_versions: RwLock<FxHashMap<Box<str>, ByKind>>,
}

/// The series of a client's version by the kind of call: unary or stream. One that was never counted
/// is not shown.
type ByKind = [OnceLock<IntCounter>; 2];

/// Set when a call began.
pub struct CallTimer(Option<Instant>);

impl Calls {
    pub(super) fn new(m: &Maker, extensive: bool) -> Calls {
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let started = m.counters(
            "grpc_server_started_total",
            "Total number of RPCs started on the server.",
            &labels,
        );
        let received = m.counters(
            "grpc_server_msg_received_total",
            "Total number of RPC stream messages received on the server.",
            &labels,
        );
        let sent = m.counters(
            "grpc_server_msg_sent_total",
            "Total number of gRPC stream messages sent by the server.",
            &labels,
        );
        let handled = m.counters(
            "grpc_server_handled_total",
            "Total number of RPCs completed on the server, regardless of success or failure.",
            &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        );
        let handling = extensive.then(|| {
            m.keep(HistogramVec::new(
                HistogramOpts::new(
                    "grpc_server_handling_seconds",
                    "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
                ),
                &labels,
            ))
        });
        let methods = Method::ALL
            .iter()
            .map(|method| {
                let (service, name) = split(*method);
                let values = [method.kind(), service, name];
                // All there can be, as in etcd: a rate over one that comes into being misses
                // its first call.
                for code in proto::codes::NAMES {
                    handled.with_label_values(&[method.kind(), service, name, code]);
                }
                PerMethod {
                    started: started.with_label_values(&values),
                    received: received.with_label_values(&values),
                    sent: sent.with_label_values(&values),
                    handled_ok: handled.with_label_values(&[method.kind(), service, name, "OK"]),
                    handling: handling.as_ref().map(|h| h.with_label_values(&values)),
                }
            })
            .collect();
        let client_requests = m.counters(
            "etcd_server_client_requests_total",
            "The total number of client requests per client version.",
            &["type", "client_api_version"],
        );
        Calls {
            methods,
            handled,
            client_requests_unknown: [
                client_requests.with_label_values(&["unary", UNKNOWN]),
                client_requests.with_label_values(&["stream", UNKNOWN]),
            ],
            client_requests,
            client_versions: RwLock::default(),
        }
    }

    /// Counts a request by the version its client speaks.
    pub(super) fn client_request(&self, method: Method, client_api_version: &str) {
        let at = usize::from(method.kind() != "unary");
        if client_api_version == UNKNOWN || !self.count_version(client_api_version, at) {
            self.client_requests_unknown[at].inc();
        }
    }

    /// Counts a call in the series of its client's version, which the first versions get.
    fn count_version(&self, version: &str, at: usize) -> bool {
        let count = |of_version: &ByKind| {
            let labels = [["unary", "stream"][at], version];
            of_version[at]
                .get_or_init(|| self.client_requests.with_label_values(&labels))
                .inc();
        };
        let known = self.client_versions.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(of_version) = known.get(version) {
            count(of_version);
            return true;
        }
        if version.len() > CLIENT_VERSION_LEN_MAX || known.len() >= CLIENT_VERSIONS_MAX {
            return false;
        }
        drop(known);
        let known = self.client_versions.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let has_room = known.len() < CLIENT_VERSIONS_MAX;
        if has_room || known.contains_key(version) {
            count(known.entry(version.into()).or_default());
            return true;
        }
        false
    }

    pub(super) fn received(&self, method: Method) -> &IntCounter {
        &self.methods[method as usize].received
    }

    pub(super) fn sent(&self, method: Method, messages: u64) {
        self.methods[method as usize].sent.inc_by(messages);
    }

    /// Counts a call that begins.
    pub(super) fn call_started(&self, method: Method) -> CallTimer {
        let series = &self.methods[method as usize];
        series.started.inc();
        CallTimer(series.handling.as_ref().map(|_| Instant::now()))
    }

    /// Counts a call that ended.
    pub(super) fn call_ended(&self, method: Method, timer: &CallTimer, code: Code) {
        let series = &self.methods[method as usize];
        if code == Code::Ok {
            series.handled_ok.inc();
        } else {
            let (service, name) = split(method);
            self.handled
                .with_label_values(&[method.kind(), service, name, code.name()])
                .inc();
        }
        if let (Some(handling), Some(begin)) = (&series.handling, timer.0) {
            handling.observe(begin.elapsed().as_secs_f64());
        }
    }
}

fn split(method: Method) -> (&'static str, &'static str) {
    method
        .path()
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or(("", ""))
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, core::Collector as _};

    use super::*;

    #[test]
    fn texts_of_clients_make_a_bounded_number_of_series() {
        let calls = Calls::new(&Maker(Registry::new()), false);
        let at_start = calls.client_requests.collect()[0].get_metric().len();
        calls.client_request(Method::Range, "3.5");
        calls.client_request(Method::Range, &"3".repeat(CLIENT_VERSION_LEN_MAX + 1));
        for n in 0..2 * CLIENT_VERSIONS_MAX {
            calls.client_request(Method::Range, &n.to_string());
            calls.client_request(Method::Watch, &n.to_string());
            calls.client_request(Method::Range, "3.5");
        }
        let count = |kind, version| {
            let series = calls.client_requests.with_label_values(&[kind, version]);
            usize::try_from(series.get()).expect("a small number")
        };
        let series = calls.client_requests.collect()[0].get_metric().len();
        assert_eq!(series - at_start, 2 * CLIENT_VERSIONS_MAX - 1);
        assert_eq!(count("unary", "3.5"), 2 * CLIENT_VERSIONS_MAX + 1);
        // One place was taken, and one text was too long.
        assert_eq!(count("unary", UNKNOWN), CLIENT_VERSIONS_MAX + 2);
        assert_eq!(count("stream", UNKNOWN), CLIENT_VERSIONS_MAX + 1);
    }
}
