//! etcd's flags for what this version does not have. A value that asks for
//! nothing is accepted, for manifests and unit files spell out defaults. A value
//! that an operator relies on is refused by name: a setting that is quietly
//! ignored is a surprise at the worst moment.

use super::flags::{Flag, Kind};

/// A flag, and what becomes of a value that is not its default.
#[derive(Debug)]
pub(super) struct Unbuilt {
    pub(super) flag: Flag,
    pub(super) other: Other,
}

/// What becomes of a value other than the default.
#[derive(Debug)]
pub(super) enum Other {
    /// The server does not start.
    Refused,
    /// It starts and warns once with this text: nothing that was stored or
    /// promised depends on the setting.
    Warned(&'static str),
    /// It has no effect in etcd either while the flag that turns its subject on
    /// is off, and that one is refused.
    Idle,
}

macro_rules! unbuilt {
    ($($name:literal $kind:expr, $default:literal, $other:expr;)*) => {
        &[$(Unbuilt {
            flag: Flag { name: $name, kind: $kind, default: $default, help: "" },
            other: $other,
        },)*]
    };
}

use Other::{Idle, Refused, Warned};

/// Flags of etcd 3.5, 3.6 and 3.7 under the names of 3.5.
pub(super) const UNBUILT: &[Unbuilt] = unbuilt! {
    "enable-log-rotation" Kind::Bool, "false", Refused;
    "enable-pprof" Kind::Bool, "false", Warned("there are no profiles under /debug/pprof");
    "enable-v2" Kind::Bool, "false", Warned("requests under /v2 are answered 404 Not Found");
    "experimental-distributed-tracing-address" Kind::Text, "localhost:4317", Idle;
    "experimental-distributed-tracing-instance-id" Kind::Text, "", Idle;
    "experimental-distributed-tracing-sampling-rate" Kind::Int, "0", Idle;
    "experimental-distributed-tracing-service-name" Kind::Text, "etcd", Idle;
    "experimental-enable-distributed-tracing" Kind::Bool, "false", Refused;
    "experimental-enable-v2v3" Kind::Text, "", Refused;
    "experimental-memory-mlock" Kind::Bool, "false", Refused;
    "experimental-txn-mode-write-with-shared-buffer" Kind::Bool, "true",
        Warned("there is no such buffer; answers are the same");
    "experimental-warning-unary-request-duration" Kind::Duration, "300ms",
        Warned("unary requests are not timed; entries that are slow to apply are reported");
    "grpc-keepalive-min-time" Kind::Duration, "5s",
        Warned("clients that ping more often are not disconnected");
    "log-rotation-config-json" Kind::Text, "", Idle;
    "next-cluster-version-compatible" Kind::Bool, "false", Refused;
    "proxy" Kind::OneOf(&["off", "readonly", "on"]), "off", Refused;
    "proxy-dial-timeout" Kind::Uint, "1000", Idle;
    "proxy-failure-wait" Kind::Uint, "5000", Idle;
    "proxy-read-timeout" Kind::Uint, "0", Idle;
    "proxy-refresh-interval" Kind::Uint, "30000", Idle;
    "proxy-write-timeout" Kind::Uint, "5000", Idle;
    "raft-read-timeout" Kind::Duration, "5s",
        Warned("a silent connection to another member is given up after 5s");
    "raft-write-timeout" Kind::Duration, "5s",
        Warned("a blocked connection to another member is given up after 5s");
    "unsafe-no-fsync" Kind::Bool, "false", Warned("what is written is synced all the same");
};

/// Flags that etcd has dropped: they need no value, and any is ignored.
pub(super) const DROPPED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
    "test.coverprofile",
    "test.outputdir",
];
