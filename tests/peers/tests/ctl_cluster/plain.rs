//! Output in words that two correct clusters share: ids and ports by member;
//! terms, raft indexes, sizes, times and the order of members left out.

use serde_json::Value;

use crate::cluster::Cluster;

/// What of an output stands in no order that two clusters share.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Nothing.
    Told,
    /// Its lines.
    Lines,
    /// Its blocks, between empty lines.
    Blocks,
}

/// `text` without what differs from cluster to cluster; `ids` are the names and
/// ids of members.
pub(crate) fn plain(text: &str, cluster: &Cluster, ids: &[(String, u64)], order: Order) -> String {
    let mut text: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("{\"level\":"))
        .collect();
    for (at, (client, peer)) in cluster.ports.iter().enumerate() {
        text = text.replace(&format!(":{client}"), &format!(":client{}", at + 1));
        text = text.replace(&format!(":{peer}"), &format!(":peer{}", at + 1));
    }
    for (name, id) in ids.iter().filter(|(_, id)| *id != 0) {
        text = text.replace(&format!("{id:x}"), &format!("<{name}>"));
        text = text.replace(&id.to_string(), &format!("\"<{name}>\""));
    }
    let lines: Vec<String> = text.lines().map(line).collect();
    // Members stand in the order of their ids, which differ.
    let mut parts: Vec<String> = match order {
        Order::Told => return lines.join("\n"),
        Order::Lines => lines,
        Order::Blocks => lines
            .split(String::is_empty)
            .map(|b| b.join("\n"))
            .collect(),
    };
    parts.sort();
    parts.join("\n")
}

/// One line without what differs from cluster to cluster.
fn line(line: &str) -> String {
    if let Ok(mut json) = serde_json::from_str::<Value>(line) {
        mask(&mut json);
        return json.to_string();
    }
    if let Some(list) = line.strip_prefix("ETCD_INITIAL_CLUSTER=") {
        let mut members: Vec<&str> = list.trim_matches('"').split(',').collect();
        members.sort_unstable();
        return format!("ETCD_INITIAL_CLUSTER={members:?}");
    }
    if line.starts_with(['┌', '├', '└']) {
        return line.chars().filter(|c| *c != '─').collect();
    }
    const NUMBERS: [&str; 6] = [
        "\"RaftTerm\" : ",
        "\"RaftIndex\" : ",
        "\"RaftAppliedIndex\" : ",
        "\"DBSize\" : ",
        "\"ClusterID\" : ",
        "took = ",
    ];
    for name in NUMBERS {
        if let Some((before, _)) = line.split_once(name) {
            return format!("{before}{name}N");
        }
    }
    let table = line.starts_with('│');
    let words: Vec<&str> = line.split_whitespace().collect();
    let status = words.len() > 6 && (table || line.contains("3.5.30"));
    let masked = words.iter().enumerate().map(|(at, word)| {
        let number = word.trim_end_matches(',');
        let unit = words.get(at + 1).is_some_and(|unit| unit.starts_with("kB"));
        // Terms, indexes and sizes of `endpoint status`; times of `health`.
        match !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && (status || unit) {
            true => "N".to_owned(),
            false if table && number.ends_with("ms") => "N".to_owned(),
            false => (*word).to_owned(),
        }
    });
    let text = masked.collect::<Vec<_>>().join(" ");
    match text.split_once(" cluster ") {
        Some((before, _)) if text.starts_with("Member ") => format!("{before} cluster C"),
        _ => text,
    }
}

fn mask(json: &mut Value) {
    const FREE: [&str; 9] = [
        "cluster_id",
        "raft_term",
        "raftTerm",
        "raftIndex",
        "raftAppliedIndex",
        "dbSize",
        "dbSizeInUse",
        "took",
        "hash",
    ];
    match json {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                match FREE.contains(&name.as_str()) {
                    true => *value = Value::Null,
                    false => mask(value),
                }
            }
        }
        Value::Array(list) => {
            list.iter_mut().for_each(mask);
            list.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}
