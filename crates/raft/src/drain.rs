//! raft-rs writes to a slog logger; its lines go on to `tracing`.

use std::fmt::Write as _;

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

struct ToTracing;

struct Pairs(String);

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        // Writing into a string cannot fail.
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        // What etcd's raft says at info is worth a line there; raft-rs is chattier,
        // so its own info lines are debug here.
        if !matches!(
            record.level(),
            Level::Critical | Level::Error | Level::Warning
        ) && !tracing::enabled!(tracing::Level::DEBUG)
        {
            return Ok(());
        }
        let mut pairs = Pairs(record.msg().to_string());
        // The serializer above never fails.
        let _ = record.kv().serialize(record, &mut pairs);
        let _ = values.serialize(record, &mut pairs);
        match record.level() {
            Level::Critical | Level::Error => tracing::error!("{}", pairs.0),
            Level::Warning => tracing::warn!("{}", pairs.0),
            _ => tracing::debug!("{}", pairs.0),
        }
        Ok(())
    }
}

/// The logger every node is made with.
pub(crate) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}
