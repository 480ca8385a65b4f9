//! The order in which records are tried (RFC 2782): by priority, and within one
//! priority drawn by weight.

use crate::Srv;

/// Orders records. `draw(n)` returns a number below `n`.
pub(crate) fn arrange(mut records: Vec<Srv>, mut draw: impl FnMut(u32) -> u32) -> Vec<Srv> {
    // Weight 0 first: it is drawn only when the others are gone, or by a 0.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut out = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let same = records.partition_point(|record| record.priority == first.priority);
        let total: u32 = records[..same].iter().map(|r| u32::from(r.weight)).sum();
        let mut left = draw(total + 1);
        let chosen = records[..same]
            .iter()
            .position(|record| {
                let weight = u32::from(record.weight);
                let found = left <= weight;
                left = left.saturating_sub(weight);
                found
            })
            .unwrap_or(0);
        out.push(records.remove(chosen));
    }
    out
}
