//! What a line has of the series: families that others do not know, and methods. A member may go
//! to another line while it runs, so that all are kept, and those of the line shown.

use line::Line;
use prometheus::proto::{Metric, MetricFamily};

use super::mirrors::Mirrors;
use crate::{core::Core, rpc::Method};

/// Copies what depends on the line.
pub(super) fn mirror(m: &Mirrors, core: &Core) {
    let local = format!("{:x}", core.member_id);
    m.known_peers.reset();
    for member in core.state.cluster.load().members() {
        let remote = format!("{:x}", member.id.0);
        m.known_peers.with_label_values(&[&local, &remote]).set(1);
    }
    m.server_version.reset();
    m.server_version
        .with_label_values(&[core.line().release()])
        .set(1);
    m.features.reset();
    for gate in core
        .config
        .feature_gates
        .iter()
        .filter(|gate| gate.is_in(core.line()))
    {
        m.features
            .with_label_values(&[gate.name, gate.stage.label()])
            .set(i64::from(gate.on));
    }
}

/// The families that a line has.
pub(super) fn of_line(families: Vec<MetricFamily>, line: Line) -> Vec<MetricFamily> {
    families
        .into_iter()
        .filter(|family| line.has_series(family.name()))
        .map(|mut family| {
            if family.name().starts_with("grpc_server_") {
                family.mut_metric().retain(|metric| is_of(metric, line));
            }
            family
        })
        .collect()
}

/// Whether a series of calls is about a method of the line. Dashboards sum these over all
/// methods: what etcd does not have is not among them.
fn is_of(metric: &Metric, line: Line) -> bool {
    let value = |name: &str| {
        let labels = metric.get_label().iter();
        labels
            .filter(|label| label.name() == name)
            .map(|l| l.value())
            .next()
    };
    let (Some(service), Some(method)) = (value("grpc_service"), value("grpc_method")) else {
        return true;
    };
    Method::of(&format!("/{service}/{method}"))
        .is_none_or(|method| method.is_in(line) && !method.is_own())
}
