//! The commands of `pintle bench` as data, and what a line asks of them.

#[cfg(test)]
mod tests;

use cli::{
    command::{Body, find},
    flags::{self, Flag, HELP, Kind, Parsed, Values},
    help::Program,
};

use crate::options::Format;

pub(crate) type Command = cli::command::Command<Action>;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Put,
    Get,
    TxnK8s,
    List,
    ListStream,
    Watch,
    Mixed,
    Load,
    K8s,
    Restart,
    Compare,
}

/// The program, as its help shows it.
pub(crate) static PROGRAM: Program<Action> = Program {
    name: "pintle bench",
    commands: COMMANDS,
    global: GLOBAL,
};

/// What the program is for.
const ABOUT: &str = "Load generator for any etcd: closed loop, histograms, the server's own CPU \
                     time and memory";

/// Flags of every command.
const GLOBAL: &[Flag] = &[Flag::new(
    "write-out",
    Kind::Text,
    "table",
    "form of the result (json, simple, table)",
)
.short('w')
.values(Values::OneOf(Format::NAMES))];

const LABEL: Flag = Flag::new("label", Kind::Text, "", "a name for the result");
const SERIALIZABLE: Flag = Flag::switch(
    "serializable",
    "read what the member has, without asking its peers",
);

/// The flags that every workload has, before its own.
macro_rules! load {
    [$($own:expr),* $(,)?] => {
        &[
            Flag::new(
                "endpoints",
                Kind::List,
                "http://127.0.0.1:2379",
                "where the server listens for clients; several share the connections",
            ),
            Flag::new("connections", Kind::Uint, "1", "HTTP/2 connections"),
            Flag::new("clients", Kind::Uint, "1", "requests outstanding at once, over all connections"),
            Flag::new("total", Kind::Uint, "10000", "requests that are measured"),
            Flag::new("warmup", Kind::Uint, "0", "requests before the measured ones"),
            Flag::new("key-size", Kind::Uint, "32", "bytes of a key"),
            Flag::new("value-size", Kind::Uint, "256", "bytes of a value"),
            Flag::new("keys", Kind::Uint, "10000", "size of the key space"),
            Flag::new("prefix", Kind::Text, "/bench/", "prefix of all keys"),
            Flag::switch("sequential", "take the keys in order"),
            Flag::switch("random", "take the keys at random; the default"),
            Flag::new(
                "rate",
                Kind::Uint,
                "0",
                "requests started per second, however slow the answers; 0 starts the next on an answer",
            ),
            Flag::new("seed", Kind::Uint, "1", "seed of the sequence of keys and values"),
            Flag::new(
                "server-pid",
                Kind::List,
                "",
                "server processes whose CPU time and memory are reported (default: those at loopback endpoints)",
            )
            .values(Values::Checked(pids)),
            Flag::new(
                "token",
                Kind::Text,
                "",
                "token of a user, as Authenticate returned it, for puts and gets",
            ),
            LABEL,
            $($own,)*
        ]
    };
}

const GET: &[Flag] = load![SERIALIZABLE];

const TXN_K8S: &[Flag] = load![Flag::new(
    "conflicts",
    Kind::Uint,
    "0",
    "percent of requests with a stale revision",
)];

const LIST: &[Flag] = load![Flag::new(
    "limit",
    Kind::Int,
    "500",
    "keys of a page; 0 lists everything at once",
)];

const WATCH: &[Flag] = load![
    Flag::new("watchers", Kind::Uint, "1000", "watchers of the prefix"),
    Flag::new(
        "streams",
        Kind::Uint,
        "10",
        "streams that the watchers share"
    ),
];

const MIXED: &[Flag] = load![
    Flag::new("readers", Kind::Uint, "10", "reads outstanding at once"),
    SERIALIZABLE,
];

const K8S: &[Flag] = load![
    Flag::new(
        "apiservers",
        Kind::Uint,
        "2",
        "copies of the watches: each apiserver watches every resource",
    ),
    Flag::new(
        "conflicts",
        Kind::Uint,
        "5",
        "percent of updates with a stale revision"
    ),
    Flag::new(
        "gets",
        Kind::Uint,
        "20",
        "percent of requests that read one key"
    ),
    Flag::new("limit", Kind::Int, "500", "keys of a list page"),
    Flag::new(
        "list-ms",
        Kind::Uint,
        "200",
        "milliseconds between the lists of two resources"
    ),
    Flag::new(
        "compact-ms",
        Kind::Uint,
        "2000",
        "milliseconds between compactions; Kubernetes waits five minutes",
    ),
    Flag::new(
        "progress-ms",
        Kind::Uint,
        "100",
        "milliseconds between progress requests on every watch stream",
    ),
];

const RESTART: &[Flag] = &[
    Flag::new(
        "endpoint",
        Kind::Text,
        "http://127.0.0.1:2379",
        "client endpoint of the server that the command starts",
    ),
    Flag::new("rounds", Kind::Uint, "3", "number of restarts"),
    LABEL,
];

const COMPARE: &[Flag] = &[
    Flag::new(
        "spawn",
        Kind::Array,
        "",
        "NAME=COMMAND: start this server on a new data directory and free loopback ports; repeatable",
    ),
    Flag::new(
        "server-flag",
        Kind::Array,
        "",
        "one more flag for every server that is started; repeatable",
    ),
    Flag::new(
        "members",
        Kind::Uint,
        "1",
        "members of each cluster that is started; what their processes use is added up",
    )
    .values(Values::Checked(members)),
    Flag::new(
        "data-root",
        Kind::Text,
        ".",
        "parent of the data directories",
    ),
    Flag::new("rounds", Kind::Uint, "3", "rounds of each row"),
    Flag::new(
        "load-rounds",
        Kind::Uint,
        "1",
        "rounds of the rows that need an empty server each time",
    ),
    Flag::new("rows", Kind::List, "", "only these rows (default: all)"),
    Flag::new(
        "scale",
        Kind::Float,
        "1",
        "factor for the numbers of requests and keys",
    )
    .values(Values::Checked(scale)),
];

/// All commands.
const COMMANDS: &[Command] = &[
    Command::run("put", "", "Puts", load![], Action::Put),
    Command::run("get", "", "Gets of one key", GET, Action::Get),
    Command::run(
        "txn-k8s",
        "",
        "Kubernetes' update: compare the mod revision, put, read on failure",
        TXN_K8S,
        Action::TxnK8s,
    ),
    Command::run(
        "list",
        "",
        "Pages of the prefix at one revision, walked to the end and checked",
        LIST,
        Action::List,
    ),
    Command::run(
        "list-stream",
        "",
        "The whole prefix by RangeStream (etcd 3.7)",
        load![],
        Action::ListStream,
    ),
    Command::run(
        "watch",
        "",
        "Many watchers of the prefix next to a writer of --total puts",
        WATCH,
        Action::Watch,
    ),
    Command::run(
        "mixed",
        "",
        "Reads next to --clients writers; --total counts both",
        MIXED,
        Action::Mixed,
    ),
    Command::run("load", "", "Puts --keys keys in order", load![], Action::Load),
    Command::run(
        "k8s",
        "",
        "What a Kubernetes control plane asks, checked answer by answer",
        K8S,
        Action::K8s,
    )
    .long("--keys is the number of objects."),
    Command::run(
        "restart",
        "[flags] -- COMMAND...",
        "Starts a server on its data, measures the first answer, ends it",
        RESTART,
        Action::Restart,
    )
    .long("COMMAND starts the server in the foreground."),
    Command::run(
        "compare",
        "[NAME=ENDPOINTS]...",
        "The same workloads on two or more servers in turn, and their ratios",
        COMPARE,
        Action::Compare,
    )
    .long(
        "NAME=ENDPOINTS is a running server, a cluster's endpoints joined by commas; --spawn starts\n\
         one, by a program and the words before its flags: pintle=/usr/bin/pintle server. All are\n\
         compared with the first. On a memory file system a put costs no fsync, and its numbers\n\
         mean little: choose --data-root accordingly.\n\n\
         The rows are put-100, put-256, put-one, txn-k8s, get, list-page, list-256, stream-256,\n\
         list-1k, stream-1k, mixed, watch, watch-paced and load.",
    ),
];

/// What a line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Show this page.
    Page(String),
    /// Do this.
    Run(Action, Parsed),
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it, for the person who typed it.
pub(crate) fn read(words: &[String]) -> Result<Asked, String> {
    if words.first().is_some_and(|word| word == "--version") {
        return Ok(Asked::Page(format!(
            "{} {}\n",
            PROGRAM.name,
            env!("CARGO_PKG_VERSION")
        )));
    }
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
    let found = find(PROGRAM.name, COMMANDS, GLOBAL, words)?;
    if let Some(topic) = found.no_topic {
        return Err(format!("unknown help topic {topic:?}"));
    }
    let own = found.path.iter().flat_map(|command| command.flags);
    let known = own.chain(GLOBAL);
    let parsed = flags::parse(&found.words, known.clone())
        .map_err(|reason| flags::with_suggestion(reason, known))?;
    let page = || page(&found.path);
    match found.path.last().map(|command| (command, &command.body)) {
        _ if found.asks_help || parsed.bool(HELP) => Ok(Asked::Page(page())),
        Some((command, Body::Run(action))) => {
            check_arguments(command, &parsed)?;
            Ok(Asked::Run(*action, parsed))
        }
        _ => match parsed.args.first() {
            Some(word) => Err(format!(
                "unknown command {:?}",
                String::from_utf8_lossy(word)
            )),
            None => Ok(Asked::Page(page())),
        },
    }
}

fn page(path: &[&Command]) -> String {
    let (about, long) = path
        .last()
        .map_or((ABOUT, ""), |command| (command.short, command.long));
    let space = if long.is_empty() { "" } else { "\n\n" };
    format!("{about}.{space}{long}\n\n{}", PROGRAM.usage(path))
}

/// Only `compare` has arguments, and `restart` the words after `--`.
fn check_arguments(command: &Command, parsed: &Parsed) -> Result<(), String> {
    let before = parsed.args_before_dash.unwrap_or(parsed.args.len());
    match command.body {
        Body::Run(Action::Compare) => Ok(()),
        Body::Run(Action::Restart) if before == 0 && !parsed.args.is_empty() => Ok(()),
        Body::Run(Action::Restart) => Err("restart needs -- and the command of a server".into()),
        _ => match parsed.args.first() {
            Some(word) => Err(format!(
                "unknown argument {:?}",
                String::from_utf8_lossy(word)
            )),
            None => Ok(()),
        },
    }
}

fn pids(text: &str) -> Result<(), String> {
    match text.split(',').all(|pid| pid.parse::<u32>().is_ok()) {
        true => Ok(()),
        false => Err("not process ids separated by commas".into()),
    }
}

fn members(text: &str) -> Result<(), String> {
    match text {
        "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" => Ok(()),
        _ => Err("a cluster has 1 to 9 members here".into()),
    }
}

fn scale(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale.is_finite() => Ok(()),
        _ => Err("not a positive number".into()),
    }
}
