//! The flags of every workload, once.

use clap::{Args, ValueEnum};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: numbers with units and a histogram.
    Table,
    /// One JSON object per result and line.
    Json,
    /// One `name value` pair per line.
    Simple,
}

/// What is loaded, how hard, and how it is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// Where the server listens for clients; several share the connections.
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub(crate) endpoints: Vec<String>,
    /// HTTP/2 connections.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Requests outstanding at once, over all connections.
    #[arg(long, default_value_t = 1)]
    pub(crate) clients: usize,
    /// Requests that are measured.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
    /// Requests before the measured ones.
    #[arg(long, default_value_t = 0)]
    pub(crate) warmup: u64,
    /// Octets of a key.
    #[arg(long, default_value_t = 32)]
    pub(crate) key_size: usize,
    /// Octets of a value.
    #[arg(long, default_value_t = 256)]
    pub(crate) value_size: usize,
    /// Size of the key space.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) keys: u64,
    /// All keys begin with this.
    #[arg(long, default_value = "/bench/")]
    pub(crate) prefix: String,
    /// Walk through the keys in order.
    #[arg(long, conflicts_with = "random")]
    pub(crate) sequential: bool,
    /// Choose keys at random (the default).
    #[arg(long)]
    pub(crate) random: bool,
    /// Requests per second that are begun, however slow the answers; 0 begins
    /// the next one when an answer has come.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u64,
    /// Start of the pseudo-random sequence of keys and values.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A server process whose CPU time and memory are told. Found from a
    /// loopback endpoint when not given.
    #[arg(long = "server-pid")]
    pub(crate) server_pid: Vec<u32>,
    /// Form of the result.
    #[arg(short = 'w', long = "write-out", default_value = "table")]
    pub(crate) write_out: Format,
    /// Token of a user, as `Authenticate` returned it, for puts and gets.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) token: String,
    /// A name for the result.
    #[arg(long, default_value = "")]
    pub(crate) label: String,
}

impl Load {
    /// What contradicts itself, told before anything is sent.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.connections == 0 || self.clients == 0 || self.keys == 0 {
            return Err("--connections, --clients and --keys must be at least 1".into());
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
