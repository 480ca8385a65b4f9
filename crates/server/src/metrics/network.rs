//! The series of the way to the other members, as the transport counts them.
//! They come and go with the members, so that they are written out as they are
//! and not kept in the registry.

use std::fmt::Write as _;

use peer::{PeerStatus, ROUND_TRIP_BUCKETS};

use super::text::GoFloat;
use crate::core::Core;

/// A number of each member.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    label: &'static str,
    value: fn(&PeerStatus) -> u64,
}

const FAMILIES: [Family; 7] = [
    Family {
        name: "etcd_network_peer_sent_bytes_total",
        help: "The total number of bytes sent to peers.",
        kind: "counter",
        label: "To",
        value: |peer| peer.sent_bytes,
    },
    Family {
        name: "etcd_network_peer_received_bytes_total",
        help: "The total number of bytes received from peers.",
        kind: "counter",
        label: "From",
        value: |peer| peer.received_bytes,
    },
    Family {
        name: "etcd_network_peer_sent_failures_total",
        help: "The total number of send failures from peers.",
        kind: "counter",
        label: "To",
        value: |peer| peer.sent_failures,
    },
    Family {
        name: "etcd_network_peer_received_failures_total",
        help: "The total number of receive failures from peers.",
        kind: "counter",
        label: "From",
        value: |peer| peer.received_failures,
    },
    Family {
        name: "etcd_network_snapshot_send_success",
        help: "Total number of successful snapshot sends",
        kind: "counter",
        label: "To",
        value: |peer| peer.snapshots_sent,
    },
    Family {
        name: "etcd_network_snapshot_send_failures",
        help: "Total number of snapshot send failures",
        kind: "counter",
        label: "To",
        value: |peer| peer.snapshots_failed,
    },
    Family {
        name: "etcd_network_snapshot_receive_success",
        help: "Total number of successful snapshot receives",
        kind: "counter",
        label: "From",
        value: |peer| peer.snapshots_received,
    },
];

/// Appends the page's part about the other members; nothing for a lone member.
pub(super) fn write(core: &Core, out: &mut String) {
    let peers = core.raft.peers().map(peer::Transport::peers);
    let peers = peers.unwrap_or_default();
    if peers.is_empty() {
        return;
    }
    // Writing into a string cannot fail.
    for family in &FAMILIES {
        let seen: Vec<_> = peers.iter().filter(|p| (family.value)(p) > 0).collect();
        if seen.is_empty() {
            continue;
        }
        head(out, family.name, family.help, family.kind);
        for peer in seen {
            let (name, label) = (family.name, family.label);
            let value = GoFloat((family.value)(peer) as f64);
            let _ = writeln!(out, "{name}{{{label}=\"{:x}\"}} {value}", peer.id);
        }
    }
    let local = format!("{:x}", core.member_id);
    let name = "etcd_network_active_peers";
    head(
        out,
        name,
        "The current number of active peer connections.",
        "gauge",
    );
    for peer in &peers {
        let active = u8::from(peer.active_since.is_some());
        let _ = writeln!(
            out,
            "{name}{{Local=\"{local}\",Remote=\"{:x}\"}} {active}",
            peer.id
        );
    }
    let name = "etcd_network_disconnected_peers_total";
    head(
        out,
        name,
        "The total number of disconnected peers.",
        "counter",
    );
    for peer in &peers {
        let _ = writeln!(
            out,
            "{name}{{Local=\"{local}\",Remote=\"{:x}\"}} {}",
            peer.id,
            GoFloat(peer.disconnects as f64)
        );
    }
    round_trips(out, &peers);
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn round_trips(out: &mut String, peers: &[PeerStatus]) {
    let name = "etcd_network_peer_round_trip_time_seconds";
    let measured = || peers.iter().filter(|p| p.round_trips.last.is_some());
    if measured().next().is_none() {
        return;
    }
    head(
        out,
        name,
        "Round-Trip-Time histogram between peers",
        "histogram",
    );
    for peer in measured() {
        let (mut count, mut bound) = (0, 0.0001);
        for bucket in 0..ROUND_TRIP_BUCKETS {
            count += peer.round_trips.buckets[bucket];
            let _ = writeln!(
                out,
                "{name}_bucket{{To=\"{:x}\",le=\"{}\"}} {}",
                peer.id,
                GoFloat(bound),
                GoFloat(count as f64)
            );
            bound *= 2.0;
        }
        count += peer.round_trips.buckets[ROUND_TRIP_BUCKETS];
        let _ = writeln!(
            out,
            "{name}_bucket{{To=\"{id:x}\",le=\"+Inf\"}} {count}\n{name}_sum{{To=\"{id:x}\"}} {sum}\n{name}_count{{To=\"{id:x}\"}} {count}",
            id = peer.id,
            count = GoFloat(count as f64),
            sum = GoFloat(peer.round_trips.sum_seconds)
        );
    }
}
