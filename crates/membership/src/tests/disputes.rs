//! Votes that the releases of etcd disagree about, as an update of a learner leaves them.

use proto::raftpb::{ConfChange, ConfState};

use crate::{
    Cluster, Member, MemberId,
    conf_change::{self, Rejection, Rules},
    v2store::Tree,
};

const LEARNER: MemberId = MemberId(3);

fn learner(id: u64) -> Member {
    Member {
        id: MemberId(id),
        peer_urls: vec![format!("http://h:{id}")],
        is_learner: true,
        ..Member::default()
    }
}

/// The cluster with a voter and a learner, and the tree beside it.
struct State(Cluster, Tree);

impl State {
    fn new() -> State {
        let mut state = State(Cluster::default(), Tree::new());
        let voter = Member {
            is_learner: false,
            ..learner(1)
        };
        for member in [voter, learner(LEARNER.0)] {
            state
                .apply(&conf_change::add(0, &member), Rules::Newer)
                .expect("holds");
        }
        state
    }

    fn disputed() -> State {
        let mut state = State::new();
        state.update(false);
        assert!(state.0.is_disputed(LEARNER));
        state
    }

    fn apply(&mut self, change: &ConfChange, rules: Rules<'_>) -> Result<(), Rejection> {
        conf_change::apply(&mut self.0, &mut self.1, change, rules).map(drop)
    }

    fn update(&mut self, said_learner: bool) {
        let urls = ["http://h:33".to_owned()];
        let change = conf_change::update(0, LEARNER, &urls, said_learner);
        self.apply(&change, Rules::Older).expect("holds");
        assert_eq!(self.0.member(LEARNER).expect("there").peer_urls, urls);
    }

    fn promote(&mut self, rules: Rules<'_>) -> Result<(), Rejection> {
        self.apply(&conf_change::promote(0, LEARNER), rules)
    }

    fn add_learner(&mut self, rules: Rules<'_>) -> Result<(), Rejection> {
        self.apply(&conf_change::add(0, &learner(4)), rules)
    }
}

fn outcome(voters: &[u64], learners: &[u64]) -> ConfState {
    ConfState {
        voters: voters.to_vec(),
        learners: learners.to_vec(),
        ..ConfState::default()
    }
}

#[test]
fn an_update_that_names_the_vote_disputes_nothing() {
    let mut state = State::new();
    state.update(true);
    assert!(!state.0.is_disputed(LEARNER));
    assert_eq!(state.promote(Rules::Older), Ok(()));
    assert_eq!(
        State::new().add_learner(Rules::Older),
        Err(Rejection::TooManyLearners)
    );
}

#[test]
fn older_releases_refuse_to_promote_an_updated_learner_and_count_it_no_more() {
    assert_eq!(
        State::disputed().promote(Rules::Older),
        Err(Rejection::NotLearner)
    );
    assert_eq!(State::disputed().add_learner(Rules::Older), Ok(()));
}

#[test]
fn newer_releases_keep_an_updated_learner() {
    let mut state = State::disputed();
    assert_eq!(
        state.add_learner(Rules::Newer),
        Err(Rejection::TooManyLearners)
    );
    assert_eq!(state.promote(Rules::Newer), Ok(()));
    assert!(!state.0.is_disputed(LEARNER), "a voter by both rules");
    assert_eq!(state.promote(Rules::Older), Err(Rejection::NotLearner));
}

#[test]
fn another_update_ends_the_dispute() {
    let mut state = State::disputed();
    state.update(true);
    assert_eq!(state.0.disputed().count(), 0);
    assert_eq!(state.promote(Rules::Older), Ok(()));
}

#[test]
fn an_update_that_calls_a_voter_a_learner_is_disputed_too() {
    let mut state = State::new();
    state.promote(Rules::Newer).expect("holds");
    state.update(true);
    assert!(state.0.is_disputed(LEARNER));
    assert!(!state.0.member(LEARNER).expect("there").is_learner);
    assert_eq!(
        state.add_learner(Rules::Older),
        Err(Rejection::TooManyLearners)
    );
}

#[test]
fn what_was_judged_before_is_judged_as_it_was() {
    let (refused, promoted) = (outcome(&[1], &[3]), outcome(&[1, 3], &[]));
    let mut state = State::disputed();
    assert_eq!(
        state.promote(Rules::Outcome(&refused)),
        Err(Rejection::NotLearner)
    );
    assert_eq!(state.promote(Rules::Outcome(&promoted)), Ok(()));
    let came = outcome(&[1], &[3, 4]);
    assert_eq!(
        State::disputed().add_learner(Rules::Outcome(&refused)),
        Err(Rejection::TooManyLearners)
    );
    assert_eq!(State::disputed().add_learner(Rules::Outcome(&came)), Ok(()));
}

#[test]
fn a_removed_member_is_not_disputed() {
    let mut state = State::disputed();
    state
        .apply(&conf_change::remove(0, LEARNER), Rules::Older)
        .expect("holds");
    assert_eq!(state.0.disputed().count(), 0);
}
