//! What a process used, as the kernel counts it in /proc: its CPU time and its
//! memory. It finds the server that listens on a loopback port, and never signals or
//! changes a process, except to reset the kernel's mark of its peak memory.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

/// Resets `VmHWM` when written to `clear_refs` (proc(5)).
const RESET_PEAK: &str = "5";

/// What one process, or several together, have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// User and system CPU time since the process began.
    #[serde(serialize_with = "as_micros", rename = "cpu_us")]
    pub(crate) cpu: Duration,
    /// Resident memory now (`VmRSS`), in bytes.
    pub(crate) resident: u64,
    /// The most resident memory since the process began, or since
    /// [`reset_peak`] (`VmHWM`), in bytes.
    pub(crate) peak: u64,
}

fn as_micros<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(value.as_micros() as u64)
}

/// Length of a tick of `/proc/PID/stat`.
fn tick() -> Duration {
    Duration::from_secs(1) / rustix::param::clock_ticks_per_second() as u32
}

/// What process `pid` has used; nothing when it does not exist (any more), or
/// is only waiting for its parent to take note of its end.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = memory(&status, "VmHWM:")?;
    let resident = memory(&status, "VmRSS:")?;
    Some(Usage {
        cpu: tick() * cpu_ticks(&stat)?,
        resident,
        peak,
    })
}

/// What this program itself has used.
pub(crate) fn own() -> Usage {
    usage(std::process::id()).unwrap_or_default()
}

/// The sum over `pids`; a process that has ended is named in the error.
pub(crate) fn usage_of(pids: &[u32]) -> Result<Usage, u32> {
    pids.iter().try_fold(Usage::default(), |sum, &pid| {
        let one = usage(pid).ok_or(pid)?;
        Ok(Usage {
            cpu: sum.cpu + one.cpu,
            resident: sum.resident + one.resident,
            peak: sum.peak + one.peak,
        })
    })
}

/// Sets the peak of each process to what it holds now. False when the kernel
/// does not allow it: peaks then count since the process began.
pub(crate) fn reset_peak(pids: &[u32]) -> bool {
    pids.iter()
        .all(|pid| fs::write(format!("/proc/{pid}/clear_refs"), RESET_PEAK).is_ok())
}

/// utime and stime: the 14th and 15th word of the line. The second is the
/// program's name in parentheses, which may itself hold both.
fn cpu_ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace().skip(11);
    let user: u32 = words.next()?.parse().ok()?;
    let system: u32 = words.next()?.parse().ok()?;
    Some(user + system)
}

fn memory(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// The process that listens on `address`, if that is on this machine and its
/// descriptors may be read by us.
pub(crate) fn listener(address: SocketAddr) -> Option<u32> {
    if !address.ip().is_loopback() {
        return None;
    }
    let sockets: BTreeSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, address.port()))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let pids = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors.flatten().any(|descriptor| {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|name| {
                name.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            inode.is_some_and(|inode: u64| sockets.contains(&inode))
        })
    })
}

/// Inodes of the sockets of a table of /proc/net that listen on `port`.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (_, local_port) = words.get(1)?.rsplit_once(':')?;
            let same =
                u16::from_str_radix(local_port, 16).ok()? == port && *words.get(3)? == LISTEN;
            same.then(|| words.get(9)?.parse().ok()).flatten()
        })
        .collect()
}
