//! What the kernel says of the memory of the process. The allocator keeps no record of who asked
//! for what, so there are no stacks.

use std::{fs, time::SystemTime};

use super::written::{Place, Written};

/// Kinds of resident memory, as `/proc/self/status` names them.
const KINDS: [(&str, &str); 3] = [
    ("RssAnon", "heap and stacks"),
    ("RssFile", "mapped files, the database among them"),
    ("RssShmem", "shared memory"),
];

/// Resident memory by kind.
pub fn memory() -> Vec<u8> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut written = Written::new(&[("inuse_space", "bytes")], SystemTime::now());
    written.comment("resident memory by kind: the allocator does not record who asked for it");
    for (kind, meaning) in KINDS {
        let bytes = kilobytes(&status, kind) * 1024;
        let place = Place {
            function: format!("{kind}: {meaning}"),
            file: "/proc/self/status".to_owned(),
            line: 0,
        };
        written.sample(vec![vec![place]], &[bytes], "");
    }
    written.finish()
}

fn kilobytes(status: &str, name: &str) -> i64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}
