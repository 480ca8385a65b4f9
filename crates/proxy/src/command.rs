//! The commands of the proxies as data, with the names, defaults and texts of etcd's flags.

use cli::flags::{Flag, Kind, Values};

/// The default of the one flag that is narrower than its kind.
pub(crate) const UINT32_MAX: &str = "4294967295";

/// One command or group of commands.
pub(crate) type Command = cli::command::Command<Action>;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Gateway,
    GrpcProxy,
}

/// Both proxies.
pub(crate) const COMMANDS: &[Command] = &[
    Command::group(
        "gateway",
        "gateway related command",
        &[Command::run(
            "start",
            "",
            "start the gateway",
            GATEWAY,
            Action::Gateway,
        )],
    ),
    Command::group(
        "grpc-proxy",
        "grpc-proxy related command",
        &[Command::run(
            "start",
            "",
            "start the grpc proxy",
            GRPC_PROXY,
            Action::GrpcProxy,
        )],
    ),
];

const ENDPOINTS: Flag = Flag::new(
    "endpoints",
    Kind::List,
    "127.0.0.1:2379",
    "comma separated etcd cluster endpoints",
);
const LISTEN: Flag = Flag::new(
    "listen-addr",
    Kind::Text,
    "127.0.0.1:23790",
    "listen address",
);
const SERVICE: Flag = Flag::new(
    "discovery-srv-name",
    Kind::Text,
    "",
    "service name to query when using DNS discovery",
);
const INSECURE: Flag = Flag::switch("insecure-discovery", "accept insecure SRV records");

const GATEWAY: &[Flag] = &[
    Flag::new(
        "discovery-srv",
        Kind::Text,
        "",
        "DNS domain used to bootstrap initial cluster",
    ),
    SERVICE,
    ENDPOINTS,
    INSECURE,
    LISTEN,
    Flag::new(
        "retry-delay",
        Kind::Duration,
        "1m0s",
        "duration of delay before retrying failed endpoints",
    ),
    Flag::new(
        "trusted-ca-file",
        Kind::Text,
        "",
        "path to the client server TLS CA file for verifying the discovered endpoints when discovery-srv is provided.",
    ),
];

const GRPC_PROXY: &[Flag] = &[
    Flag::new(
        "advertise-client-url",
        Kind::Text,
        "127.0.0.1:23790",
        "advertise address to register (must be reachable by client)",
    ),
    Flag::switch("auto-tls", "proxy TLS using generated certificates"),
    Flag::new(
        "cacert",
        Kind::Text,
        "",
        "verify certificates of TLS-enabled secure etcd servers using this CA bundle",
    ),
    Flag::new(
        "cert",
        Kind::Text,
        "",
        "identify secure connections with etcd servers using this TLS certificate file",
    ),
    Flag::new(
        "cert-file",
        Kind::Text,
        "",
        "identify secure connections to the proxy using this TLS certificate file",
    ),
    Flag::new(
        "client-crl-file",
        Kind::Text,
        "",
        "proxy client certificate revocation list file.",
    ),
    Flag::new(
        "data-dir",
        Kind::Text,
        "default.proxy",
        "Data directory for persistent data",
    ),
    Flag::switch("debug", "Enable debug-level logging for grpc-proxy."),
    Flag::new(
        "dial-keepalive-time",
        Kind::Duration,
        "0s",
        "keepalive time for client(grpc-proxy) connections (default 0, disable).",
    ),
    Flag::new(
        "dial-keepalive-timeout",
        Kind::Duration,
        "20s",
        "keepalive timeout for client(grpc-proxy) connections (default 20s).",
    ),
    Flag::new(
        "discovery-srv",
        Kind::Text,
        "",
        "domain name to query for SRV records describing cluster endpoints",
    ),
    SERVICE,
    Flag::switch(
        "enable-pprof",
        "Enable runtime profiling data via HTTP server. Address is at client URL + \"/debug/pprof/\"",
    ),
    ENDPOINTS,
    Flag::new(
        "endpoints-auto-sync-interval",
        Kind::Duration,
        "0s",
        "etcd endpoints auto sync interval (disabled by default)",
    ),
    Flag::switch(
        "experimental-enable-grpc-logging",
        "logging all grpc requests and responses",
    ),
    Flag::new(
        "experimental-leasing-prefix",
        Kind::Text,
        "",
        "leasing metadata prefix for disconnected linearized reads.",
    ),
    Flag::switch(
        "experimental-serializable-ordering",
        "Ensure serializable reads have monotonically increasing store revisions across endpoints.",
    ),
    Flag::new(
        "grpc-keepalive-interval",
        Kind::Duration,
        "2h0m0s",
        "Frequency duration of server-to-client ping to check if a connection is alive (0 to disable).",
    ),
    Flag::new(
        "grpc-keepalive-min-time",
        Kind::Duration,
        "5s",
        "Minimum interval duration that a client should wait before pinging proxy.",
    ),
    Flag::new(
        "grpc-keepalive-timeout",
        Kind::Duration,
        "20s",
        "Additional duration of wait before closing a non-responsive connection (0 to disable).",
    ),
    INSECURE,
    Flag::switch(
        "insecure-skip-tls-verify",
        "skip authentication of etcd server TLS certificates (CAUTION: this option should be enabled only for testing purposes)",
    ),
    Flag::new(
        "key",
        Kind::Text,
        "",
        "identify secure connections with etcd servers using this TLS key file",
    ),
    Flag::new(
        "key-file",
        Kind::Text,
        "",
        "identify secure connections to the proxy using this TLS key file",
    ),
    LISTEN,
    Flag::new(
        "listen-cipher-suites",
        Kind::List,
        "",
        "Comma-separated list of supported TLS cipher suites between client/proxy (empty will be auto-populated by Go).",
    ),
    Flag::new(
        "max-concurrent-streams",
        Kind::Uint,
        UINT32_MAX,
        "Maximum concurrent streams that each client can open at a time.",
    )
    .values(Values::Checked(fits_in_32_bits)),
    Flag::new(
        "max-recv-bytes",
        Kind::Int,
        "2147483647",
        "message receive limits in bytes (default value is math.MaxInt32)",
    ),
    Flag::new(
        "max-send-bytes",
        Kind::Int,
        "1572864",
        "message send limits in bytes (default value is 1.5 MiB)",
    ),
    Flag::new(
        "metrics-addr",
        Kind::Text,
        "",
        "listen for endpoint /metrics requests on an additional interface",
    ),
    Flag::new(
        "namespace",
        Kind::Text,
        "",
        "string to prefix to all keys for namespacing requests",
    ),
    Flag::switch(
        "permit-without-stream",
        "Enable client(grpc-proxy) to send keepalive pings even with no active RPCs.",
    ),
    Flag::new(
        "resolver-prefix",
        Kind::Text,
        "",
        "prefix to use for registering proxy (must be shared with other grpc-proxy members)",
    ),
    Flag::new(
        "resolver-ttl",
        Kind::Int,
        "0",
        "specify TTL, in seconds, when registering proxy endpoints",
    ),
    Flag::new(
        "self-signed-cert-validity",
        Kind::Uint,
        "1",
        "The validity period of the proxy certificates, unit is year",
    ),
    Flag::new(
        "tls-max-version",
        Kind::Text,
        "",
        "Maximum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3 (empty defers to Go).",
    ),
    Flag::new(
        "tls-min-version",
        Kind::Text,
        "TLS1.2",
        "Minimum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3.",
    ),
    Flag::new(
        "trusted-ca-file",
        Kind::Text,
        "",
        "verify certificates of TLS-enabled secure proxy using this CA bundle",
    ),
];

/// In pflag's words where it does not.
fn fits_in_32_bits(text: &str) -> Result<(), String> {
    match cli::text::parse_uint(text, 0) {
        Ok(number) if u32::try_from(number).is_err() => {
            let text = cli::text::quote(text.as_bytes());
            Err(format!(
                "strconv.ParseUint: parsing {text}: value out of range"
            ))
        }
        _ => Ok(()),
    }
}
