//! The flags of every workload as values.

use cli::flags::Parsed;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: numbers with units and a histogram.
    Table,
    /// One JSON object per result and line.
    Json,
    /// One `name value` pair per line.
    Simple,
}

impl Format {
    /// The values of `--write-out`.
    pub(crate) const NAMES: &'static [&'static str] = &["json", "simple", "table"];

    /// The form that a line asks for.
    pub(crate) fn of(parsed: &Parsed) -> Self {
        match parsed.text("write-out") {
            "json" => Self::Json,
            "simple" => Self::Simple,
            _ => Self::Table,
        }
    }
}

/// What is loaded, how hard, and how it is reported.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Where the server listens for clients; several share the connections.
    pub(crate) endpoints: Vec<String>,
    /// HTTP/2 connections.
    pub(crate) connections: usize,
    /// Requests outstanding at once, over all connections.
    pub(crate) clients: usize,
    /// Requests that are measured.
    pub(crate) total: u64,
    /// Requests before the measured ones.
    pub(crate) warmup: u64,
    /// Bytes of a key.
    pub(crate) key_size: usize,
    /// Bytes of a value.
    pub(crate) value_size: usize,
    /// Size of the key space.
    pub(crate) keys: u64,
    /// All keys begin with this.
    pub(crate) prefix: String,
    /// Take the keys in order.
    pub(crate) sequential: bool,
    /// Take the keys at random, which is the default.
    pub(crate) random: bool,
    /// Requests started per second, however slow the answers; 0 starts the next one on an answer.
    pub(crate) rate: u64,
    /// Seed of the pseudo-random sequence of keys and values.
    pub(crate) seed: u64,
    /// Server processes whose CPU time and memory are reported. Found from loopback endpoints when
    /// empty.
    pub(crate) server_pid: Vec<u32>,
    /// Token of a user, as `Authenticate` returned it, for puts and gets.
    pub(crate) token: String,
    /// A name for the result.
    pub(crate) label: String,
}

/// A number of things in memory.
pub(crate) fn count(parsed: &Parsed, name: &str) -> usize {
    usize::try_from(parsed.uint(name)).unwrap_or(usize::MAX)
}

/// The values of a list or an array.
pub(crate) fn texts(parsed: &Parsed, name: &str) -> Vec<String> {
    parsed.list(name).into_iter().map(str::to_owned).collect()
}

impl Load {
    /// What a line says.
    pub(crate) fn of(parsed: &Parsed) -> Self {
        let pids = parsed.list("server-pid").into_iter();
        Self {
            endpoints: texts(parsed, "endpoints"),
            connections: count(parsed, "connections"),
            clients: count(parsed, "clients"),
            total: parsed.uint("total"),
            warmup: parsed.uint("warmup"),
            key_size: count(parsed, "key-size"),
            value_size: count(parsed, "value-size"),
            keys: parsed.uint("keys"),
            prefix: parsed.text("prefix").to_owned(),
            sequential: parsed.bool("sequential"),
            random: parsed.bool("random"),
            rate: parsed.uint("rate"),
            seed: parsed.uint("seed"),
            server_pid: pids.filter_map(|pid| pid.parse().ok()).collect(),
            token: parsed.text("token").to_owned(),
            label: parsed.text("label").to_owned(),
        }
    }

    /// What contradicts itself, reported before anything is sent.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.connections == 0 || self.clients == 0 || self.keys == 0 {
            return Err("--connections, --clients and --keys must be at least 1".into());
        }
        if self.sequential && self.random {
            return Err("--sequential and --random exclude each other".into());
        }
        if self.endpoints.is_empty() {
            return Err("--endpoints names no server".into());
        }
        let digits = self.keys.saturating_sub(1).to_string().len();
        if self.prefix.len() + digits > self.key_size {
            return Err(format!(
                "--key-size {} is too small: the prefix {:?} and {digits} digits need {}",
                self.key_size,
                self.prefix,
                self.prefix.len() + digits
            ));
        }
        Ok(())
    }
}
