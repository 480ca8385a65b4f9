//! The commands of etcdctl as data: names, arguments, flags, help. The parser,
//! the help pages, the "did you mean" lines and the completion all read this
//! table, which is in the order in which etcdctl registers its commands.

mod action;
mod auth;
mod cluster;
mod keys;

use cli::flags::{Flag, Kind};

pub(crate) use action::{Action, Command};
pub(crate) use keys::{DEL, GET, PUT, WATCH};

/// Flags every command takes.
pub(crate) const GLOBAL: &[Flag] = &[
    Flag::new(
        "endpoints",
        Kind::List,
        "127.0.0.1:2379",
        "members to talk to: host:port, http://host:port or unix:///path, separated by commas",
    ),
    Flag::switch("debug", "show the settings in effect on stderr"),
    Flag::new(
        "write-out",
        Kind::Text,
        "simple",
        "output format: simple, json, fields, table or protobuf",
    )
    .short('w'),
    Flag::switch(
        "hex",
        "print keys and values (and member ids in JSON) in hexadecimal",
    ),
    Flag::new(
        "dial-timeout",
        Kind::Duration,
        "2s",
        "limit for opening one connection",
    ),
    Flag::new(
        "command-timeout",
        Kind::Duration,
        "5s",
        "limit for a command; streams (watch, keep-alive, snapshot) are not limited",
    ),
    Flag::new(
        "keepalive-time",
        Kind::Duration,
        "2s",
        "interval of connection pings",
    ),
    Flag::new(
        "keepalive-timeout",
        Kind::Duration,
        "6s",
        "how long a ping may stay unanswered",
    ),
    Flag::new(
        "insecure-transport",
        Kind::Bool,
        "true",
        "speak plain text to endpoints without a scheme",
    ),
    Flag::new(
        "insecure-discovery",
        Kind::Bool,
        "true",
        "accept SRV records that name plain text endpoints",
    ),
    Flag::switch(
        "insecure-skip-tls-verify",
        "do not verify the server's certificate",
    ),
    Flag::new("cert", Kind::Text, "", "TLS certificate of the client"),
    Flag::new("key", Kind::Text, "", "TLS key of the client"),
    Flag::new(
        "cacert",
        Kind::Text,
        "",
        "CA bundle the server's certificate is verified with",
    ),
    Flag::new(
        "user",
        Kind::Text,
        "",
        "user[:password]; asks for the password when it is left out",
    ),
    Flag::new(
        "password",
        Kind::Text,
        "",
        "password of --user, which then holds the name alone",
    ),
    Flag::new(
        "discovery-srv",
        Kind::Text,
        "",
        "domain whose SRV records name the endpoints",
    )
    .short('d'),
    Flag::new(
        "discovery-srv-name",
        Kind::Text,
        "",
        "service name within --discovery-srv",
    ),
];

/// All commands, in etcdctl's order; `downgrade` came with etcd 3.6, and `line` is
/// Pintle's own.
pub(crate) const COMMANDS: &[Command] = &[
    keys::GET,
    keys::PUT,
    keys::DEL,
    keys::TXN,
    keys::COMPACTION,
    cluster::ALARM,
    cluster::DEFRAG,
    cluster::ENDPOINT,
    cluster::MOVE_LEADER,
    keys::WATCH,
    Command::run(
        "version",
        "",
        "Prints the version of etcdctl",
        &[],
        Action::Version,
    ),
    keys::LEASE,
    cluster::MEMBER,
    cluster::SNAPSHOT,
    cluster::MAKE_MIRROR,
    keys::LOCK,
    keys::ELECT,
    auth::AUTH,
    auth::USER,
    auth::ROLE,
    cluster::CHECK,
    cluster::DOWNGRADE,
    cluster::LINE,
    COMPLETION,
];

const COMPLETION: Command = Command::group(
    "completion",
    "Writes a completion script for a shell",
    &{
        const fn shell(at: usize) -> Command {
            let (name, short) = cli::completion::SHELLS[at];
            Command::run(name, "", short, NO_DESCRIPTIONS, Action::Completion(name))
        }
        [shell(0), shell(1), shell(2), shell(3)]
    },
)
.long("For bash, in the current shell:\n    source <(etcdctl completion bash)\nand for every shell from now on:\n    etcdctl completion bash > /etc/bash_completion.d/etcdctl");

const NO_DESCRIPTIONS: &[Flag] = &[Flag::switch(
    "no-descriptions",
    "(accepted; the scripts for bash and zsh show none)",
)];
