//! Flags as data, and their two grammars. One [`Flag`] feeds the parser, the help, the completion,
//! the environment variable and whatever else names settings. A value is read once, when it is
//! taken in, and kept as what its kind says ([`Value`]). A name outside the table is a mistake of
//! the program and never reads as an empty value.
//!
//! - [`Flag`]: one definition
//! - [`value`]: a text as a flag's value
//! - [`pflag`]: the grammar of etcdctl and etcdutl
//! - [`go`]: the grammar of the etcd server
//! - [`Parsed`]: what a line in pflag's grammar said

mod flag;
pub mod go;
mod parsed;
pub mod pflag;
pub mod value;

pub use flag::{Flag, HELP, Kind, Values};
pub use parsed::Parsed;
pub use pflag::{parse, with_suggestion, without};
pub use value::{Invalid, Value};

/// The environment variable of a flag: `etcd`'s flag `data-dir` is `ETCD_DATA_DIR`.
pub fn variable(prefix: &str, name: &str) -> String {
    format!("{prefix}_{}", name.to_ascii_uppercase().replace('-', "_"))
}
