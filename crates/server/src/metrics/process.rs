//! What the system says of this process.

/// Numbers of the process so far.
#[derive(Default)]
pub(super) struct Process {
    pub(super) resident: i64,
    pub(super) virtual_memory: i64,
    pub(super) cpu_seconds: f64,
    pub(super) open_fds: i64,
    pub(super) network_received: u64,
    pub(super) network_sent: u64,
}

impl Process {
    /// Read from /proc; zero where that is not there.
    pub(super) fn now() -> Process {
        let mut process = Process::default();
        let page = rustix::param::page_size() as i64;
        if let Ok(text) = std::fs::read_to_string("/proc/self/statm") {
            let mut fields = text
                .split_whitespace()
                .filter_map(|f| f.parse::<i64>().ok());
            process.virtual_memory = fields.next().unwrap_or(0) * page;
            process.resident = fields.next().unwrap_or(0) * page;
        }
        if let Ok(text) = std::fs::read_to_string("/proc/self/stat")
            && let Some((_, rest)) = text.rsplit_once(')')
        {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let ticks = |i: usize| {
                fields
                    .get(i)
                    .and_then(|f| f.parse::<f64>().ok())
                    .unwrap_or(0.0)
            };
            process.cpu_seconds =
                (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64;
        }
        if let Ok(text) = std::fs::read_to_string("/proc/self/net/netstat") {
            process.network_received = netstat(&text, "InOctets");
            process.network_sent = netstat(&text, "OutOctets");
        }
        process.open_fds = std::fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as i64);
        process
    }
}

/// A number of the group `IpExt`: one line has the names, the next the values.
fn netstat(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with("IpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    let at = names.split_whitespace().position(|field| field == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok())
        .unwrap_or(0)
}
