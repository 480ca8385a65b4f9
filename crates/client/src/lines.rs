//! The line of a cluster: Pintle's own service. A member that runs etcd answers that it does not
//! know it.

use std::time::Duration;

use proto::pintlepb::{
    Finding, MemberLine, SetRequest, SetResponse, ShowRequest, ShowResponse,
    lines_client::LinesClient,
};
use tokio::time::sleep;

use crate::{Client, Error, client::Policy};

/// A member that takes longer does not answer: it asks the others, which have a few seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two questions how far the members are.
const POLL: Duration = Duration::from_millis(200);

impl Client {
    /// What each member says of its line, and what keeps the cluster from `target`, if one is
    /// named.
    ///
    /// # Errors
    /// [`Error`]: the server's refusal, the transport's, or the deadline.
    pub async fn show_lines(&self, target: &str) -> Result<ShowResponse, Error> {
        let request = ShowRequest {
            target: target.to_owned(),
        };
        self.unary(Policy::Read, request, |channel, request| async move {
            LinesClient::new(channel).show(request).await
        })
        .await
    }

    /// Has the cluster change its line. Returns once all members are on their way, or with what
    /// keeps it from that, and nothing begun. It is sent once: after an error the members may be
    /// on their way all the same, which [`Client::show_lines`] says.
    ///
    /// # Errors
    /// As [`Client::show_lines`].
    pub async fn begin_line(&self, target: &str) -> Result<Vec<Finding>, Error> {
        let request = SetRequest {
            target: target.to_owned(),
        };
        let answer = self.unary(Policy::Write, request, |channel, request| async move {
            LinesClient::new(channel).set(request).await
        });
        let SetResponse { findings } = answer.await?;
        Ok(findings)
    }

    /// Has the cluster change its line, and waits until it has, or until `report`, which is shown
    /// each new state, returns false. After an answer that fails the next of `others` is asked,
    /// clients of other members: all go on without being asked.
    ///
    /// # Errors
    /// The change did not begin.
    pub async fn change_line(
        &self,
        target: &str,
        others: &[Client],
        mut report: impl FnMut(Result<&ShowResponse, &Error>) -> bool,
    ) -> Result<Vec<Finding>, Error> {
        let findings = self.begin_line(target).await?;
        if !findings.is_empty() {
            return Ok(findings);
        }
        let mut clients = others.iter().chain([self]).cycle();
        let mut client = self;
        loop {
            let state = tokio::time::timeout(ANSWER_WITHIN, client.show_lines("")).await;
            let state = state.unwrap_or(Err(Error::Deadline { last: None }));
            if state.is_err() {
                client = clients.next().unwrap_or(self);
            }
            if !report(state.as_ref()) || state.is_ok_and(|state| has_line(&state, target)) {
                return Ok(Vec::new());
            }
            sleep(POLL).await;
        }
    }
}

/// Whether a cluster has a line: the members that have one, the cluster version, the schema, and
/// nothing under way.
#[must_use]
pub fn has_line(state: &ShowResponse, target: &str) -> bool {
    let is_of_target = |version: &str| version.starts_with(&format!("{target}."));
    let has_it = |member: &MemberLine| {
        let is_there = is_of_target(&member.release) && is_of_target(&member.storage_version);
        member.answers && member.change.is_empty() && (member.pintle.is_empty() || is_there)
    };
    is_of_target(&state.cluster_version)
        && state.downgrade_target.is_empty()
        && state.members.iter().all(has_it)
}

/// Whether a cluster would have a line if all members answered: a change that was taken back while
/// one of them is down. That one follows when it comes back.
#[must_use]
pub fn has_line_but_for_silent(state: &ShowResponse, target: &str) -> bool {
    let mut answering = state.clone();
    answering.members.retain(|member| member.answers);
    answering.members.len() < state.members.len() && has_line(&answering, target)
}

/// Whether nothing is on its way any more, and the cluster does not have the line: all members
/// answer, and none knows of a change.
#[must_use]
pub fn has_stopped_short(state: &ShowResponse, target: &str) -> bool {
    let rests = |member: &MemberLine| member.answers && member.change.is_empty();
    state.downgrade_target.is_empty() && state.members.iter().all(rests) && !has_line(state, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(release: &str, change: &str) -> ShowResponse {
        ShowResponse {
            cluster_version: "3.5.0".to_owned(),
            members: vec![MemberLine {
                answers: true,
                release: release.to_owned(),
                pintle: "1".to_owned(),
                change: change.to_owned(),
                storage_version: "3.5.0".to_owned(),
                ..MemberLine::default()
            }],
            ..ShowResponse::default()
        }
    }

    #[test]
    fn a_change_that_no_member_knows_of_has_stopped() {
        assert!(has_stopped_short(&state("3.5.30", ""), "3.6"));
        assert!(!has_stopped_short(&state("3.5.30", ""), "3.5"));
        assert!(!has_stopped_short(&state("3.5.30", "3.6 from 3.5"), "3.6"));
        let downgrade = ShowResponse {
            downgrade_target: "3.5.0".to_owned(),
            ..state("3.6.16", "")
        };
        assert!(!has_stopped_short(&downgrade, "3.5"));
        let silent = ShowResponse {
            members: vec![MemberLine::default()],
            ..state("3.5.30", "")
        };
        assert!(!has_stopped_short(&silent, "3.6"));
    }

    #[test]
    fn a_member_that_is_down_does_not_hold_up_a_change_that_was_taken_back() {
        let with_silent = |mut state: ShowResponse| {
            state.members.push(MemberLine::default());
            state
        };
        let at_rest = with_silent(state("3.5.30", ""));
        assert!(!has_line(&at_rest, "3.5"));
        assert!(has_line_but_for_silent(&at_rest, "3.5"));
        assert!(!has_line_but_for_silent(&at_rest, "3.6"));
        let in_change = with_silent(state("3.5.30", "3.6 from 3.5"));
        assert!(!has_line_but_for_silent(&in_change, "3.5"));
        assert!(!has_line_but_for_silent(&state("3.5.30", ""), "3.5"));
    }
}
