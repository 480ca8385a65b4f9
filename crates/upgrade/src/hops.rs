//! The hops of a path: which release or line comes next, and how the members get there. No minor
//! version is skipped, and each is entered from a patch that may lead there. Members that run
//! Pintle change their line while they run, so a hop restarts them only where the last one makes
//! them another program.

use line::Line;
use semver::Version;

use crate::target::{self, Target};

/// How the members get to the release of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Each gets a binary of etcd.
    Etcd,
    /// Each gets Pintle, which keeps the line of the cluster.
    Pintle,
    /// All run Pintle and change their line; none restarts.
    Line,
}

/// One step of a path from release to release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The release that all members answer afterwards.
    pub(crate) to: Version,
    /// How they get there.
    pub(crate) how: How,
}

impl Hop {
    /// The release in words.
    pub(crate) fn words(&self) -> String {
        match self.how {
            How::Etcd => self.to.to_string(),
            How::Pintle => format!("pintle (etcd {})", self.to),
            How::Line => format!("line {}", line_of(&self.to)),
        }
    }

    /// The hop as a target: what the checks before it are made for.
    pub(crate) fn target(&self) -> Target {
        match (self.how, Line::of(&self.to)) {
            (How::Pintle | How::Line, Some(line)) => Target::pintle_at(line),
            _ => Target::etcd(self.to.clone()),
        }
    }
}

/// How a line is called: `3.6`.
pub(crate) fn line_of(release: &Version) -> String {
    format!("{}.{}", release.major, release.minor)
}

/// Where a path begins.
#[derive(Clone, Debug)]
pub(crate) struct Start<'a> {
    /// The oldest release that a member runs.
    pub(crate) now: &'a Version,
    /// Whether the patch in it is known: files tell minor versions alone.
    pub(crate) patch_known: bool,
    /// The cluster version.
    pub(crate) cluster: &'a Version,
    /// Whether all members run Pintle.
    pub(crate) all_pintle: bool,
    /// Releases that may be used; the newest known ones where it names none of a minor.
    pub(crate) available: &'a [Version],
}

/// The hops from there to `target`. Where all run that release already there are none; whether
/// they run the right program is another question.
pub(crate) fn hops(start: &Start<'_>, target: &Target) -> Vec<Hop> {
    if target.is_pintle {
        let entry = entry(start.cluster, target);
        let mut hops = binaries(start, &entry);
        hops.extend(lines(entry.minor(), target.minor()));
        return hops;
    }
    // The last hop brings the binary and its minor version at once.
    if start.all_pintle && target.minor() > start.now.minor + 1 {
        let mut hops: Vec<Hop> = lines(start.now.minor, target.minor() - 1).collect();
        hops.push(Hop {
            to: target.version.clone(),
            how: How::Etcd,
        });
        return hops;
    }
    binaries(start, target)
}

/// Pintle at the line at which it enters the cluster.
pub(crate) fn entry(cluster: &Version, target: &Target) -> Target {
    match Line::of(cluster).unwrap_or(Line::V3_5) {
        line if line.release_version().minor < target.minor() => Target::pintle_at(line),
        _ => target.clone(),
    }
}

/// The lines above minor version `from`, up to `to`.
fn lines(from: u64, to: u64) -> impl Iterator<Item = Hop> {
    let releases = Line::ALL.into_iter().map(Line::release_version);
    let above = releases.filter(move |release| (from + 1..=to).contains(&release.minor));
    above.map(|to| Hop { to, how: How::Line })
}

/// The hops by binaries.
fn binaries(start: &Start<'_>, target: &Target) -> Vec<Hop> {
    let now = start.now;
    let best = |minor: u64| {
        let floor = target::floor(minor).unwrap_or(Version::new(3, minor, 0));
        let available = start.available.iter();
        let fit = available.filter(|v| v.minor == minor && **v >= floor);
        fit.max().cloned().unwrap_or_else(|| target::newest(minor))
    };
    let mut path = vec![now.clone()];
    let mut minor = now.minor;
    while minor < target.minor() {
        let here = path.last().unwrap_or(now);
        let low = target::floor(minor).is_some_and(|floor| *here < floor);
        if low || (!start.patch_known && here == now) {
            path.push(best(minor));
        }
        minor += 1;
        path.push(match minor == target.minor() {
            true => target.version.clone(),
            false => best(minor),
        });
    }
    if path.last() != Some(&target.version) {
        path.push(target.version.clone());
    }
    path.dedup();
    let last = path.len() - 1;
    let how = |at: usize| match target.is_pintle && at == last {
        true => How::Pintle,
        false => How::Etcd,
    };
    let hops = path.into_iter().enumerate().skip(1);
    hops.map(|(at, to)| Hop { to, how: how(at) }).collect()
}
