//! The definitions of the server's flags, each once: name, kind, default and help; then what
//! [`Setting`] says besides.

use cli::{flags::Kind, text::parse_uint};
use line::Choice;

use super::{
    gate_names,
    setting::{Group, Setting},
    urls::{check_url, url_list},
};

macro_rules! group {
    ($title:literal; $($name:literal $kind:ident $default:literal $help:literal $(, $say:ident ($($what:expr),*))*;)*) => {
        Group {
            title: $title,
            settings: &[$(Setting::new($name, Kind::$kind, $default, $help)$(.$say($($what),*))*,)*],
        }
    };
}

fn urls(text: &str) -> Result<(), String> {
    url_list(text).map(drop)
}

/// A flag of our own, so what it takes can be said.
fn is_line(text: &str) -> Result<(), String> {
    match Choice::parse(text) {
        Some(_) => Ok(()),
        None => Err(format!(
            "invalid value: it is one of {}",
            Choice::WORDS.join(", ")
        )),
    }
}

/// What becomes of the keys of API version 2, by the stage of their removal.
pub(super) const STAGES: &[&str] = &[
    "not-yet",
    "write-only",
    "write-only-skip-check",
    "write-only-drop-data",
    "gone",
];

fn stage(text: &str) -> Result<(), String> {
    if STAGES.contains(&text) {
        Ok(())
    } else {
        Err(format!("invalid value {text:?}"))
    }
}

fn feature_gates(text: &str) -> Result<(), String> {
    gate_names::check(text).map_err(|why| why.to_string())
}

/// HTTP/2 counts streams in 32 bits.
fn streams(text: &str) -> Result<(), String> {
    let streams = parse_uint(text, 0).map_err(|error| error.to_string())?;
    match u32::try_from(streams) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "strconv.ParseUint: parsing {text:?}: value out of range"
        )),
    }
}

/// Origins are URLs, or all of them.
fn origins(text: &str) -> Result<(), String> {
    match text {
        "*" => Ok(()),
        text => text
            .split(',')
            .try_for_each(|origin| check_url(origin).map(drop)),
    }
}

/// Every flag of etcd 3.4 to 3.7, and Pintle's own.
pub(super) const GROUPS: &[Group] = &[
    group! { "Member";
        "name" Text "default" "Human-readable name for this member.";
        "data-dir" Text "" "Path to the data directory (default ${name}.etcd).";
        "wal-dir" Text "" "Path to a dedicated wal directory.";
        "snapshot-count" Uint "100000" "Number of committed transactions to trigger a snapshot to disk; 10000 if nothing is said and the line is 3.6 or later.";
        "heartbeat-interval" Uint "100" "Time (in milliseconds) of a heartbeat interval.";
        "election-timeout" Uint "1000" "Time (in milliseconds) for an election to timeout.";
        "initial-election-tick-advance" Bool "true" "Whether to fast-forward initial election ticks on boot for faster election.";
        "listen-peer-urls" Text "http://localhost:2380" "List of URLs to listen on for peer traffic.", checked(urls);
        "listen-client-urls" Text "http://localhost:2379" "List of URLs to listen on for client grpc traffic and http as long as --listen-client-http-urls is not specified.", checked(urls);
        "listen-client-http-urls" Text "" "List of URLs to listen on for http only client traffic.", checked(urls), since(5);
        "max-snapshots" Uint "5" "Maximum number of snapshot files to retain (0 is unlimited).";
        "max-wals" Uint "5" "Maximum number of wal files to retain (0 is unlimited).";
        "quota-backend-bytes" Int "0" "Raise alarms when the database exceeds this size, bytes (0 means 2 GiB, negative disables).";
        "backend-bbolt-freelist-type" Text "map" "Accepted for compatibility: array or map.", since(5), older("experimental-backend-bbolt-freelist-type"), warned("the list of free pages is kept in one way, and read in both");
        "backend-batch-interval" Duration "0s" "Maximum time before the database is committed (0 means 100ms).";
        "backend-batch-limit" Int "0" "Maximum operations before the database is committed (0 means 10000).";
        "max-txn-ops" Uint "128" "Maximum number of operations permitted in a transaction.";
        "max-request-bytes" Uint "1572864" "Maximum client request size in bytes the server will accept.";
        "max-concurrent-streams" Text "4294967295" "Maximum concurrent streams that each client can open at a time.", checked(streams);
        "grpc-keepalive-interval" Duration "2h0m0s" "Frequency of server-to-client pings to check if a connection is alive (0 to disable).";
        "grpc-keepalive-timeout" Duration "20s" "Additional time to wait before closing a non-responsive connection (0 to disable).";
        "socket-reuse-port" Bool "false" "Set the socket option SO_REUSEPORT on listeners.", since(5), at(&["socket-options", "reuse-port"]);
        "socket-reuse-address" Bool "false" "Set the socket option SO_REUSEADDR on listeners.", since(5), at(&["socket-options", "reuse-address"]);
        "experimental-memory-mlock" Bool "false" "Keep the pages of the process in RAM, those of the database in particular.", since(5), until(6), newer("memory-mlock");
        "grpc-keepalive-min-time" Duration "5s" "Minimum interval between pings of a client.";
        "raft-read-timeout" Duration "5s" "Read timeout of connections to other members (5s at least).", since(5), no_key();
        "raft-write-timeout" Duration "5s" "Write timeout of connections to other members (5s at least).", since(5), no_key();
    },
    group! { "Clustering";
        "initial-advertise-peer-urls" Text "http://localhost:2380" "List of this member's peer URLs to advertise to the rest of the cluster.", checked(urls);
        "initial-cluster" Text "" "Initial cluster configuration for bootstrapping (default ${name}=http://localhost:2380).";
        "initial-cluster-state" Text "new" "Initial cluster state: new or existing.", one_of(&["new", "existing"]);
        "initial-cluster-token" Text "etcd-cluster" "Initial cluster token for the cluster during bootstrap.";
        "advertise-client-urls" Text "http://localhost:2379" "List of this member's client URLs to advertise to the public.", checked(urls);
        "pre-vote" Bool "true" "Run an additional raft election phase before a member disturbs a leader.";
        "strict-reconfig-check" Bool "true" "Reject reconfiguration requests that would cause quorum loss.";
        "auto-compaction-retention" Text "0" "Auto compaction retention length; 0 means disable auto compaction.";
        "auto-compaction-mode" Text "periodic" "Interpret auto-compaction-retention: periodic or revision.";
        "max-learners" Uint "1" "Sets the maximum number of learners that can be available in the cluster membership.", since(6);
        "membership-check" Text "heal" "What to do where the copies of the membership in the data directory disagree, Pintle's own: heal, report or refuse.", own();
        "line" Text "auto" "Release line of etcd that this member speaks, Pintle's own: 3.5, 3.6 or 3.7, within one minor version above its cluster; auto is the line of its cluster, and 3.5 for a new one until 3.7 is complete.", checked(is_line), own(), variable("PINTLE_LINE");
        "feature-gates" Text "" "Features of etcd 3.6 and 3.7 that are switched on or off, as in InitialCorruptCheck=true,CompactHashCheck=true.", checked(feature_gates), since(6);
    },
    group! { "Discovery";
        "discovery-srv" Text "" "DNS domain whose SRV records name the members that found the cluster.";
        "discovery-srv-name" Text "" "Suffix to the service name that is asked for in the DNS.";
        "discovery-token" Text "" "V3 discovery: token of the cluster to be founded.", since(6), at(&["discovery-config", "token"]);
        "discovery-endpoints" Text "" "V3 discovery: comma-separated gRPC endpoints of the etcd that serves discovery.", since(6), at(&["discovery-config", "client", "endpoints"]);
        "discovery-dial-timeout" Duration "2s" "V3 discovery: dial timeout for client connections.", since(6), at(&["discovery-config", "client", "dial-timeout"]);
        "discovery-request-timeout" Duration "5s" "V3 discovery: timeout for discovery requests (excluding dial timeout).", since(6), at(&["discovery-config", "client", "request-timeout"]);
        "discovery-keepalive-time" Duration "2s" "V3 discovery: keepalive time for client connections.", since(6), at(&["discovery-config", "client", "keepalive-time"]);
        "discovery-keepalive-timeout" Duration "6s" "V3 discovery: keepalive timeout for client connections.", since(6), at(&["discovery-config", "client", "keepalive-timeout"]);
        "discovery-insecure-transport" Bool "true" "V3 discovery: disable transport security for endpoints without a scheme.", since(6), at(&["discovery-config", "client", "secure", "insecure-transport"]);
        "discovery-insecure-skip-tls-verify" Bool "false" "V3 discovery: skip server certificate verification (for tests only).", since(6), at(&["discovery-config", "client", "secure", "insecure-skip-tls-verify"]);
        "discovery-cert" Text "" "V3 discovery: identify secure client using this TLS certificate file.", since(6), at(&["discovery-config", "client", "secure", "cert"]);
        "discovery-key" Text "" "V3 discovery: identify secure client using this TLS key file.", since(6), at(&["discovery-config", "client", "secure", "key"]);
        "discovery-cacert" Text "" "V3 discovery: verify certificates of TLS-enabled secure servers using this CA bundle.", since(6), at(&["discovery-config", "client", "secure", "cacert"]);
        "discovery-user" Text "" "V3 discovery: username[:password] for authentication.", since(6), at(&["discovery-config", "client", "auth", "username"]), secret();
        "discovery-password" Text "" "V3 discovery: password for authentication; --discovery-user then holds the name alone.", since(6), at(&["discovery-config", "client", "auth", "password"]), secret();
        "discovery" Text "" "V2 discovery: URL of the cluster to be founded, its token last.", until(6);
        "discovery-proxy" Text "" "V2 discovery: HTTP proxy to use for traffic to the discovery service.", until(6);
        "discovery-fallback" Text "exit" "V2 discovery: what to do when the cluster is full, exit or proxy; both exit, Pintle is no v2 proxy.", one_of(&["proxy", "exit"]);
    },
    group! { "Serving";
        "enable-grpc-gateway" Bool "true" "Enable the JSON gateway.";
        "cors" Text "*" "Comma-separated whitelist of origins for CORS, or cross-origin resource sharing (empty or * means allow all).", checked(origins);
        "host-whitelist" Text "*" "Acceptable hostnames from HTTP client requests, if server is not secure (empty or * means allow all).";
        "metrics" Text "basic" "Set level of detail for exported metrics: basic, or extensive for server side grpc histograms.";
        "listen-metrics-urls" Text "" "List of additional URLs to listen on for /metrics and the health endpoints.", checked(urls);
        "runtimes" Uint "0" "Serving threads, Pintle's own (0 is one per core).", own();
        "enable-pprof" Bool "false" "Serve profiles of the process under /debug/pprof/ of the client URLs.";
    },
    group! { "Security";
        "cert-file" Text "" "Path to the client server TLS cert file.", at(&["client-transport-security", "cert-file"]);
        "key-file" Text "" "Path to the client server TLS key file.", at(&["client-transport-security", "key-file"]);
        "client-cert-file" Text "" "Path to an explicit client certificate, shown where this member dials its own client URLs.", since(5), at(&["client-transport-security", "client-cert-file"]);
        "client-key-file" Text "" "Path to the key of --client-cert-file.", since(5), at(&["client-transport-security", "client-key-file"]);
        "client-cert-auth" Bool "false" "Enable client cert authentication.", at(&["client-transport-security", "client-cert-auth"]);
        "client-crl-file" Text "" "Path to the client certificate revocation list file.", no_key();
        "client-cert-allowed-hostname" Text "" "Comma-separated list of SAN hostnames allowed in client certificates.", at(&["client-transport-security", "allowed-hostname"]);
        "trusted-ca-file" Text "" "Path to the client server TLS trusted CA cert file; it makes client certificates mandatory.", at(&["client-transport-security", "trusted-ca-file"]);
        "auto-tls" Bool "false" "Client TLS using generated certificates.", at(&["client-transport-security", "auto-tls"]);
        "peer-cert-file" Text "" "Path to the peer server TLS cert file.", at(&["peer-transport-security", "cert-file"]);
        "peer-key-file" Text "" "Path to the peer server TLS key file.", at(&["peer-transport-security", "key-file"]);
        "peer-client-cert-file" Text "" "Path to an explicit peer client TLS cert file; --peer-cert-file otherwise.", since(5), at(&["peer-transport-security", "client-cert-file"]);
        "peer-client-key-file" Text "" "Path to an explicit peer client TLS key file; --peer-key-file otherwise.", since(5), at(&["peer-transport-security", "client-key-file"]);
        "peer-client-cert-auth" Bool "false" "Enable peer client cert authentication.", at(&["peer-transport-security", "client-cert-auth"]);
        "peer-trusted-ca-file" Text "" "Path to the peer server TLS trusted CA file; it makes peer certificates mandatory.", at(&["peer-transport-security", "trusted-ca-file"]);
        "peer-crl-file" Text "" "Path to the peer certificate revocation list file.", no_key();
        "peer-cert-allowed-cn" Text "" "Comma-separated list of allowed CNs for inter-peer TLS authentication.", at(&["peer-transport-security", "allowed-cn"]);
        "peer-cert-allowed-hostname" Text "" "Comma-separated list of allowed SAN hostnames for inter-peer TLS authentication.", at(&["peer-transport-security", "allowed-hostname"]);
        "experimental-peer-skip-client-san-verification" Bool "false" "Skip verification of the address in peer client certificates.", until(6), newer("peer-skip-client-san-verification"), at(&["peer-transport-security", "skip-client-san-verification"]), key_too();
        "peer-auto-tls" Bool "false" "Peer TLS using self-generated certificates if --peer-key-file and --peer-cert-file are not provided.", at(&["peer-transport-security", "auto-tls"]);
        "self-signed-cert-validity" Uint "1" "The validity period of the self-signed certificates in years.", since(5);
        "cipher-suites" Text "" "Comma-separated list of supported TLS 1.2 cipher suites between client/server and peers (empty for all that are safe).";
        "tls-min-version" Text "TLS1.2" "Minimum TLS version supported: TLS1.2 or TLS1.3.", since(5);
        "tls-max-version" Text "" "Maximum TLS version supported: TLS1.2 or TLS1.3 (empty for the highest).", since(5);
        "client-cert-allowed-cn" Text "" "Allowed CNs of client certificates; the file alone has this setting.", file_only(), at(&["client-transport-security", "allowed-cn"]);
    },
    group! { "Auth";
        "auth-token" Text "simple" "Token type and its options: simple, or jwt,pub-key=PATH,priv-key=PATH,sign-method=METHOD,ttl=DURATION.";
        "auth-token-ttl" Uint "300" "Lifetime of a simple token in seconds.";
        "bcrypt-cost" Uint "10" "Cost of the bcrypt hash of a password, 4 to 31 (any other value means 10).";
    },
    group! { "Logging";
        "logger" Text "zap" "Accepted for compatibility: zap, and capnslog of etcd 3.4.", warned("log lines are those of zap");
        "log-outputs" Text "default" "Comma-separated list of output targets: default, stderr, stdout, systemd/journal, or file paths.", older("log-output");
        "log-level" Text "info" "Log level: debug, info, warn, error, panic, or fatal.";
        "log-format" Text "json" "Log format: json or console.", since(6);
        "enable-log-rotation" Bool "false" "Enable log rotation of a single log-outputs file target.", since(5);
        "log-rotation-config-json" Text r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"# "How logs are rotated, as JSON: maxsize in MB, maxage in days, maxbackups, localtime, compress.", since(5);
        "debug" Bool "false" "Log at level debug, in the words of etcd 3.4.", until(4);
        "log-package-levels" Text "" "Levels of single packages, in the words of etcd 3.4.", until(4), warned("one level counts for all packages, that of --log-level");
    },
    group! { "Tracing";
        "experimental-distributed-tracing-address" Text "localhost:4317" "Address of the collector of traces.", since(5), until(6), newer("distributed-tracing-address");
        "experimental-distributed-tracing-instance-id" Text "" "Instance id in traces, unique per member.", since(5), until(6), newer("distributed-tracing-instance-id");
        "experimental-distributed-tracing-sampling-rate" Int "0" "Spans to collect, per million.", since(5), until(6), newer("distributed-tracing-sampling-rate");
        "experimental-distributed-tracing-service-name" Text "etcd" "Service name in traces, the same on all members.", since(5), until(6), newer("distributed-tracing-service-name");
        "experimental-enable-distributed-tracing" Bool "false" "Send traces to a collector.", since(5), until(6), newer("enable-distributed-tracing");
    },
    group! { "Experimental";
        "experimental-compaction-batch-limit" Int "0" "Maximum revisions deleted in one compaction batch (0 means 1000).", until(6), newer("compaction-batch-limit");
        "experimental-compaction-sleep-interval" Duration "0s" "Pause between compaction batches (0 means 10ms).", since(5), until(6), newer("compaction-sleep-interval");
        "experimental-watch-progress-notify-interval" Duration "10m0s" "Duration of periodic watch progress notifications.", until(6), newer("watch-progress-notify-interval");
        "experimental-warning-apply-duration" Duration "100ms" "Time duration after which a warning is generated if a request takes longer to apply.", until(6), newer("warning-apply-duration");
        "experimental-enable-lease-checkpoint" Bool "false" "Enable leader to send regular checkpoints to other members to prevent reset of remaining TTL on leader change.", until(6);
        "experimental-enable-lease-checkpoint-persist" Bool "false" "Enable persisting remaining TTL to prevent indefinite auto-renewal of long lived leases.", until(6);
        "experimental-snapshot-catchup-entries" Uint "5000" "Number of entries kept in the in-memory raft log after a snapshot.", since(5), until(6), newer("snapshot-catchup-entries"), at(&["experimental-snapshot-catch-up-entries"]);
        "experimental-bootstrap-defrag-threshold-megabytes" Uint "0" "Run a defrag during server bootstrap if that many megabytes would be freed (0 to disable).", since(5), until(6), newer("bootstrap-defrag-threshold-megabytes");
        "experimental-initial-corrupt-check" Bool "false" "Check data corruption against the other members before serving.", until(6);
        "experimental-corrupt-check-time" Duration "0s" "Duration of time between cluster corruption check passes (0 to disable).", until(6), newer("corrupt-check-time");
        "experimental-compact-hash-check-enabled" Bool "false" "Enable leader to periodically check followers compaction hashes.", since(5), until(6);
        "experimental-compact-hash-check-time" Duration "1m0s" "Duration of time between leader checks followers compaction hashes.", since(5), until(6), newer("compact-hash-check-time");
        "experimental-stop-grpc-service-on-defrag" Bool "false" "Report NOT_SERVING to gRPC health checks while this member is defragmented.", since(5), until(6);
        "experimental-downgrade-check-time" Duration "5s" "Duration of time between two downgrade status checks.", since(5), until(6), newer("downgrade-check-time");
        "experimental-txn-mode-write-with-shared-buffer" Bool "true" "Let write transactions use a shared buffer in their checks.", since(5), until(6), warned("there is no such buffer; answers are the same");
        "experimental-warning-unary-request-duration" Duration "300ms" "Time duration after which a warning is generated if a unary request takes longer.", since(6), until(6), newer("warning-unary-request-duration");
    },
    group! { "Version 2";
        "v2-deprecation" Text "not-yet" "Keys of API version 2: not-yet, write-only and write-only-skip-check keep them as they are; write-only-drop-data takes them out of the snapshots, with a copy beside them.", checked(stage), since(5);
        "enable-v2" Bool "false" "Serve the v2 API: there is none here.", until(5), warned("requests under /v2 are answered 404 Not Found");
        "experimental-enable-v2v3" Text "" "Prefix under which v2 requests are served from v3 keys: there is no v2 API here.", until(5), warned("requests under /v2 are answered 404 Not Found");
        "proxy" Text "off" "Run as a v2 proxy: off, readonly or on; there is none here.", one_of(&["off", "readonly", "on"]), until(5), refused();
        "proxy-dial-timeout" Uint "1000" "Dial timeout of the v2 proxy in milliseconds.", until(5), idle();
        "proxy-failure-wait" Uint "5000" "Time in milliseconds that the v2 proxy holds an endpoint in failed state.", until(5), idle();
        "proxy-read-timeout" Uint "0" "Read timeout of the v2 proxy in milliseconds.", until(5), idle();
        "proxy-refresh-interval" Uint "30000" "Time in milliseconds between the refreshs of the endpoints of the v2 proxy.", until(5), idle();
        "proxy-write-timeout" Uint "5000" "Write timeout of the v2 proxy in milliseconds.", until(5), idle();
    },
    group! { "Unsafe";
        "force-new-cluster" Bool "false" "Force to create a new one-member cluster from this member's data.";
        "unsafe-no-fsync" Bool "false" "Do not wait for the disk: a crash of the machine loses acknowledged writes.";
    },
];

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
