//! Distributed tracing: where spans go, and which.

use super::{settings::Settings, table::flag};

/// Where spans go, and as whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// `--distributed-tracing-address`: host and port.
    pub address: String,
    /// `--distributed-tracing-service-name`
    pub service: String,
    /// `--distributed-tracing-instance-id`
    pub instance: String,
    /// `--distributed-tracing-sampling-rate`: new traces recorded, per million.
    pub rate: u64,
}

const RATE_MAX: i64 = 1_000_000;

/// `None` while it is off; then nothing about it is checked, as in etcd.
pub(super) fn resolve(settings: &Settings) -> Result<Option<Tracing>, String> {
    if !settings.bool(flag!("experimental-enable-distributed-tracing")) {
        return Ok(None);
    }
    let rate = settings.int(flag!("experimental-distributed-tracing-sampling-rate"));
    let why = match rate {
        ..0 => "tracing sampling rate must be positive".to_owned(),
        0..=RATE_MAX => String::new(),
        _ => format!("tracing sampling rate must be less than {RATE_MAX}"),
    };
    if !why.is_empty() {
        // The word is etcd's.
        return Err(format!(
            "distributed tracing configurataion is not valid: ({why})"
        ));
    }
    let text = |id| settings.text(id).to_owned();
    Ok(Some(Tracing {
        address: text(flag!("experimental-distributed-tracing-address")),
        service: text(flag!("experimental-distributed-tracing-service-name")),
        instance: text(flag!("experimental-distributed-tracing-instance-id")),
        rate: rate.unsigned_abs(),
    }))
}
