//! Faults, by seed: members killed, paused, cut off one way or both, slowed
//! down, made to hand over, replaced, given a wrong clock. Every fault is
//! healed before the next, and never does more at once than a cluster must
//! survive, except that killing all is allowed: then it must come back. It
//! must never leave a process or a cut behind.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use peers::{
    cluster::{Cluster, Role},
    peer::Program,
};
use proto::etcdserverpb::{DefragmentRequest, MoveLeaderRequest};
use tokio::time::{sleep, timeout};

use crate::{
    load::{self, Recorder},
    rng::Rng,
};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL of the leader.
    KillLeader,
    /// SIGKILL of any member.
    KillOne,
    /// SIGKILL of all members, one right after another.
    KillAll,
    /// SIGSTOP of the leader.
    PauseLeader,
    /// SIGSTOP of any member.
    PauseOne,
    /// The leader is cut off, both ways.
    CutLeader,
    /// Any member is cut off, both ways.
    CutOne,
    /// What the leader sends does not arrive at anybody.
    MuteLeader,
    /// One link carries nothing one way.
    CutOneWay,
    /// Links stall and run, stall and run.
    Slow,
    /// The leader hands over.
    MoveLeader,
    /// One member defragments.
    Defragment,
    /// The past is compacted.
    Compact,
    /// A learner is added, promoted, and an old member removed.
    Replace,
    /// The wall clock of a member jumps.
    Clock,
}

const ALL: [Fault; 14] = [
    Fault::KillLeader,
    Fault::KillOne,
    Fault::KillAll,
    Fault::PauseLeader,
    Fault::PauseOne,
    Fault::CutLeader,
    Fault::CutOne,
    Fault::MuteLeader,
    Fault::CutOneWay,
    Fault::Slow,
    Fault::MoveLeader,
    Fault::Defragment,
    Fault::Compact,
    Fault::Clock,
];

/// Wrong clocks. A program that takes its time from the C library runs behind
/// libfaketime, which shifts its wall clock by what a file says and leaves its
/// monotonic clock alone. etcd, a Go program, asks the kernel and cannot be
/// deceived in this way.
#[derive(Debug, Default)]
pub struct Clocks {
    offsets: BTreeMap<usize, PathBuf>,
}

impl Clocks {
    /// The library, where Debian's package puts it.
    pub fn library() -> Option<PathBuf> {
        let usual = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
        let mut paths = usual
            .iter()
            .map(|d| Path::new(d).join("faketime/libfaketime.so.1"));
        paths.find(|p| p.is_file())
    }

    /// `program` for the member at `place`, behind the library if it can be deceived.
    pub fn wrap(&mut self, program: &Program, place: usize, dir: &Path) -> Result<Program> {
        let Some(library) = Clocks::library().filter(|_| program.is_pintle) else {
            return Ok(program.clone());
        };
        let offset = dir.join(format!("clock-{place}"));
        fs::write(&offset, "+0\n")?;
        let script = dir.join(format!("server-{place}"));
        let text = format!(
            "#!/bin/sh\nexport LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} \
             FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1\nexec {} \"$@\"\n",
            library.display(),
            offset.display(),
            fs::canonicalize(&program.path)?.display(),
        );
        fs::write(&script, text)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&script, mode)?;
        self.offsets.insert(place, offset);
        Ok(Program {
            path: script,
            ..program.clone()
        })
    }

    fn jump(&self, place: usize, seconds: i64) -> Result<bool> {
        let Some(path) = self.offsets.get(&place) else {
            return Ok(false);
        };
        // Renamed into place, so that no half-written number is read.
        let next = path.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n"))?;
        fs::rename(next, path)?;
        Ok(true)
    }
}

/// The faults of one run.
pub struct Nemesis<'a> {
    /// The cluster.
    pub cluster: &'a mut Cluster,
    /// Where the clients record.
    pub recorder: &'a Recorder,
    /// Chance.
    pub rng: Rng,
    /// The clocks.
    pub clocks: Clocks,
    /// Whether members are replaced in this run.
    pub replaces: bool,
    /// How often each fault was done.
    pub done: BTreeMap<Fault, u32>,
}

impl Nemesis<'_> {
    /// Does faults until the time is over; the last one is healed.
    pub async fn run(&mut self, time: Duration) -> Result<()> {
        let begun = std::time::Instant::now();
        if self.replaces {
            self.one(Fault::Replace).await?;
        }
        while begun.elapsed() < time {
            let fault = self.rng.pick(&ALL).unwrap_or(Fault::Compact);
            // All of them down costs the most time: less often.
            if fault == Fault::KillAll && self.rng.percent(60) {
                continue;
            }
            self.one(fault).await?;
            sleep(Duration::from_millis(100 + self.rng.below(500))).await;
        }
        Ok(())
    }

    async fn one(&mut self, fault: Fault) -> Result<()> {
        let at = self.recorder.now();
        let done = self.fault(fault).await;
        let did = done.with_context(|| format!("{fault:?} at {at} us"))?;
        if did {
            *self.done.entry(fault).or_default() += 1;
        }
        Ok(())
    }

    fn any(&mut self) -> Result<usize> {
        let up = self.cluster.up();
        self.rng.pick(&up).context("no member is up")
    }

    async fn hold(&mut self, least: u64, span: u64) {
        sleep(Duration::from_millis(least + self.rng.below(span))).await;
    }

    async fn fault(&mut self, fault: Fault) -> Result<bool> {
        let begun = self.recorder.now();
        match fault {
            Fault::KillLeader | Fault::KillOne => {
                let place = match fault {
                    Fault::KillLeader => self.cluster.leader().await?,
                    _ => self.any()?,
                };
                self.cluster.kill(place).await?;
                self.hold(100, 2000).await;
                self.restart(place).await?;
            }
            Fault::KillAll => {
                let up = self.cluster.up();
                for place in &up {
                    self.cluster.kill(*place).await?;
                }
                for place in &up {
                    self.recorder.restarted(*place);
                    self.cluster.spawn(*place)?;
                }
                for place in up {
                    self.cluster.serving(place).await?;
                }
            }
            Fault::PauseLeader | Fault::PauseOne => {
                let place = match fault {
                    Fault::PauseLeader => self.cluster.leader().await?,
                    _ => self.any()?,
                };
                self.cluster.pause(place)?;
                self.hold(200, 3000).await;
                self.cluster.resume(place)?;
                self.recorder.doubt(begun);
            }
            Fault::CutLeader | Fault::CutOne | Fault::MuteLeader => {
                let place = match fault {
                    Fault::CutOne => self.any()?,
                    _ => self.cluster.leader().await?,
                };
                let others: Vec<usize> = self.cluster.places().filter(|p| *p != place).collect();
                match fault {
                    Fault::MuteLeader => others
                        .iter()
                        .for_each(|p| self.cluster.links.cut(place, *p)),
                    _ => self.cluster.links.cut_off(place, others),
                }
                self.hold(300, 3500).await;
                self.cluster.links.mend();
                self.recorder.doubt(begun);
            }
            Fault::CutOneWay => {
                let (from, to) = (self.any()?, self.any()?);
                if from == to {
                    return Ok(false);
                }
                self.cluster.links.cut(from, to);
                self.hold(300, 3500).await;
                self.cluster.links.mend();
                self.recorder.doubt(begun);
            }
            Fault::Slow => {
                let up = self.cluster.up();
                for _ in 0..6 + self.rng.below(10) {
                    for from in &up {
                        for to in &up {
                            if from != to && self.rng.percent(60) {
                                self.cluster.links.cut(*from, *to);
                            }
                        }
                    }
                    self.hold(20, 180).await;
                    self.cluster.links.mend();
                    self.hold(5, 40).await;
                }
                self.recorder.doubt(begun);
            }
            Fault::MoveLeader => {
                let leader = self.cluster.leader().await?;
                let to = self.any()?;
                let target_id = self.cluster.members()[to].id;
                // Refused where the target does not vote or does not keep up.
                let request = self
                    .cluster
                    .api(leader)
                    .move_leader(MoveLeaderRequest { target_id });
                let _ = timeout(Duration::from_secs(5), request).await;
                self.recorder.doubt(begun);
            }
            Fault::Defragment => {
                let place = self.any()?;
                let request = self.cluster.api(place).defragment(DefragmentRequest {});
                timeout(Duration::from_secs(20), request).await??;
            }
            Fault::Compact => {
                let place = self.any()?;
                load::compact(self.recorder, place, 90).await;
            }
            Fault::Replace => self.replace().await?,
            Fault::Clock => {
                let place = self.any()?;
                let seconds = self.rng.below(7200) as i64 - 3600;
                if !self.clocks.jump(place, seconds)? {
                    return Ok(false);
                }
                self.hold(500, 1500).await;
                if self.rng.percent(50) {
                    self.clocks.jump(place, 0)?;
                }
            }
        }
        Ok(true)
    }

    async fn restart(&mut self, place: usize) -> Result<()> {
        self.recorder.restarted(place);
        self.cluster.start(place).await
    }

    /// A learner of the kind of any member comes, votes, and an old member goes.
    async fn replace(&mut self) -> Result<()> {
        let via = self.any()?;
        let model = self.any()?;
        let program = self.cluster.members()[model].program.clone();
        let place = self.cluster.announce(&program, Role::Learner, via).await?;
        self.restart(place).await?;
        self.cluster.promote(place, via).await?;
        self.cluster.settled().await?;
        let port = self.cluster.members()[place].client_port;
        self.recorder.open(place, port);
        self.hold(200, 1000).await;
        let gone = loop {
            let gone = self.any()?;
            if gone != place {
                break gone;
            }
        };
        let begun = self.recorder.now();
        self.recorder.close(gone);
        self.cluster.remove(gone, place).await?;
        self.recorder.doubt(begun);
        Ok(())
    }
}
