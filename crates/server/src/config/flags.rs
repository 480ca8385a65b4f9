//! The table of flags. One row feeds the parser, `--help`, the environment
//! variable (`ETCD_` and the name in capitals) and the key of the YAML file.

use super::{
    settings::{parse_bool, parse_duration},
    unbuilt::{UNBUILT, Unbuilt},
};

/// What a flag's value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; alone it means true.
    Bool,
    /// A whole number that fits `i64`.
    Int,
    /// A whole number from 0.
    Uint,
    /// Milliseconds.
    Millis,
    /// Go's duration syntax, `1m30s`; nanoseconds in the YAML file.
    Duration,
    /// Text.
    Text,
    /// Comma-separated URLs.
    Urls,
    /// `new` or `existing`.
    State,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Kind {
    /// True if an empty value in the file is as good as none, as in etcd.
    pub(super) fn empty_is_missing(self) -> bool {
        matches!(self, Kind::State | Kind::Urls | Kind::OneOf(_))
    }

    /// True if `a` and `b` are two spellings of the same value.
    pub(super) fn same(self, a: &str, b: &str) -> bool {
        match self {
            Kind::Bool => parse_bool(a) == parse_bool(b),
            Kind::Int | Kind::Uint | Kind::Millis => a.parse::<i128>().ok() == b.parse().ok(),
            Kind::Duration => parse_duration(a) == parse_duration(b),
            Kind::Text | Kind::Urls | Kind::State | Kind::OneOf(_) => a == b,
        }
    }
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Name without dashes; also the YAML key.
    pub name: &'static str,
    /// Value syntax.
    pub kind: Kind,
    /// Default, in the flag's own syntax.
    pub default: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
}

/// A headed group of flags, in the order of `--help`.
pub struct Group {
    /// Heading.
    pub title: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
}

macro_rules! group {
    ($title:literal; $($name:literal $kind:ident $(($words:expr))? $default:literal $help:literal;)*) => {
        Group {
            title: $title,
            flags: &[$(Flag { name: $name, kind: Kind::$kind $(($words))?, default: $default, help: $help },)*],
        }
    };
}

/// Every flag that does something.
pub const FLAGS: &[Group] = &[
    group! { "Member";
        "name" Text "default" "Human-readable name for this member.";
        "data-dir" Text "" "Path to the data directory (default ${name}.etcd).";
        "wal-dir" Text "" "Path to a dedicated wal directory.";
        "snapshot-count" Uint "100000" "Number of committed transactions to trigger a snapshot to disk.";
        "heartbeat-interval" Millis "100" "Time (in milliseconds) of a heartbeat interval.";
        "election-timeout" Millis "1000" "Time (in milliseconds) for an election to timeout.";
        "initial-election-tick-advance" Bool "true" "Whether to fast-forward initial election ticks on boot for faster election.";
        "listen-peer-urls" Urls "http://localhost:2380" "List of URLs to listen on for peer traffic.";
        "listen-client-urls" Urls "http://localhost:2379" "List of URLs to listen on for client grpc traffic and http as long as --listen-client-http-urls is not specified.";
        "listen-client-http-urls" Urls "" "List of URLs to listen on for http only client traffic.";
        "max-snapshots" Uint "5" "Maximum number of snapshot files to retain (0 is unlimited).";
        "max-wals" Uint "5" "Maximum number of wal files to retain (0 is unlimited).";
        "quota-backend-bytes" Int "0" "Raise alarms when the database exceeds this size, bytes (0 means 2 GiB, negative disables).";
        "backend-bbolt-freelist-type" Text "map" "Accepted for compatibility: array or map.";
        "backend-batch-interval" Duration "0s" "Maximum time before the database is committed (0 means 100ms).";
        "backend-batch-limit" Int "0" "Maximum operations before the database is committed (0 means 10000).";
        "max-txn-ops" Uint "128" "Maximum number of operations permitted in a transaction.";
        "max-request-bytes" Uint "1572864" "Maximum client request size in bytes the server will accept.";
        "max-concurrent-streams" Uint "4294967295" "Maximum concurrent streams that each client can open at a time.";
        "grpc-keepalive-interval" Duration "2h0m0s" "Frequency of server-to-client pings to check if a connection is alive (0 to disable).";
        "grpc-keepalive-timeout" Duration "20s" "Additional time to wait before closing a non-responsive connection (0 to disable).";
        "socket-reuse-port" Bool "false" "Set the socket option SO_REUSEPORT on listeners.";
        "socket-reuse-address" Bool "false" "Set the socket option SO_REUSEADDR on listeners.";
    },
    group! { "Clustering";
        "initial-advertise-peer-urls" Urls "http://localhost:2380" "List of this member's peer URLs to advertise to the rest of the cluster.";
        "initial-cluster" Text "" "Initial cluster configuration for bootstrapping (default ${name}=http://localhost:2380).";
        "initial-cluster-state" State "new" "Initial cluster state: new or existing.";
        "initial-cluster-token" Text "etcd-cluster" "Initial cluster token for the cluster during bootstrap.";
        "advertise-client-urls" Urls "http://localhost:2379" "List of this member's client URLs to advertise to the public.";
        "pre-vote" Bool "true" "Run an additional raft election phase before a member disturbs a leader.";
        "force-new-cluster" Bool "false" "Force to create a new one-member cluster from this member's data.";
        "strict-reconfig-check" Bool "true" "Reject reconfiguration requests that would cause quorum loss.";
        "auto-compaction-retention" Text "0" "Auto compaction retention length; 0 means disable auto compaction.";
        "auto-compaction-mode" Text "periodic" "Interpret auto-compaction-retention: periodic or revision.";
        "max-learners" Uint "1" "Sets the maximum number of learners that can be available in the cluster membership.";
        "membership-check" Text "heal" "What to do where the copies of the membership in the data directory disagree, Pintle's own: heal, report or refuse.";
        "feature-gates" Text "" "Features of etcd 3.6 and 3.7 that are switched on or off, as in InitialCorruptCheck=true,CompactHashCheck=true.";
        "v2-deprecation" Text "not-yet" "Keys of API version 2: not-yet, write-only and write-only-skip-check keep them as they are; write-only-drop-data takes them out of the snapshots, with a copy beside them.";
    },
    group! { "Discovery";
        "discovery-srv" Text "" "DNS domain whose SRV records name the members that found the cluster.";
        "discovery-srv-name" Text "" "Suffix to the service name that is asked for in the DNS.";
        "discovery-token" Text "" "V3 discovery: token of the cluster to be founded.";
        "discovery-endpoints" Text "" "V3 discovery: comma-separated gRPC endpoints of the etcd that serves discovery.";
        "discovery-dial-timeout" Duration "2s" "V3 discovery: dial timeout for client connections.";
        "discovery-request-timeout" Duration "5s" "V3 discovery: timeout for discovery requests (excluding dial timeout).";
        "discovery-keepalive-time" Duration "2s" "V3 discovery: keepalive time for client connections.";
        "discovery-keepalive-timeout" Duration "6s" "V3 discovery: keepalive timeout for client connections.";
        "discovery-insecure-transport" Bool "true" "V3 discovery: disable transport security for endpoints without a scheme.";
        "discovery-insecure-skip-tls-verify" Bool "false" "V3 discovery: skip server certificate verification (for tests only).";
        "discovery-cert" Text "" "V3 discovery: identify secure client using this TLS certificate file.";
        "discovery-key" Text "" "V3 discovery: identify secure client using this TLS key file.";
        "discovery-cacert" Text "" "V3 discovery: verify certificates of TLS-enabled secure servers using this CA bundle.";
        "discovery-user" Text "" "V3 discovery: username[:password] for authentication.";
        "discovery-password" Text "" "V3 discovery: password for authentication; --discovery-user then holds the name alone.";
        "discovery" Text "" "V2 discovery: URL of the cluster to be founded, its token last.";
        "discovery-proxy" Text "" "V2 discovery: HTTP proxy to use for traffic to the discovery service.";
        "discovery-fallback" OneOf(&["proxy", "exit"]) "exit" "V2 discovery: what to do when the cluster is full, exit or proxy; both exit, Pintle is no v2 proxy.";
    },
    group! { "Serving";
        "enable-grpc-gateway" Bool "true" "Enable the JSON gateway.";
        "cors" Text "*" "Comma-separated whitelist of origins for CORS, or cross-origin resource sharing (empty or * means allow all).";
        "host-whitelist" Text "*" "Acceptable hostnames from HTTP client requests, if server is not secure (empty or * means allow all).";
        "metrics" Text "basic" "Set level of detail for exported metrics: basic, or extensive for server side grpc histograms.";
        "listen-metrics-urls" Urls "" "List of additional URLs to listen on for /metrics and the health endpoints.";
        "runtimes" Uint "0" "Serving threads, Pintle's own (0 is one per core).";
    },
    group! { "Security";
        "cert-file" Text "" "Path to the client server TLS cert file.";
        "key-file" Text "" "Path to the client server TLS key file.";
        "client-cert-file" Text "" "Path to an explicit client certificate, shown where this member dials its own client URLs.";
        "client-key-file" Text "" "Path to the key of --client-cert-file.";
        "client-cert-auth" Bool "false" "Enable client cert authentication.";
        "client-crl-file" Text "" "Path to the client certificate revocation list file.";
        "client-cert-allowed-hostname" Text "" "Comma-separated list of SAN hostnames allowed in client certificates.";
        "trusted-ca-file" Text "" "Path to the client server TLS trusted CA cert file; it makes client certificates mandatory.";
        "auto-tls" Bool "false" "Client TLS using generated certificates.";
        "peer-cert-file" Text "" "Path to the peer server TLS cert file.";
        "peer-key-file" Text "" "Path to the peer server TLS key file.";
        "peer-client-cert-file" Text "" "Path to an explicit peer client TLS cert file; --peer-cert-file otherwise.";
        "peer-client-key-file" Text "" "Path to an explicit peer client TLS key file; --peer-key-file otherwise.";
        "peer-client-cert-auth" Bool "false" "Enable peer client cert authentication.";
        "peer-trusted-ca-file" Text "" "Path to the peer server TLS trusted CA file; it makes peer certificates mandatory.";
        "peer-crl-file" Text "" "Path to the peer certificate revocation list file.";
        "peer-cert-allowed-cn" Text "" "Comma-separated list of allowed CNs for inter-peer TLS authentication.";
        "peer-cert-allowed-hostname" Text "" "Comma-separated list of allowed SAN hostnames for inter-peer TLS authentication.";
        "experimental-peer-skip-client-san-verification" Bool "false" "Skip verification of the address in peer client certificates.";
        "peer-auto-tls" Bool "false" "Peer TLS using self-generated certificates if --peer-key-file and --peer-cert-file are not provided.";
        "self-signed-cert-validity" Uint "1" "The validity period of the self-signed certificates in years.";
        "cipher-suites" Text "" "Comma-separated list of supported TLS 1.2 cipher suites between client/server and peers (empty for all that are safe).";
        "tls-min-version" Text "TLS1.2" "Minimum TLS version supported: TLS1.2 or TLS1.3.";
        "tls-max-version" Text "" "Maximum TLS version supported: TLS1.2 or TLS1.3 (empty for the highest).";
    },
    group! { "Auth";
        "auth-token" Text "simple" "Token type and its options: simple, or jwt,pub-key=PATH,priv-key=PATH,sign-method=METHOD,ttl=DURATION.";
        "auth-token-ttl" Uint "300" "Lifetime of a simple token in seconds.";
        "bcrypt-cost" Uint "10" "Cost of the bcrypt hash of a password, 4 to 31 (any other value means 10).";
    },
    group! { "Logging";
        "logger" Text "zap" "Accepted for compatibility: zap.";
        "log-outputs" Text "default" "Comma-separated list of output targets: default, stderr, stdout, or file paths.";
        "log-level" Text "info" "Log level: debug, info, warn, error, panic, or fatal.";
        "log-format" Text "json" "Log format: json or console.";
    },
    group! { "Experimental";
        "experimental-compaction-batch-limit" Int "0" "Maximum revisions deleted in one compaction batch (0 means 1000).";
        "experimental-compaction-sleep-interval" Duration "0s" "Pause between compaction batches (0 means 10ms).";
        "experimental-watch-progress-notify-interval" Duration "10m0s" "Duration of periodic watch progress notifications.";
        "experimental-warning-apply-duration" Duration "100ms" "Time duration after which a warning is generated if a request takes longer to apply.";
        "experimental-enable-lease-checkpoint" Bool "false" "Enable leader to send regular checkpoints to other members to prevent reset of remaining TTL on leader change.";
        "experimental-enable-lease-checkpoint-persist" Bool "false" "Enable persisting remaining TTL to prevent indefinite auto-renewal of long lived leases.";
        "experimental-snapshot-catchup-entries" Uint "5000" "Number of entries kept in the in-memory raft log after a snapshot.";
        "experimental-bootstrap-defrag-threshold-megabytes" Uint "0" "Run a defrag during server bootstrap if that many megabytes would be freed (0 to disable).";
        "experimental-initial-corrupt-check" Bool "false" "Check data corruption against the other members before serving.";
        "experimental-corrupt-check-time" Duration "0s" "Duration of time between cluster corruption check passes (0 to disable).";
        "experimental-compact-hash-check-enabled" Bool "false" "Enable leader to periodically check followers compaction hashes.";
        "experimental-compact-hash-check-time" Duration "1m0s" "Duration of time between leader checks followers compaction hashes.";
        "experimental-stop-grpc-service-on-defrag" Bool "false" "Report NOT_SERVING to gRPC health checks while this member is defragmented.";
        "experimental-downgrade-check-time" Duration "5s" "Duration of time between two downgrade status checks.";
    },
];

/// Names that etcd 3.6 and 3.7 have for flags of the table above and of
/// [`UNBUILT`](super::unbuilt::UNBUILT): theirs, and the one here.
const SYNONYMS: &[(&str, &str)] = &[
    (
        "bootstrap-defrag-threshold-megabytes",
        "experimental-bootstrap-defrag-threshold-megabytes",
    ),
    (
        "compact-hash-check-time",
        "experimental-compact-hash-check-time",
    ),
    (
        "compaction-batch-limit",
        "experimental-compaction-batch-limit",
    ),
    (
        "compaction-sleep-interval",
        "experimental-compaction-sleep-interval",
    ),
    ("corrupt-check-time", "experimental-corrupt-check-time"),
    (
        "distributed-tracing-address",
        "experimental-distributed-tracing-address",
    ),
    (
        "distributed-tracing-instance-id",
        "experimental-distributed-tracing-instance-id",
    ),
    (
        "distributed-tracing-sampling-rate",
        "experimental-distributed-tracing-sampling-rate",
    ),
    (
        "distributed-tracing-service-name",
        "experimental-distributed-tracing-service-name",
    ),
    ("downgrade-check-time", "experimental-downgrade-check-time"),
    (
        "enable-distributed-tracing",
        "experimental-enable-distributed-tracing",
    ),
    ("memory-mlock", "experimental-memory-mlock"),
    (
        "peer-skip-client-san-verification",
        "experimental-peer-skip-client-san-verification",
    ),
    (
        "snapshot-catchup-entries",
        "experimental-snapshot-catchup-entries",
    ),
    (
        "warning-apply-duration",
        "experimental-warning-apply-duration",
    ),
    (
        "warning-unary-request-duration",
        "experimental-warning-unary-request-duration",
    ),
    (
        "watch-progress-notify-interval",
        "experimental-watch-progress-notify-interval",
    ),
];

/// The flag of a name, and the name under which it was asked for.
pub(super) struct Found {
    pub(super) flag: &'static Flag,
    pub(super) name: &'static str,
    /// Set if this version does not have what the flag is for.
    pub(super) unbuilt: Option<&'static Unbuilt>,
}

/// Finds a flag of etcd by any of its names, built or not.
pub(super) fn lookup(name: &str) -> Option<Found> {
    let synonym = SYNONYMS.iter().find(|(newer, _)| *newer == name);
    let own = synonym.map_or(name, |(_, own)| own);
    let unbuilt = UNBUILT.iter().find(|unbuilt| unbuilt.flag.name == own);
    let flag = unbuilt.map(|unbuilt| &unbuilt.flag).or_else(|| find(own))?;
    Some(Found {
        flag,
        name: synonym.map_or(flag.name, |(newer, _)| newer),
        unbuilt,
    })
}

/// Every name of a flag of etcd, built or not.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let built = FLAGS.iter().flat_map(|group| group.flags);
    built
        .map(|flag| flag.name)
        .chain(UNBUILT.iter().map(|unbuilt| unbuilt.flag.name))
        .chain(SYNONYMS.iter().map(|(newer, _)| *newer))
}

/// Finds a flag of the table by its name there.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS
        .iter()
        .flat_map(|group| group.flags)
        .find(|flag| flag.name == name)
}

/// The environment variable of a flag.
pub(crate) fn env_name(flag: &str) -> String {
    format!("ETCD_{}", flag.to_ascii_uppercase().replace('-', "_"))
}
