//! raft-rs writes to a slog logger; its lines go on to `tracing`, as etcd's
//! raft words them: the member first, in hexadecimal. What etcd tells at info
//! (elections) is info here, what raft-rs tells beyond that is debug.

use std::fmt::Write as _;

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

struct ToTracing;

/// The pairs of a line; the member id is taken out of them.
#[derive(Default)]
struct Pairs {
    member: u64,
    text: String,
}

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        // Writing into a string cannot fail.
        let _ = write!(self.text, " {key}={value}");
        Ok(())
    }

    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        if key == "raft_id" {
            self.member = value;
            return Ok(());
        }
        self.emit_arguments(key, &format_args!("{value}"))
    }
}

/// Beginnings of the lines that tell of an election.
const ELECTIONS: [&str; 6] = [
    "became ",
    "newRaft",
    "starting a new election",
    "received votes response",
    "stepped down to follower",
    "[logterm: ",
];

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let level = record.level();
        let quiet = matches!(level, Level::Debug | Level::Trace);
        if quiet && !tracing::enabled!(tracing::Level::DEBUG) {
            return Ok(());
        }
        let message = record.msg().to_string();
        let mut pairs = Pairs::default();
        // The serializer above never fails.
        let _ = record.kv().serialize(record, &mut pairs);
        let _ = values.serialize(record, &mut pairs);
        let Pairs { member, text } = pairs;
        match level {
            Level::Critical | Level::Error => tracing::error!("{member:x} {message}{text}"),
            Level::Warning => tracing::warn!("{member:x} {message}{text}"),
            Level::Info if ELECTIONS.iter().any(|begin| message.starts_with(begin)) => {
                tracing::info!("{member:x} {message}{text}");
            }
            _ => tracing::debug!("{member:x} {message}{text}"),
        }
        Ok(())
    }
}

/// The logger every node is made with.
pub(crate) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}
