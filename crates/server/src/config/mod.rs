//! What the server is told: flags, `ETCD_*` variables and the YAML file, from
//! one table; then checked and resolved into a [`Config`]. Parsing never acts:
//! it opens no file but the configuration file itself.

mod definitions;
mod deprecated;
mod discovery;
mod error;
mod file;
mod gate_names;
mod gates;
mod help;
mod logs;
mod parse;
mod resolve;
mod resolved;
mod security;
mod setting;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod traces;
mod urls;

pub use discovery::{Discovery, Registry};
pub use error::ParseError;
pub use gates::{GateState, Stage};
pub use help::{manual, usage};
pub use logs::{LogOutput, Logs, Rotation};
pub use member::open::MembershipCheck;
pub use parse::{Parsed, parse, without_secrets};
pub use resolve::resolve;
pub use resolved::{AutoCompaction, Config};
pub use security::Security;
pub use settings::{Note, Settings};
pub use traces::Tracing;
pub use urls::{ListenTarget, ListenUrl, check_url};
