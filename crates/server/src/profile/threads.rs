//! The threads of the process by name.

use std::{collections::BTreeMap, fs, time::SystemTime};

use super::written::{Place, Written};

/// How many threads have each name.
pub fn threads() -> Vec<u8> {
    let mut by_name: BTreeMap<String, i64> = BTreeMap::new();
    let tasks = fs::read_dir("/proc/self/task");
    for task in tasks.into_iter().flatten().flatten() {
        // One that has ended meanwhile has no name any more.
        if let Ok(name) = fs::read_to_string(task.path().join("comm")) {
            *by_name.entry(name.trim_end().to_owned()).or_default() += 1;
        }
    }
    let mut written = Written::new(&[("threadcreate", "count")], SystemTime::now());
    written.comment("threads by name; who started them is not recorded");
    for (name, count) in by_name {
        let place = Place {
            function: name.clone(),
            file: "/proc/self/task".to_owned(),
            line: 0,
        };
        written.sample(vec![vec![place]], &[count], &name);
    }
    written.finish()
}
