//! The commands of the proxies as data, with the names, defaults and texts of etcd's flags.

use cli::flags::{Flag, Kind};

/// One command or group of commands.
pub(crate) type Command = cli::command::Command<Action>;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Gateway,
}

/// Both proxies.
pub(crate) const COMMANDS: &[Command] = &[Command::group(
    "gateway",
    "gateway related command",
    &[Command::run(
        "start",
        "",
        "start the gateway",
        GATEWAY,
        Action::Gateway,
    )],
)];

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
