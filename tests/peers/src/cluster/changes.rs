//! Changes of who is in the cluster and who leads it. It must never retry a
//! change that a member refused for good: the refusal is what a test sees.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto::etcdserverpb::*;
use tonic::Status;

use super::processes::{Cluster, WITHIN};
use crate::peer::Program;

/// Whether a new member votes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Voter,
    /// It is promoted later, or not.
    Learner,
}

impl Cluster {
    /// Announces a member that runs `program` at member `via` and returns its
    /// place. It is not started.
    pub async fn announce(&mut self, program: &Program, role: Role, via: usize) -> Result<usize> {
        let place = self.room(program).await?;
        let request = MemberAddRequest {
            peer_ur_ls: vec![self.members[place].peer_url.clone()],
            is_learner: role == Role::Learner,
        };
        let api = self.api(via).clone();
        // With strict-reconfig-check a change is refused until all voters have been
        // connected for five seconds (health.go's HealthInterval): asked again.
        let answer = until::ok("member add", WITHIN, async || {
            match api.member_add(request.clone()).await {
                Ok(answer) => Ok(Ok(answer)),
                Err(status) if is_passing(&status) => Err(status.into()),
                Err(status) => Ok(Err(status)),
            }
        })
        .await?
        .context("member add")?;
        let id = answer
            .member
            .as_ref()
            .context("no member in the answer")?
            .id;
        let bootstrap: Vec<String> = answer
            .members
            .iter()
            .map(|m| {
                let name = if m.id == id {
                    self.members[place].name.clone()
                } else {
                    m.name.clone()
                };
                format!("{name}={}", m.peer_ur_ls.join(","))
            })
            .collect();
        let member = &mut self.members[place];
        member.id = id;
        member.is_learner = role == Role::Learner;
        member.bootstrap = vec![
            format!("--initial-cluster={}", bootstrap.join(",")),
            "--initial-cluster-state=existing".to_owned(),
        ];
        Ok(place)
    }

    /// Adds a member, starts it and waits until it serves.
    pub async fn add(&mut self, program: &Program, role: Role, via: usize) -> Result<usize> {
        let place = self.announce(program, role, via).await?;
        self.start(place).await?;
        Ok(place)
    }

    /// Promotes the learner at `place`, asking member `via`, as soon as it has
    /// caught up.
    pub async fn promote(&mut self, place: usize, via: usize) -> Result<()> {
        let (id, api) = (self.members[place].id, self.api(via).clone());
        until::ok("promotion", WITHIN, async || {
            match api.member_promote(MemberPromoteRequest { id }).await {
                Ok(_) => Ok(Ok(())),
                Err(status)
                    if is_passing(&status) || status.message().contains("in sync with leader") =>
                {
                    Err(status.into())
                }
                Err(status) => Ok(Err(status)),
            }
        })
        .await?
        .context("member promote")?;
        self.members[place].is_learner = false;
        Ok(())
    }

    /// Removes a member, asking member `via`. Its process, if it runs, must then
    /// end by itself and say why.
    pub async fn remove(&mut self, place: usize, via: usize) -> Result<()> {
        let (id, api) = (self.members[place].id, self.api(via).clone());
        until::ok("member remove", WITHIN, async || {
            match api.member_remove(MemberRemoveRequest { id }).await {
                Ok(_) => Ok(Ok(())),
                Err(status) if is_passing(&status) => Err(status.into()),
                Err(status) => Ok(Err(status)),
            }
        })
        .await?
        .context("member remove")?;
        if self.members[place].server.is_none() {
            return Ok(());
        }
        let mut server = self.ended(place)?;
        let status = server.wait_exit(Duration::from_secs(30)).await?;
        let text = server.log_text();
        ensure!(
            text.contains("the member has been permanently removed from the cluster"),
            "{} ended with {status} and did not say that it was removed\n{}",
            self.members[place].label(),
            server.tail()
        );
        server.no_panic()?;
        self.check_files(place)
    }

    /// Has the leader hand over to the member at `place`.
    pub async fn move_leader(&self, place: usize) -> Result<()> {
        let leader = self.leader().await?;
        if leader == place {
            return Ok(());
        }
        let target_id = self.members[place].id;
        self.api(leader)
            .move_leader(MoveLeaderRequest { target_id })
            .await
            .with_context(|| {
                let (from, to) = (&self.members[leader], &self.members[place]);
                format!("move-leader from {} to {}", from.label(), to.label())
            })?;
        until::ok("the new leader is known", WITHIN, async || {
            let now = self.leader().await?;
            ensure!(now == place, "member {now} leads instead of {place}");
            Ok(())
        })
        .await
    }
}

/// Refusals that end by themselves shortly after a change or a start.
fn is_passing(status: &Status) -> bool {
    let text = status.message();
    text.contains("unhealthy cluster")
        || text.contains("re-configuration failed due to not enough started members")
        || text.contains("leader changed")
}
