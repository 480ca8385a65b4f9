//! The key space that a workload reads, filled before it is measured.

use super::measure::{count, workload_error};
use super::puts::Puts;
use crate::closed::{self, Amount};
use crate::grpc::Method;
use crate::keys::Keys;
use crate::net::{Failed, Pool};
use crate::options::Load;
use crate::wire;

/// Keys are filled with this many puts outstanding on each connection.
const FILL_PER_CONNECTION: usize = 16;

/// Sees to it that the prefix holds exactly the keys of the key space, with
/// values of the wanted size.
pub(super) fn fill(pool: &mut Pool, load: &Load) -> Result<(), Failed> {
    let keys = Keys::new(load);
    let (prefix, end) = (keys.prefix().to_vec(), keys.end());
    let mut body = Vec::new();
    wire::range(
        wire::Range {
            key: &prefix,
            end: &end,
            limit: 1,
            ..wire::Range::default()
        },
        &mut body,
    );
    let answer = closed::once(pool, Method::Range, &body).map_err(workload_error)?;
    let found = wire::ranged(&answer).map_err(|e| Failed::Workload(e.to_string()))?;
    let (mut first, mut expected) = (Vec::new(), found.last);
    keys.key(0, &mut first);
    // The first key and the number show whether an earlier run left the same.
    expected = expected.filter(|kv| kv.key == first && kv.value.len() == load.value_size);
    if found.count as u64 == load.keys && expected.is_some() {
        return Ok(());
    }
    body.clear();
    wire::delete_range(&prefix, &end, &mut body);
    closed::once(pool, Method::DeleteRange, &body).map_err(workload_error)?;
    let clients = FILL_PER_CONNECTION * pool.connections().len();
    let mut requests = Puts::new(load, true);
    let amount = Amount {
        clients,
        total: load.keys,
        rate: 0,
        classes: 1,
    };
    let (tally, outcome) = closed::run(pool, &mut requests, amount);
    outcome?;
    if let Some((error, times)) = tally.errors.first_key_value() {
        return Err(Failed::Workload(format!(
            "filling the keys failed {times} times: {error}"
        )));
    }
    let held = count(pool, &prefix, &end)?;
    if held as u64 != load.keys {
        return Err(Failed::Workload(format!(
            "the prefix holds {held} keys after {} were put",
            load.keys
        )));
    }
    Ok(())
}
